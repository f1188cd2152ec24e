"""The read-out of the network, the same as the EM's: the posterior share of each observed count.

s = (1 - rho) p / ((1 - rho) p + rho a) at the mean of z; `denoised_mean` = x s, `denoised` ~ Binomial(x, s). Sparse
throughout: p is made dense for a block of cells at a time only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from isthmus.ambient.readout import Split, like, odds_factor
from isthmus.ambient.scar.model import Decoded, Posterior, decode, decode_share

if TYPE_CHECKING:
    from scipy import sparse

_DRAWS = 25  # of z, for the standard error of rho


def split_counts(
    posterior: Posterior, counts: sparse.csr_matrix, fpr: float | None, seed: int, n_samples: int = 1
) -> tuple[Split, np.ndarray, np.ndarray]:
    """Native counts drawn and expected, rho ``(n_cells,)``, and the standard deviation of rho over q(z | x).

    With `n_samples` above 1 shares are averaged over draws of z instead of taken at its mean.
    """
    share = np.empty(counts.nnz, dtype=np.float32)
    rho, spread = np.empty(posterior.n_cells), np.empty(posterior.n_cells)
    generator = np.random.default_rng([seed, 9])
    for rows in posterior.blocks():
        decoded = decode(posterior.model, posterior.mean[rows])
        rho[rows] = decoded.rho
        draws = [decode_share(posterior.model, posterior.draw(generator, rows)) for _ in range(_DRAWS)]
        spread[rows] = np.std(draws, axis=0, ddof=1)
        stored = slice(counts.indptr[rows.start], counts.indptr[rows.stop])
        share[stored] = _native_share(posterior, counts, rows, decoded)
        if n_samples > 1:
            drawn_z = (decode(posterior.model, posterior.draw(generator, rows)) for _ in range(n_samples))
            share[stored] = sum(_native_share(posterior, counts, rows, each) for each in drawn_z) / n_samples
    if fpr is not None:
        odds = np.float32(odds_factor(counts.data.astype(float), share.astype(float), fpr)) * (1 - share)
        share = np.divide(share, share + odds, out=np.ones_like(share), where=share + odds > 0)
    drawn = np.random.default_rng(seed).binomial(counts.data.astype(np.int64), share.astype(np.float64))
    mean = (counts.data * share).astype(np.float32)
    return Split(like(counts, drawn.astype(np.int32)), like(counts, mean)), rho, spread


def _native_share(posterior: Posterior, counts: sparse.csr_matrix, rows: slice, decoded: Decoded) -> np.ndarray:
    """s of the stored counts of a run of cells; counts that neither profile explains are native."""
    indptr = counts.indptr[rows.start : rows.stop + 1]
    row = np.repeat(np.arange(rows.stop - rows.start), np.diff(indptr))
    gene = counts.indices[indptr[0] : indptr[-1]]
    rho = decoded.rho[row]
    own = (1 - rho) * decoded.p[row, gene]
    whole = own + rho * posterior.ambient[posterior.batch[rows][row], gene]
    return np.divide(own, whole, out=np.ones(len(row)), where=whole > 1e-30).astype(np.float32)
