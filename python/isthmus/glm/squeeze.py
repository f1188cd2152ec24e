"""Empirical Bayes for variances: each is drawn towards a trend, as far as it is uncertain (Smyth 2004, Stat. Appl.
Genet. Mol. Biol. 3:3; with a trend Sartor et al. 2006, BMC Bioinformatics 7:538)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from isthmus.data.splines import natural_spline

_LEAST_DF = 0.1  # a variance with fewer degrees of freedom takes no part in the prior


@dataclass(frozen=True, eq=False)
class Squeezed:
    """Posterior variance and prior variance ``(n,)``, and the prior's degrees of freedom (may be infinite)."""

    posterior: np.ndarray
    prior: np.ndarray
    df_prior: float


def squeeze(variance: np.ndarray, df: np.ndarray, covariate: np.ndarray) -> Squeezed:
    r"""Posterior variances under :math:`s^2_g \sim s_0^2(x_g) F(d_g, d_0)`.

    The moments of :math:`\log s^2` give the trend :math:`s_0^2(x)` (a natural cubic spline of at most four degrees of
    freedom) and d_0: its residual variance is the mean of trigamma(d_g / 2) plus trigamma(d_0 / 2). The posterior is
    :math:`(d_g s_g^2 + d_0 s_0^2) / (d_g + d_0)`.

    Parameters
    ----------
    variance, df
        ``(n,)``; NaN, zero or less than 0.1 degrees of freedom take no part in the prior.
    covariate
        ``(n,)``, log mean.
    """
    use = np.isfinite(variance) & np.isfinite(covariate) & (df > _LEAST_DF) & (variance > 0)
    x, d = covariate[use], df[use]
    # limma keeps exact zeros out of the logarithm in the same way
    s2 = np.maximum(variance[use], 1e-5 * np.median(variance[use]))
    e = np.log(s2) - special.digamma(d / 2) + np.log(d / 2)
    basis, state = _basis(x)
    coef = np.linalg.lstsq(basis, e, rcond=None)[0]
    spread = float(np.sum((e - basis @ coef) ** 2) / (len(e) - basis.shape[1]))
    spread -= float(np.mean(special.polygamma(1, d / 2)))
    df_prior = 2 * inverse_trigamma(spread) if spread > 0 else np.inf
    shift = special.digamma(df_prior / 2) - np.log(df_prior / 2) if np.isfinite(df_prior) else 0.0
    inside = np.clip(np.where(np.isfinite(covariate), covariate, x.mean()), x.min(), x.max())
    prior = np.exp(_basis(inside, state)[0] @ coef + shift)
    known = np.isfinite(variance)
    own, weight = np.where(known, variance, 0.0), np.where(known, df, 0.0)
    posterior = prior if np.isinf(df_prior) else (weight * own + df_prior * prior) / (weight + df_prior)
    return Squeezed(np.asarray(posterior), prior, float(df_prior))


def _basis(x: np.ndarray, state: dict[str, object] | None = None) -> tuple[np.ndarray, dict[str, object]]:
    """Intercept and natural spline, with as many columns as limma's fitFDist takes for that many genes."""
    kept: dict[str, object] = {} if state is None else state
    columns = natural_spline(x, 3, None, kept)
    values = np.column_stack([np.asarray(columns[name], dtype=float) for name in columns])
    return np.column_stack([np.ones(len(x)), values]), kept


def inverse_trigamma(y: float) -> float:
    """x with trigamma(x) = y, by Newton's method on 1 / trigamma, which is nearly linear (Smyth 2004, appendix)."""
    if y > 1e7:
        return float(1 / np.sqrt(y))
    if y < 1e-6:
        return float(1 / y)
    x = 0.5 + 1 / y
    for _ in range(50):
        value = float(special.polygamma(1, x))
        step = value * (1 - value / y) / float(special.polygamma(2, x))
        x += step
        if -step / x < 1e-10:
            break
    return float(x)
