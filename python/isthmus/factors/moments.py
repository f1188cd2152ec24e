"""From the kernel's moments of the states to what users read: idiosyncratic terms, one-step errors, forecasts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isthmus.factors.params import QUARTERLY_WEIGHTS, Params, Spec, companion, dense_transition


@dataclass(frozen=True, eq=False)
class StateMoments:
    """Moments of the state (f_t, ..., f_t-n_lags+1, extra states) at every time; ``extra[i]`` is -1 or a position.

    Predicted, filtered and smoothed: ``(T, m)`` and ``(T, m, m)``; the state after the last time: ``(m,)``, ``(m, m)``.
    """

    log_likelihood: float
    predicted: np.ndarray
    predicted_cov: np.ndarray
    filtered: np.ndarray
    filtered_cov: np.ndarray
    smoothed: np.ndarray
    smoothed_cov: np.ndarray
    next_state: np.ndarray
    next_cov: np.ndarray
    extra: np.ndarray
    n_lags: int


def exact_row(spec: Spec, params: Params, moments: StateMoments, series: int) -> np.ndarray:
    """Weights on the state of a series that has states of its own: y = row @ state, without noise."""
    row, r = np.zeros(moments.predicted.shape[1]), spec.n_factors
    for lag, weight in enumerate(QUARTERLY_WEIGHTS if spec.quarterly[series] else (1.0,)):
        row[lag * r : (lag + 1) * r] = weight * params.loadings[series]
        row[moments.extra[series] + lag] = weight
    return row


def gaps(observed: np.ndarray) -> np.ndarray:
    """``(T,)`` times since the last observation before t; 0 where there is none."""
    times = np.arange(len(observed))
    last = np.maximum.accumulate(np.where(observed, times, -1))
    before = np.concatenate([[-1], last[:-1]])
    return np.where(before >= 0, times - before, 0)


def gap_variance(phi: float, gap: int) -> float:
    """Variance of e_t given e_t-gap over sigma2; gap 0 means that nothing came before."""
    return float(sum(phi ** (2 * j) for j in range(gap))) if gap else 1 / (1 - phi**2)


def _collapsed_innovations(
    y: np.ndarray, spec: Spec, params: Params, moments: StateMoments, series: int
) -> tuple[np.ndarray, np.ndarray]:
    """One-step errors and variances of a series without states of its own, NaN where it is not observed."""
    error, variance = np.full(len(y), np.nan), np.full(len(y), np.nan)
    observed, r, phi = ~np.isnan(y), spec.n_factors, params.idio_ar1[series]
    gap = gaps(observed) if spec.idiosyncratic == "ar1" else np.zeros(len(y), int)
    for k in np.unique(gap[observed]):
        at = np.flatnonzero(observed & (gap == k))
        row = np.zeros(moments.predicted.shape[1])
        row[:r] = params.loadings[series]
        expected = np.zeros(len(at))
        if k:
            row[k * r : (k + 1) * r] -= phi**k * params.loadings[series]
            expected += phi**k * y[at - k]
        error[at] = y[at] - expected - moments.predicted[at] @ row
        noise = params.idio_var[series] * gap_variance(phi, k)
        variance[at] = np.einsum("i,tij,j->t", row, moments.predicted_cov[at], row) + noise
    return error, variance


def innovations(y: np.ndarray, spec: Spec, params: Params, moments: StateMoments) -> tuple[np.ndarray, np.ndarray]:
    """``(T, N)`` y_it - E[y_it | data before t] and its variance."""
    error, variance = np.full(y.shape, np.nan), np.full(y.shape, np.nan)
    for i in range(spec.n_series):
        if moments.extra[i] < 0:
            error[:, i], variance[:, i] = _collapsed_innovations(y[:, i], spec, params, moments, i)
            continue
        at, row = ~np.isnan(y[:, i]), exact_row(spec, params, moments, i)
        error[at, i] = y[at, i] - moments.predicted[at] @ row
        variance[at, i] = np.einsum("i,tij,j->t", row, moments.predicted_cov[at], row)
    return error, variance


def bridge(e: np.ndarray, phi: float) -> np.ndarray:
    """Fill the gaps of an AR(1) with expectations given the neighbours on both sides."""
    filled, seen = e.copy(), np.flatnonzero(~np.isnan(e))
    if not len(seen):
        return np.zeros_like(e)
    for t in np.flatnonzero(np.isnan(e)):
        at = int(np.searchsorted(seen, t))
        a = int(t - seen[at - 1]) if at else 0  # times since the neighbour before; 0 where there is none
        b = int(seen[at] - t) if at < len(seen) else 0
        if not b:
            filled[t] = phi**a * e[seen[-1]]
        elif not a:
            filled[t] = phi**b * e[seen[0]]
        else:
            before, after = phi**a * gap_variance(phi, b), phi**b * gap_variance(phi, a)
            filled[t] = (before * e[seen[at - 1]] + after * e[seen[at]]) / gap_variance(phi, a + b)
    return filled


def idiosyncratic(y: np.ndarray, spec: Spec, params: Params, moments: StateMoments) -> np.ndarray:
    """``(T, N)`` E[e_it | all data]; a quarterly series' is that of its aggregate."""
    r = spec.n_factors
    out = y - moments.smoothed[:, :r] @ params.loadings.T
    for i in range(spec.n_series):
        if moments.extra[i] < 0:
            out[:, i] = bridge(out[:, i], params.idio_ar1[i])
            continue
        row = exact_row(spec, params, moments, i)
        row[: r * moments.n_lags] = 0
        out[:, i] = moments.smoothed @ row
    return out


