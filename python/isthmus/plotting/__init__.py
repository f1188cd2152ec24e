"""Plots of results; each function returns matplotlib Axes and computes nothing. Needs the extra ``isthmus[plot]``."""

from isthmus.plotting.ambient import ambient_genes, ambient_knee, ambient_loss, ambient_native, ambient_rho
from isthmus.plotting.factors import factor_ribbons, fitted_observed, loading_heatmap, news_bars, scree
from isthmus.plotting.glm import mean_dispersion, volcano

__all__ = [
    "ambient_genes",
    "ambient_knee",
    "ambient_loss",
    "ambient_native",
    "ambient_rho",
    "factor_ribbons",
    "fitted_observed",
    "loading_heatmap",
    "mean_dispersion",
    "news_bars",
    "scree",
    "volcano",
]
