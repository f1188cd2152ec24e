"""The cells that a method of `SCAR` is asked about, with the NumPy decoder of its module."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse
from scvi import REGISTRY_KEYS
from scvi.external import SCAR as _SCAR
from scvi.model._utils import _get_batch_code_from_category

from isthmus.ambient.scar import evidence
from isthmus.ambient.scar.model import Posterior
from isthmus.compat.scvi.reading import posterior_of_module, registered_counts
from isthmus.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from isthmus.ambient.scar.options import NetworkOptions


def new_seed() -> int:
    """A seed from numpy's global state, which ``scvi.settings.seed`` sets."""
    return int(np.random.randint(2**31))


class Asked:
    """The cells that a method was asked about."""

    def __init__(self, adata: AnnData, rows: np.ndarray, counts: sparse.csr_matrix, posterior: Posterior) -> None:
        self.adata, self.counts, self.posterior = adata, counts, posterior
        self.cells = adata.obs_names[rows]

    def frame(self, values: np.ndarray) -> pd.DataFrame:
        """Cells x genes with their names."""
        return pd.DataFrame(values, index=self.cells, columns=self.adata.var_names)

    def answer(self, values: np.ndarray, *, return_mean: bool) -> float | pd.Series:
        """The mean of a number per cell, or these by name."""
        return float(values.mean()) if return_mean else pd.Series(values, index=self.cells)


class Asks(_SCAR):
    """SCAR that can hand its cells to `isthmus.ambient.scar`."""

    _options: NetworkOptions

    def _ask(self, adata: AnnData | None, indices: Any = None, batch_size: int | None = None) -> Asked:
        adata = self._validate_anndata(adata)
        manager = self.get_anndata_manager(adata, required=True)
        rows = np.arange(adata.n_obs) if indices is None else np.asarray(indices)
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows.astype(np.intp)
        mean, variance = super().get_latent_representation(adata, indices=rows, return_dist=True, batch_size=batch_size)
        counts = registered_counts(manager, rows)
        posterior = posterior_of_module(
            self.module, self._options, mean, variance, self._library(adata, manager, rows, counts)
        )
        return Asked(adata, rows, counts, posterior)

    def _library(self, adata: AnnData, manager: Any, rows: np.ndarray, counts: sparse.csr_matrix) -> np.ndarray:
        if self.module.use_size_factor_key:
            factor = np.asarray(manager.get_from_registry(REGISTRY_KEYS.SIZE_FACTOR_KEY), dtype=float)
            return np.asarray(factor.ravel()[rows])
        if self.module.use_observed_lib_size:
            return np.asarray(counts.sum(axis=1), dtype=float).ravel()
        return np.asarray(super().get_latent_library_size(adata, indices=rows), dtype=float).ravel()

    def _checked_batch(self, adata: AnnData, transform_batch: Any) -> None:
        _get_batch_code_from_category(self.get_anndata_manager(adata, required=True), transform_batch)


def importance_of(
    posterior: Posterior,
    counts: sparse.csr_matrix,
    z: np.ndarray,
    seed: int,
    *,
    max_cells: int = 128,
    truncation: bool = False,
    n_mc_samples: int = 50,
    **_: Any,
) -> np.ndarray:
    return evidence.importance_weights(
        posterior, counts, z, max_cells=max_cells, n_mc_samples=n_mc_samples, truncation=truncation, seed=seed
    )


def known_genes(adata: AnnData, genes: Sequence[str]) -> np.ndarray:
    mask = adata.var_names.isin(list(genes))
    if not mask.any():
        msg = f"`gene_list` must name genes of the data; got {list(genes)[:3]!r}, none of which is there."
        raise InputError(msg)
    return np.flatnonzero(mask)


def refuse_loader(dataloader: Any) -> None:
    if dataloader is not None:
        msg = "`dataloader` carries no names of cells and genes, which this method returns. Pass `adata` and `indices`."
        raise InputError(msg)
