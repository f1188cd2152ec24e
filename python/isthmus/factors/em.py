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

from isthmus.factors.coordinates import Coordinates
from isthmus.factors.kernel import PanelFit

if TYPE_CHECKING:
    from collections.abc import Callable

    from isthmus.factors.kernel import CompiledPanel, ReferencePanel
    from isthmus.factors.params import Params, Spec

SCALED_SCORE = 1e-2
# A SQUAREM cycle that gains less hands over to L-BFGS.
_HAND_OVER = 0.1
_MEMORY = 12
# Share of a series' variance under which its idiosyncratic variance is near zero (a near-Heywood case).
HEYWOOD = 0.01


def idiosyncratic_share(y: np.ndarray, spec: Spec, params: Params) -> np.ndarray:
    """``(N,)`` variance of the idiosyncratic term over that of the series; quarterly: of its aggregate if white."""
    total = np.array([np.nanvar(column) if (~np.isnan(column)).any() else 1.0 for column in y.T])
    own = params.idio_var / (1 - params.idio_ar1**2)
    return np.where(spec.quarterly, 19 * own, own) / np.maximum(total, 1e-300)


class Search:
    """Where the search stands; each method is one of its moves."""

    def __init__(
        self,
        panel: CompiledPanel | ReferencePanel,
        start: Params,
        max_iter: int,
        progress: Callable[[int], object] | None,
    ) -> None:
        self.panel, self.params, self.coordinates = panel, start, Coordinates(panel.spec)
        self.max_iter, self.progress = max_iter, progress
        self.value = panel.loglike(start)
        self.path = [self.value]
        self.n_iter, self.gain = 0, np.inf
        self._ahead: Params | None = None
        self._pairs: list[tuple[np.ndarray, np.ndarray]] = []

    @property
    def exhausted(self) -> bool:
        """No iteration is left."""
        return self.n_iter >= self.max_iter

    def _count(self) -> None:
        self.path.append(self.value)
        if self.progress is not None:
            self.progress(self.n_iter)

    def _accept(self, params: Params, value: float) -> None:
        self.params, self.gain, self.value, self._ahead = params, value - self.value, value, None

    def em(self) -> None:
        """One ECM step."""
        new, _ = self._step(self.params)
        value = self.panel.loglike(new)
        if np.isfinite(value):
            self._accept(new, value)
        else:
            self.gain = 0.0
        self._count()

    def squarem(self) -> None:
        """Two ECM steps and an extrapolation along them, shortened until it is no worse than the first of them."""
        first = self._ahead if self._ahead is not None else self._step(self.params)[0]
        second, lowest = self._step(first)
        x0, x1, x2 = (self.coordinates.to(p) for p in (self.params, first, second))
        r, v = x1 - x0, x2 - 2 * x1 + x0
        length = max(1.0, float(np.linalg.norm(r)) / max(float(np.linalg.norm(v)), 1e-300))
        value, jump, ahead = -np.inf, second, None
        while length > 1 and not value >= lowest:
            jump = self.coordinates.back(x0 + 2 * length * r + length**2 * v, second)
            ahead, value = self._step(jump)
            length = (length + 1) / 2 if length > 1.5 else 1.0
        if not value >= lowest:
            jump = second
            ahead, value = self._step(second)
        if not np.isfinite(value):  # rounding took the step out of the model: stay
            jump, ahead, value = self.params, None, self.value
        self._accept(jump, value)
        self._ahead = ahead  # the ECM step from here is known already
        self._count()

    def _step(self, params: Params) -> tuple[Params, float]:
        self.n_iter += 1
        return self.panel.em(params)

    def score(self) -> tuple[np.ndarray, np.ndarray, float]:
        """Gradient and curvature in coordinates, and the scaled score."""
        self.n_iter += 1
        _, score, information = self.panel.score(self.params)
        x = self.coordinates.to(self.params)
        usable = information > 0
        scaled = float(np.max(np.abs(score[usable]) / np.sqrt(information[usable]), initial=0.0))
        return self.coordinates.gradient(x, score), self.coordinates.curvature(x, information), scaled

    def _direction(self, gradient: np.ndarray, curvature: np.ndarray) -> np.ndarray:
        """Two-loop recursion, ascending."""
        q, kept = gradient.copy(), []
        for s, y in reversed(self._pairs):
            a = (s @ q) / (y @ s)
            q -= a * y
            kept.append(a)
        scale = 1.0
        if self._pairs:
            s, y = self._pairs[-1]
            scale = (s @ y) / (y @ (y / curvature))
        q = scale * q / curvature
        for (s, y), a in zip(self._pairs, reversed(kept), strict=True):
            q += (a - (y @ q) / (y @ s)) * s
        return q

    def quasi_newton(self, tol: float) -> float:
        """L-BFGS until the gain is under `tol` and the scaled score under 1e-2, or no step gains; the scaled score."""
        self._pairs = []
        gradient, curvature, scaled = self.score()
        while not self.exhausted:
            if abs(self.gain) < tol and scaled < SCALED_SCORE:
                break
            x = self.coordinates.to(self.params)
            step = self._search_line(x, self._direction(gradient, curvature), gradient)
            if step is None:
                if not self._pairs:
                    break
                self._pairs = []
                continue
            before = gradient
            gradient, curvature, scaled = self.score()
            change = before - gradient  # of minus the log-likelihood's gradient
            if step @ change > 1e-10 * np.linalg.norm(step) * np.linalg.norm(change):
                self._pairs = [*self._pairs[-_MEMORY + 1 :], (step, change)]
            self._count()
        return scaled

    def _search_line(self, x: np.ndarray, direction: np.ndarray, gradient: np.ndarray) -> np.ndarray | None:
        """Halve until the log-likelihood has risen enough; None where it never does."""
        slope = gradient @ direction
        longest = np.abs(direction).max()
        if not slope > 0 or not np.isfinite(longest):
            return None
        length = min(1.0, 2.0 / longest) if longest > 0 else 1.0
        for _ in range(30):
            params = self.coordinates.back(x + length * direction, self.params)
            value = self.panel.loglike(params)
            if value >= self.value + 1e-4 * length * slope:
                self._accept(params, value)
                return length * direction
            length *= 0.5 if np.isfinite(value) else 0.25
        return None


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
            scaled = search.score()[2] if abs(search.gain) < tol or search.exhausted else np.inf
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
        kernel=search.panel.kernel,
    )
