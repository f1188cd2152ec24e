"""The latent space of ``SCAR``: aggregated posteriors, abundance, library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from isthmus.ambient.scar import comparison
from isthmus.ambient.scar.latent_space import component_table
from isthmus.compat.scvi.asking import Asks, new_seed
from isthmus.errors import InputError

if TYPE_CHECKING:
    from anndata import AnnData


class Places(Asks):
    """Where cells lie."""

    def get_aggregated_posterior(
        self,
        adata: AnnData | None = None,
        indices: Any = None,
        batch_size: int | None = None,
        dof: float | None = 3.0,
    ) -> pd.DataFrame:
        """Components of the mixture, one per cell: cell, weight, mean_z1, ..., sd_z1, ...; ``attrs["dof"]`` (None:
        normal). scvi-tools takes variances for the scales; these are standard deviations."""
        asked = self._ask(adata, indices, batch_size)
        table = component_table(asked.posterior, np.asarray(asked.cells, dtype=object))
        table.attrs["dof"] = dof
        return table

    def differential_abundance(
        self,
        adata: AnnData | None = None,
        sample_key: str | None = None,
        batch_size: int = 128,
        num_cells_posterior: int | None = None,
        dof: float | None = None,
    ) -> pd.DataFrame:
        """Log density of each sample's aggregated posterior at each cell; also put into ``obsm["da_log_probs"]``."""
        asked = self._ask(adata, None, batch_size)
        if sample_key is None or sample_key not in asked.adata.obs:
            msg = f"`sample_key` must be a column of obs; got {sample_key!r}."
            raise InputError(msg)
        samples, generator = asked.adata.obs[sample_key], np.random.default_rng(new_seed())
        columns = {}
        for name in pd.unique(samples):
            own = np.flatnonzero(samples == name)
            if num_cells_posterior is not None and num_cells_posterior < len(own):
                own = generator.choice(own, num_cells_posterior, replace=False)
            at = asked.posterior.mean
            columns[str(name)] = comparison.aggregated_log_density(asked.posterior.of(own), at, dof)
        table = pd.DataFrame(columns, index=asked.cells)
        asked.adata.obsm["da_log_probs"] = table
        return table

    def get_latent_library_size(
        self,
        adata: AnnData | None = None,
        indices: Any = None,
        give_mean: bool = True,  # noqa: FBT001, FBT002
        batch_size: int | None = None,
        dataloader: Any = None,
        **data_loader_kwargs: Any,
    ) -> np.ndarray:
        """``(n_cells, 1)``: where the library is observed, which is the default, that is its mean too."""
        if self.module.use_observed_lib_size and dataloader is None:
            return self._ask(adata, indices, batch_size).posterior.library[:, None]
        values = super().get_latent_library_size(
            adata, indices, give_mean, batch_size, dataloader, **data_loader_kwargs
        )
        return np.asarray(values)
