"""Which droplets are empty: not called cells, and under a bound on their UMI; or SCAR's multinomial rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from isthmus.data.matrix import row_blocks
from isthmus.data.sums import column_sums, row_sums
from isthmus.data.wording import plural
from isthmus.errors import InputError

if TYPE_CHECKING:
    from scipy import sparse

    from isthmus.data.counts import Counts

FEWEST_EMPTIES = 10
_FEWEST_UMI = 100  # a profile from fewer counts than this says nothing about any gene
_STEP = 0.05  # of log10 rank: wide enough that ties and single droplets make no slope of their own
_WINDOW = 4  # steps over which a slope is measured
_TAIL = 0.4  # of log10 rank left out at the end: the tail of the empty droplets falls more steeply than any knee
_LOWEST_KNEE = 10  # UMI: below it, the steps from 3 to 2 to 1 are the steepest of every curve


@dataclass(frozen=True)
class Multinomial:
    """SCAR's rule: keep a droplet while log P(counts | profile) >= n_genes log(prob), and re-estimate."""

    prob: float
    min_raw_counts: int
    iterations: int
    sample: int
    seed: int


def called_cells(cells: Counts, droplets: Counts) -> np.ndarray:
    """Which droplets carry the name of a cell."""
    if not (cells.cells_named and droplets.cells_named):
        return np.zeros(droplets.n_cells, dtype=bool)
    return np.asarray(pd.Index(droplets.cell_names).isin(cells.cell_names))


def refuse_filtered(cells: Counts, droplets: Counts, called: np.ndarray) -> None:
    """A filtered matrix given as the raw one has no droplet left that is not a cell."""
    alike = droplets.n_cells <= cells.n_cells
    if called.all() or (alike and not called.any()):
        reason = "each of them is called a cell" if called.all() else f"`cells` has {cells.n_cells:,}"
        swapped = called.all() and cells.n_cells > droplets.n_cells
        remedy = "Pass the unfiltered counts (raw_feature_bc_matrix)."
        msg = (
            f"`droplets` must be the raw matrix, with the empty droplets; got {plural(droplets.n_cells, 'droplet')}, "
            f"and {reason}. {'Are `cells` and `droplets` swapped?' if swapped else remedy}"
        )
        raise InputError(msg)


def knee_bound(umi: np.ndarray, called: np.ndarray) -> float:
    """UMI at the steepest place of the barcode-rank curve, in log-log: what lies below is empty.

    The curve falls from the cells to the empty droplets; DropletUtils' barcodeRanks calls the place the inflection.
    With called cells the search ends where they do, and the bound stays under half of their median.
    """
    positive = np.sort(umi[umi >= _LOWEST_KNEE])[::-1]
    if len(positive) < FEWEST_EMPTIES:
        return float(umi.max(initial=0.0))
    rank = np.log10(np.arange(1, len(positive) + 1))
    first = np.log10(max(3, called.sum() // 2 if called.any() else len(positive) // 1000))
    grid = np.arange(min(first, rank[-1]), rank[-1] - _TAIL, _STEP)
    height = np.interp(grid, rank, np.log10(positive))
    if len(grid) <= _WINDOW:
        bound = float(positive[-1])
    else:
        steepest = int(np.argmin(height[_WINDOW:] - height[:-_WINDOW]))
        bound = float(10 ** height[steepest + _WINDOW // 2])
    return min(bound, float(np.median(umi[called])) / 2) if called.any() else bound


def empties_by_umi(umi: np.ndarray, excluded: np.ndarray, called: np.ndarray, lower: float | None) -> np.ndarray:
    """Droplets that are not excluded and have from one UMI up to the bound."""
    bound = knee_bound(umi, called) if lower is None else float(lower)
    return (umi > 0) & (umi <= bound) & ~excluded


def empties_by_multinomial(
    matrix: sparse.csr_matrix, umi: np.ndarray, candidates: np.ndarray, rule: Multinomial
) -> np.ndarray:
    """SCAR's rule on sparse counts: log P = log N! - sum log x! + sum x log p, over the stored values only."""
    keep = candidates & (umi >= rule.min_raw_counts)
    if keep.sum() > rule.sample:
        drawn = np.random.default_rng(rule.seed).choice(np.flatnonzero(keep), rule.sample, replace=False)
        keep = np.zeros_like(keep)
        keep[drawn] = True
    bound = matrix.shape[1] * np.log(rule.prob)
    for _ in range(rule.iterations):
        if not keep.any():
            break
        counts = column_sums(matrix, keep)
        with np.errstate(divide="ignore"):
            log_prob = np.log(counts / counts.sum())
        keep &= _log_multinomial(matrix, umi, log_prob) >= bound
    return keep


def _log_multinomial(matrix: sparse.csr_matrix, umi: np.ndarray, log_prob: np.ndarray) -> np.ndarray:
    from scipy.special import gammaln  # here: it would make `import isthmus` slower

    out = gammaln(umi + 1)
    for rows in row_blocks(matrix):
        start, stop = matrix.indptr[rows.start], matrix.indptr[rows.stop]
        value = matrix.data[start:stop].astype(np.float64)
        row = np.repeat(np.arange(rows.stop - rows.start), np.diff(matrix.indptr[rows.start : rows.stop + 1]))
        log_p = log_prob[matrix.indices[start:stop]]
        term = np.where(value > 0, value * np.where(value > 0, log_p, 0.0), 0.0) - gammaln(value + 1)
        out[rows] += np.bincount(row, weights=term, minlength=rows.stop - rows.start)
    return out


def check_enough(used: np.ndarray, umi: np.ndarray, batch: str, remedy: str) -> None:
    """At least `FEWEST_EMPTIES` droplets with counts to make a profile of."""
    n, total = int(used.sum()), float(umi[used].sum())
    if n < FEWEST_EMPTIES or total < _FEWEST_UMI:
        where = "" if batch == "all" else f" in batch '{batch}'"
        msg = (
            f"`droplets` must hold at least {FEWEST_EMPTIES} empty droplets with {_FEWEST_UMI} UMI together{where}; "
            f"got {plural(n, 'droplet')} with {total:,.0f} UMI. {remedy}"
        )
        raise InputError(msg)


def umi_of(counts: Counts) -> np.ndarray:
    """UMI of each droplet, float64."""
    return row_sums(counts.matrix)
