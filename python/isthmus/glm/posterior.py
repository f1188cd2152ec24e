"""Modes of the posterior of the mean model's parameters, for all genes at once, at given dispersions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from isthmus.glm.refit import Model
    from isthmus.glm.source import Evidence

_MOST_STEPS = 200
_LONGEST = 5.0  # of a step, in a linear predictor
_SMALL = 1e-9  # a step in a linear predictor that no longer matters
_AT_ONCE = 2_000_000  # cells x genes held as dense numbers


@dataclass(frozen=True, eq=False)
class Penalty:
    """Minus log priors: normal ones of ``rows @ parameters``, and a Cauchy one of ``cauchy @ parameters``.

    Attributes
    ----------
    rows, precision
        ``(k, f)`` and ``(k,)``: 1 / variance.
    cauchy, scale
        ``(f,)``; none where the scale is 0.
    """

    rows: np.ndarray
    precision: np.ndarray
    cauchy: np.ndarray | None = None
    scale: float = 0.0

    def at(self, coef: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Value ``(n,)``, gradient ``(f, n)``, curvature ``(n, f, f)`` and one that is never negative."""
        at = self.rows @ coef
        value = self.precision @ at**2 / 2
        gradient = self.rows.T @ (self.precision[:, None] * at)
        fixed = (self.rows.T * self.precision) @ self.rows
        curvature = np.broadcast_to(fixed, (coef.shape[1], *fixed.shape)).copy()
        if self.cauchy is None:
            return value, gradient, curvature, curvature
        effect, square = self.cauchy @ coef, self.scale**2
        outer = np.outer(self.cauchy, self.cauchy)
        spread = square + effect**2
        value = value + np.log1p(effect**2 / square)
        gradient = gradient + self.cauchy[:, None] * (2 * effect / spread)
        bounded = curvature + (2 / spread)[:, None, None] * outer
        return value, gradient, curvature + (2 * (square - effect**2) / spread**2)[:, None, None] * outer, bounded


