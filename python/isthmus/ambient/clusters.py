"""Clusters of cells where no labels are given: split in two where a valley parts the halves, and further if few.

1. Counts per 10,000, log1p, centred; the 2,000 most variable genes; leading 20 principal components.
2. A cluster is cut in two by 2-means along its leading direction (Boley 1998, Data Min. Knowl. Discov. 2:325). The cut
   stands if the density of the cells along the line through both centres has a valley: a long cluster, such as one
   type at many levels of contamination, has none and stays whole.
3. Lloyd's steps over all centres.
4. Where that leaves fewer than 12 clusters, those with the largest spread are cut on, valley or not, as long as both
   halves keep 15 cells and a level: the 20 anchor genes that `isthmus.ambient.level` asks for, and no more ambient
   counts than the whole. (That rule finds the largest share that the counts allow: a cut that raises it has parted the
   genes that held it down.) Panels of under 200 genes stay as they are. Similar types leave no valley, and a cell that
   is unlike its cluster loses native counts as if they were ambient; a cut through one type costs a few per cent of the
   error (5 to 7 % in simulations). Lloyd's steps again, if no level is lost by them.

Nothing is drawn at random but the cells from which the components are learnt, where there are more than 10,000.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from collections.abc import Callable

    from isthmus.ambient.anchored import Anchored

_GENES, _COMPONENTS, _LEARN = 2_000, 20, 10_000
_FEWEST, _FEWEST_OF_MANY = 25, 100  # cells of a cluster: fewer carry no profile, and no level, of their own
_VALLEY = 0.75  # of the lower of both peaks
_MOST = 50  # clusters
_ENOUGH, _FEWEST_FURTHER = 12, 15  # further cuts: clusters, and fewest cells of one
_GENES_FURTHER = 200  # a panel of proteins keeps 20 anchor genes in each half, but the level of so few is blurred
_MAY_RISE = 0.1  # of the ambient counts, by a cut: what chance does to two levels in place of one
_NOISE = 3.0  # standard deviations that the valley must be deep: 2-means looks for gaps, and finds some by chance
_ROUNDS = 25
_GRID = 256  # places of the density


def find_clusters(
    matrix: sparse.csr_matrix,
    umi: np.ndarray,
    n_clusters: int | str,
    seed: int,
    rule: Callable[[np.ndarray], Anchored] | None = None,
) -> np.ndarray:
    """The cluster of each cell, numbered from the largest. Cells without counts join the largest.

    `n_clusters` "auto" splits while there are valleys or too few clusters; a number splits the widest until there are
    so many. `rule` says what the anchor rule makes of a set of cells; without it, "auto" splits at valleys alone.
    """
    labels = np.zeros(matrix.shape[0], dtype=np.intp)
    filled = np.flatnonzero(umi > 0)
    if n_clusters == 1 or len(filled) < 2 * (_FEWEST if n_clusters == "auto" else 1):
        return labels
    scores = _components(matrix, umi, filled, seed)
    if n_clusters == "auto":
        found = _lloyd(scores, _split(scores))
        if rule is not None and matrix.shape[1] >= _GENES_FURTHER:
            found = _cut_further(scores, found, lambda members: rule(filled[members]))
    else:
        found = _lloyd(scores, _split_into(scores, np.zeros(len(scores), dtype=np.intp), int(n_clusters)))
    order = np.argsort(-np.bincount(found), kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    labels[filled] = rank[found]
    return labels


def _components(matrix: sparse.csr_matrix, umi: np.ndarray, filled: np.ndarray, seed: int) -> np.ndarray:
    """``(n_filled, n_components)`` scores."""
    learn = filled
    if len(filled) > _LEARN:
        learn = np.sort(np.random.default_rng(seed).choice(filled, _LEARN, replace=False))
    chosen = _logged(matrix, umi, learn)
    genes = np.sort(np.argsort(-_variance(chosen), kind="stable")[:_GENES])
    chosen = chosen[:, genes]
    centre = np.asarray(chosen.mean(axis=0)).ravel()
    rotation = _rotation(chosen, centre, min(_COMPONENTS, min(chosen.shape) - 1))
    if len(learn) < len(filled):
        parts = [
            _logged(matrix, umi, rows)[:, genes] @ rotation
            for rows in np.array_split(filled, len(filled) // _LEARN + 1)
        ]
        return np.vstack(parts) - centre @ rotation
    return chosen @ rotation - centre @ rotation


def _logged(matrix: sparse.csr_matrix, umi: np.ndarray, rows: np.ndarray) -> sparse.csr_matrix:
    """log1p of the counts of some cells, scaled to the median depth of all."""
    chosen = matrix[rows].astype(np.float32)
    scale = np.median(umi[umi > 0]) / umi[rows]
    chosen.data = np.log1p(chosen.data * np.repeat(scale.astype(np.float32), np.diff(chosen.indptr)))
    return chosen


def _variance(values: sparse.csr_matrix) -> np.ndarray:
    n = values.shape[0]
    mean = np.asarray(values.sum(axis=0, dtype=np.float64)).ravel() / n
    square = np.bincount(values.indices, weights=values.data.astype(np.float64) ** 2, minlength=values.shape[1]) / n
    return np.asarray(square - mean**2)


def _rotation(values: sparse.csr_matrix, centre: np.ndarray, n: int) -> np.ndarray:
    """Leading eigenvectors of the covariance, without making the centred matrix."""
    from scipy.sparse.linalg import LinearOperator, eigsh  # here: it would make `import isthmus` slower

    if n < 1:
        return np.ones((values.shape[1], 1)) / np.sqrt(values.shape[1])
    turned, size = values.T.tocsr(), values.shape

    def times(v: np.ndarray) -> np.ndarray:
        v = np.asarray(v).ravel()
        projected = values @ v - float(centre @ v)
        return np.asarray(turned @ projected - centre * projected.sum())

    operator = LinearOperator((size[1], size[1]), matvec=times, dtype=np.float64)
    if n >= size[1] - 1:
        dense = values.toarray() - centre
        return np.linalg.eigh(dense.T @ dense)[1][:, ::-1][:, :n]
    start = np.random.default_rng(0).standard_normal(size[1])  # ARPACK's own start is not the same each time
    return np.asarray(eigsh(operator, k=n, v0=start, tol=1e-2)[1][:, ::-1])


def _split(scores: np.ndarray) -> np.ndarray:
    """Split every cluster that has a valley, and its halves, until none has."""
    labels, open_clusters, n = np.zeros(len(scores), dtype=np.intp), [0], 1
    fewest = max(_FEWEST, min(len(scores) // 100, _FEWEST_OF_MANY))
    while open_clusters and n < _MOST:
        k = open_clusters.pop()
        members = np.flatnonzero(labels == k)
        half = _halves(scores[members], fewest)
        if half is None or not _has_valley(scores[members], half):
            continue
        labels[members[half]] = n
        open_clusters += [k, n]
        n += 1
    return labels


def _split_into(scores: np.ndarray, labels: np.ndarray, n_clusters: int) -> np.ndarray:
    """Split the cluster with the largest spread until there are `n_clusters`, or none has two halves."""
    return _widest_first(scores, labels, n_clusters, lambda members: _halves(scores[members], 1))


def _cut_further(scores: np.ndarray, labels: np.ndarray, rule: Callable[[np.ndarray], Anchored]) -> np.ndarray:
    """Cut the widest clusters, up to `_ENOUGH`, where both halves keep a level that is known as well."""

    def cut(members: np.ndarray) -> np.ndarray | None:
        half = _halves(scores[members], _FEWEST_FURTHER)
        if half is None or not _as_well_known(rule(members), rule(members[half]) + rule(members[~half])):
            return None
        return half

    def unidentified(found: np.ndarray) -> float:
        return sum(rule(np.flatnonzero(found == k)).unidentified for k in range(int(found.max()) + 1))

    cuts = _widest_first(scores, labels, _ENOUGH, cut)
    moved = _lloyd(scores, cuts)
    return moved if unidentified(moved) <= unidentified(cuts) else cuts


def _as_well_known(whole: Anchored, halves: Anchored) -> bool:
    """Whether two halves have a level where the whole has one, and theirs is on average not higher."""
    if whole.unidentified >= whole.total or halves.unidentified > whole.unidentified:
        return False
    return halves.ambient <= (1 + _MAY_RISE) * whole.ambient


def _widest_first(
    scores: np.ndarray, labels: np.ndarray, n_clusters: int, cut: Callable[[np.ndarray], np.ndarray | None]
) -> np.ndarray:
    """Cut the cluster with the largest spread that `cut` finds two halves for, until there are `n_clusters`."""
    labels, n, whole = labels.copy(), int(labels.max()) + 1, set()
    while n < n_clusters:
        spread = [((scores[labels == k] - scores[labels == k].mean(axis=0)) ** 2).sum() for k in range(n)]
        for k in [k for k in np.argsort(spread)[::-1].tolist() if k not in whole]:
            members = np.flatnonzero(labels == k)
            half = cut(members)
            if half is not None:
                labels[members[half]] = n
                break
            whole.add(k)
        else:
            return labels
        n += 1
    return labels


def _halves(scores: np.ndarray, fewest: int) -> np.ndarray | None:
    """2-means from a cut at the mean of the leading direction; None where a half gets too small."""
    if len(scores) < 2 * fewest:
        return None
    centred = scores - scores.mean(axis=0)
    direction = np.linalg.eigh(centred.T @ centred)[1][:, -1]
    half = centred @ direction > 0
    for _ in range(_ROUNDS):
        if not fewest <= half.sum() <= len(half) - fewest:
            return None
        first, second = scores[~half].mean(axis=0), scores[half].mean(axis=0)
        new = (scores - (first + second) / 2) @ (second - first) > 0
        if (new == half).all():
            break
        half = new
    return half if fewest <= half.sum() <= len(half) - fewest else None


def _has_valley(scores: np.ndarray, half: np.ndarray) -> bool:
    """Whether the density along the line through the centres of both halves dips between its two peaks."""
    first, second = scores[~half].mean(axis=0), scores[half].mean(axis=0)
    place, height = _density(scores @ (second - first))
    at = int(np.clip(np.searchsorted(place, float((first + second) / 2 @ (second - first))), 1, len(place) - 1))
    low, high = int(np.argmax(height[:at])), at + int(np.argmax(height[at:]))
    peak, valley = min(height[low], height[high]), height[low : high + 1].min()
    noise = np.sqrt((peak + valley) / np.sqrt(2))  # a sum of Gaussian kernels has the variance of its squares
    return bool(valley < _VALLEY * peak and peak - valley > _NOISE * noise)


def _density(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A Gaussian kernel density on a grid. Two peaks widen the spread: half of Silverman's bandwidth (1986, 3.31)."""
    low, high = float(values.min()), float(values.max())
    spread = min(float(values.std()), float(np.subtract(*np.quantile(values, [0.75, 0.25]))) / 1.34)
    bandwidth = 0.6 * max(spread, (high - low) * 1e-3, 1e-12) * len(values) ** -0.2
    place = np.linspace(low, high, _GRID)
    counts = np.histogram(values, bins=_GRID, range=(low, max(high, low + 1e-12)))[0]
    return place, np.exp(-(((place[:, None] - place) / bandwidth) ** 2) / 2) @ counts


def _lloyd(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Each cell to its nearest centre, until none moves; centres that lose every cell disappear."""
    for _ in range(_ROUNDS):
        labels = np.unique(labels, return_inverse=True)[1]
        count = np.bincount(labels).astype(float)
        centres = np.stack([np.bincount(labels, weights=column) for column in scores.T], axis=1) / count[:, None]
        new = np.argmin((centres**2).sum(axis=1) - 2 * scores @ centres.T, axis=1)
        if (new == labels).all():
            break
        labels = new
    return np.unique(labels, return_inverse=True)[1]
