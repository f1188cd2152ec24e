"""The factor models' functions as R calls them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

import isthmus
from isthmus.bridge.answers import answers
from isthmus.bridge.plain import as_columns, as_plain
from isthmus.bridge.state import with_state
from isthmus.bridge.wire import (
    Wire,
    as_number,
    quiet_nan,
    read_frame,
    read_labels,
    read_names,
    whole_columns,
    whole_numbers,
)
from isthmus.data import panel as panel_module


@dataclass(frozen=True, eq=False)
class _Experiment:
    """A SummarizedExperiment as the panel's reader sees an AnnData; but its time points may be numbers."""

    X: np.ndarray
    obs: pd.DataFrame
    var: pd.DataFrame

    @property
    def obs_names(self) -> pd.Index:
        return self.obs.index

    @property
    def var_names(self) -> pd.Index:
        return self.var.index


def panel_of_r(wire: Any) -> Any:
    """A panel, time x series: a DataFrame or two, an experiment, or a Python object that R holds."""
    if not isinstance(wire, Mapping):
        return wire
    if wire["kind"] == "pair":
        return panel_of_r(wire["monthly"]), panel_of_r(wire["quarterly"])
    if wire["kind"] == "frame":
        return whole_columns(read_frame(wire["frame"]))
    values = quiet_nan(np.asarray(wire["x"], dtype=float).T)
    series, times = read_names(wire.get("series")), _times(wire, len(values))
    labels = [f"series{i + 1}" for i in range(values.shape[1])] if series is None else series
    if wire.get("var") is None:
        return pd.DataFrame(values, index=times, columns=labels)
    obs, var = whole_columns(read_frame(wire["obs"])), read_frame(wire["var"])
    return _Experiment(values, obs.set_axis(times, axis=0), var.set_axis(pd.Index(labels, dtype=object), axis=0))


def _times(wire: Wire, n: int) -> pd.Index:
    """The times of a ts, the names of a matrix's columns, or numbers from 1."""
    period = wire.get("period")
    if period is not None:
        per_year, months = int(period["per_year"]), 12 // int(period["per_year"])
        month = months * (int(period["within"]) - 1) + 1
        first = pd.Period(f"{int(period['year']):04d}-{month:02d}", freq="M" if per_year == 12 else "Q")
        return pd.period_range(first, periods=n)
    if wire.get("times") is not None:
        return pd.Index(whole_numbers(np.asarray(wire["times"], dtype=float)))
    rows = read_names(wire.get("rows"))
    return pd.RangeIndex(1, n + 1) if rows is None else pd.Index(rows, dtype=object)


def joint_orders(orders: Any) -> Any:
    """The name "Global+Real" means one block of two groups, which Python writes as a tuple."""
    if not isinstance(orders, Mapping):
        return orders
    return {tuple(name.split("+")) if "+" in name else name: order for name, order in orders.items()}


@answers
def fit_factors(panel: Any, *, batch: Any = None, time: Any = None, **options: Any) -> dict[str, Any]:
    """Fit a factor model, and return the engine's fit beside its plain state."""
    options["factor_orders"] = joint_orders(options["factor_orders"])
    fit = isthmus.fit_factors(
        panel_of_r(panel),
        batch=read_labels(batch),
        time=read_labels(time),
        **{name: as_number(value) for name, value in options.items()},
    )
    return with_state(fit)


@answers
def fitted_series(fit: Any) -> dict[str, Any]:
    """Observed and fitted values of every series as columns, batch after batch."""
    parts = []
    for batch in fit.batches:
        if batch.fitted is None:
            continue
        observed, fitted = fit.observed(batch.text), fit.fitted(batch.text)
        n_time, n_series = observed.shape
        parts.append(
            {
                "batch": np.repeat(batch.text, n_time * n_series),
                "time": np.tile(observed.index, n_series),
                "series": np.repeat(observed.columns, n_time),
                "observed": observed.to_numpy().T.ravel(),
                "fitted": fitted.to_numpy().T.ravel(),
            }
        )
    return as_columns(pd.concat([pd.DataFrame(part) for part in parts], ignore_index=True))


@answers
def series_values(fit: Any, what: str, batch: Any, kind: str | None) -> dict[str, Any]:
    """Fitted values or residuals of one batch, series x time."""
    frame = fit.fitted(batch) if what == "fitted" else fit.residuals(batch, kind)
    return {"values": frame.to_numpy().T, "series": list(frame.columns), "time": list(frame.index)}


@answers
def forecast_factors(fit: Any, h: Any, *, level: float = 0.95) -> dict[str, Any]:
    """The table of forecasts as columns."""
    return as_columns(isthmus.forecast_factors(fit, as_number(h), level=level))


@answers
def factor_news(fit: Any, panel: Any, **target: Any) -> dict[str, Any]:
    """The table of news as columns, and which estimate it is about."""
    table = isthmus.factor_news(fit, panel_of_r(panel), **target)
    return {"columns": as_columns(table), "about": as_plain(table.attrs)}


@answers
def select_n_factors(panel: Any, **options: Any) -> dict[str, Any]:
    """The table of criteria as columns."""
    return as_columns(
        isthmus.select_n_factors(panel_of_r(panel), **{k: as_number(value) for k, value in options.items()})
    )


@answers
def evaluate_forecasts(vintages: Any, *, time: Any = None, options: Any = None, **reading: Any) -> dict[str, Any]:
    """The table of errors as columns; `options` are those of `fit_factors`."""
    from isthmus.factors import evaluate_forecasts as evaluate

    given = dict(options) if isinstance(options, Mapping) else {}  # R's empty list crosses as []
    if "factor_orders" in given:
        given["factor_orders"] = joint_orders(given["factor_orders"])
    return as_columns(evaluate([panel_of_r(one) for one in vintages], time=read_labels(time), **reading, **given))


@answers
def diagnostics(fit: Any, lags: Any) -> dict[str, Any]:
    """The table of tests as columns."""
    return as_columns(fit.diagnostics(as_number(lags)))


@answers
def simulate_panel(n_time: Any, n_series: Any, **options: Any) -> dict[str, Any]:
    """A simulated panel, series x time, and its truth."""
    from isthmus.testing import simulate_panel as simulate

    adata = simulate(
        as_number(n_time), as_number(n_series), **{name: as_number(value) for name, value in options.items()}
    )
    return {
        "values": np.asarray(adata.X).T,
        "common": np.asarray(adata.layers["common"]).T,
        "series": list(adata.var_names),
        "time": list(panel_module.time_text(pd.DatetimeIndex(adata.obs["time"]))),
        "batch": [str(label) for label in adata.obs["batch"]],
        "var": as_columns(adata.var),
        "loadings": np.asarray(adata.varm["loadings"]),
        "factors": np.asarray(adata.obsm["factors"]),
    }


@answers
def panel_labels(time: Wire, batch: Wire | None) -> dict[str, Any]:
    """Times and batches of the user's columns as the tables write them."""
    times = panel_module.time_text(panel_module._as_dates(pd.Index(read_labels(time))))
    names = [panel_module.ONE_BATCH] * len(times) if batch is None else [str(label) for label in read_labels(batch)]
    return as_columns(pd.DataFrame({"batch": names, "time": times}, dtype=object))
