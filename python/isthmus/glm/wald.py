"""`test_glm`: Wald tests of any contrast of a fitted model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy import special

from isthmus import schema
from isthmus.data.wording import did_you_mean, some
from isthmus.errors import InputError
from isthmus.glm.contrasts import contrast_matrix
from isthmus.glm.multiplicity import benjamini_hochberg
from isthmus.glm.result import GlmFit
from isthmus.glm.separation import loads

if TYPE_CHECKING:
    import pandas as pd

_LN2 = np.log(2)
_LATER_METHODS = ("lrt", "score", "qlf")


@dataclass(frozen=True, eq=False)
class Contrast:
    """L theta compared with rhs: over all parameters (k, p) and over the free ones (k, f)."""

    rows: np.ndarray
    free: np.ndarray
    rhs: np.ndarray
    label: str


@dataclass(frozen=True, eq=False)
class Reference:
    """The distribution a single row's statistic is compared with."""

    df_resid: float

    def sf(self, stat: np.ndarray) -> np.ndarray:
        """P(T > stat), accurate in the tail."""
        return np.asarray(special.ndtr(-stat) if np.isinf(self.df_resid) else special.stdtr(self.df_resid, -stat))

    def quantile(self, p: float) -> float:
        """The p-quantile."""
        return float(special.ndtri(p) if np.isinf(self.df_resid) else special.stdtrit(self.df_resid, p))

    def sf_joint(self, stat: np.ndarray, df: np.ndarray) -> np.ndarray:
        """P(chi-square > stat), or P(F > stat / df) with residual degrees of freedom."""
        if np.isinf(self.df_resid):
            return np.asarray(special.chdtrc(df, stat))
        return np.asarray(special.fdtrc(df, self.df_resid, stat / df))


def test_glm(
    fit: GlmFit,
    coef: str | None = None,
    *,
    factor: str | None = None,
    contrast: Any = None,
    reduced: Any = None,
    pairwise: str | None = None,
    versus_rest: str | None = None,
    method: Literal["wald", "lrt", "score", "qlf"] = "wald",
    model: Literal["mean", "dispersion"] = "mean",
    reference: Literal["normal", "t"] = "normal",
    information: Literal["expected", "observed"] = "expected",
    replicate: Any = None,
    sandwich: Literal["CR0", "CR1", "CR2"] = "CR2",
    alternative: str = "two-sided",
    lfc_threshold: float = 0.0,
) -> pd.DataFrame:
    r"""Test a coefficient, a factor or any contrast in every gene.

    One row c of a contrast: ``stat`` = (c'theta - rhs) / sqrt(c' V c), compared with the normal or t distribution.
    Several rows C: ``stat`` = (C theta - rhs)' (C V C')^- (C theta - rhs), chi-square with ``df`` = rank(C V C'), or
    that over ``df`` as F.

    Parameters
    ----------
    fit
        What `fit_glm` returned.
    coef
        Name of one parameter, constrained ones included.
    factor
        Name of a term: all its parameters at once.
    contrast
        A vector ``(p,)``, a matrix ``(k, p)``, a dict of coefficients, or text: ``"b - a"``, ``"2*b - a = 0.5"``
        (several in a list).
    model
        "mean" (log mu) or "dispersion" (log alpha: larger = more variable).
    reference
        "normal", or "t" with cells minus free mean parameters as degrees of freedom.
    information
        "expected" (agrees with glm.nb) or "observed" (joint Hessian, agrees with statsmodels).
    alternative
        "two-sided", "greater" or "less".
    lfc_threshold
        log2; tests against effects up to this size (TREAT, McCarthy & Smyth 2009, Bioinformatics 25:765).
    reduced, pairwise, versus_rest, replicate, sandwich
        Not available yet.
    method
        "wald"; the others are not available yet.

    Returns
    -------
    DataFrame
        One row a gene, in input order; columns in `isthmus.schema.TEST_GLM`. Genes without a p-value take no part in
        ``padj``.

    Raises
    ------
    InputError
        Unknown names or choices; a contrast that the constraints fix.

    Examples
    --------
    >>> import isthmus, numpy as np
    >>> group = np.repeat([0.0, 1.0], 100)
    >>> adata = isthmus.simulate_counts(200, 3, design=np.column_stack([np.ones(200), group]), seed=0)
    >>> fit = isthmus.fit_glm(adata, np.column_stack([np.ones(200), group]), size_factors=None)
    >>> isthmus.test_glm(fit, "x2")["status"].tolist()
    ['ok', 'ok', 'ok']
    """
    if not isinstance(fit, GlmFit):
        msg = f"`fit` must be what fit_glm returned; got {type(fit).__name__}."
        raise InputError(msg)
    _refuse_later(method, reduced, pairwise, versus_rest, replicate)
    alternative = _check_choices(reference, information, alternative, sandwich)
    threshold = _check_threshold(lfc_threshold) * _LN2
    tested = _read_contrast(fit, model, coef, factor, contrast)
    against = Reference(float(fit.df_resid) if reference == "t" else np.inf)
    covariance = fit.free_covariance(model, information=information)
    block = tested.free @ covariance @ tested.free.T
    estimate = tested.rows @ fit.submodel(model).coef  # (k, n_genes)
    status = _status(fit, model, tested)
    if len(tested.rows) == 1:
        values = _single(estimate[0], block[:, 0, 0], tested.rhs[0], status, against, alternative, threshold)
        _set_infinite(fit, model, tested, status, values["estimate"])
    else:
        if alternative != "two-sided" or threshold > 0:
            msg = (
                "`alternative` and `lfc_threshold` need a contrast of one row; several rows are tested against any "
                "departure."
            )
            raise InputError(msg)
        values = _joint(estimate - tested.rhs[:, None], block, status, against)
    return _table(fit, tested, status, values)


