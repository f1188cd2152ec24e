r"""Quasi-likelihood F tests (Lund, Nettleton, McCarthy & Smyth 2012, Stat. Appl. Genet. Mol. Biol. 11:8).

1. A trend of the negative-binomial dispersion with the mean. Never the gene-wise dispersion: its uncertainty would be
   lost, and the quasi dispersion could not make up for it. All genes make the trend, those without dispersion too:
   left out, as for ``dispersion="trend"``, tests of few counts reject far too rarely.
2. The mean is refitted at the trend.
3. The quasi dispersion: the residual deviance, each unit deviance as a scaled chi-square (`unit_deviance`), over its
   degrees of freedom.
4. Empirical Bayes draws it to a trend with the mean (`squeeze`).
5. F = (difference of deviances / df) / posterior quasi dispersion, with residual + prior degrees of freedom.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from isthmus.errors import InputError
from isthmus.glm import information as info
from isthmus.glm import kernel, refit
from isthmus.glm.adjusted_profile import adjusted_profile
from isthmus.glm.quasi_deviance import residual_deviances
from isthmus.glm.ranges import ranges
from isthmus.glm.squeeze import squeeze
from isthmus.glm.trend import fit_trend, has_trend

if TYPE_CHECKING:
    from isthmus.glm.hypothesis import Hypothesis
    from isthmus.glm.kernel import GeneFits
    from isthmus.glm.refit import Model
    from isthmus.glm.result import GlmFit
    from isthmus.glm.source import Evidence

_LEAST_GENES = 50
_PLENTY = 200  # residual degrees of freedom at which maximum-likelihood dispersions need no adjustment
_ROUNDING = 16 * np.finfo(float).eps  # by what two sums of the same log-likelihood may differ


@dataclass(frozen=True, eq=False)
class QuasiFit:
    """The means refitted at the trend, and their quasi dispersion.

    Attributes
    ----------
    genes
        ``(n,)`` positions in the fit; the other attributes are over them.
    fits
        The kernel's result at the trended dispersion.
    log_alpha
        ``(g, n)``: free dispersion parameters of the trend.
    dispersion
        ``(n,)``: posterior quasi dispersion.
    df_total
        ``(n,)``: residual plus prior degrees of freedom.
    """

    genes: np.ndarray
    fits: GeneFits
    log_alpha: np.ndarray
    dispersion: np.ndarray
    df_total: np.ndarray

    def of(self, genes: np.ndarray) -> QuasiFit:
        """That of some of its genes, as of a fit that holds only them."""
        at = np.searchsorted(self.genes, genes)
        fits, own = kernel.take(self.fits, at), self.log_alpha[:, at]
        return QuasiFit(np.arange(len(at)), fits, own, self.dispersion[at], self.df_total[at])


def check_quasi(fit: GlmFit, hypothesis: Hypothesis) -> None:
    """Refuse what quasi-likelihood is not made for."""
    z = fit.dispersion_model.free_design
    if hypothesis.model == "dispersion" or (z.shape[1] and np.ptp(z, axis=0).any()):
        msg = (
            '`method` = "qlf" is for tests of the mean with one dispersion a gene, `dispersion_design` = "~ 1"; use '
            'method="lrt" for dispersion designs.'
        )
        raise InputError(msg)
    n = int((fit.status != "all_zero").sum())
    if n < _LEAST_GENES:
        msg = (
            f'`method` = "qlf" needs at least {_LEAST_GENES} genes, from which it learns how dispersions vary; got '
            f'{n}. Use method="lrt".'
        )
        raise InputError(msg)


def quasi_fit(fit: GlmFit, evidence: Evidence, *, n_threads: int = 1) -> QuasiFit:
    """Steps 1 to 4, for the genes that have counts."""
    genes = np.flatnonzero(fit.status != "all_zero")
    log_alpha = _trended(fit, evidence, genes, n_threads)
    model, parts, deviances, dfs = refit.full_model(fit), [], [], []
    for part in ranges(fit, evidence, genes):
        own, own_evidence = np.flatnonzero(part.fit.status != "all_zero"), part.evidence
        assert own_evidence is not None
        held = log_alpha[:, np.searchsorted(genes, part.genes[own])]
        fits = refit.maximise(model, own_evidence, own, dispersion=held, settings=fit.settings, n_threads=n_threads)
        alpha = np.zeros(len(own))
        if len(held):
            alpha = np.nan_to_num(np.exp(held[0] * model.z[0, 0] + model.zeta_offset[0]))
        deviance, df = _residual_deviance(model, own_evidence, own, fits, alpha, n_threads)
        parts.append(fits)
        deviances.append(deviance)
        dfs.append(df)
    return _squeezed(fit, genes, kernel.join(parts), log_alpha, np.concatenate(deviances), np.concatenate(dfs))


def _squeezed(
    fit: GlmFit, genes: np.ndarray, fits: GeneFits, log_alpha: np.ndarray, deviance: np.ndarray, df: np.ndarray
) -> QuasiFit:
    """Step 4."""
    with np.errstate(divide="ignore", invalid="ignore"):
        own = np.where(df > 0, deviance / df, np.nan)
    own[fits.code == kernel.NOT_CONVERGED] = np.nan
    drawn = squeeze(own, df, np.log(fit.mean[genes]))
    most = float(df.sum())  # no gene knows more than all genes together
    total = np.minimum(np.where(np.isfinite(own), df, 0.0) + drawn.df_prior, most)
    return QuasiFit(genes, fits, log_alpha, drawn.posterior, total)


def deviance_differences(
    fit: GlmFit, hypothesis: Hypothesis, evidence: Evidence, quasi: QuasiFit, *, n_threads: int = 1
) -> np.ndarray:
    """Step 5's numerator times df: twice the log-likelihood that the hypothesis costs at the trended dispersion."""
    null = refit.maximise(
        refit.null_model(fit, hypothesis),
        evidence,
        quasi.genes,
        dispersion=quasi.log_alpha,
        settings=fit.settings,
        n_threads=n_threads,
    )
    gain = quasi.fits.log_likelihood - null.log_likelihood
    gain[gain <= _ROUNDING * np.abs(null.log_likelihood)] = 0.0  # a small quasi dispersion would make a statistic of it
    stat = 2 * gain
    lost = (null.code == kernel.NOT_CONVERGED) | (quasi.fits.code == kernel.NOT_CONVERGED)
    return np.where(lost, np.nan, stat)