def transition_matrix(spec: Spec, params: Params, moments: StateMoments) -> tuple[np.ndarray, np.ndarray]:
    """T and the noise covariance of the whole state."""
    lags, cov = dense_transition(spec, params)
    m, n_f, r = moments.predicted.shape[1], spec.n_factors * moments.n_lags, spec.n_factors
    matrix, noise = np.zeros((m, m)), np.zeros((m, m))
    matrix[:n_f, :n_f], noise[:r, :r] = companion(lags, moments.n_lags), cov
    for i in np.flatnonzero(moments.extra >= 0):
        first, size = moments.extra[i], 5 if spec.quarterly[i] else 2
        own = slice(first, first + size)
        matrix[own, own] = np.eye(size, k=-1)
        matrix[first, first], noise[first, first] = params.idio_ar1[i], params.idio_var[i]
    return matrix, noise


@dataclass(frozen=True, eq=False)
class _Ahead:
    """The state h times ahead, its covariance, and its covariance with the last filtered state."""

    h: int
    mean: np.ndarray
    cov: np.ndarray
    cross: np.ndarray


def _series_ahead(
    y: np.ndarray, spec: Spec, params: Params, moments: StateMoments, series: int, at: _Ahead
) -> tuple[float, float]:
    """Mean and variance of one series h times ahead."""
    r, phi = spec.n_factors, params.idio_ar1[series]
    if moments.extra[series] >= 0:
        row = exact_row(spec, params, moments, series)
        return float(row @ at.mean), float(row @ at.cov @ row)
    loading = params.loadings[series]
    mean, variance = loading @ at.mean[:r], loading @ at.cov[:r, :r] @ loading
    seen = np.flatnonzero(~np.isnan(y[:, series]))
    since = len(y) - 1 - seen[-1] if len(seen) else moments.n_lags
    if spec.idiosyncratic == "iid" or since >= moments.n_lags:
        return float(mean), float(variance + params.idio_var[series] * gap_variance(phi, 0))
    # y_T+h - phi^k y_last = lambda'(f_T+h - phi^k f_last) + noise, k = h + the times since the last observation
    k, last = at.h + since, slice(since * r, (since + 1) * r)
    power = phi**k
    mean += power * (y[seen[-1], series] - loading @ moments.filtered[-1, last])
    variance += loading @ (power**2 * moments.filtered_cov[-1, last, last] - 2 * power * at.cross[:r, last]) @ loading
    return float(mean), float(variance + params.idio_var[series] * gap_variance(phi, k))


def forecast_moments(
    y: np.ndarray, spec: Spec, params: Params, moments: StateMoments, h: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Factors ``(h, r)``, their covariance ``(h, r, r)``, series ``(h, N)`` and their variance ``(h, N)``."""
    matrix, noise = transition_matrix(spec, params, moments)
    r, n = spec.n_factors, spec.n_series
    factors, cov, series, variance = np.zeros((h, r)), np.zeros((h, r, r)), np.zeros((h, n)), np.zeros((h, n))
    at = _Ahead(0, moments.filtered[-1], moments.filtered_cov[-1], moments.filtered_cov[-1])
    for step in range(h):
        at = _Ahead(step + 1, matrix @ at.mean, matrix @ at.cov @ matrix.T + noise, matrix @ at.cross)
        factors[step], cov[step] = at.mean[:r], at.cov[:r, :r]
        for i in range(n):
            series[step, i], variance[step, i] = _series_ahead(y, spec, params, moments, i, at)
    return factors, cov, series, variance
