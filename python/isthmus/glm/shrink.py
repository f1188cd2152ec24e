r"""Fold changes drawn towards zero for display and ranking: the mode of the posterior at the fit's dispersions.

.. math:: \hat\gamma = \arg\max_\gamma\; l(\gamma) + \sum_k \log p_k(L_k\gamma)

* "cauchy": the asked contrast has a Cauchy prior around 0 whose scale is learnt from all genes, every other free
  parameter a normal one with a standard deviation of 15 (Zhu, Ibrahim & Love 2019, Bioinformatics 35:2084; the package
  apeglm). Large effects keep their size. The scale's square A solves
  :math:`\sum_g (\hat\beta_g^2 - s_g^2) / (A + s_g^2)^2 = 0`; the scale is at most 1.
* "normal": every parameter but the intercept has a normal prior whose width makes the upper 5 % of the absolute
  estimates, weighted by their precision, those of a normal distribution (Love, Huber & Anders 2014, Genome Biol.
  15:550, section "Empirical Bayes prior for log fold changes"). Large effects shrink too.

The standard deviation is that of the normal approximation at the mode.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from scipy import special
from scipy.optimize import brentq

from isthmus import schema
from isthmus.errors import InputError
from isthmus.glm import refit
from isthmus.glm.hypothesis import Hypothesis, read_hypothesis
from isthmus.glm.inference import test_glm
from isthmus.glm.normal import refuse_normal
from isthmus.glm.posterior import Penalty, posterior_modes
from isthmus.glm.source import find_evidence, need_evidence
from isthmus.glm.strata import check_one_fit
from isthmus.glm.trend import Trend, fit_trend, has_trend

if TYPE_CHECKING:
    from isthmus.glm.result import GlmFit
    from isthmus.glm.source import Evidence

_PRIORS = ("cauchy", "normal")
_OTHERS_SD = 15.0  # natural log: no shrinkage to speak of
_LARGEST_SCALE = 1.0
_UPPER = 0.05
_FINITE = 10 * np.log(2)  # larger estimates say nothing about the prior
_FLAT_SD = 1e3  # of an intercept


def shrink_glm(
    fit: GlmFit,
    coef: str | None = None,
    *,
    contrast: Any = None,
    prior: Literal["cauchy", "normal"] = "cauchy",
    scale: float | None = None,
    data: Any = None,
    layer: str | None = None,
    offset: Any = None,
    weights: Any = None,
) -> pd.DataFrame:
    """Shrunken estimates of a coefficient or contrast of the mean model (`isthmus.glm.shrink`). They are for plots and
    rankings: test with `test_glm`.

    Parameters
    ----------
    fit
        What `fit_glm` returned.
    coef, contrast
        One of the two, as in `test_glm`; one row.
    prior
        "cauchy" (apeglm's) or "normal" (DESeq2's of this name).
    scale
        Scale or standard deviation of the prior, natural log; None learns it from the genes (with "normal" one for each
        parameter). Smaller shrinks more.
    data, layer, offset, weights
        The fit's counts, and its offset and weights per cell and gene if it had such, once more: as in `test_glm`.

    Returns
    -------
    DataFrame
        One row a gene, in input order; columns in `isthmus.schema.SHRUNKEN`.

    Raises
    ------
    InputError
        Unknown names or choices; several rows; a scale that is not positive, or too few genes to learn it from; counts
        that are not there.

    Examples
    --------
    >>> import isthmus
    >>> design = np.column_stack([np.ones(20), np.repeat([0.0, 1.0], 10)])
    >>> adata = isthmus.simulate_counts(20, 30, design=design, seed=1)
    >>> fit = isthmus.fit_glm(adata, design, size_factors=None)
    >>> shrunken = shrink_glm(fit, "x2", data=adata)
    >>> bool((shrunken["log2fc"].abs() <= shrunken["log2fc_ml"].abs() + 1e-6).mean() > 0.9)
    True
    """
    check_one_fit(fit)
    refuse_normal(fit, "shrunken fold changes")
    if prior not in _PRIORS:
        msg = f"`prior` must be one of {', '.join(_PRIORS)}; got {prior!r}."
        raise InputError(msg)
    _check_scale(scale)
    if (coef is None) == (contrast is None):
        msg = f"One of `coef` and `contrast` must be given; got {'none' if coef is None else 'both'}."
        raise InputError(msg)
    wanted = read_hypothesis(fit, "mean", coef=coef, factor=None, contrast=contrast, reduced=None)
    if not wanted.single or wanted.rhs.any():
        msg = "`contrast` must be one row compared with 0: a prior draws one number towards 0."
        raise InputError(msg)
    evidence = need_evidence(fit, find_evidence(fit, data, layer, offset, weights), "shrinkage")
    test = test_glm(fit, contrast=wanted.rows[0])
    penalty, width = (_cauchy if prior == "cauchy" else _normal)(fit, wanted, test, scale)
    return _table(fit, wanted, test, penalty, width, evidence)


def _check_scale(scale: Any) -> None:
    if scale is None:
        return
    if isinstance(scale, bool) or not isinstance(scale, (int, float, np.number)) or not 0 < float(scale) < np.inf:
        msg = f"`scale` must be a positive number (natural log), or None to learn it from the genes; got {scale!r}."
        raise InputError(msg)


def _table(
    fit: GlmFit, wanted: Hypothesis, test: pd.DataFrame, penalty: Penalty, width: float, evidence: Evidence
) -> pd.DataFrame:
    genes = np.flatnonzero((fit.status != "all_zero") & (fit.converged | (fit.status == "separated")))
    start = fit.mean_model.free_coef[:, genes]
    dispersion = fit.dispersion_model.free_coef[:, genes]
    modes, covariance = posterior_modes(refit.full_model(fit), evidence, genes, start, dispersion, penalty)
    row = wanted.free[0]
    fixed = float(wanted.rows[0] @ fit.mean_model.constraint.particular)
    estimate, sd = np.full(fit.n_genes, np.nan), np.full(fit.n_genes, np.nan)
    estimate[genes] = row @ modes + fixed
    sd[genes] = np.sqrt(np.einsum("f,gfh,h->g", row, covariance, row))
    columns = {
        "gene": fit.gene_names,
        "contrast": np.full(fit.n_genes, wanted.label, dtype=object),
        "mean": fit.mean,
        "estimate": estimate,
        "log2fc": estimate / np.log(2),
        "sd": sd,
        "log2fc_ml": test["log2fc"].to_numpy(),
        "prior_scale": np.full(fit.n_genes, width),
        "status": test["status"].to_numpy(),
    }
    return schema.frame(schema.SHRUNKEN, columns)


# ---- priors
# ------------------------------------------------------------------------------------------------------------


def _usable(test: pd.DataFrame) -> np.ndarray:
    known = test["se"].notna() & np.isfinite(test["estimate"]) & (test["estimate"].abs() < _FINITE)
    if known.sum() < 2:
        msg = f"`scale` cannot be learnt from {int(known.sum())} genes with a finite estimate; give it."
        raise InputError(msg)
    return known.to_numpy()


def _cauchy(fit: GlmFit, wanted: Hypothesis, test: pd.DataFrame, scale: float | None) -> tuple[Penalty, float]:
    if scale is None:
        known = _usable(test)
        estimate, se = (test[name].to_numpy(dtype=float)[known] for name in ("estimate", "se"))
        scale = min(np.sqrt(prior_variance(estimate, se)), _LARGEST_SCALE)
    row = wanted.free[0]
    others = np.eye(len(row))
    alone = np.flatnonzero(row)
    if len(alone) == 1:  # the parameter itself has the Cauchy prior only
        others = np.delete(others, alone[0], axis=0)
    return Penalty(others, np.full(len(others), _OTHERS_SD**-2), row, float(scale)), float(scale)


def prior_variance(estimate: np.ndarray, se: np.ndarray) -> float:
    """The variance A of true effects behind estimates with these standard errors (Efron & Morris 1975, J. Am. Stat.
    Assoc. 70:311): sum (b^2 - s^2) / (A + s^2)^2 = 0, at least 1e-6."""

    def excess(a: float) -> float:
        return float(np.sum((estimate**2 - se**2) / (a + se**2) ** 2) / np.sum((a + se**2) ** -2.0)) - a

    least, most = 1e-6, 400.0
    if excess(least) <= 0:
        return least
    return most if excess(most) >= 0 else float(brentq(excess, least, most, xtol=1e-12, rtol=1e-10))


def _normal(fit: GlmFit, wanted: Hypothesis, test: pd.DataFrame, scale: float | None) -> tuple[Penalty, float]:
    """All parameters but the intercept; the scale that is reported is that of the contrast (its own prior's)."""
    rows = fit.mean_model.constraint.free
    named = [k for k, name in enumerate(fit.mean_model.names) if name not in ("Intercept", "(Intercept)")]
    weights = None if scale is not None else _precision(fit, test)
    variances = []
    for k in named:
        if weights is None:
            variances.append(float(scale or 0) ** 2)
            continue
        estimate = fit.coef().to_numpy(dtype=float)[k]
        fine = np.isfinite(estimate) & (np.abs(estimate) < _FINITE) & (weights > 0)
        variances.append(upper_quantile_variance(estimate[fine], weights[fine]))
    inverse = 1 / np.maximum(variances, 1e-12)
    both = np.vstack([rows[named], rows]) if len(named) < len(rows) else rows[named]
    precision = np.concatenate([inverse, np.full(len(both) - len(named), _FLAT_SD**-2)])
    width = np.sqrt(np.sum(wanted.rows[0][named] ** 2 * np.asarray(variances)))
    return Penalty(both, precision), float(width)


def _precision(fit: GlmFit, test: pd.DataFrame) -> np.ndarray:
    """1 / (1 / mean + dispersion of the trend): what a gene's estimate weighs."""
    known = _usable(test)
    means = np.where(known & (fit.mean > 0), fit.mean, np.nan)
    if "trend" in fit.settings:
        alpha = Trend(**fit.settings["trend"]).at(means)
    elif has_trend(fit.dispersion):
        alpha = fit_trend(fit.dispersion, fit.mean, fit.df_resid).at(means)
    else:
        alpha = np.full(fit.n_genes, np.nanmean(fit.dispersion))
    return np.nan_to_num(1 / (1 / means + alpha))


def upper_quantile_variance(values: np.ndarray, weights: np.ndarray) -> float:
    """The variance of the normal distribution whose upper 5 % of absolute values begin where those of `values` do."""
    if not len(values):
        return _FLAT_SD**2
    quantile = weighted_quantile(np.abs(values), weights, 1 - _UPPER)
    return float((quantile / special.ndtri(1 - _UPPER / 2)) ** 2)


def weighted_quantile(values: np.ndarray, weights: np.ndarray, share: float) -> float:
    """The quantile (type 7) of values that occur as often as their weights say, scaled to as many as there are."""
    order = np.argsort(values)
    n = len(values)
    reached = np.cumsum(weights[order]) * n / weights.sum()
    place = 1 + (n - 1) * share
    low = max(np.floor(place), 1.0)
    ends = [values[order][min(int(np.searchsorted(reached, at - 1e-9 * n)), n - 1)] for at in (low, min(low + 1, n))]
    return float((1 - place % 1) * ends[0] + (place % 1) * ends[1])
