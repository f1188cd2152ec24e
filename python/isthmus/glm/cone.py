"""Cones of directions, ``{v : rows @ v <= 0}``, in few dimensions: their faces, and limits of linear functions."""

from __future__ import annotations

import numpy as np

_ZERO = 1e-9


def distinct_rows(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One place of each distinct row, and which of them stands in each place.

    Rows are told apart by one number each, a sum with irregular weights: sorting numbers is much faster than sorting
    rows. Should two rows share their number, the rows are sorted after all.
    """
    weights = np.sqrt(np.arange(2.0, rows.shape[1] + 2)) * np.pi
    _, first, row_of_place = np.unique(rows @ weights, return_index=True, return_inverse=True)
    if not np.array_equal(rows[first][row_of_place], rows):
        _, first, row_of_place = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    return first, row_of_place.reshape(-1)


def faces(rows: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The rows that bound the cone, without those that follow from others.

    Parameters
    ----------
    rows
        ``(k, m)``.
    inside
        ``(m,)``, strictly inside the cone: ``rows @ inside < 0``.

    Returns
    -------
    ndarray
        ``(n_faces, m)``; as many rows as dimensions in the usual case of a simplicial cone.
    """
    # Scaled to meet the plane rows @ inside = -1, the bounding rows are the corners of their convex hull.
    scaled = rows / -(rows @ inside)[:, None]
    m = scaled.shape[1]
    if m == 1:
        return scaled[:1]
    plane = np.linalg.qr(np.column_stack([inside, np.eye(m)]))[0][:, 1:m]
    if m == 2:
        along = (scaled @ plane)[:, 0]
        return scaled[np.unique([np.argmin(along), np.argmax(along)])]
    scaled = np.round(scaled, 12)
    scaled = scaled[distinct_rows(scaled)[0]]
    if len(scaled) <= m:
        return scaled
    from scipy.spatial import ConvexHull, QhullError

    try:
        return scaled[ConvexHull(scaled @ plane).vertices]
    except QhullError:  # the rows lie in fewer dimensions than the plane: keep them all
        return scaled


def limits(along: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """The limits of ``along @ v`` as v runs to infinity in the cone: -inf, inf, or NaN where the direction decides.

    A row is <= 0 on the whole cone if and only if it is a combination of the cone's rows with weights >= 0 (Farkas).

    Parameters
    ----------
    along
        ``(k, m)``, no row zero.
    bounds
        ``(n_faces, m)``; none: nothing is known of the cone.
    """
    if not len(bounds):
        return np.full(len(along), np.nan)
    if bounds.shape[0] == bounds.shape[1]:
        weights = np.linalg.solve(bounds.T, along.T).T
        weights[np.abs(weights) < _ZERO * np.abs(weights).max(axis=1, keepdims=True)] = 0
        return np.select([(weights >= 0).all(axis=1), (weights <= 0).all(axis=1)], [-np.inf, np.inf], np.nan)
    return np.array([_limit(row / np.linalg.norm(row), bounds) for row in along])


def _limit(along: np.ndarray, bounds: np.ndarray) -> float:
    from scipy.optimize import nnls  # slow to import, rarely needed

    for sign in (1.0, -1.0):
        if nnls(bounds.T, sign * along)[1] < 1e-7:
            return -sign * float("inf")
    return float("nan")


def falling_rows(rows: np.ndarray, heading: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows that are negative somewhere on the cone, and a direction in the cone along which all of them are.

    The cone is closed under addition: maximise the total fall over v in a box, keep the rows that fall, go on with the
    others. `heading` is a first guess.
    """
    length = np.maximum(np.linalg.norm(rows, axis=1), _ZERO)
    for guess in (heading, -(rows / length[:, None]).sum(axis=0)):  # most often one of these moves all rows
        if (rows @ guess < -1e-7 * length * np.linalg.norm(guess)).all():
            return np.ones(len(rows), dtype=bool), guess
    if rows.shape[1] == 1:
        return _falling_line(rows[:, 0])
    falling, inside = np.zeros(len(rows), dtype=bool), np.zeros(rows.shape[1])
    while not falling.all():
        best = _least(rows[~falling].sum(axis=0), rows)
        more = ~falling & (rows @ best < -1e-7)
        if not more.any():
            break
        falling |= more
        inside = inside + best
    return falling, inside


def _falling_line(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    moving = np.abs(rows) > _ZERO
    if moving.any() and (rows[moving] > 0).all():
        return moving, np.array([-1.0])
    if moving.any() and (rows[moving] < 0).all():
        return moving, np.array([1.0])
    return np.zeros(len(rows), dtype=bool), np.zeros(1)


def _least(goal: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The v in the unit box with ``rows @ v <= 0`` at which ``goal @ v`` is smallest."""
    from scipy.optimize import linprog

    return np.asarray(linprog(goal, A_ub=rows, b_ub=np.zeros(len(rows)), bounds=[(-1.0, 1.0)] * len(goal)).x)
