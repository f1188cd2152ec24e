"""Maximum likelihood of the negative binomial GLM in 40-digit arithmetic: the numbers that every implementation must
reach.

Nothing here is shared with the package: the likelihood is written with `mpmath.loggamma` as in a textbook, its gradient
with `mpmath.digamma`; the root of the gradient is found by Newton's method whose Jacobian mpmath takes numerically,
from a start that scipy's BFGS found in double precision. 40 digits make the cancellation that troubles double precision
irrelevant.
"""

from __future__ import annotations

from dataclasses import dataclass

import mpmath as mp
import numpy as np
from scipy.optimize import minimize
from scipy.special import gammaln

mp.mp.dps = 40


@dataclass(frozen=True)
class Exact:
    mean: np.ndarray  # free mean parameters, natural log
    dispersion: np.ndarray  # free parameters of log alpha
    log_likelihood: float
    cov_expected: np.ndarray  # block diagonal: mean block from the expected information, dispersion at fixed mean
    cov_observed: np.ndarray  # inverse of minus the joint Hessian


def fit(y: np.ndarray, x: np.ndarray, z: np.ndarray, offset: np.ndarray) -> Exact:
    """Maximise over (a, b) with log mu = x a + offset and log alpha = z b."""
    start = _double_precision_start(y, x, z, offset)
    root = mp.findroot(
        lambda *theta: _gradient(theta, y, x, z, offset), [mp.mpf(t) for t in start], tol=1e-50, maxsteps=60
    )
    theta = [root[i] for i in range(len(start))]
    value, information = _value(theta, y, x, z, offset), _minus_hessian(theta, y, x, z, offset)
    f = x.shape[1]
    free = np.array([float(t) for t in theta])
    mu, alpha = np.exp(x @ free[:f] + offset), np.exp(z @ free[f:])
    cov_expected = np.zeros_like(information)
    cov_expected[:f, :f] = np.linalg.inv((x.T * (mu / (1 + alpha * mu))) @ x)
    cov_expected[f:, f:] = np.linalg.inv(information[f:, f:])
    return Exact(free[:f], free[f:], float(value), cov_expected, np.linalg.inv(information))


def _predictors(theta, x, z, offset):
    f = x.shape[1]
    for xi, zi, oi in zip(x, z, offset, strict=True):
        eta = mp.fdot(zip(theta[:f], xi.tolist(), strict=True)) + oi
        lam = mp.fdot(zip(theta[f:], zi.tolist(), strict=True))
        yield mp.exp(eta), mp.exp(-lam)


def _value(theta, y, x, z, offset):
    total = mp.mpf(0)
    for yi, (mu, r) in zip(y.tolist(), _predictors(theta, x, z, offset), strict=True):
        total += mp.loggamma(yi + r) - mp.loggamma(r) - mp.loggamma(yi + 1)
        total += r * mp.log(r / (r + mu)) + (yi * mp.log(mu / (r + mu)) if yi else 0)
    return total


def _gradient(theta, y, x, z, offset):
    out = [mp.mpf(0)] * (x.shape[1] + z.shape[1])
    f = x.shape[1]
    for yi, xi, zi, (mu, r) in zip(y.tolist(), x.tolist(), z.tolist(), _predictors(theta, x, z, offset), strict=True):
        in_eta = (yi - mu) * r / (r + mu)
        in_r = mp.digamma(yi + r) - mp.digamma(r) + mp.log(r / (r + mu)) + 1 - (yi + r) / (r + mu)
        for k, value in enumerate(xi):
            out[k] += value * in_eta
        for k, value in enumerate(zi):
            out[f + k] -= value * r * in_r  # dr/dlambda = -r
    return out


def _minus_hessian(theta, y, x, z, offset):
    """Central differences of the gradient: with 40 digits, exact to double precision."""
    step, columns = mp.mpf(10) ** -12, []
    for k in range(len(theta)):
        up, down = list(theta), list(theta)
        up[k] += step
        down[k] -= step
        pair = zip(_gradient(up, y, x, z, offset), _gradient(down, y, x, z, offset), strict=True)
        columns.append([-float((u - d) / (2 * step)) for u, d in pair])
    information = np.array(columns)
    return (information + information.T) / 2


def _double_precision_start(y, x, z, offset):
    """BFGS on the double-precision likelihood, good to a few digits: Newton does the rest."""

    def minus_value(theta):
        eta, lam = x @ theta[: x.shape[1]] + offset, z @ theta[x.shape[1] :]
        mu, r = np.exp(np.clip(eta, -30, 30)), np.exp(-np.clip(lam, -15, 15))
        part = gammaln(y + r) - gammaln(r) - gammaln(y + 1) + r * np.log(r / (r + mu)) + y * np.log(mu / (r + mu))
        return -part.sum()

    level = np.log(y.sum() / np.exp(offset).sum())
    mean = np.linalg.lstsq(x, np.full(len(y), level), rcond=None)[0]
    starts = [np.concatenate([mean, np.linalg.lstsq(z, np.full(len(y), lam), rcond=None)[0]]) for lam in (-2.0, 0.0)]
    return min(
        (minimize(minus_value, s, method="BFGS", options={"gtol": 1e-6}) for s in starts), key=lambda fit: fit.fun
    ).x
