"""How much of a series its factors explain: stationary variance shares, R2, and the common component."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from isthmus.factors.params import companion, dense_transition, spectral_radius, stationary_cov
from isthmus.factors.statespace import WEIGHTS

if TYPE_CHECKING:
    from isthmus.factors.fitted import Fitted
    from isthmus.factors.params import Params, Spec


def least_new(spec: Spec, params: Params) -> np.ndarray:
    """For each block, the least share of new variance: min over w of w'Qw / w'Gw, Q of the shocks, G of the factors.

    Near 0, some combination of the factors follows from their past: two factors that are one and its lag, or a random
    walk. 1 for a block of one factor, where a small share says only that it is persistent; NaN without stationarity.
    """
    out = np.ones(len(spec.blocks))
    for i, (block, lags, cov) in enumerate(zip(spec.blocks, params.transition, params.innovation_cov, strict=True)):
        k = len(block.factors)
        if k == 1 or block.order == 0:
            continue
        if np.abs(np.linalg.eigvals(companion(lags, block.order))).max() >= 1:
            out[i] = np.nan
            continue
        root = np.linalg.cholesky(cov)
        half = np.linalg.solve(root, stationary_cov(lags, cov, block.order)[:k, :k])
        out[i] = 1 / np.linalg.eigvalsh(np.linalg.solve(root, half.T)).max()
    return out


def shares(fitted: Fitted) -> np.ndarray:
    """``(N, 3)``: global, group and idiosyncratic shares of the model's stationary variance; rows sum to 1.

    Var(y_i) = w_i' G w_i + Var(e_i), where G is the stationary covariance of the factors and their lags, and w_i their
    weights in y_i. A covariance between global and group factors (joint blocks only) is split evenly between them. NaN
    where the factors or the term are not stationary.
    """
    spec, params = fitted.spec, fitted.estimate.params
    if spectral_radius(spec, params) >= 1:
        return np.full((spec.n_series, 3), np.nan)
    lags, cov = dense_transition(spec, params)
    gamma = stationary_cov(lags, cov, spec.initial_lags)
    weights = np.zeros((spec.n_series, len(gamma)))
    weights[:, : spec.n_factors] = params.loadings
    for lag in range(5 if spec.quarterly.any() else 0):
        own = slice(lag * spec.n_factors, (lag + 1) * spec.n_factors)
        weights[spec.quarterly, own] = WEIGHTS[lag] * params.loadings[spec.quarterly]
    worldwide = np.zeros(spec.n_factors, dtype=bool)
    for group in fitted.layout.groups:
        worldwide[list(group.factors)] = fitted.layout.is_global(group)
    part = weights * np.tile(worldwide, spec.initial_lags)
    rest = weights - part
    total = np.einsum("ia,ab,ib->i", part, gamma, rest)
    out = np.column_stack(
        [
            np.einsum("ia,ab,ib->i", part, gamma, part) + total,
            np.einsum("ia,ab,ib->i", rest, gamma, rest) + total,
            idiosyncratic_variance(fitted),
        ]
    )
    return out / out.sum(axis=1, keepdims=True)


def idiosyncratic_variance(fitted: Fitted) -> np.ndarray:
    """``(N,)``: stationary variance of e_i as it enters the observation; NaN where |phi| >= 1."""
    params, spec = fitted.estimate.params, fitted.spec
    phi = params.idio_ar1
    with np.errstate(divide="ignore", invalid="ignore"):
        single = np.where(np.abs(phi) < 1, params.idio_var / (1 - phi**2), np.nan)
    distance = np.abs(np.subtract.outer(np.arange(5), np.arange(5)))
    spread = np.einsum("a,iab,b->i", WEIGHTS, phi[:, None, None] ** distance, WEIGHTS)
    return np.where(spec.quarterly, spread * single, single)


def common_component(fitted: Fitted) -> np.ndarray:
    """``(T, N)``: what the smoothed factors say each standardised series is; NaN in a quarterly series' first rows."""
    factors, spec = fitted.estimate.smoothed, fitted.spec
    out = factors @ fitted.estimate.params.loadings.T
    if spec.quarterly.any():
        out[:, spec.quarterly] = weighted_lags(factors) @ fitted.estimate.params.loadings[spec.quarterly].T
    return out


def weighted_lags(factors: np.ndarray) -> np.ndarray:
    """``(T, r)``: f_t + 2 f_t-1 + 3 f_t-2 + 2 f_t-3 + f_t-4; NaN in the first four rows."""
    out = np.full(factors.shape, np.nan)
    for t in range(4, len(factors)):
        out[t] = WEIGHTS @ factors[t - 4 : t + 1][::-1]
    return out


def r2(fitted: Fitted) -> np.ndarray:
    """``(N, r)``: squared correlation of each series with each smoothed factor, where the series was observed."""
    spec = fitted.spec
    quarterly = weighted_lags(fitted.estimate.smoothed) if spec.quarterly.any() else fitted.estimate.smoothed
    out = np.full(spec.loads.shape, np.nan)
    for i in range(spec.n_series):
        factors = quarterly if spec.quarterly[i] else fitted.estimate.smoothed
        seen = ~np.isnan(fitted.y[:, i]) & ~np.isnan(factors[:, 0])
        y = fitted.y[seen, i] - fitted.y[seen, i].mean()
        f = factors[seen] - factors[seen].mean(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            out[i] = (y @ f) ** 2 / ((y @ y) * (f**2).sum(axis=0))
    return np.where(spec.loads, out, np.nan)
