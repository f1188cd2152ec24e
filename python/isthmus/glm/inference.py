"""`test_glm`: tests of coefficients, contrasts and smaller models in every gene."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from isthmus import schema
from isthmus.errors import InputError
from isthmus.glm import refit, wald
from isthmus.glm.firth import firth_estimates
from isthmus.glm.hypothesis import Hypothesis, read_hypothesis
from isthmus.glm.lrt import LikelihoodRatio, likelihood_ratio
from isthmus.glm.multiplicity import benjamini_hochberg
from isthmus.glm.result import GlmFit
from isthmus.glm.score import score_at_null, standardised_score
from isthmus.glm.separation import loads
from isthmus.glm.source import Evidence, find_evidence, need_evidence
from isthmus.glm.threads import read_threads
from isthmus.glm.wald import Reference

if TYPE_CHECKING:
    import pandas as pd

    Values = dict[str, np.ndarray]

_LN2 = np.log(2)
_METHODS = ("wald", "lrt", "score")


@dataclass(frozen=True, eq=False)
class Asked:
    """The options of a test, checked."""

    method: str
    reference: str
    information: str
    alternative: str
    threshold: float
    n_threads: int


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
    data: Any = None,
    layer: str | None = None,
    offset: Any = None,
    n_threads: int | None = None,
) -> pd.DataFrame:
    r"""Test a coefficient, a factor, any contrast or a smaller model in every gene.

    "wald": one row c of a contrast has ``stat`` = (c'theta - rhs) / sqrt(c' V c), compared with the normal or t
    distribution; several rows C have ``stat`` = (C theta - rhs)' (C V C')^- (C theta - rhs), chi-square with ``df`` =
    rank(C V C'), or that over ``df`` as F.

    "lrt": ``stat`` = 2 (l - l_0), chi-square with ``df`` independent equations; a hypothesis about dispersions of which
    one lies on its bound alpha = 0 has the 50:50 mixture of ``df - 1`` and ``df`` (Self & Liang 1987). A dispersion
    that was not fitted by maximum likelihood is held.

    "score": ``stat`` = U' I^-1 U at the estimates under the hypothesis (its signed root for one row), referred to the
    same distributions as "wald".

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
    reduced
        A smaller model: a formula (``"~ batch"``), a design matrix that the fit's design can express, or a list of
        coefficients to set to zero.
    method
        "wald", "lrt" or "score".
    model
        "mean" (log mu) or "dispersion" (log alpha: larger = more variable).
    reference
        "normal", or "t" with cells minus free mean parameters as degrees of freedom; not for "lrt".
    information
        "expected" (agrees with glm.nb) or "observed" (joint Hessian, agrees with statsmodels).
    alternative
        "two-sided", "greater" or "less".
    lfc_threshold
        log2; tests against effects up to this size (TREAT, McCarthy & Smyth 2009, Bioinformatics 25:765); "wald" only.
    data, layer
        The counts of the fit once more, as `fit_glm` takes them: the fit keeps none. Only "lrt", "score" and separated
        genes need them, and only where the object that was fitted is no longer around.
    offset
        The fit's offset per cell and gene, if it had one and counts are needed.
    n_threads
        Threads for refits; None = all cores.
    pairwise, versus_rest, replicate, sandwich
        Not available yet.

    Returns
    -------
    DataFrame
        One row a gene, in input order; columns in `isthmus.schema.TEST_GLM`. Genes without a p-value take no part in
        ``padj``. A separated contrast (its estimate is infinite) has no Wald test: its p-value is that of the
        likelihood ratio, as ``method`` says, and ``estimate_penalized`` is Firth's estimate.

    Raises
    ------
    InputError
        Unknown names or choices; a contrast that the constraints fix; a reduced model that is not nested; counts that
        are needed and not there, or not those of the fit.

    Examples
    --------
    >>> import isthmus, numpy as np
    >>> group = np.repeat([0.0, 1.0], 100)
    >>> adata = isthmus.simulate_counts(200, 3, design=np.column_stack([np.ones(200), group]), seed=0)
    >>> fit = isthmus.fit_glm(adata, np.column_stack([np.ones(200), group]), size_factors=None)
    >>> isthmus.test_glm(fit, "x2")["status"].tolist()
    ['ok', 'ok', 'ok']
    >>> isthmus.test_glm(fit, "x2", method="lrt", data=adata)["df"].tolist()
    [1.0, 1.0, 1.0]
    """
    if not isinstance(fit, GlmFit):
        msg = f"`fit` must be what fit_glm returned; got {type(fit).__name__}."
        raise InputError(msg)
    _refuse_later(pairwise, versus_rest, replicate)
    asked = _read_options(method, reference, information, alternative, sandwich, lfc_threshold, n_threads)
    tested = read_hypothesis(fit, model, coef=coef, factor=factor, contrast=contrast, reduced=reduced)
    _check_single(asked, tested)
    evidence = find_evidence(fit, data, layer, offset) if _may_need_counts(fit, asked, data) else None
    return _run(fit, tested, asked, evidence)


test_glm.__test__ = False  # type: ignore[attr-defined]  # pytest collects functions called test_*


# ---- reading
# -----------------------------------------------------------------------------------------------------------


def _refuse_later(pairwise: Any, versus_rest: Any, replicate: Any) -> None:
    later = {"pairwise": pairwise, "versus_rest": versus_rest, "replicate": replicate}
    for name, value in later.items():
        if value is not None:
            msg = f"`{name}` is not available yet; test coefficients with `coef`, `factor` or `contrast`."
            raise InputError(msg)


def _read_options(
    method: str, reference: str, information: str, alternative: str, sandwich: str, threshold: Any, n_threads: Any
) -> Asked:
    allowed = {
        "method": (method, _METHODS),
        "reference": (reference, ("normal", "t")),
        "information": (information, ("expected", "observed")),
        "alternative": (alternative, ("two-sided", "two.sided", "greater", "less")),
        "sandwich": (sandwich, ("CR0", "CR1", "CR2")),
    }
    for name, (value, choices) in allowed.items():
        if value not in choices:
            msg = f"`{name}` must be one of {', '.join(choices)}; got {value!r}."
            raise InputError(msg)
    alternative = "two-sided" if alternative == "two.sided" else alternative
    threshold = _check_threshold(threshold) * _LN2
    if method == "lrt" and reference == "t":
        msg = '`reference` = "t" is for Wald and score tests; a likelihood ratio is compared with a chi-square.'
        raise InputError(msg)
    if method != "wald" and threshold > 0:
        msg = f'`lfc_threshold` needs method="wald"; got {method!r}.'
        raise InputError(msg)
    return Asked(method, reference, information, alternative, threshold, read_threads(n_threads))


def _check_threshold(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not 0 <= float(value) < np.inf:
        msg = f"`lfc_threshold` must be a number of at least 0 (log2); got {value!r}."
        raise InputError(msg)
    return float(value)


def _check_single(asked: Asked, tested: Hypothesis) -> None:
    if not tested.single and (asked.alternative != "two-sided" or asked.threshold > 0):
        msg = (
            "`alternative` and `lfc_threshold` need a contrast of one row; several rows are tested against any "
            "departure."
        )
        raise InputError(msg)


def _may_need_counts(fit: GlmFit, asked: Asked, data: Any) -> bool:
    """Wald tests of genes that are separated nowhere need none. An offset per cell and gene is asked for again, so it
    is only looked for where it must be."""
    if asked.method != "wald" or data is not None:
        return True
    return bool(fit.separations) and not fit.settings["gene_offset"]


# ---- testing
# -----------------------------------------------------------------------------------------------------------


def _run(fit: GlmFit, tested: Hypothesis, asked: Asked, evidence: Evidence | None) -> pd.DataFrame:
    status = _status(fit, tested)
    method = np.full(fit.n_genes, asked.method, dtype=object)
    values = _wald(fit, tested, asked, status)
    if asked.method == "lrt":
        evidence = need_evidence(fit, evidence, 'method="lrt"')
        genes = np.flatnonzero(_testable(fit, tested, status))
        found = likelihood_ratio(fit, tested, evidence, genes, n_threads=asked.n_threads)
        _clear(values)
        _set_ratio(values, genes, found, tested, asked.alternative)
    elif asked.method == "score":
        evidence = need_evidence(fit, evidence, 'method="score"')
        _set_score(fit, tested, asked, evidence, status, values)
    else:
        _test_separated(fit, tested, asked, evidence, status, values, method)
    penalized = _penalized(fit, tested, evidence, status)
    return _table(fit, tested, status, values, method, penalized)


def _status(fit: GlmFit, tested: Hypothesis) -> np.ndarray:
    """The first that applies, for this contrast: a gene separated elsewhere is judged by the rest of its fit."""
    status = fit.status.copy()
    elsewhere = np.flatnonzero(status == "separated")
    at_limit = np.isnan(fit.dispersion_model.free_coef[:, elsewhere]).any(axis=0)
    fitted = np.where(at_limit, "poisson_limit", "ok")
    status[elsewhere] = np.where(fit.converged[elsewhere], fitted, "not_converged")
    for gene, separation in fit.separated(tested.model).items():
        if loads(separation, tested.free).any():
            status[gene] = "separated"
    return status


def _testable(fit: GlmFit, tested: Hypothesis, status: np.ndarray) -> np.ndarray:
    """Genes that a refit under the hypothesis can be compared with."""
    lost = ("all_zero", "not_converged") + (("poisson_limit",) if tested.model == "dispersion" else ())
    return ~np.isin(status, lost) & ~_flat(fit, tested)


def _flat(fit: GlmFit, tested: Hypothesis) -> np.ndarray:
    """Dispersions of cells whose mean is 0: the likelihood says nothing about them."""
    out = np.zeros(fit.n_genes, dtype=bool)
    for gene, separation in fit.separated("dispersion").items() if tested.model == "dispersion" else ():
        out[gene] = not len(separation.faces) and bool(loads(separation, tested.free).any())
    return out


def _wald(fit: GlmFit, tested: Hypothesis, asked: Asked, status: np.ndarray) -> Values:
    against = Reference(float(fit.df_resid) if asked.reference == "t" else np.inf)
    covariance = fit.free_covariance(tested.model, information=asked.information)
    block = tested.free @ covariance @ tested.free.T
    estimate = tested.rows @ fit.submodel(tested.model).coef  # (k, n_genes)
    if not tested.single:
        return wald.joint(estimate - tested.rhs[:, None], block, status, against)
    values = wald.single(
        estimate[0], block[:, 0, 0], tested.rhs[0], status, against, asked.alternative, asked.threshold
    )
    for gene, separation in fit.separated(tested.model).items():
        if status[gene] == "separated":
            values["estimate"][gene] = separation.limits(tested.free)[0]
    return values


def _set_ratio(values: Values, genes: np.ndarray, found: LikelihoodRatio, tested: Hypothesis, alternative: str) -> None:
    """Statistic and p-value of some genes; one-sided ones go by the sign of the estimate."""
    pval = found.pval
    if alternative != "two-sided":
        above = values["estimate"][genes] - tested.rhs[0]
        agrees = above > 0 if alternative == "greater" else above < 0
        pval = np.where(np.isnan(above), np.nan, np.where(agrees, pval / 2, 1 - pval / 2))
    known = ~np.isnan(pval)
    values["stat"][genes] = np.where(known, found.stat, np.nan)
    values["pval"][genes] = pval
    values["df"][genes] = np.where(known, float(tested.df), np.nan)
    values["df_resid"][genes] = np.where(known, np.inf, np.nan)


def _set_score(
    fit: GlmFit, tested: Hypothesis, asked: Asked, evidence: Evidence, status: np.ndarray, values: Values
) -> None:
    genes = np.flatnonzero(_testable(fit, tested, status))
    at = score_at_null(fit, tested, evidence, genes, n_threads=asked.n_threads)
    distance, block = standardised_score(fit, tested, at, asked.information)
    against = Reference(float(fit.df_resid) if asked.reference == "t" else np.inf)
    fine = np.full(len(genes), "ok", dtype=object)
    if tested.single:
        found = wald.single(distance[0], block[:, 0, 0], 0.0, fine, against, asked.alternative, 0.0)
    else:
        found = wald.joint(distance, block, fine, against)
    _clear(values)
    for name in ("stat", "pval", "df", "df_resid"):
        values[name][genes] = found[name]


def _clear(values: Values) -> None:
    for name in ("stat", "pval", "df", "df_resid"):
        values[name] = np.full(len(values[name]), np.nan)


def _test_separated(
    fit: GlmFit,
    tested: Hypothesis,
    asked: Asked,
    evidence: Evidence | None,
    status: np.ndarray,
    values: Values,
    method: np.ndarray,
) -> None:
    """An infinite estimate has no standard error, but the likelihood has a supremum that can be compared."""
    genes = np.flatnonzero((status == "separated") & ~_flat(fit, tested))
    if evidence is None or not genes.size or asked.threshold > 0:
        return
    found = likelihood_ratio(fit, tested, evidence, genes, n_threads=asked.n_threads)
    _set_ratio(values, genes, found, tested, asked.alternative)
    method[genes] = "lrt"


def _penalized(fit: GlmFit, tested: Hypothesis, evidence: Evidence | None, status: np.ndarray) -> np.ndarray:
    """Firth's estimate of a separated contrast of the mean model, at the fit's dispersion."""
    out = np.full(fit.n_genes, np.nan)
    genes = np.flatnonzero(status == "separated")
    if evidence is None or not genes.size or tested.model != "mean" or not tested.single:
        return out
    model = refit.full_model(fit)
    alpha = np.exp(np.minimum(model.z @ fit.dispersion_model.free_coef[:, genes] + model.zeta_offset[:, None], 50.0))
    alpha = np.nan_to_num(alpha) if model.has_dispersion else np.zeros((fit.n_cells, len(genes)))
    free = firth_estimates(model, evidence, genes, alpha)
    out[genes] = (tested.free @ free)[0] + tested.rhs[0] - tested.free_rhs[0]
    return out


def _table(
    fit: GlmFit, tested: Hypothesis, status: np.ndarray, values: Values, method: np.ndarray, penalized: np.ndarray
) -> pd.DataFrame:
    columns = {
        "gene": fit.gene_names,
        "contrast": np.full(fit.n_genes, tested.label, dtype=object),
        "method": method,
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
        "estimate_penalized": penalized,
    }
    return schema.frame(schema.TEST_GLM, columns)
