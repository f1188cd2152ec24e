"""What the tests of ambient RNA share: simulated cells, and the fit with the truth in place of the estimates."""

import functools

import numpy as np
from scipy import sparse

import isthmus
from isthmus.testing import simulate_ambient


@functools.cache
def problem(n_cells=800, n_genes=900, n_types=2, n_batches=1, seed=3):
    return simulate_ambient(n_cells, n_genes, 4_000, n_types=n_types, n_batches=n_batches, seed=seed)


@functools.cache
def fitted(labels="type", batch=None, **sizes):
    cells, droplets = problem(**sizes)
    return isthmus.remove_ambient(cells, droplets=droplets, labels=labels, batch=batch)


def rmse(matrix, native):
    return float(np.sqrt((sparse.csr_matrix(matrix - native).power(2)).sum() / np.prod(native.shape)))


def oracle(cells):
    """Posterior means under the true shares, profile, and profiles of the types."""
    observed, native, label = cells.X.tocsr(), cells.layers["native"], cells.obs["type"].to_numpy()
    batch = np.unique(cells.obs["batch"], return_inverse=True)[1]
    names, own = np.unique(label, return_inverse=True)
    profile = np.stack([np.asarray(native[label == name].sum(axis=0)).ravel() for name in names])
    profile /= profile.sum(axis=1, keepdims=True)
    row = np.repeat(np.arange(observed.shape[0]), np.diff(observed.indptr))
    rho = cells.obs["rho"].to_numpy()[row]
    kept = (1 - rho) * profile[own[row], observed.indices]
    soup = rho * cells.varm["ambient"][observed.indices, batch[row]]
    share = kept / (kept + soup)
    return sparse.csr_matrix((observed.data * share, observed.indices, observed.indptr), observed.shape)
