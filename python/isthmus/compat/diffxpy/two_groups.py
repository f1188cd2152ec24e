"""Welch's t-test and the rank-sum test of two groups of cells in every gene."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import sparse, stats

from isthmus.compat.diffxpy.results import TwoSampleTested
from isthmus.data.counts import Counts

_CELLS_TIMES_GENES = 20_000_000  # numbers made dense at once


def welch(
    counts: Counts, first: np.ndarray, second: np.ndarray, *, is_logged: bool, zero_variance_is_sure: bool
) -> TwoSampleTested:
    """Welch's t-test (Welch 1947, Biometrika 34:28) of rows `second` against rows `first`.

    Two groups without variance and with different means have p = 0, or NaN if `zero_variance_is_sure` is False.
    """
    a, b = (_moments(counts.matrix[rows]) for rows in (first, second))
    result = stats.ttest_ind_from_stats(
        b[0], np.sqrt(b[1]), len(second), a[0], np.sqrt(a[1]), len(first), equal_var=False
    )
    constant = (a[1] == 0) & (b[1] == 0)
    sure = 0.0 if zero_variance_is_sure else np.nan
    pval = np.where(constant, np.where(a[0] == b[0], np.nan, sure), result.pvalue)
    return _result(counts, first, second, a, b, pval, is_logged=is_logged)


def rank_sum(
    counts: Counts, first: np.ndarray, second: np.ndarray, *, is_logged: bool, zero_variance_is_sure: bool
) -> TwoSampleTested:
    """The Mann-Whitney test with ties, normal approximation and continuity correction, two-sided."""
    a, b = (_moments(counts.matrix[rows]) for rows in (first, second))
    pval = np.full(counts.n_genes, np.nan)
    parts = [counts.matrix[rows].tocsc() for rows in (second, first)]
    step = max(1, _CELLS_TIMES_GENES // max(counts.n_cells, 1))
    for start in range(0, counts.n_genes, step):
        genes = slice(start, start + step)
        dense = [part[:, genes].toarray() for part in parts]
        pval[genes] = stats.mannwhitneyu(*dense, alternative="two-sided", method="asymptotic").pvalue
    constant = (a[1] == 0) & (b[1] == 0)
    pval[constant & (a[0] == b[0])] = np.nan
    if not zero_variance_is_sure:
        pval[constant] = np.nan
    return _result(counts, first, second, a, b, pval, is_logged=is_logged)


GroupTest = Callable[..., TwoSampleTested]


def _moments(matrix: sparse.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance (n - 1) of each column, in two passes over the stored values."""
    n = matrix.shape[0]
    mean = np.asarray(matrix.sum(axis=0, dtype=float)).ravel() / n
    stored = matrix.tocsc()
    counts = np.diff(stored.indptr)
    squares = (stored.data - np.repeat(mean, counts)) ** 2
    sums = np.add.reduceat(np.r_[squares, 0.0], stored.indptr[:-1])
    sums[counts == 0] = 0.0
    variance = (sums + (n - counts) * mean**2) / max(n - 1, 1)
    same = stored.max(axis=0).toarray().ravel() == stored.min(axis=0).toarray().ravel()
    return mean, np.where(same, 0.0, variance)


def _result(
    counts: Counts,
    first: np.ndarray,
    second: np.ndarray,
    a: tuple[np.ndarray, np.ndarray],
    b: tuple[np.ndarray, np.ndarray],
    pval: np.ndarray,
    *,
    is_logged: bool,
) -> TwoSampleTested:
    with np.errstate(divide="ignore", invalid="ignore"):
        fold = b[0] - a[0] if is_logged else np.log(b[0]) - np.log(a[0])
    mean = (len(first) * a[0] + len(second) * b[0]) / (len(first) + len(second))
    return TwoSampleTested(counts.gene_names, pval, fold, mean, (a[1] == 0) & (b[1] == 0))
