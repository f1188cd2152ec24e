"""Cells and droplets as counts over the same genes, and the batch or label of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from isthmus.data.counts import Counts, match_rows, read_matrix
from isthmus.data.matrix import check_values
from isthmus.data.wording import did_you_mean, plural, some
from isthmus.errors import InputError
from isthmus.messages import collected, tell

if TYPE_CHECKING:
    from collections.abc import Callable


ONE_BATCH = "all"
_BLOCK = 1 << 15  # stored values looked at in one go: temporaries that stay in the cache


def read_whole_counts(data: Any, argument: str, layer: str | None) -> Counts:
    """Counts as `read_counts` reads them, with the caller's name in every sentence; fractions are refused.

    Raises
    ------
    InputError
        As `read_counts`; fractional values; duplicated gene names.
    """
    if isinstance(data, Counts):
        return whole(lambda: data, argument)
    try:
        with collected() as told:
            counts = read_matrix(data, layer=layer if _has_layer(data, layer, argument) else None)
            if check_values(counts.matrix, counts.cell_names, counts.gene_names):
                _refuse_fractions(counts, argument)
        for text in told:
            tell(text)
        return counts
    except InputError as error:
        msg = str(error).replace("`data`", f"`{argument}`").replace("or pass `gene_names`", f"on `{argument}`")
        raise InputError(msg) from None


def whole(read: Callable[[], Counts], argument: str) -> Counts:
    """What `read` returns, with what it says; fractions, which it accepts with a message, are refused instead."""
    with collected() as told:
        counts = read()
    _refuse_fractions(counts, argument)
    for text in told:
        tell(text)
    return counts


def _has_layer(data: Any, layer: str | None, argument: str) -> bool:
    """`layer` names where the cells' counts are; raw droplets mostly have theirs in X, and then that is read."""
    return argument == "cells" or layer in getattr(data, "layers", ())


def _refuse_fractions(counts: Counts, argument: str) -> None:
    values = counts.matrix.data
    if values.dtype.kind != "f":
        return
    for start in range(0, len(values), _BLOCK):
        block = values[start : start + _BLOCK]
        fractional = np.floor(block) != block
        if fractional.any():
            first = float(block[int(np.argmax(fractional))])
            msg = (
                f"`{argument}` must hold whole counts; got fractional values (such as {first:.6g}). Pass raw counts "
                "(`layer`), not normalised or already corrected ones."
            )
            raise InputError(msg)


def positions_of(genes: np.ndarray, available: np.ndarray, argument: str) -> np.ndarray:
    """Where each of `genes` is in `available`, -1 where it is not: a message names those.

    Raises
    ------
    InputError
        No gene in common.
    """
    place = np.asarray(pd.Index(available).get_indexer(pd.Index(genes)))
    lacking = genes[place < 0]
    if len(lacking) == len(genes):
        msg = (
            f"`{argument}` must name the genes of `cells`; it shares none of {len(genes):,} ({some(genes[:4])} against "
            f"{some(available[:4])}). Use the same kind of name, ids or symbols, on both."
        )
        raise InputError(msg)
    if len(lacking):
        tell(
            f"`{argument}` lacks {plural(len(lacking), 'gene')} of `cells` ({some(lacking)}): nothing is removed from "
            f"{'it' if len(lacking) == 1 else 'them'}."
        )
    return place


def read_column(value: Any, counts: Counts, argument: str, owner: str = "cells") -> np.ndarray:
    """One label per row of `counts`, as text: from a column name of its data, or a vector.

    Raises
    ------
    InputError
        No such column; another length; missing labels.
    """
    if isinstance(value, str):
        columns = () if counts.cell_data is None else tuple(map(str, counts.cell_data.columns))
        if value not in columns:
            msg = (
                f"`{argument}` must be a column of `{owner}` or one label per row of it; there is no column '{value}'. "
            )
            raise InputError(msg + did_you_mean(value, columns))
        assert counts.cell_data is not None
        value = counts.cell_data[value]
    if isinstance(value, pd.Series) and not isinstance(value.index, pd.RangeIndex):
        value = value.iloc[match_rows(value.index, counts.cell_names, argument=argument)]
    labels = pd.Series(np.asarray(value, dtype=object).reshape(-1))
    if len(labels) != counts.n_cells:
        msg = f"`{argument}` must have one label per row of `{owner}` ({counts.n_cells:,}); got {len(labels):,}."
        raise InputError(msg)
    if labels.isna().any():
        first = int(np.flatnonzero(labels.isna())[0])
        msg = (
            f"`{argument}` must not be missing; got {plural(int(labels.isna().sum()), 'missing label')} "
            f"('{counts.cell_names[first]}', ...). Label or drop those rows of `{owner}`."
        )
        raise InputError(msg)
    return labels.map(_as_text).to_numpy(dtype=object)


def _as_text(label: Any) -> str:
    """2.0 and 2 are the same label."""
    return str(int(label)) if isinstance(label, (float, np.floating)) and float(label).is_integer() else str(label)


def read_batches(batch: Any, cells: Counts, droplets: Counts | None) -> tuple[np.ndarray, np.ndarray | None]:
    """The batch of every cell and, where there are droplets, of every droplet.

    A column name is looked up on both sides; a mapping holds ``"cells"`` and ``"droplets"``; a vector is that of the
    cells (or of the droplets, where its length says so), and droplets then take it from cells of the same name.
    """
    if batch is None:
        return _one(cells), None if droplets is None else _one(droplets)
    if isinstance(batch, Mapping):
        if set(batch) - {"cells", "droplets"} or "cells" not in batch:
            msg = (
                f"`batch` as a mapping must hold 'cells' and 'droplets'; got {', '.join(map(str, batch)) or 'nothing'}."
            )
            raise InputError(msg)
        of_cells, of_droplets = batch["cells"], batch.get("droplets")
    elif isinstance(batch, str):
        of_cells, of_droplets = batch, batch
    else:
        of_cells, of_droplets = batch, None
    found = read_column(of_cells, cells, "batch", "cells")
    if droplets is None:
        return found, None
    if of_droplets is None:
        msg = (
            "`batch` must say the batch of each droplet too; got one label per cell. Name a column that `cells` and "
            "`droplets` both have, or pass {'cells': ..., 'droplets': ...}."
        )
        raise InputError(msg)
    return found, read_column(of_droplets, droplets, "batch", "droplets")


def _one(counts: Counts) -> np.ndarray:
    return np.full(counts.n_cells, ONE_BATCH, dtype=object)