def posterior_modes(
    model: Model,
    evidence: Evidence,
    genes: np.ndarray,
    start: np.ndarray,
    dispersion: np.ndarray,
    penalty: Penalty,
) -> tuple[np.ndarray, np.ndarray]:
    """Modes ``(f, n)`` and inverse curvatures there ``(n, f, f)``; NaN where none was reached.

    With a Cauchy prior there may be two modes, one near 0 and one near the likelihood's: each gene starts from the
    maximum of the likelihood and from an effect of 0, and the higher mode counts.

    Parameters
    ----------
    genes
        ``(n,)`` positions in the counts.
    start, dispersion
        ``(f, n)`` and ``(g, n)`` free parameters; NaN dispersions are alpha = 0.
    """
    out = np.full((model.x.shape[1], len(genes)), np.nan)
    covariance = np.full((len(genes), model.x.shape[1], model.x.shape[1]), np.nan)
    columns = evidence.counts.matrix[:, genes].tocsc()
    step = max(1, _AT_ONCE // len(model.x))
    for first in range(0, len(genes), step):
        part = slice(first, min(first + step, len(genes)))
        problem = _Problem(model, evidence, genes[part], columns[:, part].toarray(), dispersion[:, part], penalty)
        best = problem.climb(_within_reach(start[:, part], model.x))
        if penalty.cauchy is not None:
            other = problem.climb(problem.without_effect())
            better = np.nan_to_num(other[1], nan=-np.inf) > np.nan_to_num(best[1], nan=-np.inf)
            best = (np.where(better, other[0], best[0]), np.where(better, other[1], best[1]))
        out[:, part] = best[0]
        covariance[part] = problem.covariance(best[0])
    return out, covariance


def _within_reach(start: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Starts of separated genes drawn in: their likelihood is flat where they are."""
    start = np.nan_to_num(start)
    return np.asarray(start * (15.0 / np.maximum(np.abs(x @ start).max(axis=0), 15.0)))


class _Problem:
    """Log-posterior of some genes."""

    def __init__(
        self,
        model: Model,
        evidence: Evidence,
        genes: np.ndarray,
        y: np.ndarray,
        dispersion: np.ndarray,
        penalty: Penalty,
    ) -> None:
        self.x, self.y, self.penalty = model.x, np.asarray(y, dtype=float), penalty
        offset = np.broadcast_to(model.offset[:, None], self.y.shape)
        self.offset = offset if evidence.gene_offset is None else offset + evidence.gene_offset[:, genes]
        self.weight = np.ones((1, 1)) if evidence.weights is None else evidence.weights[:, genes]
        self.alpha = np.zeros_like(self.y)
        if model.has_dispersion:
            log_alpha = model.z @ dispersion + model.zeta_offset[:, None]
            self.alpha = np.nan_to_num(np.exp(np.minimum(log_alpha, 50.0)))  # the Poisson limit is alpha = 0

    def without_effect(self) -> np.ndarray:
        """Every cell at the gene's mean."""
        total = (self.weight * self.y).sum(axis=0) / (self.weight * np.exp(self.offset)).sum(axis=0)
        target = np.broadcast_to(np.log(total), self.y.shape)
        return np.asarray(np.linalg.lstsq(self.x, target, rcond=None)[0])

    def value(self, coef: np.ndarray) -> np.ndarray:
        eta = np.minimum(self.x @ coef + self.offset, 50.0)
        mu = np.exp(eta)
        t = self.alpha * mu
        spread = np.where(self.alpha > 1e-12, np.log1p(t) / np.maximum(self.alpha, 1e-12), mu)
        likelihood = (self.weight * (self.y * (eta - np.log1p(t)) - spread)).sum(axis=0)
        return np.asarray(likelihood - self.penalty.at(coef)[0])

    def slope(self, coef: np.ndarray, *, exact: bool) -> tuple[np.ndarray, np.ndarray]:
        """Gradient ``(f, n)`` and curvature ``(n, f, f)``: the exact one, or one that is never negative."""
        mu = np.exp(np.minimum(self.x @ coef + self.offset, 50.0))
        excess = 1 + self.alpha * mu
        _, gradient, curvature, bounded = self.penalty.at(coef)
        score = self.x.T @ (self.weight * (self.y - mu) / excess) - gradient
        w = self.weight * mu * ((1 + self.alpha * self.y) / excess if exact else 1.0) / excess
        information = np.einsum("nf,ng,nh->gfh", self.x, w, self.x, optimize=True)
        return score, information + (curvature if exact else bounded)

    def climb(self, coef: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Newton's method with step halving; NaN for genes that have not arrived."""
        coef = coef.copy()
        value = self.value(coef)
        done = np.zeros(coef.shape[1], dtype=bool)
        for _ in range(_MOST_STEPS):
            score, curvature = self.slope(coef, exact=True)
            indefinite = np.linalg.eigvalsh(curvature)[:, 0] <= 0
            if indefinite.any():
                curvature[indefinite] = self.slope(coef, exact=False)[1][indefinite]
            step = np.linalg.solve(curvature, score.T[:, :, None])[:, :, 0].T
            reach = np.abs(self.x @ step).max(axis=0)
            done = reach < _SMALL
            if done.all():
                break
            step *= _LONGEST / np.maximum(reach, _LONGEST)
            coef, value = self._halved(coef, value, step)
        coef[:, ~done], value[~done] = np.nan, np.nan
        return coef, value

    def _halved(self, coef: np.ndarray, value: np.ndarray, step: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        size = np.ones(coef.shape[1])
        for _ in range(40):
            trial = coef + size * step
            reached = self.value(trial)
            falls = ~(reached >= value - 1e-10 * (1 + np.abs(value)))
            if not falls.any():
                break
            size[falls] /= 2
        return trial, reached

    def covariance(self, coef: np.ndarray) -> np.ndarray:
        known = np.isfinite(coef).all(axis=0)
        out = np.full((coef.shape[1], len(coef), len(coef)), np.nan)
        curvature = self.slope(np.nan_to_num(coef), exact=True)[1]
        out[known] = np.linalg.inv(curvature[known])
        return out
