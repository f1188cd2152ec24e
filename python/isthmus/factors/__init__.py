"""Dynamic factor models: fits of batches, forecasts, news, the number of factors."""

from isthmus.factors.diagnostics import diagnostics
from isthmus.factors.evaluate import evaluate_forecasts
from isthmus.factors.fit import fit_factors
from isthmus.factors.forecast import forecast_factors
from isthmus.factors.news import factor_news
from isthmus.factors.result import FactorFit
from isthmus.factors.select import select_n_factors

__all__ = [
    "FactorFit",
    "diagnostics",
    "evaluate_forecasts",
    "factor_news",
    "fit_factors",
    "forecast_factors",
    "select_n_factors",
]
