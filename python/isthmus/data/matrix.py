"""Counts as a CSR matrix: built from any matrix without a second copy, checked in blocks, never changed in place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from isthmus.data.sums import survey_columns, survey_values
from isthmus.data.wording import plural
from isthmus.errors import InputError
from isthmus.messages import tell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Piece = tuple[sparse.csr_matrix, np.ndarray, np.ndarray]  # with the names of its cells and genes

_BLOCK = 1 << 20  # stored values looked at in one go: 8 MB of temporaries
_LARGEST = 2**31  # counts above it would overflow the kernel's 32-bit recurrences, and are no counts
_KEPT_DTYPES = frozenset({"f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"})


def as_csr(values: Any) -> sparse.csr_matrix:
    """A CSR matrix that shares what it can with `values` and owns what it must change."""
    if hasattr(values, "to_memory"):
        values = values.to_memory()
    if not sparse.issparse(values):
        return _from_dense(values)
    if values.format != "csr":
        values = values.tocsr()  # sums duplicates of COO on the way, in new buffers
    data = _kept_dtype(values.data)
    rising = _check_structure(values)
    n_stored = int(values.indptr[-1])
    # Built attribute by attribute: the constructor would copy 64-bit indices down to 32 bits.
    matrix = sparse.csr_matrix(values.shape, dtype=data.dtype)
    matrix.data, matrix.indices, matrix.indptr = data[:n_stored], values.indices[:n_stored], values.indptr
    if rising:
        matrix.has_canonical_format = True
    elif _has_duplicates(matrix):
        matrix = matrix.copy()
        matrix.sum_duplicates()
    return matrix


def _kept_dtype(values: np.ndarray) -> np.ndarray:
    """float32, float64 and integers as they are, others (bool, float16, objects) as float64."""
    if values.dtype.kind + str(values.dtype.itemsize) in _KEPT_DTYPES and values.dtype.isnative:
        return values
    if values.dtype.kind in "bfiu":
        return values.astype(np.float64)
    try:
        if values.dtype.kind not in "O":
            raise TypeError
        return values.astype(np.float64)
    except (TypeError, ValueError):
        msg = f"`data` must hold numbers; got values of type {values.dtype}."
        raise InputError(msg) from None


def _check_structure(values: Any) -> bool:
    """A CSR matrix put together by hand may point outside of itself; the kernel trusts these arrays.

    True if the columns rise within every row.
    """
    indptr, indices = values.indptr, values.indices
    n_stored = int(indptr[-1])
    sound = (
        len(indptr) == values.shape[0] + 1
        and indptr[0] == 0
        and n_stored <= min(len(indices), len(values.data))
        and bool(np.all(indptr[1:] >= indptr[:-1]))
    )
    inside, rising = survey_columns(indptr, indices, values.shape[1]) if sound else (False, False)
    if not inside:
        msg = (
            "`data` must be a valid sparse matrix; its `indptr` and `indices` do not fit its shape. Build it again "
            "from (values, (rows, columns))."
        )
        raise InputError(msg)
    return rising


def _has_duplicates(matrix: sparse.csr_matrix) -> bool:
    """Whether an entry is stored twice. Works on our own wrapper, so the caller's flags stay as they are."""
    if matrix.has_canonical_format:
        return False
    if matrix.has_sorted_indices:
        return True
    n_columns = matrix.shape[1]
    for rows in row_blocks(matrix):
        start, stop = matrix.indptr[rows.start], matrix.indptr[rows.stop]
        row = np.repeat(
            np.arange(rows.stop - rows.start, dtype=np.int64), np.diff(matrix.indptr[rows.start : rows.stop + 1])
        )
        key = np.sort(row * n_columns + matrix.indices[start:stop])
        if np.any(key[1:] == key[:-1]):
            return True
    return False


