"""What a fit of the mixture warns of."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.ambient.em import TOL
from isthmus.ambient.level import FEWEST_ANCHORS
from isthmus.data.wording import plural, some
from isthmus.errors import ConvergenceWarning, IdentifiabilityWarning

if TYPE_CHECKING:
    from isthmus.ambient.levels import Levels


def warn_of_doubts(
    names_of: np.ndarray, umi: float, levels: Levels, settings: dict[str, Any], history: np.ndarray
) -> None:
    """A warning for each: steps that ran out, levels that are not identified, markers that say too much."""
    if not settings["converged"]:
        gain = (history[-1] - history[-2]) / max(umi, 1.0) if len(history) > 1 else np.nan
        warnings.warn(
            f"The EM stopped after {plural(len(history) - 1, 'step')} with a gain of {gain:.1e} per count in the last "
            f"(tolerance: {TOL:g} in three). Raise `max_epochs` ({settings['max_iter']}).",
            ConvergenceWarning,
            stacklevel=3,
        )
    where = np.argwhere(levels.unidentified)
    if len(where):
        names = [str(names_of[k]) for k in dict.fromkeys(where[:, 0])]
        lacking = (
            f"fewer than {FEWEST_ANCHORS} genes have enough ambient counts"
            if levels.source == "anchors"
            else "no marker set is of other cells alone"
        )
        remedy = "`markers` or `rho`, or fewer clusters" if levels.source == "anchors" else "other `markers`, or `rho`"
        warnings.warn(
            f"The level of rho is not identified in {plural(len(names), 'cluster')} ({some(names)}): {lacking}. The "
            f"level of the other cells is taken there, and `rho_se` is NaN. Pass {remedy}.",
            IdentifiabilityWarning,
            stacklevel=3,
        )
    too_high = np.argwhere(np.isfinite(levels.at_most))
    if len(too_high):
        k, b = too_high[0]
        names = [str(names_of[k]) for k in dict.fromkeys(too_high[:, 0])]
        warnings.warn(
            f"`markers` make more of {plural(len(names), 'cluster')} ({some(names)}) ambient than the other genes "
            f"allow: {levels.value[k, b]:.1%} of '{names[0]}', where at most {levels.at_most[k, b]:.1%} can be. Its "
            "cells may express them: check the sets, or leave `markers` out.",
            IdentifiabilityWarning,
            stacklevel=3,
        )
