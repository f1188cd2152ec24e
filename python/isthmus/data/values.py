"""One value as the node that crosses between R and Python, and back.

A node is a dict of plain arrays and texts with a ``kind``; ``R/values.R`` is its other side. ``value_of`` gives the
Python value of a node, ``node_of`` the node of a Python value; ``value_of(node_of(value))`` is the *default* form of a
value. What the default form loses (a dtype, a class) is `isthmus.data.likeness`'s matter.
"""

from __future__ import annotations

import zoneinfo
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

Node = Mapping[str, Any]

NA_INTEGER = -(2**31)  # how R writes a missing integer or logical
_LARGEST_EXACT = 2**53
_MICROSECONDS = 1_000_000


class NoNodeError(TypeError):
    """R has nothing that could hold this value."""


# --- from a node ------------------------------------------------------------------------------------------------------


def value_of(node: Node, *, turned: bool = False) -> Any:
    """The Python value of a node; `turned` gives the transpose of a matrix, at no cost for a sparse one."""
    kind = node["kind"]
    if kind in ("null", "opaque"):
        return None
    if kind == "list":
        items = [value_of(item) for item in node["items"]]
        return dict(zip(texts(node["names"]), items, strict=True)) if node["named"] else items
    if kind == "frame":
        return frame_of(node)
    if kind == "sparse":
        return _sparse_of(node, turned=turned)
    if kind in ("factor", "date", "datetime", "timedelta"):
        return column_of(node).array
    values = _vector_of(node)
    if node.get("dim") is not None:
        return _shaped(values, node["dim"], turned=turned)
    return _scalar(values) if node.get("scalar") else values


def texts(values: Any) -> list[str]:
    """A character vector of R: length one comes as a scalar, length zero as an empty list or None."""
    if values is None:
        return []
    return [values] if isinstance(values, str) else list(values)


def text_index(names: list[str]) -> pd.Index:
    """Names as pandas holds them; by way of an array, which is three times as quick as its own way with a list."""
    values = np.empty(len(names), dtype=object)
    values[:] = names
    return pd.Index(values, dtype=object)


def _text_of(node: Node) -> np.ndarray:
    found = texts(node["values"])
    values = np.empty(len(found), dtype=object)
    values[:] = found
    if node.get("missing") is not None:
        values[np.asarray(node["missing"], dtype=np.intp)] = None
    return values


def _vector_of(node: Node) -> Any:
    """Numbers as numpy has them; logicals and integers with NA as pandas' nullable arrays."""
    if node["kind"] == "text":
        return _text_of(node)
    values = np.asarray(node["values"])
    if node["kind"] in ("double", "complex"):
        return values
    values = values.astype(np.int32, copy=False)
    missing = values == NA_INTEGER
    if node["kind"] == "logical":
        flags = values == 1
        return pd.arrays.BooleanArray(flags, missing) if missing.any() else flags
    return pd.arrays.IntegerArray(np.where(missing, 1, values).astype(np.int32), missing) if missing.any() else values


def _scalar(values: Any) -> Any:
    value = values[0]
    if value is None:
        return pd.NA
    return value.item() if isinstance(value, np.generic) else value


def _shaped(values: Any, dim: Any, *, turned: bool) -> np.ndarray:
    """R's matrices run down their columns, so the transpose of one is in C order."""
    shape = tuple(int(n) for n in np.atleast_1d(dim))
    array = values.reshape(shape, order="F")
    return array.swapaxes(0, 1) if turned else array


