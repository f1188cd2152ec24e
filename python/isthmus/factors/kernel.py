"""The seam between the factor model and its kernels: arrays in, arrays out. See :mod:`isthmus.factors.params`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isthmus.factors.params import Params, Spec


@dataclass(frozen=True, eq=False)
class States:
    """Moments of the factors given the data.

    Attributes
    ----------
    filtered, filtered_cov
        ``(T, r)`` and ``(T, r, r)``: given the data up to each time.
    smoothed, smoothed_cov
        The same given all data.
    idiosyncratic
        ``(T, N)`` smoothed e_it, also where y is missing (quarterly series: the aggregate's, NaN where missing).
    innovations, innovation_var
        ``(T, N)`` one-step errors of y and their variances; NaN where y is missing.
    log_likelihood
        With every constant.
    """

    filtered: np.ndarray
    filtered_cov: np.ndarray
    smoothed: np.ndarray
    smoothed_cov: np.ndarray
    idiosyncratic: np.ndarray
    innovations: np.ndarray
    innovation_var: np.ndarray
    log_likelihood: float


@dataclass(frozen=True, eq=False)
class Forecast:
    """Moments of the h times after the panel's last: ``(h, r)``, ``(h, r, r)``, ``(h, N)``, ``(h, N)``.

    Parameters are taken as known: intervals leave their uncertainty out.
    """

    factors: np.ndarray
    factors_cov: np.ndarray
    series: np.ndarray
    series_var: np.ndarray


@dataclass(frozen=True, eq=False)
class PanelFit:
    """A fitted panel.

    Attributes
    ----------
    params
        At the optimum.
    log_likelihood
        Of `params`.
    path
        ``(n_iter,)`` log-likelihood after each iteration.
    n_iter, converged
        Likelihood evaluations with an EM step or a score; whether gain < tol and scaled_score < 1e-2.
    gain
        Log-likelihood gained by the last iteration.
    scaled_score
        Largest score of a parameter times its standard error were the factors observed.
    heywood
        ``(N,)`` bool: idiosyncratic variance under 1e-3 of the series' variance.
    kernel
        "avx2", "baseline" or "reference".
    """

    params: Params
    log_likelihood: float
    path: np.ndarray
    n_iter: int
    converged: bool
    gain: float
    scaled_score: float
    heywood: np.ndarray
    kernel: str


def loglike(y: np.ndarray, spec: Spec, params: Params) -> float:
    """Exact log-likelihood of ``y`` (T, N), NaN where missing, already standardised."""
    from isthmus._reference import dfm

    return float(dfm.loglike(y, spec, params))


def forecast(y: np.ndarray, spec: Spec, params: Params, h: int) -> Forecast:
    """Moments of the factors and the series 1..h times after the last row of ``y``."""
    from isthmus._reference import dfm

    z, noise, t, q, _, _ = dfm.system(spec, params)
    found = dfm.kalman_filter(y, spec, params)
    a, p, r = found["next_state"], found["next_cov"], spec.n_factors
    rows = []
    for _ in range(h):
        rows.append((a[:r], p[:r, :r], z @ a, np.einsum("ij,jk,ik->i", z, p, z) + noise))
        a, p = t @ a, t @ p @ t.T + q
    return Forecast(*(np.array(column) for column in zip(*rows, strict=True)))


def states(y: np.ndarray, spec: Spec, params: Params) -> States:
    """Filtered and smoothed factors, idiosyncratic terms and one-step errors."""
    from isthmus._reference import dfm

    found, r = dfm.smooth(y, spec, params), spec.n_factors
    z, *_ = dfm.system(spec, params)
    common = z.copy()
    common[:, r * spec.initial_lags :] = 0
    rest = found["smoothed"] @ (z - common).T
    observed = y - found["smoothed"] @ common.T
    return States(
        filtered=found["filtered"][:, :r],
        filtered_cov=found["filtered_cov"][:, :r, :r],
        smoothed=found["smoothed"][:, :r],
        smoothed_cov=found["smoothed_cov"][:, :r, :r],
        idiosyncratic=np.where(np.isnan(y), rest, observed),
        innovations=found["innovations"],
        innovation_var=found["innovation_var"],
        log_likelihood=found["log_likelihood"],
    )
