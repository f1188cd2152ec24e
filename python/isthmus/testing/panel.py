"""Panels from a dynamic factor model with known parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from isthmus.errors import InputError
from isthmus.testing.counts import _whole

if TYPE_CHECKING:
    from anndata import AnnData

_BURN_IN = 200


def simulate_panel(
    n_time: int = 200,
    n_series: int = 20,
    *,
    n_factors: int = 1,
    factor_ar: float = 0.7,
    idio_ar: tuple[float, float] = (-0.5, 0.5),
    r2: float = 0.5,
    missing: float = 0.0,
    n_batches: int = 1,
    seed: int | None = None,
) -> AnnData:
    """Draw y_it = lambda_i' f_t + e_it with AR(1) factors of unit variance and AR(1) idiosyncratic terms.

    Parameters
    ----------
    n_time, n_series, n_factors
        Size; `n_time` of each batch.
    factor_ar
        Coefficient of every factor; its innovation variance is 1 - factor_ar^2.
    idio_ar
        The coefficients of the idiosyncratic terms are uniform between these.
    r2
        Share of each series' variance that is due to the factors.
    missing
        Share of values that are missing, at random.
    n_batches
        Batches with the same loadings and factors of their own, stacked; ``obs["batch"]`` names them.
    seed
        None: fresh.

    Returns
    -------
    AnnData
        obs = time points (``obs["time"]`` monthly dates), var = series. Truth: ``varm["loadings"]``,
        ``var["idio_ar1"]``, ``var["idio_var"]``, ``obsm["factors"]``, ``layers["common"]``.

    Examples
    --------
    >>> panel = simulate_panel(50, 4, seed=1)
    >>> panel.shape
    (50, 4)
    """
    from anndata import AnnData

    n_time, n_series, n_factors = (
        _whole(n, name) for n, name in ((n_time, "n_time"), (n_series, "n_series"), (n_factors, "n_factors"))
    )
    if not (abs(factor_ar) < 1 and all(abs(phi) < 1 for phi in idio_ar) and 0 < r2 <= 1 and 0 <= missing < 1):
        msg = (
            "`factor_ar` and `idio_ar` must lie between -1 and 1, `r2` in (0, 1] and `missing` in [0, 1); got "
            f"{factor_ar}, {idio_ar}, {r2}, {missing}."
        )
        raise InputError(msg)
    rng = np.random.default_rng(seed)
    loadings, phi = rng.normal(size=(n_series, n_factors)), rng.uniform(*idio_ar, n_series)
    variance = (loadings**2).sum(axis=1) * (1 - r2) / r2
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    for _ in range(_whole(n_batches, "n_batches")):
        factors = _autoregressions(rng, n_time, np.full(n_factors, factor_ar), np.ones(n_factors))
        parts.append((factors, factors @ loadings.T + _autoregressions(rng, n_time, phi, variance)))
    f, y = (np.vstack([part[i] for part in parts]) for i in (0, 1))
    y[rng.random(y.shape) < missing] = np.nan
    dates = pd.date_range("2000-01-01", periods=n_time, freq="MS")
    obs = pd.DataFrame({"time": np.tile(dates, len(parts)), "batch": np.repeat(_labels(len(parts)), n_time)})
    obs.index = pd.Index(
        [
            f"{d:%Y-%m-%d}" if len(parts) == 1 else f"{b}_{d:%Y-%m-%d}"
            for d, b in zip(obs["time"], obs["batch"], strict=True)
        ]
    )
    var = pd.DataFrame({"idio_ar1": phi, "idio_var": variance * (1 - phi**2)}, index=_series(n_series))
    panel = AnnData(X=y, obs=obs, var=var)
    panel.varm["loadings"], panel.obsm["factors"], panel.layers["common"] = loadings, f, f @ loadings.T
    return panel


def _series(n: int) -> list[str]:
    return [f"y{i + 1}" for i in range(n)]


def _labels(n: int) -> list[str]:
    return [f"batch{i + 1}" for i in range(n)]


def _autoregressions(rng: np.random.Generator, n_time: int, phi: np.ndarray, variance: np.ndarray) -> Any:
    """``(n_time, n)`` stationary AR(1) series with these coefficients and variances."""
    noise = rng.normal(size=(n_time + _BURN_IN, len(phi))) * np.sqrt(variance * (1 - phi**2))
    out = np.zeros_like(noise)
    for t in range(1, len(out)):
        out[t] = phi * out[t - 1] + noise[t]
    return out[_BURN_IN:]
