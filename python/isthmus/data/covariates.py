"""Covariates of cells as numbers: numbers standardised, categories as indicators of all levels but the first.

How each was encoded is kept, so that other cells can be encoded the same way.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from isthmus.data.columns import per_cell
from isthmus.data.counts import Counts, cell_order
from isthmus.data.wording import cells_where, plural, some
from isthmus.errors import InputError

Encoding = dict[str, Any]  # {"name", "mean", "sd"} of a number, {"name", "levels"} of a category; JSON can hold it


def encode(given: Any, counts: Counts, encodings: list[Encoding] | None = None) -> tuple[np.ndarray, list[Encoding]]:
    """Covariates as numbers.

    Parameters
    ----------
    given
        Names of columns of the cells' data, a DataFrame with one row per cell, or None.
    counts
        The cells.
    encodings
        How earlier cells were encoded; `given` must then hold these columns. None: made from the values.

    Returns
    -------
    matrix, encodings
        ``(n_cells, n_columns)`` float32, and one encoding per covariate.

    Raises
    ------
    InputError
        Missing or infinite values; columns or levels that the earlier cells did not have, or the other way round.

    Examples
    --------
    >>> from isthmus.data.counts import read_counts
    >>> counts = read_counts(np.eye(3), cell_data=pd.DataFrame({"batch": ["x", "y", "x"]}))
    >>> encode("batch", counts)[0].ravel().tolist()
    [0.0, 1.0, 0.0]
    """
    columns = _columns(given, counts)
    for name, values in columns.items():
        if values.isna().any():
            bad = cells_where(values.isna().to_numpy(), counts.cell_names)
            msg = f"`covariates` must not be missing; got {bad} without '{name}'. Drop those cells."
            raise InputError(msg)
    if encodings is None:
        encodings = [_encoding(name, values) for name, values in columns.items()]
    _check_same(columns, encodings)
    parts = [_apply(columns[encoding["name"]], encoding, counts) for encoding in encodings]
    empty = np.zeros((counts.n_cells, 0), dtype=np.float32)
    return np.column_stack([empty, *parts]).astype(np.float32), encodings


def column_names(encodings: list[Encoding]) -> list[str]:
    """What the columns of the matrix stand for."""
    names: list[str] = []
    for encoding in encodings:
        levels = encoding.get("levels")
        names += [encoding["name"]] if levels is None else [f"{encoding['name']}={level}" for level in levels[1:]]
    return names


def _columns(given: Any, counts: Counts) -> dict[str, pd.Series]:
    if given is None:
        return {}
    if isinstance(given, pd.DataFrame):
        if len(given) != counts.n_cells:
            msg = f"`covariates` must have one row per cell (n_cells = {counts.n_cells}); got {len(given)} rows."
            raise InputError(msg)
        ordered = given.iloc[cell_order(given.index, counts.cell_names, argument="covariates")]
        return {str(name): column.reset_index(drop=True) for name, column in ordered.items()}
    names = [given] if isinstance(given, str) else list(given)
    if not all(isinstance(name, str) for name in names):
        msg = f"`covariates` must name columns of the cells' data or be a DataFrame; got {given!r:.60}."
        raise InputError(msg)
    return {name: per_cell(name, counts, "covariates") for name in names}


def _is_number(values: pd.Series) -> bool:
    return bool(pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values))


def _encoding(name: str, values: pd.Series) -> Encoding:
    if not _is_number(values):
        text = values.astype(str)
        return {"name": name, "levels": sorted(text.unique())}
    numbers = values.to_numpy(dtype=np.float64)
    if not np.isfinite(numbers).all():
        msg = f"`covariates` must be finite; '{name}' is not. Drop those cells."
        raise InputError(msg)
    return {"name": name, "mean": float(numbers.mean()), "sd": float(numbers.std()) or 1.0}


def _check_same(columns: dict[str, pd.Series], encodings: list[Encoding]) -> None:
    wanted = [encoding["name"] for encoding in encodings]
    if set(columns) != set(wanted):
        listed = some(wanted) if wanted else "none"
        msg = f"`covariates` must be those of the fit ({listed}); got {some(columns) if columns else 'none'}."
        raise InputError(msg)


def _apply(values: pd.Series, encoding: Encoding, counts: Counts) -> np.ndarray:
    name, levels = encoding["name"], encoding.get("levels")
    if levels is None:
        if not _is_number(values):
            msg = f"`covariates` must be those of the fit, where '{name}' holds numbers; got {values.dtype}."
            raise InputError(msg)
        return np.asarray((values.to_numpy(dtype=np.float64) - encoding["mean"]) / encoding["sd"])[:, None]
    text = values.astype(str)
    unknown = ~text.isin(levels).to_numpy()
    if unknown.any():
        found = text[unknown].unique()
        msg = (
            f"`covariates` must be those of the fit: '{name}' has {plural(len(found), 'level')} that it had not "
            f"({some(found)}; {cells_where(unknown, counts.cell_names)})."
        )
        raise InputError(msg)
    return (text.to_numpy()[:, None] == np.array(levels[1:], dtype=object)[None, :]).astype(np.float64)
