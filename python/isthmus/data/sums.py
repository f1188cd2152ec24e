"""Stored values, read once by compiled code: sums of rows and columns, and whether the values are counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy import sparse

_NATIVE = tuple(np.dtype(kind) for kind in ("f4", "f8", "i4", "i8"))


def survey_values(values: np.ndarray, largest: float) -> tuple[bool, int, int]:
    """Are all values in ``[0, largest)``; how many are fractional, and the place of the first of these (or -1).

    Where a value lies outside, the other two are of the values before it.
    """
    from isthmus import _core

    return _core.survey_values(_native(values), float(largest))


def survey_columns(indptr: np.ndarray, indices: np.ndarray, n_columns: int) -> tuple[bool, bool]:
    """Do all columns of a CSR matrix lie in ``[0, n_columns)``, and do they rise within every row (none is stored
    twice)? `indptr` must rise from 0 to at most the length of `indices`."""
    from isthmus import _core

    kind = np.int64 if np.int64 in (indptr.dtype, indices.dtype) else np.int32
    return _core.survey_columns(
        np.ascontiguousarray(indptr, dtype=kind), np.ascontiguousarray(indices, dtype=kind), n_columns
    )


def row_sums(matrix: sparse.csr_matrix) -> np.ndarray:
    """Sum of each row, ``(n_rows,)`` float64, added in double precision whatever the matrix holds."""
    from isthmus import _core

    return _core.row_sums(_index(matrix, matrix.indptr), _native(matrix.data))


def column_sums(matrix: sparse.csr_matrix, rows: np.ndarray) -> np.ndarray:
    """Sum of each column over the rows marked in `rows`, ``(n_columns,)`` float64: no copy of the matrix."""
    from isthmus import _core

    indptr, indices = _index(matrix, matrix.indptr), _index(matrix, matrix.indices)
    marked = np.ascontiguousarray(rows, dtype=bool).view(np.uint8)
    return _core.column_sums(indptr, indices, _native(matrix.data), marked, matrix.shape[1])


def _native(values: np.ndarray) -> np.ndarray:
    """Values of a type that the compiled code reads; others are of one or two bytes, or too large for 32 bits."""
    if values.dtype not in _NATIVE:
        values = values.astype(np.float32 if values.dtype.itemsize <= 2 and values.dtype.kind != "f" else np.float64)
    return np.ascontiguousarray(values)


def _index(matrix: sparse.csr_matrix, index: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(index, dtype=np.int64 if matrix.indices.dtype == np.int64 else np.int32)
