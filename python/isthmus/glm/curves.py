"""The fitted curve of a continuous covariate: where each gene is lowest and highest along it."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from isthmus import schema
from isthmus.data.wording import did_you_mean, some
from isthmus.errors import InputError
from isthmus.glm.normal import refuse_normal
from isthmus.glm.result import GlmFit
from isthmus.glm.strata import check_one_fit

_INTERCEPTS = ("Intercept", "(Intercept)", "1")


def curve_extremes(fit: GlmFit, covariate: str) -> pd.DataFrame:
    """Lowest and highest point of each gene's curve over the cells' values of a covariate.

    The curve is exp(intercept + the terms with the covariate alone): the expected count at size factor 1 and other
    columns at zero. Its terms may be a spline (``bs``, ``cr``, ``cc``, ``ns``), a polynomial or the covariate itself;
    test them together with ``test_glm(fit, factor=...)``.

    Parameters
    ----------
    fit
        What `fit_glm` returned, its design a formula.
    covariate
        Name of a numeric column in the formula.

    Returns
    -------
    DataFrame
        One row a gene, in input order; columns in `isthmus.schema.CURVES`.

    Raises
    ------
    InputError
        A design without a formula, a covariate that is not in it or not numeric, or only together with others.

    Examples
    --------
    >>> import isthmus
    >>> rng = np.random.default_rng(0)
    >>> cells = pd.DataFrame({"age": rng.uniform(0, 10, 300)})
    >>> counts = rng.poisson(np.exp(3 - (cells[["age"]].to_numpy() - 6) ** 2 / 20))
    >>> fit = isthmus.fit_glm(counts, "~ bs(age, df=5)", cell_data=cells, size_factors=None)
    >>> bool(5 < curve_extremes(fit, "age")["argmax"][0] < 7)
    True
    """
    check_one_fit(fit)
    refuse_normal(fit, "curves of expected counts")
    values = _values(fit, covariate)
    points, first = np.unique(values, return_index=True)
    curve = _curve(fit, covariate, first)
    lowest, highest = np.nan_to_num(curve).argmin(axis=0), np.nan_to_num(curve).argmax(axis=0)
    known = np.isfinite(curve).all(axis=0)
    span = (curve.max(axis=0) - curve.min(axis=0)) / np.log(2)
    columns = {
        "gene": fit.gene_names,
        "min": np.exp(curve.min(axis=0)),
        "max": np.exp(curve.max(axis=0)),
        "argmin": np.where(known, points[lowest], np.nan),
        "argmax": np.where(known, points[highest], np.nan),
        "log2fc": span,
        "status": fit.status,
    }
    return schema.frame(schema.CURVES, columns)


def _values(fit: GlmFit, covariate: str) -> np.ndarray:
    frame = fit.mean_model.design.frame
    known = [] if frame is None else [str(name) for name in frame.columns]
    if frame is None or covariate not in known:
        there = some(known, len(known)) if known else "it has none"
        msg = (
            f"`covariate` must be a column of the fit's formula ({there}); got {covariate!r}. "
            f"{did_you_mean(str(covariate), known)}"
        )
        raise InputError(msg)
    if isinstance(frame[covariate].dtype, pd.CategoricalDtype):
        msg = f"`covariate` must be numeric; '{covariate}' is a factor. Test its levels with pairwise."
        raise InputError(msg)
    return frame[covariate].to_numpy(dtype=float)


def _curve(fit: GlmFit, covariate: str, rows: np.ndarray) -> np.ndarray:
    """Natural log of the expected counts at the points of the covariate, ``(n_points, n_genes)``."""
    design = fit.mean_model.design
    word = re.compile(rf"(?<![\w.]){re.escape(covariate)}(?![\w.])")
    assert design.frame is not None
    others = [re.compile(rf"(?<![\w.]){re.escape(str(n))}(?![\w.])") for n in design.frame.columns if n != covariate]
    alone = [term for term in design.terms if word.search(term) and not any(o.search(term) for o in others)]
    if not alone:
        msg = f"`covariate` must have a term of its own in the formula; '{covariate}' occurs with other columns only."
        raise InputError(msg)
    at = [i for term in [*_INTERCEPTS, *alone] for i in design.terms.get(term, ())]
    reported = fit.coef().to_numpy(dtype=float)[at]
    return np.asarray(design.matrix[rows][:, at] @ np.where(np.isfinite(reported), reported, np.nan))
