"""The kernel once more, for a fit that exists: under a hypothesis, and at given parameters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.glm import kernel, normal
from isthmus.glm.kernel import take

__all__ = [
    "Model",
    "dispersion_is_fixed",
    "evaluate",
    "full_model",
    "maximise",
    "null_coef",
    "null_model",
    "part_of",
    "put",
    "take",
]

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from isthmus.glm.hypothesis import Hypothesis
    from isthmus.glm.kernel import GeneFits
    from isthmus.glm.result import GlmFit
    from isthmus.glm.source import Evidence


@dataclass(frozen=True, eq=False)
class Model:
    """The designs and offsets of one problem for the kernel: log mu = x a + offset, log alpha = z b + zeta_offset.

    `has_dispersion` is False for Poisson models; a hypothesis may leave a dispersion without a free parameter. With
    `normal` the mean is x a + offset, and alpha the variance.
    """

    x: np.ndarray
    z: np.ndarray
    offset: np.ndarray
    zeta_offset: np.ndarray
    has_dispersion: bool
    normal: bool = False

    @cached_property
    def z_rows(self) -> np.ndarray:
        """The distinct rows of z: what log alpha can be."""
        return np.unique(self.z, axis=0)


def full_model(fit: GlmFit) -> Model:
    """The model of the fit, in its free parameters."""
    mean, dispersion = fit.mean_model, fit.dispersion_model
    if fit.settings["noise_model"] == "normal":
        x, offset = fit.size_factors[:, None] * mean.free_design, fit.size_factors * mean.particular_predictor
        z, zeta = dispersion.free_design, dispersion.particular_predictor
        return Model(x, z, offset + fit.offset, zeta, has_dispersion=True, normal=True)
    offset = np.log(fit.size_factors) + fit.offset + mean.particular_predictor
    has_dispersion = fit.settings["noise_model"] == "nb"
    return Model(mean.free_design, dispersion.free_design, offset, dispersion.particular_predictor, has_dispersion)


def null_model(fit: GlmFit, hypothesis: Hypothesis) -> Model:
    """The model of the fit with the hypothesis as one more constraint."""
    model = full_model(fit)
    basis, base = hypothesis.restriction
    if hypothesis.model == "mean":
        return replace(model, x=model.x @ basis, offset=model.offset + model.x @ base)
    return replace(model, z=model.z @ basis, zeta_offset=model.zeta_offset + model.z @ base)


def null_coef(hypothesis: Hypothesis, coef: np.ndarray) -> np.ndarray:
    """The parameters of a null fit as free parameters of the full model, ``(f, n_genes)``."""
    basis, base = hypothesis.restriction
    return np.asarray(base[:, None] + basis @ coef)


def dispersion_is_fixed(fit: GlmFit) -> bool:
    """Was the dispersion not estimated by likelihood beside the mean? Then tests of the mean hold it."""
    return fit.settings["dispersion"] not in ("ml", "none")


def maximise(
    model: Model,
    evidence: Evidence,
    genes: np.ndarray,
    *,
    dispersion: np.ndarray | None = None,
    start: np.ndarray | None = None,
    settings: Mapping[str, Any],
    n_threads: int = 1,
) -> GeneFits:
    """Fit some genes with a fit's ``max_iter`` and ``tol``.

    `dispersion` ``(g, len(genes))`` is held where it is given; NaN there: alpha = 0. `start` are mean parameters.
    """
    options = {"max_iter": settings["max_iter"], "tol": settings["tol"], "n_threads": n_threads}
    if dispersion is None:
        return _run(model, evidence, genes, options | {"start_mean": start})
    return _by_limit(
        dispersion,
        lambda at, held: _run(
            model,
            evidence,
            genes[at],
            options | {"start_dispersion": held, "start_mean": None if start is None else start[:, at]},
        ),
    )


def evaluate(
    model: Model, evidence: Evidence, genes: np.ndarray, mean: np.ndarray, dispersion: np.ndarray, *, n_threads: int = 1
) -> GeneFits:
    """Likelihood, score and information at given parameters ``(f, n)`` and ``(g, n)``; NaN dispersion: alpha = 0."""
    options = {"max_iter": 0, "tol": 1e-300, "n_threads": n_threads}
    return _by_limit(
        dispersion,
        lambda at, held: _run(
            model, evidence, genes[at], options | {"start_mean": mean[:, at], "start_dispersion": held}
        ),
    )


def _by_limit(dispersion: np.ndarray, run: Callable[[np.ndarray, np.ndarray | None], GeneFits]) -> GeneFits:
    """Genes with a dispersion and genes at the Poisson limit, one after the other, put together in their order."""
    limit = np.isnan(dispersion).any(axis=0) if len(dispersion) else np.ones(dispersion.shape[1], dtype=bool)
    inner, outer = np.flatnonzero(~limit), np.flatnonzero(limit)
    parts = [run(inner, dispersion[:, inner])] if inner.size else []
    if outer.size:
        parts.append(_widened(run(outer, None), len(dispersion)))
    order = np.argsort(np.concatenate([inner, outer]))
    joined = kernel.join(parts)
    return take(joined, order)


def _run(model: Model, evidence: Evidence, genes: np.ndarray, options: dict[str, Any]) -> GeneFits:
    held = options.get("start_dispersion", False)
    poisson, fixed = held is None, held is not None and held is not False
    own = {name: value for name, value in options.items() if value is not None}
    z, zeta = model.z, model.zeta_offset
    if model.has_dispersion and not fixed and not poisson and z.shape[1] == 0:
        # Nothing is left free of a dispersion model that a hypothesis fixes: hold it, as a column without effect.
        own |= {"start_dispersion": np.zeros((1, len(genes)))}
        z, fixed = np.zeros((len(z), 1)), True
    counts, gene_offset, weights = evidence.counts.matrix, evidence.gene_offset, evidence.weights
    whole = len(genes) == counts.shape[1]
    laid_out = None if model.normal else evidence.layout_for(len(genes), options["n_threads"])
    if laid_out is not None:
        own |= {"laid_out": laid_out, "chosen": genes}
    return (normal if model.normal else kernel).fit_genes(
        counts if whole or laid_out is not None else counts[:, genes],
        model.x,
        np.empty((len(z), 0)) if poisson else z,
        model.offset,
        dispersion_offset=zeta if zeta.any() and not poisson else None,
        gene_offset=gene_offset if whole or gene_offset is None else gene_offset[:, genes],
        weights=weights if whole or weights is None else weights[:, genes],
        fix_dispersion=fixed,
        **own,  # type: ignore[arg-type]
    )


def _widened(fits: GeneFits, g: int) -> GeneFits:
    """A Poisson fit with NaN in the places of g dispersion parameters."""
    f, n = fits.mean_coef.shape
    hessian = np.full((n, f + g, f + g), np.nan)
    hessian[:, :f, :f] = fits.neg_hessian
    gradient = np.hstack([fits.gradient, np.zeros((n, g))])
    return replace(fits, dispersion_coef=np.full((g, n), np.nan), neg_hessian=hessian, gradient=gradient)


def put(fits: GeneFits, where: np.ndarray, part: GeneFits) -> GeneFits:
    """A result with some of its genes replaced."""
    n = len(fits.code)
    order = np.arange(n)
    order[where] = n + np.arange(len(where))
    return take(kernel.join([fits, part]), order)


def part_of(evidence: Evidence, genes: np.ndarray) -> Evidence:
    """The counts of some genes only."""
    if len(genes) == evidence.counts.n_genes:
        return evidence
    counts, offset, weights = evidence.counts, evidence.gene_offset, evidence.weights
    own = replace(counts, matrix=counts.matrix[:, genes], gene_names=counts.gene_names[genes])
    return replace(
        evidence,
        counts=own,
        gene_offset=None if offset is None else offset[:, genes],
        weights=None if weights is None else weights[:, genes],
        _shared=[],
    )
