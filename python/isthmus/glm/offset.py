"""Offsets: parts of log mu without a parameter, for the cells of a fit and for new ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from isthmus.data.counts import cell_order, gene_order
from isthmus.data.wording import cells_where, did_you_mean, plural
from isthmus.errors import InputError

if TYPE_CHECKING:
    from isthmus.data.counts import Counts


def read_offset(spec: Any, counts: Counts) -> tuple[np.ndarray, np.ndarray | None]:
    """The offset per cell ``(n_cells,)`` and, if given so, per cell and gene ``(n_cells, n_genes)``.

    A Series or DataFrame is put in the order of the cells, and of the genes, where both sides have names.
    """
    zero = np.zeros(counts.n_cells)
    if spec is None:
        return zero, None
    if isinstance(spec, str):
        spec = column_of_cells(spec, counts, "offset")
    values = ordered_values(spec, counts.cell_names, counts.gene_names)
    bad = ~np.isfinite(values) if values.ndim == 1 else ~np.isfinite(values).all(axis=1)
    if bad.any():
        msg = (
            "`offset` must be finite (natural log); got missing or infinite values "
            f"in {cells_where(bad, counts.cell_names)}."
        )
        raise InputError(msg)
    return (values, None) if values.ndim == 1 else (zero, values)


def ordered_values(
    spec: Any, cell_names: np.ndarray, gene_names: np.ndarray, *, argument: str = "offset"
) -> np.ndarray:
    """Numbers in the order of the cells and genes."""
    values = check_values(spec, len(cell_names), len(gene_names), argument=argument)
    if isinstance(spec, (pd.Series, pd.DataFrame)):
        values = values[cell_order(spec.index, cell_names, argument=argument)]
    if isinstance(spec, pd.DataFrame):
        values = values[:, gene_order(spec.columns, gene_names, argument=argument)]
    return values


def check_values(
    spec: Any, n_cells: int, n_genes: int, *, for_all: bool = False, argument: str = "offset"
) -> np.ndarray:
    """Numbers, one per cell or per cell and gene; also one for all cells with `for_all`."""
    try:
        if isinstance(spec, (pd.Series, pd.DataFrame)):
            values = spec.to_numpy(dtype=float, na_value=np.nan)
        else:
            values = np.asarray(spec.toarray() if sparse.issparse(spec) else spec, dtype=float)
    except (TypeError, ValueError):
        got = f"values such as {spec.iloc[0]!r}" if isinstance(spec, pd.Series) else type(spec).__name__
        unit = " (natural log)" if argument == "offset" else ""
        msg = f"`{argument}` must be numbers{unit}; got {got}."
        raise InputError(msg) from None
    if values.ndim == 0 and for_all:
        return np.full(n_cells, float(values))
    if values.shape not in ((n_cells,), (n_cells, n_genes)):
        got = " x ".join(map(str, values.shape)) or "a single number"
        msg = (
            f"`{argument}` must hold one value per cell ({n_cells}) or per cell and gene ({n_cells} x {n_genes}); "
            f"got {got}."
        )
        raise InputError(msg)
    return values


def new_shift(size_factors: Any, offset: Any, n_cells: int, n_genes: int) -> np.ndarray:
    """log(size factors) + offset of new cells, ``(n_cells, 1)`` or ``(n_cells, n_genes)``; single numbers are for all
    cells."""
    factors = np.asarray(1.0 if size_factors is None else size_factors)
    if factors.dtype.kind not in "biuf" or factors.shape not in ((), (1,), (n_cells,)):
        got = " x ".join(map(str, factors.shape)) if factors.dtype.kind in "biuf" else repr(size_factors)
        msg = f"`size_factors` must have one number per new cell ({n_cells}), or one for all; got {got}."
        raise InputError(msg)
    bad = ~(np.isfinite(factors) & (factors > 0))
    if bad.any():
        msg = f"`size_factors` must be positive; got {plural(int(bad.sum()), 'value')} that {_are(int(bad.sum()))} not."
        raise InputError(msg)
    alone = offset is not None and np.size(offset) == 1  # R has no single numbers, only vectors of one
    given = np.ravel(offset)[0] if alone else 0.0 if offset is None else offset
    values = check_values(given, n_cells, n_genes, for_all=True)
    if not np.isfinite(values).all():
        msg = "`offset` must be finite (natural log); got missing or infinite values."
        raise InputError(msg)
    logs = np.broadcast_to(np.log(factors), (n_cells,))
    return logs[:, None] + (values[:, None] if values.ndim == 1 else values)


def column_of_cells(name: str, counts: Counts, argument: str) -> pd.Series:
    """A column of the cells' data, by its name."""
    columns = [] if counts.cell_data is None else [str(column) for column in counts.cell_data.columns]
    if counts.cell_data is None or name not in counts.cell_data.columns:
        msg = (
            f"`{argument}` must be numbers or a column of the cells' data; there is no column '{name}'. "
            f"{did_you_mean(name, columns)}"
        )
        raise InputError(msg)
    return counts.cell_data[name].reset_index(drop=True)  # the cells' data is in the order of the cells


def _are(n: int) -> str:
    return "is" if n == 1 else "are"
