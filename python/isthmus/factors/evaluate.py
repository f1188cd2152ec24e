"""Is the model right, and does it forecast? Tests of innovations, and errors over vintages against an AR(1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import stats

from isthmus.data.panel import batch_panel, read_panel, split_panel, time_text
from isthmus.errors import InputError
from isthmus.factors import kernel
from isthmus.factors.fit import fit_factors
from isthmus.factors.forecast import forecast_factors
from isthmus.factors.statespace import build, innovations
from isthmus.factors.tables import fitted_batches

if TYPE_CHECKING:
    from collections.abc import Sequence

    from isthmus.factors.fitted import Fitted
    from isthmus.factors.result import FactorFit


def standardised_innovations(one: Fitted) -> np.ndarray:
    """``(T, N)``: one-step forecast errors divided by their standard deviations; NaN where nothing was observed."""
    if one.estimate.initial is not None:
        return innovations(one.y, build(one.estimate.params, one.spec, initial=one.estimate.initial))
    found = kernel.states(one.y, one.spec, one.estimate.params)
    return found.innovations / np.sqrt(found.innovation_var)


def diagnose(fit: FactorFit, lags: int = 4) -> pd.DataFrame:
    """Tests of each series' standardised innovations e_t.

    Ljung-Box: n (n + 2) sum_k r_k^2 / (n - k) over `lags` autocorrelations, chi-square with `lags` degrees of freedom
    (the parameters' estimation is not allowed for); of a quarterly series, over quarters. Jarque-Bera: n/6 (skewness^2
    + excess kurtosis^2 / 4), chi-square with 2.

    Returns
    -------
    DataFrame
        batch, series, n, mean, sd, ljung_box, ljung_box_pval, jarque_bera, jarque_bera_pval.
    """
    if isinstance(lags, bool) or lags != int(lags) or lags < 1:
        msg = f"`lags` must be a whole number, 1 or more; got {lags!r}."
        raise InputError(msg)
    rows = []
    for text, one in fitted_batches(fit):
        errors = standardised_innovations(one)
        for i, name in enumerate(one.names):
            e = errors[~np.isnan(errors[:, i]), i] if one.spec.quarterly[i] else errors[:, i]
            box, bera = _ljung_box(e, int(lags)), _jarque_bera(e[~np.isnan(e)])
            rows.append(
                {
                    "batch": text,
                    "series": name,
                    "n": int((~np.isnan(e)).sum()),
                    "mean": np.nanmean(e),
                    "sd": np.nanstd(e),
                    "ljung_box": box,
                    "ljung_box_pval": stats.chi2.sf(box, int(lags)),
                    "jarque_bera": bera,
                    "jarque_bera_pval": stats.chi2.sf(bera, 2),
                }
            )
    return pd.DataFrame(rows)


def _ljung_box(e: np.ndarray, lags: int) -> float:
    """Pairs with a missing value are left out of each autocorrelation."""
    n, e = int((~np.isnan(e)).sum()), e - np.nanmean(e)
    total = np.nansum(e**2)
    return float(
        sum(n * (n + 2) * (np.nansum(e[k:] * e[:-k]) / total) ** 2 / (n - k) for k in range(1, lags + 1) if n > k)
    )


def _jarque_bera(e: np.ndarray) -> float:
    return float(len(e) / 6 * (stats.skew(e) ** 2 + stats.kurtosis(e) ** 2 / 4))


def evaluate_forecasts(
    vintages: Sequence[Any],
    *,
    h: Sequence[int] = (1,),
    series: Sequence[str] | None = None,
    transform: Any = None,
    columns: Sequence[str] | None = None,
    time: Any = None,
    **options: Any,
) -> pd.DataFrame:
    """Root mean squared errors of forecasts from earlier vintages, beside those of an AR(1) of each series.

    1. Every vintage but the last is fitted with `fit_factors` and forecast h steps beyond its last time.
    2. The last vintage holds what came true; a forecast whose time it does not have is not counted.
    3. The AR(1), with intercept, is fitted by least squares to the same vintage, and goes on from the last value.

    Parameters
    ----------
    vintages
        Panels as `fit_factors` takes them (without batches), oldest first, two or more.
    h
        Steps ahead.
    series
        The series to judge. None: all.
    transform, columns, time, **options
        Passed to `fit_factors`. Errors are in units of the transformed series.

    Returns
    -------
    DataFrame
        series, h, n, rmse, rmse_ar1, ratio (below 1: better than the AR(1)).

    Raises
    ------
    InputError
        Fewer than two vintages, or steps that are not whole numbers.
    """
    vintages, steps = list(vintages), [int(step) for step in np.atleast_1d(h)]
    if len(vintages) < 2:
        msg = f"`vintages` must be two panels or more, oldest first; got {len(vintages)}."
        raise InputError(msg)
    if min(steps) < 1:
        msg = f"`h` must be 1 or more; got {min(steps)}."
        raise InputError(msg)
    reading = {"transform": transform, "columns": columns, "time": time}
    truth = _transformed(vintages[-1], reading)
    errors: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for vintage in vintages[:-1]:
        fit = fit_factors(vintage, **reading, **options)
        table = forecast_factors(fit, max(steps))
        means = table[table["kind"] == "series"].pivot(index="time", columns="name", values="mean")
        own = _transformed(vintage, reading)
        for step in steps:
            when = fit_times(table)[step - 1]
            for name in series or fit.one().names:
                if when in truth.index and np.isfinite(truth.loc[when, name]):
                    actual = truth.loc[when, name]
                    rival = _ar1_forecast(own[name].to_numpy(), step)
                    errors.setdefault((name, step), []).append((means.loc[when, name] - actual, rival - actual))
    return _scores(errors)


def fit_times(table: pd.DataFrame) -> list[str]:
    """The future times of a forecast table, in order."""
    return list(dict.fromkeys(table["time"]))


def _transformed(vintage: Any, reading: dict[str, Any]) -> pd.DataFrame:
    panel = read_panel(vintage, **reading)
    label, text, rows = split_panel(panel)[0]
    one = batch_panel(panel, label, text, rows)
    return pd.DataFrame(one.values, index=time_text(one.times), columns=list(panel.names))


def _ar1_forecast(series: np.ndarray, step: int) -> float:
    """Least squares on pairs of neighbours; from the last observed value, over the steps since then."""
    pairs = ~np.isnan(series[1:]) & ~np.isnan(series[:-1])
    last = int(np.flatnonzero(~np.isnan(series))[-1])
    x = np.column_stack([np.ones(int(pairs.sum())), series[:-1][pairs]])
    intercept, slope = np.linalg.lstsq(x, series[1:][pairs], rcond=None)[0]
    value = float(series[last])
    for _ in range(len(series) - 1 - last + step):
        value = intercept + slope * value
    return value


def _scores(errors: dict[tuple[str, int], list[tuple[float, float]]]) -> pd.DataFrame:
    rows = []
    for (name, step), pairs in errors.items():
        own, rival = np.sqrt((np.array(pairs) ** 2).mean(axis=0))
        rows.append({"series": name, "h": step, "n": len(pairs), "rmse": own, "rmse_ar1": rival, "ratio": own / rival})
    return pd.DataFrame(rows, columns=["series", "h", "n", "rmse", "rmse_ar1", "ratio"])
