"""Profiles and cells as SCAR's users pass them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from scvi import REGISTRY_KEYS

from isthmus.ambient.options import read_given_profile
from isthmus.ambient.reading import read_whole_counts
from isthmus.ambient.scar.model import Posterior, ScarModel
from isthmus.ambient.scar.options import NetworkOptions
from isthmus.ambient.scar.stock import LETTER, weights_of_scvi
from isthmus.data.sums import column_sums
from isthmus.errors import InputError

PROFILE = "ambient_profile"  # key of varm that get_ambient_profile writes
_LIKELIHOOD = {letter: name for name, letter in LETTER.items()}


def read_profile(profile: Any, adata: Any, layer: str | None) -> np.ndarray:
    """``(n_genes,)`` probabilities in the order of `adata`, from any form; None takes the one put into ``varm``.

    Frames and Series are matched by gene name. Without any, the average cell stands for the ambient profile.
    """
    if hasattr(profile, "detach"):
        profile = profile.detach().cpu().numpy()
    if profile is None and PROFILE in adata.varm:
        profile = PROFILE
    counts = read_whole_counts(adata, "cells", layer)
    if profile is None:
        sums = column_sums(counts.matrix, np.ones(counts.n_cells, dtype=bool))
        return np.asarray(sums / sums.sum())
    if isinstance(profile, (str, pd.Series, pd.DataFrame)):
        table = profile.fillna(0) if not isinstance(profile, str) else profile
    elif isinstance(profile, (np.ndarray, list, tuple)) or sparse.issparse(profile):
        dense = profile.toarray() if sparse.issparse(profile) else np.asarray(profile)
        table = np.nan_to_num(np.asarray(dense, dtype=float))
    else:
        msg = (
            "`ambient_profile` must be a key of varm, an array, a tensor, a Series or DataFrame by gene, or None; got "
            f"{type(profile).__name__}."
        )
        raise InputError(msg)
    return np.asarray(read_given_profile(table, counts, np.array(["all"], dtype=object), adata)["prob"][0])


def model_options(arguments: dict[str, Any]) -> NetworkOptions:
    """Options of our network from the arguments of SCAR's constructor."""
    names = ("n_hidden", "n_latent", "n_layers", "dropout_rate", "latent_distribution", "scale_activation", "sparsity")
    kept = {name: arguments[name] for name in names}
    return NetworkOptions(likelihood=_LIKELIHOOD[arguments["gene_likelihood"]], trainer="scvi", **kept)


def posterior_of_module(
    module: Any, options: NetworkOptions, mean: np.ndarray, variance: np.ndarray, library: np.ndarray
) -> Posterior:
    """The NumPy decoder of a scvi-tools module, with the latent posterior of some cells."""
    weights = weights_of_scvi(module.state_dict(), options.likelihood)
    model = ScarModel(options, weights, mean, variance, np.zeros((0, 3)))
    ambient = module.ambient_profile.detach().cpu().numpy().astype(float).reshape(1, -1)
    return Posterior(model, mean, variance, library, ambient, np.zeros(len(mean), dtype=np.intp))


def registered_counts(manager: Any, indices: np.ndarray) -> sparse.csr_matrix:
    """The registered counts of some cells as CSR float64."""
    return sparse.csr_matrix(manager.get_from_registry(REGISTRY_KEYS.X_KEY)[indices]).astype(float)
