"""Plots of results; each function returns matplotlib Axes and computes nothing. Needs the extra ``isthmus[plot]``."""

from isthmus.plotting.ambient import ambient_genes, ambient_knee, ambient_loss, ambient_native, ambient_rho
from isthmus.plotting.factors import factor_ribbons, fitted_observed, loading_heatmap, news_bars, scree
from isthmus.plotting.glm import coefficients, fitted_counts, ma, mean_dispersion, p_values, volcano
from isthmus.plotting.interaction import (
    attention_distance,
    contribution_map,
    explained_variance_bars,
    gene_head_heatmap,
    interaction_graph,
    length_scale_intervals,
    sender_receiver_tiles,
)

__all__ = [
    "ambient_genes",
    "ambient_knee",
    "ambient_loss",
    "ambient_native",
    "ambient_rho",
    "attention_distance",
    "coefficients",
    "contribution_map",
    "explained_variance_bars",
    "factor_ribbons",
    "fitted_counts",
    "fitted_observed",
    "gene_head_heatmap",
    "interaction_graph",
    "length_scale_intervals",
    "loading_heatmap",
    "ma",
    "mean_dispersion",
    "news_bars",
    "p_values",
    "scree",
    "sender_receiver_tiles",
    "volcano",
]
