"""The natural cubic spline basis of R's ``splines::ns``, for formulas.

formulaic brings ``bs`` (equal to R's) and ``cr``/``cs`` (a natural cubic regression spline, whose coefficients are
values at knots);
``ns`` spans the same curves as ``cr`` with the same knots, in the basis R users know.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from scipy.interpolate import BSpline

_DEGREE = 3


def natural_spline(x: Any, df: int | None, knots: Any, state: dict[str, Any]) -> dict[int, np.ndarray]:
    """Columns of the basis, without intercept; `state` keeps knots and boundary so that new cells get the same basis.

    1. Inner knots: `knots`, or ``df - 1`` equally spaced quantiles of `x`. Boundary knots: the range of `x`.
    2. Cubic B-splines on them, the first one left out (the intercept's).
    3. Only the combinations with zero second derivative at both boundaries: the trailing columns of Q in the QR
       decomposition
       of the two conditions (the same Householder reflections as R's, hence the same columns).
    4. Beyond the boundary the curves go on as straight lines.
    """
    x = np.asarray(x, dtype=np.float64)
    if "inner" not in state:
        inner = (
            np.asarray(knots, dtype=np.float64)
            if knots is not None
            else _quantile_knots(x, 1 if df is None else int(df))
        )
        state.update(inner=inner, low=float(x.min()), high=float(x.max()))
    low, high = state["low"], state["high"]
    spline = _b_splines(np.r_[[low] * 4, state["inner"], [high] * 4])
    bend = spline.derivative(2)(np.array([low, high]))[:, 1:]
    combine = np.linalg.qr(bend.T, mode="complete")[0][:, 2:]
    basis = _with_straight_tails(spline, x, low, high)[:, 1:] @ combine
    return {i + 1: basis[:, i] for i in range(basis.shape[1])}


def _quantile_knots(x: np.ndarray, df: int) -> np.ndarray:
    return np.quantile(x, np.linspace(0, 1, max(df - 1, 0) + 2)[1:-1])


def _b_splines(knots: np.ndarray) -> BSpline:
    from scipy.interpolate import BSpline  # a fifth of a second to import: only formulas with ns() wait for it

    n_basis = len(knots) - _DEGREE - 1
    return BSpline(knots, np.eye(n_basis), _DEGREE, extrapolate=True)


def _with_straight_tails(spline: BSpline, x: np.ndarray, low: float, high: float) -> np.ndarray:
    inside = np.clip(x, low, high)
    basis = spline(inside)
    slope = spline.derivative(1)
    for edge, beyond in ((low, x < low), (high, x > high)):
        if beyond.any():
            basis[beyond] = spline(edge) + np.outer(x[beyond] - edge, slope(edge))
    return basis
