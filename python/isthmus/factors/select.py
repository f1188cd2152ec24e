"""How many factors: information criteria and eigenvalue ratios of the completed panel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus import schema
from isthmus.data.panel import batch_panel, read_panel, split_panel
from isthmus.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

_COMPLETION_TOL, _COMPLETION_STEPS = 1e-8, 1000


def select_n_factors(data: Any, *, max_factors: int = 8) -> pd.DataFrame:
    """Criteria for the number of factors on which all series load.

    The panel is transformed (as ``var`` says) and standardised. Missing values are filled by the EM of Stock & Watson
    (2002), separately for every number of factors: fill with the common component, take principal components, repeat.
    With V(k) = mean squared residual of k principal components, C = min(sqrt(N), sqrt(T)) and eigenvalues
    m_1 >= m_2 >= ... of X X' / (N T):

    * IC1 = log V(k) + k (N + T)/(N T) log(N T/(N + T)); IC2 with log C^2 as the second factor; IC3 = log V(k) + k
      log(C^2)/C^2 (Bai & Ng 2002): the smallest is best, k = 0 included.
    * ER(k) = m_k / m_k+1, GR(k) = log(1 + m_k*) / log(1 + m_k+1*) with m_k* = m_k / sum_{j > k} m_j (Ahn & Horenstein
      2013): the largest is best, k >= 1; of the panel completed with `max_factors` factors.

    Parameters
    ----------
    data
        A panel as `fit_factors` takes it, without batches.
    max_factors
        Largest number that is tried.

    Returns
    -------
    DataFrame
        n_factors, criterion, value, selected.

    Raises
    ------
    InputError
        `max_factors` is below 1 or not below min(N, T) - 1; constant series.

    Examples
    --------
    >>> from isthmus.testing import simulate_panel
    >>> table = select_n_factors(simulate_panel(200, 30, n_factors=2, seed=1), max_factors=5)
    >>> table[table["selected"]].n_factors.tolist()
    [2, 2, 2, 2, 2]
    """
    y = _standardised(data)
    n_time, n_series = y.shape
    most = _check(max_factors, n_time, n_series)
    completed = [complete(y, k) for k in range(most + 1)]
    residual = np.array([_residual(y, filled, k) for k, filled in enumerate(completed)])
    ratios = _ratios(completed[most], most)
    values = _information(residual, n_time, n_series) | ratios
    columns: dict[str, list[Any]] = {name: [] for name in schema.N_FACTORS}
    for criterion, found in values.items():
        best = int(np.nanargmax(found) if criterion in ratios else np.argmin(found))
        columns["n_factors"] += list(range(most + 1))
        columns["criterion"] += [criterion] * (most + 1)
        columns["value"] += list(found)
        columns["selected"] += [k == best for k in range(most + 1)]
    return schema.frame(schema.N_FACTORS, {name: np.array(v) for name, v in columns.items()})


def complete(y: np.ndarray, k: int) -> np.ndarray:
    """The panel with missing values replaced by the common component of k principal components, at convergence."""
    missing = np.isnan(y)
    filled = np.where(missing, 0.0, y)
    if not missing.any() or k == 0:
        return filled
    for _ in range(_COMPLETION_STEPS):
        common = _common(filled, k)
        change = np.abs(common[missing] - filled[missing]).max()
        filled[missing] = common[missing]
        if change < _COMPLETION_TOL:
            break
    return filled


def _common(filled: np.ndarray, k: int) -> np.ndarray:
    u, s, vt = np.linalg.svd(filled, full_matrices=False)
    return (u[:, :k] * s[:k]) @ vt[:k]


def _residual(y: np.ndarray, filled: np.ndarray, k: int) -> float:
    """V(k) over what was observed."""
    seen = ~np.isnan(y)
    rest = filled - (_common(filled, k) if k else 0.0)
    return float((rest[seen] ** 2).mean())


def _information(residual: np.ndarray, n_time: int, n_series: int) -> dict[str, np.ndarray]:
    k, size, both = np.arange(len(residual)), n_time * n_series, n_time + n_series
    smaller = min(n_time, n_series)
    fit = np.log(residual)
    return {
        "IC1": fit + k * both / size * np.log(size / both),
        "IC2": fit + k * both / size * np.log(smaller),
        "IC3": fit + k * np.log(smaller) / smaller,
    }


def _ratios(filled: np.ndarray, most: int) -> dict[str, np.ndarray]:
    m = np.linalg.svd(filled, compute_uv=False) ** 2 / filled.size
    tail = m.sum() - np.cumsum(m)
    growth = np.log1p(m[: most + 1] / tail[: most + 1])
    return {
        "ER": np.r_[np.nan, m[:most] / m[1 : most + 1]],
        "GR": np.r_[np.nan, growth[:most] / growth[1 : most + 1]],
    }


def _standardised(data: Any) -> np.ndarray:
    panel = read_panel(data)
    label, text, rows = split_panel(panel)[0]
    values = batch_panel(panel, label, text, rows).values
    seen = (~np.isnan(values)).any(axis=1)
    values = values[seen]
    full = ~np.isnan(values).all(axis=0)
    sd = np.zeros(values.shape[1])
    sd[full] = np.nanstd(values[:, full], axis=0)
    if not (sd > 0).all():
        bad = [name for name, s in zip(panel.names, sd, strict=True) if not s > 0]
        msg = f"`data` must have series that vary; got {len(bad)} that do not ({', '.join(bad[:5])}). Drop them."
        raise InputError(msg)
    return (values - np.nanmean(values, axis=0)) / sd


def _check(max_factors: Any, n_time: int, n_series: int) -> int:
    whole = isinstance(max_factors, (int, float, np.integer)) and not isinstance(max_factors, bool)
    if not whole or not np.isfinite(max_factors) or max_factors != int(max_factors) or max_factors < 1:
        msg = f"`max_factors` must be a whole number, 1 or more; got {max_factors!r}."
        raise InputError(msg)
    least = min(n_time, n_series) - 2
    if least < 1:
        msg = f"`data` must have at least three series and three time points; got {n_series} and {n_time}."
        raise InputError(msg)
    return min(int(max_factors), least)
