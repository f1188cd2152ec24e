"""Wald's arithmetic: an estimate and its covariance against a normal, t, chi-square or F distribution."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

UNTESTABLE = ("all_zero", "separated", "not_converged")


@dataclass(frozen=True, eq=False)
class Reference:
    """The distribution a statistic is compared with: one for all genes, or degrees of freedom for each of them."""

    df_resid: np.ndarray | float

    def sf(self, stat: np.ndarray) -> np.ndarray:
        """P(T > stat), accurate in the tail."""
        df = self.df_resid
        return np.where(np.isinf(df), special.ndtr(-stat), special.stdtr(np.where(np.isinf(df), 1.0, df), -stat))

    def quantile(self, p: float) -> np.ndarray:
        """The p-quantile."""
        df = self.df_resid
        return np.where(np.isinf(df), special.ndtri(p), special.stdtrit(np.where(np.isinf(df), 1.0, df), p))

    def sf_joint(self, stat: np.ndarray, df: np.ndarray) -> np.ndarray:
        """P(chi-square > stat), or P(F > stat / df) with residual degrees of freedom."""
        below = np.where(np.isinf(self.df_resid), 1.0, self.df_resid)
        f_tail = special.fdtrc(df, below, stat / df)
        return np.where(np.isinf(self.df_resid), special.chdtrc(df, stat), f_tail)

    def of(self, genes: np.ndarray) -> Reference:
        """For some of the genes."""
        return self if np.ndim(self.df_resid) == 0 else Reference(np.asarray(self.df_resid)[genes])


def single(
    estimate: np.ndarray,
    variance: np.ndarray,
    rhs: float,
    status: np.ndarray,
    against: Reference,
    alternative: str,
    threshold: float,
) -> dict[str, np.ndarray]:
    """One row: `estimate` and `variance` ``(n_genes,)``, compared with `rhs`."""
    estimate = np.where(status == "all_zero", np.nan, estimate)
    with np.errstate(invalid="ignore", divide="ignore"):
        se = np.sqrt(np.where(variance > 0, variance, np.nan))
    se[np.isin(status, ("all_zero", "separated"))] = np.nan
    distance = estimate - rhs
    stat, pval = tail(distance, se, against, alternative, threshold)
    half = against.quantile(0.975) * se
    lost = np.isnan(pval) | (status == "not_converged")
    stat, pval = np.where(lost, np.nan, stat), np.where(lost, np.nan, pval)
    df = np.where(lost, np.nan, 1.0)
    return {
        "estimate": estimate,
        "se": se,
        "ci_low": estimate - half,
        "ci_high": estimate + half,
        "stat": stat,
        "df": df,
        "df_resid": np.where(lost, np.nan, against.df_resid),
        "pval": pval,
    }


def tail(
    distance: np.ndarray, se: np.ndarray, against: Reference, alternative: str, threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """Statistic and p-value; with a threshold, of the hypothesis that the effect does not exceed it (TREAT)."""
    if alternative == "greater":
        stat = (distance - threshold) / se
        return stat, against.sf(stat)
    if alternative == "less":
        stat = (distance + threshold) / se
        return stat, against.sf(-stat)
    size = np.abs(distance)
    if threshold == 0:
        stat = distance / se
        return stat, 2 * against.sf(np.abs(stat))
    pval = against.sf((size - threshold) / se) + against.sf((size + threshold) / se)
    return np.sign(distance) * np.maximum(size - threshold, 0) / se, pval


def joint(
    distance: np.ndarray,
    block: np.ndarray,
    status: np.ndarray,
    against: Reference,
    *,
    lost: tuple[str, ...] = UNTESTABLE,
) -> dict[str, np.ndarray]:
    """The quadratic form with the pseudo-inverse: rows may be dependent under constraints; df is the rank."""
    n = distance.shape[1]
    stat, df, pval = np.full(n, np.nan), np.full(n, np.nan), np.full(n, np.nan)
    usable = np.flatnonzero(np.isfinite(block).all(axis=(1, 2)) & ~np.isin(status, lost))
    if usable.size:
        matrices = block[usable]
        scale = 1 / np.sqrt(np.maximum(np.einsum("gkk->gk", matrices), np.finfo(float).tiny))
        values, vectors = np.linalg.eigh(matrices * scale[:, :, None] * scale[:, None, :])
        kept = values > 1e-8 * values.max(axis=1, keepdims=True)
        projected = np.einsum("gki,kg,gk->gi", vectors, distance[:, usable], scale, optimize=True)
        stat[usable] = np.sum(np.where(kept, projected**2 / np.where(kept, values, 1), 0), axis=1)
        df[usable] = kept.sum(axis=1)
        inner = against.of(usable)
        pval[usable] = inner.sf_joint(stat[usable], df[usable])
        stat[usable] /= np.where(np.isfinite(inner.df_resid), df[usable], 1.0)  # F is a mean square
    nothing = np.full(n, np.nan)
    df_resid = np.where(np.isnan(pval), np.nan, against.df_resid)
    single = dict.fromkeys(("estimate", "se", "ci_low", "ci_high"), nothing)
    return single | {"stat": stat, "df": df, "df_resid": df_resid, "pval": pval}
