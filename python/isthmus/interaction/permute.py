"""Permutation nulls through exact low-rank and Gram forms: predictions are never recomputed.

For predictions P = E W' and observations Y, the mean squared error under a permutation of the predictions,

    MSE_pi = (|P|^2 + |Y|^2 - 2 T_pi) / (n G),    T_pi = sum_i <E[pi(i)], (Y W)[i]>,

depends on pi through T_pi alone: n r products, r = columns of E, or n look-ups in the Gram matrix K = E (Y W)'
of each stratum. Permutations stay within strata.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

from isthmus.interaction.nulls import Tested, pearson_iii_tail, untested

if TYPE_CHECKING:
    from collections.abc import Iterator

_LARGEST_GRAM = 1_500  # cells of a stratum; 18 MB, beyond it look-ups miss the cache and the low-rank form is as quick
_DRAWN = 1 << 22  # entries of permutations held at once


def permutation_statistics(
    left: np.ndarray,
    right: np.ndarray,
    strata: np.ndarray,
    n_permutations: int,
    generator: np.random.Generator,
) -> np.ndarray:
    """T_pi of random permutations within strata, for several tests under the same permutations.

    Parameters
    ----------
    left
        ``(n_tests, n, r)`` or ``(n, r)`` E: its rows are permuted.
    right
        ``(n_tests, n, r)`` or ``(n, r)`` Y W (one for all tests).
    strata
        ``(n,)`` codes.
    n_permutations
        B.
    generator
        Where permutations come from.

    Returns
    -------
    ndarray
        ``(B, n_tests)``, or ``(B,)`` for a single test.

    Examples
    --------
    >>> e, f = np.eye(3), np.eye(3)
    >>> permutation_statistics(e, f, np.array([0, 1, 2]), 2, np.random.default_rng(0))  # alone in their strata
    array([3., 3.])
    """
    several = left.ndim == 3
    left = left if several else left[None]
    out = np.zeros((n_permutations, len(left)))
    for _, rows in strata_rows(strata):
        rights = [right[rows]] * len(left) if right.ndim == 2 else [part[rows] for part in right]
        lefts = [part[rows] for part in left]
        if len(rows) <= _LARGEST_GRAM:
            _add_gram(out, lefts, rights, generator)
        else:
            _add_low_rank(out, lefts, rights, generator)
    return out if several else out[:, 0]


def strata_rows(strata: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Code and rows of each stratum."""
    order = np.argsort(strata, kind="stable")
    codes, starts = np.unique(strata[order], return_index=True)
    for code, rows in zip(codes, np.split(order, starts[1:]), strict=True):
        yield int(code), rows


