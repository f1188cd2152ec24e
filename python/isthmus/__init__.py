"""Single-cell, spatial and panel models: one engine for Python and R."""

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as _version

try:
    __version__ = _version("isthmus")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

from isthmus.data.design import design_matrix
from isthmus.embedded_r import as_anndata, as_sce
from isthmus.errors import ConvergenceWarning, ConversionWarning, InputError, MissingDependencyError
from isthmus.factors import FactorFit, factor_news, fit_factors, forecast_factors, select_n_factors
from isthmus.glm import GlmFit, constraint_matrix, fit_glm, test_glm
from isthmus.results import load_fit, save_fit
from isthmus.testing import simulate_counts

__all__ = [
    "ConvergenceWarning",
    "ConversionWarning",
    "FactorFit",
    "GlmFit",
    "InputError",
    "MissingDependencyError",
    "__version__",
    "as_anndata",
    "as_sce",
    "constraint_matrix",
    "design_matrix",
    "factor_news",
    "fit_factors",
    "fit_glm",
    "forecast_factors",
    "load_fit",
    "save_fit",
    "select_n_factors",
    "simulate_counts",
    "test_glm",
]
