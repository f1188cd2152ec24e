"""``scvi.external.SCAR`` with every documented method working, for all four likelihoods.

Training, files and registry are scvi-tools'. What is asked of a trained model is computed by
`isthmus.ambient.scar` from its weights, so that it works for the default likelihood too. In the docstrings: what is
different from scvi-tools 1.4. The batch is no input of SCAR's decoder: `transform_batch` is checked and changes
nothing. Random numbers follow ``scvi.settings.seed``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import rich.pretty  # scvi-tools' view_* functions use it without importing it
from scipy import sparse
from scvi import REGISTRY_KEYS
from scvi.external import SCAR as _SCAR
from scvi.model._utils import _get_batch_code_from_category

from isthmus.ambient.profile import ambient_profile as estimate_profile
from isthmus.ambient.scar import comparison, evidence, expression
from isthmus.ambient.scar.latent_space import component_table
from isthmus.ambient.scar.model import Posterior, decode
from isthmus.ambient.scar.readout import split_counts
from isthmus.compat.scvi.reading import PROFILE, model_options, posterior_of_module, read_profile, registered_counts
from isthmus.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

assert rich.pretty


def _seed() -> int:
    """A seed from numpy's global state, which ``scvi.settings.seed`` sets."""
    return int(np.random.randint(2**31))


