"""The tables of a FactorFit, one function a table, one part a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from isthmus import schema
from isthmus.data.panel import time_text
from isthmus.factors.decomposition import r2, shares
from isthmus.factors.standard_errors import loading_se, n_identified

if TYPE_CHECKING:
    from collections.abc import Iterator

    from isthmus.factors.fitted import BatchFit, Fitted
    from isthmus.factors.result import FactorFit

SOURCES = ("global", "group", "idiosyncratic")


def stack(columns: dict[str, schema.Column], parts: list[dict[str, Any]]) -> pd.DataFrame:
    """One table from parts with equal columns."""
    values = {
        name: np.concatenate([np.asarray(part[name], dtype=object) for part in parts])
        if parts
        else np.empty(0, dtype=object)
        for name in columns
    }
    return schema.frame(columns, values)


def fitted_batches(fit: FactorFit) -> Iterator[tuple[str, Fitted]]:
    """Text and fit of each batch that has one."""
    for batch in fit.batches:
        if batch.fitted is not None:
            yield batch.text, batch.fitted


def factors(fit: FactorFit) -> pd.DataFrame:
    """Filtered and smoothed factors with standard deviations, factor after factor."""
    parts = []
    for text, one in fitted_batches(fit):
        e, n = one.estimate, one.spec.n_factors
        n_time = len(one.y)
        parts.append(
            {
                "batch": np.repeat(text, n_time * n),
                "time": np.tile(time_text(one.times), n),
                "factor": np.repeat(np.array(one.layout.factors, dtype=object), n_time),
                "filtered": e.filtered.T.ravel(),
                "filtered_sd": _sd(e.filtered_cov),
                "smoothed": e.smoothed.T.ravel(),
                "smoothed_sd": _sd(e.smoothed_cov),
            }
        )
    return stack(schema.FACTORS, parts)


def _sd(cov: np.ndarray) -> np.ndarray:
    return np.sqrt(np.maximum(np.einsum("tff->tf", cov), 0)).T.ravel()


def loadings(fit: FactorFit) -> pd.DataFrame:
    """One row per series and factor that it may load on; series that were left out keep rows of NaN."""
    parts = []
    for text, one in fitted_batches(fit):
        at = {name: i for i, name in enumerate(one.names)}
        se, explained = loading_se(one, engine=fit.settings["engine"]), r2(one)
        column = {factor: j for j, factor in enumerate(one.layout.factors)}
        rows = []
        for i, name in enumerate(fit.series):
            for j in np.flatnonzero(fit.layout.loads[i]):
                factor = fit.layout.factors[j]
                if name in at and factor in column:
                    a, b, p = at[name], column[factor], one.estimate.params
                    rows.append(
                        (text, name, factor, p.loadings[a, b], se[a, b], explained[a, b], p.idio_ar1[a], p.idio_var[a])
                    )
                else:
                    rows.append((text, name, factor, *[np.nan] * 5))
        parts.append(dict(zip(schema.LOADINGS, map(list, zip(*rows, strict=True)), strict=True)))
    return stack(schema.LOADINGS, parts)


def stats(fit: FactorFit) -> pd.DataFrame:
    """One row per batch, fitted or not."""
    return stack(schema.STATS, [{name: [value] for name, value in _stats_row(batch).items()} for batch in fit.batches])


def _stats_row(batch: BatchFit) -> dict[str, Any]:
    one = batch.fitted
    row: dict[str, Any] = {
        "batch": batch.text,
        "n_time": batch.n_time,
        "n_series": batch.n_series,
        "n_missing": batch.n_missing,
        "n_factors": 0,
        "log_likelihood": np.nan,
        "aic": np.nan,
        "bic": np.nan,
        "n_iter": 0,
        "converged": False,
        "seconds": batch.seconds,
        "status": batch.status,
        "message": batch.message,
    }
    if one is not None:
        e, k = one.estimate, n_identified(one)
        row |= {
            "n_factors": one.spec.n_factors,
            "log_likelihood": e.log_likelihood,
            "aic": 2 * k - 2 * e.log_likelihood,
            "bic": np.log(len(one.y)) * k - 2 * e.log_likelihood,
            "n_iter": e.n_iter,
            "converged": e.converged,
        }
    return row


def transition(fit: FactorFit) -> pd.DataFrame:
    """Coefficients of the vector autoregressions."""
    rows = []
    for text, one in fitted_batches(fit):
        names = one.layout.factors
        for block, a in zip(one.spec.blocks, one.estimate.params.transition, strict=True):
            for lag, matrix in enumerate(a):
                for i, to in enumerate(block.factors):
                    for j, source in enumerate(block.factors):
                        rows.append((text, block.name, lag + 1, names[to], names[source], matrix[i, j]))
    return _from_rows(schema.TRANSITION, rows)


def path(fit: FactorFit) -> pd.DataFrame:
    """Log-likelihood after each iteration."""
    rows = [
        (text, number + 1, value) for text, one in fitted_batches(fit) for number, value in enumerate(one.estimate.path)
    ]
    return _from_rows(schema.PATH, rows)


def decomposition(fit: FactorFit) -> pd.DataFrame:
    """Share of each series' stationary variance that is due to global factors, group factors, and its own term."""
    rows = []
    for text, one in fitted_batches(fit):
        found = dict(zip(one.names, shares(one), strict=True))
        for name in fit.series:
            values = found.get(name, np.full(3, np.nan))
            rows += [(text, name, source, value) for source, value in zip(SOURCES, values, strict=True)]
    return _from_rows(schema.DECOMPOSITION, rows)


def _from_rows(columns: dict[str, schema.Column], rows: list[tuple[Any, ...]]) -> pd.DataFrame:
    if not rows:
        return stack(columns, [])
    return stack(columns, [dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True))])
