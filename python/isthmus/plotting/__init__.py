"""Plots of results; each function returns matplotlib Axes and computes nothing. Needs the extra ``isthmus[plot]``."""

from isthmus.plotting.glm import mean_dispersion, volcano

__all__ = ["mean_dispersion", "volcano"]
