"""Maximum likelihood: accelerated EM, then quasi-Newton steps on the analytic score.

1. Cycles of SQUAREM (Varadhan and Roland 2008) over the ECM map: two steps, an extrapolation along them, and a step
   from there if its log-likelihood is no lower. EM gains quickly far from the optimum and crawls near it.
2. Once a cycle gains little, L-BFGS (Nocedal and Wright 2006, algorithm 7.4) with the complete-data information as its
   first scaling, in coordinates without constraints. A step that leaves the model (a VAR that is not stable) has
   log-likelihood -inf and is shortened. Where no step gains, one EM step decides whether there is more to gain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from isthmus.factors.kernel import PanelFit
from isthmus.factors.search import SCALED_SCORE, Search

if TYPE_CHECKING:
    from collections.abc import Callable

    from isthmus.factors.kernel import CompiledPanel, ReferencePanel
    from isthmus.factors.params import Params, Spec

# A SQUAREM cycle that gains less hands over to L-BFGS.
_HAND_OVER = 0.1
# Share of a series' variance under which its idiosyncratic variance is near zero (a near-Heywood case).
HEYWOOD = 0.01


def idiosyncratic_share(y: np.ndarray, spec: Spec, params: Params) -> np.ndarray:
    """``(N,)`` variance of the idiosyncratic term over that of the series; quarterly: of its aggregate if white."""
    total = np.array([np.nanvar(column) if (~np.isnan(column)).any() else 1.0 for column in y.T])
    own = params.idio_var / (1 - params.idio_ar1**2)
    return np.where(spec.quarterly, 19 * own, own) / np.maximum(total, 1e-300)


def maximise(
    panel: CompiledPanel | ReferencePanel,
    start: Params,
    *,
    accelerate: bool = True,
    max_iter: int = 10_000,
    tol: float = 1e-4,
    progress: Callable[[int], object] | None = None,
) -> PanelFit:
    """Climb from `start`; `converged` = the last gain is under `tol` and the scaled score under 1e-2.

    Raises nothing where it does not converge: the caller reads the flags and says so.
    """
    search = Search(panel, start, max_iter, progress)
    if not np.isfinite(search.value):
        return _result(search, tol, np.inf)
    if accelerate:
        scaled = _accelerated(search, tol)
    else:
        scaled = np.inf
        while not search.exhausted and not (abs(search.gain) < tol and scaled < SCALED_SCORE):
            search.em()
            scaled = search.score().scaled if abs(search.gain) < tol or search.exhausted else np.inf
    return _result(search, tol, scaled)


def _accelerated(search: Search, tol: float) -> float:
    """SQUAREM, then L-BFGS; again where L-BFGS stops short. It holds a first state that is a parameter ("known")."""
    known = search.panel.spec.initial == "known"
    hand_over, scaled = max(0.1 * _HAND_OVER if known else _HAND_OVER, tol), np.inf
    for _ in range(20):
        while search.panel.has_em and not search.exhausted:
            search.squarem()
            if search.gain < hand_over:
                break
        scaled = search.quasi_newton(tol)
        done = abs(search.gain) < tol and scaled < SCALED_SCORE
        if done or search.exhausted or not search.panel.has_em:
            break
        hand_over = 0.1 * hand_over
    return scaled


def _result(search: Search, tol: float, scaled: float) -> PanelFit:
    share = idiosyncratic_share(search.panel.y, search.panel.spec, search.params)
    return PanelFit(
        params=search.params,
        log_likelihood=float(search.value),
        path=np.array(search.path),
        n_iter=search.n_iter,
        converged=bool(abs(search.gain) < tol and scaled < SCALED_SCORE),
        gain=float(search.gain),
        scaled_score=float(scaled),
        heywood=share < HEYWOOD,
        held=search.at_bound,
        kernel=search.panel.kernel,
    )
