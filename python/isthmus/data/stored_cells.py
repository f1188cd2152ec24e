"""Some cells of a matrix that stays stored."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from isthmus.data.matrix import as_csr
from isthmus.data.stored import StoredMatrix

if TYPE_CHECKING:
    from scipy import sparse


@dataclass(eq=False)
class StoredCells(StoredMatrix):
    """Rows of a stored matrix, read as a matrix of their own; every pass reads what lies between them too.

    Attributes
    ----------
    cells
        ``(n_cells,)`` rows of the whole matrix, ascending.
    """

    cells: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    def __post_init__(self) -> None:
        self._all = StoredMatrix(self.values)

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.cells), self._all.shape[1]

    def _held(self) -> np.ndarray:
        """Stored by genes, a range of genes passes through memory with the entries of all cells."""
        return np.diff(self._pointers()) if self._by_genes() else super()._held()

    def _bands(self, first: int, last: int) -> list[slice]:
        bands = self._all._bands(first, last)
        edges = np.searchsorted(self.cells, [0, *(band.stop for band in bands)])
        return [slice(int(a), int(b)) for a, b in pairwise(edges) if b > a]

    def _cuts(self, rows: slice, first: int, last: int) -> list[slice]:
        return self._all._cuts(self._around(rows), first, last)

    def _read(self, rows: slice, columns: slice) -> sparse.csr_matrix:
        around = self._around(rows)
        return as_csr(self._all._read(around, columns)[self.cells[rows] - around.start])

    def _around(self, rows: slice) -> slice:
        """Rows of the whole matrix that hold these: what is stored by genes is read for all cells."""
        wanted = self.cells[rows]
        return slice(0, self._all.shape[0]) if self._by_genes() else slice(int(wanted[0]), int(wanted[-1]) + 1)


def some_cells(matrix: StoredMatrix | sparse.csr_matrix, cells: np.ndarray) -> StoredMatrix | sparse.csr_matrix:
    """Some rows, ascending, of a matrix in memory or in a store. In a store they are not yet checked."""
    return StoredCells(matrix.values, cells=cells) if isinstance(matrix, StoredMatrix) else matrix[cells]
