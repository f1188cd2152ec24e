"""The attributes that code written for diffxpy and batchglm reads from a fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from isthmus.glm.result import Submodel


class PortedNames:
    """Old names over a GlmFit's arrays. Their dispersion is r = 1 / alpha, so log r = -log alpha."""

    mean_model: Submodel
    dispersion_model: Submodel
    expected_info: np.ndarray
    neg_hessian: np.ndarray
    gradient: np.ndarray
    status: np.ndarray

    @property
    def a_var(self) -> np.ndarray:
        """Free mean parameters x genes."""
        return self.mean_model.free_coef

    @property
    def b_var(self) -> np.ndarray:
        """Free parameters of log r x genes."""
        return -self.dispersion_model.free_coef

    @property
    def par_link_loc(self) -> np.ndarray:
        """All mean parameters x genes."""
        return self.mean_model.coef

    @property
    def par_link_scale(self) -> np.ndarray:
        """All parameters of log r x genes."""
        return -self.dispersion_model.coef

    @property
    def hessian(self) -> np.ndarray:
        """Genes x free x free, both models, of the log-likelihood in (a, log r)."""
        sign = self._log_r_sign
        return -self.neg_hessian * sign[:, None] * sign[None, :]

    @property
    def jacobian(self) -> np.ndarray:
        """Genes x free: the score of the log-likelihood in (a, log r)."""
        return self.gradient * self._log_r_sign

    @property
    def _log_r_sign(self) -> np.ndarray:
        return np.r_[np.ones(self.mean_model.n_free), -np.ones(self.dispersion_model.n_free)]

    @property
    def design_loc(self) -> np.ndarray:
        """Cells x all mean parameters."""
        return self.mean_model.design.matrix

    @property
    def design_scale(self) -> np.ndarray:
        """Cells x all dispersion parameters."""
        return self.dispersion_model.design.matrix

    @property
    def constraints_loc(self) -> np.ndarray:
        """H of the mean model."""
        return self.mean_model.constraint.free

    @property
    def constraints_scale(self) -> np.ndarray:
        """H of the dispersion model."""
        return self.dispersion_model.constraint.free

    @property
    def feature_allzero(self) -> np.ndarray:
        """``(n_genes,)`` bool."""
        return self.status == "all_zero"
