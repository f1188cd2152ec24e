"""Counts that stay where they are stored: matrices in h5ad and zarr stores, and dask arrays, read piece by piece.

A stored matrix is cut into tiles along the way it is stored (rows of a CSR matrix, columns of a CSC matrix, the chunks
of a dense one), so that each piece of the file is read once in a pass. One pass checks every value and counts the
entries of each gene (`survey`); after it, ranges of genes are read as CSR matrices of known size (`columns`).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from isthmus.data.matrix import as_csr, check_pieces, row_blocks
from isthmus.data.sums import row_sums

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_TILE = 1 << 21  # values read in one go (of a dense matrix: zeros too)
_CHUNK = 6 << 20  # stored values of a range of genes that is held at once: 50 to 75 MB, and as much for its layout


def is_stored(values: Any) -> bool:
    """Whether a matrix lies in a file or is a dask array: something to be read piece by piece."""
    return _kind(values) is not None


@dataclass(frozen=True, eq=False)
class Survey:
    """What one pass over a stored matrix tells: entries per gene and sums per cell."""

    gene_entries: np.ndarray
    cell_sums: np.ndarray


@dataclass(eq=False)
class StoredMatrix:
    """A matrix, cells x genes, that is read in ranges of genes and never as a whole.

    Attributes
    ----------
    values
        h5py Dataset, zarr Array, dask Array, or anndata's CSRDataset / CSCDataset.
    survey
        Filled by `check`.
    """

    values: Any
    survey: Survey | None = None
    _indptr: np.ndarray | None = field(default=None, repr=False)

    @property
    def shape(self) -> tuple[int, int]:
        n_cells, n_genes = self.values.shape
        return int(n_cells), int(n_genes)

    def check(
        self, cell_names: np.ndarray, gene_names: np.ndarray, rules: Callable[..., object] = check_pieces
    ) -> None:
        """Check every value by rules of `isthmus.data.matrix`, and take the survey on the way."""
        entries, sums = np.zeros(self.shape[1], dtype=np.int64), np.zeros(self.shape[0])

        def pieces() -> Iterator[tuple[sparse.csr_matrix, np.ndarray, np.ndarray]]:
            for rows, columns, tile in self.tiles():
                yield tile, cell_names[rows], gene_names[columns]

        def noted() -> Iterator[tuple[sparse.csr_matrix, np.ndarray, np.ndarray]]:
            for rows, columns, tile in self.tiles():
                yield tile, cell_names[rows], gene_names[columns]
                entries[columns] += np.bincount(tile.indices, minlength=tile.shape[1])
                sums[rows] += row_sums(tile)

        rules(noted(), pieces)
        self.survey = Survey(entries, sums)

    def columns(self, first: int, last: int) -> sparse.csr_matrix:
        """Genes ``[first, last)`` of all cells in memory."""
        bands = self._bands(first, last)
        if len(bands) == 1:
            return self._band(bands[0], first, last)
        parts = (self._band(rows, first, last) for rows in bands)
        return _stacked(parts, (self.shape[0], last - first), self._entries(first, last))

    def gene_ranges(self, chunk_genes: int | None) -> list[tuple[int, int]]:
        """Ranges of genes to hold at once: `chunk_genes` wide, or as wide as bounded memory allows."""
        n_genes = self.shape[1]
        if chunk_genes is not None:
            return [(first, min(first + chunk_genes, n_genes)) for first in range(0, n_genes, chunk_genes)]
        return _ranges(np.concatenate([[0], np.cumsum(self._held())]), _CHUNK)

    def tiles(self) -> Iterator[tuple[slice, slice, sparse.csr_matrix]]:
        """Every piece of the matrix once: its rows, its columns and its values."""
        for rows in self._bands(0, self.shape[1]):
            for columns in self._cuts(rows, 0, self.shape[1]):
                yield rows, columns, self._read(rows, columns)

    def row_tiles(self) -> Iterator[tuple[slice, sparse.csr_matrix]]:
        """Bands of rows with all their genes. A matrix that is stored by genes is read in full for each band, so there
        the bands are as high as a range of genes is large."""
        n_cells, n_genes = self.shape
        bands = self._bands(0, n_genes)
        if len(bands) == 1:
            bands = _even(n_cells, -(-n_cells // -(-max(self._entries(0, n_genes), 1) // _CHUNK)))
        for rows in bands:
            yield rows, self._band(rows, 0, n_genes)

    def whole(self) -> sparse.csr_matrix:
        """All of it in memory."""
        parts = [self._band(rows, 0, self.shape[1]) for rows in self._bands(0, self.shape[1])]
        return parts[0] if len(parts) == 1 else as_csr(sparse.vstack(parts, format="csr"))

    # --- how it is stored

    def _pointers(self) -> np.ndarray:
        """Where the rows (CSR) or columns (CSC) of a sparse matrix start."""
        if self._indptr is None:
            self._indptr = np.asarray(self.values.group["indptr"][:]).astype(np.int64)
        return self._indptr

    def _gene_entries(self) -> np.ndarray:
        if self.survey is None:
            msg = "check() comes first: it counts the entries of each gene"
            raise RuntimeError(msg)
        return self.survey.gene_entries

    def _held(self) -> np.ndarray:
        """Entries that each gene brings into memory."""
        return self._gene_entries()

    def _by_genes(self) -> bool:
        return _kind(self.values) == "csc"

    def _entries(self, first: int, last: int) -> int:
        return int(self._gene_entries()[first:last].sum())

    def _bands(self, first: int, last: int) -> list[slice]:
        """Rows that are read together."""
        match _kind(self.values):
            case "csr":
                return [slice(*r) for r in _ranges(self._pointers(), _TILE)]
            case "csc":
                return [slice(0, self.shape[0])]
        high, step = self._storage_chunk()[0], max(1, _TILE // (last - first))
        return _even(self.shape[0], max(1, step // high) * high)  # whole chunks: each is read once

    def _cuts(self, rows: slice, first: int, last: int) -> list[slice]:
        """Columns that are read together, for some rows."""
        match _kind(self.values):
            case "csr":
                return [slice(first, last)]
            case "csc":
                starts = self._pointers()[first : last + 1]
                return [slice(first + a, first + b) for a, b in _ranges(starts - starts[0], _TILE)]
        wide = self._storage_chunk()[1]
        step = max(1, _TILE // (rows.stop - rows.start))
        step = step // wide * wide if step >= wide else wide
        edges = [first, *range((first // step + 1) * step, last, step), last]
        return [slice(a, b) for a, b in pairwise(edges) if b > a]

    def _storage_chunk(self) -> tuple[int, int]:
        """The shape in which a dense matrix is cut in its store."""
        chunks = getattr(self.values, "chunks", None)
        if chunks is None:
            return 1, self.shape[1]
        return tuple(int(max(c)) if isinstance(c, tuple) else int(c) for c in chunks)  # type: ignore[return-value]

    # --- reading

    def _band(self, rows: slice, first: int, last: int) -> sparse.csr_matrix:
        if _kind(self.values) == "csc" and rows == slice(0, self.shape[0]):  # what is bounded already is not cut again
            return self._read(rows, slice(first, last))
        parts = [self._read(rows, columns) for columns in self._cuts(rows, first, last)]
        return parts[0] if len(parts) == 1 else as_csr(sparse.hstack(parts, format="csr"))

    def _read(self, rows: slice, columns: slice) -> sparse.csr_matrix:
        match _kind(self.values):
            case "csr":
                band = self._compressed(rows, self.shape[1], sparse.csr_matrix)
                return as_csr(band if columns == slice(0, self.shape[1]) else band[:, columns])
            case "csc":
                whole = rows.start == 0 and rows.stop == self.shape[0]
                piece = self._compressed(columns, self.shape[0], sparse.csc_matrix)
                return as_csr((piece if whole else piece[rows]).tocsr())
        block = self.values[rows, columns]
        if hasattr(block, "compute"):
            block = block.compute(scheduler="synchronous")
        return as_csr(block if sparse.issparse(block) else np.asarray(block))

    def _compressed(self, part: slice, width: int, kind: Any) -> Any:
        """Some rows of a stored CSR matrix, or columns of a CSC matrix."""
        group, starts = self.values.group, self._pointers()[part.start : part.stop + 1]
        inside = slice(int(starts[0]), int(starts[-1]))
        shape = (len(starts) - 1, width) if kind is sparse.csr_matrix else (width, len(starts) - 1)
        matrix = kind(shape)
        matrix.data, matrix.indices = np.asarray(group["data"][inside]), np.asarray(group["indices"][inside])
        matrix.indptr = (starts - starts[0]).astype(matrix.indices.dtype)
        return matrix


def _kind(values: Any) -> str | None:
    """ "csr", "csc" or "dense" for what is stored, else None. Nothing is imported: who passes one has imported it."""
    if getattr(values, "format", None) in ("csr", "csc") and hasattr(values, "group"):
        return str(values.format)
    module = type(values).__module__.split(".")[0]
    if module in ("h5py", "zarr") and hasattr(values, "shape"):
        return "dense"
    dask = sys.modules.get("dask.array")
    return "dense" if dask is not None and isinstance(values, dask.Array) else None


def _ranges(starts: np.ndarray, most: int) -> list[tuple[int, int]]:
    """Ranges of rows (or columns) that hold at most `most` stored values each, one at least."""
    out, first, n = [], 0, len(starts) - 1
    while first < n:
        last = int(np.searchsorted(starts, starts[first] + most, side="right")) - 1
        last = min(max(last, first + 1), n)
        out.append((first, last))
        first = last
    return out


def _even(n: int, step: int) -> list[slice]:
    return [slice(first, min(first + step, n)) for first in range(0, n, step)]


def _stacked(parts: Iterator[sparse.csr_matrix], shape: tuple[int, int], n_stored: int) -> sparse.csr_matrix:
    """Bands on top of each other, copied into arrays of the final size one after the other."""
    index = np.int32 if n_stored < 2**31 else np.int64
    indices, indptr = np.empty(n_stored, dtype=index), np.zeros(shape[0] + 1, dtype=index)
    data: np.ndarray | None = None
    row = at = 0
    for part in parts:
        data = np.empty(n_stored, dtype=part.data.dtype) if data is None else data
        end, height = at + len(part.data), part.shape[0]
        data[at:end], indices[at:end] = part.data, part.indices
        indptr[row + 1 : row + height + 1] = part.indptr[1:] + at
        row, at = row + height, end
    matrix = sparse.csr_matrix(shape, dtype=np.float64 if data is None else data.dtype)
    matrix.data, matrix.indices, matrix.indptr = np.empty(0) if data is None else data, indices, indptr
    return matrix


def pieces(matrix: sparse.csr_matrix | StoredMatrix) -> Iterator[tuple[slice, slice, sparse.csr_matrix]]:
    """A matrix in pieces of bounded size: rows, columns, values."""
    if isinstance(matrix, StoredMatrix):
        yield from matrix.tiles()
        return
    for rows, band in row_pieces(matrix):
        yield rows, slice(0, matrix.shape[1]), band


def row_pieces(matrix: sparse.csr_matrix | StoredMatrix) -> Iterator[tuple[slice, sparse.csr_matrix]]:
    """A matrix in bands of whole rows."""
    if isinstance(matrix, StoredMatrix):
        yield from matrix.row_tiles()
        return
    for rows in row_blocks(matrix):
        inside = slice(matrix.indptr[rows.start], matrix.indptr[rows.stop])
        band = sparse.csr_matrix((rows.stop - rows.start, matrix.shape[1]), dtype=matrix.data.dtype)
        band.data, band.indices = matrix.data[inside], matrix.indices[inside]  # shared, not copied
        band.indptr = matrix.indptr[rows.start : rows.stop + 1] - matrix.indptr[rows.start]
        yield rows, band


def cell_sums(matrix: sparse.csr_matrix | StoredMatrix) -> np.ndarray:
    """Sum of each row, ``(n_cells,)``; of what is stored, as the survey noted it."""
    if isinstance(matrix, StoredMatrix) and matrix.survey is not None:
        return matrix.survey.cell_sums
    return row_sums(matrix)
