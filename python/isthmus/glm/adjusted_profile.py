r"""Dispersions by the Cox-Reid adjusted profile likelihood, alone or with a prior.

.. math:: APL(b) = l(\hat a(b), b) - \tfrac12 \log\det I(b) - \tfrac1{2v} (b - m)^2

with :math:`\hat a(b)` the mean parameters at dispersion b and :math:`I = X' diag(\mu / (1 + \alpha\mu)) X` their
information in the free parameters (Cox & Reid 1987, J. R. Stat. Soc. B 49:1; McCarthy, Chen & Smyth 2012, Nucleic Acids
Res. 40:4288). Maximum likelihood takes the fitted means for the true ones and finds too little dispersion; the
determinant pays for that. The last term is there with a prior only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.glm import kernel, refit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from isthmus.glm.kernel import GeneFits
    from isthmus.glm.refit import Model
    from isthmus.glm.source import Evidence

_MOST_STEPS = 60
_LONGEST = 2.0  # of a step, in log alpha
_SMALL = 1e-5  # a step in log alpha that no longer matters
_DIFFERENCE = 0.01  # for the slope of log det I
_LIMIT = 1e-5  # alpha x mean below which the variance is Poisson's to five digits
_PERHAPS_NONE = 0.1  # alpha x mean below which alpha = 0 is tried as well: the objective is flat on the way there
_GAIN = 1e-8  # log-likelihood that no longer matters
_START_AT_LIMIT = 0.05  # alpha x mean where the likelihood alone would have chosen 0


@dataclass(frozen=True, eq=False)
class Prior:
    """log alpha ~ Normal(center, variance), `center` per gene; for models with one dispersion."""

    center: np.ndarray
    variance: float


@dataclass(eq=False)
class _Points:
    """Where each gene stands: dispersion, the means fitted at it, the objective, and its ascent direction."""

    b: np.ndarray
    fits: GeneFits
    value: np.ndarray
    step: np.ndarray
    gain: np.ndarray


def adjusted_profile(
    model: Model,
    evidence: Evidence,
    start: GeneFits,
    gene_means: np.ndarray,
    settings: Mapping[str, Any],
    *,
    prior: Prior | None = None,
    n_threads: int = 1,
) -> GeneFits:
    """Maximise the adjusted profile likelihood of every gene, from a maximum-likelihood fit.

    Newton's method in b with the curvature of the profile likelihood and the slope of the determinant by differences;
    steps are shortened until the objective rises. A gene whose alpha falls to nothing is at the Poisson limit.

    Parameters
    ----------
    start
        A fit of the same model.
    gene_means
        ``(n_genes,)`` mean count / size factor.
    prior
        For ``dispersion="trend"``.

    Returns
    -------
    GeneFits
        Mean parameters at the dispersions found; codes say which genes are at the limit or did not converge.
    """
    b = start.dispersion_coef.copy()
    mean_coef = np.nan_to_num(start.mean_coef)
    alive = np.flatnonzero(start.code != kernel.ALL_ZERO)
    at_limit = alive[np.isnan(b[:, alive]).any(axis=0)]
    b[:, at_limit] = _constant_dispersion(model, np.log(_START_AT_LIMIT / gene_means[at_limit]))
    if prior is not None:
        b[0, alive] = np.where(b[0, alive] > prior.center[alive] - 2.3, b[0, alive], prior.center[alive])
    climb = _Climb(model, evidence, settings, prior, n_threads)
    done, value = np.zeros(b.shape[1], dtype=bool), np.full(b.shape[1], np.nan)
    moving = alive
    at = climb.look(moving, b[:, moving], mean_coef[:, moving])
    for _ in range(_MOST_STEPS):
        at = climb.step(moving, at)
        b[:, moving], mean_coef[:, moving], value[moving] = at.b, np.nan_to_num(at.fits.mean_coef), at.value
        still = (np.abs(model.z_rows @ at.step).max(axis=0) > _SMALL) & (at.gain > _GAIN)
        faded = _largest_dispersion(model, at.b) * gene_means[moving] < _LIMIT
        done[moving[~still | faded]] = True
        keep = still & ~faded
        if not keep.any():
            break
        moving, at = moving[keep], _take(at, keep)
    if prior is None:
        low = alive[_largest_dispersion(model, b[:, alive]) * gene_means[alive] < _PERHAPS_NONE]
        none = low[climb.no_dispersion(low, mean_coef[:, low]) >= value[low] - _GAIN]
        b[:, none], done[none] = np.nan, True
    return _finish(model, evidence, start, b, mean_coef, done, settings, n_threads)


class _Climb:
    """The objective of some genes, and steps up it."""

    def __init__(
        self, model: Model, evidence: Evidence, settings: Mapping[str, Any], prior: Prior | None, n_threads: int
    ) -> None:
        self.model, self.evidence, self.settings = model, evidence, settings
        self.prior, self.n_threads = prior, n_threads

    def look(self, genes: np.ndarray, b: np.ndarray, mean_coef: np.ndarray) -> _Points:
        """Refit the means at b, and find the next direction."""
        fits = refit.maximise(
            self.model,
            self.evidence,
            genes,
            dispersion=b,
            start=mean_coef,
            settings=self.settings,
            n_threads=self.n_threads,
        )
        value = fits.log_likelihood - _log_det(fits.expected_info) / 2
        slope = fits.gradient[:, fits.mean_coef.shape[0] :].T.copy()
        for column in range(len(b)):
            slope[column] -= self._determinant_slope(genes, fits, b, column) / 2
        curvature = _profile_curvature(fits)
        if self.prior is not None:
            gap = b[0] - self.prior.center[genes]
            value = value - gap**2 / (2 * self.prior.variance)
            slope[0] -= gap / self.prior.variance
            curvature[:, 0, 0] += 1 / self.prior.variance
        step = self._direction(slope, curvature)
        return _Points(b, fits, value, step, np.sum(slope * step, axis=0))

    def step(self, genes: np.ndarray, at: _Points) -> _Points:
        """One step for every gene, halved where the objective would fall."""
        length = np.ones(len(genes))
        out = self.look(genes, at.b + at.step, at.fits.mean_coef)
        for _ in range(12):
            falls = ~(out.value >= at.value - 1e-9 * (1 + np.abs(at.value)))
            if not falls.any():
                return out
            length[falls] /= 3
            where = np.flatnonzero(falls)
            tried = at.b[:, where] + length[where] * at.step[:, where]
            _put(out, where, self.look(genes[where], tried, at.fits.mean_coef[:, where]))
        out.gain[~(out.value > at.value)] = 0.0  # nowhere higher, as far as rounding shows
        return out

    def no_dispersion(self, genes: np.ndarray, mean_coef: np.ndarray) -> np.ndarray:
        """The objective at alpha = 0."""
        if not genes.size:
            return np.empty(0)
        nothing = np.full((self.model.z.shape[1], len(genes)), np.nan)
        fits = refit.maximise(
            self.model,
            self.evidence,
            genes,
            dispersion=nothing,
            start=mean_coef,
            settings=self.settings,
            n_threads=self.n_threads,
        )
        return np.asarray(fits.log_likelihood - _log_det(fits.expected_info) / 2)

    def _determinant_slope(self, genes: np.ndarray, fits: GeneFits, b: np.ndarray, column: int) -> np.ndarray:
        """d log det I / d b_column along the fitted means: the two sides are refitted, as I depends on alpha and mu."""
        sides = []
        for sign in (1.0, -1.0):
            moved = b.copy()
            moved[column] += sign * _DIFFERENCE
            there = refit.maximise(
                self.model,
                self.evidence,
                genes,
                dispersion=moved,
                start=np.nan_to_num(fits.mean_coef),
                settings=self.settings,
                n_threads=self.n_threads,
            )
            sides.append(_log_det(there.expected_info))
        return np.asarray((sides[0] - sides[1]) / (2 * _DIFFERENCE))

    def _direction(self, slope: np.ndarray, curvature: np.ndarray) -> np.ndarray:
        """Newton's direction, uphill also where the profile is convex, no longer than a few units of log alpha."""
        values, vectors = np.linalg.eigh(np.nan_to_num(curvature))
        size = np.maximum(np.abs(values), 1e-6)
        inner = np.einsum("gij,jg->gi", vectors.transpose(0, 2, 1), np.nan_to_num(slope)) / size
        step = np.einsum("gij,gj->ig", vectors, inner)
        reach = np.abs(self.model.z_rows @ step).max(axis=0)
        return np.asarray(step * (_LONGEST / np.maximum(reach, _LONGEST)))


