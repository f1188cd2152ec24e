"""Nodes of exposure in place of cells: the plain twin of cpp/include/isthmus/nodes.hpp and node_sums.hpp.

Cells of one stratum (equal design rows, one dispersion) differ by their log exposure u only, so a sum over them of
w h(c + u) is one over Chebyshev points U_k of the interval of u, with weights sum_i w_i l_k(u_i).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln

STEPS = (16, 24, 32, 40)
TOLERANCE = 1e-8
CELLS_A_NODE = 4


@dataclass(frozen=True, eq=False)
class Stratum:
    """``u``: (K,) log exposure of the nodes. ``basis``: (cells, K) Lagrange polynomials at the cells' log exposure."""

    u: np.ndarray
    basis: np.ndarray


def error_bound(u: np.ndarray, n_nodes: int) -> float:
    """Largest error of a stratum's sums relative to its mean exposure; derived in nodes.hpp."""
    half_width, middle = np.ptp(u) / 2, (u.max() + u.min()) / 2
    if half_width < 1e-12:
        return 0.0
    height = np.pi * np.arange(1, 100) / 100  # of the ellipse: it must stay within |Im| < pi
    beta = height / half_width
    rho = beta + np.sqrt(beta**2 + 1)
    away = np.where(height > np.pi / 2, np.sin(height), 1.0)  # |1 + e^z| on it
    largest = half_width * (rho + 1 / rho) / 2 - np.log(np.exp(u - middle).mean()) - 2 * np.log(away)
    return float(np.exp((largest + np.log(4 / (rho - 1)) + (1 - n_nodes) * np.log(rho)).min()))


def choose(u: list[np.ndarray]) -> int:
    """Nodes for strata with these log exposures; 0 where the bound does not hold or they would not pay."""
    for n in STEPS:
        if max(error_bound(own, n) for own in u) <= TOLERANCE:
            return n if len(u) * n * CELLS_A_NODE <= sum(map(len, u)) else 0
    return 0


def stratum(u: np.ndarray, n_nodes: int) -> Stratum:
    """Chebyshev points of the first kind on the range of u, and their Lagrange polynomials at u (barycentric form)."""
    angle = (2 * np.arange(n_nodes) + 1) * np.pi / (2 * n_nodes)
    point, factor = np.cos(angle), np.sin(angle) * (-1.0) ** np.arange(n_nodes)
    middle, half_width = (u.max() + u.min()) / 2, np.ptp(u) / 2
    x = (u - middle) / half_width if half_width >= 1e-12 else np.full(len(u), point[0])
    away = x[:, None] - point
    hit = np.abs(away) < 1e-15
    terms = factor / np.where(hit, 1.0, away)
    terms = np.where(hit.any(axis=1)[:, None], hit, terms)
    return Stratum(middle + half_width * point, terms / terms.sum(axis=1, keepdims=True))


def log_likelihood(y: np.ndarray, nodes: Stratum, u: np.ndarray, c: float, alpha: float) -> float:
    """Of one stratum with log mu = c + u and one alpha, every sum over cells of a function of mu taken over nodes."""
    weight, total = nodes.basis.sum(axis=0), nodes.basis.T @ y
    log_t = np.log1p(alpha * np.exp(c + nodes.u))
    linear = y @ (c + u) + (gammaln(y + 1 / alpha) - gammaln(1 / alpha) + y * np.log(alpha) - gammaln(y + 1)).sum()
    return float(linear - total @ log_t - weight @ log_t / alpha)
