"""From diffxpy's arguments to a fitted model and the rows of the contrast that is tested."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from isthmus.compat.diffxpy import options
from isthmus.compat.diffxpy.estimator import Estimator
from isthmus.compat.diffxpy.fit import model
from isthmus.compat.diffxpy.results import ModelTested
from isthmus.compat.wording import no_effect
from isthmus.errors import InputError
from isthmus.glm.inference import test_glm


def fit_options(data: Any, given: dict[str, Any]) -> Estimator:
    """Fit `model`; two options of diffxpy's tests have no effect."""
    for name in ("backend", "train_args"):
        if name in given:
            no_effect(name, "there is one engine, and its fit is exact")
    return model(data, **{name: value for name, value in given.items() if name not in ("backend", "train_args")})


def rows_to_test(estimator: Estimator, factors: Any, coefs: Any) -> np.ndarray:
    """One row of a contrast per coefficient."""
    if (factors is None) == (coefs is None):
        msg = "One of `factor_loc_totest` and `coef_to_test` must be given, and not both."
        raise InputError(msg)
    design = estimator.fit.mean_model.design
    names = list(design.names)
    at: list[int] = []
    for factor in options.names_tuple(factors or ()):
        if factor not in design.terms:
            msg = f"`factor_loc_totest` must be a term of the location formula; {factor!r} is none. Terms: "
            raise InputError(msg + ", ".join(map(repr, design.terms)) + ".")
        at += design.terms[factor]
    for coef in options.names_tuple(coefs or ()):
        if coef not in names:
            msg = f"`coef_to_test` must name coefficients; {coef!r} is none. Coefficients: {', '.join(names)}."
            raise InputError(msg)
        at.append(names.index(coef))
    return np.eye(len(names))[at]


def tested_rows(estimator: Estimator, rows: np.ndarray, method: str = "wald") -> pd.DataFrame:
    """The table of a contrast of some rows."""
    contrast = rows[0] if len(rows) == 1 else rows
    return test_glm(estimator.fit, contrast=contrast, method=method, data=estimator.counts)  # type: ignore[arg-type]


def tested_contrast(estimator: Estimator, weights: dict[int, float]) -> ModelTested:
    """The test of a weighted sum of coefficients, given by position."""
    row = np.zeros(len(estimator.fit.mean_model.names))
    row[list(weights)] = list(weights.values())
    table = test_glm(estimator.fit, contrast=row)
    return ModelTested(estimator, table, table["estimate"].to_numpy())


def dropped_rows(estimator: Estimator, reduced_formula: str) -> np.ndarray:
    """Rows for the coefficients of terms that the reduced formula lacks."""
    design = estimator.fit.mean_model.design
    kept = {term.strip() for term in reduced_formula.lstrip("~ ").split("+")}
    at = [i for term, columns in design.terms.items() if term not in kept | {"1", "Intercept"} for i in columns]
    return np.eye(len(design.names))[at]


def largest_change(estimator: Estimator, rows: np.ndarray) -> np.ndarray:
    """The tested coefficient with the largest absolute value of each gene, natural log."""
    if not len(rows):
        return np.full(estimator.fit.n_genes, np.nan)
    every = estimator.fit.coef("mean").to_numpy()
    with np.errstate(invalid="ignore"):  # infinite estimates of coefficients that a row does not ask for
        coef = np.stack([np.where(row[:, None] == 0, 0.0, row[:, None] * every).sum(axis=0) for row in rows])
    return np.take_along_axis(coef, np.abs(coef).argmax(axis=0)[None], axis=0)[0]
