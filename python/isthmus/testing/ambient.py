"""Droplets of a sequencing run with known contamination."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from isthmus.errors import InputError
from isthmus.testing.counts import _whole

if TYPE_CHECKING:
    from anndata import AnnData

_CELL_DEPTH, _AMBIENT_IN_CELLS, _EMPTY_DEPTH = 2_000.0, 250.0, 80.0  # medians, UMI a droplet


def simulate_ambient(
    n_cells: int = 400,
    n_genes: int = 200,
    n_empty: int = 4_000,
    *,
    n_types: int = 2,
    n_batches: int = 1,
    seed: int | None = None,
) -> tuple[AnnData, AnnData]:
    """Draw cells of a few types and empty droplets that share one ambient profile a batch.

    Each type has markers of its own, a tenth of the genes all types together, which no other type expresses. A cell
    holds Poisson counts of its type's profile with gamma noise (shape 4) plus a Poisson number of ambient counts,
    about a tenth; the ambient profile mixes the types and has log-normal noise.

    Parameters
    ----------
    n_cells, n_genes, n_empty
        Size. `n_genes` must be at least 10 times `n_types`: each type needs a marker.
    n_types
        Number of cell types, ``obs["type"]``.
    n_batches
        Number of batches, ``obs["batch"]``, each with its own ambient profile.
    seed
        None: fresh. The same seed gives the same droplets; numpy's global state is neither read nor changed.

    Returns
    -------
    cells, droplets : AnnData
        Counts as CSR float64. `cells` has the truth: ``layers["native"]``, ``obs["rho"]`` (the ambient share of the
        cell's UMI), ``varm["ambient"]`` (genes x batches), ``var["marker"]`` (the type, or ""). `droplets` has the
        cells first, under their names.

    Raises
    ------
    InputError
        Sizes that are no whole numbers from 1 up, fewer genes than the markers need.

    Examples
    --------
    >>> cells, droplets = simulate_ambient(50, 40, 300, seed=1)
    >>> cells.shape, droplets.shape
    ((50, 40), (350, 40))
    """
    n_cells, n_genes, n_empty = _whole(n_cells, "n_cells"), _whole(n_genes, "n_genes"), _whole(n_empty, "n_empty")
    n_types, n_batches = _whole(n_types, "n_types"), _whole(n_batches, "n_batches")
    if n_genes < 10 * n_types:
        msg = f"`n_genes` must be at least 10 times `n_types` ({10 * n_types}); got {n_genes}. Ask for more genes."
        raise InputError(msg)
    generator = np.random.default_rng(seed)
    marker, types = _types(generator, n_types, n_genes)
    profiles = _profiles(generator, types, n_batches)
    label, batch = generator.integers(0, n_types, n_cells), generator.integers(0, n_batches, n_cells)
    mean = types[label] * generator.gamma(4, 0.25, (n_cells, n_genes))
    depth = generator.lognormal(np.log(_CELL_DEPTH), 0.45, n_cells)
    native = generator.poisson(depth[:, None] * mean / mean.sum(axis=1, keepdims=True))
    ambient = _ambient(generator, profiles[batch], _AMBIENT_IN_CELLS)
    empty_batch = generator.integers(0, n_batches, n_empty)
    empty = _ambient(generator, profiles[empty_batch], _EMPTY_DEPTH)
    of_cells = {"type": label, "batch": batch, "rho": ambient.sum(axis=1) / (native + ambient).sum(axis=1).clip(1)}
    return _experiments(native, ambient, empty, of_cells, empty_batch, marker, profiles)


def _types(generator: np.random.Generator, n_types: int, n_genes: int) -> tuple[np.ndarray, np.ndarray]:
    """The type that each gene marks (-1: none), and the types' expression profiles."""
    types = np.tile(generator.lognormal(0, 1.2, n_genes), (n_types, 1)) * np.exp(
        generator.normal(0, 0.4, (n_types, n_genes))
    )
    marker = np.full(n_genes, -1)
    chosen = generator.permutation(n_genes)[: n_genes // 10]
    marker[chosen] = np.arange(len(chosen)) % n_types
    for k in range(n_types):
        types[k, (marker >= 0) & (marker != k)] = 0
        types[k, marker == k] *= 3
    return marker, types / types.sum(axis=1, keepdims=True)


def _profiles(generator: np.random.Generator, types: np.ndarray, n_batches: int) -> np.ndarray:
    shares = generator.dirichlet(np.full(len(types), 5.0), n_batches)
    profiles = (shares @ types) * np.exp(generator.normal(0, 0.4, (n_batches, types.shape[1])))
    return profiles / profiles.sum(axis=1, keepdims=True)


def _ambient(generator: np.random.Generator, profiles: np.ndarray, median: float) -> np.ndarray:
    return generator.poisson(generator.lognormal(np.log(median), 0.5, (len(profiles), 1)) * profiles)


def _experiments(
    native: np.ndarray,
    ambient: np.ndarray,
    empty: np.ndarray,
    of_cells: dict[str, np.ndarray],
    empty_batch: np.ndarray,
    marker: np.ndarray,
    profiles: np.ndarray,
) -> tuple[AnnData, AnnData]:
    from anndata import AnnData

    n_cells, n_genes = native.shape
    genes = pd.Index([f"gene{i + 1}" for i in range(n_genes)])
    names = pd.Index([f"cell{i + 1}" for i in range(n_cells)])
    types = np.array([f"type{k + 1}" for k in range(marker.max() + 1)] + [""])  # -1, no marker, finds the last
    batches = np.array([f"batch{k + 1}" for k in range(len(profiles))])
    obs = pd.DataFrame(
        {"type": types[of_cells["type"]], "batch": batches[of_cells["batch"]], "rho": of_cells["rho"]}, index=names
    )
    observed = sparse.csr_matrix((native + ambient).astype(float))
    cells = AnnData(X=observed, obs=obs, var=pd.DataFrame({"marker": types[marker]}, index=genes))
    cells.layers["native"] = sparse.csr_matrix(native.astype(float))
    cells.varm["ambient"] = profiles.T.copy()
    everything = sparse.vstack([observed, sparse.csr_matrix(empty.astype(float))], format="csr")
    every_name = names.append(pd.Index([f"empty{i + 1}" for i in range(len(empty))]))
    every_batch = batches[np.concatenate([of_cells["batch"], empty_batch])]
    droplets = AnnData(
        X=everything, obs=pd.DataFrame({"batch": every_batch}, index=every_name), var=pd.DataFrame(index=genes)
    )
    return cells, droplets
