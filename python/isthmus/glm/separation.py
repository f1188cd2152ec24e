r"""Directions in which a gene's likelihood keeps rising, so that no finite estimate exists.

With the log link the likelihood of the mean model rises for ever along d if and only if x_i d = 0 in every cell with a
count and x_i d <= 0 in every cell without one, not all zero (Albert & Anderson 1984, Biometrika 71:1; Correia,
Guimaraes & Zylkin 2019, arXiv:1903.01633). Cells where x_i d < 0 are *dead*: their fitted mean goes to 0. The span of
all such d is the null space of the live rows; a contrast that is orthogonal to it is estimated as usual, any other is
not.

The dispersion model has the same geometry: where alpha goes to 0 in some cells only, they are dead for it, and so are
cells whose mean is 0, which say nothing about alpha.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from isthmus.glm import cone
from isthmus.glm.kernel import ALL_ZERO, POISSON_LIMIT, take
from isthmus.glm.weights import patterns_of_zeros, unseen_directions

if TYPE_CHECKING:
    import scipy.sparse as sp

    from isthmus.glm.kernel import GeneFits

# The iteration stops when all cells of a separated gene that are dead hold 1e-8 of a count together. Cells that are
# below this for other reasons only cost the exact check.
_SUSPECT_MEAN = 1e-7
_SUSPECT_EXCESS = 1e-6  # alpha x mean: the variance is Poisson's to six digits
_SUSPECT_DISPERSION = 1e6  # a cell with such an alpha has no count, whatever its mean
_RUNAWAY = 100.0  # range of log alpha that no finite estimate has
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
    faces
        ``(k, m)``: the likelihood rises for ever along ``basis @ v`` where ``faces @ v <= 0``. Empty where it is flat
        rather than rising.
    """

    gene: int
    model: str
    basis: np.ndarray
    faces: np.ndarray

    def limits(self, contrasts: np.ndarray) -> np.ndarray:
        """Limits of ``contrasts @ parameters``: -inf, inf, or NaN where they depend on how infinity is approached."""
        return cone.limits(contrasts @ self.basis, self.faces)


def loads(separation: Separation, contrasts: np.ndarray) -> np.ndarray:
    """Which contrasts ``(k, free parameters)`` depend on a direction without a finite estimate."""
    size = np.maximum(1.0, np.abs(contrasts).max(axis=1, initial=0))
    return np.asarray(np.abs(contrasts @ separation.basis).max(axis=1, initial=0) > 1e-7 * size)


def may_be_extreme(fits: GeneFits, gene_means: np.ndarray) -> np.ndarray:
    """Genes whose smallest dispersion has all but vanished beside their mean count, or beside a bound from below of it:
    none that is extreme is missed."""
    return np.asarray((fits.code != POISSON_LIMIT) & (fits.min_alpha * np.minimum(gene_means, 1.0) < _SUSPECT_EXCESS))


