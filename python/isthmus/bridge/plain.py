"""What goes to R: plain values whose conversion by reticulate loses nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

INT32_MAX = 2**31 - 1


def as_plain(value: Any) -> Any:
    """Anything a fit or a simulation holds, in a form whose conversion by reticulate loses nothing."""
    if isinstance(value, Mapping):
        return {str(key): as_plain(item) for key, item in value.items()}
    if isinstance(value, (np.generic, np.ndarray)) and value.ndim == 0:
        value = value.item()
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > INT32_MAX:
        return float(value)
    if not isinstance(value, np.ndarray):
        return value
    if value.dtype.kind in "OU":
        return value.tolist()
    if value.dtype.kind in "iu" and value.dtype != np.int32:
        return value.astype(float)
    return value.astype(float) if value.dtype == np.float32 else value


def as_codes(values: Any) -> dict[str, Any]:
    """Text as int32 codes (-1 = missing) and levels: repeated names cross once, and NA stays NA."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        codes, levels = values.cat.codes.to_numpy(), values.cat.categories
        kind = "ordered" if values.cat.ordered else "factor"
    else:
        codes, levels = pd.factorize(values)
        kind = "text"
    return {"kind": kind, "codes": np.asarray(codes, dtype=np.int32), "levels": [str(level) for level in levels]}


def as_columns(frame: pd.DataFrame) -> dict[str, Any]:
    """A table as a dict of 1-d arrays; R builds the data.frame."""
    columns: dict[str, Any] = {}
    for name, column in frame.items():
        if pd.api.types.is_bool_dtype(column.dtype) and not column.isna().any():
            columns[str(name)] = column.to_numpy(dtype=bool)
        elif column.dtype == np.int32:
            columns[str(name)] = column.to_numpy()
        elif pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype):
            columns[str(name)] = column.to_numpy(dtype=float, na_value=np.nan)
        else:
            columns[str(name)] = as_codes(column)
    return columns


def slots(matrix: Any) -> dict[str, np.ndarray]:
    """The p, i and x of the genes x cells dgCMatrix that a cells x genes matrix is."""
    rows = sparse.csr_matrix(matrix)
    rows.sort_indices()
    return {"p": rows.indptr.astype(np.int32), "i": rows.indices.astype(np.int32), "x": rows.data.astype(float)}


def plain_experiment(adata: Any) -> dict[str, Any]:
    """A simulated AnnData as the slots of its counts, with names, cell data and truth."""
    obs = adata.obs.copy()
    stored = obs.pop("size_factors").to_numpy(dtype=float) if "size_factors" in obs else None
    return slots(adata.X) | {
        "genes": list(adata.var_names),
        "cells": list(adata.obs_names),
        "obs": as_columns(obs),
        "varm": {name: np.asarray(values, dtype=float) for name, values in adata.varm.items()},
        "metadata": as_plain({**adata.uns, **{name: np.asarray(adata.obsm[name]) for name in adata.obsm}}),
        "size_factors": stored,
    }
