"""What a Python value was, beyond its numbers: a description that turns the default form back into it, or its bytes.

R has no float32, no csr_array and no nullable strings. An AnnData that has been to R and comes back gets its own types
again, as far as what R sends still fits them.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

Description = dict[str, Any]

# --- the same value of the same type ----------------------------------------------------------------------------------


def same(a: Any, b: Any) -> bool:
    """Whether two values have the same type, dtype and elements (NaN equals NaN)."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        return _same_arrays(a, b)
    if sparse.issparse(a):
        if a.format != b.format or a.shape != b.shape or a.format not in ("csr", "csc"):
            return False
        return _same_arrays(a.data, b.data) and _equal(a.indptr, b.indptr) and _equal(a.indices, b.indices)
    if isinstance(a, pd.DataFrame):
        shaped = a.shape == b.shape and same(a.index, b.index) and same(a.columns, b.columns)
        return shaped and all(same(a.iloc[:, j], b.iloc[:, j]) for j in range(a.shape[1]))
    if isinstance(a, pd.Series):
        return same(a.array, b.array)
    if isinstance(a, pd.Index):
        return a.dtype == b.dtype and a.names == b.names and same(a.array, b.array)
    if isinstance(a, pd.api.extensions.ExtensionArray):
        return _same_extension(a, b)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return _same_scalars(a, b)


def _same_scalars(a: Any, b: Any) -> bool:
    if a is pd.NA or b is pd.NA:
        return a is b
    try:
        return bool(a == b) or (bool(a != a) and bool(b != b))
    except (TypeError, ValueError):
        return False


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.array_equal(a, b))


def _same_arrays(a: np.ndarray, b: np.ndarray) -> bool:
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if a.dtype.names is not None:
        return all(_same_arrays(a[name], b[name]) for name in a.dtype.names)
    if a.dtype.kind == "O":
        return _same_objects(a.ravel().tolist(), b.ravel().tolist())
    return bool(np.array_equal(a, b, equal_nan=a.dtype.kind in "fcmM"))


def _same_objects(a: list[Any], b: list[Any]) -> bool:
    if {*map(type, a), *map(type, b)} <= {str, type(None)}:
        return a == b
    return all(map(same, a, b))


def _same_extension(a: Any, b: Any) -> bool:
    if a.dtype != b.dtype or len(a) != len(b):
        return False
    if isinstance(a, pd.Categorical):
        return same(a.categories, b.categories) and _equal(a.codes, b.codes)
    if hasattr(a, "_ndarray"):
        return _same_arrays(np.asarray(a._ndarray), np.asarray(b._ndarray))
    missing = np.asarray(a.isna())
    return _equal(missing, np.asarray(b.isna())) and _same_arrays(
        np.asarray(a[~missing], dtype=object), np.asarray(b[~missing], dtype=object)
    )


# --- descriptions -----------------------------------------------------------------------------------------------------


def describe(value: Any) -> Description | None:
    """What turns the default form of `value` into it, as plain JSON; None where nothing does."""
    if isinstance(value, np.ndarray):
        if value.dtype.names is not None:
            fields = [[name, value.dtype[name].str] for name in value.dtype.names]
            return {"is": "recarray" if isinstance(value, np.recarray) else "structured", "fields": fields}
        return {"is": "array", "dtype": value.dtype.str}
    if sparse.issparse(value):
        return {"is": "sparse", "class": type(value).__name__, "dtype": value.dtype.str}
    if isinstance(value, pd.RangeIndex):
        return {"is": "range index", "parts": [value.start, value.stop, value.step], "name": value.name}
    if isinstance(value, pd.Index):
        return {"is": "index", "dtype": str(value.dtype), "name": value.name}
    if isinstance(value, pd.Series):
        value = value.array
    if isinstance(value, pd.Categorical):
        return {"is": "categorical", "dtype": str(value.categories.dtype)}
    if isinstance(value, (pd.api.extensions.ExtensionArray)):
        return {"is": "column", "dtype": str(value.dtype)}
    if isinstance(value, (list, tuple)):
        return {"is": type(value).__name__}
    if isinstance(value, np.generic):
        return {"is": "scalar", "dtype": value.dtype.str}
    return {"is": type(value).__name__} if type(value) in (int, float) else None


