"""The search for a maximum: its position, and the moves it can make from there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from isthmus.factors.coordinates import Coordinates
from isthmus.factors.params import slices

if TYPE_CHECKING:
    from collections.abc import Callable

    from isthmus.factors.kernel import CompiledPanel, ReferencePanel
    from isthmus.factors.params import Params, Spec

SCALED_SCORE = 1e-2
# A variance is held where it falls to this share of its series' mean square: beyond, the likelihood has no maximum
# (near-duplicates: it rises without end as the variance goes to zero) or one that is this flat.
LEAST = 1e-8
_MEMORY = 60
# Scores that L-BFGS may ask for (or half as many as there are parameters) before the Hessian is computed; the number
# of parameters up to which it is.
_PATIENCE = 160
_LARGEST_HESSIAN = 1500
# Quasi-Newton steps scale with the information of the loadings as if no variance were below this share.
_SCALING_LEAST = 1e-2


def mean_squares(y: np.ndarray, spec: Spec) -> np.ndarray:
    """``(N,)`` mean square of each series; of a quarterly one, over 19: that of its months, were they white."""
    seen = ~np.isnan(y)
    squares = np.where(seen, y, 0.0) ** 2
    found = squares.sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
    return np.where(found > 0, found, 1.0) / np.where(spec.quarterly, 19.0, 1.0)


@dataclass(frozen=True, eq=False)
class Slope:
    """The likelihood's first derivatives at a point, in coordinates; those of held variances are 0."""

    gradient: np.ndarray
    curvature: np.ndarray
    free: np.ndarray
    scaled: float


