r"""The share rho of each cell at fixed profiles, by quasi-likelihood, and its standard error.

Native expression varies between cells of a cluster beyond sampling: Var x = mu + phi mu^2. The plain likelihood takes
every count for new evidence and lets a few highly expressed genes decide. Here gene g of cluster k has the weight

    w_g = 1 / (1 + phi_k nbar_k p_kg),  nbar_k the median UMI of the cluster,

and rho_i solves sum_g w_g (x_g - N m_g) (a_g - p_g) / m_g = 0 (McCullagh & Nelder 1989, chapter 9). Its variance is the
sandwich J^-1 V J^-1, with J = sum_g w_g x_g (a_g - p_g)^2 / m_g^2, Fisher's information of the weighted score, and V
the variance of the score: J' with squared weights, plus N^2 phi (1 - rho)^2 sum_g w_g^2 p_g^2 (a_g - p_g)^2 / m_g^2 for
the overdispersion.

Where a cluster is a poor description of its cells, rho_i says little; it is then drawn towards the level of its group
by the rule of empirical Bayes (Efron & Morris 1975, JASA 70:311): precision 1 / se^2 against 1 / tau^2, tau^2 the
variance of the shares in the group beyond their standard errors. Droplets of a sample hold similar amounts of ambient
RNA: what tau exceeds 1.25 times the level by is taken for misfit of the cluster, and joins the standard errors instead.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isthmus.ambient.em import HIGHEST, TINY, Block, Mixture, block_of, blocks

_STEPS = 12
_LEAST_SPREAD = 0.25  # of shares around their level, as a part of it: no cluster is taken for uniform
_MOST_SPREAD = 1.25  # shares spread evenly over 1 to 40 % have 1; more says that the cluster holds different cells


@dataclass(frozen=True, eq=False)
class Shares:
    """``(n_cells,)`` shares and the standard error that sampling and overdispersion give them; phi of each cluster."""

    rho: np.ndarray
    se: np.ndarray
    overdispersion: np.ndarray


def overdispersion(data: Mixture, native: np.ndarray, rho: np.ndarray) -> np.ndarray:
    """phi of each cluster, by moments: sum of (x - mu)^2 - mu over sum of the squared native means.

    Zeros take part in closed form: sum_g mu^2 = N^2 |m|^2 needs the products of the profiles only.
    """
    extra, scale = np.zeros(len(native)), np.zeros(len(native))
    single = native.astype(np.float32)
    own, soup = (native**2).sum(axis=1), (data.ambient**2).sum(axis=1)
    cross = native @ data.ambient.T
    for rows in blocks(data):
        block = block_of(data, single, rows)
        k, b, r, n = data.cluster[rows], data.batch[rows], rho[rows], data.umi[rows]
        mean = block.per_value((1 - r) * n) * block.native + block.per_value(r * n) * block.ambient
        seen = block.per_cell(block.x * (block.x - 2 * mean))
        squared = n**2 * ((1 - r) ** 2 * own[k] + 2 * r * (1 - r) * cross[k, b] + r**2 * soup[b])
        extra += np.bincount(k, weights=seen + squared - n, minlength=len(native))
        scale += np.bincount(k, weights=(n * (1 - r)) ** 2 * own[k], minlength=len(native))
    return np.maximum(np.divide(extra, scale, out=np.zeros_like(extra), where=scale > 0), 0.0)


def estimate_shares(data: Mixture, native: np.ndarray, rho: np.ndarray) -> Shares:
    """Shares at fixed profiles, from the given start."""
    phi = overdispersion(data, native, rho)
    weight = _weights(data, native, phi)
    single, half = native.astype(np.float32), weight.astype(np.float32)
    out, se = np.empty_like(rho), np.empty_like(rho)
    balance = np.stack([(weight * (a - native)).sum(axis=1) for a in data.ambient], axis=1)
    for rows in blocks(data):
        block = block_of(data, single, rows)
        own = np.repeat(data.cluster[rows] * data.n_genes, block.lengths) + block.genes
        w = half.ravel()[own]
        offset = data.umi[rows] * balance[data.cluster[rows], data.batch[rows]]
        out[rows] = _solve(block, w, offset, rho[rows])
        se[rows] = _standard_errors(block, w, out[rows], data.umi[rows], phi[data.cluster[rows]])
    return Shares(out, se, phi)


def shrunken(shares: Shares, level: np.ndarray, group: np.ndarray) -> Shares:
    """Shares drawn towards the level of their group, ``(n_cells,)`` each; cells without information take the level."""
    rho, se = shares.rho.copy(), shares.se.copy()
    for g in np.unique(group):
        here = np.flatnonzero(group == g)
        own = here[np.isfinite(se[here])]
        beyond = (rho[own] - level[own]) ** 2 - se[own] ** 2
        least, most = ((bound * float(level[here[0]])) ** 2 for bound in (_LEAST_SPREAD, _MOST_SPREAD))
        spread = max(float(beyond.mean()) if len(own) else 0.0, least, 1e-8)
        tau2 = min(spread, max(most, 1e-8))
        se[own] = np.sqrt(se[own] ** 2 + spread - tau2)
        trust = np.zeros(len(here))
        known = np.isfinite(se[here])
        trust[known] = tau2 / (tau2 + se[here][known] ** 2)
        rho[here] = level[here] + trust * (rho[here] - level[here])
        se[here] = np.where(known, np.sqrt(trust) * np.where(known, se[here], 0.0), np.sqrt(tau2))
    return Shares(rho, se, shares.overdispersion)


def _weights(data: Mixture, native: np.ndarray, phi: np.ndarray) -> np.ndarray:
    middle = np.array(
        [np.median(data.umi[data.cluster == k]) if (data.cluster == k).any() else 0.0 for k in range(len(native))]
    )
    return 1.0 / (1.0 + (phi * middle)[:, None] * native)


def _solve(block: Block, w: np.ndarray, offset: np.ndarray, rho: np.ndarray) -> np.ndarray:
    """Newton's steps on the weighted score, which falls in rho."""
    difference, wx = block.ambient - block.native, w * block.x
    for _ in range(_STEPS):
        slope = difference / np.maximum(block.native + block.per_value(rho) * difference, TINY)
        score, information = block.per_cell(slope * wx) - offset, block.per_cell(slope * slope * wx)
        step = np.divide(score, information, out=np.zeros_like(score), where=information > 0)
        new = np.clip(rho + step, rho / 4, rho + (HIGHEST - rho) * 0.75)
        if np.abs(new - rho).max(initial=0.0) < 1e-6:
            return new
        rho = new
    return rho


def _standard_errors(block: Block, w: np.ndarray, rho: np.ndarray, umi: np.ndarray, phi: np.ndarray) -> np.ndarray:
    """The sandwich; the zeros' part of the overdispersion comes in through expected counts, x in place of N m."""
    mean = np.maximum(block.native + block.per_value(rho) * (block.ambient - block.native), TINY)
    slope = (block.ambient - block.native) / mean
    wx = w * block.x
    information = block.per_cell(wx * slope * slope)
    sampling = block.per_cell(w * wx * slope * slope)
    native_mean = block.per_value((1 - rho) ** 2 * umi) * block.native**2 / mean
    extra = phi * block.per_cell(w * wx * slope * slope * native_mean)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.sqrt(sampling + extra) / information
