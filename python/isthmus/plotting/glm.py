"""Plots of per-gene models and their tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.errors import InputError
from isthmus.glm.normal import refuse_normal
from isthmus.glm.trend import Trend
from isthmus.plotting._axes import axes_or_new

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from isthmus.glm.result import GlmFit


def volcano(test: pd.DataFrame, *, fdr: float = 0.05, n_labels: int = 10, ax: Axes | None = None) -> Axes:
    """log2 fold change against -log10 p-value; genes below `fdr` in red, the best `n_labels` of them named.

    Genes without a p-value (not converged, all zero) are left out; separated ones stand at their penalised estimate.

    Examples
    --------
    >>> import isthmus, numpy as np
    >>> design = np.column_stack([np.ones(100), np.repeat([0.0, 1.0], 50)])
    >>> fit = isthmus.fit_glm(isthmus.simulate_counts(100, 20, design=design, seed=1), design)
    >>> volcano(isthmus.test_glm(fit, "x2")).get_xlabel()
    'log2 fold change'
    """
    _check_changes(test)
    axes = axes_or_new(ax)
    drawn = _with_place(test)
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


def _with_place(test: pd.DataFrame) -> pd.DataFrame:
    """Rows that have a p-value and a place on the fold-change axis: the penalised estimate where it is infinite."""
    log2fc = test["log2fc"].where(np.isfinite(test["log2fc"]), test["estimate_penalized"] / np.log(2))
    return test.assign(log2fc=log2fc)[test["pval"].notna() & np.isfinite(log2fc)]


def ma(test: pd.DataFrame, *, fdr: float = 0.05, ax: Axes | None = None) -> Axes:
    """Mean count (logarithmic) against log2 fold change; genes below `fdr` in red.

    Examples
    --------
    >>> import isthmus, numpy as np
    >>> design = np.column_stack([np.ones(100), np.repeat([0.0, 1.0], 50)])
    >>> fit = isthmus.fit_glm(isthmus.simulate_counts(100, 20, design=design, seed=1), design)
    >>> ma(isthmus.test_glm(fit, "x2")).get_xscale()
    'log'
    """
    _check_changes(test)
    axes = axes_or_new(ax)
    drawn = _with_place(test)
    hit = drawn["padj"] < fdr
    axes.scatter(drawn["mean"][~hit], drawn["log2fc"][~hit], s=8, color="0.7", label="others")
    axes.scatter(drawn["mean"][hit], drawn["log2fc"][hit], s=12, color="firebrick", label=f"padj < {fdr:g}")
    axes.axhline(0, color="0.3", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xlabel("mean count / size factor")
    axes.set_ylabel("log2 fold change")
    axes.legend(frameon=False)
    return axes


def _check_changes(test: pd.DataFrame) -> None:
    if test["log2fc"].isna().all() and test["pval"].notna().any():
        msg = (
            "`test` must have fold changes; a test of several coefficients at once has none, nor has the normal noise "
            "model. Test one coefficient or one contrast of counts."
        )
        raise InputError(msg)


def p_values(test: pd.DataFrame, *, n_bins: int = 20, ax: Axes | None = None) -> Axes:
    """Histogram of p-values; the line is where they would lie if no gene differed. A slope to the right means a
    dispersion that is too large, a hump on the left of a null comparison cells taken for replicates.

    Examples
    --------
    >>> import isthmus, numpy as np
    >>> design = np.column_stack([np.ones(100), np.repeat([0.0, 1.0], 50)])
    >>> fit = isthmus.fit_glm(isthmus.simulate_counts(100, 20, design=design, seed=1), design)
    >>> p_values(isthmus.test_glm(fit, "x2")).get_xlabel()
    'p-value'
    """
    axes = axes_or_new(ax)
    known = test["pval"].dropna()
    axes.hist(known, bins=n_bins, range=(0, 1), color="0.7", edgecolor="white")
    axes.axhline(len(known) / n_bins, color="firebrick", linewidth=0.8)
    axes.set_xlabel("p-value")
    axes.set_ylabel("genes")
    return axes


def fitted_counts(fit: GlmFit, data: Any, gene: str, *, layer: str | None = None, ax: Axes | None = None) -> Axes:
    """Fitted mean against observed count of the cells of one gene, with the line on which they agree.

    Examples
    --------
    >>> import isthmus
    >>> adata = isthmus.simulate_counts(50, 3, seed=1)
    >>> fitted_counts(isthmus.fit_glm(adata), adata, "gene2").get_title()
    'gene2'
    """
    axes = axes_or_new(ax)
    place = fit.gene_index([gene])[0]
    mean = fit.predict().to_numpy()[:, place]
    observed = mean + fit.residuals(data, type="response", layer=layer).to_numpy()[:, place]
    axes.scatter(mean, observed, s=8, color="0.3")
    axes.axline((0, 0), slope=1, color="firebrick", linewidth=0.8)
    axes.set_xlabel("fitted mean")
    axes.set_ylabel("observed count")
    axes.set_title(gene)
    return axes


def coefficients(
    fit: GlmFit, reference: np.ndarray | pd.DataFrame, *, model: str = "mean", ax: Axes | None = None
) -> Axes:
    """Estimates against reference values (a simulation's truth, another package's), terms x genes as `GlmFit.coef`.

    Examples
    --------
    >>> import isthmus
    >>> adata = isthmus.simulate_counts(50, 3, seed=1)
    >>> fit = isthmus.fit_glm(adata, size_factors=None)
    >>> coefficients(fit, adata.varm["coef"].T).get_ylabel()
    'estimate'
    """
    axes = axes_or_new(ax)
    estimates, other = fit.coef(model), np.asarray(reference, dtype=float)
    if other.shape != estimates.shape:
        got = " x ".join(map(str, other.shape))
        wanted = " x ".join(map(str, estimates.shape))
        msg = f"`reference` must be terms x genes ({wanted}) as fit.coef() is; got {got}."
        raise InputError(msg)
    for row, term in enumerate(estimates.index):
        axes.scatter(other[row], estimates.to_numpy()[row], s=8, label=str(term))
    axes.axline((0, 0), slope=1, color="0.3", linewidth=0.8)
    axes.set_xlabel("reference")
    axes.set_ylabel("estimate")
    axes.legend(frameon=False)
    return axes


def mean_dispersion(fit: GlmFit, *, ax: Axes | None = None) -> Axes:
    """Dispersion alpha against mean count, both logarithmic; genes at the Poisson limit sit on the lower edge. The line
    is the trend of a fit with ``dispersion="trend"``.

    Examples
    --------
    >>> import isthmus
    >>> fit = isthmus.fit_glm(isthmus.simulate_counts(100, 20, seed=1))
    >>> mean_dispersion(fit).get_ylabel()
    'dispersion'
    """
    refuse_normal(fit, "dispersion against mean")
    axes = axes_or_new(ax)
    genes = fit.table("genes")
    genes = genes[genes["mean"] > 0]
    positive = genes["dispersion"] > 0
    axes.scatter(genes["mean"][positive], genes["dispersion"][positive], s=8, color="0.3", label="genes")
    if not positive.all():
        low = genes["dispersion"][positive].min() / 2 if positive.any() else 1e-3
        edge = np.full(int((~positive).sum()), low)
        axes.scatter(genes["mean"][~positive], edge, s=12, marker="v", color="steelblue", label="Poisson limit")
    if "trend" in fit.settings:
        means = np.sort(genes["mean"].to_numpy())
        axes.plot(means, Trend(**fit.settings["trend"]).at(means), color="firebrick", label="trend")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("mean count / size factor")
    axes.set_ylabel("dispersion")
    axes.legend(frameon=False)
    return axes
