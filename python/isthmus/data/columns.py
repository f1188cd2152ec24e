"""A column of the cells' data, or one value per cell: the two ways to say what each cell is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from isthmus.data.counts import Counts, cell_order
from isthmus.data.wording import cells_where, did_you_mean
from isthmus.errors import InputError


def per_cell(given: Any, counts: Counts, argument: str) -> pd.Series:
    """One value per cell, in the order of the cells.

    Parameters
    ----------
    given
        Name of a column of the cells' data (``obs``), or one value per cell. A Series with names goes by them.
    counts
        The cells.
    argument
        For messages.

    Raises
    ------
    InputError
        No such column; another length; names that are not those of the cells.

    Examples
    --------
    >>> from isthmus.data.counts import read_counts
    >>> counts = read_counts(np.eye(2), cell_data=pd.DataFrame({"donor": ["d1", "d2"]}))
    >>> per_cell("donor", counts, "sample").tolist()
    ['d1', 'd2']
    """
    if isinstance(given, str):
        return _column(given, counts, argument)
    named = isinstance(given, pd.Series)
    values = given if named else pd.Series(_vector(given, argument))
    if len(values) != counts.n_cells:
        msg = (
            f"`{argument}` must be a column of the cells' data or have one value per cell (n_cells = "
            f"{counts.n_cells}); got {len(values)}."
        )
        raise InputError(msg)
    if named:
        values = values.iloc[cell_order(values.index, counts.cell_names, argument=argument)]
    return values.reset_index(drop=True)


def labels_per_cell(given: Any, counts: Counts, argument: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Codes ``(n_cells,)`` int32 and the labels they stand for: levels of a categorical in their order (unused ones
    dropped), else sorted.

    Raises
    ------
    InputError
        As `per_cell`; a missing label.
    """
    values = per_cell(given, counts, argument)
    missing = values.isna().to_numpy()
    if missing.any():
        msg = (
            f"`{argument}` must not be missing; got {cells_where(missing, counts.cell_names)} without. Drop those "
            "cells or label them."
        )
        raise InputError(msg)
    if isinstance(values.dtype, pd.CategoricalDtype):
        kept = values.cat.remove_unused_categories()
        return kept.cat.codes.to_numpy().astype(np.int32), tuple(str(level) for level in kept.cat.categories)
    codes, levels = pd.factorize(values, sort=True)
    return codes.astype(np.int32), tuple(str(level) for level in levels)


def _column(name: str, counts: Counts, argument: str) -> pd.Series:
    there = [] if counts.cell_data is None else [str(column) for column in counts.cell_data.columns]
    if counts.cell_data is None or name not in counts.cell_data:
        msg = f"`{argument}` must be a column of the cells' data or have one value per cell; got '{name}'. "
        raise InputError(msg + did_you_mean(name, there))
    return counts.cell_data[name].reset_index(drop=True)


def _vector(given: Any, argument: str) -> Any:
    if isinstance(given, pd.Categorical):
        return given
    vector = np.asarray(given)
    if vector.ndim != 1:
        msg = f"`{argument}` must be a column of the cells' data or have one value per cell; got {given!r:.60}."
        raise InputError(msg)
    return vector
