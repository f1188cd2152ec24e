"""The dynamic factor model as a plain state space: every idiosyncratic term that has a memory is a state.

Written for reading and for checking the compiled kernel, which works in the dimension of the factors only. Formulas
are those of Durbin and Koopman (2012), Time Series Analysis by State Space Methods, chapters 4 and 6 (univariate
treatment of multivariate series, which needs no inverse when observations carry no noise).
"""

from __future__ import annotations

import numpy as np

from isthmus.factors.params import QUARTERLY_WEIGHTS, companion, dense_transition, stationary_cov

LOG_2PI = float(np.log(2 * np.pi))


def system(spec, params):
    """Matrices of y_t = Z a_t + noise(H), a_t+1 = T a_t + noise(Q), and the first state's mean and covariance."""
    lags, cov = dense_transition(spec, params)
    r, n_lags = spec.n_factors, spec.initial_lags
    n_f = r * n_lags
    sizes = [5 if quarterly else int(spec.idiosyncratic == "ar1") for quarterly in spec.quarterly]
    m = n_f + sum(sizes)
    z, t, q, p = np.zeros((spec.n_series, m)), np.zeros((m, m)), np.zeros((m, m)), np.zeros((m, m))
    h, a = np.zeros(spec.n_series), np.zeros(m)
    t[:n_f, :n_f], q[:r, :r] = companion(lags, n_lags), cov
    if spec.initial == "known":
        a[:n_f], p[:n_f, :n_f] = params.initial_state, params.initial_cov
    else:
        p[:n_f, :n_f] = stationary_cov(lags, cov, n_lags)
    at = n_f
    for i, size in enumerate(sizes):
        weights = QUARTERLY_WEIGHTS if spec.quarterly[i] else (1.0,)
        for lag, weight in enumerate(weights):
            z[i, lag * r : (lag + 1) * r] = weight * params.loadings[i]
        if not size:
            h[i] = params.idio_var[i]
            continue
        phi, own = params.idio_ar1[i], slice(at, at + size)
        z[i, own] = weights
        t[own, own] = np.eye(size, k=-1)
        t[at, at], q[at, at] = phi, params.idio_var[i]
        distance = np.abs(np.subtract.outer(np.arange(size), np.arange(size)))
        p[own, own] = params.idio_var[i] * phi**distance / (1 - phi**2)
        at += size
    return z, h, t, q, a, p


def kalman_filter(y, spec, params):
    """Filter one series after the other within each time; returns predicted and filtered moments and the steps."""
    z, h, t, q, a, p = system(spec, params)
    n_time, m = len(y), len(a)
    out = {name: np.zeros((n_time, m)) for name in ("predicted", "filtered")}
    out |= {name: np.zeros((n_time, m, m)) for name in ("predicted_cov", "filtered_cov")}
    steps, log_likelihood = [], 0.0
    innovations = np.full(y.shape, np.nan)
    innovation_var = np.full(y.shape, np.nan)
    for time in range(n_time):
        out["predicted"][time], out["predicted_cov"][time] = a, p
        seen = np.flatnonzero(~np.isnan(y[time]))
        innovations[time, seen] = y[time, seen] - z[seen] @ a
        innovation_var[time, seen] = np.einsum("ij,jk,ik->i", z[seen], p, z[seen]) + h[seen]
        step = []
        for i in seen:
            pz = p @ z[i]
            v, f = y[time, i] - z[i] @ a, z[i] @ pz + h[i]
            step.append((z[i], v, f, pz / f))
            a, p = a + pz * (v / f), p - np.outer(pz, pz) / f
            log_likelihood -= 0.5 * (LOG_2PI + np.log(f) + v * v / f)
        steps.append(step)
        out["filtered"][time], out["filtered_cov"][time] = a, p
        a, p = t @ a, t @ p @ t.T + q
    return out | {
        "next_state": a,
        "next_cov": p,
        "log_likelihood": log_likelihood,
        "steps": steps,
        "transition": t,
        "innovations": innovations,
        "innovation_var": innovation_var,
    }


def loglike(y, spec, params):
    """Exact log-likelihood, with every constant."""
    return kalman_filter(y, spec, params)["log_likelihood"]


def smooth(y, spec, params):
    """Add smoothed moments, and covariances with the next state, to what the filter returns."""
    found = kalman_filter(y, spec, params)
    t = found["transition"]
    n_time, m = found["predicted"].shape
    smoothed, cov, next_cov = np.zeros((n_time, m)), np.zeros((n_time, m, m)), np.zeros((n_time, m, m))
    r, n, n_after = np.zeros(m), np.zeros((m, m)), None
    for time in reversed(range(n_time)):
        r, n, carry = t.T @ r, t.T @ n @ t, t.copy()
        for z, v, f, k in reversed(found["steps"][time]):
            keep = np.eye(m) - np.outer(k, z)
            r, n, carry = z * (v / f) + keep.T @ r, np.outer(z, z) / f + keep.T @ n @ keep, carry @ keep
        p = found["predicted_cov"][time]
        smoothed[time], cov[time] = found["predicted"][time] + p @ r, p - p @ n @ p
        if n_after is not None:  # Cov(a_t, a_t+1 | all) = P_t L_t' (I - N_t+1 P_t+1)
            next_cov[time] = p @ carry.T @ (np.eye(m) - n_after @ found["predicted_cov"][time + 1])
        n_after = n
    return found | {"smoothed": smoothed, "smoothed_cov": cov, "next_cov_smoothed": next_cov}


def em_step_iid(y, spec, params):
    """One EM iteration of Banbura and Modugno (2014) for monthly series with i.i.d. terms and a "known" first state."""
    found = smooth(y, spec, params)
    a, r, p = found["smoothed"], spec.n_factors, spec.order
    second = found["smoothed_cov"] + np.einsum("ti,tj->tij", a, a)
    cross = found["next_cov_smoothed"][:-1].transpose(0, 2, 1) + np.einsum("ti,tj->tij", a[1:], a[:-1])
    loadings, idio_var = np.zeros(spec.loads.shape), np.zeros(spec.n_series)
    for i in range(spec.n_series):
        seen, free = ~np.isnan(y[:, i]), np.flatnonzero(spec.loads[i])
        ff, yf = second[seen][:, :r, :r].sum(0), y[seen, i] @ a[seen, :r]
        loadings[i, free] = np.linalg.solve(ff[np.ix_(free, free)], yf[free])
        rest = (y[seen, i] ** 2).sum() - 2 * yf @ loadings[i] + loadings[i] @ ff @ loadings[i]
        idio_var[i] = (rest + (~seen).sum() * params.idio_var[i]) / len(y)
    transition, innovation_cov = [], []
    for block in spec.blocks:
        own = np.array(block.factors)
        past = (np.arange(block.order)[:, None] * r + own).ravel()
        xx, xy = second[:-1][:, past[:, None], past].sum(0), cross[:, own[:, None], past].sum(0)
        coef = np.linalg.solve(xx, xy.T).T
        q = (second[1:][:, own[:, None], own].sum(0) - coef @ xy.T) / (len(y) - 1)
        transition.append(coef.reshape(len(own), block.order, len(own)).transpose(1, 0, 2))
        innovation_cov.append((q + q.T) / 2)
    new = params.replace(
        loadings=loadings,
        idio_var=idio_var,
        transition=tuple(transition),
        innovation_cov=tuple(innovation_cov),
        initial_state=a[0][: r * p],
        initial_cov=found["smoothed_cov"][0][: r * p, : r * p],
    )
    return new, found["log_likelihood"]