def _sparse_of(node: Node, *, turned: bool) -> Any:
    """The columns of R's matrix are the rows of its transpose. Set attribute by attribute: the constructor would look
    through all indices, which R has checked."""
    n_rows, n_columns = (int(n) for n in np.atleast_1d(node["dim"]))
    indices, indptr = np.asarray(node["i"]), np.asarray(node["p"])
    if node.get("x") is None:
        data: np.ndarray = np.ones(len(indices), dtype=bool)
    else:
        data = np.asarray(node["x"])
        data = data == 1 if node["type"] == "logical" else data
    matrix = (
        sparse.csr_matrix((n_columns, n_rows), dtype=data.dtype)
        if turned
        else sparse.csc_matrix((n_rows, n_columns), dtype=data.dtype)
    )
    matrix.data, matrix.indices, matrix.indptr = data, indices, indptr
    matrix.has_sorted_indices = True
    matrix.has_canonical_format = True
    return matrix


def frame_of(node: Node) -> pd.DataFrame:
    n = int(node["n"])
    rows = node.get("rows")
    if rows is None:
        index: pd.Index = pd.RangeIndex(n)
    else:
        index = pd.Index(texts(rows["values"]), dtype=object)
    columns = zip(texts(node["names"]), node["columns"], strict=True)
    return pd.DataFrame({name: column_of(column).set_axis(index) for name, column in columns}, index=index)


def column_of(node: Node) -> pd.Series:
    """A column of a table. Text is of dtype object with None for NA, a factor is categorical."""
    kind = node["kind"]
    if kind == "factor":
        levels = pd.Index(texts(node["levels"]), dtype=object)
        codes = np.asarray(node["codes"], dtype=np.intp)
        return pd.Series(pd.Categorical.from_codes(codes, categories=levels, ordered=bool(node["ordered"])))
    if kind == "list":
        items = [value_of(item) for item in node["items"]]
        values = np.empty(len(items), dtype=object)
        values[:] = items
        return pd.Series(values)
    if kind in ("date", "datetime", "timedelta"):
        return pd.Series(_times_of(node))
    return pd.Series(_vector_of(node), dtype=object if kind == "text" else None)


def _times_of(node: Node) -> Any:
    values = np.asarray(node["values"], dtype=float)
    missing = np.isnan(values)
    if node["kind"] == "date":
        days = np.where(missing, 0, values).astype("timedelta64[D]") + np.datetime64(0, "D")
        dates = days.astype("datetime64[s]")
        dates[missing] = np.datetime64("NaT")
        return pd.DatetimeIndex(dates)
    ticks = np.round(np.where(missing, 0, values) * _MICROSECONDS).astype(np.int64)
    if node["kind"] == "timedelta":
        durations = ticks.astype("timedelta64[us]")
        durations[missing] = np.timedelta64("NaT")
        return pd.TimedeltaIndex(durations)
    instants = ticks.astype("datetime64[us]")
    instants[missing] = np.datetime64("NaT")
    return pd.DatetimeIndex(instants).tz_localize("UTC").tz_convert(node["zone"])


# --- to a node --------------------------------------------------------------------------------------------------------


def node_of(value: Any, *, turned: bool = False) -> dict[str, Any]:
    """The node of a Python value; `turned` says that R holds the transpose.

    Raises
    ------
    NoNodeError
        R has nothing that could hold it.
    """
    if value is None:
        return {"kind": "null"}
    if isinstance(value, Mapping):
        return _list_node([node_of(item) for item in value.values()], [str(key) for key in value])
    if isinstance(value, pd.DataFrame):
        return _frame_node(value)
    if sparse.issparse(value):
        return _sparse_node(value, turned=turned)
    if isinstance(value, (list, tuple)):
        return _sequence_node(value)
    if value is pd.NA or isinstance(value, (str, bool, int, float, complex, np.generic)):
        return _scalar_node(value)
    if isinstance(value, pd.api.extensions.ExtensionArray):
        return column_node(pd.Series(value))
    if isinstance(value, np.ndarray):
        if value.dtype.names is not None:
            return _frame_node(pd.DataFrame({name: value[name] for name in value.dtype.names}))
        return _array_node(value, turned=turned)
    raise NoNodeError(type(value).__name__)


def _list_node(items: list[dict[str, Any]], names: list[str] | None) -> dict[str, Any]:
    return {"kind": "list", "named": names is not None, "names": names or [], "items": items}


