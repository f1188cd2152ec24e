"""The plain twin of the compiled residual deviances."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from isthmus.glm.unit_deviance import scaled_chi_square, unit_deviance

if TYPE_CHECKING:
    import scipy.sparse as sp


def residual_deviances(
    columns: sp.csc_matrix,
    x: np.ndarray,
    offset: np.ndarray,
    coef: np.ndarray,
    alpha: np.ndarray,
    inverse: np.ndarray,
    *,
    gene_offset: np.ndarray | None = None,
    weights: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """As `isthmus.glm.quasi_deviance.residual_deviances`, gene by gene."""
    n_genes = columns.shape[1]
    deviance, df = np.empty(n_genes), np.empty(n_genes)
    for j in range(n_genes):
        y = np.asarray(columns[:, [j]].toarray(), dtype=float).ravel()
        eta = x @ coef[:, j] + offset + (0.0 if gene_offset is None else gene_offset[:, j])
        mu = np.exp(np.clip(eta, -60, 50))
        a, w = np.full_like(mu, alpha[j]), np.ones_like(mu) if weights is None else weights[:, j]
        scale, k = scaled_chi_square(mu, a)
        leverage = np.clip(np.einsum("nf,fh,nh->n", x, inverse[j], x) * w * mu / (1 + a * mu), 0, 1)
        deviance[j] = (w * unit_deviance(y, mu, a) / scale).sum()
        df[j] = ((1 - leverage) * k * (w > 0)).sum()
    return deviance, df