def quasi_covariance(fit: GlmFit, quasi: QuasiFit) -> np.ndarray:
    """``(n, f, f)``: quasi dispersion times the inverse information of the free mean parameters."""
    place = {int(gene): i for i, gene in enumerate(quasi.genes)}
    infinite = {place[gene]: s.basis for gene, s in fit.separated("mean").items() if gene in place}
    return np.asarray(info.invert(quasi.fits.expected_info, infinite) * quasi.dispersion[:, None, None])


def _trended(fit: GlmFit, evidence: Evidence, genes: np.ndarray, n_threads: int) -> np.ndarray:
    """Free dispersion parameter of each gene on the trend, ``(1, n)``; none for Poisson models, NaN (alpha = 0) where
    hardly a gene has a dispersion."""
    model = refit.full_model(fit)
    if not model.has_dispersion:
        return np.empty((0, len(genes)))
    means = fit.mean[genes]
    own = _gene_wise(fit, evidence, genes, n_threads)
    if not has_trend(own):
        return np.full((1, len(genes)), np.nan)
    trend = fit_trend(own, means, fit.df_resid)
    return np.asarray((np.log(trend.at(means)) - model.zeta_offset[0]) / model.z[0, 0])[None, :]


def _gene_wise(fit: GlmFit, evidence: Evidence, genes: np.ndarray, n_threads: int) -> np.ndarray:
    """Dispersions that allow for the parameters of the mean, where those are not negligible."""
    kind = fit.settings["dispersion"]
    if kind == "cox_reid" or (kind == "ml" and fit.df_resid >= _PLENTY):
        return fit.dispersion[genes]
    model, found = refit.full_model(fit), []
    for part in ranges(fit, evidence, genes):
        own = np.flatnonzero(part.fit.status != "all_zero")
        assert part.evidence is not None
        ml = refit.maximise(model, part.evidence, own, settings=fit.settings, n_threads=n_threads)
        counts, means = refit.part_of(part.evidence, own), part.fit.mean[own]
        found.append(adjusted_profile(model, counts, ml, means, fit.settings, n_threads=n_threads).mean_alpha)
    return np.concatenate(found)


def _residual_deviance(
    model: Model, evidence: Evidence, genes: np.ndarray, fits: GeneFits, alpha: np.ndarray, n_threads: int
) -> tuple[np.ndarray, np.ndarray]:
    """Adjusted residual deviance and its degrees of freedom, ``(n,)`` each."""
    matrix, offset, weights = evidence.counts.matrix, evidence.gene_offset, evidence.weights
    columns = matrix if len(genes) == matrix.shape[1] else matrix[:, genes]
    return residual_deviances(
        columns.tocsc(),
        model.x,
        model.offset,
        np.nan_to_num(fits.mean_coef),
        alpha,
        np.nan_to_num(info.invert(fits.expected_info, {})),
        gene_offset=None if offset is None else offset[:, genes],
        weights=None if weights is None else weights[:, genes],
        n_threads=n_threads,
    )