test_glm.__test__ = False  # type: ignore[attr-defined]  # pytest collects functions called test_*


# ---- reading
# -----------------------------------------------------------------------------------------------------------


def _refuse_later(method: str, reduced: Any, pairwise: Any, versus_rest: Any, replicate: Any) -> None:
    if method in _LATER_METHODS:
        msg = f"`method` = {method!r} is not available yet; use 'wald'."
        raise InputError(msg)
    if method != "wald":
        msg = f"`method` must be 'wald'; got {method!r}."
        raise InputError(msg)
    later = {"reduced": reduced, "pairwise": pairwise, "versus_rest": versus_rest, "replicate": replicate}
    for name, value in later.items():
        if value is not None:
            msg = f"`{name}` is not available yet; test coefficients with `coef`, `factor` or `contrast`."
            raise InputError(msg)


def _check_choices(reference: str, information: str, alternative: str, sandwich: str) -> str:
    allowed = {
        "reference": (reference, ("normal", "t")),
        "information": (information, ("expected", "observed")),
        "alternative": (alternative, ("two-sided", "two.sided", "greater", "less")),
        "sandwich": (sandwich, ("CR0", "CR1", "CR2")),
    }
    for name, (value, choices) in allowed.items():
        if value not in choices:
            msg = f"`{name}` must be one of {', '.join(choices)}; got {value!r}."
            raise InputError(msg)
    return "two-sided" if alternative == "two.sided" else alternative


