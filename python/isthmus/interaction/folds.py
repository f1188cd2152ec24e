"""Cross-fitting in space: blocks, the folds made of them, and the guard band between training and held-out cells.

Blocks are squares of a grid laid over each sample: the units of the block test. A fold is a run of neighbouring blocks
in a boustrophedon walk over the grid, so that its border, along which training cells are lost, is short (Roberts et al.
2017, Ecography 40:913, on blocked cross-validation).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from isthmus.data.wording import plural
from isthmus.errors import InputError
from isthmus.interaction.neighbors import Neighbors, typical_reach

_ENOUGH_BLOCKS = 20  # of a test that flips signs of blocks
_GUARD = 2.0  # width of the band without training cells around those held out, in reaches of a neighbourhood
_COMFORTABLE, _SMALLEST = 2.5, 1.0  # side of a block, in reaches of a neighbourhood


@dataclass(frozen=True, eq=False)
class Folds:
    """Which fold holds a cell out.

    Attributes
    ----------
    block, fold
        ``(n_cells,)`` int32: block, numbered over all samples; fold, 0 .. n_folds - 1.
    n_folds
        1: nothing is held out.
    block_size
        Side of a block, unit of the coordinates.
    """

    block: np.ndarray
    fold: np.ndarray
    n_folds: int
    block_size: float

    @property
    def n_blocks(self) -> int:
        """Number of blocks that hold a cell."""
        return int(self.block.max()) + 1

    def held_out(self, fold: int) -> np.ndarray:
        """``(n_cells,)`` bool: cells whose predictions come from this fold's model."""
        return self.fold == fold

    def outside(self, fold: int) -> np.ndarray:
        """``(n_cells,)`` bool: cells of the other folds (all cells where nothing is held out)."""
        return self.fold != fold if self.n_folds > 1 else np.ones(len(self.fold), dtype=bool)

    def training(self, fold: int, neighbors: Neighbors) -> np.ndarray:
        """``(n_cells,)`` bool: cells outside that have no held-out cell among their neighbours."""
        outside = self.outside(fold)
        if self.n_folds == 1:
            return outside
        touches = (neighbors.present & ~outside[np.where(neighbors.present, neighbors.index, 0)]).any(axis=1)
        return outside & ~touches


def make_folds(
    coordinates: np.ndarray,
    sample_codes: np.ndarray,
    neighbors: Neighbors,
    *,
    n_folds: int,
    block_size: float | None = None,
    fill_all: bool = True,
) -> Folds:
    """Lay blocks and gather them into folds.

    1. The side of a block, where not given: 2.5 times the typical reach of a neighbourhood, smaller where that makes
       fewer than 20 blocks, but not below the reach itself.
    2. Each sample's grid is walked through column by column, up and down in turn, columns across its longer side.
    3. A sample with a block for every fold is cut into as many runs with about equally many cells; blocks of a smaller
       one go to the folds that hold fewest cells.

    Parameters
    ----------
    coordinates, sample_codes
        Places and samples of the cells. The third dimension plays no part.
    neighbors
        For the reach.
    n_folds
        1: everything trains.
    block_size
        Side of a block, unit of the coordinates. None: step 1.
    fill_all
        Whether every fold needs a block.

    Raises
    ------
    InputError
        Fewer blocks than folds.
    """
    plane = coordinates[:, :2]
    side = _auto_side(plane, sample_codes, typical_reach(neighbors), n_folds) if block_size is None else block_size
    block = np.zeros(len(plane), dtype=np.int32)
    fold = np.zeros(len(plane), dtype=np.int32)
    held = np.zeros(n_folds, dtype=np.int64)  # cells a fold holds out so far
    n_blocks = 0
    for sample in np.unique(sample_codes):
        inside = np.flatnonzero(sample_codes == sample)
        walk = _walk(plane[inside], side)
        sizes = np.bincount(walk)
        folds = _cut(sizes, held, n_folds)
        held += np.bincount(folds, weights=sizes, minlength=n_folds).astype(np.int64)
        block[inside], fold[inside] = n_blocks + walk, folds[walk]
        n_blocks += len(sizes)
    if fill_all and n_blocks < n_folds:
        msg = (
            f"`folds` must not exceed the number of spatial blocks; got {n_folds} folds and "
            f"{plural(n_blocks, 'block')} of side {side:.4g}. Use fewer folds, a smaller `block_size` or fewer "
            "neighbours."
        )
        raise InputError(msg)
    return Folds(block, fold, n_folds, float(side))


