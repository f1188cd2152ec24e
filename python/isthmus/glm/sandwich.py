r"""Cluster-robust variances of the mean model, and the degrees of freedom that few clusters leave.

Scaled to unit variance, residual and design of cell i are :math:`r_i = (y_i - \mu_i) / \sqrt{V_i}` and
:math:`\tilde x_i = x_i \sqrt{w_i}` with :math:`V = \mu + \alpha\mu^2`, :math:`w = \mu / (1 + \alpha\mu)`. With B the
inverse of the expected information, :math:`M_c = \tilde X_c' \tilde X_c` and :math:`U_c = \tilde X_c' r_c` the score of
cluster c,

* CR0: :math:`B (\sum_c U_c U_c') B` (Liang & Zeger 1986, Biometrika 73:13);
* CR1: CR0 times m / (m - 1), m clusters;
* CR2: residuals multiplied by :math:`(I - H_{cc})^{-1/2}`, which makes the variance unbiased if the model's own
  variance is right (Bell & McCaffrey 2002, Surv. Methodol. 28:169).

Cells of a cluster number thousands, parameters a few: as :math:`\tilde X_c' f(\tilde X_c K \tilde X_c') = f(M_c K)
\tilde X_c'`, everything below is in matrices of the size of the parameters.

Degrees of freedom are Satterthwaite's for one row and those of the approximate Hotelling test (AHT) for several
(Pustejovsky & Tipton 2018, J. Bus. Econ. Stat. 36:672, sections 3 and 4), under the model's own variance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from isthmus.glm.refit import Model
    from isthmus.glm.source import Evidence

_AT_ONCE = 1_000_000  # cells x genes held as dense numbers
_NONE_LEFT = 1e-8  # of a direction that a cluster determines alone, nothing is left


@dataclass(frozen=True, eq=False)
class ClusterSums:
    """Per gene and cluster: scores U ``(n, m, f)`` and information M ``(n, m, f, f)``."""

    score: np.ndarray
    information: np.ndarray


@dataclass(frozen=True, eq=False)
class Robust:
    """Variance of the contrast ``(n, k, k)`` and degrees of freedom ``(n,)`` (eta of the AHT for several rows)."""

    block: np.ndarray
    df: np.ndarray


def cluster_sums(
    model: Model,
    evidence: Evidence,
    genes: np.ndarray,
    mean_coef: np.ndarray,
    dispersion_coef: np.ndarray,
    clusters: np.ndarray,
) -> ClusterSums:
    """Sums over the cells of each cluster at given parameters.

    Parameters
    ----------
    genes
        ``(n,)`` positions in the counts.
    mean_coef, dispersion_coef
        ``(f, n)`` and ``(g, n)``, free parameters; NaN dispersions are alpha = 0.
    clusters
        ``(n_cells,)`` whole numbers from 0.
    """
    x, m = model.x, int(clusters.max()) + 1
    n_cells, f = x.shape
    indicator = (clusters[None, :] == np.arange(m)[:, None]).astype(float)
    score, inner = np.empty((len(genes), m, f)), np.empty((len(genes), m, f, f))
    columns = evidence.counts.matrix[:, genes].tocsc()
    step = max(1, _AT_ONCE // n_cells)
    for first in range(0, len(genes), step):
        part = slice(first, min(first + step, len(genes)))
        y = np.asarray(columns[:, part].toarray(), dtype=float)
        eta = x @ np.nan_to_num(mean_coef[:, part]) + model.offset[:, None]
        if evidence.gene_offset is not None:
            eta += evidence.gene_offset[:, genes[part]]
        alpha = _alpha(model, dispersion_coef[:, part])
        if model.normal:
            weight, residual = 1 / alpha, (y - eta) / alpha
        else:
            mu = np.exp(np.clip(eta, -700, 50))
            weight, residual = mu / (1 + alpha * mu), (y - mu) / (1 + alpha * mu)
        for j in range(f):
            score[part, :, j] = (indicator @ (residual * x[:, [j]])).T
            for k in range(j + 1):
                inner[part, :, j, k] = inner[part, :, k, j] = (indicator @ (weight * (x[:, [j]] * x[:, [k]]))).T
    return ClusterSums(score, inner)


def _alpha(model: Model, coef: np.ndarray) -> np.ndarray:
    if not model.has_dispersion:
        return np.zeros((len(model.x), coef.shape[1]))
    log_alpha = model.z @ coef + model.zeta_offset[:, None]
    return np.nan_to_num(np.exp(np.minimum(log_alpha, 50.0)))  # the Poisson limit is alpha = 0


def robust(sums: ClusterSums, bread: np.ndarray, hat: np.ndarray, rows: np.ndarray, kind: str) -> Robust:
    """The robust variance of ``rows @ parameters`` and its degrees of freedom.

    Parameters
    ----------
    bread
        ``(n, f, f)``: B.
    hat
        ``(n, f, f)``: K of the hat matrix of the fit that left the residuals; B for a Wald test, that of the null fit
        for a score test.
    rows
        ``(k, f)``.
    kind
        "CR0", "CR1" or "CR2".
    """
    n, m = sums.score.shape[:2]
    step = max(1, _AT_ONCE // (m * len(rows)) ** 2)
    parts = [
        _robust_chunk(
            ClusterSums(sums.score[i : i + step], sums.information[i : i + step]),
            bread[i : i + step],
            hat[i : i + step],
            rows,
            kind,
        )
        for i in range(0, n, step)
    ]
    return Robust(np.concatenate([p.block for p in parts]), np.concatenate([p.df for p in parts]))


def _robust_chunk(sums: ClusterSums, bread: np.ndarray, hat: np.ndarray, rows: np.ndarray, kind: str) -> Robust:
    m = sums.score.shape[1]
    factor, square = _adjustments(sums.information, hat) if kind == "CR2" else (None, None)
    adjusted = sums.score if factor is None else np.einsum("gcij,gcj->gci", factor, sums.score)
    direction = np.einsum("gij,kj->gki", bread, rows)  # B C'
    influence = np.einsum("gci,gki->gck", adjusted, direction)
    block = np.einsum("gck,gcl->gkl", influence, influence)
    if kind == "CR1" and m > 1:
        block = block * (m / (m - 1))
    moved = np.einsum("gcij,gkj->gcki", sums.information, direction)  # M_c B C'
    # p_c' p_c and X_c' p_c for the weights p_c of the cells of cluster c
    own = np.einsum(
        "gki,gcli->gckl", direction, moved if square is None else np.einsum("gcij,gckj->gcki", square, moved)
    )
    across = moved if factor is None else np.einsum("gcij,gckj->gcki", factor, moved)
    return Robust(block, _degrees_of_freedom(own, across, hat))


def _adjustments(information: np.ndarray, hat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``(n, m, f, f)`` each: F = (I - M_c K)^{-1/2} and F^2, generalised inverses where nothing is left."""
    values, vectors = np.linalg.eigh(np.nan_to_num(hat))
    root = vectors * np.sqrt(np.maximum(values, 0))[:, None, :]  # K = L L'
    turned = np.einsum("gcij,gjk->gcik", information, root)  # M L
    inner = np.einsum("gji,gcjk->gcik", root, turned)
    share, axes = np.linalg.eigh(np.nan_to_num((inner + inner.swapaxes(2, 3)) / 2))
    share = np.clip(share, 0, 1)
    left = 1 - share
    gone = left < _NONE_LEFT
    safe, large = np.where(gone, 1.0, left), np.where(share > 1e-12, share, 1.0)
    identity = np.eye(hat.shape[1])

    def function(power: float) -> np.ndarray:
        # (1 - s)^-power = 1 + s g(s), and f(M K) = I + M L g(L' M L) L'
        g = np.where(gone, -1.0, np.where(share > 1e-12, (safe**-power - 1) / large, power))
        spread = np.einsum("gcij,gcj,gckj->gcik", axes, g, axes, optimize=True)
        return np.asarray(identity + np.einsum("gcij,gcjk,glk->gcil", turned, spread, root, optimize=True))

    return function(0.5), function(1.0)


