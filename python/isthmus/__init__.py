"""Single-cell, spatial and panel models: one engine for Python and R."""

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as _version

try:
    __version__ = _version("isthmus")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

from isthmus.ambient import AmbientFit, ambient_profile, remove_ambient
from isthmus.data.design import design_matrix
from isthmus.errors import (
    ConvergenceWarning,
    IdentifiabilityWarning,
    InputError,
    MissingDependencyError,
    ReplicateWarning,
)
from isthmus.factors import FactorFit, factor_news, fit_factors, forecast_factors, select_n_factors
from isthmus.glm import GlmFit, constraint_matrix, fit_glm, pseudobulk, test_glm
from isthmus.results import load_fit, save_fit
from isthmus.testing import simulate_counts

__all__ = [
    "AmbientFit",
    "ConvergenceWarning",
    "FactorFit",
    "GlmFit",
    "IdentifiabilityWarning",
    "InputError",
    "MissingDependencyError",
    "ReplicateWarning",
    "__version__",
    "ambient_profile",
    "constraint_matrix",
    "design_matrix",
    "factor_news",
    "fit_factors",
    "fit_glm",
    "forecast_factors",
    "load_fit",
    "pseudobulk",
    "remove_ambient",
    "save_fit",
    "select_n_factors",
    "simulate_counts",
    "test_glm",
]
