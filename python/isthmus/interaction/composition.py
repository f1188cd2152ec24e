"""Size factors that the genes an interaction moves do not enter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.sparse.linalg import ArpackError, LinearOperator, svds

from isthmus.data.columns import labels_per_cell
from isthmus.data.counts import Counts, read_counts
from isthmus.data.wording import cells_where, plural, some
from isthmus.errors import InputError
from isthmus.messages import tell

_FEWEST_GENES = 10
_FEWEST_COUNTS = 10  # of a gene in a type: below that its variance says nothing
_OUTLYING = 3.0  # robust standard deviations
_ROUNDS = 10
_DIRECTIONS = 3


def stable_size_factors(
    data: Any, *, labels: Any, layer: str | None = None, cell_data: pd.DataFrame | None = None
) -> pd.Series:
    """Size factors of cells from the genes that do not vary within cell types more than genes commonly do.

    Where neighbours raise some genes of a cell, its total rises too, and the share of every other gene falls: these
    falls are true of shares, and `neighbor_effects` finds them, but nothing acts on those genes. With
    ``log1p(counts / size factor)`` by these factors the genes that are not acted on stay where they are.

    1. Sizes are the sums of the kept genes. In each type a gene's mean is in proportion to them.
    2. Pearson's statistic of a gene, summed over types, is compared with its expectation under the median gene's
       overdispersion, in units of its standard deviation for counts (and of the spread among genes, if that is
       larger).
    3. Genes more than 3 units above are left out, and so on until the same genes stay.
    4. This starts from all genes, and from those on either side of the three directions in which residuals within
       types vary most. The end at which the median gene is least overdispersed is taken.

    Not more than half of the genes may be moved: what counts as common is the median gene.

    Parameters
    ----------
    data
        Counts: AnnData, DataFrame, ndarray or sparse matrix, cells x genes.
    labels
        Cell types: a column of ``obs``, or one label per cell.
    layer
        AnnData layer to use instead of ``X``.
    cell_data
        Takes the place of ``obs``.

    Returns
    -------
    Series
        One factor per cell, their mean 1. A message names the genes that were left out.

    Raises
    ------
    InputError
        What is no count; labels that do not fit the cells; fewer than 10 genes left; a cell without any count of them.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> counts = rng.poisson(3.0, (200, 20))
    >>> counts[:50, 0] *= 20
    >>> stable_size_factors(counts, labels=["a"] * 200).round(1).iloc[0] < 1.5
    True
    """
    counts = data if isinstance(data, Counts) else read_counts(data, layer=layer, cell_data=cell_data)
    codes, types = labels_per_cell(labels, counts, "labels")
    matrix = sparse.csr_matrix(counts.matrix, dtype=np.float64)
    kept = _stable_genes(matrix, codes, len(types))
    if kept.sum() < _FEWEST_GENES:
        msg = (
            f"`data` must have {_FEWEST_GENES} genes or more that do not vary within cell types; got "
            f"{plural(int(kept.sum()), 'gene')} of {counts.n_genes}. Pass more genes, or use the cells' totals."
        )
        raise InputError(msg)
    sizes = matrix @ kept.astype(float)
    if not sizes.all():
        where = cells_where(sizes == 0, counts.cell_names)
        msg = f"Cells of `data` must have counts of the genes that stay; got {where} without. Drop those cells."
        raise InputError(msg)
    if not kept.all():
        tell(
            f"`data`: {plural(int((~kept).sum()), 'gene')} of {counts.n_genes} left out of the size factors, for "
            f"varying within cell types: {some(counts.gene_names[~kept])}."
        )
    return pd.Series(sizes / sizes.mean(), index=pd.Index(counts.cell_names), name="size_factor")


def _stable_genes(matrix: sparse.csr_matrix, codes: np.ndarray, n_types: int) -> np.ndarray:
    """Of the sets of genes that several starts lead to, the one under which the median gene is least overdispersed.

    All genes are a bad start where many are moved: the totals then move with them, and both look alike.
    """
    everything = np.ones(matrix.shape[1], dtype=bool)
    starts = [everything, *_sides(matrix, codes, n_types)]
    found = [_settled(matrix, codes, n_types, start) for start in starts]
    return min(found, key=lambda pair: pair[1])[0]


def _settled(matrix: sparse.csr_matrix, codes: np.ndarray, n_types: int, kept: np.ndarray) -> tuple[np.ndarray, float]:
    """Leave out genes in turn until the same genes stay; the overdispersion of the median gene then."""
    common = np.inf
    for _ in range(_ROUNDS):
        excess, common = _excess(matrix, codes, n_types, matrix @ kept.astype(float))
        before, kept = kept, excess <= _OUTLYING
        if not kept.any() or (kept == before).all():
            break
    return kept, common


def _sides(matrix: sparse.csr_matrix, codes: np.ndarray, n_types: int) -> list[np.ndarray]:
    """Genes on either side of the directions in which residuals within types vary most: what rises together, and what
    falls for it, lie on different sides."""
    n_cells, n_genes = matrix.shape
    n_directions = min(_DIRECTIONS, min(n_cells, n_genes) - 1)
    sizes = np.asarray(matrix.sum(axis=1)).ravel()
    if n_directions < 1 or not sizes.any():
        return []
    member = sparse.csr_matrix((np.ones(n_cells), (np.arange(n_cells), codes)), shape=(n_cells, n_types))
    rates = (member.T @ matrix).toarray() / np.maximum(member.T @ sizes, 1.0)[:, None]  # types x genes
    root = np.sqrt(rates)
    inverse = np.divide(1.0, root, out=np.zeros_like(root), where=root > 0)
    rows = np.repeat(np.arange(n_cells), np.diff(matrix.indptr))
    weight = inverse[codes[rows], matrix.indices] / np.sqrt(np.maximum(sizes, 1.0))[rows]
    scaled = sparse.csr_matrix((matrix.data * weight, matrix.indices, matrix.indptr), shape=matrix.shape)
    expected = member.multiply(np.sqrt(sizes)[:, None]).tocsr()  # residual = scaled - expected @ root
    residuals = LinearOperator(
        (n_cells, n_genes),
        matvec=lambda v: scaled @ v - expected @ (root @ v),
        rmatvec=lambda u: scaled.T @ u - root.T @ (expected.T @ u),
        dtype=np.float64,
    )
    start = np.random.default_rng(0).standard_normal(min(n_cells, n_genes))
    try:
        directions = svds(residuals, k=n_directions, v0=start, return_singular_vectors="vh")[2]
    except ArpackError:  # nothing varies within types, or no direction stands out
        return []
    return [side for direction in directions[::-1] for side in (direction > 0, direction < 0)]


def _excess(matrix: sparse.csr_matrix, codes: np.ndarray, n_types: int, sizes: np.ndarray) -> tuple[np.ndarray, float]:
    """How far each gene's Pearson statistic lies above the median gene's, in standard deviations, ``(n_genes,)``; 0
    where there are too few counts to tell. And the median gene's overdispersion.

    Of a count with mean mu and overdispersion alpha, (count - mu)^2 / mu has the mean 1 + alpha mu, and for
    alpha = 0 the variance 2 + 1 / mu.
    """
    n_genes = matrix.shape[1]
    statistic, freedom, total, variance = (np.zeros(n_genes) for _ in range(4))
    for code in range(n_types):
        cells = np.flatnonzero((codes == code) & (sizes > 0))
        part, own = matrix[cells], sizes[cells]
        sums = np.asarray(part.sum(axis=0)).ravel()
        rate = np.where(sums >= _FEWEST_COUNTS, sums / max(own.sum(), 1.0), np.nan)  # of the mean over the size
        squares = np.bincount(part.indices, part.data**2 / np.repeat(own, np.diff(part.indptr)), minlength=n_genes)
        known = np.isfinite(rate)
        statistic += np.where(known, squares / rate - sums, 0)
        freedom += np.where(known, len(cells) - 1, 0)
        total += np.where(known, sums, 0)
        variance += np.where(known, 2 * len(cells) + (1 / own).sum() / rate, 0)
    informed = freedom > 0
    if not informed.any():
        return np.zeros(n_genes), 0.0
    freedom, total, variance = freedom[informed], total[informed], variance[informed]
    alpha = max(0.0, float(np.median((statistic[informed] - freedom) / total)))
    inflation = 1 + alpha * total / freedom
    z = (statistic[informed] - freedom - alpha * total) / (np.sqrt(variance) * inflation)
    spread = max(1.0, 1.4826 * float(np.median(np.abs(z - np.median(z)))))
    out = np.zeros(n_genes)
    out[informed] = z / spread
    return out, alpha
