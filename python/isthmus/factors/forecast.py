"""Forecasts of series and factors, with intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import norm

from isthmus import schema
from isthmus.data.panel import future_times, time_text
from isthmus.errors import InputError
from isthmus.factors import kernel
from isthmus.factors.statespace import build, forecast_moments
from isthmus.factors.tables import fitted_batches, stack

if TYPE_CHECKING:
    import pandas as pd

    from isthmus.factors.fitted import Fitted
    from isthmus.factors.result import FactorFit


def forecast_factors(fit: FactorFit, h: int, *, level: float = 0.95) -> pd.DataFrame:
    """Forecast series and factors 1 to `h` steps after each batch's last time.

    Series come in the units of the transformed series (standardising is undone, differences and logarithms are not).
    Intervals are normal, from the model's forecast variance at the estimated parameters: the uncertainty of the
    parameters themselves is left out, so that with short panels they are somewhat too narrow.

    Parameters
    ----------
    fit
        A FactorFit.
    h
        Number of steps.
    level
        Coverage of the intervals; larger is wider.

    Returns
    -------
    DataFrame
        batch, time, name, kind ("series" or "factor"), mean, sd, lower, upper.

    Raises
    ------
    InputError
        `h` is not a whole number of 1 or more, `level` is not between 0 and 1, or `fit` is no FactorFit.

    Examples
    --------
    >>> from isthmus import fit_factors
    >>> from isthmus.testing import simulate_panel
    >>> fit = fit_factors(simulate_panel(80, 6, seed=1), factors=1)
    >>> len(forecast_factors(fit, 4))
    28
    """
    _check(fit, h, level)
    z = norm.ppf((1 + level) / 2)
    parts = []
    for text, one in fitted_batches(fit):
        times = time_text(future_times(one.times, int(h)))
        for names, kind, mean, sd in _moments(one, int(h)):
            rows = len(names) * int(h)
            parts.append(
                {
                    "batch": np.repeat(text, rows),
                    "time": np.tile(times, len(names)),
                    "name": np.repeat(np.array(names, dtype=object), int(h)),
                    "kind": np.repeat(kind, rows),
                    "mean": mean.T.ravel(),
                    "sd": sd.T.ravel(),
                    "lower": (mean - z * sd).T.ravel(),
                    "upper": (mean + z * sd).T.ravel(),
                }
            )
    return stack(schema.FORECAST, parts)


def _moments(one: Fitted, h: int) -> list[tuple[tuple[str, ...], str, np.ndarray, np.ndarray]]:
    series, series_var, factors, factors_var = standardised_moments(one, h)
    return [
        (one.names, "series", one.mean + one.sd * series, one.sd * np.sqrt(np.maximum(series_var, 0))),
        (one.layout.factors, "factor", factors, np.sqrt(np.maximum(factors_var, 0))),
    ]


def standardised_moments(one: Fitted, h: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Means and variances of series ``(h, N)`` and factors ``(h, r)``, in standardised units."""
    if one.estimate.initial is not None:
        model = build(one.estimate.params, one.spec, initial=one.estimate.initial)
        return forecast_moments(one.y, model, h)
    found = kernel.forecast(one.y, one.spec, one.estimate.params, h)
    return found.series, found.series_var, found.factors, np.einsum("hff->hf", found.factors_cov)


def check_fit(fit: Any, argument: str = "fit") -> None:
    """Refuse what is no FactorFit."""
    from isthmus.factors.result import FactorFit

    if not isinstance(fit, FactorFit):
        msg = f"`{argument}` must be what fit_factors returns; got {type(fit).__name__}."
        raise InputError(msg)


def _check(fit: Any, h: Any, level: Any) -> None:
    check_fit(fit)
    numeric = isinstance(h, (int, float, np.integer, np.floating)) and not isinstance(h, bool)
    if not numeric or not np.isfinite(h) or h != int(h) or h < 1:
        msg = f"`h` must be a whole number of steps, 1 or more; got {h!r}."
        raise InputError(msg)
    if not (isinstance(level, (int, float)) and 0 < level < 1):
        msg = f"`level` must lie between 0 and 1, as 0.95; got {level!r}."
        raise InputError(msg)