def find_separation(
    counts: sp.csr_matrix,
    x: np.ndarray,
    z: np.ndarray,
    offset: np.ndarray,
    zeta_offset: np.ndarray,
    fits: GeneFits,
    gene_means: np.ndarray,
    weights: np.ndarray | None = None,
) -> list[Separation]:
    """Check the genes whose fit looks suspicious, exactly.

    Parameters
    ----------
    counts
        ``(n_cells, n_genes)`` CSR.
    x, z
        Free designs of the two models.
    offset, zeta_offset
        ``(n_cells,)`` parts of log mu and log alpha without a parameter, shared by all genes.
    fits
        The kernel's result.
    gene_means
        ``(n_genes,)`` mean count of each gene, or a bound from below.
    weights
        ``(n_cells, n_genes)``: cells of weight 0 hold nothing, and parameters of such cells only have no estimate.
    """
    if weights is not None and not all(seen.all() for seen, _ in patterns_of_zeros(weights)):
        return _by_pattern(counts, x, z, offset, zeta_offset, fits, gene_means, weights)
    fitted = (fits.code != ALL_ZERO) & (fits.code != POISSON_LIMIT)
    suspect_mean = (fits.code != ALL_ZERO) & (fits.min_mu < _SUSPECT_MEAN)
    extreme = may_be_extreme(fits, gene_means) | (fits.max_alpha > _SUSPECT_DISPERSION)
    suspect_dispersion = fitted & (extreme | suspect_mean) if z.shape[1] else np.zeros_like(fitted)
    genes = np.flatnonzero(suspect_mean | suspect_dispersion)
    if not genes.size:
        return []
    mean_rows = _Rows(x, offset)
    dispersion_rows = _Rows(z, zeta_offset) if suspect_dispersion.any() else mean_rows
    columns = counts[:, genes].tocsc()
    found: list[Separation] = []
    for place, gene in enumerate(genes):
        entries = slice(*columns.indptr[place : place + 2])
        positive = columns.indices[entries][columns.data[entries] > 0]
        dead_rows = np.zeros(len(mean_rows.rows), dtype=bool)
        coef = fits.mean_coef[:, gene]
        if suspect_mean[gene]:
            live = mean_rows.largest(coef) >= np.log(_SUSPECT_MEAN)
            live[mean_rows.row_of_cell[positive]] = True
            dead_rows = _mean_separation(int(gene), mean_rows, coef, live, found)
        if suspect_dispersion[gene]:
            b = fits.dispersion_coef[:, gene]
            log_alpha, log_mu = z @ b + zeta_offset, x @ coef + offset
            dead = dead_rows[mean_rows.row_of_cell]
            _dispersion_separation(int(gene), dispersion_rows, b, log_alpha, log_mu, dead, positive, found)
    return found


def _by_pattern(
    counts: sp.csr_matrix,
    x: np.ndarray,
    z: np.ndarray,
    offset: np.ndarray,
    zeta_offset: np.ndarray,
    fits: GeneFits,
    gene_means: np.ndarray,
    weights: np.ndarray,
) -> list[Separation]:
    """Genes with the same cells of weight 0 together, without those cells; and directions that no cell sees."""
    found: list[Separation] = []
    for cells, genes in patterns_of_zeros(weights):
        own = (counts[cells][:, genes], x[cells], z[cells], offset[cells], zeta_offset[cells])
        part = find_separation(*own, take(fits, genes), gene_means[genes])
        found += [replace(s, gene=int(genes[s.gene])) for s in part]
    known = {(s.gene, s.model) for s in found}
    return found + [s for s in find_unseen(x, z, weights, fits) if (s.gene, s.model) not in known]


def find_unseen(x: np.ndarray, z: np.ndarray, weights: np.ndarray, fits: GeneFits) -> list[Separation]:
    """Directions that no cell of positive weight sees."""
    return [
        Separation(int(gene), model, basis, np.empty((0, basis.shape[1])))
        for model, design in (("mean", x), ("dispersion", z))
        for genes, basis in unseen_directions(design, weights)
        for gene in genes[fits.code[genes] != ALL_ZERO]
    ]


class _Rows:
    """The distinct rows of a design, columns scaled to a largest entry of 1, and which of them each cell has."""

    def __init__(self, design: np.ndarray, offset: np.ndarray) -> None:
        scale = np.abs(design).max(axis=0, initial=0)
        self.scale = np.where(scale > 0, scale, 1.0)
        first, self.row_of_cell = cone.distinct_rows(design)
        self._own = design[first]
        self.rows = self._own / self.scale
        self._null_spaces: dict[bytes, np.ndarray] = {}
        self._offset = np.full(len(first), -np.inf)
        np.maximum.at(self._offset, self.row_of_cell, offset)

    def largest(self, coef: np.ndarray) -> np.ndarray:
        """The largest linear predictor among the cells of each row."""
        return np.asarray(self._own @ coef + self._offset)

    def of(self, cells: np.ndarray) -> np.ndarray:
        """Which rows occur among some cells (bool over rows)."""
        out = np.zeros(len(self.rows), dtype=bool)
        out[self.row_of_cell[cells]] = True
        return out

    def null_space(self, chosen: np.ndarray) -> np.ndarray:
        """`_null_space` of some rows (bool over rows); many genes ask for the same."""
        key = chosen.tobytes()
        if key not in self._null_spaces:
            self._null_spaces[key] = _null_space(self.rows[chosen])
        return self._null_spaces[key]

    def unscaled_null_space(self, chosen: np.ndarray) -> np.ndarray:
        """Orthonormal basis of the same in the parameters' own units."""
        key = b"own" + chosen.tobytes()
        if key not in self._null_spaces:
            self._null_spaces[key] = self.unscaled(self.null_space(chosen))
        return self._null_spaces[key]

    def unscaled(self, directions: np.ndarray) -> np.ndarray:
        """Orthonormal basis, in the parameters' own units, of directions found for scaled columns."""
        return np.asarray(np.linalg.qr(directions / self.scale[:, None])[0])


