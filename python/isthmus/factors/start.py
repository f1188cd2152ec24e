"""Where EM starts: principal components, one factor after the other, then regressions (Banbura and Modugno 2014)."""

from __future__ import annotations

import numpy as np

from isthmus.factors.params import QUARTERLY_WEIGHTS, Params, Spec, with_initial

# Smallest variance of an idiosyncratic term to start from, as a share of the series'. A factor that repeats its series
# (one series; near-duplicates) leaves none, and EM moves away from zero so slowly that it would look converged there.
_LEAST = 0.1


def interpolate(y: np.ndarray) -> np.ndarray:
    """Fill gaps on the line between neighbours, and both ends with the nearest value."""
    filled, times = y.copy(), np.arange(len(y))
    for column in filled.T:
        seen = ~np.isnan(column)
        column[~seen] = np.interp(times[~seen], times[seen], column[seen]) if seen.any() else 0.0
    return filled


def first_component(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores (n_time,) and projection of the leading principal component of centred, standardised columns."""
    scale = x.std(axis=0)
    scale[scale < 1e-12] = 1.0
    z = (x - x.mean(axis=0)) / scale
    _, _, vt = np.linalg.svd(z, full_matrices=False)
    weights = vt[0] * (1.0 if vt[0].sum() >= 0 else -1.0)
    scores = z @ weights
    return scores, np.outer(scores, weights) * scale + x.mean(axis=0)


def pca_factors(y: np.ndarray, spec: Spec) -> np.ndarray:
    """``(T, r)``: each factor is the first component of what its (monthly) series keep after the earlier factors."""
    rest, factors = interpolate(y), np.zeros((len(y), spec.n_factors))
    for j in range(spec.n_factors):
        monthly = spec.loads[:, j] & ~spec.quarterly
        own = np.flatnonzero(monthly if monthly.any() else spec.loads[:, j])
        if len(own):
            factors[:, j], projection = first_component(rest[:, own])
            rest[:, own] -= projection
        if factors[:, j].std() < 1e-6:  # nothing is left of these series: any small factor, so that nothing is singular
            factors[:, j] = np.random.default_rng(j).normal(0, 0.1, len(y))
    return factors


def _weighted_lags(factors: np.ndarray) -> np.ndarray:
    padded = np.vstack([np.repeat(factors[:1], 4, axis=0), factors])
    return np.sum([w * padded[4 - lag : len(padded) - lag] for lag, w in enumerate(QUARTERLY_WEIGHTS)], axis=0)


def _loadings(y: np.ndarray, factors: np.ndarray, spec: Spec) -> tuple[np.ndarray, np.ndarray]:
    """Least squares of each series on its factors; residuals keep the series' gaps."""
    loadings, residuals = np.zeros(spec.loads.shape), np.full(y.shape, np.nan)
    quarterly = _weighted_lags(factors)
    for i in range(spec.n_series):
        x = (quarterly if spec.quarterly[i] else factors)[:, spec.loads[i]]
        seen = ~np.isnan(y[:, i])
        loadings[i, spec.loads[i]] = np.linalg.lstsq(x[seen], y[seen, i], rcond=None)[0]
        residuals[seen, i] = y[seen, i] - x[seen] @ loadings[i, spec.loads[i]]
    return loadings, residuals


def _var(x: np.ndarray, order: int) -> tuple[np.ndarray, np.ndarray]:
    """Least-squares VAR, shrunk until its roots are inside the unit circle."""
    k = x.shape[1]
    if not order:
        return np.zeros((0, k, k)), np.atleast_2d(np.cov(x.T, bias=True)) + 1e-6 * np.eye(k)
    past = np.concatenate([x[order - lag : len(x) - lag] for lag in range(1, order + 1)], axis=1)
    coef = np.linalg.lstsq(past, x[order:], rcond=None)[0].T
    matrix = np.eye(order * k, k=-k)
    while True:
        matrix[:k] = coef
        if np.abs(np.linalg.eigvals(matrix)).max() < 0.98:
            break
        coef = 0.95 * coef
    rest = x[order:] - past @ coef.T
    cov = rest.T @ rest / len(rest)
    cov += 1e-3 * np.diag(x.var(axis=0))  # a VAR that fits a short sample perfectly leaves nothing
    return coef.reshape(k, order, k).transpose(1, 0, 2), cov


def _idiosyncratic(residuals: np.ndarray, spec: Spec) -> tuple[np.ndarray, np.ndarray]:
    """AR(1) by least squares over pairs of neighbours (0 where there are none); quarterly terms are 19 sigma2."""
    phi, var = np.zeros(spec.n_series), np.zeros(spec.n_series)
    for i in range(spec.n_series):
        e = residuals[:, i]
        total = np.nanmean(e**2) if np.any(~np.isnan(e)) else 1.0
        pairs = ~np.isnan(e[1:]) & ~np.isnan(e[:-1])
        least = _LEAST
        if spec.quarterly[i]:
            total, least = total / 19.0, _LEAST / 19.0
        elif spec.idiosyncratic == "ar1" and pairs.sum() > 2:
            bottom = (e[:-1][pairs] ** 2).sum()
            phi[i] = np.clip((e[1:][pairs] * e[:-1][pairs]).sum() / max(bottom, 1e-12), -0.95, 0.95)
        var[i] = max(total, least) * (1 - phi[i] ** 2)
    return phi, var


def start_params(y: np.ndarray, spec: Spec, *, seed: int = 0, jitter: float = 0.0) -> Params:
    """Principal components, loadings by least squares, a VAR for each block, AR(1) terms of the residuals.

    Parameters
    ----------
    y
        ``(T, N)``, standardised, NaN where missing.
    spec
        What is estimated.
    seed, jitter
        Standard deviation of noise on the components, for further starts; 0 (the default) draws nothing.
    """
    factors = pca_factors(y, spec)
    if jitter:
        factors = factors + np.random.default_rng(seed).normal(0, jitter, factors.shape) * factors.std(axis=0)
    return params_from_factors(y, spec, factors)


def params_from_factors(y: np.ndarray, spec: Spec, factors: np.ndarray) -> Params:
    """Every parameter by least squares, as if the factors ``(T, r)`` were observed."""
    loadings, residuals = _loadings(y, factors, spec)
    blocks = [_var(factors[:, list(block.factors)], block.order) for block in spec.blocks]
    phi, var = _idiosyncratic(residuals, spec)
    params = Params(loadings, tuple(b[0] for b in blocks), tuple(b[1] for b in blocks), phi, var)
    return with_initial(spec, params)
