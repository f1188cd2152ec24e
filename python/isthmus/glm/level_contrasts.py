"""Every pair of levels of a factor, and each level against the rest: many contrasts of one fit."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from isthmus.data.wording import did_you_mean, some
from isthmus.errors import InputError
from isthmus.glm.hypothesis import Hypothesis, hypothesis_of_rows

if TYPE_CHECKING:
    from isthmus.data.design import Design
    from isthmus.glm.result import GlmFit

Rest = Literal["mean", "pooled"]


def pairs_of_levels(fit: GlmFit, model: str, factor: str) -> list[Hypothesis]:
    """``b - a`` for each pair of levels a before b."""
    levels, rows, _ = _level_rows(fit.submodel(model).design, factor, "pairwise")
    return [
        hypothesis_of_rows(fit, model, rows[j] - rows[i], f"{levels[j]} - {levels[i]}")
        for i, j in combinations(range(len(levels)), 2)
    ]


def levels_against_rest(fit: GlmFit, model: str, factor: str, rest: Rest) -> list[Hypothesis]:
    """Each level minus the mean of the others, unweighted ("mean") or weighted by their numbers of cells ("pooled")."""
    levels, rows, sizes = _level_rows(fit.submodel(model).design, factor, "versus_rest")
    out = []
    for i, level in enumerate(levels):
        weights = np.ones(len(levels)) if rest == "mean" else sizes.astype(float)
        weights[i] = 0
        out.append(hypothesis_of_rows(fit, model, rows[i] - weights @ rows / weights.sum(), f"{level} - rest"))
    return out


def _level_rows(design: Design, factor: str, argument: str) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Levels, what each adds to the linear predictor ``(levels, p)``, and its number of cells."""
    _check_factor(design, factor, argument)
    assert design.frame is not None
    column = design.frame[factor]
    levels, codes = [str(level) for level in column.cat.categories], column.cat.codes.to_numpy()
    sizes = np.bincount(codes, minlength=len(levels))
    rows = np.zeros((len(levels), len(design.names)))
    columns = list(design.terms[factor])
    for level in range(len(levels)):
        rows[level, columns] = design.matrix[np.flatnonzero(codes == level)[0], columns]
    return levels, rows, sizes


def _check_factor(design: Design, factor: str, argument: str) -> None:
    if design.frame is None or design.formula is None:
        msg = f"`{argument}` needs a formula as design, to take the levels from; got a matrix. Use `contrast`."
        raise InputError(msg)
    factors = [str(c) for c in design.frame.columns if isinstance(design.frame[c].dtype, pd.CategoricalDtype)]
    if not isinstance(factor, str) or factor not in factors or factor not in design.terms:
        known = [name for name in factors if name in design.terms]
        msg = (
            f"`{argument}` must name a factor that is a term of the formula ({design.formula}); got {factor!r}. "
            f"{did_you_mean(str(factor), known)}"
        )
        raise InputError(msg)
    inside = [label for label in design.terms if factor in label.split(":") and label != factor]
    if inside:
        msg = (
            f"`{argument}` must name a factor without interactions: the difference of its levels is not one number; "
            f"got '{factor}', which is part of {some(inside)}. Use `contrast`."
        )
        raise InputError(msg)
