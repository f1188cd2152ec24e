"""Terms that are constant within groups of many cells: the groups may be the replicates, and not the cells."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from isthmus.errors import ReplicateWarning

if TYPE_CHECKING:
    from isthmus.data.design import Design
    from isthmus.glm.hypothesis import Hypothesis
    from isthmus.glm.result import GlmFit

_MANY_CELLS = 20  # in the median group
_INTERCEPTS = ("Intercept", "(Intercept)")
_warned: set[tuple[str, str]] = set()


def nested_terms(design: Design, cell_data: pd.DataFrame | None) -> dict[str, str]:
    """Term -> the coarsest column of labels within whose levels it is constant, and which has more levels than it."""
    found: dict[str, str] = {}
    groupings = [] if cell_data is None else _groupings(cell_data)
    for label, columns in design.terms.items():
        values = design.matrix[:, list(columns)]
        if label in _INTERCEPTS or not len(columns):
            continue
        for name, codes, first in groupings:
            distinct = len(np.unique(values[first], axis=0))
            if distinct < len(first) and np.array_equal(values, values[first][codes]):
                found[label] = name
                break
    return found


def _groupings(cell_data: pd.DataFrame) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Columns of labels with many cells a level: name, level of each cell, a first cell of each level; fewest levels
    first."""
    out = []
    for name, column in cell_data.items():
        labels = isinstance(column.dtype, pd.CategoricalDtype) or column.dtype == object
        codes, levels = pd.factorize(column) if labels else (np.empty(0), [])
        if len(levels) < 3 or (codes < 0).any() or np.median(np.bincount(codes)) < _MANY_CELLS:
            continue
        out.append((str(name), np.asarray(codes), np.unique(codes, return_index=True)[1]))
    return sorted(out, key=lambda grouping: len(grouping[2]))


def warn_nested(fit: GlmFit, tested: Hypothesis) -> None:
    """Once a fit and column: cells of one group are not independent, and this test takes them for replicates."""
    nested = fit.settings.get("nested", {})
    terms = fit.mean_model.design.terms
    if tested.model != "mean":
        return
    for label, column in nested.items():
        touched = label in terms and tested.rows[:, list(terms[label])].any()
        if not touched or (fit.settings["id"], column) in _warned:
            continue
        _warned.add((fit.settings["id"], column))
        msg = (
            f"`replicate`: '{label}' is constant within '{column}', whose levels hold many cells. If they are the "
            f"replicates (donors, samples), cells are not, and p-values are far too small: name them, "
            f"replicate='{column}', or test the sums of pseudobulk()."
        )
        warnings.warn(msg, ReplicateWarning, stacklevel=3)
