"""Residuals of a fitted model, given its counts again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import special

from isthmus import seeds
from isthmus.errors import InputError
from isthmus.glm.source import same_counts

if TYPE_CHECKING:
    from isthmus.glm.result import GlmFit

TYPES = ("pearson", "response", "deviance", "quantile")


def residuals(fit: GlmFit, data: Any, kind: str, *, layer: str | None, offset: Any, seed: int) -> pd.DataFrame:
    """See `GlmFit.residuals`."""
    if kind not in TYPES:
        msg = f"`type` must be one of {', '.join(TYPES)}; got {kind!r}."
        raise InputError(msg)
    y = np.asarray(same_counts(fit, data, layer).matrix.toarray(), dtype=float)
    mu = fit.predict(offset=offset).to_numpy()
    if kind == "response":
        values = y - mu
    elif fit.settings["noise_model"] == "normal":
        values = (y - mu) / np.sqrt(fit.predict(type="dispersion").to_numpy())
    else:
        alpha = fit.predict(type="dispersion").to_numpy()
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            values = _FORMULAS[kind](y, mu, alpha, seed)
    values[:, fit.status == "all_zero"] = np.nan
    return pd.DataFrame(values, index=fit.cell_names, columns=fit.gene_names)


def _pearson(y: np.ndarray, mu: np.ndarray, alpha: np.ndarray, seed: int) -> np.ndarray:
    return np.where(mu > 0, (y - mu) / np.sqrt(mu + alpha * mu**2), 0.0)


def _deviance(y: np.ndarray, mu: np.ndarray, alpha: np.ndarray, seed: int) -> np.ndarray:
    """sign(y - mu) sqrt(2 [l(y; y) - l(y; mu)]), alpha -> 0 being Poisson."""
    positive = y > 0
    ratio = np.where(positive, y * np.log(np.where(positive, y, 1) / mu), 0.0)
    small = alpha * np.maximum(mu, y) < 1e-8
    safe = np.where(small, 1.0, alpha)
    gap = np.where(small, y - mu, (y + 1 / safe) * np.log1p(safe * (y - mu) / (1 + safe * mu)))
    return np.sign(y - mu) * np.sqrt(np.maximum(2 * (ratio - gap), 0.0))


def _quantile(y: np.ndarray, mu: np.ndarray, alpha: np.ndarray, seed: int) -> np.ndarray:
    """Standard normal quantile of a uniform draw between F(y - 1) and F(y)."""
    u = seeds.generator(seed).random(y.shape)
    size = 1 / np.maximum(alpha, 1e-12)  # beyond this it is Poisson to all digits
    share = mu / (size + mu)
    # P(Y <= k) is an incomplete beta function; both tails are computed, so that large counts keep their digits.
    low, high = (np.where(k < 0, 0.0, special.betaincc(k + 1, size, share)) for k in (y - 1, y))
    above_low, above_high = (np.where(k < 0, 1.0, special.betainc(k + 1, size, share)) for k in (y - 1, y))
    from_below = special.ndtri(low + u * (high - low))
    from_above = -special.ndtri(above_high + (1 - u) * (above_low - above_high))
    return np.where(low > 0.5, from_above, from_below)


_FORMULAS = {"pearson": _pearson, "deviance": _deviance, "quantile": _quantile}