def _profile_curvature(fits: GeneFits) -> np.ndarray:
    """``(n, g, g)``: minus the Hessian of the profile likelihood, the Schur complement of the mean's block."""
    f = fits.mean_coef.shape[0]
    h = np.nan_to_num(fits.neg_hessian)
    ridge = 1e-10 * np.einsum("gii->g", h[:, :f, :f])[:, None, None] * np.eye(f)
    inner = np.linalg.solve(h[:, :f, :f] + ridge + 1e-300 * np.eye(f), h[:, :f, f:])
    return np.asarray(h[:, f:, f:] - h[:, f:, :f] @ inner)


def _log_det(information: np.ndarray) -> np.ndarray:
    sign, value = np.linalg.slogdet(np.nan_to_num(information))
    return np.where(sign > 0, value, -700.0)  # separated genes: the determinant goes to 0, and stays there


def _constant_dispersion(model: Model, log_alpha: np.ndarray) -> np.ndarray:
    """Free parameters that come closest to one log alpha for all cells."""
    target = (
        log_alpha - model.zeta_offset[:, None]
        if model.zeta_offset.any()
        else np.broadcast_to(log_alpha, (len(model.z), len(log_alpha)))
    )
    return np.asarray(np.linalg.lstsq(model.z, target, rcond=None)[0])


