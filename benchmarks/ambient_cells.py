"""Problems that clusters must be found for: real cells in simulated ambient RNA, and cells between two types."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import sparse

PBMC = Path(__file__).parents[2] / "shared" / "data" / "pbmc10k_protein_scvi" / "pbmc_10k_protein_v3.h5ad"


def pbmc(seed: int, n_genes: int = 2_000, share: float = 0.12) -> tuple:
    """200 real PBMCs (the genes with the most counts), ambient counts of their mean added.

    Returns
    -------
    observed, native, ambient, rho
        Counts as CSR, the profile ``(n_genes,)`` and the share of each cell.
    """
    import anndata as ad

    rng, cells = np.random.default_rng(seed), sparse.csr_matrix(ad.read_h5ad(PBMC).X).astype(float)
    mean = np.asarray(cells.mean(axis=0)).ravel()
    genes = np.sort(np.argsort(-mean)[:n_genes])
    return with_ambient(cells[:, genes], mean[genes], rng.beta(2, 2 / share - 2, cells.shape[0]), rng)


def continuum(seed: int, others: int, n_cells: int = 900, n_genes: int = 1_000) -> tuple:
    """Half of the cells (all, without `others`) between two types, the rest of `others` types; 30 % of genes absent."""
    rng = np.random.default_rng(seed)
    types = rng.lognormal(0, 1.2, n_genes) * np.exp(rng.normal(0, 0.8, (2 + others, n_genes)))
    types[rng.random(types.shape) < 0.3] = 0
    types /= types.sum(axis=1, keepdims=True)
    weights, place = np.zeros((n_cells, 2 + others)), rng.uniform(size=n_cells)
    between = rng.random(n_cells) < (0.5 if others else 1.0)
    weights[between, 0], weights[between, 1] = place[between], 1 - place[between]
    if others:
        weights[~between, 2 + rng.integers(others, size=(~between).sum())] = 1
    mean = weights @ types
    native = sparse.csr_matrix(rng.poisson(rng.lognormal(np.log(3_000), 0.4, (n_cells, 1)) * mean).astype(float))
    return with_ambient(native, mean.mean(axis=0), rng.beta(3, 22, n_cells), rng)


def with_ambient(native: sparse.csr_matrix, mean: np.ndarray, rho: np.ndarray, rng: np.random.Generator) -> tuple:
    """Add Poisson counts of the mean profile, blurred by a log-normal of sd 0.3, so that they are a share rho."""
    ambient = mean * np.exp(rng.normal(0, 0.3, len(mean)))
    ambient /= ambient.sum()
    depth = np.asarray(native.sum(axis=1)).ravel() * rho / (1 - rho)
    observed = native + sparse.csr_matrix(rng.poisson(depth[:, None] * ambient))
    return observed.tocsr(), native.tocsr(), ambient, rho