def _mean_separation(
    gene: int, design: _Rows, coef: np.ndarray, live: np.ndarray, found: list[Separation]
) -> np.ndarray:
    """Add the separation of the mean model, if any; returns the dead rows.

    `live` are the rows with a count or with a mean that has not all but vanished; only the others can be dead. Whether
    they are is decided by the design alone.
    """
    directions = design.null_space(live)
    dead = np.zeros(len(live), dtype=bool)
    if not directions.shape[1]:
        return dead
    heading = directions.T @ (coef * design.scale)  # where the iteration went
    dead[~live], inside = cone.falling_rows(design.rows[~live] @ directions, heading)
    if dead.any():
        basis = design.unscaled_null_space(~dead)
        rows = (design.rows[dead] * design.scale) @ basis
        inside = basis.T @ (directions @ inside / design.scale)
        found.append(Separation(gene, "mean", basis, cone.faces(rows, inside)))
    return dead


def _dispersion_separation(
    gene: int,
    design: _Rows,
    coef: np.ndarray,
    log_alpha: np.ndarray,
    log_mu: np.ndarray,
    dead: np.ndarray,
    positive: np.ndarray,
    found: list[Separation],
) -> None:
    """Add the separation of the dispersion model, if any: alpha went to 0 or infinity, or the mean to 0."""
    lowest = log_alpha + log_mu < np.log(_SUSPECT_EXCESS)
    highest = log_alpha > np.log(_SUSPECT_DISPERSION)
    live = ~(dead | lowest | highest)
    if np.ptp(log_alpha) > _RUNAWAY:  # cells without a count that happen to lie on the slope do not hold it
        live &= np.isin(np.arange(len(live)), positive)
    directions = design.null_space(design.of(live))
    if live.all() or not directions.shape[1]:
        return
    basis = design.unscaled(directions)
    bounds = np.empty((0, basis.shape[1]))
    if not dead.any():  # along a dead cell's direction the likelihood is flat: it has no limit
        rows = np.vstack([design.rows[design.of(lowest)], -design.rows[design.of(highest)]]) * design.scale @ basis
        inside = basis.T @ coef
        rows = rows[np.linalg.norm(rows, axis=1) > _ZERO]
        if (rows @ inside < 0).all():
            bounds = cone.faces(rows, inside)
    found.append(Separation(gene, "dispersion", basis, bounds))


def _null_space(rows: np.ndarray) -> np.ndarray:
    """Orthonormal basis of the directions that no row sees; rows have entries of order one."""
    if not len(rows):
        return np.eye(rows.shape[1])
    if len(rows) > rows.shape[1]:
        squares = np.linalg.eigvalsh(rows.T @ rows)
        if squares[0] > 1e-10 * squares[-1]:  # clearly full rank, the usual case
            return np.empty((rows.shape[1], 0))
        rows = np.asarray(np.linalg.qr(rows, mode="r"))
    _, size, axes = np.linalg.svd(rows, full_matrices=True)
    rank = int((size > 1e-9 * size.max(initial=0)).sum())
    return axes[rank:].T
