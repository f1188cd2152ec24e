"""Every column of every table: type, unit, meaning, and when it is missing.

Read by the docs, the tables and both test suites.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Mapping


class Column(NamedTuple):
    """One column: numpy dtype name ("str" for text), unit ("" for none), meaning, and when it is NaN or missing."""

    dtype: str
    unit: str
    meaning: str
    missing: str = "never"


_GENE = Column("str", "", "gene name")
_STATUS = Column("str", "", "first that applies: all_zero, separated, not_converged, poisson_limit, ok")
_MODEL = Column("str", "", '"mean" (log mu) or "dispersion" (log alpha)')

GLM_COEFFICIENTS = {
    "gene": _GENE,
    "model": _MODEL,
    "term": Column("str", "", "name of the parameter"),
    "estimate": Column(
        "float64",
        "natural log",
        "maximum-likelihood estimate; -Inf or Inf where the likelihood rises for ever",
        "all_zero; dispersion at the Poisson limit; infinite in no definite direction",
    ),
    "se": Column(
        "float64", "natural log", "standard error from the expected information", "as estimate; infinite estimates"
    ),
    "dependent": Column("bool", "", "follows from the other parameters through a constraint"),
}

GLM_GENES = {
    "gene": _GENE,
    "status": _STATUS,
    "mean": Column("float64", "counts", "mean over cells of count / size factor", "all_zero"),
    "dispersion": Column(
        "float64", "", "alpha of Var = mu + alpha mu^2, averaged over cells; 0 at the Poisson limit", "all_zero"
    ),
    "log_likelihood": Column("float64", "natural log", "log-likelihood with every constant", "all_zero"),
    "n_iter": Column("int32", "", "Newton steps"),
}

TEST_GLM = {
    "gene": _GENE,
    "contrast": Column("str", "", "what is tested"),
    "method": Column("str", "", "test that gave the p-value"),
    "mean": Column("float64", "counts", "mean over cells of count / size factor", "all_zero"),
    "estimate": Column(
        "float64",
        "natural log",
        "value of the contrast",
        "several rows tested at once; all_zero; poisson_limit in the dispersion model",
    ),
    "log2fc": Column("float64", "log2", "estimate / ln 2", "as estimate"),
    "se": Column("float64", "natural log", "standard error of the estimate", "as estimate; separated"),
    "ci_low": Column("float64", "natural log", "lower end of the 95 % interval", "as se"),
    "ci_high": Column("float64", "natural log", "upper end of the 95 % interval", "as se"),
    "stat": Column("float64", "", "z or t for one row; chi-square or F for several", "no p-value"),
    "df": Column("float64", "", "rank of the contrast", "no p-value"),
    "df_resid": Column("float64", "", "cells minus free mean parameters; Inf for the normal reference", "no p-value"),
    "pval": Column(
        "float64", "", "p-value", "status all_zero, separated or not_converged; poisson_limit in the dispersion model"
    ),
    "padj": Column("float64", "", "Benjamini-Hochberg over the rows with a p-value", "as pval"),
    "log_likelihood": Column("float64", "natural log", "log-likelihood of the fit, with every constant", "all_zero"),
    "status": Column("str", "", "as in the genes table, decided for this contrast"),
}

_BATCH = Column("str", "", 'label of the batch; "all" where there is one')
_TIME = Column("str", "", "label of the time point; dates as ISO 8601")
_SERIES = Column("str", "", "name of the series")
_FACTOR = Column("str", "", "name of the factor")
_LEFT_OUT = "series constant or empty in this batch"

FACTORS = {
    "batch": _BATCH,
    "time": _TIME,
    "factor": _FACTOR,
    "filtered": Column("float64", "innovation sd", "mean of the factor given the data up to this time"),
    "filtered_sd": Column("float64", "innovation sd", "its standard deviation, parameters taken as known"),
    "smoothed": Column("float64", "innovation sd", "mean of the factor given all data"),
    "smoothed_sd": Column("float64", "innovation sd", "its standard deviation, parameters taken as known"),
}

LOADINGS = {
    "batch": _BATCH,
    "series": _SERIES,
    "factor": _FACTOR,
    "loading": Column(
        "float64", "sd of the series per unit of the factor", "lambda of the standardised series", _LEFT_OUT
    ),
    "se": Column(
        "float64",
        "as loading",
        "standard error from the observed information under the stated normalisation; a rotation towards another batch "
        "is taken as given",
        _LEFT_OUT + "; not identified; engine statsmodels",
    ),
    "r2": Column("float64", "", "squared correlation of the series with the smoothed factor where observed", _LEFT_OUT),
    "idio_ar1": Column("float64", "", "phi of the series' own AR(1) term; 0 where iid", _LEFT_OUT),
    "idio_var": Column("float64", "variance of the series", "variance of that term's innovation", _LEFT_OUT),
}

STATS = {
    "batch": _BATCH,
    "n_time": Column("int32", "", "time points, after a first row that differencing emptied was dropped"),
    "n_series": Column("int32", "", "series that took part"),
    "n_missing": Column("int32", "", "missing values among them"),
    "n_factors": Column("int32", "", "factors; 0 where the batch failed"),
    "log_likelihood": Column("float64", "natural log", "of the standardised panel, with every constant", "failed"),
    "aic": Column("float64", "", "2 k - 2 log-likelihood, k = identified parameters", "failed"),
    "bic": Column("float64", "", "k log(n_time) - 2 log-likelihood", "failed"),
    "n_iter": Column("int32", "", "iterations"),
    "converged": Column("bool", "", "last gain below tol and scaled score below 1e-2"),
    "seconds": Column("float64", "s", "wall-clock time of the batch"),
    "status": Column("str", "", "first that applies: failed, not_converged, near_heywood, ok"),
    "message": Column("str", "", "why it failed, what was left out, which series are near-Heywood; empty if nothing"),
}

TRANSITION = {
    "batch": _BATCH,
    "block": Column("str", "", "name of the block of factors"),
    "lag": Column("int32", "", "1, 2, ..."),
    "to": Column("str", "", "the factor that is explained"),
    "from": Column("str", "", "the lagged factor"),
    "value": Column("float64", "", "coefficient of the vector autoregression"),
}

PATH = {
    "batch": _BATCH,
    "iteration": Column("int32", "", "1, 2, ..."),
    "log_likelihood": Column("float64", "natural log", "log-likelihood at the iteration"),
}

FORECAST = {
    "batch": _BATCH,
    "time": Column("str", "", 'label of the future time; "+1", ... where labels do not go on'),
    "name": Column("str", "", "series or factor"),
    "kind": Column("str", "", '"series" or "factor"'),
    "mean": Column("float64", "transformed series; factor: innovation sd", "forecast"),
    "sd": Column("float64", "as mean", "its standard deviation; uncertainty of parameters left out"),
    "lower": Column("float64", "as mean", "lower end of the interval"),
    "upper": Column("float64", "as mean", "upper end of the interval"),
}

DECOMPOSITION = {
    "batch": _BATCH,
    "series": _SERIES,
    "source": Column("str", "", '"global", "group" or "idiosyncratic"'),
    "share": Column(
        "float64", "", "share of the stationary variance; sums to 1 in a series", _LEFT_OUT + "; not stationary"
    ),
}

NEWS = {
    "time": Column("str", "", "time of the datum", "kind reestimation"),
    "series": Column("str", "", "series of the datum", "kind reestimation"),
    "kind": Column("str", "", '"revision", "news" or "reestimation"'),
    "impact": Column("float64", "transformed target series", "change of the target's expectation due to this datum"),
}

N_FACTORS = {
    "n_factors": Column("int32", "", "number of factors"),
    "criterion": Column("str", "", "IC1, IC2, IC3 (Bai & Ng 2002), ER, GR (Ahn & Horenstein 2013)"),
    "value": Column(
        "float64", "", "value of the criterion: smallest is best for IC, largest for ER and GR", "ER, GR at 0"
    ),
    "selected": Column("bool", "", "the best number by this criterion"),
}

INTERACTION_HISTORY = {
    "fold": Column("int32", "", "1, 2, ...: the model that holds this fold out"),
    "epoch": Column("int32", "", "1, 2, ..."),
    "train_loss": Column(
        "float64", "squares of the data", "half the squared error of a receiver, with dropout, without penalties"
    ),
    "validation_loss": Column(
        "float64",
        "squares of the data",
        "half the squared error of a receiver left aside to decide when to stop",
        "early_stopping=False",
    ),
}

CONTRIBUTIONS = {
    "cell": Column("str", "", "name of the receiver"),
    "sample": Column("str", "", "its sample"),
    "receiver": Column("str", "", "its type"),
    "x": Column("float64", "unit of the coordinates", "its place"),
    "y": Column("float64", "unit of the coordinates", "its place"),
    "z": Column("float64", "unit of the coordinates", "its place", "two dimensions"),
    "sender": Column("str", "", 'whose share: neighbours of this type, or "all"'),
    "gene": Column("str", "", "which gene", "the root of the mean square over genes"),
    "contribution": Column(
        "float64",
        "unit of the data",
        "the full prediction minus the one without these neighbours",
        "the cell's type has no training cells",
    ),
}

TABLES = {
    "coefficients": GLM_COEFFICIENTS,
    "genes": GLM_GENES,
    "test_glm": TEST_GLM,
    "factors": FACTORS,
    "loadings": LOADINGS,
    "stats": STATS,
    "transition": TRANSITION,
    "path": PATH,
    "forecast": FORECAST,
    "decomposition": DECOMPOSITION,
    "news": NEWS,
    "n_factors": N_FACTORS,
    "interaction_history": INTERACTION_HISTORY,
    "contributions": CONTRIBUTIONS,
}


def frame(columns: Mapping[str, Column], values: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """A table with just these columns, in this order and of these types."""
    assert list(values) == list(columns), f"columns {list(values)} do not follow the schema {list(columns)}"
    typed = {
        name: np.asarray(values[name], dtype=object if column.dtype == "str" else column.dtype)
        for name, column in columns.items()
    }
    return pd.DataFrame(typed, copy=False)
