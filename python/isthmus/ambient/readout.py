r"""What each observed count is made of: s = (1 - rho) p / ((1 - rho) p + rho a), the probability that it is native.

`denoised_mean` = x s; `denoised` ~ Binomial(x, s). With `fpr` the ambient odds of every count are multiplied by one
number, chosen so that the expected share of native counts removed, sum x s (1 - s') / sum x s, is `fpr`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from isthmus.ambient.em import TINY, Block, Mixture, block_of, blocks

_SAMPLE = 1 << 20  # stored counts from which the multiplier for `fpr` is found


@dataclass(frozen=True, eq=False)
class Split:
    """Native counts, drawn and expected, as CSR cells x genes."""

    drawn: sparse.csr_matrix
    mean: sparse.csr_matrix


def split_counts(data: Mixture, native: np.ndarray, rho: np.ndarray, fpr: float | None, seed: int) -> Split:
    """Split every observed count. Explicit zeros are not stored."""
    factor = 1.0 if fpr is None else _odds_factor(data, native, rho, fpr)
    single, generator = native.astype(np.float32), np.random.default_rng(seed)
    mean = np.empty(data.matrix.nnz, dtype=np.float32)
    drawn = np.empty(data.matrix.nnz, dtype=np.int32)
    for rows in blocks(data):
        block = block_of(data, single, rows)
        share = native_share(block, rho[rows], factor)
        mean[block.stored] = block.x * share
        drawn[block.stored] = generator.binomial(block.x.astype(np.int64), share.astype(np.float64))
    return Split(like(data.matrix, drawn), like(data.matrix, mean))


def native_share(block: Block, rho: np.ndarray, factor: float = 1.0) -> np.ndarray:
    """s' for the stored counts of a block; counts that neither profile explains are native."""
    own = block.per_value(1 - rho) * block.native
    soup = block.per_value(rho * factor) * block.ambient
    whole = own + soup
    return np.where(whole > TINY, own / np.maximum(whole, TINY), np.float32(1.0))


def _odds_factor(data: Mixture, native: np.ndarray, rho: np.ndarray, fpr: float) -> float:
    return odds_factor(*_sampled(data, native, rho), fpr)


def odds_factor(x: np.ndarray, s: np.ndarray, fpr: float) -> float:
    """The multiplier of the ambient odds at which the expected share of native counts removed is `fpr`.

    `x` are stored counts and `s` their native shares.
    """
    from scipy.optimize import brentq  # here: it would make `import isthmus` slower

    kept = x * s

    def excess(log_factor: float) -> float:
        odds = np.exp(log_factor) * (1 - s)
        removed = np.divide(odds, odds + s, out=np.zeros_like(s), where=odds + s > 0)
        return float(kept @ removed) / max(float(kept.sum()), 1e-12) - fpr

    low, high = -20.0, 20.0
    if excess(low) >= 0 or excess(high) <= 0:
        return float(np.exp(low if excess(low) >= 0 else high))
    return float(np.exp(brentq(excess, low, high, xtol=1e-4)))


def _sampled(data: Mixture, native: np.ndarray, rho: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counts and native shares of blocks spread over the cells, about `_SAMPLE` stored counts."""
    every = max(1, data.matrix.nnz // _SAMPLE)
    counts, shares = [], []
    for rows in blocks(data)[::every]:
        block = block_of(data, native.astype(np.float32), rows)
        counts.append(block.x.astype(float))
        shares.append(native_share(block, rho[rows]).astype(float))
    return np.concatenate(counts), np.concatenate(shares)


def like(matrix: sparse.csr_matrix, values: np.ndarray) -> sparse.csr_matrix:
    """A matrix with these values in the places of `matrix`, sorted, zeros dropped, buffers of its own."""
    out = sparse.csr_matrix(matrix.shape, dtype=values.dtype)
    out.data, out.indices, out.indptr = values, matrix.indices.copy(), matrix.indptr.copy()
    out.eliminate_zeros()  # in place: a mask and its running sum would cost more than the result
    out.sort_indices()
    out.prune()
    return out
