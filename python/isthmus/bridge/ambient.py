"""The ambient model's functions as R calls them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

import isthmus
from isthmus.ambient.options import column_of_genes
from isthmus.ambient.reading import whole
from isthmus.bridge.answers import IN_R, answers, reworded
from isthmus.bridge.counts import counts_of_r
from isthmus.bridge.plain import as_codes, as_columns, plain_experiment, slots
from isthmus.bridge.state import with_state
from isthmus.bridge.torch_in_r import import_torch
from isthmus.bridge.wire import Wire, as_number, as_strings, read_column, read_frame, read_names
from isthmus.data import counts as counts_module
from isthmus.data.sums import row_sums
from isthmus.errors import InputError


@answers
def ambient_profile(cells: Wire, droplets: Wire, *, batch: Any = None, **options: Any) -> dict[str, Any]:
    """The profile table as columns, and which droplets each batch's profile came from."""
    profile = isthmus.ambient_profile(
        experiment_of_r(cells, "cells"),
        experiment_of_r(droplets, "droplets"),
        batch=_labels(batch),
        **{name: as_number(value) for name, value in options.items()},
    )
    return {"columns": as_columns(profile), "empties": _empties(profile)}


def _empties(profile: pd.DataFrame) -> dict[str, Any]:
    """One row a batch, which R keeps as the attribute ``empties``."""
    rows = pd.DataFrame.from_dict(profile.attrs["empties"], orient="index").astype(float)
    return as_columns(rows.rename_axis("batch").reset_index())


@answers
def remove_ambient(
    cells: Wire,
    *,
    droplets: Wire | None = None,
    profile: Any = None,
    batch: Any = None,
    labels: Any = None,
    markers: Wire | None = None,
    rho: Any = None,
    **options: Any,
) -> dict[str, Any]:
    """Correct, and return the engine's fit beside its plain state."""
    if options.get("method") == "scar":
        import_torch()
    fit = isthmus.remove_ambient(
        experiment_of_r(cells, "cells"),
        droplets=None if droplets is None else experiment_of_r(droplets, "droplets"),
        profile=_profile(profile, cells),
        batch=_labels(batch),
        labels=_labels(labels),
        markers=None if markers is None else _sets(markers),
        rho=_share(rho),
        **{name: as_number(value) for name, value in options.items()},
    )
    return with_state(fit)


@answers
def marker_exclusivity(fit: Any, cells: Wire, markers: Wire) -> dict[str, Any]:
    """The table of scores as columns."""
    from isthmus.ambient import marker_exclusivity as score

    return as_columns(score(fit, experiment_of_r(cells, "cells"), _sets(markers)))


@answers
def sensitivity(
    fit: Any, cells: Wire, n: Any = 10, *, markers: Wire | None = None, rho: Any = None, seed: Any = 0
) -> dict[str, Any]:
    """The table of spreads as columns."""
    from isthmus.ambient import sensitivity as spread

    table = spread(
        fit,
        experiment_of_r(cells, "cells"),
        n=as_number(n),
        seed=as_number(seed),
        markers=None if markers is None else _sets(markers),
        rho=_share(rho),
    )
    return as_columns(table)


@answers
def droplet_umi(droplets: Wire) -> np.ndarray:
    """UMI of each droplet, which a plot ranks."""
    return row_sums(experiment_of_r(droplets, "droplets").matrix)


def _share(rho: Any) -> Any:
    return float(rho[0]) if isinstance(rho, np.ndarray) and rho.size == 1 else rho


def experiment_of_r(wire: Wire, argument: str) -> counts_module.Counts:
    """Counts whose errors say `argument` where those of a single matrix say `data`."""
    try:
        return whole(lambda: counts_of_r(wire["counts"], wire["cell_data"], None, wire.get("layer")), argument)
    except InputError as error:
        text = reworded(str(error), IN_R).replace(" or pass `gene_names`", "")  # which the models of ambient RNA lack
        raise InputError(re.sub(r"(?<=[`(])data(?=[`)])", argument, text)) from error


def _labels(wire: Any) -> Any:
    """The name of a column, one label per cell, or both for cells and droplets."""
    if not isinstance(wire, Mapping):
        return wire
    return read_column(wire) if "kind" in wire else {name: _labels(item) for name, item in wire.items()}


def _profile(wire: Any, cells: Wire) -> Any:
    if wire is None or isinstance(wire, str):
        return wire if wire is None else column_of_genes(wire, cells["counts"])
    if wire["kind"] == "table":
        return read_frame(wire["table"])
    values, genes = np.asarray(wire["values"], dtype=float).reshape(-1), read_names(wire.get("genes"))
    return values if genes is None else pd.Series(values, index=genes)


def _sets(wire: Wire) -> dict[str, list[str]]:
    names, values = as_strings(wire["names"]), wire["values"]
    return {name: list(as_strings(genes)) for name, genes in zip(names, values, strict=True)}


@answers
def simulate_ambient(**options: Any) -> dict[str, Any]:
    """Cells and droplets, each as `simulate_counts` gives them; the cells with their native counts and markers."""
    from isthmus.testing import simulate_ambient as simulate

    cells, droplets = simulate(**{name: as_number(value) for name, value in options.items()})
    truth = {"native": slots(cells.layers["native"]), "marker": as_codes(cells.var["marker"])}
    return {"cells": plain_experiment(cells) | truth, "droplets": plain_experiment(droplets)}
