"""Does the model forecast? Errors over vintages, against those of an AR(1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from inspect import signature
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from isthmus import schema
from isthmus.data.panel import batch_panel, read_panel, split_panel, time_text
from isthmus.data.transforms import check_series
from isthmus.data.wording import did_you_mean
from isthmus.errors import InputError
from isthmus.factors.blocks import whole
from isthmus.factors.fit import fit_factors
from isthmus.factors.forecast import forecast_factors

if TYPE_CHECKING:
    from collections.abc import Sequence


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
        Fewer than two vintages, steps that are not whole numbers, or nothing in the last vintage to compare with.
    """
    if isinstance(vintages, (str, Mapping)) or not isinstance(vintages, Iterable) or hasattr(vintages, "shape"):
        msg = f"`vintages` must be a list of panels, oldest first; got {type(vintages).__name__}."
        raise InputError(msg)
    unknown = [name for name in options if name not in signature(fit_factors).parameters]
    if unknown:
        msg = f"`{unknown[0]}` must be an option of fit_factors; there is none of that name. " + did_you_mean(
            unknown[0], list(signature(fit_factors).parameters)
        )
        raise InputError(msg)
    vintages, steps = list(vintages), [whole(step, "h", 1) for step in (h if isinstance(h, Iterable) else [h])]
    if len(vintages) < 2:
        msg = f"`vintages` must be two panels or more, oldest first; got {len(vintages)}."
        raise InputError(msg)
    if not steps:
        msg = "`h` must name one step or more; got none. Pass, for example, h=[1, 4]."
        raise InputError(msg)
    reading = {"transform": transform, "columns": columns, "time": time}
    truth = _transformed(vintages[-1], reading)
    series = [series] if isinstance(series, str) else series
    check_series("series", series or (), list(truth.columns))
    errors: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for vintage in vintages[:-1]:
        fit = fit_factors(vintage, **reading, **options)
        table = forecast_factors(fit, max(steps))
        means = table[table["kind"] == "series"].pivot(index="time", columns="name", values="mean")
        own = _transformed(vintage, reading)
        for step in steps:
            when = fit_times(table)[step - 1]
            for name in series or fit.one().names:
                if name in means and when in truth.index and np.isfinite(truth.loc[when, name]):
                    actual = truth.loc[when, name]
                    rival = _ar1_forecast(own[name].to_numpy(), step)
                    errors.setdefault((name, step), []).append((means.loc[when, name] - actual, rival - actual))
    if not errors:
        msg = (
            "`vintages` must be oldest first, and the last one must hold values at the times that the others forecast; "
            "got none to compare."
        )
        raise InputError(msg)
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
        rows.append((name, step, len(pairs), own, rival, own / rival))
    columns = zip(*rows, strict=True)
    return schema.frame(schema.FORECAST_ERRORS, dict(zip(schema.FORECAST_ERRORS, map(np.array, columns), strict=True)))
