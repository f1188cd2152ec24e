"""A way out of poor local maxima: exchange a factor for what the fit leaves unexplained.

The likelihood of a factor model has several maxima. EM from principal components finds the factors of most series, and
can miss one that two or three series share almost wholly, whose maximum may lie hundreds of log-likelihood units
higher (and is then often near-Heywood: those series keep next to no variance of their own).
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


def unexplained(errors: np.ndarray, rest: np.ndarray, series: np.ndarray) -> np.ndarray:
    """``(T,)`` the combination of the `series`' idiosyncratic terms whose one-step errors go together most."""
    scale = np.sqrt(np.nanmean(errors[:, series] ** 2, axis=0))
    standard = np.nan_to_num(errors[:, series] / np.where(scale > 0, scale, 1.0))
    _, vectors = np.linalg.eigh(standard.T @ standard)
    own = rest[:, series]
    spread = own.std(axis=0)
    return np.asarray((own / np.where(spread > 0, spread, 1.0)) @ vectors[:, -1])


def exchange_factors(panel: CompiledPanel, found: PanelFit, fit: Callable[[Params], PanelFit]) -> PanelFit:
    """Refit from `found` with each factor in turn replaced by :func:`unexplained`; again while that finds better fits.

    Parameters
    ----------
    panel
        The data and the kernel.
    found
        A fit.
    fit
        Maximises from given parameters.
    """
    y, spec = panel.y, panel.spec
    monthly = ~np.asarray(spec.quarterly) & (np.count_nonzero(~np.isnan(y), axis=0) > 1)
    for _ in range(_ROUNDS):
        if not np.isfinite(found.log_likelihood):
            return found
        moments = panel.moments(found.params)
        errors, _ = innovations(y, spec, found.params, moments)
        rest = idiosyncratic(y, spec, found.params, moments)
        best = found
        for j in range(spec.n_factors):
            series = np.flatnonzero(spec.loads[:, j] & monthly)
            if len(series) < 2:
                continue
            factors = moments.smoothed[:, : spec.n_factors].copy()
            factors[:, j] = unexplained(errors, rest, series)
            other = fit(params_from_factors(y, spec, factors))
            best = other if other.log_likelihood > best.log_likelihood + _BETTER else best
        if best is found:
            return found
        found = best
    return found
