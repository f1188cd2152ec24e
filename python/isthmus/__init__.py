"""Single-cell, spatial and panel models: one engine for Python and R."""

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as _version

try:
    __version__ = _version("isthmus")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

from isthmus.ambient import AmbientFit, ambient_profile, remove_ambient
from isthmus.data.design import design_matrix
from isthmus.embedded_r import as_anndata, as_sce
from isthmus.errors import (
    ConvergenceWarning,
    ConversionWarning,
    IdentifiabilityWarning,
    InputError,
    MissingDependencyError,
    ReplicateWarning,
)
from isthmus.factors import FactorFit, factor_news, fit_factors, forecast_factors, select_n_factors
from isthmus.glm import GlmFit, constraint_matrix, fit_glm, pseudobulk, test_glm
from isthmus.help_in_r import announce as _announce
from isthmus.interaction import (
    InteractionFit,
    attention,
    explained_variance,
    fit_interactions,
    length_scales,
    neighbor_effects,
)
from isthmus.results import load_fit, save_fit
from isthmus.testing import simulate_counts

__all__ = [
    "AmbientFit",
    "ConvergenceWarning",
    "ConversionWarning",
    "FactorFit",
    "GlmFit",
    "IdentifiabilityWarning",
    "InputError",
    "InteractionFit",
    "MissingDependencyError",
    "ReplicateWarning",
    "__version__",
    "ambient_profile",
    "as_anndata",
    "as_sce",
    "attention",
    "constraint_matrix",
    "design_matrix",
    "explained_variance",
    "factor_news",
    "fit_factors",
    "fit_glm",
    "fit_interactions",
    "forecast_factors",
    "length_scales",
    "load_fit",
    "neighbor_effects",
    "pseudobulk",
    "remove_ambient",
    "save_fit",
    "select_n_factors",
    "simulate_counts",
    "test_glm",
]

_announce(globals(), __all__)  # to R's help and completion, where R has started this Python
