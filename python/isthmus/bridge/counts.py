"""Counts as R sends them: the slots of a genes x cells matrix, or a Python object that R holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from isthmus.bridge.answers import orientation_of_r
from isthmus.bridge.wire import Wire, read_frame, read_matrix, read_names
from isthmus.data import counts as counts_module


def counts_of_r(
    wire: Any,
    cell_data: Wire | None,
    gene_names: Any = None,
    layer: str | None = None,
    *,
    keep_stored: bool = False,
    any_values: bool = False,
) -> counts_module.Counts:
    """Counts with the checks of ``read_counts``; `wire` is a named list of slots, or a Python object that R holds.

    `gene_names` are names with their mask, as in `read_names`. With `keep_stored` what a Python object has in a file
    stays there, to be read in pieces; with `any_values` the numbers need not be counts.
    """
    in_memory, stored_too = (
        (counts_module.read_values, counts_module.open_values)
        if any_values
        else (counts_module.read_counts, counts_module.open_counts)
    )
    read_any = stored_too if keep_stored else in_memory
    given = read_names(gene_names)
    if not isinstance(wire, Mapping) or "dim" not in wire:
        given = given[0] if given is not None and len(given) == 1 else given  # a column of var
        frame = None if cell_data is None else read_frame(cell_data)
        return read_any(wire, layer=layer, cell_data=frame, gene_names=given)
    # Names of the cells and the cell data travel as one frame, which is what a bare matrix can have beside it.
    cells = read_names(wire.get("cells"))
    frame = pd.DataFrame(index=cells) if cell_data is None else read_frame(cell_data, cells)
    genes = read_names(wire.get("genes")) if given is None else given
    with orientation_of_r():
        read = read_any(read_matrix(wire), cell_data=frame, gene_names=genes)
    stored = wire.get("size_factors")
    return read if stored is None else replace(read, stored_size_factors=np.asarray(stored, dtype=float))
