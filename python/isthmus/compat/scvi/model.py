"""``scvi.external.SCAR`` with every documented method working, for all four likelihoods.

Training, files and registry are scvi-tools'. What is asked of a trained model is computed by
`isthmus.ambient.scar` from its weights, so that it works for the default likelihood too. In the docstrings: what is
different from scvi-tools 1.4. The batch is no input of SCAR's decoder: `transform_batch` is checked and changes
nothing. Random numbers follow ``scvi.settings.seed``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import rich.pretty  # scvi-tools' view_* functions use it without importing it
from scvi import REGISTRY_KEYS

from isthmus.compat.scvi.correction import Corrects
from isthmus.compat.scvi.evidence import Explains
from isthmus.compat.scvi.expression import Expresses
from isthmus.compat.scvi.latent_space import Places
from isthmus.compat.scvi.reading import model_options, read_profile, registered_counts
from isthmus.compat.scvi.registry import Registers
from isthmus.errors import InputError

if TYPE_CHECKING:
    from anndata import AnnData

assert rich.pretty


class SCAR(Corrects, Expresses, Places, Explains, Registers):
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
    >>> SCAR.get_ambient_profile(cells, droplets, prob=0.2)
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
