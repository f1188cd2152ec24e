"""The sparse mixture: cluster profiles p and cell shares rho that maximise the multinomial likelihood.

l = sum_i sum_g x_ig log m_ig,  m_ig = (1 - rho_i) p_k(i),g + rho_i a_b(i),g.

The pass over the stored counts is vectorised in blocks of cells that stay in the cache; nothing is made dense.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from scipy import sparse

TOL = 1e-7  # gain of log-likelihood per count in a cycle of three steps, below which the EM has converged
MAX_ITER = 500  # a few dozen are the rule; clusters of few counts take the most
_BLOCK = 1 << 17  # stored values of a block: its float32 temporaries stay in a 2 MB cache
_NEWTON = 2  # steps for rho beside each step for p
TINY = np.float32(1e-30)
HIGHEST = 0.999  # of rho: a cell without a native count has no native profile to speak of


@dataclass(frozen=True, eq=False)
class Mixture:
    """The data of the mixture: counts, the group of each cell, the ambient profiles.

    Attributes
    ----------
    matrix
        CSR ``(n_cells, n_genes)``.
    cluster, batch
        ``(n_cells,)`` intp.
    ambient
        ``(n_batches, n_genes)``, rows sum to 1.
    umi
        ``(n_cells,)``.
    n_clusters
        Number of clusters.
    """

    matrix: sparse.csr_matrix
    cluster: np.ndarray
    batch: np.ndarray
    ambient: np.ndarray
    umi: np.ndarray
    n_clusters: int

    @cached_property
    def single_ambient(self) -> np.ndarray:
        """`ambient`, flat and in single precision."""
        return self.ambient.astype(np.float32).ravel()

    @property
    def n_genes(self) -> int:
        """Number of genes."""
        return int(self.matrix.shape[1])


@dataclass(frozen=True, eq=False)
class Block:
    """A run of cells: stored counts, the place of each in the (flat) profiles, its native and ambient probability."""

    rows: slice
    stored: slice
    starts: np.ndarray
    lengths: np.ndarray
    genes: np.ndarray
    place: np.ndarray
    x: np.ndarray
    native: np.ndarray
    ambient: np.ndarray

    def per_value(self, per_cell: np.ndarray) -> np.ndarray:
        """A number of each cell, repeated for its stored counts."""
        return np.repeat(per_cell.astype(np.float32), self.lengths)

    def per_cell(self, values: np.ndarray) -> np.ndarray:
        """Sums over the stored counts of each cell, float64."""
        out = np.zeros(len(self.lengths))
        if len(values):
            filled = self.lengths > 0
            out[filled] = np.add.reduceat(values, self.starts[filled], dtype=np.float64)
        return out


def blocks(data: Mixture) -> list[slice]:
    """Rows of each block."""
    indptr, out, start, n = data.matrix.indptr, [], 0, data.matrix.shape[0]
    while start < n:
        stop = int(np.searchsorted(indptr, indptr[start] + _BLOCK, side="right")) - 1
        stop = min(max(stop, start + 1), n, start + _BLOCK)
        out.append(slice(start, stop))
        start = stop
    return out


def block_of(data: Mixture, native: np.ndarray, rows: slice) -> Block:
    """Counts and probabilities of a run of cells; `native` is ``(n_clusters, n_genes)`` float32."""
    indptr = data.matrix.indptr[rows.start : rows.stop + 1].astype(np.int64)
    stored = slice(int(indptr[0]), int(indptr[-1]))
    lengths, starts = np.diff(indptr), indptr[:-1] - indptr[0]
    genes = data.matrix.indices[stored]
    n_genes = data.n_genes
    own = np.repeat(data.cluster[rows] * n_genes, lengths) + genes
    soup = genes if len(data.ambient) == 1 else np.repeat(data.batch[rows] * n_genes, lengths) + genes
    return Block(
        rows,
        stored,
        starts,
        lengths,
        genes,
        own,
        data.matrix.data[stored].astype(np.float32, copy=False),
        native.ravel()[own],
        data.single_ambient[soup],
    )


def newton_rho(block: Block, rho: np.ndarray, steps: int = _NEWTON) -> np.ndarray:
    """Newton's steps for the shares of a block's cells: the likelihood is concave in each."""
    difference = block.ambient - block.native
    for _ in range(steps):
        slope = difference / np.maximum(block.native + block.per_value(rho) * difference, TINY)
        slope_x = slope * block.x
        score, information = block.per_cell(slope_x), block.per_cell(slope_x * slope)
        step = np.divide(score, information, out=np.zeros_like(score), where=information > 0)
        rho = np.clip(rho + step, rho / 4, rho + (HIGHEST - rho) * 0.75)  # stays inside: the step may overshoot
    return rho


def em_step(data: Mixture, native: np.ndarray, rho: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """One step: better shares for these profiles, then better profiles for those shares (ECM, Meng & Rubin 1993).

    Returns
    -------
    native, rho, log_likelihood
        The new profiles ``(n_clusters, n_genes)`` and shares, and the log-likelihood at the *old* profiles with the new
        shares.
    """
    counts, shares, total = np.zeros(native.size), np.empty_like(rho), 0.0
    single = native.astype(np.float32)
    for rows in blocks(data):
        block = block_of(data, single, rows)
        shares[rows] = newton_rho(block, rho[rows])
        own = block.per_value(1 - shares[rows]) * block.native
        mixed = np.maximum(own + block.per_value(shares[rows]) * block.ambient, TINY)
        total += float((block.x * np.log(mixed)).sum(dtype=np.float64))
        counts += np.bincount(block.place, weights=block.x * own / mixed, minlength=native.size)
    return normalised(counts.reshape(native.shape)), shares, total


def normalised(counts: np.ndarray) -> np.ndarray:
    """Rows that sum to 1; a row without counts stays zero."""
    total = counts.sum(axis=1, keepdims=True)
    return np.divide(counts, total, out=np.zeros_like(counts, dtype=float), where=total > 0)


def maximise(
    data: Mixture,
    native: np.ndarray,
    rho: np.ndarray,
    *,
    max_iter: int = MAX_ITER,
    tol: float = TOL,
    after: Callable[[int], object] | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
    """EM steps, accelerated, until a cycle of three raises the log-likelihood per count by less than `tol`.

    A cycle is SQUAREM's (Varadhan & Roland 2008, Scand. J. Stat. 35:335, scheme S3): two steps, one long step along
    them, and a step from there. Where the long step loses likelihood, the cycle ends with the second step instead.

    Returns
    -------
    native, rho, log_likelihood, converged
        Profiles, shares, the log-likelihood of each step that was kept, from the start on, and whether `tol` was met.
    """
    history: list[float] = []
    enough = tol * max(float(data.umi.sum()), 1.0)
    taken, cycle_start = 0, -np.inf
    while True:
        first, rho, value = em_step(data, native, rho)
        history.append(value)
        if taken >= max_iter or value - cycle_start < enough:
            return first, rho, np.array(history), value - cycle_start < enough
        cycle_start = value
        second, rho, value = em_step(data, first, rho)
        history.append(value)
        third, shares, reached = em_step(data, _long_step(native, first, second), rho)
        native = second
        if reached >= value:
            native, rho = third, shares
            history.append(reached)
        taken += 3
        if after is not None:
            after(min(taken, max_iter))


def _long_step(start: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Further along two steps: x - 2 s r + s^2 v with r the first step, v how the second differs, s = -|r| / |v| <= -1.

    On square roots, where the information of a multinomial is the same everywhere and profiles stay non-negative.
    """
    root = np.sqrt(start)
    step = np.sqrt(first) - root
    bend = np.sqrt(second) - np.sqrt(first) - step
    curvature = float(np.linalg.norm(bend))
    length = -max(float(np.linalg.norm(step)) / curvature, 1.0) if curvature > 0 else -1.0
    return normalised((root - 2 * length * step + length**2 * bend) ** 2)


def log_likelihood(data: Mixture, native: np.ndarray, rho: np.ndarray) -> float:
    """l at given profiles and shares, in double precision."""
    total = 0.0
    for rows in blocks(data):
        block = block_of(data, native, rows)
        share = np.repeat(rho[rows], block.lengths)
        ambient = data.ambient[np.repeat(data.batch[rows], block.lengths), block.genes]
        mixed = (1 - share) * block.native + share * ambient
        total += float(np.dot(block.x.astype(float), np.log(np.maximum(mixed, 1e-300))))
    return total
