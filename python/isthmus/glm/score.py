"""Score tests: how steep the likelihood is at the hypothesis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from isthmus.glm import information as info
from isthmus.glm import kernel, refit

if TYPE_CHECKING:
    from isthmus.glm.hypothesis import Hypothesis
    from isthmus.glm.kernel import GeneFits
    from isthmus.glm.result import GlmFit
    from isthmus.glm.source import Evidence


def score_at_null(
    fit: GlmFit, hypothesis: Hypothesis, evidence: Evidence, genes: np.ndarray, *, n_threads: int = 1
) -> GeneFits:
    """The full model's score and information at the estimates under the hypothesis."""
    held = fit.dispersion_model.free_coef[:, genes] if refit.dispersion_is_fixed(fit) else None
    full = refit.full_model(fit)
    null = refit.maximise(
        refit.null_model(fit, hypothesis),
        evidence,
        genes,
        dispersion=held,
        settings=fit.settings,
        n_threads=n_threads,
    )
    mean, dispersion = null.mean_coef, null.dispersion_coef
    if hypothesis.model == "mean":
        mean = refit.null_coef(hypothesis, mean)
    elif len(dispersion) == hypothesis.restriction[0].shape[1]:
        dispersion = refit.null_coef(hypothesis, dispersion)
    else:  # nothing was free under the hypothesis
        dispersion = np.repeat(hypothesis.restriction[1][:, None], len(genes), axis=1)
    at = refit.evaluate(full, evidence, genes, np.nan_to_num(mean), dispersion, n_threads=n_threads)
    at.gradient[null.code == kernel.NOT_CONVERGED] = np.nan
    return at


def standardised_score(
    fit: GlmFit, hypothesis: Hypothesis, at: GeneFits, information: str
) -> tuple[np.ndarray, np.ndarray]:
    r"""The score as an estimate with a covariance, so that Wald's arithmetic gives Rao's statistic.

    With U the score and I the information at the hypothesis, :math:`d = L I^{-1} U` is the first step away from it and
    :math:`L I^{-1} L'` its covariance; :math:`d' (L I^{-1} L')^{-1} d = U' I^{-1} U` (Rao 1948).

    Returns
    -------
    distance, block
        ``(k, n)`` and ``(n, k, k)``.
    """
    f = fit.mean_model.n_free
    part = slice(0, f) if hypothesis.model == "mean" else slice(f, None)
    if information == "observed":
        inverse = _inverse_observed(at, f)[:, part, part]
    else:
        inverse = info.invert(at.expected_info if hypothesis.model == "mean" else at.neg_hessian[:, f:, f:], {})
    step = np.einsum("gij,gj->gi", inverse, at.gradient[:, part])
    return (step @ hypothesis.free.T).T, hypothesis.free @ inverse @ hypothesis.free.T


def _inverse_observed(at: GeneFits, f: int) -> np.ndarray:
    """Inverse of the joint observed information; of the mean's block alone at the Poisson limit."""
    out = info.invert(at.neg_hessian, {})
    limit = np.isnan(at.neg_hessian).any(axis=(1, 2))
    out[limit, :f, :f] = info.invert(at.neg_hessian[limit, :f, :f], {})
    return out
