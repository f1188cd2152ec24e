"""`pseudobulk`: the counts of groups of cells, summed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from isthmus.data.counts import Counts, open_counts
from isthmus.data.stored import pieces
from isthmus.data.wording import did_you_mean, plural, some
from isthmus.errors import InputError
from isthmus.glm.threads import check_whole
from isthmus.messages import tell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData


def pseudobulk(data: Any, by: str | Sequence[str], *, layer: str | None = None, min_cells: int = 10) -> AnnData:
    """Sum the counts of the cells of each group, one row a group.

    Cells of one donor are not independent, so tests between donors that take cells for replicates reject far too
    often. Sums over the donor's cells are one observation each; test them with ``test_glm(method="qlf")``.

    Parameters
    ----------
    data
        Counts with cell data: an AnnData.
    by
        Columns of the cells' data, such as ``["donor", "condition"]``; every combination that occurs is a group.
    layer
        AnnData layer instead of ``X``.
    min_cells
        Groups with fewer cells are left out, and a message says how many. A larger value leaves steadier sums.

    Returns
    -------
    AnnData
        Groups x genes, sums as CSR float64. ``obs`` holds the columns of `by`, ``n_cells``, ``library_size`` (the
        group's total count), and every other column of the cells' data that is constant in each group. Size factors
        are left to `fit_glm`, which takes them from the sums.

    Raises
    ------
    InputError
        No such column, missing labels, no group of `min_cells` cells.

    Examples
    --------
    >>> import isthmus
    >>> adata = isthmus.simulate_counts(60, 3, seed=0)
    >>> adata.obs["donor"] = ["d1", "d2", "d3"] * 20
    >>> isthmus.pseudobulk(adata, "donor").obs["n_cells"].tolist()
    [20, 20, 20]
    """
    from anndata import AnnData

    check_whole("min_cells", min_cells)
    counts = data if isinstance(data, Counts) else open_counts(data, layer=layer)
    columns = _columns(by, counts)
    assert counts.cell_data is not None
    table = counts.cell_data
    group, first = _groups(table, columns, counts)
    sizes = np.bincount(group)
    kept = np.flatnonzero(sizes >= min_cells)
    if not kept.size:
        msg = f"`min_cells` must leave a group; the largest has {plural(int(sizes.max()), 'cell')}, got {min_cells}."
        raise InputError(msg)
    if kept.size < sizes.size:
        left = table.iloc[first[sizes < min_cells]][columns].astype(str).agg("_".join, axis=1)
        tell(f"`min_cells`: {plural(len(left), 'group')} with fewer than {min_cells} cells left out ({some(left)}).")
    summed = _sums(_indicator(group, kept), counts.matrix)
    obs = _obs(table, columns, group, first[kept], kept)
    obs["n_cells"] = sizes[kept].astype(np.int64)
    obs["library_size"] = summed.sum(axis=1)
    return AnnData(sparse.csr_matrix(summed), obs=obs, var=pd.DataFrame(index=pd.Index(counts.gene_names)))


def _columns(by: Any, counts: Counts) -> list[str]:
    names = [by] if isinstance(by, str) else list(by)
    known = [] if counts.cell_data is None else [str(name) for name in counts.cell_data.columns]
    if not names or len(set(names)) < len(names):
        msg = f"`by` must name one or more columns of the cells' data, each once; got {names}."
        raise InputError(msg)
    for name in names:
        if name not in known:
            msg = f"`by` must name columns of the cells' data; there is no column '{name}'. {did_you_mean(name, known)}"
            raise InputError(msg)
        missing = int(counts.cell_data[name].isna().sum()) if counts.cell_data is not None else 0
        if missing:
            msg = f"`by` must not be missing; column '{name}' has {plural(missing, 'missing value')}. Drop those cells."
            raise InputError(msg)
    return names


def _groups(table: pd.DataFrame, columns: list[str], counts: Counts) -> tuple[np.ndarray, np.ndarray]:
    """The group of each cell, from 0 in the order of the columns' levels, and a first cell of each group."""
    group = table.groupby(columns, observed=True, sort=True).ngroup().to_numpy()
    first = np.unique(group, return_index=True)[1]
    assert len(group) == counts.n_cells
    return group, first


def _indicator(group: np.ndarray, kept: np.ndarray) -> sparse.csr_matrix:
    place = np.full(int(group.max()) + 1, -1)
    place[kept] = np.arange(len(kept))
    cells = np.flatnonzero(place[group] >= 0)
    ones = np.ones(len(cells))
    return sparse.csr_matrix((ones, (place[group[cells]], cells)), shape=(len(kept), len(group)))


def _sums(indicator: sparse.csr_matrix, matrix: sparse.csr_matrix) -> np.ndarray:
    """Sums of the groups, ``(n_groups, n_genes)``, over pieces of the matrix: it may lie in a file."""
    out, by_cell = np.zeros((indicator.shape[0], matrix.shape[1])), indicator.tocsc()
    for rows, columns, piece in pieces(matrix):
        out[:, columns] += (by_cell[:, rows] @ piece.astype(np.float64)).toarray()
    return out


def _obs(
    table: pd.DataFrame, columns: list[str], group: np.ndarray, first: np.ndarray, kept: np.ndarray
) -> pd.DataFrame:
    """The columns of `by`, then those that are constant within every kept group."""
    inside = np.isin(group, kept)
    others = [name for name in table.columns if name not in columns and name != "size_factors"]
    constant = [name for name in others if _is_constant(table[name][inside], group[inside])]
    obs = table.iloc[first][[*columns, *constant]].copy()
    for name in obs.columns:
        if isinstance(obs[name].dtype, pd.CategoricalDtype):
            obs[name] = obs[name].cat.remove_unused_categories()
    obs.index = pd.Index(obs[columns].astype(str).agg("_".join, axis=1).to_numpy(dtype=object))
    return obs


def _is_constant(column: pd.Series, group: np.ndarray) -> bool:
    codes = pd.factorize(column.to_numpy(dtype=object, na_value=None), use_na_sentinel=False)[0]
    low, high = np.full(int(group.max()) + 1, np.iinfo(int).max), np.full(int(group.max()) + 1, -1)
    np.minimum.at(low, group, codes)
    np.maximum.at(high, group, codes)
    seen = high >= 0
    return bool((low[seen] == high[seen]).all())
