"""Axes to draw on, and what to say where matplotlib is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isthmus.errors import MissingDependencyError

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def axes_or_new(ax: Axes | None) -> Axes:
    """The given Axes, or those of a new figure."""
    if ax is not None:
        return ax
    try:
        from matplotlib import pyplot as plt
    except ImportError as error:
        msg = "Plots need matplotlib, which is not installed. Run: pip install 'isthmus[plot]'"
        raise MissingDependencyError(msg) from error
    return plt.subplots(layout="constrained")[1]