class SCAR(_SCAR):
    """SCAR, with the constructor and the methods of scvi-tools' documentation.

    Parameters
    ----------
    adata
        Registered by ``SCAR.setup_anndata``.
    ambient_profile
        A key of ``varm`` or ``var``, an array or tensor in the order of the genes, a Series or DataFrame by gene
        (matched by name), or None: what `get_ambient_profile` has put into ``varm``, else the average cell. Scaled to
        sum to 1.
    n_hidden, n_latent, n_layers, dropout_rate, gene_likelihood, latent_distribution, scale_activation, sparsity
        As in scvi-tools.
    **model_kwargs
        For scvi-tools' module.

    Raises
    ------
    InputError
        A profile that does not fit; a size factor below a cell's counts with the binomial, which takes it for their
        number.

    Examples
    --------
    >>> from isthmus.compat.scvi import SCAR
    >>> from isthmus.testing import simulate_ambient
    >>> cells, droplets = simulate_ambient(60, 40, 300, seed=1)
    >>> SCAR.setup_anndata(cells)
    >>> SCAR.get_ambient_profile(cells, droplets, prob=0.8)
    >>> SCAR(cells, n_hidden=8).get_ambient_share().shape
    (60,)
    """

    def __init__(
        self,
        adata: AnnData,
        ambient_profile: Any = None,
        n_hidden: int = 150,
        n_latent: int = 15,
        n_layers: int = 2,
        dropout_rate: float = 0.0,
        gene_likelihood: Literal["zinb", "nb", "b", "poisson"] = "b",
        latent_distribution: Literal["normal", "ln"] = "normal",
        scale_activation: Literal["softmax", "softplus", "softplus_sp"] = "softplus_sp",
        sparsity: float = 0.9,
        **model_kwargs: Any,
    ) -> None:
        manager = self._get_most_recent_anndata_manager(adata, required=True)
        layer = manager._registry["setup_args"].get("layer")
        super().__init__(
            adata,
            ambient_profile=read_profile(ambient_profile, adata, layer),
            n_hidden=n_hidden,
            n_latent=n_latent,
            n_layers=n_layers,
            dropout_rate=dropout_rate,
            gene_likelihood=gene_likelihood,
            latent_distribution=latent_distribution,
            scale_activation=scale_activation,
            sparsity=sparsity,
            **model_kwargs,
        )
        self._options = model_options(locals())
        self._refuse_small_size_factors(manager)

    def _refuse_small_size_factors(self, manager: Any) -> None:
        if not self.module.use_size_factor_key or self._options.likelihood != "binomial":
            return
        counts = registered_counts(manager, np.arange(self.adata.n_obs))
        factor = np.asarray(manager.get_from_registry(REGISTRY_KEYS.SIZE_FACTOR_KEY), dtype=float).ravel()
        short = factor < counts.max(axis=1).toarray().ravel()
        if short.any():
            msg = (
                "`size_factor_key` must hold at least the largest count of each cell with gene_likelihood='b', which "
                f"takes it for the cell's number of counts; got less in {int(short.sum()):,} cells. Leave it out, or "
                "use 'nb', 'zinb' or 'poisson'."
            )
            raise InputError(msg)

    # ---- what is asked about -----------------------------------------------------------------------------------------

    def _ask(self, adata: AnnData | None, indices: Any = None, batch_size: int | None = None) -> _Asked:
        adata = self._validate_anndata(adata)
        manager = self.get_anndata_manager(adata, required=True)
        rows = np.arange(adata.n_obs) if indices is None else np.asarray(indices)
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows.astype(np.intp)
        mean, variance = super().get_latent_representation(adata, indices=rows, return_dist=True, batch_size=batch_size)
        counts = registered_counts(manager, rows)
        posterior = posterior_of_module(
            self.module, self._options, mean, variance, self._library(adata, manager, rows, counts)
        )
        return _Asked(adata, rows, counts, posterior)

    def _library(self, adata: AnnData, manager: Any, rows: np.ndarray, counts: sparse.csr_matrix) -> np.ndarray:
        if self.module.use_size_factor_key:
            factor = np.asarray(manager.get_from_registry(REGISTRY_KEYS.SIZE_FACTOR_KEY), dtype=float)
            return np.asarray(factor.ravel()[rows])
        if self.module.use_observed_lib_size:
            return np.asarray(counts.sum(axis=1), dtype=float).ravel()
        return np.asarray(super().get_latent_library_size(adata, indices=rows), dtype=float).ravel()

    def _checked_batch(self, adata: AnnData, transform_batch: Any) -> None:
        _get_batch_code_from_category(self.get_anndata_manager(adata, required=True), transform_batch)

    # ---- the profile and the correction ------------------------------------------------------------------------------

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
            seed=_seed(),
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

    # ---- expression --------------------------------------------------------------------------------------------------

    def get_normalized_expression(
        self,
        adata: AnnData | None = None,
        indices: Any = None,
        transform_batch: Any = None,
        gene_list: Sequence[str] | None = None,
        library_size: float | Literal["latent"] = 1,
        n_samples: int = 1,
        n_samples_overall: int | None = None,
        weights: Literal["uniform", "importance"] | None = None,
        batch_size: int | None = None,
        return_mean: bool = True,  # noqa: FBT001, FBT002
        return_numpy: bool | None = None,  # noqa: FBT001
        silent: bool = True,  # noqa: FBT001, FBT002
        dataloader: Any = None,
        data_loader_kwargs: dict[str, Any] | None = None,
        **importance_weighting_kwargs: Any,
    ) -> np.ndarray | pd.DataFrame:
        """Native frequencies p at draws of z; a cell's genes sum to `library_size` ("latent": to its own library).

        scvi-tools' sum to 1 - rho of that. With `n_samples_overall` rows are draws of cells at random; importance
        weights are tempered (`isthmus.ambient.scar.comparison.tempered`).
        """
        del silent, data_loader_kwargs
        _refuse_loader(dataloader)
        asked = self._ask(adata, indices, batch_size)
        self._checked_batch(asked.adata, transform_batch)
        genes = np.arange(asked.adata.n_vars) if gene_list is None else _known(asked.adata, gene_list)
        posterior, seed = asked.posterior, _seed()
        size = posterior.library if library_size == "latent" else np.full(posterior.n_cells, float(library_size))
        if n_samples_overall is not None:
            return self._overall(asked, genes, size, int(n_samples_overall), weights, seed, importance_weighting_kwargs)
        what = expression.native(genes)
        if n_samples > 1 and not return_mean:
            return expression.every_draw(posterior, what, n_samples, seed) * size[:, None]
        values = expression.over_draws(posterior, what, n_samples, seed) * size[:, None]
        return values if return_numpy else pd.DataFrame(values, index=asked.cells, columns=asked.adata.var_names[genes])

    def _overall(
        self,
        asked: _Asked,
        genes: np.ndarray,
        size: np.ndarray,
        n: int,
        weights: str | None,
        seed: int,
        options: dict[str, Any],
    ) -> np.ndarray:
        generator, posterior = np.random.default_rng(seed), asked.posterior
        cells = generator.permutation(np.resize(np.arange(posterior.n_cells), max(n, posterior.n_cells)))
        z, probability = posterior.draw(generator, cells), None
        if weights == "importance":
            probability = comparison.tempered(_importance(posterior, asked.counts, z, seed, **options))
        chosen = generator.choice(len(cells), n, p=probability)
        return np.asarray(decode(posterior.model, z[chosen]).p[:, genes] * size[cells[chosen], None])

    def differential_expression(self, *args: Any, fdr_target: float = 0.05, **kwargs: Any) -> pd.DataFrame:
        """As in scvi-tools, for every likelihood; the genes called in mode "change" are chosen more strictly.

        See `isthmus.ambient.scar.comparison.called`: none may be false with a probability above 4 `fdr_target`.
        """
        kwargs.setdefault("silent", True)
        table = super().differential_expression(*args, fdr_target=fdr_target, **kwargs)
        name = f"is_de_fdr_{fdr_target}"
        if name in table:
            order = np.zeros(len(table)) if "comparison" not in table else table["comparison"].to_numpy()
            for part in pd.unique(order):
                own = order == part
                table.loc[own, name] = comparison.called(table.loc[own, "proba_de"].to_numpy(), fdr_target)
        return table

    def get_likelihood_parameters(
        self,
        adata: AnnData | None = None,
        indices: Any = None,
        n_samples: int | None = 1,
        give_mean: bool | None = False,  # noqa: FBT001, FBT002
        batch_size: int | None = None,
        dataloader: Any = None,
        **data_loader_kwargs: Any,
    ) -> dict[str, Any]:
        """`mean`, `ambient` and, where there are, `dispersions` and `dropout`: frames of cells x genes.

        With several samples and without `give_mean` arrays of samples x cells x genes.
        """
        del data_loader_kwargs
        _refuse_loader(dataloader)
        asked, seed, n = self._ask(adata, indices, batch_size), _seed(), int(n_samples or 1)
        if n > 1 and not give_mean:
            draws = [expression.parameters(asked.posterior, 1, seed + s) for s in range(n)]
            return {name: np.stack([draw[name] for draw in draws]) for name in draws[0]}
        found = expression.parameters(asked.posterior, n, seed)
        return {name: asked.frame(values) for name, values in found.items()}

    def get_feature_correlation_matrix(
        self,
        adata: AnnData | None = None,
        indices: Any = None,
        n_samples: int = 10,
        batch_size: int = 64,
        rna_size_factor: int = 1000,
        transform_batch: Any = None,
        correlation_type: Literal["spearman", "pearson"] = "spearman",
        silent: bool = True,  # noqa: FBT001, FBT002
    ) -> pd.DataFrame:
        """Genes x genes; for the binomial and the Poisson the correlation of p, which has no noise of its own."""
        del silent
        if correlation_type not in ("spearman", "pearson"):
            msg = f"`correlation_type` must be 'spearman' or 'pearson'; got {correlation_type!r}."
            raise InputError(msg)
        asked = self._ask(adata, indices, batch_size)
        self._checked_batch(asked.adata, transform_batch)
        values = expression.correlations(
            asked.posterior, slice(None), n_samples, float(rna_size_factor), correlation_type, _seed()
        )
        return pd.DataFrame(values, index=asked.adata.var_names, columns=asked.adata.var_names)

    def posterior_predictive_sample(
        self,
        adata: AnnData | None = None,
        indices: Any = None,
        transform_batch: Any = None,
        n_samples: int = 1,
        gene_list: Sequence[str] | None = None,
        batch_size: int | None = None,
        dataloader: Any = None,
        silent: bool = True,  # noqa: FBT001, FBT002
        **data_loader_kwargs: Any,
    ) -> sparse.csr_matrix | list[sparse.csr_matrix]:
        """Native counts drawn from the model: a CSR of cells x genes, or a list of them where `n_samples` > 1."""
        del silent, data_loader_kwargs
        _refuse_loader(dataloader)
        asked = self._ask(adata, indices, batch_size)
        self._checked_batch(asked.adata, transform_batch)
        genes = slice(None) if gene_list is None else _known(asked.adata, gene_list)
        drawn = [matrix[:, genes] for matrix in expression.predictive(asked.posterior, n_samples, _seed())]
        return drawn[0] if n_samples == 1 else drawn

    # ---- latent space ------------------------------------------------------------------------------------------------

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
        samples, generator = asked.adata.obs[sample_key], np.random.default_rng(_seed())
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

    # ---- evidence ----------------------------------------------------------------------------------------------------

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
        return asked.answer(evidence.elbo(asked.posterior, asked.counts, 1, _seed()), return_mean=return_mean)

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
        loss = evidence.reconstruction(asked.posterior, asked.counts, 1, _seed())
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
        values = evidence.marginal(asked.posterior, asked.counts, n_mc_samples, _seed())
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
        asked, seed = self._ask(adata, indices), _seed()
        if zs is None:
            zs = asked.posterior.draw(np.random.default_rng(seed))
        z = np.asarray(zs.detach().cpu() if hasattr(zs, "detach") else zs).reshape(-1, self._options.n_latent)
        return _importance(
            asked.posterior,
            asked.counts,
            z,
            seed,
            max_cells=max_cells,
            truncation=truncation,
            n_mc_samples=n_mc_samples,
        )

    # ---- registry ----------------------------------------------------------------------------------------------------

    @property
    def _registry(self) -> dict[str, Any]:
        """What view_registry and update_setup_method_args of scvi-tools 1.4 look for."""
        return self.registry_


class _Asked:
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


def _importance(
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


def _known(adata: AnnData, genes: Sequence[str]) -> np.ndarray:
    mask = adata.var_names.isin(list(genes))
    if not mask.any():
        msg = f"`gene_list` must name genes of the data; got {list(genes)[:3]!r}, none of which is there."
        raise InputError(msg)
    return np.flatnonzero(mask)


def _refuse_loader(dataloader: Any) -> None:
    if dataloader is not None:
        msg = "`dataloader` carries no names of cells and genes, which this method returns. Pass `adata` and `indices`."
        raise InputError(msg)