class Search:
    """Where the search stands; each method is one of its moves."""

    def __init__(
        self,
        panel: CompiledPanel | ReferencePanel,
        start: Params,
        max_iter: int,
        progress: Callable[[int], object] | None,
    ) -> None:
        self.panel, self._squares = panel, mean_squares(panel.y, panel.spec)
        self._least = LEAST * self._squares
        self.coordinates = Coordinates(panel.spec, self._least)
        self.params = self._bounded(start)
        self.max_iter, self.progress = max_iter, progress
        self.value = panel.loglike(self.params)
        self.path = [self.value]
        self.n_iter, self.gain = 0, np.inf
        self._ahead: Params | None = None
        self._pairs: list[tuple[np.ndarray, np.ndarray]] = []
        # Variances at their bound, and those of them that would now rise again.
        self._held = self.released = np.zeros(panel.spec.n_series, dtype=bool)
        self._inverse: np.ndarray | None = None  # of minus the Hessian, once it was worth its price
        self._patience = 0

    def _bounded(self, params: Params) -> Params:
        return params.replace(idio_var=np.maximum(params.idio_var, self._least))

    @property
    def at_bound(self) -> np.ndarray:
        """``(N,)`` bool: variances at their bound."""
        return np.asarray(self.params.idio_var <= self._least * (1 + 1e-9))

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
        if value >= self.value - 1e-9 * abs(self.value):
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
        # Rounding took the step out of the model; or phi was best for a sigma2 below the bound. Stay.
        if not value >= self.value - 1e-9 * abs(self.value):
            jump, ahead, value = self.params, None, self.value
        self._accept(jump, value)
        self._ahead = ahead  # the ECM step from here is known already
        self._count()

    def _step(self, params: Params) -> tuple[Params, float]:
        self.n_iter += 1
        new, value = self.panel.em(params)
        return self._bounded(new), value  # the step's best sigma2 above the bound is the bound: it still climbs

    def score(self) -> Slope:
        """Gradient and curvature in coordinates, which variances are held, and the scaled score of all others."""
        self.n_iter += 1
        self._patience -= 1
        _, score, information = self.panel.score(self.params)
        x = self.coordinates.to(self.params)
        free = np.ones(len(x), dtype=bool)
        variances = slices(self.panel.spec)["idio_var", 0]
        rising = score[variances] > 0
        self._held = self.at_bound & (self._held | ~rising)
        self.released = self._held & rising
        free[variances] = ~self._held
        usable = free & (information > 0)
        scaled = float(np.max(np.abs(score[usable]) / np.sqrt(information[usable]), initial=0.0))
        gradient = np.where(free, self.coordinates.gradient(x, score), 0.0)
        return Slope(gradient, self.coordinates.curvature(x, information * self._softening()), free, scaled)

    def _softening(self) -> np.ndarray:
        """Factors of the information for scaling: a factor follows the series that pins it, so that series' own
        loadings are by far less certain than were the factor known."""
        where, spec = slices(self.panel.spec), self.panel.spec
        share = np.minimum(self.params.idio_var / (_SCALING_LEAST * self._squares), 1.0)
        out = np.ones(where["idio_var", 0].stop)
        out[where["loadings", 0]] = np.broadcast_to(share[:, None], spec.loads.shape)[spec.loads]
        return out

    def _direction(self, slope: Slope) -> np.ndarray:
        """Two-loop recursion, ascending."""
        q, kept = slope.gradient.copy(), []
        for s, y in reversed(self._pairs):
            a = (s @ q) / (y @ s)
            q -= a * y
            kept.append(a)
        if self._inverse is not None:
            q = self._inverse @ q
        else:
            s, y = self._pairs[-1] if self._pairs else (q, q * slope.curvature)
            q = (s @ y) / (y @ (y / slope.curvature)) * q / slope.curvature if y.any() else q
        for (s, y), a in zip(self._pairs, reversed(kept), strict=True):
            q += (a - (y @ q) / (y @ s)) * s
        return np.where(slope.free, q, 0.0)

    def quasi_newton(self, tol: float) -> float:
        """L-BFGS until the gain is under `tol` and the scaled score under 1e-2, or no step gains; the scaled score."""
        self._pairs, self._inverse = [], None
        slope = self.score()
        self._patience = max(_PATIENCE, len(slope.gradient) // 2)
        while not self.exhausted:
            if self._patience <= 0:
                self._learn(slope)
            if abs(self.gain) < tol and slope.scaled < SCALED_SCORE:
                if not self.released.any():
                    break
                slope = self._release()
            step = self._search_line(self._direction(slope), slope.gradient)
            if step is None:
                if self._pairs or self._inverse is not None:
                    self._pairs, self._inverse = [], None
                elif self.released.any():
                    slope = self._release()
                else:
                    break
                continue
            before, slope = slope, self.score()
            self._remember(step, before, slope)
            self._count()
        return slope.scaled

    def _learn(self, slope: Slope) -> None:
        """Where L-BFGS crawls: the Hessian, by differences of the score, as its new scaling."""
        n = len(slope.gradient)
        self._patience = n
        if n > _LARGEST_HESSIAN or self.n_iter + 2 * n > self.max_iter:
            return
        root = np.sqrt(slope.curvature)
        free, hessian = np.flatnonzero(slope.free), np.zeros((n, n))
        x = self.coordinates.to(self.params)
        for j in free:
            ends = [self._gradient(x + sign * 1e-4 / root[j] * (np.arange(n) == j)) for sign in (1, -1)]
            hessian[:, j] = (ends[1] - ends[0]) / 2e-4 / root
        own = hessian[np.ix_(free, free)]
        if not np.isfinite(own).all():
            return
        values, vectors = np.linalg.eigh((own + own.T) / 2)
        size = np.maximum(np.abs(values), 1e-4 * np.median(np.abs(values)))
        self._inverse = np.zeros((n, n))
        self._inverse[np.ix_(free, free)] = (vectors / size) @ vectors.T / np.outer(root[free], root[free])
        self._pairs = []

    def _gradient(self, x: np.ndarray) -> np.ndarray:
        self.n_iter += 1
        return self.coordinates.gradient(x, self.panel.score(self.coordinates.back(x, self.params))[1])

    def _release(self) -> Slope:
        """Let variances leave their bound, once all others are where they are best: sooner, they come and go."""
        self._held = np.zeros_like(self._held)
        self._pairs = []
        return self.score()

    def _remember(self, step: np.ndarray, before: Slope, after: Slope) -> None:
        if not np.array_equal(before.free, after.free):
            self._pairs, self._inverse = [], None  # another face of the domain: another curvature
            return
        change = before.gradient - after.gradient  # of minus the log-likelihood's gradient
        if step @ change > 1e-10 * np.linalg.norm(step) * np.linalg.norm(change):
            self._pairs = [*self._pairs[-_MEMORY + 1 :], (step, change)]

    def _search_line(self, direction: np.ndarray, gradient: np.ndarray) -> np.ndarray | None:
        """Halve until the log-likelihood has risen enough; the step; None where it never does."""
        x, slope = self.coordinates.to(self.params), gradient @ direction
        longest = np.abs(direction).max()
        if not slope > 0 or not np.isfinite(longest):
            return None
        length = min(1.0, 2.0 / longest) if longest > 0 else 1.0
        for _ in range(30):
            params = self.coordinates.back(x + length * direction, self.params)
            value = self.panel.loglike(params)
            moved = self.coordinates.to(params) - x  # shorter than asked for where it met a bound
            if value >= self.value + 1e-4 * max(float(gradient @ moved), 0.0) and moved.any():
                self._accept(params, value)
                return moved
            length *= 0.5 if np.isfinite(value) else 0.25
        return None