def as_described(default: Any, description: Description) -> Any:
    """`default` in the described form.

    Raises
    ------
    TypeError, ValueError
        It does not fit any more.
    """
    kind, dtype = description["is"], description.get("dtype")
    if kind == "array":
        return _as_array(default).astype(dtype)
    if kind in ("recarray", "structured"):
        return _as_structured(default, description)
    if kind == "sparse":
        made = getattr(sparse, description["class"])(default)
        return made.astype(dtype)
    if kind == "range index":
        made = pd.RangeIndex(*description["parts"], name=description["name"])
        if [str(label) for label in made] != [str(label) for label in default]:
            msg = "other labels"
            raise ValueError(msg)
        return made
    if kind == "index":
        return pd.Index(default, dtype=dtype, name=description["name"])
    if kind == "categorical":
        categorical = default.array if isinstance(default, pd.Series) else default
        made = categorical.rename_categories(_as_categories(categorical.categories, dtype))
        return pd.Series(made) if isinstance(default, pd.Series) else made
    if kind == "column":
        return _as_column(default, str(dtype))
    if kind in ("list", "tuple"):
        values = _as_array(default).tolist() if not isinstance(default, list) else default
        return tuple(values) if kind == "tuple" else values
    if kind == "scalar":
        return np.dtype(dtype).type(default)
    return {"int": int, "float": float}[kind](default)


def _as_array(default: Any) -> np.ndarray:
    if isinstance(default, (str, bool, int, float, complex)) or default is pd.NA:
        array = np.empty(1, dtype=object if isinstance(default, str) or default is pd.NA else None)
        array = array if array.dtype == object else np.array([default])
        array[0] = default
        return array
    if isinstance(default, list):
        array = np.empty(len(default), dtype=object)
        array[:] = default
        return array
    return default.toarray() if sparse.issparse(default) else np.asarray(default)


def _as_structured(default: pd.DataFrame, description: Description) -> np.ndarray:
    made = np.empty(len(default), dtype=[tuple(field) for field in description["fields"]])
    for name, _ in description["fields"]:
        made[name] = default[name].to_numpy()
    return made.view(np.recarray) if description["is"] == "recarray" else made


def _as_categories(levels: pd.Index, dtype: Any) -> pd.Index:
    if dtype == "bool":
        return pd.Index([level == "True" for level in levels])
    if str(dtype).startswith(("int", "uint")):
        return pd.Index([int(level) for level in levels], dtype=dtype)
    return levels.astype(dtype)


def _as_column(default: Any, dtype: str) -> Any:
    column = default if isinstance(default, pd.Series) else pd.Series(_as_array(default))
    naive = dtype.startswith("datetime64") and "," not in dtype
    if naive and isinstance(column.dtype, pd.DatetimeTZDtype):
        column = column.dt.tz_convert("UTC").dt.tz_localize(None)
    if column.dtype.kind == "f" and dtype.startswith(("Int", "UInt")):
        column = column.astype("Float64")
    made = column.astype(np.dtype(dtype) if dtype.startswith(("float", "int", "uint", "complex")) else dtype)
    return made if isinstance(default, pd.Series) else made.array


# --- bytes ------------------------------------------------------------------------------------------------------------


def frozen(value: Any) -> bytes | None:
    """The bytes of a value that no description can bring back (64-bit integers that R's numbers cannot hold, arrays of
    ragged lists), or None where anndata cannot write it either. No pickle."""
    buffer = io.BytesIO()
    if isinstance(value, np.ndarray) and value.dtype.kind not in "OV":
        np.save(buffer, value, allow_pickle=False)
        return buffer.getvalue()
    import h5py
    from anndata.io import write_elem

    try:
        with warnings.catch_warnings(), h5py.File(buffer, "w") as file:
            warnings.simplefilter("ignore")  # anndata's about names that have changed since
            write_elem(file, "value", value)
        written = buffer.getvalue()
        return written if same(thawed(written), value) else None
    except Exception as error:
        # anndata's own class for "no method registered for writing" is not public
        if isinstance(error, (TypeError, ValueError)) or type(error).__name__ == "IORegistryError":
            return None
        raise


def thawed(written: bytes) -> Any:
    """The value of `frozen` bytes."""
    buffer = io.BytesIO(bytes(written))
    if bytes(written[:6]) == b"\x93NUMPY":
        return np.load(buffer, allow_pickle=False)
    import h5py
    from anndata.io import read_elem

    with h5py.File(buffer, "r") as file:
        return read_elem(file["value"])
