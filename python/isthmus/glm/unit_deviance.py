r"""Mean and variance of the unit deviance of negative-binomial counts.

A unit deviance :math:`d = 2 [y \log(y / \mu) - (y + 1/\alpha) \log((1 + \alpha y) / (1 + \alpha \mu))]` is close to
chi-square with one degree of freedom for large means only: with a mean of 0.1 its expectation is 0.47, so a
quasi-likelihood dispersion taken from plain deviances is far too small for sparse genes. A scaled chi-square with the
same two moments, :math:`d \approx c \chi^2_k` with :math:`k = 2 E^2 / V` and :math:`c = V / (2 E)`, is right (Lun &
Smyth 2017, Stat. Appl. Genet. Mol. Biol. 16:83; Chen et al. 2025, Nucleic Acids Res. 53:gkaf018).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy import special
from scipy.interpolate import RectBivariateSpline

_LOG_MEAN = np.linspace(np.log(1e-4), np.log(300.0), 48)
_LOG_ALPHA = np.linspace(np.log(1e-4), np.log(10.0), 28)
_MOST_TERMS = 20_000


def unit_deviance(y: np.ndarray, mu: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Twice the log-likelihood that a mean of `mu` costs against one of `y`; alpha may be 0 (Poisson)."""
    positive = y > 0
    ratio = np.where(positive, y * np.log(np.where(positive, y, 1) / mu), 0.0)
    small = alpha * np.maximum(mu, y) < 1e-8
    safe = np.where(small, 1.0, alpha)
    gap = np.where(small, y - mu, (y + 1 / safe) * np.log1p(safe * (y - mu) / (1 + safe * mu)))
    return np.asarray(np.maximum(2 * (ratio - gap), 0.0))


def scaled_chi_square(mu: np.ndarray, alpha: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scale c and degrees of freedom k of the unit deviance at each mean and dispersion (interpolated)."""
    log_mean = np.clip(np.log(np.maximum(mu, 1e-300)), _LOG_MEAN[0], _LOG_MEAN[-1])
    log_alpha = np.clip(np.log(np.maximum(alpha, 1e-300)), _LOG_ALPHA[0], _LOG_ALPHA[-1])
    splines = _tables()
    log_expectation, log_variance = (spline.ev(log_mean, log_alpha) for spline in splines)
    return np.exp(log_variance - log_expectation) / 2, 2 * np.exp(2 * log_expectation - log_variance)


def cubic_pieces(alpha: np.ndarray) -> tuple[float, float, np.ndarray]:
    """The same interpolation at each of some dispersions, as cubic polynomials of the log mean.

    Returns
    -------
    low, step
        Log mean at which the first piece begins, and the length of each.
    pieces
        ``(n, n_pieces, 8)``: coefficients of log E and of log V in ascending order, of the distance from the piece's
        beginning.
    """
    own, back = np.unique(
        np.clip(np.log(np.maximum(alpha, 1e-300)), _LOG_ALPHA[0], _LOG_ALPHA[-1]), return_inverse=True
    )
    step = float(_LOG_MEAN[1] - _LOG_MEAN[0])
    pieces = np.empty((len(own), len(_LOG_MEAN) - 1, 8))
    for place, spline in enumerate(_tables()):
        value, slope, bend = (spline(_LOG_MEAN, own, dx=order).T for order in range(3))
        third = np.diff(bend, axis=1) / step  # constant on a piece
        pieces[:, :, 4 * place : 4 * place + 4] = np.stack(
            [value[:, :-1], slope[:, :-1], bend[:, :-1] / 2, third / 6], axis=2
        )
    return float(_LOG_MEAN[0]), step, pieces[back.reshape(-1)]


@lru_cache(maxsize=1)
def _tables() -> tuple[RectBivariateSpline, RectBivariateSpline]:
    """log E and log V on a grid of log mean and log alpha."""
    moments = np.array([[deviance_moments(np.exp(m), np.exp(a)) for a in _LOG_ALPHA] for m in _LOG_MEAN])
    expectation, variance = (RectBivariateSpline(_LOG_MEAN, _LOG_ALPHA, np.log(moments[:, :, i])) for i in (0, 1))
    return expectation, variance


def deviance_moments(mu: float, alpha: float) -> tuple[float, float]:
    """Expectation and variance of the unit deviance by summation over the counts."""
    size = 1 / alpha
    longest = int(min(mu + 12 * np.sqrt(mu + alpha * mu**2) + 40 * (1 + alpha * mu), _MOST_TERMS))
    y = np.arange(longest + 1, dtype=float)
    log_p = (
        special.gammaln(y + size)
        - special.gammaln(size)
        - special.gammaln(y + 1)
        - size * np.log1p(alpha * mu)
        + y * (np.log(mu) + np.log(alpha) - np.log1p(alpha * mu))
    )
    p = np.exp(log_p)
    d = unit_deviance(y, np.full_like(y, mu), np.full_like(y, alpha))
    expectation = float(p @ d)
    return expectation, max(float(p @ d**2) - expectation**2, 1e-300)