def _permutations(n: int, n_permutations: int, generator: np.random.Generator) -> Iterator[tuple[slice, np.ndarray]]:
    """Chunks of permutations, one a row, of a bounded total size."""
    step = max(1, _DRAWN // n)
    for start in range(0, n_permutations, step):
        stop = min(start + step, n_permutations)
        yield slice(start, stop), generator.permuted(np.tile(np.arange(n, dtype=np.int32), (stop - start, 1)), axis=1)


def _add_gram(
    out: np.ndarray, lefts: list[np.ndarray], rights: list[np.ndarray], generator: np.random.Generator
) -> None:
    n = len(lefts[0])
    grams = [(left @ right.T).astype(np.float64).ravel() for left, right in zip(lefts, rights, strict=True)]
    here = np.arange(n)
    for chunk, drawn in _permutations(n, len(out), generator):
        entries = drawn.astype(np.int64) * n + here
        for test, gram in enumerate(grams):
            out[chunk, test] += gram.take(entries).sum(axis=1)


def _add_low_rank(
    out: np.ndarray, lefts: list[np.ndarray], rights: list[np.ndarray], generator: np.random.Generator
) -> None:
    pairs = [compress(left, right) for left, right in zip(lefts, rights, strict=True)]
    for chunk, drawn in _permutations(len(lefts[0]), len(out), generator):
        for row, order in zip(range(chunk.start, chunk.stop), drawn, strict=True):
            for test, (left, right) in enumerate(pairs):
                out[row, test] += np.vdot(left[order], right)


def compress(left: np.ndarray, right: np.ndarray, tol: float = 1e-6) -> tuple[np.ndarray, np.ndarray]:
    """The fewest columns with the same products: E V and F V for the leading eigenvectors V of E'E.

    One head of 16 dimensions moves the prediction in 17 directions, whatever the width of the model; `tol` is relative
    to the largest singular value.
    """
    values, vectors = np.linalg.eigh(left.T.astype(np.float64) @ left)
    kept = vectors[:, values > tol**2 * max(values[-1], 0.0)]
    return np.ascontiguousarray(left @ kept), np.ascontiguousarray(right @ kept)


def judge_permutations(
    observed: np.ndarray, drawn: np.ndarray, skewness: np.ndarray, sd: np.ndarray, *, variance_factor: np.ndarray
) -> Tested:
    """p = (1 + #{sqrt(c) T_pi >= T}) / (1 + B), and the Pearson III tail of exact moments beside it.

    Parameters
    ----------
    observed, sd, skewness
        ``(n_tests,)`` T, and the exact permutation moments.
    drawn
        ``(B, n_tests)`` T_pi of centred left and right, so that their mean is 0.
    variance_factor
        ``(n_tests,)`` c; see `dependence`.
    """
    result = untested(len(observed))
    ok = sd > 0
    stretch = np.sqrt(variance_factor[ok])
    scale = stretch * sd[ok]
    result.statistic[ok] = observed[ok] / scale
    reached = stretch * drawn[:, ok] >= observed[ok] - 1e-9 * scale
    result.pval[ok] = (1 + reached.sum(axis=0)) / (1 + len(drawn))
    result.pval_approx[ok] = pearson_iii_tail(result.statistic[ok], skewness[ok])
    return result


def exact_moments(left: np.ndarray, right: np.ndarray, strata: np.ndarray) -> tuple[float, float]:
    """Standard deviation and skewness of T_pi over all permutations within strata (Hoeffding 1951).

    Within a stratum of n rows, both sides centred: variance <E'E, F'F> / (n - 1), third central moment
    n / ((n - 1)(n - 2)) sum_ij (E F')_ij^3. Both add over strata.
    """
    variance = third = 0.0
    for _, rows in strata_rows(strata):
        n = len(rows)
        e, f = (part[rows] - part[rows].mean(axis=0) for part in (left.astype(np.float64), right.astype(np.float64)))
        if n > 1:
            variance += float(((e.T @ e) * (f.T @ f)).sum()) / (n - 1)
        if n > 2:
            cubes = sum(float(((e[i : i + 512] @ f.T) ** 3).sum()) for i in range(0, n, 512))
            third += n / ((n - 1) * (n - 2)) * cubes
    return float(np.sqrt(variance)), third / variance**1.5 if variance > 0 else 0.0


def shifted_rows(
    coordinates: np.ndarray, samples: np.ndarray, generator: np.random.Generator, n_shifts: int
) -> Iterator[np.ndarray]:
    """For random toroidal shifts of each sample: the receiver whose prediction lands nearest to each receiver.

    A shift moves all places of a sample by one vector, uniform over the bounding box, and wraps them round it; the
    nearest receiver of the same type stands in for the cell that is not there. So rows may come twice, and the null is
    approximate.
    """
    plane = coordinates[:, :2]
    boxes = []
    for _, rows in strata_rows(samples):
        low, extent = plane[rows].min(axis=0), np.ptp(plane[rows], axis=0)
        boxes.append((rows, low, np.where(extent > 0, extent * (1 + 1e-9), 1.0)))
    trees = [cKDTree(plane[rows] - low, boxsize=extent) for rows, low, extent in boxes]
    for _ in range(n_shifts):
        matched = np.empty(len(plane), dtype=np.int64)
        for (rows, low, extent), tree in zip(boxes, trees, strict=True):
            moved = np.mod(plane[rows] - low + generator.uniform(size=2) * extent, extent)
            matched[rows] = rows[tree.query(moved)[1]]
        yield matched