def _degrees_of_freedom(own: np.ndarray, across: np.ndarray, hat: np.ndarray) -> np.ndarray:
    """eta = q (q + 1) / sum of the variances of the elements of the standardised variance; 2 / Var for one row.

    `own` ``(n, m, k, k)`` are p_c' p_c, `across` ``(n, m, k, f)`` are X_c' p_c; G_cd = own_c [c = d] - across_c K
    across_d' is the covariance of the influences of two clusters under the model.
    """
    m = own.shape[1]
    g = -np.einsum("gcki,gij,gdlj->gckdl", across, np.nan_to_num(hat), across, optimize=True)
    at = np.arange(m)
    g[:, at, :, at, :] += own.transpose(1, 0, 2, 3)
    total = np.einsum("gckcl->gkl", g)
    values, vectors = np.linalg.eigh(np.nan_to_num((total + total.swapaxes(1, 2)) / 2))
    use = values > 1e-10 * np.maximum(values.max(axis=1, keepdims=True), 1e-300)
    scale = np.where(use, 1 / np.sqrt(np.where(use, values, 1.0)), 0.0)
    white = vectors * scale[:, None, :]
    g = np.einsum("gks,gckdl,glt->gcsdt", white, g, white, optimize=True)
    squares = np.einsum("gcsds,gctdt->g", g, g, optimize=True) + np.einsum("gcsdt,gctds->g", g, g, optimize=True)
    q = use.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(squares > 0, q * (q + 1) / squares, np.nan)
