"""The ambient profile of ``SCAR`` and the correction of its counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from isthmus.ambient.profile import ambient_profile as estimate_profile
from isthmus.ambient.scar.model import decode
from isthmus.ambient.scar.readout import split_counts
from isthmus.compat.scvi.asking import Asks, new_seed
from isthmus.compat.scvi.reading import PROFILE

if TYPE_CHECKING:
    from anndata import AnnData


class Corrects(Asks):
    """Profile, corrected counts and ambient share."""

    @staticmethod
    def get_ambient_profile(
        adata: AnnData,
        raw_adata: AnnData,
        prob: float = 0.995,
        min_raw_counts: int = 2,
        iterations: int = 3,
        n_batch: int = 1,
        sample: int = 50000,
    ) -> None:
        """Put the ambient profile into ``adata.varm["ambient_profile"]``, genes matched by name.

        SCAR's rule for empty droplets, without making them dense (`n_batch` has nothing to split); called cells are
        left out. `isthmus.ambient_profile` has a rule that needs no `prob`.
        """
        del n_batch
        table = estimate_profile(
            adata,
            raw_adata,
            rule="multinomial",
            prob=prob,
            min_raw_counts=min_raw_counts,
            iterations=iterations,
            sample=int(sample),
            seed=new_seed(),
        )
        adata.varm[PROFILE] = table["prob"].to_numpy()[:, None]

    def get_denoised_counts(
        self,
        adata: AnnData | None = None,
        n_samples: int = 1,
        batch_size: int | None = None,
        *,
        stock: bool = False,
        seed: int = 0,
    ) -> sparse.csr_matrix | np.ndarray:
        """Each observed count split by its posterior share: CSR int32, cells x genes, never above the observed.

        `n_samples` above 1 averages the shares over draws of z. ``stock=True`` is scvi-tools' answer: a dense draw of
        new cells, of which a seventh of the mass lies where nothing was observed.
        """
        if stock:
            return np.asarray(super().get_denoised_counts(adata, n_samples, batch_size))
        asked = self._ask(adata, None, batch_size)
        return split_counts(asked.posterior, asked.counts, None, seed, n_samples)[0].drawn

    def get_ambient_share(
        self, adata: AnnData | None = None, indices: Any = None, batch_size: int | None = None
    ) -> pd.Series:
        """rho of each cell, which scvi-tools keeps to itself."""
        asked = self._ask(adata, indices, batch_size)
        rho = np.concatenate(
            [decode(asked.posterior.model, asked.posterior.mean[r]).rho for r in asked.posterior.blocks()]
        )
        return pd.Series(rho.astype(float), index=asked.cells, name="rho")
