r"""Directions in which a gene's likelihood keeps rising, so that no finite estimate exists.

With the log link the likelihood of the mean model rises for ever along d if and only if x_i d = 0 in every cell with a count and x_i d <= 0 in
every cell without one, not all zero (Albert & Anderson 1984, Biometrika 71:1; Correia, Guimaraes & Zylkin 2019, arXiv:1903.01633).
Cells where x_i d < 0 are *dead*: their fitted mean goes to 0. The span of all such d is the null space of the live rows; a
contrast that is orthogonal to it is estimated as usual, any other is not.

The dispersion model has the same geometry: where alpha goes to 0 in some cells only, they are dead for it, and so are cells whose
mean is 0, which say nothing about alpha.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import linalg, optimize

from isthmus.glm.kernel import ALL_ZERO, POISSON_LIMIT

if TYPE_CHECKING:
    import scipy.sparse as sp

    from isthmus.glm.kernel import GeneFits

# A separated cell's mean has fallen this low before the iteration stops, whatever the number of cells. Cells that are
# below it for other reasons only cost the exact check.
_SUSPECT_MEAN = 1e-7
_SUSPECT_EXCESS = 1e-6  # alpha x mean: the variance is Poisson's to six digits
_ZERO = 1e-9  # designs are scaled to columns of unit size


@dataclass(frozen=True, eq=False)
class Separation:
    """One gene's infinite directions in one model.

    Attributes
    ----------
    gene
        Index of the gene.
    model
        "mean" or "dispersion".
    basis
        ``(free parameters, m)``: orthonormal basis of the directions without a finite estimate.
    falling
        ``(k, free parameters)``: the distinct dead rows; the predictor falls along an infinite direction d where
        ``falling @ d <= 0``. Empty where the likelihood is flat rather than rising.
    """

    gene: int
    model: str
    basis: np.ndarray
    falling: np.ndarray

    def limit(self, contrast: np.ndarray) -> float:
        """The limit of ``contrast @ parameters``: -inf, inf, or NaN where it depends on how infinity is approached."""
        along = contrast @ self.basis
        if not self.falling.size:
            return float("nan")
        cone = self.falling @ self.basis
        bounds = [(-1, 1)] * self.basis.shape[1]
        reach = [optimize.linprog(sign * along, A_ub=cone, b_ub=np.zeros(len(cone)), bounds=bounds) for sign in (1, -1)]
        low, high = reach[0].fun, -reach[1].fun
        if low < -_ZERO and high > _ZERO:
            return float("nan")
        return float("-inf") if low < -_ZERO else float("inf")


def loads(separation: Separation, contrast: np.ndarray) -> bool:
    """Does the contrast (over free parameters) depend on a direction without a finite estimate?"""
    return bool(np.abs(contrast @ separation.basis).max(initial=0) > 1e-7 * max(1.0, np.abs(contrast).max(initial=0)))


def find_separation(
    counts: sp.csr_matrix, x: np.ndarray, z: np.ndarray, zeta_offset: np.ndarray, fits: GeneFits, gene_means: np.ndarray
) -> list[Separation]:
    """Check the genes whose fit looks suspicious, exactly.

    Parameters
    ----------
    counts
        ``(n_cells, n_genes)`` CSR.
    x, z
        Free designs of the two models.
    zeta_offset
        ``(n_cells,)`` part of log alpha without a parameter.
    fits
        The kernel's result.
    gene_means
        ``(n_genes,)`` mean count of each gene.
    """
    fitted = (fits.code != ALL_ZERO) & (fits.code != POISSON_LIMIT)
    suspect_mean = (fits.code != ALL_ZERO) & (fits.min_mu < np.maximum(_SUSPECT_MEAN, 1e-6 * gene_means))
    suspect_dispersion = fitted & (fits.min_alpha * gene_means < _SUSPECT_EXCESS) if z.shape[1] else np.zeros_like(fitted)
    genes = np.flatnonzero(suspect_mean | suspect_dispersion)
    if not genes.size:
        return []
    rows = _Rows(x)
    columns = counts.tocsc() if genes.size > 1 else counts[:, genes].tocsc()
    found: list[Separation] = []
    for gene in genes:
        column = gene if genes.size > 1 else 0
        start, end = columns.indptr[column : column + 2]
        positive = columns.indices[start:end][columns.data[start:end] > 0]
        dead = np.zeros(len(x), dtype=bool)
        if suspect_mean[gene]:
            in_mean, dead = _mean_separation(int(gene), rows, positive)
            found += in_mean
        if fitted[gene] and z.shape[1]:
            found += _dispersion_separation(int(gene), z, zeta_offset, fits.dispersion_coef[:, gene], dead, gene_means[gene])
    return found


class _Rows:
    """The distinct rows of a design, columns scaled, and which of them each cell has."""

    def __init__(self, x: np.ndarray) -> None:
        scale = np.abs(x).max(axis=0, initial=0)
        self.scale = np.where(scale > 0, scale, 1.0)
        self.rows, self.row_of_cell = np.unique(x / self.scale, axis=0, return_inverse=True)
        self.row_of_cell = self.row_of_cell.reshape(-1)


def _mean_separation(gene: int, rows: _Rows, positive: np.ndarray) -> tuple[list[Separation], np.ndarray]:
    """The separation of the mean model, if any, and the dead cells."""
    has_count = np.zeros(len(rows.rows), dtype=bool)
    has_count[rows.row_of_cell[positive]] = True
    free = _null_space(rows.rows[has_count])
    dead_rows = np.zeros(len(rows.rows), dtype=bool)
    if free.shape[1]:
        dead_rows[~has_count] = _falling_rows(rows.rows[~has_count] @ free)
    if not dead_rows.any():
        return [], dead_rows[rows.row_of_cell]
    basis = linalg.orth(_null_space(rows.rows[~dead_rows]) / rows.scale[:, None])
    falling = rows.rows[dead_rows] * rows.scale
    return [Separation(gene, "mean", basis, falling)], dead_rows[rows.row_of_cell]


def _falling_rows(a: np.ndarray) -> np.ndarray:
    """Rows of `a` that are negative somewhere on the cone ``a v <= 0``.

    The cone is closed under addition and scaling, so one v serves all of them: maximise sum(s) with a v <= -s, 0 <= s <= 1.
    """
    moving = np.abs(a).max(axis=1) > _ZERO
    falling = np.zeros(len(a), dtype=bool)
    if not moving.any():
        return falling
    b = a[moving]
    if b.shape[1] == 1:
        falling[moving] = (b > 0).all() or (b < 0).all()
        return falling
    n, m = b.shape
    goal = np.concatenate([np.zeros(m), -np.ones(n)])
    bounds = [(None, None)] * m + [(0, 1)] * n
    best = optimize.linprog(goal, A_ub=np.hstack([b, np.eye(n)]), b_ub=np.zeros(n), bounds=bounds)
    falling[moving] = best.x[m:] > 0.5
    return falling


def _dispersion_separation(
    gene: int, z: np.ndarray, zeta_offset: np.ndarray, coef: np.ndarray, dead: np.ndarray, mean: float
) -> list[Separation]:
    poisson = np.exp(np.clip(z @ coef + zeta_offset, -700, 700)) * mean < _SUSPECT_EXCESS
    live = ~(dead | poisson)
    if live.all():
        return []
    scale = np.abs(z).max(axis=0, initial=0)
    scale = np.where(scale > 0, scale, 1.0)
    distinct_live = np.unique(z[live] / scale, axis=0)
    basis = _null_space(distinct_live)
    if not basis.shape[1]:
        return []
    falling = np.unique(z[poisson & ~dead], axis=0) if not dead.any() else np.empty((0, z.shape[1]))
    return [Separation(gene, "dispersion", linalg.orth(basis / scale[:, None]), falling)]


def _null_space(rows: np.ndarray) -> np.ndarray:
    if not len(rows):
        return np.eye(rows.shape[1])
    if len(rows) > 4 * rows.shape[1]:  # the triangular factor has the same null space
        rows = np.linalg.qr(rows, mode="r")
    return linalg.null_space(rows, rcond=1e-9)