def _check_threshold(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not 0 <= float(value) < np.inf:
        msg = f"`lfc_threshold` must be a number of at least 0 (log2); got {value!r}."
        raise InputError(msg)
    return float(value)


def _read_contrast(fit: GlmFit, model: str, coef: Any, factor: Any, contrast: Any) -> Contrast:
    submodel = fit.submodel(model)
    given = [name for name, value in (("coef", coef), ("factor", factor), ("contrast", contrast)) if value is not None]
    names = list(submodel.names)
    if not names:
        msg = '`model` = "dispersion" needs a dispersion model; this fit has none (noise_model="poisson").'
        raise InputError(msg)
    if len(given) != 1:
        got = "none" if not given else " and ".join(f"`{name}`" for name in given)
        msg = (
            f"One of `coef`, `factor` and `contrast` must be given; got {got}. The {model} model's coefficients are "
            f"{some(names, len(names))}."
        )
        raise InputError(msg)
    if coef is not None:
        _check_one_name(coef, "coef", "`factor` or `contrast`")
        rows, rhs, label = _one_coefficient(str(coef), names, model)
    elif factor is not None:
        _check_one_name(factor, "factor", "`contrast`")
        rows, rhs, label = _one_factor(str(factor), submodel.design.terms, len(names), model)
    else:
        rows, rhs, label = contrast_matrix(contrast, names)
    free = rows @ submodel.constraint.free
    if not np.abs(free).max() > 1e-12:
        value = (rows @ submodel.constraint.particular)[0]
        msg = (
            f"`{given[0]}` must not be fixed by the constraints; they set '{label}' to {value:g} in every gene, so "
            "there is nothing to test."
        )
        raise InputError(msg)
    return Contrast(rows, free, rhs, label)


def _check_one_name(value: Any, argument: str, instead: str) -> None:
    if not isinstance(value, str) and np.ndim(value) > 0:
        msg = f"`{argument}` must be one name; got {len(value)} values. Test several at once with {instead}."
        raise InputError(msg)


def _one_coefficient(name: str, names: list[str], model: str) -> tuple[np.ndarray, np.ndarray, str]:
    if name not in names:
        hint = did_you_mean(name, names)
        msg = f"`coef` must name a coefficient of the {model} model ({some(names, len(names))}); got '{name}'. {hint}"
        raise InputError(msg)
    return np.eye(len(names))[[names.index(name)]], np.zeros(1), name


def _one_factor(
    name: str, terms: dict[str, tuple[int, ...]], width: int, model: str
) -> tuple[np.ndarray, np.ndarray, str]:
    if name not in terms:
        labels = list(terms)
        msg = (
            f"`factor` must name a term of the {model} model ({some(labels, len(labels))}); got "
            f"'{name}'. {did_you_mean(name, labels)}"
        )
        raise InputError(msg)
    columns = list(terms[name])
    return np.eye(width)[columns], np.zeros(len(columns)), name


# ---- testing
# -----------------------------------------------------------------------------------------------------------


def _status(fit: GlmFit, model: str, tested: Contrast) -> np.ndarray:
    """The first that applies, for this contrast: a gene separated elsewhere is judged by the rest of its fit."""
    status = fit.status.copy()
    elsewhere = np.flatnonzero(status == "separated")
    at_limit = np.isnan(fit.dispersion_model.free_coef[:, elsewhere]).any(axis=0)
    fitted = np.where(at_limit, "poisson_limit", "ok")
    status[elsewhere] = np.where(fit.converged[elsewhere], fitted, "not_converged")
    for gene, separation in fit.separated(model).items():
        if loads(separation, tested.free).any():
            status[gene] = "separated"
    return status


def _untestable(status: np.ndarray, model_is_limit: np.ndarray) -> np.ndarray:
    return np.isin(status, ("all_zero", "separated", "not_converged")) | model_is_limit


def _single(
    estimate: np.ndarray,
    variance: np.ndarray,
    rhs: float,
    status: np.ndarray,
    against: Reference,
    alternative: str,
    threshold: float,
) -> dict[str, np.ndarray]:
    estimate = np.where(status == "all_zero", np.nan, estimate)
    with np.errstate(invalid="ignore", divide="ignore"):
        se = np.sqrt(np.where(variance > 0, variance, np.nan))
    se[np.isin(status, ("all_zero", "separated"))] = np.nan
    distance = estimate - rhs
    stat, pval = _tail(distance, se, against, alternative, threshold)
    half = against.quantile(0.975) * se
    lost = np.isnan(pval) | (status == "not_converged")
    stat, pval = np.where(lost, np.nan, stat), np.where(lost, np.nan, pval)
    df = np.where(lost, np.nan, 1.0)
    return {
        "estimate": estimate,
        "se": se,
        "ci_low": estimate - half,
        "ci_high": estimate + half,
        "stat": stat,
        "df": df,
        "df_resid": np.where(lost, np.nan, against.df_resid),
        "pval": pval,
    }


def _tail(
    distance: np.ndarray, se: np.ndarray, against: Reference, alternative: str, threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """Statistic and p-value; with a threshold, of the hypothesis that the effect does not exceed it (TREAT)."""
    if alternative == "greater":
        stat = (distance - threshold) / se
        return stat, against.sf(stat)
    if alternative == "less":
        stat = (distance + threshold) / se
        return stat, against.sf(-stat)
    size = np.abs(distance)
    if threshold == 0:
        stat = distance / se
        return stat, 2 * against.sf(np.abs(stat))
    pval = against.sf((size - threshold) / se) + against.sf((size + threshold) / se)
    return np.sign(distance) * np.maximum(size - threshold, 0) / se, pval


def _joint(distance: np.ndarray, block: np.ndarray, status: np.ndarray, against: Reference) -> dict[str, np.ndarray]:
    """The quadratic form with the pseudo-inverse: rows may be dependent under constraints; df is the rank."""
    n = distance.shape[1]
    stat, df, pval = np.full(n, np.nan), np.full(n, np.nan), np.full(n, np.nan)
    usable = np.flatnonzero(np.isfinite(block).all(axis=(1, 2)) & ~_untestable(status, np.zeros(n, dtype=bool)))
    if usable.size:
        matrices = block[usable]
        scale = 1 / np.sqrt(np.maximum(np.einsum("gkk->gk", matrices), np.finfo(float).tiny))
        values, vectors = np.linalg.eigh(matrices * scale[:, :, None] * scale[:, None, :])
        kept = values > 1e-8 * values.max(axis=1, keepdims=True)
        projected = np.einsum("gki,kg,gk->gi", vectors, distance[:, usable], scale, optimize=True)
        stat[usable] = np.sum(np.where(kept, projected**2 / np.where(kept, values, 1), 0), axis=1)
        df[usable] = kept.sum(axis=1)
        pval[usable] = against.sf_joint(stat[usable], df[usable])
        if np.isfinite(against.df_resid):
            stat[usable] /= df[usable]
    nothing = np.full(n, np.nan)
    df_resid = np.where(np.isnan(pval), np.nan, against.df_resid)
    single = dict.fromkeys(("estimate", "se", "ci_low", "ci_high"), nothing)
    return single | {"stat": stat, "df": df, "df_resid": df_resid, "pval": pval}


def _set_infinite(fit: GlmFit, model: str, tested: Contrast, status: np.ndarray, estimate: np.ndarray) -> None:
    for gene, separation in fit.separated(model).items():
        if status[gene] == "separated":
            estimate[gene] = separation.limits(tested.free)[0]


def _table(fit: GlmFit, tested: Contrast, status: np.ndarray, values: dict[str, np.ndarray]) -> pd.DataFrame:
    n = fit.n_genes
    columns = {
        "gene": fit.gene_names,
        "contrast": np.full(n, tested.label, dtype=object),
        "method": np.full(n, "wald", dtype=object),
        "mean": fit.mean,
        "estimate": values["estimate"],
        "log2fc": values["estimate"] / _LN2,
        "se": values["se"],
        "ci_low": values["ci_low"],
        "ci_high": values["ci_high"],
        "stat": values["stat"],
        "df": values["df"],
        "df_resid": values["df_resid"],
        "pval": values["pval"],
        "padj": benjamini_hochberg(values["pval"]),
        "log_likelihood": fit.log_likelihood,
        "status": status,
    }
    return schema.frame(schema.TEST_GLM, columns)