def _largest_dispersion(model: Model, b: np.ndarray) -> np.ndarray:
    fixed = model.zeta_offset.max() if len(model.zeta_offset) else 0.0
    return np.exp(np.minimum((model.z_rows @ b).max(axis=0) + fixed, 50.0))


def _put(into: _Points, where: np.ndarray, part: _Points) -> None:
    into.b[:, where], into.value[where] = part.b, part.value
    into.step[:, where], into.gain[where] = part.step, part.gain
    into.fits = refit.put(into.fits, where, part.fits)


def _take(at: _Points, keep: np.ndarray) -> _Points:
    fits = refit.take(at.fits, np.flatnonzero(keep))
    return _Points(at.b[:, keep], fits, at.value[keep], at.step[:, keep], at.gain[keep])


def _finish(
    model: Model,
    evidence: Evidence,
    start: GeneFits,
    b: np.ndarray,
    mean_coef: np.ndarray,
    done: np.ndarray,
    settings: Mapping[str, Any],
    n_threads: int,
) -> GeneFits:
    """Fit the means once more at the final dispersions, with what standard errors need, and set the codes."""
    genes = np.arange(b.shape[1])
    b[:, start.code == kernel.ALL_ZERO] = 0.0
    fits = refit.maximise(model, evidence, genes, dispersion=b, start=mean_coef, settings=settings, n_threads=n_threads)
    limit = np.isnan(b).any(axis=0) & (fits.code == kernel.OK)
    fits.code[limit] = kernel.POISSON_LIMIT
    fits.code[~done & (fits.code == kernel.OK)] = kernel.NOT_CONVERGED
    for values in (fits.min_alpha, fits.max_alpha, fits.mean_alpha):
        values[limit] = 0.0
    return fits
