"""From information matrices to covariances, gene by gene, where some directions have no finite estimate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping


def invert(information: np.ndarray, infinite: Mapping[int, np.ndarray]) -> np.ndarray:
    """Invert information matrices.

    Parameters
    ----------
    information
        ``(n_genes, k, k)``, symmetric. Genes with NaN stay NaN.
    infinite
        Gene index -> basis ``(k, m)`` of directions without a finite estimate: the inverse is taken in their orthogonal
        complement, and contrasts that load on them are the caller's business.

    Returns
    -------
    ndarray
        ``(n_genes, k, k)``; NaN where the matrix is not positive definite.
    """
    out = np.full_like(information, np.nan)
    if information.shape[1] == 0:
        return out
    known = np.isfinite(information).all(axis=(1, 2))
    known[list(infinite)] = False
    # Scaled to a unit diagonal: parameters may differ by many orders of magnitude.
    diagonal = np.einsum("gii->gi", information)
    known &= (diagonal > 0).all(axis=1)
    genes = np.flatnonzero(known)
    scale = 1 / np.sqrt(diagonal[genes])
    scaled = information[genes] * scale[:, :, None] * scale[:, None, :]
    out[genes] = _invert_scaled(scaled) * scale[:, :, None] * scale[:, None, :]
    for gene, basis in infinite.items():
        if np.isfinite(information[gene]).all():
            out[gene] = _invert_on_complement(information[gene], basis)
    return out


def _invert_scaled(scaled: np.ndarray) -> np.ndarray:
    try:
        lower = np.linalg.cholesky(scaled)
    except np.linalg.LinAlgError:
        if len(scaled) == 1:
            return np.full_like(scaled, np.nan)
        half = len(scaled) // 2  # find the offenders without giving up the others
        return np.concatenate([_invert_scaled(scaled[:half]), _invert_scaled(scaled[half:])])
    root = np.linalg.inv(lower)
    return root.transpose(0, 2, 1) @ root


def _invert_on_complement(information: np.ndarray, basis: np.ndarray) -> np.ndarray:
    complement = np.linalg.qr(basis, mode="complete")[0][:, basis.shape[1] :]
    if not complement.shape[1]:
        return np.zeros_like(information)
    inner = _invert_scaled((complement.T @ information @ complement)[None])[0]
    return complement @ inner @ complement.T
