"""Standard errors of loadings, which exist only once rotation and scale are fixed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from isthmus.factors import kernel
from isthmus.factors.align import normalising_map, transform_params
from isthmus.factors.params import pack, slices, unpack

if TYPE_CHECKING:
    from isthmus.factors.blocks import Layout
    from isthmus.factors.fitted import Fitted
    from isthmus.factors.params import Params, Spec

_STEP = 1e-4
_SINGULAR = 1e-10  # smallest eigenvalue of the scaled information that counts as identified


def loading_se(fitted: Fitted, *, engine: str = "isthmus") -> np.ndarray:
    """``(N, r)`` standard errors, NaN where nothing identifies the loadings.

    Under the normalisation of `align.normalising_map` (innovation covariance I within each group, loadings lower
    triangular in the anchors): the inverse of the observed information of the parameters that this leaves free, which
    is minus the central difference of the analytic score. Loadings that were rotated towards another batch take the
    rotation as given. Not computed for ``engine="statsmodels"``, whose parameters are no optimum.
    """
    spec = fitted.spec
    out = np.full(spec.loads.shape, np.nan)
    if engine != "isthmus":
        return out
    m, anchors = normalising_map(fitted.estimate.params, spec, fitted.layout)
    params = transform_params(fitted.estimate.params, spec, m)
    free = free_parameters(spec, fitted.layout, anchors)
    free &= ~_at_the_edge(spec, params)
    information = _information(fitted.y, spec, params, np.flatnonzero(free))
    covariance = _inverse(information)
    if covariance is None:
        return out
    full = np.zeros((len(free), len(free)))
    full[np.ix_(free, free)] = covariance
    unrotated = np.abs(m - np.eye(len(m))).max() < 1e-8
    return _rotated_se(full, spec, np.eye(len(m)) if unrotated else np.linalg.inv(m))


def _rotated_se(full: np.ndarray, spec: Spec, back: np.ndarray) -> np.ndarray:
    """Standard errors of loadings @ back, from the covariance of all loadings."""
    out = np.full(spec.loads.shape, np.nan)
    position = np.full(spec.loads.shape, -1)
    position[spec.loads] = np.arange(int(spec.loads.sum()))
    for i in range(spec.n_series):
        own = np.flatnonzero(spec.loads[i])
        cov = full[np.ix_(position[i, own], position[i, own])]
        turn = back[np.ix_(own, own)]
        out[i, own] = np.sqrt(np.maximum(np.diag(turn.T @ cov @ turn), 0))
    return out


def free_parameters(spec: Spec, layout: Layout, anchors: tuple[int, ...]) -> np.ndarray:
    """Which entries of the flat order the normalisation leaves free."""
    where = slices(spec)
    free = np.ones(sum(s.stop - s.start for s in where.values()), dtype=bool)
    position = np.full(spec.loads.shape, -1)
    position[spec.loads] = np.arange(int(spec.loads.sum()))
    for number, block in enumerate(layout.blocks):
        group_of = {factor: g for g, group in enumerate(block.groups) for factor in group.factors}
        lower = np.tril_indices(len(block.factors))
        same = [group_of[block.factors[i]] == group_of[block.factors[j]] for i, j in zip(*lower, strict=True)]
        free[where["innovation_cov", number]] = ~np.array(same)
        for group in block.groups:
            for rank, factor in enumerate(group.factors):
                free[position[anchors[factor], list(group.factors[rank + 1 :])]] = False
    return free


def n_identified(fitted: Fitted) -> int:
    """Number of free parameters once the normalisation is fixed: what AIC and BIC count."""
    _, anchors = normalising_map(fitted.estimate.params, fitted.spec, fitted.layout)
    return int(free_parameters(fitted.spec, fitted.layout, anchors).sum())


def _at_the_edge(spec: Spec, params: Params) -> np.ndarray:
    """Idiosyncratic variances near zero: the likelihood has no quadratic maximum there, so they are held."""
    out = np.zeros(len(pack(spec, params)), dtype=bool)
    out[slices(spec)["idio_var", 0]] = params.idio_var < 1e-6
    return out


def _information(y: np.ndarray, spec: Spec, params: Params, free: np.ndarray) -> np.ndarray:
    theta = pack(spec, params)
    steps = _steps(spec, theta)
    columns = []
    for i in free:
        plus, minus = theta.copy(), theta.copy()
        plus[i] += steps[i]
        minus[i] -= steps[i]
        up = kernel.score(y, spec, unpack(spec, plus, like=params))[free]
        down = kernel.score(y, spec, unpack(spec, minus, like=params))[free]
        columns.append(-(up - down) / (2 * steps[i]))
    information = np.array(columns)
    return (information + information.T) / 2


def _steps(spec: Spec, theta: np.ndarray) -> np.ndarray:
    """Steps that stay inside: a share of a variance, and of the distance of phi from 1."""
    where = slices(spec)
    steps = _STEP * np.maximum(np.abs(theta), 0.1)
    variances = where["idio_var", 0]
    steps[variances] = _STEP * theta[variances]
    if ("idio_ar1", 0) in where:
        own = where["idio_ar1", 0]
        steps[own] = _STEP * np.minimum(1.0, np.maximum(1 - np.abs(theta[own]), 1e-4))
    return steps


def _inverse(information: np.ndarray) -> np.ndarray | None:
    """The inverse, or None where some direction has no information."""
    diagonal = np.diag(information)
    if not (np.isfinite(information).all() and (diagonal > 0).all()):
        return None
    scale = 1 / np.sqrt(diagonal)
    values, vectors = np.linalg.eigh(information * np.outer(scale, scale))
    if values[0] < _SINGULAR:
        return None
    return (vectors / values) @ vectors.T * np.outer(scale, scale)
