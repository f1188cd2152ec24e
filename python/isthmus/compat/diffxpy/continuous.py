"""``de.test.continuous_1d``: does expression change along a continuous covariate, by a spline in the model."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from isthmus.compat.diffxpy.fit import read_data
from isthmus.compat.diffxpy.hypotheses import fit_options, rows_to_test, tested_rows
from isthmus.compat.diffxpy.results import ModelTested
from isthmus.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from isthmus.compat.diffxpy.estimator import Estimator

_BASES = {"bs": "bs({name}, df={df})", "cr": 'cr({name}, df={df}, constraints="center")'}
_BASES["cc"] = _BASES["cr"].replace("cr(", "cc(")


class ContinuousTested(ModelTested):
    """The test of a spline, and the fitted curve of each gene.

    ``log2fc`` is the difference between the curve's maximum and minimum over the cells.
    """

    def __init__(self, estimator: Estimator, table: pd.DataFrame, points: np.ndarray, curve: np.ndarray) -> None:
        super().__init__(estimator, table, curve.max(axis=0) - curve.min(axis=0))
        self._points, self._curve = points, curve

    def _of(self, genes: str | Sequence[str] | None) -> np.ndarray:
        if genes is None:
            return self._curve
        return self._curve[:, self.model_estim.fit.gene_index([genes] if isinstance(genes, str) else list(genes))]

    def max(self, genes: str | Sequence[str] | None = None) -> np.ndarray:
        """Largest value of each gene's curve: the expected count at size factor 1 and other covariates at zero."""
        return np.exp(self._of(genes).max(axis=0))

    def min(self, genes: str | Sequence[str] | None = None) -> np.ndarray:
        """Smallest value of each gene's curve."""
        return np.exp(self._of(genes).min(axis=0))

    def argmax(self, genes: str | Sequence[str] | None = None) -> np.ndarray:
        """Where along the covariate each curve is largest."""
        return self._points[self._of(genes).argmax(axis=0)]

    def argmin(self, genes: str | Sequence[str] | None = None) -> np.ndarray:
        """Where along the covariate each curve is smallest."""
        return self._points[self._of(genes).argmin(axis=0)]

    def curves(self) -> pd.DataFrame:
        """Expected counts along the covariate: values of the covariate x genes."""
        return pd.DataFrame(np.exp(self._curve), index=self._points, columns=self.gene_ids)


def continuous_1d(
    data: Any,
    continuous: str,
    factor_loc_totest: str | list[str] | None = None,
    formula_loc: str | None = None,
    df: int = 5,
    spline_basis: str = "bs",
    test: str = "wald",
    gene_names: Any = None,
    sample_description: pd.DataFrame | None = None,
    **model_options: Any,
) -> ContinuousTested:
    """Test whether expression depends on a continuous covariate through a spline of it.

    Parameters
    ----------
    data, gene_names, sample_description
        As for ``de.fit.model``.
    continuous
        A column of numbers.
    factor_loc_totest
        Terms to test together; default: every term with `continuous` in it.
    formula_loc
        Where `continuous` stands, its spline is put; default ``~ 1 + continuous``.
    df
        Columns of the spline, 3 or more for "bs".
    spline_basis
        "bs" (cubic B-splines), "cr" (natural cubic) or "cc" (cyclic).
    test
        "wald" or "lrt".
    **model_options
        As for ``de.fit.model``.
    """
    if spline_basis not in _BASES:
        msg = f"`spline_basis` must be 'bs', 'cr' or 'cc'; got {spline_basis!r}."
        raise InputError(msg)
    if test not in ("wald", "lrt"):
        msg = f"`test` must be 'wald' or 'lrt'; got {test!r}."
        raise InputError(msg)
    counts = read_data(data, gene_names, sample_description)
    if counts.cell_data is None or continuous not in counts.cell_data.columns:
        msg = f"`continuous` must be a column of the cell data; there is none named {continuous!r}."
        raise InputError(msg)
    spline = _BASES[spline_basis].format(name=continuous, df=df)
    formula = _word(continuous).sub(spline, formula_loc or f"~ 1 + {continuous}")
    numeric = (continuous, *np.atleast_1d(model_options.pop("as_numeric", ())))
    estimator = fit_options(counts, model_options | {"formula_loc": formula, "as_numeric": numeric})
    terms = _spline_terms(estimator, continuous)
    tested = [factor_loc_totest] if isinstance(factor_loc_totest, str) else list(factor_loc_totest or terms)
    tested = [name for term in tested for name in (terms if term == continuous else [term])]
    table = tested_rows(estimator, rows_to_test(estimator, tested, None), method=test)
    values = counts.cell_data[continuous].to_numpy(dtype=float)
    points, first = np.unique(values, return_index=True)
    return ContinuousTested(estimator, table, points, _curve(estimator, terms, first))


def _word(name: str) -> re.Pattern[str]:
    """The name where it is not part of a longer one."""
    return re.compile(rf"(?<![\w.]){re.escape(name)}(?![\w.])")


def _spline_terms(estimator: Estimator, continuous: str) -> list[str]:
    """The terms of the design with the covariate alone in them, else those with it at all."""
    terms = list(estimator.fit.mean_model.design.terms)
    having = [term for term in terms if _word(continuous).search(term)]
    if not having:
        msg = f"`formula_loc` must have {continuous!r} in it."
        raise InputError(msg)
    return having


def _curve(estimator: Estimator, terms: list[str], rows: np.ndarray) -> np.ndarray:
    """Log of the expected counts at the points of the covariate: the intercept and the spline's main effect."""
    design = estimator.fit.mean_model.design
    main = [term for term in terms if ":" not in term] or terms
    at = [i for term in ["Intercept", "1", *main] for i in design.terms.get(term, ())]
    return design.matrix[rows][:, at] @ estimator.par_link_loc[at]
