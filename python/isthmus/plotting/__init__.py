"""Plots of results; each function returns matplotlib Axes and computes nothing. Needs the extra ``isthmus[plot]``."""

from isthmus.plotting.factors import factor_ribbons, fitted_observed, loading_heatmap, news_bars, scree
from isthmus.plotting.glm import coefficients, fitted_counts, ma, mean_dispersion, p_values, volcano

__all__ = [
    "coefficients",
    "factor_ribbons",
    "fitted_counts",
    "fitted_observed",
    "loading_heatmap",
    "ma",
    "mean_dispersion",
    "news_bars",
    "p_values",
    "scree",
    "volcano",
]