def _sequence_node(values: Sequence[Any]) -> dict[str, Any]:
    """A list of texts or of numbers of one type is a vector to R."""
    types = {type(value) for value in values}
    if len(types) == 1 and types <= {str, bool, int, float}:
        return _array_node(np.array(values, dtype=object if types == {str} else None))
    return _list_node([node_of(value) for value in values], None)


def _scalar_node(value: Any) -> dict[str, Any]:
    if value is pd.NA:
        return {"kind": "text", "values": ["NA"], "missing": np.zeros(1, dtype=np.int32), "dim": None, "scalar": True}
    array = np.empty(1, dtype=object) if isinstance(value, str) else np.array([value])
    array[0] = value
    return _array_node(array) | {"scalar": True}


def _array_node(value: np.ndarray, *, turned: bool = False) -> dict[str, Any]:
    kind, dim = value.dtype.kind, None
    if value.ndim != 1:
        array = value.swapaxes(0, 1) if turned else value
        dim = np.array(array.shape, dtype=np.int32)
        if len(dim) == 0:
            msg = "array without dimensions"
            raise NoNodeError(msg)
        value = array.ravel(order="F")
    node: dict[str, Any] = {"dim": dim, "scalar": dim is None and len(value) == 1}  # R knows no other scalars
    if kind == "b":
        return node | {"kind": "logical", "values": value.astype(np.int32)}
    if kind in "iu":
        return node | _whole_numbers(value)
    if kind == "f" and value.dtype.itemsize <= np.dtype(float).itemsize:
        return node | {"kind": "double", "values": value.astype(np.float64, copy=False)}
    if kind == "c" and value.dtype.itemsize <= np.dtype(complex).itemsize:
        return node | {"kind": "complex", "values": value.astype(np.complex128, copy=False)}
    if kind == "M" and dim is None:
        return column_node(pd.Series(value))
    if kind == "m" and dim is None:
        return column_node(pd.Series(value))
    if kind == "U" or (kind == "O" and all(isinstance(item, str) or _is_missing(item) for item in value)):
        return node | {"kind": "text"} | text_wire(value)
    if kind == "O" and dim is None:
        return _list_node([node_of(None if _is_missing(item) else item) for item in value], None)
    msg = f"array of {value.dtype}"
    raise NoNodeError(msg)


def _is_missing(item: Any) -> bool:
    return item is None or item is pd.NA or item is pd.NaT or (isinstance(item, float) and np.isnan(item))


def text_wire(values: Any) -> dict[str, Any]:
    """Texts and the positions of those that are missing."""
    missing = np.flatnonzero([_is_missing(item) for item in values]).astype(np.int32)
    found = ["NA" if _is_missing(item) else str(item) for item in values]
    return {"values": found, "missing": missing if len(missing) else None}


def _whole_numbers(value: np.ndarray) -> dict[str, Any]:
    """R's integers have 32 bits; larger numbers are doubles, and those above 2**53 are none that a double can hold."""
    if len(value) and (value.min() <= NA_INTEGER or value.max() > -NA_INTEGER - 1):
        return {"kind": "double", "values": value.astype(np.float64)}
    return {"kind": "integer", "values": value.astype(np.int32, copy=False)}


def _sparse_node(value: Any, *, turned: bool) -> dict[str, Any]:
    matrix = value.T if turned else value
    if matrix.format != "csc":
        matrix = matrix.tocsc()
    if not matrix.has_canonical_format:  # which says that the indices are sorted, too
        matrix = matrix.copy()
        matrix.sum_duplicates()
    kind = matrix.dtype.kind
    if kind not in "biuf" or matrix.dtype.itemsize > np.dtype(float).itemsize:
        msg = f"sparse matrix of {matrix.dtype}"
        raise NoNodeError(msg)
    if max(matrix.nnz, *matrix.shape) > -NA_INTEGER - 1:
        msg = "sparse matrix of more than 2^31 - 1 values"
        raise NoNodeError(msg)
    return {
        "kind": "sparse",
        "type": "logical" if kind == "b" else "double",
        "p": matrix.indptr.astype(np.int32, copy=False),
        "i": matrix.indices.astype(np.int32, copy=False),
        "x": matrix.data.astype(np.int32 if kind == "b" else np.float64, copy=False),
        "dim": np.array(matrix.shape, dtype=np.int32),
    }


