"""What comes from R: slots, columns, names and numbers, in the forms that reticulate gives them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from isthmus.bridge.plain import INT32_MAX

Wire = Mapping[str, Any]  # a named list of R


def as_strings(values: str | Iterable[str] | None) -> tuple[str, ...]:
    """A character vector of R: length one comes as a scalar, length zero as an empty list or None."""
    if values is None:
        return ()
    return (values,) if isinstance(values, str) else tuple(values)


def read_names(wire: Wire | None) -> np.ndarray | None:
    """Names with a mask for NA, which would otherwise cross as the text "NA"."""
    if wire is None:
        return None
    names = np.array(as_strings(wire["values"]), dtype=object)
    if wire.get("missing") is not None:
        names[np.asarray(wire["missing"], dtype=bool)] = None
    return names


def as_number(value: Any) -> Any:
    """5.0 means 5; everything else is left for the surface to judge."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) <= INT32_MAX else value


def as_labelled(wire: Any) -> Any:
    """Numbers, as a Series or DataFrame where R had names on them; everything else as it is."""
    if not isinstance(wire, Mapping) or wire.get("kind") != "labelled":
        return wire
    values, rows = np.asarray(wire["values"], dtype=float), read_names(wire.get("rows"))
    if values.ndim == 1:
        return pd.Series(values, index=rows)
    return pd.DataFrame(values, index=rows, columns=read_names(wire.get("columns")))


def read_column(wire: Wire) -> pd.Series | pd.Categorical | np.ndarray:
    """One column of cell data: numbers as they are, factors and text as codes (-1 = NA) and levels."""
    if wire["kind"] == "number":
        return np.asarray(wire["values"], dtype=float)
    codes = np.asarray(wire["codes"], dtype=np.intp)
    levels = np.array(as_strings(wire["levels"]), dtype=object)
    if wire["kind"] == "factor":
        return pd.Categorical.from_codes(codes, categories=pd.Index(levels), ordered=bool(wire.get("ordered", False)))
    if wire["kind"] == "logical":
        levels = np.array([False, True], dtype=object)
        if (codes >= 0).all():
            return codes.astype(bool)
    text = np.full(len(codes), None, dtype=object)
    text[codes >= 0] = levels[codes[codes >= 0]]
    return text


def read_frame(wire: Wire, index: np.ndarray | None = None) -> pd.DataFrame:
    """A data.frame; its rows have R's names, else those of `index`, else numbers."""
    rows = read_names(wire.get("rows"))
    if rows is None and index is not None and len(index) == wire["n"]:
        rows = index
    named = wire["columns"] if isinstance(wire["columns"], Mapping) else {}  # R's empty list crosses as []
    labels = pd.RangeIndex(int(wire["n"])) if rows is None else pd.Index(rows, dtype=object)
    return pd.DataFrame({name: read_column(column) for name, column in named.items()}, index=labels)


def read_matrix(wire: Wire) -> Any:
    """The cells x genes matrix of a genes x cells matrix of R, on the memory that R gave."""
    n_genes, n_cells = (int(n) for n in wire["dim"])
    shape = (n_cells, n_genes)
    if wire["kind"] == "dense":
        return np.asarray(wire["x"]).T
    if wire["kind"] == "triplet":
        return sparse.coo_matrix((wire["x"], (wire["j"], wire["i"])), shape=shape)
    compressed = sparse.csr_matrix if wire["kind"] == "column" else sparse.csc_matrix
    return compressed((wire["x"], wire["i"], wire["p"]), shape=shape)


def quiet_nan(values: np.ndarray) -> np.ndarray:
    """R's NA is a signalling NaN, of which numpy's fmin makes NaN and arithmetic a warning; here it is a plain one."""
    return np.where(np.isnan(values), np.nan, values)


def whole_numbers(values: Any) -> Any:
    """1959.0 means 1959: labels become text."""
    whole = isinstance(values, np.ndarray) and values.dtype.kind == "f" and np.isfinite(values).all()
    whole = whole and (values == np.round(values)).all()
    return values.astype(np.int64) if whole else values


def whole_columns(frame: pd.DataFrame) -> pd.DataFrame:
    for name in frame.columns[[dtype.kind == "f" for dtype in frame.dtypes]]:
        frame[name] = whole_numbers(quiet_nan(frame[name].to_numpy()))
    return frame


def read_labels(given: Any) -> Any:
    """A column's name, or one label per time point."""
    return whole_numbers(read_column(given)) if isinstance(given, Mapping) else given
