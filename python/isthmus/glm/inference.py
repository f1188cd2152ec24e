"""`test_glm`: tests of coefficients, contrasts and smaller models in every gene."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd

from isthmus import schema
from isthmus.errors import InputError
from isthmus.glm import refit
from isthmus.glm.hypothesis import Hypothesis, read_hypothesis
from isthmus.glm.level_contrasts import levels_against_rest, pairs_of_levels
from isthmus.glm.methods import Answer, Asked, answers
from isthmus.glm.multiplicity import benjamini_hochberg
from isthmus.glm.nested_terms import warn_nested
from isthmus.glm.normal import refuse_normal
from isthmus.glm.qlf import check_quasi
from isthmus.glm.replicates import check_contrast, read_replicates
from isthmus.glm.result import GlmFit
from isthmus.glm.separation import loads
from isthmus.glm.source import find_evidence, need_evidence
from isthmus.glm.strata import GlmFits, test_by
from isthmus.glm.threads import read_threads

_LN2 = np.log(2)
_METHODS = ("wald", "lrt", "score", "qlf")


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
    rest: Literal["mean", "pooled"] = "mean",
    data: Any = None,
    layer: str | None = None,
    offset: Any = None,
    weights: Any = None,
    n_threads: int | None = None,
) -> pd.DataFrame:
    r"""Test a coefficient, a factor, any contrast or a smaller model in every gene.

    "wald": one row c of a contrast has ``stat`` = (c'theta - rhs) / sqrt(c' V c), compared with the normal or t
    distribution; several rows C have ``stat`` = (C theta - rhs)' (C V C')^- (C theta - rhs), chi-square with ``df`` =
    rank(C V C'), or that over ``df`` as F.

    "lrt": ``stat`` = 2 (l - l_0), chi-square with ``df`` independent equations; a hypothesis about dispersions of which
    one lies on its bound alpha = 0 has the 50:50 mixture of ``df - 1`` and ``df`` (Self & Liang 1987). A dispersion
    that was not fitted by maximum likelihood is held.

    "qlf": quasi-likelihood F (`isthmus.glm.qlf`): the mean refitted at the trend of the dispersions, estimates and
    standard errors those of the refit, ``df_resid`` = residual + prior degrees of freedom. For few replicates.

    "score": ``stat`` = U' I^-1 U at the estimates under the hypothesis (its signed root for one row), referred to the
    same distributions as "wald".

    Parameters
    ----------
    fit
        What `fit_glm` returned. Of fits `by` level each is tested, and the table begins with the level.
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
        "wald", "lrt", "score" or "qlf".
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
        The counts of the fit once more, as `fit_glm` takes them: the fit keeps none. Only "lrt", "score", "qlf",
        `replicate` and separated genes need them, and only where the object that was fitted is no longer around. What
        is stored is read in ranges of genes, as `fit_glm` does.
    offset, weights
        The fit's offset or weights per cell and gene, if it had such and counts are needed.
    n_threads
        Threads for refits; None = all cores.
    replicate
        Which cells belong together (donors, samples): a column of the cells' data, or one label per cell. The variance
        is then that between replicates (`isthmus.glm.sandwich`), with t or F distributions on the degrees of freedom
        that they leave. "wald" and "score" of the mean model.
    sandwich
        "CR0", "CR1" or "CR2" (default: unbiased under the model); the degrees of freedom are Satterthwaite's.
    pairwise
        Name of a factor: every pair of its levels, ``b - a``, one block of rows a pair. One fit serves them all.
    versus_rest
        Name of a factor: each level against the mean of the others' coefficients.
    rest
        How `versus_rest` weighs the others: "mean" (equally) or "pooled" (by their numbers of cells).

    Returns
    -------
    DataFrame
        One row a gene, in input order (with `pairwise` and `versus_rest` one block of them a contrast, each adjusted by
        itself); columns in `isthmus.schema.TEST_GLM`. Genes without a p-value take no part in
        ``padj``. A separated contrast (its estimate is infinite) has no Wald test: its p-value is that of the
        likelihood ratio, as ``method`` says, and ``estimate_penalized`` is Firth's estimate.

    Raises
    ------
    InputError
        Unknown names or choices; a contrast that the constraints fix; a reduced model that is not nested; counts that
        are needed and not there, or not those of the fit; a contrast that the replicates' own effects absorb.

    Warns
    -----
    ReplicateWarning
        Fewer than 4 replicates in an arm, or one with over 3 times the median number of cells. Without `replicate`,
        once a fit: a tested term is constant within a column of labels with many cells each.

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
    if isinstance(fit, GlmFits):
        return test_by(fit, test_glm, {name: value for name, value in locals().items() if name != "fit"})
    if not isinstance(fit, GlmFit):
        msg = f"`fit` must be what fit_glm returned; got {type(fit).__name__}."
        raise InputError(msg)
    asked = _read_options(method, reference, information, alternative, sandwich, lfc_threshold, n_threads)
    one = {"coef": coef, "factor": factor, "contrast": contrast, "reduced": reduced}
    hypotheses = _read_hypotheses(fit, model, one, pairwise, versus_rest, rest)
    for tested in hypotheses:
        _check_single(asked, tested)
    if method == "qlf":
        refuse_normal(fit, 'method="qlf"')
        check_quasi(fit, hypotheses[0])
    if asked.threshold > 0:
        refuse_normal(fit, "`lfc_threshold`")
    _check_likelihood(fit, asked, hypotheses[0])
    _check_reference(fit, asked)
    if replicate is None:
        for tested in hypotheses:
            warn_nested(fit, tested)
        needed = _may_need_counts(fit, asked, hypotheses, data)
        evidence = find_evidence(fit, data, layer, offset, weights, keep_stored=True) if needed else None
        replicates = None
    else:
        _check_robust(fit, asked)
        found = find_evidence(fit, data, layer, offset, keep_stored=True)
        evidence = need_evidence(fit, found, "`replicate`")
        replicates = read_replicates(replicate, fit, evidence)
        for place, tested in enumerate(hypotheses):
            check_contrast(fit, tested, replicates, warn=place == 0)
    found_all = answers(fit, hypotheses, asked, evidence, replicates)
    tables = [_table(fit, tested, one_found) for tested, one_found in zip(hypotheses, found_all, strict=True)]
    return tables[0] if len(tables) == 1 else pd.concat(tables, ignore_index=True)


test_glm.__test__ = False  # type: ignore[attr-defined]  # pytest collects functions called test_*


# ---- reading
# -----------------------------------------------------------------------------------------------------------


def _read_hypotheses(
    fit: GlmFit, model: str, one: dict[str, Any], pairwise: Any, versus_rest: Any, rest: str
) -> list[Hypothesis]:
    """One hypothesis, or one for each pair of levels, or one a level."""
    if rest not in ("mean", "pooled"):
        msg = f"`rest` must be one of mean, pooled; got {rest!r}."
        raise InputError(msg)
    many = {"pairwise": pairwise, "versus_rest": versus_rest}
    given = [name for name, value in (many | one).items() if value is not None]
    if (pairwise is not None or versus_rest is not None) and len(given) > 1:
        msg = f"`{given[0]}` makes contrasts of its own; got {' and '.join(f'`{name}`' for name in given[1:])} too."
        raise InputError(msg)
    if pairwise is not None:
        return pairs_of_levels(fit, model, pairwise)
    if versus_rest is not None:
        return levels_against_rest(fit, model, versus_rest, "pooled" if rest == "pooled" else "mean")
    return [read_hypothesis(fit, model, **one)]


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
    if method in ("lrt", "qlf") and reference == "t":
        law = "a likelihood ratio is compared with a chi-square" if method == "lrt" else "quasi-likelihood has its F"
        msg = f'`reference` = "t" is for Wald and score tests; {law}.'
        raise InputError(msg)
    if method != "wald" and threshold > 0:
        msg = f'`lfc_threshold` needs method="wald"; got {method!r}.'
        raise InputError(msg)
    return Asked(method, reference, information, alternative, threshold, read_threads(n_threads), sandwich)


def _check_robust(fit: GlmFit, asked: Asked) -> None:
    if fit.settings.get("weights"):
        msg = (
            "`replicate` is for fits without observation weights. Sum the cells of each replicate with pseudobulk() "
            "first, or fit without `weights`."
        )
        raise InputError(msg)
    if asked.method not in ("wald", "score"):
        msg = (
            f'`replicate` is for method="wald" and "score"; got "{asked.method}". For quasi-likelihood sum the '
            "cells of each replicate with pseudobulk() first."
        )
        raise InputError(msg)
    if asked.information == "observed":
        msg = "`replicate` takes the expected information; leave `information` out."
        raise InputError(msg)


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


def _check_likelihood(fit: GlmFit, asked: Asked, tested: Hypothesis) -> None:
    if asked.method != "wald" and tested.model == "dispersion" and refit.dispersion_is_fixed(fit):
        msg = (
            f'`method` = "{asked.method}" of the dispersion model needs dispersions fitted by maximum likelihood; this '
            f'fit has dispersion="{fit.settings["dispersion"]}". Fit it with dispersion="ml", or use "wald".'
        )
        raise InputError(msg)


def _check_reference(fit: GlmFit, asked: Asked) -> None:
    if asked.reference == "t" and fit.weights is None and fit.settings.get("zero_weights"):
        msg = (
            '`reference` = "t" needs the same degrees of freedom in every gene; this fit has weights of 0 in some '
            'cells of some genes. Use "normal".'
        )
        raise InputError(msg)


def _may_need_counts(fit: GlmFit, asked: Asked, hypotheses: list[Hypothesis], data: Any) -> bool:
    """Wald tests need none unless a gene is separated in a contrast. An offset or weights per cell and gene are asked
    for again, so they are only looked for where they must be."""
    if asked.method != "wald" or data is not None:
        return True
    asks = fit.settings["gene_offset"] or fit.settings.get("weights") == "observations"
    separations = [] if asks else list(fit.separated(hypotheses[0].model).values())
    return any(loads(s, tested.free).any() for tested in hypotheses for s in separations)


def _table(fit: GlmFit, tested: Hypothesis, found: Answer) -> pd.DataFrame:
    values = found.values
    columns = {
        "gene": fit.gene_names,
        "contrast": np.full(fit.n_genes, tested.label, dtype=object),
        "method": found.method,
        "mean": fit.mean,
        "estimate": values["estimate"],
        "log2fc": values["estimate"] / (np.nan if fit.settings["noise_model"] == "normal" else _LN2),
        "se": values["se"],
        "ci_low": values["ci_low"],
        "ci_high": values["ci_high"],
        "stat": values["stat"],
        "df": values["df"],
        "df_resid": values["df_resid"],
        "pval": values["pval"],
        "padj": benjamini_hochberg(values["pval"]),
        "log_likelihood": fit.log_likelihood,
        "status": found.status,
        "estimate_penalized": found.penalized,
    }
    return schema.frame(schema.TEST_GLM, columns)
