"""The attributes that code written for diffxpy and batchglm reads from a fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from isthmus.glm.result import Submodel


class PortedNames:
    """Old names over a GlmFit's arrays. Their dispersion is r = 1 / alpha, so log r = -log alpha; that of the normal
    model is the standard deviation, whose log is half that of the variance."""

    mean_model: Submodel
    dispersion_model: Submodel
    expected_info: np.ndarray
    neg_hessian: np.ndarray
    gradient: np.ndarray
    status: np.ndarray
    settings: dict[str, Any]

    @property
    def a_var(self) -> np.ndarray:
        """Free mean parameters x genes."""
        return self.mean_model.free_coef

    @property
    def b_var(self) -> np.ndarray:
        """Free parameters of log r x genes; of the log standard deviation in the normal model."""
        return self._scale_factor * self.dispersion_model.free_coef

    @property
    def par_link_loc(self) -> np.ndarray:
        """All mean parameters x genes."""
        return self.mean_model.coef

    @property
    def par_link_scale(self) -> np.ndarray:
        """All parameters of log r x genes; of the log standard deviation in the normal model."""
        return self._scale_factor * self.dispersion_model.coef

    @property
    def hessian(self) -> np.ndarray:
        """Genes x free x free, both models, of the log-likelihood in (a, log r)."""
        slope = self._slope
        return -self.neg_hessian * slope[:, None] * slope[None, :]

    @property
    def jacobian(self) -> np.ndarray:
        """Genes x free: the score of the log-likelihood in (a, log r)."""
        return self.gradient * self._slope

    @property
    def _scale_factor(self) -> float:
        """Their scale parameter for one unit of ours."""
        return 0.5 if self.settings["noise_model"] == "normal" else -1.0

    @property
    def _slope(self) -> np.ndarray:
        """Our parameters for one unit of theirs."""
        return np.r_[np.ones(self.mean_model.n_free), np.full(self.dispersion_model.n_free, 1 / self._scale_factor)]

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
