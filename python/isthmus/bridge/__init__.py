"""The functions that the R package calls, and the only place that knows R's habits.

R sends arrays, never containers: the p, i and x slots of a genes x cells ``dgCMatrix`` are the cells x genes CSR.
Numbers may come as 5.0 where 5 is meant, a vector of length one comes as a scalar, a longer one as a list. What goes
back are dicts of arrays and lists of text; no pandas object and no Python int above 2**31 - 1 crosses.

Every function answers with a dict: ``{"value": ..., "messages": [...], "warnings": [...]}``, or, where the user can
mend it, ``{"error": {"class": ..., "message": ...}, ...}``. reticulate before 1.41 loses the classes of exceptions, so
ours travel as values. All others pass through: reticulate 1.28 delivers about one Ctrl-C in three as
``RuntimeError('(Unknown exception occurred)')``, which R must see.
"""

from __future__ import annotations

from isthmus.bridge.ambient import (
    ambient_profile,
    droplet_umi,
    marker_exclusivity,
    remove_ambient,
    sensitivity,
    simulate_ambient,
)
from isthmus.bridge.convert import as_anndata, fill, hand_over, take_apart
from isthmus.bridge.factors import (
    diagnostics,
    evaluate_forecasts,
    factor_news,
    fit_factors,
    fitted_series,
    forecast_factors,
    panel_labels,
    select_n_factors,
    series_values,
    simulate_panel,
)
from isthmus.bridge.fits import (
    cell_columns,
    info,
    load_fit,
    need_modules,
    restore,
    save_fit,
    save_strata,
    spin,
    summary,
    table,
)
from isthmus.bridge.glm import (
    check,
    check_design,
    check_frame,
    compare_groups,
    constraint_matrix,
    cooks_distance,
    covariance,
    curve_extremes,
    expressed_genes,
    filter_by_mean,
    fit_glm,
    flag_outliers,
    known_levels,
    match_cells,
    predict,
    proposed_constraints,
    pseudobulk,
    residuals,
    shrink_glm,
    simulate_counts,
    test_glm,
    unknown_columns,
)
from isthmus.bridge.interaction import (
    fit_interactions,
    interaction_matrix_of,
    interaction_table,
    predict_interactions,
    recovery,
    simulate_interactions,
    stable_size_factors,
    transfer,
)
from isthmus.bridge.scar import ask_scar

__all__ = [
    "ambient_profile",
    "as_anndata",
    "ask_scar",
    "cell_columns",
    "check",
    "check_design",
    "check_frame",
    "compare_groups",
    "constraint_matrix",
    "cooks_distance",
    "covariance",
    "curve_extremes",
    "diagnostics",
    "droplet_umi",
    "evaluate_forecasts",
    "expressed_genes",
    "factor_news",
    "fill",
    "filter_by_mean",
    "fit_factors",
    "fit_glm",
    "fit_interactions",
    "fitted_series",
    "flag_outliers",
    "forecast_factors",
    "hand_over",
    "info",
    "interaction_matrix_of",
    "interaction_table",
    "known_levels",
    "load_fit",
    "marker_exclusivity",
    "match_cells",
    "need_modules",
    "panel_labels",
    "predict",
    "predict_interactions",
    "proposed_constraints",
    "pseudobulk",
    "recovery",
    "remove_ambient",
    "residuals",
    "restore",
    "save_fit",
    "save_strata",
    "select_n_factors",
    "sensitivity",
    "series_values",
    "shrink_glm",
    "simulate_ambient",
    "simulate_counts",
    "simulate_interactions",
    "simulate_panel",
    "spin",
    "stable_size_factors",
    "summary",
    "table",
    "take_apart",
    "test_glm",
    "transfer",
    "unknown_columns",
]
