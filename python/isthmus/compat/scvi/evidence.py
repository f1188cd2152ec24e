"""How well ``SCAR`` explains its cells: ELBO, reconstruction, marginal likelihood, weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from isthmus.ambient.scar import evidence
from isthmus.compat.scvi.asking import Asks, importance_of, new_seed

if TYPE_CHECKING:
    from anndata import AnnData


class Explains(Asks):
    """Likelihoods of cells."""

    def get_elbo(
        self,
        adata: AnnData | None = None,
        indices: Any = None,
        batch_size: int | None = None,
        dataloader: Any = None,
        return_mean: bool = True,  # noqa: FBT001, FBT002
        data_loader_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> float | pd.Series:
        """Evidence lower bound: a number, or a Series by cell. Larger is better."""
        if self._sampled_library(dataloader):
            loader = {"data_loader_kwargs": data_loader_kwargs, **kwargs}
            values = super().get_elbo(adata, indices, batch_size, dataloader, return_mean, **loader)
            return float(values) if return_mean else pd.Series(values.cpu().numpy())
        asked = self._ask(adata, indices, batch_size)
        return asked.answer(evidence.elbo(asked.posterior, asked.counts, 1, new_seed()), return_mean=return_mean)

    def get_reconstruction_error(
        self,
        adata: AnnData | None = None,
        indices: Any = None,
        batch_size: int | None = None,
        dataloader: Any = None,
        return_mean: bool = True,  # noqa: FBT001, FBT002
        data_loader_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """``{"reconstruction_loss": -log p(x | z)}``, a number or a Series by cell: smaller is better."""
        if self._sampled_library(dataloader):
            loader = {"data_loader_kwargs": data_loader_kwargs, **kwargs}
            found = super().get_reconstruction_error(adata, indices, batch_size, dataloader, return_mean, **loader)
            return {key: float(v) if return_mean else pd.Series(v.cpu().numpy()) for key, v in found.items()}
        asked = self._ask(adata, indices, batch_size)
        loss = evidence.reconstruction(asked.posterior, asked.counts, 1, new_seed())
        return {"reconstruction_loss": asked.answer(loss, return_mean=return_mean)}

    def get_marginal_ll(
        self,
        adata: AnnData | None = None,
        indices: Any = None,
        n_mc_samples: int = 1000,
        batch_size: int | None = None,
        return_mean: bool = True,  # noqa: FBT001, FBT002
        dataloader: Any = None,
        data_loader_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> float | pd.Series:
        """Marginal log-likelihood by importance sampling: a number, or a Series by cell."""
        if self._sampled_library(dataloader):
            loader = {"data_loader_kwargs": data_loader_kwargs, **kwargs}
            values = super().get_marginal_ll(
                adata, indices, n_mc_samples, batch_size, return_mean, dataloader, **loader
            )
            return float(values) if return_mean else pd.Series(values.cpu().numpy())
        asked = self._ask(adata, indices, batch_size)
        values = evidence.marginal(asked.posterior, asked.counts, n_mc_samples, new_seed())
        return asked.answer(values, return_mean=return_mean)

    def _sampled_library(self, dataloader: Any) -> bool:
        return dataloader is not None or not (self.module.use_observed_lib_size or self.module.use_size_factor_key)

    def get_importance_weights(
        self,
        adata: AnnData | None = None,
        indices: Any = None,
        qz: Any = None,
        px: Any = None,
        zs: Any = None,
        max_cells: int = 1024,
        truncation: bool = False,  # noqa: FBT001, FBT002
        n_mc_samples: int = 500,
        n_mc_samples_per_pass: int = 250,
        **data_loader_kwargs: Any,
    ) -> np.ndarray:
        """Weights of the samples `zs`, ``(..., n_latent)``, of the cells `indices`; they sum to 1.

        `qz` and `px` follow from cells and samples and may be left out; without `zs` one sample a cell is drawn.
        """
        del qz, px, n_mc_samples_per_pass, data_loader_kwargs
        asked, seed = self._ask(adata, indices), new_seed()
        if zs is None:
            zs = asked.posterior.draw(np.random.default_rng(seed))
        z = np.asarray(zs.detach().cpu() if hasattr(zs, "detach") else zs).reshape(-1, self._options.n_latent)
        return importance_of(
            asked.posterior,
            asked.counts,
            z,
            seed,
            max_cells=max_cells,
            truncation=truncation,
            n_mc_samples=n_mc_samples,
        )
