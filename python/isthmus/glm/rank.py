"""Which columns of a design are linear combinations of the ones before them.

All decisions are made on the triangular factor of one QR decomposition, on columns scaled to length one, so they depend
neither on units nor on the number of cells.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# A column counts as a combination of others when less than this share of its length is left after projection: lm's
# `tol` in R.
TOLERANCE = 1e-7


@dataclass(frozen=True, eq=False)
class Alias:
    """Column `column` is the combination `weights` of the columns `of` (both empty: it is zero in every row)."""

    column: int
    of: tuple[int, ...]
    weights: tuple[float, ...]


def triangular(matrix: np.ndarray) -> np.ndarray:
    """A small matrix with the same linear relations between its columns: R of X = Q R."""
    return np.asarray(np.linalg.qr(matrix, mode="r")) if matrix.shape[0] > matrix.shape[1] else matrix


def aliases(matrix: np.ndarray, tolerance: float = TOLERANCE) -> list[Alias]:
    """Columns that are combinations of earlier ones, in column order, as R's `alias` and `lm` find them.

    Gram-Schmidt in column order, each projection done twice (once is not orthogonal enough when columns are close).
    """
    small = triangular(matrix)
    lengths = np.linalg.norm(small, axis=0)
    scaled = small / np.where(lengths > 0, lengths, 1)
    basis, kept, found = np.empty((small.shape[0], 0)), [], []
    for j in range(small.shape[1]):
        rest = scaled[:, j]
        for _ in range(2):
            rest = rest - basis @ (basis.T @ rest)
        left = np.linalg.norm(rest)
        if lengths[j] > 0 and left > tolerance:
            basis = np.column_stack([basis, rest / left])
            kept.append(j)
        elif lengths[j] == 0:
            found.append(Alias(j, (), ()))
        else:
            found.append(_alias(small, lengths, j, kept))
    return found


def rank(matrix: np.ndarray) -> int:
    """Number of columns that are no combination of earlier ones."""
    return int(matrix.shape[1]) - len(aliases(matrix))


def _alias(small: np.ndarray, lengths: np.ndarray, j: int, kept: list[int]) -> Alias:
    weights = np.linalg.lstsq(small[:, kept] / lengths[kept], small[:, j] / lengths[j], rcond=None)[0]
    used = np.flatnonzero(np.abs(weights) > 1e-6)
    return Alias(j, tuple(kept[i] for i in used), tuple(weights[used] * lengths[j] / lengths[np.array(kept)[used]]))