def _auto_side(plane: np.ndarray, sample_codes: np.ndarray, reach: float, n_folds: int) -> float:
    """See step 1 of `make_folds`. Where even the reach is too long for a block a fold, as short as that takes."""
    extent = max(float(np.ptp(plane[sample_codes == s], axis=0).max()) for s in np.unique(sample_codes))
    if reach <= 0 or extent <= 0:
        return extent or 1.0
    factors = np.geomspace(_COMFORTABLE, _SMALLEST, 16)
    counts = np.array([_count_blocks(plane, sample_codes, factor * reach) for factor in factors])
    if counts.max() >= _ENOUGH_BLOCKS:
        return float(reach * factors[int(np.argmax(counts >= _ENOUGH_BLOCKS))])
    side = reach * _SMALLEST
    while _count_blocks(plane, sample_codes, side) < n_folds and side > extent / n_folds / 2:
        side *= 0.9
    return float(side)


def _count_blocks(plane: np.ndarray, sample_codes: np.ndarray, side: float) -> int:
    return sum(int(_walk(plane[sample_codes == s], side).max()) + 1 for s in np.unique(sample_codes))


def _walk(plane: np.ndarray, side: float) -> np.ndarray:
    """Number of each cell's block in the walk over its sample's grid; blocks without cells are not counted.

    The grid is stretched to the sample: as many columns and rows as have sides of about `side`, all equal.
    """
    low, extent = plane.min(axis=0), np.ptp(plane, axis=0)
    n = np.maximum(1, np.round(extent / side)).astype(np.int64)
    cell = np.minimum((plane - low) / np.where(extent > 0, extent, 1.0) * n, n - 1).astype(np.int64)
    along = int(np.argmax(extent))
    column, row = cell[:, along], cell[:, 1 - along]
    row = np.where(column % 2 == 0, row, n[1 - along] - 1 - row)
    return np.unique(column * n[1 - along] + row, return_inverse=True)[1].reshape(-1)


def _cut(sizes: np.ndarray, held: np.ndarray, n_folds: int) -> np.ndarray:
    """The fold of each block: runs with about equally many cells, or, of few blocks, those that hold fewest."""
    if len(sizes) >= n_folds:
        return _runs(sizes, n_folds)
    held, folds = held.copy(), np.empty(len(sizes), dtype=np.int64)
    for number, size in enumerate(sizes):
        folds[number] = int(np.argmin(held))
        held[folds[number]] += size
    return folds


def _runs(sizes: np.ndarray, n_folds: int) -> np.ndarray:
    """Cut a walk where the cells so far are nearest to 1/F, 2/F, ...; every run has a block."""
    total = np.cumsum(sizes)
    cuts = [0]
    for number in range(1, n_folds):
        wanted = total[-1] * number / n_folds
        best = int(np.argmin(np.abs(total - wanted))) + 1
        cuts.append(min(max(best, cuts[-1] + 1), len(sizes) - (n_folds - number)))
    return np.repeat(np.arange(n_folds), np.diff([*cuts, len(sizes)]))


def beyond_reach(
    plane: np.ndarray, sample_codes: np.ndarray, held_out: np.ndarray, wanted: np.ndarray, reach: float
) -> np.ndarray:
    """``(n_cells,)`` bool: `wanted` cells farther than 2 reaches from the held-out cells of their sample.

    A neighbourhood's reach is not enough where expression varies smoothly in space: residuals on either side of a
    band of 1 reach are still correlated, and tests of held-out cells reject too often
    (benchmarks/results/interactions_calibration.md). Where 2 reaches leave less than half of the wanted cells, the band
    is narrowed, by quarters of a reach, to the widest that leaves half.
    """
    distance = np.full(len(plane), np.inf)
    for sample in np.unique(sample_codes[held_out]):
        held, near = held_out & (sample_codes == sample), wanted & (sample_codes == sample)
        if near.any():
            distance[near] = cKDTree(plane[held]).query(plane[near])[0]
    for width in np.linspace(_GUARD, 0, 9):
        kept = wanted & (distance > width * reach)
        if 2 * kept.sum() >= wanted.sum():
            return kept
    return wanted
