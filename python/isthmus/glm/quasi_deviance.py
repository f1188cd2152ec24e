"""Residual deviances of quasi-likelihood and their degrees of freedom: sums over the cells of every gene."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from isthmus.glm import kernel
from isthmus.glm.unit_deviance import cubic_pieces

if TYPE_CHECKING:
    import scipy.sparse as sp


def residual_deviances(
    columns: sp.csc_matrix,
    x: np.ndarray,
    offset: np.ndarray,
    coef: np.ndarray,
    alpha: np.ndarray,
    inverse: np.ndarray,
    *,
    gene_offset: np.ndarray | None = None,
    weights: np.ndarray | None = None,
    n_threads: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    r"""Sums of :math:`w d / c` and of :math:`(1 - h) k` over cells.

    d is the unit deviance, taken for c times a chi-square of k degrees of freedom (`isthmus.glm.unit_deviance`), h the
    leverage :math:`w \mu / (1 + \alpha\mu) x' I^{-1} x` and w the weight of an observation, which scales its variance.

    Parameters
    ----------
    columns
        ``(n_cells, n)`` counts.
    x, offset
        ``(n_cells, f)`` and ``(n_cells,)``: log mu = x coef + offset, natural log.
    coef, alpha, inverse
        ``(f, n)``, ``(n,)`` and ``(n, f, f)``: each gene's mean, its dispersion, and the inverse of its information.
    gene_offset, weights
        ``(n_cells, n)``; `gene_offset` is added to `offset`.

    Returns
    -------
    deviance, df
        ``(n,)`` each.
    """
    arguments = columns, x, offset, coef, alpha, inverse
    if kernel.kernel_name() == "reference":
        from isthmus._reference import quasi

        return quasi.residual_deviances(*arguments, gene_offset=gene_offset, weights=weights)
    from isthmus import _core

    low, step, pieces = cubic_pieces(alpha)
    return _core.quasi_deviances(
        indptr=columns.indptr.astype(np.int64, copy=False),
        indices=columns.indices.astype(np.int32, copy=False),
        counts=columns.data.astype(np.float64, copy=False),
        x=x,
        offset=offset,
        coef=coef.T,
        alpha=alpha,
        inverse=inverse,
        low=low,
        step=step,
        pieces=pieces,
        gene_offset=gene_offset,
        weights=weights,
        kernel=kernel.kernel_name(),
        n_threads=n_threads,
    )
