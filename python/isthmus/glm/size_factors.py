"""Size factors: how much each cell was sequenced, relative to the others. Linear, positive; the model takes their
logarithm once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd

from isthmus.data.counts import cell_order
from isthmus.data.stored import cell_sums, pieces, row_pieces
from isthmus.data.wording import cells_where, did_you_mean, plural
from isthmus.errors import InputError
from isthmus.messages import tell

if TYPE_CHECKING:
    from collections.abc import Callable

    from scipy import sparse

    from isthmus.data.counts import Counts
    from isthmus.data.stored import StoredMatrix

    Matrix: TypeAlias = sparse.csr_matrix | StoredMatrix

_RULES = ("auto", "sum", "ratio", "poscounts")


def size_factors(spec: Any, counts: Counts) -> np.ndarray:
    """Size factors of every cell, ``(n_cells,)`` float64, all positive.

    Parameters
    ----------
    spec
        * ``"auto"``: those the object carries (``obs["size_factors"]``), else as "sum". A message says which.
        * None: 1 for every cell.
        * ``"sum"``: total counts of a cell divided by their mean over cells.
        * ``"ratio"``: median of ratios to the geometric mean over cells, over genes with counts in all cells (Anders
          & Huber 2010; DESeq2's "ratio").
        * ``"poscounts"``: the same with geometric means in which zeros count as 1 (the sum of logs of the positive
          counts over n_cells), over a cell's
          positive genes, then scaled to geometric mean 1 (DESeq2's "poscounts"): for sparse data.
        * a vector or Series (matched by name where it has the cells' names), or the name of a column of the cells'
          data. The four words
          above win over columns of the same name.
    counts
        As `read_counts` gives them.

    Raises
    ------
    InputError
        Cells without counts for the computed kinds, no gene with counts in all cells for "ratio", values that are not
        finite and positive, a wrong length, an unknown word or column.

    Examples
    --------
    >>> from isthmus.data.counts import read_counts
    >>> size_factors("sum", read_counts(np.array([[1, 1], [2, 4]])))
    array([0.5, 1.5])
    """
    if spec is None:
        return np.ones(counts.n_cells)
    if isinstance(spec, str):
        return _by_word(spec, counts)
    return _checked(_vector(spec, counts), counts, "`size_factors`")


def _by_word(word: str, counts: Counts) -> np.ndarray:
    if word == "auto" and counts.stored_size_factors is not None:
        tell("`size_factors`: those of the object are used.")
        return _checked(counts.stored_size_factors, counts, "`size_factors` of the object")
    if word in _RULES:
        if word == "auto":
            tell("`size_factors`: total counts per cell divided by their mean, as the object has none of its own.")
        return _computed(_COMPUTED[word], counts, word)
    if counts.cell_data is not None and word in counts.cell_data.columns:
        return _checked(counts.cell_data[word].to_numpy(), counts, f"`size_factors` (column '{word}')")
    columns = [] if counts.cell_data is None else [str(name) for name in counts.cell_data.columns]
    msg = (
        f"`size_factors` must be {', '.join(repr(rule) for rule in _RULES)}, a column of the cells' data or "
        f"one number per cell; got '{word}'. {did_you_mean(word, [*_RULES, *columns])}"
    )
    raise InputError(msg)


def _vector(spec: Any, counts: Counts) -> np.ndarray:
    values = np.asarray(spec)
    if values.shape != (counts.n_cells,):
        shape = " x ".join(map(str, values.shape)) or "a single number"
        msg = f"`size_factors` must have one number per cell (n_cells = {counts.n_cells}); got {shape}."
        if values.ndim == 1 and len(values) > counts.n_cells:
            msg += " Drop the filtered cells from it."
        raise InputError(msg)
    if isinstance(spec, pd.Series):
        return values[cell_order(spec.index, counts.cell_names, argument="size_factors")]
    return values


def _checked(values: Any, counts: Counts, owner: str) -> np.ndarray:
    try:
        numbers = pd.Series(values).to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError):
        msg = f"{owner} must be numbers; got values such as {values[0]!r}."
        raise InputError(msg) from None
    bad = ~np.isfinite(numbers)
    if bad.any():
        msg = (
            f"{owner} must be finite; got missing or infinite values in {cells_where(bad, counts.cell_names)}. Drop "
            "those cells or pass other size factors."
        )
        raise InputError(msg)
    bad = numbers <= 0
    if bad.any():
        msg = (
            f"{owner} must be positive; got {plural(int(bad.sum()), 'value')} <= 0 in "
            f"{cells_where(bad, counts.cell_names)}. Drop those cells or pass other size factors (they are not on "
            "log scale)."
        )
        raise InputError(msg)
    return numbers


# --- computed from the counts
# -------------------------------------------------------------------------------------------------


def _computed(rule: Callable[[Matrix], np.ndarray], counts: Counts, word: str) -> np.ndarray:
    totals = cell_sums(counts.matrix)
    empty = totals == 0
    if empty.any():
        msg = (
            f"`size_factors` = '{word}' needs counts in every cell; got none in "
            f"{cells_where(empty, counts.cell_names)}. "
            "Drop those cells, or pass size factors for all cells."
        )
        raise InputError(msg)
    return rule(counts.matrix)


def _from_sums(matrix: Matrix) -> np.ndarray:
    totals = cell_sums(matrix)
    return np.asarray(totals / totals.mean())


def _positive_per_gene(matrix: Matrix) -> tuple[np.ndarray, np.ndarray]:
    """(number of positive counts, sum of their logarithms), per gene; explicit zeros are zeros."""
    number, logs = np.zeros(matrix.shape[1]), np.zeros(matrix.shape[1])
    for _, columns, piece in pieces(matrix):
        positive, width = piece.data > 0, piece.shape[1]
        gene, values = piece.indices[positive], piece.data[positive].astype(np.float64)
        number[columns] += np.bincount(gene, minlength=width)
        logs[columns] += np.bincount(gene, weights=np.log(values), minlength=width)
    return number, logs


def _from_ratios(matrix: Matrix) -> np.ndarray:
    number, logs = _positive_per_gene(matrix)
    everywhere = number == matrix.shape[0]
    if not everywhere.any():
        msg = (
            "`size_factors` = 'ratio' needs a gene with counts in all cells; got none. Use 'poscounts', which "
            "allows zeros, or 'sum'."
        )
        raise InputError(msg)
    return _median_ratios(matrix, logs / matrix.shape[0], everywhere)


def _from_positive_counts(matrix: Matrix) -> np.ndarray:
    number, logs = _positive_per_gene(matrix)
    factors = _median_ratios(matrix, logs / matrix.shape[0], number > 0)
    return np.asarray(factors / np.exp(np.mean(np.log(factors))))


def _median_ratios(matrix: Matrix, log_means: np.ndarray, use: np.ndarray) -> np.ndarray:
    """exp(median over a cell's positive genes of log(count) - log(geometric mean))."""
    factors = np.empty(matrix.shape[0])
    for rows, band in row_pieces(matrix):
        values, gene = band.data, band.indices
        row = np.repeat(np.arange(band.shape[0]), np.diff(band.indptr))
        kept = use[gene] & (values > 0)
        ratio = np.log(values[kept].astype(np.float64)) - log_means[gene[kept]]
        factors[rows] = np.exp(_group_medians(ratio, row[kept], rows.stop - rows.start))
    return factors


def _group_medians(values: np.ndarray, group: np.ndarray, n_groups: int) -> np.ndarray:
    """The median of each group; every group has a value."""
    values = values[np.lexsort((values, group))]
    size = np.bincount(group, minlength=n_groups)
    first = np.concatenate([[0], np.cumsum(size)[:-1]])
    return np.asarray((values[first + (size - 1) // 2] + values[first + size // 2]) / 2)


_COMPUTED = {"auto": _from_sums, "sum": _from_sums, "ratio": _from_ratios, "poscounts": _from_positive_counts}
