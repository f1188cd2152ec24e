"""SCAR, the network behind ``remove_ambient(method="scar")``, and what can be asked of its fits.

The functions of a fit carry the names of scvi-tools' methods without ``get_``. Left out are its ways to look at an
AnnData registry and to move to another device: ``fit.settings`` says how a fit was made, `save_fit` keeps it, and where
scvi-tools' class itself is wanted there is `isthmus.compat.scvi.SCAR`.
"""

from isthmus.ambient.scar.decoded import (
    feature_correlation_matrix,
    likelihood_parameters,
    normalized_expression,
    posterior_predictive_sample,
)
from isthmus.ambient.scar.differential import differential_expression
from isthmus.ambient.scar.explained import elbo, importance_weights, marginal_ll, reconstruction_error
from isthmus.ambient.scar.latent_space import (
    aggregated_posterior,
    differential_abundance,
    latent,
    latent_library_size,
)

__all__ = [
    "aggregated_posterior",
    "differential_abundance",
    "differential_expression",
    "elbo",
    "feature_correlation_matrix",
    "importance_weights",
    "latent",
    "latent_library_size",
    "likelihood_parameters",
    "marginal_ll",
    "normalized_expression",
    "posterior_predictive_sample",
    "reconstruction_error",
]