def _frame_node(frame: pd.DataFrame) -> dict[str, Any]:
    counted = isinstance(frame.index, pd.RangeIndex) and frame.index.equals(pd.RangeIndex(len(frame)))
    return {
        "kind": "frame",
        "n": len(frame),
        "rows": None if counted else {"values": [str(name) for name in frame.index], "missing": None},
        "names": [str(name) for name in frame.columns],
        "columns": [column_node(frame.iloc[:, j]) for j in range(frame.shape[1])],
    }


def column_node(column: pd.Series) -> dict[str, Any]:
    """The node of a column of a table."""
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return {
            "kind": "factor",
            "codes": column.cat.codes.to_numpy(dtype=np.int32),
            "levels": [str(level) for level in column.cat.categories],
            "ordered": bool(column.cat.ordered),
        }
    if isinstance(dtype, pd.DatetimeTZDtype) or dtype.kind == "M":
        return _instants(column)
    if dtype.kind == "m":
        return {"kind": "timedelta", "values": _seconds(column.to_numpy())}
    if isinstance(dtype, pd.StringDtype):
        return {"kind": "text", "dim": None, "scalar": False} | text_wire(column.to_numpy(dtype=object))
    if pd.api.types.is_extension_array_dtype(dtype) and dtype.kind in "biuf":
        return _nullable(column)
    if isinstance(dtype, np.dtype):
        return _array_node(column.to_numpy())
    msg = f"column of {dtype}"
    raise NoNodeError(msg)


def _nullable(column: pd.Series) -> dict[str, Any]:
    missing = column.isna().to_numpy()
    kind = column.dtype.kind
    if kind == "f":
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
        return {"kind": "double", "values": values, "dim": None, "scalar": False}
    filled = column.to_numpy(dtype=bool if kind == "b" else column.dtype.numpy_dtype, na_value=0)
    node = _array_node(filled)
    if node["kind"] == "double":
        node["values"][missing] = np.nan
    else:
        node["values"] = np.where(missing, NA_INTEGER, node["values"]).astype(np.int32)
    return node


def _instants(column: pd.Series) -> dict[str, Any]:
    """Naive times are those of UTC."""
    zone = "UTC"
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        zone = _zone_name(column.dt.tz)
        column = column.dt.tz_convert("UTC").dt.tz_localize(None)
    values = column.to_numpy()
    if column.dtype == np.dtype("datetime64[s]") and zone == "UTC":
        days = values.astype("datetime64[D]")
        if (days.astype(values.dtype) == values)[~np.isnat(values)].all():
            return {"kind": "date", "values": np.where(np.isnat(days), np.nan, days.astype(np.int64).astype(float))}
    return {"kind": "datetime", "values": _seconds(values), "zone": zone}


def _zone_name(zone: Any) -> str:
    """A name that R knows too: fixed offsets have none."""
    try:
        return zoneinfo.ZoneInfo(str(zone)).key
    except (ValueError, zoneinfo.ZoneInfoNotFoundError):
        return "UTC"


def _seconds(values: np.ndarray) -> np.ndarray:
    """Seconds to the microsecond, NaN for NaT; both are exact in a double for 285 years around 1970."""
    unit = "datetime64[us]" if values.dtype.kind == "M" else "timedelta64[us]"
    ticks = values.astype(unit).astype(np.int64).astype(float) / _MICROSECONDS
    return np.where(np.isnat(values), np.nan, ticks)
