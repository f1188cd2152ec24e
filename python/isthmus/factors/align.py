"""Signs and rotations: factors mean the same up to an invertible map within a group, so one is chosen and kept to.

For any invertible M (one block per group of factors that load on the same series), loadings L M, factors M^-1 f,
transition M^-1 A M and innovation covariance M^-1 Q M^-T describe the same data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from isthmus.factors.params import Params

if TYPE_CHECKING:
    from isthmus.factors.blocks import Layout
    from isthmus.factors.params import Spec

_ANCHOR = 0.05  # an anchor's own part is at least this share of the largest loading of the group


def normalising_map(params: Params, spec: Spec, layout: Layout) -> tuple[np.ndarray, tuple[int, ...]]:
    """``(r, r)`` map M to the normalisation of the tables, and the anchor series of each factor.

    Within each group: innovation covariance I, and loadings that are lower triangular with a positive diagonal in the
    rows of the anchors, the first series of the group (a series whose own part is negligible is passed over, because a
    diagonal near zero would make every other loading badly determined).
    """
    total = np.zeros((spec.n_factors, spec.n_factors))
    anchors = [0] * spec.n_factors
    for block, cov in zip(layout.blocks, params.innovation_cov, strict=True):
        position = {factor: i for i, factor in enumerate(block.factors)}
        for group in block.groups:
            own = [position[factor] for factor in group.factors]
            scale = np.linalg.cholesky(cov[np.ix_(own, own)])
            loadings = params.loadings[:, list(group.factors)] @ scale
            rows = _anchors(loadings)
            rotation, triangle = np.linalg.qr(loadings[rows].T)
            rotation = rotation * np.where(np.diag(triangle) < 0, -1.0, 1.0)
            total[np.ix_(group.factors, group.factors)] = scale @ rotation
            for factor, row in zip(group.factors, rows, strict=True):
                anchors[factor] = int(row)
    return total, tuple(anchors)


def _anchors(loadings: np.ndarray) -> list[int]:
    """The first rows that span the group's factors, each with an own part that is not negligible."""
    rows: list[int] = []
    basis = np.zeros((loadings.shape[1], 0))
    own = np.linalg.norm(loadings, axis=1)
    for _ in range(loadings.shape[1]):
        part = np.linalg.norm(loadings - loadings @ basis @ basis.T, axis=1)
        part[rows] = 0.0
        enough = np.flatnonzero(part >= _ANCHOR * max(own.max(), np.finfo(float).tiny))
        row = int(enough[0]) if len(enough) else int(part.argmax())
        rows.append(row)
        direction = loadings[row] - basis @ (basis.T @ loadings[row])
        length = np.linalg.norm(direction)
        basis = np.column_stack([basis, direction / length if length > 0 else direction])
    return rows


def aligning_map(loadings: np.ndarray, reference: np.ndarray, layout: Layout) -> np.ndarray:
    """Orthogonal map per group that brings `loadings` closest to `reference` (Procrustes; Schoenemann 1966).

    Parameters
    ----------
    loadings, reference
        ``(n_series, r)`` over the series that both batches have, in the same order; columns follow `layout`.
    """
    total = np.zeros((loadings.shape[1], loadings.shape[1]))
    for group in layout.groups:
        columns = list(group.factors)
        u, _, vt = np.linalg.svd(loadings[:, columns].T @ reference[:, columns])
        total[np.ix_(columns, columns)] = u @ vt
    return total


def transform_params(params: Params, spec: Spec, m: np.ndarray) -> Params:
    """The parameters after the map `m`."""
    inverse = np.linalg.inv(m)
    transition, covs = [], []
    for block, a, q in zip(spec.blocks, params.transition, params.innovation_cov, strict=True):
        own = np.ix_(block.factors, block.factors)
        transition.append(inverse[own] @ a @ m[own] if len(a) else a)
        cov = inverse[own] @ q @ inverse[own].T
        covs.append((cov + cov.T) / 2)
    state, cov0 = params.initial_state, params.initial_cov
    if state is not None and cov0 is not None:
        wide = np.kron(np.eye(len(state) // len(m)), inverse)
        state, cov0 = wide @ state, wide @ cov0 @ wide.T
    return Params(
        loadings=np.where(spec.loads, params.loadings @ m, 0.0),
        transition=tuple(transition),
        innovation_cov=tuple(covs),
        idio_ar1=params.idio_ar1,
        idio_var=params.idio_var,
        initial_state=state,
        initial_cov=cov0,
    )


def with_zeros(params: Params, layout: Layout, anchors: tuple[int, ...]) -> Params:
    """The loadings that the normalisation makes zero, without their rounding error."""
    loadings = params.loadings.copy()
    for group in layout.groups:
        for rank, factor in enumerate(group.factors):
            loadings[anchors[factor], list(group.factors[rank + 1 :])] = 0.0
    return params.replace(loadings=loadings)


def transform_states(mean: np.ndarray, cov: np.ndarray, m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``(T, r)`` means and ``(T, r, r)`` covariances of the factors after the map `m`."""
    inverse = np.linalg.inv(m)
    return mean @ inverse.T, inverse @ cov @ inverse.T
