"""Fits by level, of which R keeps a list and the engine a `GlmFits`."""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus.bridge.plain import as_plain
from isthmus.bridge.state import with_state
from isthmus.bridge.wire import as_strings
from isthmus.data.counts import cells_unnamed
from isthmus.glm.result import GlmFit
from isthmus.glm.strata import GlmFits


def strata_of_r(fits: Any, by: str, levels: Any, cells: Any, settings: dict[str, Any]) -> GlmFits:
    """The engine's fits by level of R's lists of fits and of positions of cells (from 0)."""
    names = as_strings(levels)
    at = {name: np.atleast_1d(np.asarray(one)).astype(np.int64) for name, one in zip(names, cells, strict=True)}
    kept = dict(zip(names, fits, strict=True))
    return GlmFits(by, kept, at, _cell_names(kept, at), settings=settings)


def strata_with_state(fits: GlmFits) -> dict[str, Any]:
    """Each level's fit with its state, and what belongs to all of them."""
    return {
        "facts": {"kind": "GlmFits"},
        "by": fits.by,
        "levels": list(fits),
        "n_cells": len(fits.cell_names),
        "cells": [as_plain(fits.cells[level]) for level in fits],
        "fits": [with_state(fit) for fit in fits.values()],
    }


def _cell_names(fits: dict[str, GlmFit], cells: dict[str, np.ndarray]) -> np.ndarray:
    """Names of all cells from those of each level; made-up ones are made up for all."""
    n = sum(len(at) for at in cells.values())
    names = np.array([f"cell{i + 1}" for i in range(n)], dtype=object)
    if not any(cells_unnamed(fit.cell_names) for fit in fits.values()):
        for level, fit in fits.items():
            names[cells[level]] = fit.cell_names
    return names
