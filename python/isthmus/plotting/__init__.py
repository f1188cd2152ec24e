"""Plots of results; each function returns matplotlib Axes and computes nothing. Needs the extra ``isthmus[plot]``."""

from isthmus.plotting.ambient import ambient_genes, ambient_knee, ambient_loss, ambient_native, ambient_rho
from isthmus.plotting.glm import mean_dispersion, volcano

__all__ = [
    "ambient_genes",
    "ambient_knee",
    "ambient_loss",
    "ambient_native",
    "ambient_rho",
    "mean_dispersion",
    "volcano",
]
