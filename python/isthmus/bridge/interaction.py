"""The interaction model's functions as R calls them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from isthmus.bridge.answers import answers, orientation_of_r
from isthmus.bridge.counts import counts_of_r
from isthmus.bridge.plain import as_columns
from isthmus.bridge.state import with_state
from isthmus.bridge.torch_in_r import import_torch
from isthmus.bridge.wire import (
    Wire,
    as_labelled,
    as_number,
    read_column,
    read_frame,
    read_matrix,
    read_names,
    whole_columns,
    whole_numbers,
)
from isthmus.data import counts as counts_module


def tissue_of_r(data: Any, cells: Wire | None) -> Any:
    """Expression with the cells' data beside it; a Python object that R holds as it is."""
    if not isinstance(data, Mapping) or "dim" not in data:
        return data
    names = read_names(data.get("cells"))
    frame = pd.DataFrame(index=names) if cells is None else whole_columns(read_frame(cells, names))
    with orientation_of_r():
        return counts_module.read_matrix(read_matrix(data), cell_data=frame, gene_names=read_names(data.get("genes")))


def per_cell_of_r(wire: Any) -> Any:
    """A column's name or a number as it is; one value per cell, with the cells' names where R had some."""
    if not isinstance(wire, Mapping) or wire.get("kind") != "per_cell":
        return as_number(wire)
    values = whole_numbers(read_column(wire["column"]))
    rows = read_names(wire.get("rows"))
    return values if rows is None else pd.Series(values, index=rows)


def option_of_r(value: Any) -> Any:
    """5.0 means 5, in lists and named lists too; a wired vector is one value per cell."""
    if isinstance(value, Mapping):
        if value.get("kind") == "per_cell":
            return per_cell_of_r(value)
        return {str(name): option_of_r(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [option_of_r(item) for item in value]
    return as_number(value)


def _covariates_of_r(wire: Any) -> Any:
    return whole_columns(read_frame(wire)) if isinstance(wire, Mapping) else wire


def _tissue_arguments(wired: Mapping[str, Any]) -> dict[str, Any]:
    """What says where and what the cells are, of those arguments that came."""
    readers = {
        "labels": per_cell_of_r,
        "sample": per_cell_of_r,
        "coordinates": as_labelled,
        "covariates": _covariates_of_r,
        "cell_radius": per_cell_of_r,
        "layer": lambda given: given,
    }
    return {name: readers[name](value) for name, value in wired.items()}


@answers
def fit_interactions(
    data: Any, cells: Wire | None = None, *, options: Any = None, progress: bool | None = None, **tissue: Any
) -> dict[str, Any]:
    """Fit the model, and return the engine's fit beside its plain state."""
    from isthmus.interaction import fit_interactions as fit

    import_torch()
    given = option_of_r(options) if isinstance(options, Mapping) else {}  # R's empty list crosses as []
    return with_state(fit(tissue_of_r(data, cells), **_tissue_arguments(tissue), **given, progress=progress))


@answers
def stable_size_factors(counts: Any, cells: Wire | None, *, labels: Any, layer: str | None = None) -> dict[str, Any]:
    """Size factors, with the cells' names."""
    from isthmus.interaction import stable_size_factors as factors

    sizes = factors(counts_of_r(counts, cells, None, layer), labels=per_cell_of_r(labels))
    return {"cells": list(sizes.index), "sizes": sizes.to_numpy()}


@answers
def transfer(fit: Any, data: Any, cells: Wire | None = None, *, means: str = "fit", **tissue: Any) -> dict[str, Any]:
    """The fit's networks on new cells: a fit of those, beside its plain state."""
    return with_state(fit.transfer(tissue_of_r(data, cells), **_tissue_arguments(tissue), means=means))


@answers
def interaction_table(fit: Any, name: str, **options: Any) -> dict[str, Any]:
    """The table that a function of ``isthmus.interaction`` gives for a fit, as columns."""
    function = getattr(import_module("isthmus.interaction"), name)
    return as_columns(function(fit, **{key: option_of_r(value) for key, value in options.items()}))


@answers
def interaction_matrix_of(effects: Wire, **options: Any) -> dict[str, Any]:
    """`interaction_matrix` of a table of effects that R has."""
    from isthmus.interaction import interaction_matrix

    return as_columns(interaction_matrix(read_frame(effects), **options))


@answers
def predict_interactions(fit: Any, *, neighbors: bool = True) -> dict[str, Any]:
    """Predicted expression, genes x cells."""
    predicted = fit.predict(neighbors=neighbors)
    return {
        "values": predicted.to_numpy(dtype=float).T,
        "genes": list(predicted.columns),
        "cells": list(predicted.index),
    }


@answers
def simulate_interactions(*, interactions: Any = None, **options: Any) -> dict[str, Any]:
    """A simulated tissue, genes x cells, and its truth."""
    from isthmus.testing import simulate_interactions as simulate

    planted = (
        whole_columns(read_frame(interactions))
        if isinstance(interactions, Mapping) and "columns" in interactions
        else option_of_r(interactions)
    )
    adata = simulate(interactions=planted, **{name: option_of_r(value) for name, value in options.items()})
    return {
        "assays": {"counts": _slots(adata.layers["counts"]), "logcounts": _slots(adata.X)},
        "genes": list(map(str, adata.var_names)),
        "cells": list(map(str, adata.obs_names)),
        "obs": as_columns(adata.obs),
        "var": as_columns(adata.var),
        "spatial": np.asarray(adata.obsm["spatial"], dtype=float),
        "truth": as_columns(adata.uns["simulate_interactions"]),
    }


@answers
def recovery(fit: Any, truth: Wire, *, fdr: float = 0.05) -> dict[str, Any]:
    """What a fit finds of the planted interactions, as columns."""
    from isthmus.testing import recovery as recovered

    return as_columns(recovered(fit, read_frame(truth), fdr=fdr))


def _slots(matrix: Any) -> dict[str, Any]:
    """A cells x genes matrix as the slots of a genes x cells ``dgCMatrix``."""
    rows = sparse.csr_matrix(matrix)
    rows.sort_indices()
    return {
        "p": rows.indptr.astype(np.int32),
        "i": rows.indices.astype(np.int32),
        "x": rows.data.astype(float),
    }
