"""What ``de.fit.model`` returns: diffxpy's attributes of a fitted model."""

from __future__ import annotations

import numpy as np
import pandas as pd

from isthmus.data.counts import Counts
from isthmus.glm.result import GlmFit


class Model:
    """The fitted model: parameters, predictors and moments."""

    def __init__(self, fit: GlmFit, counts: Counts) -> None:
        self._fit = fit
        self.x = counts.matrix
        """Counts, cells x genes (CSR)."""

    @property
    def a(self) -> np.ndarray:
        """All location parameters x genes (log mean)."""
        return self._fit.par_link_loc

    @property
    def b(self) -> np.ndarray:
        """All scale parameters x genes (log r)."""
        return self._fit.par_link_scale

    @property
    def design_loc(self) -> np.ndarray:
        """Cells x all location parameters."""
        return self._fit.design_loc

    @property
    def design_scale(self) -> np.ndarray:
        """Cells x all scale parameters."""
        return self._fit.design_scale

    @property
    def eta_loc(self) -> np.ndarray:
        """Log of the fitted means, cells x genes."""
        return self._fit.predict(type="link").to_numpy()

    @property
    def location(self) -> np.ndarray:
        """Fitted means, cells x genes."""
        return self._fit.predict().to_numpy()

    @property
    def scale(self) -> np.ndarray:
        """r = 1 / dispersion, cells x genes; infinite where a gene has no overdispersion. The standard deviation in the
        normal model."""
        dispersion = self._fit.predict(type="dispersion").to_numpy()
        if self._fit.settings["noise_model"] == "normal":
            return np.asarray(np.sqrt(dispersion))
        with np.errstate(divide="ignore"):
            return 1.0 / dispersion


class InputData:
    """Names and designs that went into the fit."""

    def __init__(self, fit: GlmFit, counts: Counts) -> None:
        self._fit = fit
        self.x = counts.matrix
        self.features = [str(name) for name in fit.gene_names]
        self.observations = [str(name) for name in fit.cell_names]
        self.size_factors = fit.size_factors

    @property
    def design_loc(self) -> np.ndarray:
        """Cells x all location parameters."""
        return self._fit.design_loc

    @property
    def design_scale(self) -> np.ndarray:
        """Cells x all scale parameters."""
        return self._fit.design_scale

    @property
    def design_loc_names(self) -> list[str]:
        """Names of all location parameters."""
        return list(self._fit.mean_model.names)

    @property
    def design_scale_names(self) -> list[str]:
        """Names of all scale parameters."""
        return list(self._fit.dispersion_model.names)

    @property
    def loc_names(self) -> list[str]:
        """Names of the free location parameters."""
        part = self._fit.mean_model
        return [name for name, bound in zip(part.names, part.constraint.dependent, strict=True) if not bound]

    @property
    def scale_names(self) -> list[str]:
        """Names of the free scale parameters."""
        part = self._fit.dispersion_model
        return [name for name, bound in zip(part.names, part.constraint.dependent, strict=True) if not bound]

    @property
    def constraints_loc(self) -> np.ndarray:
        """All x free location parameters."""
        return self._fit.constraints_loc

    @property
    def constraints_scale(self) -> np.ndarray:
        """All x free scale parameters."""
        return self._fit.constraints_scale

    @property
    def feature_isallzero(self) -> np.ndarray:
        """Genes without a count."""
        return self._fit.feature_allzero

    @property
    def num_features(self) -> int:
        """Genes."""
        return self._fit.n_genes

    @property
    def num_observations(self) -> int:
        """Cells."""
        return self._fit.n_cells

    @property
    def num_loc_params(self) -> int:
        """Free location parameters."""
        return self._fit.mean_model.n_free

    @property
    def num_scale_params(self) -> int:
        """Free scale parameters."""
        return self._fit.dispersion_model.n_free


class Estimator:
    """A fitted model under diffxpy's names.

    Attributes
    ----------
    fit
        The `isthmus.GlmFit` underneath: tables, tests, covariances.
    model, input_data
        Parameters and moments; names and designs.
    """

    def __init__(self, fit: GlmFit, counts: Counts) -> None:
        self.fit, self.counts = fit, counts
        self.model, self.input_data = Model(fit, counts), InputData(fit, counts)

    @property
    def a_var(self) -> np.ndarray:
        """Free location parameters x genes (log mean)."""
        return self.fit.a_var

    @property
    def b_var(self) -> np.ndarray:
        """Free scale parameters x genes (log r)."""
        return self.fit.b_var

    @property
    def par_link_loc(self) -> np.ndarray:
        """All location parameters x genes."""
        return self.fit.par_link_loc

    @property
    def par_link_scale(self) -> np.ndarray:
        """All scale parameters x genes."""
        return self.fit.par_link_scale

    @property
    def log_likelihood(self) -> np.ndarray:
        """One per gene, with every constant."""
        return self.fit.log_likelihood

    @property
    def loss(self) -> float:
        """Minus the sum of the log-likelihoods (diffxpy's `loss` had the sign of the likelihood)."""
        return float(-np.nansum(self.fit.log_likelihood))

    @property
    def fisher_inv(self) -> np.ndarray:
        """Genes x free x free: covariance of the free location parameters."""
        return self.fit.fisher_inv

    @property
    def hessian(self) -> np.ndarray:
        """Genes x free x free in (a, log r)."""
        return self.fit.hessian

    @property
    def jacobian(self) -> np.ndarray:
        """Genes x free: the score in (a, log r)."""
        return self.fit.jacobian

    @property
    def niter(self) -> np.ndarray:
        """Newton steps of each gene."""
        return self.fit.n_iter

    @property
    def error_codes(self) -> np.ndarray:
        """What stood in the way of an estimate, one per gene ("ok" where nothing did)."""
        return self.fit.status

    def summary(self) -> pd.DataFrame:
        """The table of genes."""
        return self.fit.table("genes")

    def __repr__(self) -> str:
        return f"Estimator of diffxpy's names over\n{self.fit!r}"
