"""Expression in ``SCAR``: frequencies, differences, parameters, correlations, predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from scipy import sparse

from isthmus.ambient.scar import comparison, expression
from isthmus.ambient.scar.model import decode
from isthmus.compat.scvi.asking import Asked, Asks, importance_of, known_genes, new_seed, refuse_loader
from isthmus.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData


class Expresses(Asks):
    """What each cell expresses."""

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
        refuse_loader(dataloader)
        asked = self._ask(adata, indices, batch_size)
        self._checked_batch(asked.adata, transform_batch)
        genes = np.arange(asked.adata.n_vars) if gene_list is None else known_genes(asked.adata, gene_list)
        posterior, seed = asked.posterior, new_seed()
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
        asked: Asked,
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
            probability = comparison.tempered(importance_of(posterior, asked.counts, z, seed, **options))
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
        refuse_loader(dataloader)
        asked, seed, n = self._ask(adata, indices, batch_size), new_seed(), int(n_samples or 1)
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
        """Genes x genes; for the binomial and the Poisson the correlation of p, which has no noise of its own.

        A gene whose expression is the same in every draw, such as one that the sparse activation sets to zero in all
        cells, has no correlation of either type: NaN in its row and column.
        """
        del silent
        if correlation_type not in ("spearman", "pearson"):
            msg = f"`correlation_type` must be 'spearman' or 'pearson'; got {correlation_type!r}."
            raise InputError(msg)
        asked = self._ask(adata, indices, batch_size)
        self._checked_batch(asked.adata, transform_batch)
        values = expression.correlations(
            asked.posterior, slice(None), n_samples, float(rna_size_factor), correlation_type, new_seed()
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
        refuse_loader(dataloader)
        asked = self._ask(adata, indices, batch_size)
        self._checked_batch(asked.adata, transform_batch)
        genes = slice(None) if gene_list is None else known_genes(asked.adata, gene_list)
        drawn = [matrix[:, genes] for matrix in expression.predictive(asked.posterior, n_samples, new_seed())]
        return drawn[0] if n_samples == 1 else drawn
