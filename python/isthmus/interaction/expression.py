"""Rows of the expression matrix as dense float32, from a dense copy where that is small."""

from __future__ import annotations

import numpy as np
from scipy import sparse

_DENSE_BYTES = 512 << 20  # a dense copy up to here: a look-up of rows is then much cheaper than from CSR


class Rows:
    """``rows(cells)`` gives ``(len(cells), n_genes)`` float32."""

    def __init__(self, expression: sparse.csr_matrix, *, dense: bool = True) -> None:
        n_cells, n_genes = expression.shape
        small = dense and n_cells * n_genes * 4 <= _DENSE_BYTES
        self._dense: np.ndarray | None = expression.toarray() if small else None
        self._sparse = expression

    def __call__(self, cells: np.ndarray) -> np.ndarray:
        if self._dense is not None:
            return self._dense[cells]
        return np.asarray(self._sparse[cells].toarray(), dtype=np.float32)


def type_means(expression: sparse.csr_matrix, type_codes: np.ndarray, n_types: int, cells: np.ndarray) -> np.ndarray:
    """``(n_types, n_genes)`` float64 means over the `cells` (bool) of each type; NaN for a type without any."""
    used = np.flatnonzero(cells)
    sizes = np.bincount(type_codes[used], minlength=n_types).astype(np.float64)
    member = sparse.csr_matrix((np.ones(len(used)), (type_codes[used], used)), shape=(n_types, expression.shape[0]))
    # in float64: float32 sums of many cells lose digits
    totals = np.asarray((member @ expression.astype(np.float64)).todense())
    with np.errstate(invalid="ignore"):
        return np.where(sizes[:, None] > 0, totals / np.maximum(sizes, 1)[:, None], np.nan)


def residual_sd(
    expression: sparse.csr_matrix, type_codes: np.ndarray, means: np.ndarray, cells: np.ndarray
) -> np.ndarray:
    """``(n_genes,)`` float64: root mean square deviation of the `cells` (bool) from their types' means."""
    used = np.flatnonzero(cells)
    sizes = np.bincount(type_codes[used], minlength=len(means))[:, None]
    square = expression[used].astype(np.float64)
    square.data **= 2
    total = np.asarray(square.sum(axis=0)).ravel() - np.nansum(sizes * np.where(sizes > 0, means, 0.0) ** 2, axis=0)
    return np.sqrt(np.maximum(total, 0.0) / max(len(used), 1))