def _from_dense(values: Any) -> sparse.csr_matrix:
    """Two passes over blocks of rows (count, then fill), so that the peak is the result and one block. NaN counts as
    stored."""
    n_cells, n_genes = values.shape
    step = max(1, _BLOCK // n_genes)
    blocks = [slice(start, min(start + step, n_cells)) for start in range(0, n_cells, step)]
    if not isinstance(values, np.ndarray):  # a file is read once; the price is the blocks beside the result
        return sparse.csr_matrix(sparse.vstack([sparse.csr_matrix(_dense_block(values, rows)) for rows in blocks]))
    n_stored = np.concatenate([np.count_nonzero(_dense_block(values, rows) != 0, axis=1) for rows in blocks])
    index_dtype = np.int32 if n_stored.sum() < _LARGEST else np.int64
    indptr = np.zeros(n_cells + 1, dtype=index_dtype)
    np.cumsum(n_stored, out=indptr[1:])
    indices = np.empty(indptr[-1], dtype=index_dtype)
    data = np.empty(indptr[-1], dtype=_dense_block(values, slice(0, 1)).dtype)
    for rows in blocks:
        block = _dense_block(values, rows)
        row, column = np.nonzero(block != 0)  # a cast of NaN to bool would warn
        filled = slice(indptr[rows.start], indptr[rows.stop])
        indices[filled], data[filled] = column, block[row, column]
    return sparse.csr_matrix((data, indices, indptr), shape=(n_cells, n_genes))


def _dense_block(values: Any, rows: slice) -> np.ndarray:
    block = values[rows]
    if isinstance(block, np.ma.MaskedArray):
        block = np.ma.filled(block.astype(np.float64), np.nan)
    return _kept_dtype(np.asarray(block))


def check_values(matrix: sparse.csr_matrix, cell_names: np.ndarray, gene_names: np.ndarray) -> int:
    return check_pieces([(matrix, cell_names, gene_names)], lambda: [(matrix, cell_names, gene_names)])


def check_pieces(pieces: Iterable[Piece], again: Callable[[], Iterable[Piece]]) -> int:
    """Refuse what is no count in a matrix that comes in pieces, each with the names of its cells and genes; a message,
    and their number, for fractional values. `again` gives the pieces once more: to count what is wrong."""
    n_fractional, n_stored, example = 0, 0, ""
    for matrix, cell_names, gene_names in pieces:
        n_stored += len(matrix.data)
        fine, found, first = survey_values(matrix.data, _LARGEST)
        if not fine:
            _refuse_values(again)
        if found and not n_fractional:
            example = f"{matrix.data[first]:.6g} in {_place(matrix, first, cell_names, gene_names)}"
        n_fractional += found
    if n_fractional:
        tell(
            f"`data` has fractional values ({100 * n_fractional / n_stored:.3g} % of those stored; {example}). "
            "They are used as they are. The models are made for counts: pass raw counts if these are normalised."
        )
    return n_fractional


def check_finite_pieces(pieces: Iterable[Piece], again: Callable[[], Iterable[Piece]]) -> None:
    """`check_pieces` for values that need not be counts: any finite numbers."""
    every = [bool(np.isfinite(matrix.data).all()) for matrix, _, _ in pieces]
    if all(every):
        return
    n_bad, example = 0, ""
    for matrix, cell_names, gene_names in again():
        bad = np.flatnonzero(~np.isfinite(matrix.data))
        if bad.size and not n_bad:
            example = f"{matrix.data[bad[0]]:.6g} in {_place(matrix, int(bad[0]), cell_names, gene_names)}"
        n_bad += bad.size
    msg = f"`data` must be finite; got {plural(n_bad, 'missing or infinite value')} ({example}). Fill or drop them."
    raise InputError(msg)


def _refuse_values(pieces: Callable[[], Iterable[Piece]]) -> None:
    """Raise for the worst kind of value present. Reached only when there is one, so the full-size masks are
    affordable."""
    rules = (
        (np.isnan, "must not be missing", "missing", "Fill or drop those genes or cells: NA is not zero."),
        (
            lambda x: x < 0,
            "must be counts, zero or positive",
            "negative",
            "Pass raw counts, not scaled or centred data.",
        ),
        (np.isinf, "must be finite", "infinite", "Pass raw counts."),
        (lambda x: x >= _LARGEST, "must be below 2^31", "too large", "Pass raw counts."),
    )
    for is_bad, rule, kind, remedy in rules:
        n_bad, example = 0, ""
        for matrix, cell_names, gene_names in pieces():
            bad = is_bad(matrix.data)
            if bad.any() and not n_bad:
                first = int(np.argmax(bad))
                example = f"{matrix.data[first]:.6g} in {_place(matrix, first, cell_names, gene_names)}"
            n_bad += int(bad.sum())
        if n_bad:
            msg = f"Values of `data` {rule}; got {plural(n_bad, f'{kind} value')} ({example}). {remedy}"
            raise InputError(msg)


def _place(matrix: sparse.csr_matrix, stored: int, cell_names: np.ndarray, gene_names: np.ndarray) -> str:
    row = int(np.searchsorted(matrix.indptr, stored, side="right")) - 1
    return f"cell '{cell_names[row]}', gene '{gene_names[matrix.indices[stored]]}'"


def row_blocks(matrix: sparse.csr_matrix, size: int = _BLOCK) -> Iterator[slice]:
    """Slices of rows that hold about `size` stored values each (one row at least)."""
    start, n_rows = 0, matrix.shape[0]
    while start < n_rows:
        stop = int(np.searchsorted(matrix.indptr, matrix.indptr[start] + size, side="right")) - 1
        # the second bound keeps a run of empty rows from making one giant slice
        stop = min(max(stop, start + 1), start + size, n_rows)
        yield slice(start, stop)
        start = stop
