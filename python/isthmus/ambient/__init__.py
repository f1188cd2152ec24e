"""Counts that come from the soup of a droplet rather than from its cell: their profile, and the correction."""

from isthmus.ambient.exclusivity import marker_exclusivity
from isthmus.ambient.profile import ambient_profile
from isthmus.ambient.remove import remove_ambient
from isthmus.ambient.result import AmbientFit
from isthmus.ambient.scar import (
    aggregated_posterior,
    differential_abundance,
    differential_expression,
    elbo,
    feature_correlation_matrix,
    importance_weights,
    latent,
    latent_library_size,
    likelihood_parameters,
    marginal_ll,
    normalized_expression,
    posterior_predictive_sample,
    reconstruction_error,
)
from isthmus.ambient.sensitivity import sensitivity

__all__ = [
    "AmbientFit",
    "aggregated_posterior",
    "ambient_profile",
    "differential_abundance",
    "differential_expression",
    "elbo",
    "feature_correlation_matrix",
    "importance_weights",
    "latent",
    "latent_library_size",
    "likelihood_parameters",
    "marginal_ll",
    "marker_exclusivity",
    "normalized_expression",
    "posterior_predictive_sample",
    "reconstruction_error",
    "remove_ambient",
    "sensitivity",
]
