"""How exclusive markers are, before and after: the check that needs no truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus import schema
from isthmus.ambient.options import read_markers
from isthmus.ambient.reading import read_whole_counts
from isthmus.data.sums import row_sums
from isthmus.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from isthmus.ambient.result import AmbientFit
    from isthmus.data.counts import Counts


def marker_exclusivity(fit: AmbientFit, cells: Any, markers: Any, *, layer: str | None = None) -> pd.DataFrame:
    """Share of a marker set's counts that lies in other cells than its own, observed and denoised.

    Parameters
    ----------
    fit
        A fit of `cells`.
    cells
        The counts of the fit, passed again.
    markers
        ``{set: genes}``. A set belongs to the cluster of its name, else to every cluster whose native profile holds a
        larger share of it than the ambient profile does (contamination alone lifts no cluster above that), and to the
        one with the largest share in any case.
    layer
        AnnData layer with the counts.

    Returns
    -------
    DataFrame
        set, cluster (joined by ", " where there are several), n_genes, observed, denoised: both shares from 0
        (exclusive) to 1; NaN without counts.

    Raises
    ------
    InputError
        Other cells or genes than those of the fit; unknown genes.

    Examples
    --------
    >>> import isthmus
    >>> from isthmus.testing import simulate_ambient
    >>> cells, droplets = simulate_ambient(300, 100, seed=1)
    >>> fit = isthmus.remove_ambient(cells, droplets=droplets, labels="type")
    >>> sets = {"type1": cells.var_names[cells.var["marker"] == "type1"]}
    >>> score = isthmus.ambient.marker_exclusivity(fit, cells, sets)
    >>> bool((score["denoised"] < score["observed"]).all())
    True
    """
    counts = read_whole_counts(cells, "cells", layer)
    refuse_other_counts(fit, counts)
    sets = read_markers(markers, counts) or {}
    if not sets:
        msg = "`markers` must hold at least one set of genes; got none."
        raise InputError(msg)
    rows = [_score(fit, counts.matrix, name, genes) for name, genes in sets.items()]
    columns = zip(schema.MARKER_EXCLUSIVITY, zip(*rows, strict=True), strict=True)
    return schema.frame(schema.MARKER_EXCLUSIVITY, {name: np.array(values) for name, values in columns})


def refuse_other_counts(fit: AmbientFit, counts: Counts) -> None:
    """The counts of the fit, passed again: same genes, same cells, same sums."""
    same = counts.matrix.shape == fit.denoised.shape and (counts.gene_names == fit.gene_names).all()
    if not (same and np.allclose(row_sums(counts.matrix), fit.observed_umi, rtol=1e-6)):
        msg = (
            f"`cells` must be those of the fit ({fit.n_cells:,} cells x {fit.n_genes:,} genes); got "
            f"{counts.n_cells:,} x {counts.n_genes:,}{'' if not same else ' with other counts'}. Pass the same counts."
        )
        raise InputError(msg)


def _score(fit: AmbientFit, observed: Any, name: str, genes: np.ndarray) -> tuple[str, str, int, float, float]:
    own = _clusters_of(fit, name, genes)
    inside, shares = np.isin(fit.cluster, own), []
    for matrix in (observed, fit.denoised_mean):
        per_cell = np.asarray(matrix[:, genes].sum(axis=1, dtype=np.float64)).ravel()
        total = float(per_cell.sum())
        shares.append(float(per_cell[~inside].sum()) / total if total else np.nan)
    return name, ", ".join(map(str, fit.cluster_names[own])), len(genes), shares[0], shares[1]


def _clusters_of(fit: AmbientFit, name: str, genes: np.ndarray) -> np.ndarray:
    """Numbers of the clusters that a set belongs to: at least one."""
    named = np.flatnonzero(fit.cluster_names == name)
    if len(named):
        return named
    share = fit.native[:, genes].sum(axis=1)
    return np.flatnonzero((share > fit.ambient[:, genes].sum(axis=1).mean()) | (share == share.max()))
