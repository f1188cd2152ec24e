"""Functions of a fit of the network as R calls them: matrices go back genes x cells, as R has them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from isthmus import ambient
from isthmus.bridge.ambient import _labels, experiment_of_r
from isthmus.bridge.answers import answers
from isthmus.bridge.plain import as_columns, slots
from isthmus.bridge.wire import Wire, as_number, as_strings

_BY_GENE = ("normalized_expression", "likelihood_parameters")  # cells x genes in Python
_LABELS = ("groupby", "sample")


@answers
def ask_scar(fit: Any, function: str, *, cells: Wire | None = None, **options: Any) -> dict[str, Any]:
    """The answer of `isthmus.ambient`'s function of that name, as a table, matrices, vectors or slots."""
    given = {name: as_number(value) for name, value in options.items()}
    for name in _LABELS:
        if name in given:
            given[name] = _labels(given[name])
    if given.get("genes") is not None:
        given["genes"] = list(as_strings(given["genes"]))
    if cells is not None:
        given["cells"] = experiment_of_r(cells, "cells")
    return _plain(getattr(ambient, function)(fit, **given), turned=function in _BY_GENE)


def _plain(value: Any, *, turned: bool) -> dict[str, Any]:
    if isinstance(value, dict):
        return {"kind": "list", "items": {name: _plain(item, turned=turned) for name, item in value.items()}}
    if isinstance(value, list):
        return {"kind": "list", "items": [_plain(item, turned=turned) for item in value]}
    if sparse.issparse(value):
        return {"kind": "sparse"} | slots(value)
    if isinstance(value, pd.Series):
        return {"kind": "vector", "values": value.to_numpy(dtype=float), "names": [str(name) for name in value.index]}
    if isinstance(value.index, pd.RangeIndex):
        return {"kind": "table", "columns": as_columns(value)}
    frame = value.T if turned else value
    return {
        "kind": "matrix",
        "values": np.ascontiguousarray(frame.to_numpy(dtype=float)),
        "rows": [str(name) for name in frame.index],
        "columns": [str(name) for name in frame.columns],
    }
