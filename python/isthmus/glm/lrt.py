"""Likelihood-ratio tests: twice the log-likelihood that a hypothesis costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from isthmus.glm import kernel, refit

if TYPE_CHECKING:
    from isthmus.glm.hypothesis import Hypothesis
    from isthmus.glm.result import GlmFit
    from isthmus.glm.source import Evidence

_ON_BOUND = 1e-6  # alpha x mean below which the variance is Poisson's to six digits, as in `separation`


@dataclass(frozen=True, eq=False)
class LikelihoodRatio:
    """Over some genes: statistic (NaN where the null fit failed) and p-value."""

    stat: np.ndarray
    pval: np.ndarray


def likelihood_ratio(
    fit: GlmFit, hypothesis: Hypothesis, evidence: Evidence, genes: np.ndarray, *, n_threads: int = 1
) -> LikelihoodRatio:
    r"""2 (l - l_0), l_0 the maximum of the log-likelihood under the hypothesis.

    Both models are refitted where both were fitted by likelihood; a dispersion of another kind is held at its value,
    as edgeR and DESeq2 do. The p-value is that of a chi-square with as many degrees of freedom as the hypothesis has
    independent equations. Where a dispersion lies on its bound alpha = 0 in the null fit or in one of the groups, it is
    that of the mixture :math:`\frac12\chi^2_{r-1} + \frac12\chi^2_r` (Self & Liang 1987, J. Am. Stat. Assoc. 82:605,
    case 5), r being the degrees of freedom.

    Parameters
    ----------
    genes
        ``(n,)`` positions of the genes to test.
    """
    held = fit.dispersion_model.free_coef[:, genes] if refit.dispersion_is_fixed(fit) else None
    null = refit.maximise(
        refit.null_model(fit, hypothesis),
        evidence,
        genes,
        dispersion=held,
        settings=fit.settings,
        n_threads=n_threads,
    )
    stat = 2 * np.maximum(fit.log_likelihood[genes] - null.log_likelihood, 0.0)
    stat[(null.code == kernel.NOT_CONVERGED) | ~np.isfinite(null.log_likelihood)] = np.nan
    pval = special.chdtrc(hypothesis.df, stat)
    if hypothesis.model == "dispersion" and fit.settings["noise_model"] != "normal":
        bound = on_bound(fit, genes) | (null.min_alpha * np.minimum(fit.mean[genes], 1.0) < _ON_BOUND)
        pval[bound] = mixture(stat[bound], hypothesis.df)
    return LikelihoodRatio(stat, pval)


def on_bound(fit: GlmFit, genes: np.ndarray) -> np.ndarray:
    """Where the fit has alpha = 0 in some cells."""
    model = fit.dispersion_model
    rows = np.unique(np.column_stack([model.free_design, model.particular_predictor]), axis=0)
    log_alpha = rows[:, :-1] @ model.free_coef[:, genes] + rows[:, -1:]
    lowest = np.exp(np.minimum(log_alpha.min(axis=0), 0.0))
    return np.isnan(lowest) | (lowest * np.minimum(fit.mean[genes], 1.0) < _ON_BOUND)


def mixture(stat: np.ndarray, df: int) -> np.ndarray:
    """P(X > stat) for the 50:50 mixture of chi-squares with df - 1 and df degrees of freedom; df 0 is a point at 0."""
    smaller = np.where(stat <= 0, 1.0, 0.0) if df == 1 else special.chdtrc(df - 1, stat)
    out = (smaller + special.chdtrc(df, stat)) / 2
    return np.where(np.isnan(stat), np.nan, out)
