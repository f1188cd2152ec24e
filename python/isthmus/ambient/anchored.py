"""What the anchor rule makes of a set of cells as one cluster: whether a cut leaves the level as well known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from isthmus.ambient.level import FEWEST_ANCHORS, settled_level

if TYPE_CHECKING:
    from scipy import sparse

_CELLS = 2_000  # whose counts are copied in one go


@dataclass(frozen=True)
class Anchored:
    """Counts of a set of cells: all, those in batches where it has under 20 anchor genes, and those called ambient."""

    total: float
    unidentified: float
    ambient: float

    def __add__(self, other: Anchored) -> Anchored:
        return Anchored(self.total + other.total, self.unidentified + other.unidentified, self.ambient + other.ambient)


@dataclass(frozen=True, eq=False)
class AnchorRule:
    """The counts, batches and profiles of a problem; called with rows, the cells of a would-be cluster.

    Attributes
    ----------
    matrix
        CSR ``(n_cells, n_genes)``.
    batch
        ``(n_cells,)`` intp: the level is one of each cluster in each batch.
    ambient
        ``(n_batches, n_genes)``, rows sum to 1.
    profile_total
        ``(n_batches,)``: counts behind each profile, inf where it is taken as known.
    """

    matrix: sparse.csr_matrix
    batch: np.ndarray
    ambient: np.ndarray
    profile_total: np.ndarray

    def __call__(self, rows: np.ndarray) -> Anchored:
        found = Anchored(0.0, 0.0, 0.0)
        for b in np.unique(self.batch[rows]):
            sums = self._sums(rows[self.batch[rows] == b])
            total = float(sums.sum())
            level, anchors = settled_level(sums, total, self.ambient[b], total / self.profile_total[b])
            known = anchors.sum() >= FEWEST_ANCHORS
            found += Anchored(total, 0.0 if known else total, level * total if known else 0.0)
        return found

    def _sums(self, rows: np.ndarray) -> np.ndarray:
        sums = np.zeros(self.matrix.shape[1])
        for part in np.array_split(rows, len(rows) // _CELLS + 1):
            own = self.matrix[part]
            sums += np.bincount(own.indices, weights=own.data, minlength=len(sums))
        return sums
