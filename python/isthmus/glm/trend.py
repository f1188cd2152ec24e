r"""Dispersions drawn towards a trend with the mean, as DESeq2 does (Love, Huber & Anders 2014, Genome Biol. 15:550).

1. Gene-wise dispersions by the Cox-Reid adjusted profile likelihood.
2. A trend :math:`\alpha(\mu) = a_1 / \mu + a_0` by a gamma GLM with identity link, refitted without genes that are off
   by a factor of more than 15 or less than 1e-4 until it stays (their section "Dispersion trend"). Genes whose moments
   show no dispersion take no part (`isthmus.glm.start.shows_dispersion`).
3. The width of the prior: the variance of log residuals (by their median absolute deviation) less the part that
   sampling explains, trigamma(df / 2), at least 0.25.
4. The maximum of the adjusted profile likelihood with a normal prior of log alpha around the trend; genes more than two
   residual standard deviations above the trend keep their own.

Where DESeq2 differs: it holds the means of a first fit and keeps them above 0.5 counts, here they are refitted at each
dispersion; below four residual degrees of freedom it simulates the width of step 3. The trend and every dispersion of
step 4 are within 5 % of those of its default for the counts of tests/reference/peers (12 samples, two factors) and of
tests/reference/dispersion (6 samples, two groups). With few counts (a median mean of 7), 94 to 95 % of the dispersions
are, and 98 % are within 5 % of DESeq2's with ``minmu = 1e-6`` in ``estimateDispersionsGeneEst``: means below 0.5 are
real. p-values make the same calls at a false discovery rate of 5 % in over 97 % of the genes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from isthmus.errors import InputError

_LEAST_GENES = 20
_USABLE = 1e-6  # smaller dispersions say that there is none
_LEAST_VARIANCE = 0.25


@dataclass(frozen=True)
class Trend:
    """alpha(mean) = extra / mean + asymptotic; the prior's variance and that of the log residuals."""

    asymptotic: float
    extra: float
    prior_variance: float
    residual_variance: float

    def at(self, means: np.ndarray) -> np.ndarray:
        """The trend at some means."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(self.asymptotic + self.extra / means)

    def outliers(self, dispersions: np.ndarray, means: np.ndarray) -> np.ndarray:
        """Genes too far above the trend to be drawn to it."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log(dispersions) > np.log(self.at(means)) + 2 * np.sqrt(self.residual_variance)


def has_trend(dispersions: np.ndarray) -> bool:
    """Do enough genes have a dispersion to fit a trend to?"""
    return int((np.nan_to_num(dispersions) > _USABLE).sum()) >= _LEAST_GENES


def fit_trend(dispersions: np.ndarray, means: np.ndarray, df_resid: int) -> Trend:
    """The trend and the prior's width from gene-wise dispersions (NaN or 0: takes no part).

    Raises
    ------
    InputError
        Fewer than 20 genes have a dispersion above 1e-6.
    """
    use = np.isfinite(dispersions) & (dispersions > _USABLE) & (means > 0)
    if not has_trend(dispersions[use]):
        msg = (
            f'`dispersion` = "trend" needs at least {_LEAST_GENES} genes with a dispersion above 0 to fit a trend to; '
            f'got {int(use.sum())}. Use "cox_reid".'
        )
        raise InputError(msg)
    y, x = dispersions[use], means[use]
    asymptotic, extra = _parametric(y, x)
    residual = np.log(y) - np.log(asymptotic + extra / x)
    variance = float((1.4826 * np.median(np.abs(residual - np.median(residual)))) ** 2)
    prior = max(variance - float(special.polygamma(1, df_resid / 2)), _LEAST_VARIANCE)
    return Trend(float(asymptotic), float(extra), prior, variance)


def _parametric(y: np.ndarray, x: np.ndarray) -> tuple[float, float]:
    """Iterate gamma fits over the genes within reach of the last one; the median where no positive trend exists."""
    coef = np.array([0.1, 1.0])
    for _ in range(50):
        ratio = y / (coef[0] + coef[1] / x)
        good = (ratio > 1e-4) & (ratio < 15)
        new = _gamma_fit(y[good], x[good], coef)
        if new is None:
            return float(np.median(y)), 0.0
        if np.sum(np.log(new / coef) ** 2) < 1e-6:
            return float(new[0]), float(new[1])
        coef = new
    return float(coef[0]), float(coef[1])


def _gamma_fit(y: np.ndarray, x: np.ndarray, coef: np.ndarray) -> np.ndarray | None:
    """Gamma GLM with identity link in (1, 1 / x) by iterated weighted least squares; None where it leaves positive
    values."""
    design = np.column_stack([np.ones(len(x)), 1 / x])
    deviance = np.inf
    for _ in range(100):
        fitted = design @ coef
        new_deviance = float(2 * np.sum(-np.log(y / fitted) + (y - fitted) / fitted))
        if abs(new_deviance - deviance) < 1e-10 * (abs(new_deviance) + 0.1):
            return coef
        deviance = new_deviance
        coef = np.linalg.lstsq(design / fitted[:, None], y / fitted, rcond=None)[0]
        if not (coef > 0).all():
            return None
    return coef
