"""Plots of per-gene models and their tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from isthmus.errors import InputError
from isthmus.plotting._axes import axes_or_new

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from isthmus.glm.result import GlmFit


def volcano(test: pd.DataFrame, *, fdr: float = 0.05, n_labels: int = 10, ax: Axes | None = None) -> Axes:
    """log2 fold change against -log10 p-value; genes below `fdr` in red, the best `n_labels` of them named.

    Genes without a p-value (separated, not converged, all zero) are left out.

    Examples
    --------
    >>> import isthmus, numpy as np
    >>> design = np.column_stack([np.ones(100), np.repeat([0.0, 1.0], 50)])
    >>> fit = isthmus.fit_glm(isthmus.simulate_counts(100, 20, design=design, seed=1), design)
    >>> volcano(isthmus.test_glm(fit, "x2")).get_xlabel()
    'log2 fold change'
    """
    if test["log2fc"].isna().all() and test["pval"].notna().any():
        msg = (
            "`test` must have fold changes; a test of several coefficients at once has none. Test one coefficient or "
            "one contrast."
        )
        raise InputError(msg)
    axes = axes_or_new(ax)
    drawn = test[test["pval"].notna() & np.isfinite(test["log2fc"])]
    height = -np.log10(drawn["pval"].clip(lower=np.finfo(float).tiny))
    hit = drawn["padj"] < fdr
    axes.scatter(drawn["log2fc"][~hit], height[~hit], s=8, color="0.7", label="others")
    axes.scatter(drawn["log2fc"][hit], height[hit], s=12, color="firebrick", label=f"padj < {fdr:g}")
    for row in height[hit].sort_values(ascending=False).index[:n_labels]:
        axes.annotate(drawn["gene"][row], (drawn["log2fc"][row], height[row]), fontsize=7, ha="center", va="bottom")
    axes.set_xlabel("log2 fold change")
    axes.set_ylabel("-log10 p-value")
    axes.set_title(str(drawn["contrast"].iloc[0]) if len(drawn) else "")
    axes.legend(frameon=False)
    return axes


def mean_dispersion(fit: GlmFit, *, ax: Axes | None = None) -> Axes:
    """Dispersion alpha against mean count, both logarithmic; genes at the Poisson limit sit on the lower edge.

    Examples
    --------
    >>> import isthmus
    >>> fit = isthmus.fit_glm(isthmus.simulate_counts(100, 20, seed=1))
    >>> mean_dispersion(fit).get_ylabel()
    'dispersion'
    """
    axes = axes_or_new(ax)
    genes = fit.table("genes")
    genes = genes[genes["mean"] > 0]
    positive = genes["dispersion"] > 0
    axes.scatter(genes["mean"][positive], genes["dispersion"][positive], s=8, color="0.3", label="genes")
    if not positive.all():
        low = genes["dispersion"][positive].min() / 2 if positive.any() else 1e-3
        edge = np.full(int((~positive).sum()), low)
        axes.scatter(genes["mean"][~positive], edge, s=12, marker="v", color="steelblue", label="Poisson limit")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("mean count / size factor")
    axes.set_ylabel("dispersion")
    axes.legend(frameon=False)
    return axes
