"""Contrasts of parameters, L theta = rhs, from names, expressions, vectors and matrices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from isthmus.data.wording import did_you_mean, plural
from isthmus.errors import InputError
from isthmus.glm.linear_text import read_constraints, write_linear

if TYPE_CHECKING:
    from collections.abc import Sequence


def contrast_matrix(spec: Any, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray, str]:
    """Rows to test, the values they are compared with, and a label for the table.

    Parameters
    ----------
    spec
        * the name of a parameter;
        * an expression: ``"b - a"`` (compared with 0), ``"b = a"``, ``"2*b - a = 0.5"``; several in a list, or one
          text with commas;
        * a dict or Series of coefficients by name;
        * a vector ``(p,)`` or a matrix ``(k, p)``; a DataFrame's columns are matched by name.
    names
        The parameters, as the tables call them.

    Returns
    -------
    L, rhs, label
        ``(k, p)``, ``(k,)``, and text such as ``"b - a"``.

    Raises
    ------
    InputError
        Unknown names, wrong lengths, values that are missing or infinite, a row of zeros.

    Examples
    --------
    >>> contrast_matrix("b - 2*a = 1", ["a", "b"])
    (array([[-2.,  1.]]), array([1.]), 'b - 2*a = 1')
    """
    names = [str(name) for name in names]
    if isinstance(spec, str):
        rows, values, label = _from_texts([spec], names)
    elif isinstance(spec, (list, tuple)) and len(spec) and all(isinstance(text, str) for text in spec):
        rows, values, label = _from_texts(spec, names)
    else:
        rows = _from_numbers(spec, names)
        values = np.zeros(len(rows))
        label = "; ".join(write_linear(row, names) for row in rows)
    empty = np.flatnonzero(~rows.any(axis=1))
    if len(rows) == 0 or len(empty):
        where = f"row {empty[0] + 1}" if len(rows) > 1 else "it"
        msg = f"`contrast` must involve a parameter; got only zeros in {where}. Give at least one coefficient."
        raise InputError(msg)
    return rows, values, label


def _from_texts(texts: Sequence[str], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray, str]:
    rows, values = [], []
    for text in texts:
        if text in names:  # before any parsing: a name may read as an expression
            rows.append(np.eye(len(names))[[list(names).index(text)]])
            values.append(np.zeros(1))
        else:
            row, value = read_constraints(text, names, argument="contrast")
            rows.append(row)
            values.append(value)
    return np.vstack(rows), np.concatenate(values), "; ".join(text.strip() for text in texts)


def _from_numbers(spec: Any, names: Sequence[str]) -> np.ndarray:
    if isinstance(spec, pd.Series):
        spec = spec.to_dict() if _has_names(spec.index) else spec.to_numpy()
    if isinstance(spec, pd.DataFrame) and _has_names(spec.columns):
        return _checked(np.vstack([_by_name(row, names) for row in spec.to_dict("records")]), names)
    if isinstance(spec, Mapping):
        return _checked(_by_name(spec, names)[None, :], names)
    try:
        array = np.asarray(spec, dtype=np.float64)
    except (TypeError, ValueError):
        msg = f"`contrast` must be a name, an expression, a vector or a matrix of numbers; got {type(spec).__name__}."
        raise InputError(msg) from None
    return _checked(array[None, :] if array.ndim == 1 else array, names)


def _has_names(index: pd.Index) -> bool:
    return all(isinstance(name, str) for name in index)


def _by_name(coefficients: Mapping[Any, Any], names: Sequence[str]) -> np.ndarray:
    row = np.zeros(len(names))
    for name, coefficient in coefficients.items():
        if name not in names:
            msg = f"`contrast` must use the names of the parameters; got '{name}'. {did_you_mean(str(name), names)}"
            raise InputError(msg)
        try:
            row[list(names).index(name)] = coefficient
        except (TypeError, ValueError):
            msg = f"`contrast` must hold numbers; got {coefficient!r} for '{name}'."
            raise InputError(msg) from None
    return row


def _checked(rows: np.ndarray, names: Sequence[str]) -> np.ndarray:
    if rows.ndim != 2 or rows.shape[1] != len(names):
        shown = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
        length = rows.shape[-1] if rows.ndim else 1
        msg = (
            f"`contrast` must have one coefficient per parameter; got {length} for {plural(len(names), 'parameter')} "
            f"({shown})."
        )
        raise InputError(msg)
    if not np.isfinite(rows).all():
        msg = "`contrast` must be finite; got missing or infinite coefficients. Use 0 for parameters that take no part."
        raise InputError(msg)
    return rows
