"""A way out of poor local maxima: exchange a factor for what the fit leaves unexplained.

The likelihood of a factor model has several maxima. EM from principal components finds the factors of most series, and
can miss one that two or three series share almost wholly, whose maximum may lie hundreds of log-likelihood units
higher (and is then often near-Heywood: those series keep next to no variance of their own). Where their variance goes
all the way to its bound, there is no maximum but a likelihood without end, and the fit is not taken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from isthmus.factors.moments import idiosyncratic, innovations
from isthmus.factors.start import params_from_factors

if TYPE_CHECKING:
    from collections.abc import Callable

    from isthmus.factors.kernel import CompiledPanel, PanelFit
    from isthmus.factors.params import Params

_ROUNDS = 3
# A fit must be this much better to count as another maximum.
_BETTER = 0.01
# Two series whose one-step errors correlate more may want a factor of their own.
_CLOSE = 0.8
_PAIRS = 4
# Every start gets this many iterations; the best of them go on.
_TRIAL = 6
_FINALISTS = 2
# ... so far: a finalist that has not overtaken the fit by then is given up, the best of all is fitted to the end.
_CHASE = 60


def _standard(x: np.ndarray) -> np.ndarray:
    scale = np.sqrt(np.nanmean(x**2, axis=0))
    return np.asarray(np.nan_to_num(x / np.where(scale > 0, scale, 1.0)))


def unexplained(errors: np.ndarray, rest: np.ndarray) -> list[np.ndarray]:
    """What the series' idiosyncratic terms `rest` ``(T, n)`` have in common, seen by their one-step `errors`.

    The leading principal component of the errors; and the sum of two series whose errors correlate strongly, for a few
    such pairs.
    """
    standard, own = _standard(errors), _standard(rest)
    products = standard.T @ standard
    found = [np.asarray(own @ np.linalg.eigh(products)[1][:, -1])]
    together = (~np.isnan(errors)).astype(float)
    correlation = products / np.maximum(together.T @ together, len(errors) / 4)
    np.fill_diagonal(correlation, 0.0)
    for _ in range(_PAIRS):
        i, j = np.unravel_index(np.abs(correlation).argmax(), correlation.shape)
        if abs(correlation[i, j]) < _CLOSE:
            break
        found.append(own[:, i] + np.sign(correlation[i, j]) * own[:, j])
        correlation[[i, j]] = correlation[:, [i, j]] = 0.0
    return found


def exchange_factors(panel: CompiledPanel, found: PanelFit, fit: Callable[[Params, int | None], PanelFit]) -> PanelFit:
    """Refit from `found` with each factor in turn replaced by :func:`unexplained`; again while that finds better fits.

    Parameters
    ----------
    panel
        The data and the kernel.
    found
        A fit.
    fit
        Maximises from given parameters, in so many iterations (None: in as many as it takes).
    """
    best = found
    for _ in range(_ROUNDS):
        if not np.isfinite(best.log_likelihood):
            return found
        starts = [params_from_factors(panel.y, panel.spec, factors) for factors in _candidates(panel, best)]
        tried = sorted((fit(start, _TRIAL) for start in starts), key=lambda trial: -trial.log_likelihood)
        others = [fit(trial.params, _CHASE) for trial in tried[:_FINALISTS]]
        proper = (other for other in others if not other.held.any())
        other = max(proper, key=lambda other: other.log_likelihood, default=best)
        if not other.log_likelihood > best.log_likelihood + _BETTER:
            break
        best = other
    if not best.converged:
        best = fit(best.params, None)
    return best if best.converged and not best.held.any() else found


def _candidates(panel: CompiledPanel, found: PanelFit) -> list[np.ndarray]:
    """``(T, r)`` factors to start from, one of them exchanged."""
    y, spec = panel.y, panel.spec
    monthly = ~np.asarray(spec.quarterly) & (np.count_nonzero(~np.isnan(y), axis=0) > 1)
    moments = panel.moments(found.params)
    errors, _ = innovations(y, spec, found.params, moments)
    rest = idiosyncratic(y, spec, found.params, moments)
    candidates = []
    for j in range(spec.n_factors):
        series = np.flatnonzero(spec.loads[:, j] & monthly)
        for one in unexplained(errors[:, series], rest[:, series]) if len(series) > 1 else []:
            factors = moments.smoothed[:, : spec.n_factors].copy()
            factors[:, j] = one
            candidates.append(factors)
    return candidates
