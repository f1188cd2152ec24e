"""Plots of ambient RNA: the empty droplets, the shares, the profiles, what was removed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from isthmus.plotting._axes import axes_or_new

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from isthmus.ambient.result import AmbientFit


def ambient_knee(umi: np.ndarray, profile: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Barcode-rank curve, both axes logarithmic, with the range of the empty droplets of each batch shaded.

    `umi` holds the counts of each droplet; `profile` is what `ambient_profile` returned.

    Examples
    --------
    >>> import isthmus, numpy as np
    >>> from isthmus.testing import simulate_ambient
    >>> cells, droplets = simulate_ambient(100, 50, seed=1)
    >>> profile = isthmus.ambient_profile(cells, droplets)
    >>> ambient_knee(np.asarray(droplets.X.sum(axis=1)).ravel(), profile).get_ylabel()
    'UMI'
    """
    axes = axes_or_new(ax)
    height = np.sort(np.asarray(umi, dtype=float))[::-1]
    height = height[height > 0]
    axes.plot(np.arange(1, len(height) + 1), height, color="0.3", label="droplets")
    for level, found in profile.attrs.get("empties", {}).items():
        label = f"empty ({found['n_empty']:,})" if level == "all" else f"empty, {level} ({found['n_empty']:,})"
        axes.axhspan(found["min_umi"], found["max_umi"], color="steelblue", alpha=0.2, label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("rank")
    axes.set_ylabel("UMI")
    axes.legend(frameon=False)
    return axes


def ambient_rho(fit: AmbientFit, *, ax: Axes | None = None) -> Axes:
    """Ambient share of the cells, one box per cluster.

    Examples
    --------
    >>> import isthmus
    >>> from isthmus.testing import simulate_ambient
    >>> cells, droplets = simulate_ambient(100, 50, seed=1)
    >>> ambient_rho(isthmus.remove_ambient(cells, droplets=droplets, rho=0.1)).get_ylabel()
    'ambient share (rho)'
    """
    axes = axes_or_new(ax)
    groups = [fit.rho[(fit.cluster == k) & np.isfinite(fit.rho)] for k in range(len(fit.cluster_names))]
    axes.boxplot(groups, showfliers=False)
    axes.set_xticks(np.arange(1, len(groups) + 1), list(fit.cluster_names))
    axes.set_xlabel("cluster")
    axes.set_ylabel("ambient share (rho)")
    return axes


def ambient_native(fit: AmbientFit, cluster: str | None = None, *, ax: Axes | None = None) -> Axes:
    """Ambient against native profile of a cluster (the largest by default), gene by gene, on logarithmic axes.

    Genes without native counts sit on the left edge.

    Examples
    --------
    >>> import isthmus
    >>> from isthmus.testing import simulate_ambient
    >>> cells, droplets = simulate_ambient(100, 50, seed=1)
    >>> ambient_native(isthmus.remove_ambient(cells, droplets=droplets, labels="type"), "type1").get_title()
    'type1'
    """
    from isthmus.data.wording import did_you_mean
    from isthmus.errors import InputError

    names = list(map(str, fit.cluster_names))
    if cluster is not None and cluster not in names:
        msg = f"`cluster` must be one of the fit's clusters; got {cluster!r}. {did_you_mean(str(cluster), names)}"
        raise InputError(msg)
    k = int(np.argmax(np.bincount(fit.cluster))) if cluster is None else names.index(cluster)
    axes = axes_or_new(ax)
    native, ambient = fit.native[k], fit.ambient.mean(axis=0)
    seen = (native > 0) | (ambient > 0)
    low = [values[values > 0].min() / 2 for values in (native, ambient)]
    axes.scatter(np.maximum(native[seen], low[0]), np.maximum(ambient[seen], low[1]), s=8, color="0.3")
    both = [max(low), min(native.max(), ambient.max())]
    axes.plot(both, both, color="firebrick", linewidth=1)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("native profile")
    axes.set_ylabel("ambient profile")
    axes.set_title(names[k])
    return axes


def ambient_genes(fit: AmbientFit, *, n: int = 20, ax: Axes | None = None) -> Axes:
    """The genes from which most counts were removed: observed counts, and the part that is ambient.

    Examples
    --------
    >>> import isthmus
    >>> from isthmus.testing import simulate_ambient
    >>> cells, droplets = simulate_ambient(100, 50, seed=1)
    >>> len(ambient_genes(isthmus.remove_ambient(cells, droplets=droplets, labels="type"), n=5).get_yticklabels())
    5
    """
    axes = axes_or_new(ax)
    genes = fit.table("genes").groupby("gene", sort=False)[["observed", "removed"]].sum()
    top = genes.sort_values("removed", ascending=False, kind="stable").head(n)[::-1]
    axes.barh(np.arange(len(top)), top["observed"], color="0.8", label="observed")
    axes.barh(np.arange(len(top)), top["removed"], color="firebrick", label="removed")
    axes.set_yticks(np.arange(len(top)), list(top.index))
    axes.set_xlabel("counts")
    axes.legend(frameon=False)
    return axes


def ambient_loss(fit: AmbientFit, *, ax: Axes | None = None) -> Axes:
    """Log-likelihood per count of each step, less the last.

    Examples
    --------
    >>> import isthmus
    >>> from isthmus.testing import simulate_ambient
    >>> cells, droplets = simulate_ambient(100, 50, seed=1)
    >>> ambient_loss(isthmus.remove_ambient(cells, droplets=droplets, labels="type")).get_xlabel()
    'iteration'
    """
    axes = axes_or_new(ax)
    history = fit.table("history")
    gain = (history["log_likelihood"] - history["log_likelihood"].iloc[-1]) / fit.observed_umi.sum()
    axes.plot(history["iteration"], gain, marker="o", color="0.3")
    axes.set_xlabel("iteration")
    axes.set_ylabel("log-likelihood per count, less the last")
    return axes
