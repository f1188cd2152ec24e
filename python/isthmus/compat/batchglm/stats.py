"""``glm.utils.stats``: deviations between estimates and observations, over all entries."""

from __future__ import annotations

from typing import Any

import numpy as np


def _pair(estim: Any, obs: Any) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(estim, dtype=float), np.asarray(obs, dtype=float)


def rmsd(estim: Any, obs: Any, axis: Any = None) -> Any:
    """Root of the mean squared deviation.

    Examples
    --------
    >>> float(rmsd([1.0, 2.0], [1.0, 4.0]))
    1.4142135623730951
    """
    estim, obs = _pair(estim, obs)
    return np.sqrt(np.mean((estim - obs) ** 2, axis=axis))


def mae(estim: Any, obs: Any, axis: Any = None) -> Any:
    """Mean absolute deviation."""
    estim, obs = _pair(estim, obs)
    return np.mean(np.abs(estim - obs), axis=axis)


def normalized_rmsd(estim: Any, obs: Any, axis: Any = None) -> Any:
    """`rmsd` over the range of the observations."""
    obs = np.asarray(obs, dtype=float)
    return rmsd(estim, obs, axis) / np.ptp(obs, axis=axis)


def normalized_mae(estim: Any, obs: Any, axis: Any = None) -> Any:
    """`mae` over the range of the observations."""
    obs = np.asarray(obs, dtype=float)
    return mae(estim, obs, axis) / np.ptp(obs, axis=axis)


def mapd(estim: Any, obs: Any, axis: Any = None) -> Any:
    """Mean absolute deviation in percent of the observation."""
    return np.mean(abs_percentage_deviation(estim, obs), axis=axis)


def abs_percentage_deviation(estim: Any, obs: Any) -> np.ndarray:
    """Absolute deviation of every entry in percent of the observation."""
    estim, obs = _pair(estim, obs)
    return np.abs((estim - obs) / obs) * 100.0
