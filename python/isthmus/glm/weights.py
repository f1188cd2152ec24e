"""Observation weights: how much each count says, per cell or per cell and gene."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.data.wording import cells_where, some
from isthmus.errors import InputError
from isthmus.glm.offset import column_of_cells, ordered_values

if TYPE_CHECKING:
    from isthmus.data.counts import Counts


def read_weights(spec: Any, counts: Counts) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Weights per cell ``(n_cells,)`` and per cell and gene ``(n_cells, n_genes)``; at most one of the two is there.

    A Series or DataFrame is put in the order of the cells, and of the genes, where both sides have names.

    Raises
    ------
    InputError
        Another shape; values that are missing, infinite or negative; nothing but zeros, for all cells or for a gene.
    """
    if spec is None:
        return None, None
    if isinstance(spec, str):
        spec = column_of_cells(spec, counts, "weights")
    values = ordered_weights(spec, counts.cell_names, counts.gene_names)
    fine = np.isfinite(values) & (values >= 0)
    bad = ~fine if values.ndim == 1 else ~fine.all(axis=1)
    if bad.any():
        msg = (
            "`weights` must be finite and at least 0; got missing, infinite or negative values in "
            f"{cells_where(bad, counts.cell_names)}."
        )
        raise InputError(msg)
    empty = np.flatnonzero(~(np.atleast_2d(values.T) > 0).any(axis=1))
    if empty.size:
        where = "all cells" if values.ndim == 1 else f"all cells of {some(list(counts.gene_names[empty]))}"
        msg = f"`weights` must be positive somewhere; got 0 in {where}. Leave such genes out of the data."
        raise InputError(msg)
    return (values, None) if values.ndim == 1 else (None, values)


def ordered_weights(spec: Any, cell_names: np.ndarray, gene_names: np.ndarray) -> np.ndarray:
    """Numbers in the order of the cells and genes."""
    return ordered_values(spec, cell_names, gene_names, argument="weights")


def for_all_genes(weights: np.ndarray | None, n_genes: int) -> np.ndarray | None:
    """Weights per cell as those of each gene, without a copy."""
    return None if weights is None else np.broadcast_to(weights[:, None], (len(weights), n_genes))


def patterns_of_zeros(weights: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Which cells have a positive weight ``(n_cells,)``, and the genes for which it is these."""
    n_genes = weights.shape[1]
    if weights.strides[1] == 0 or n_genes == 1:  # weights of cells
        return [(weights[:, 0] > 0, np.arange(n_genes))]
    packed = np.ascontiguousarray(np.packbits((weights > 0).T, axis=1))
    _, first, of_gene = np.unique(packed, axis=0, return_index=True, return_inverse=True)
    of_gene = of_gene.reshape(-1)
    return [(weights[:, gene] > 0, np.flatnonzero(of_gene == number)) for number, gene in enumerate(first)]


def unseen_directions(design: np.ndarray, weights: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Where weights of 0 leave parameters without an observation: genes, and an orthonormal basis of those directions.

    Genes with the same pattern of zeros are looked at together.
    """
    found = []
    for seen, genes in patterns_of_zeros(weights):
        if seen.all():
            continue
        scale = np.maximum(np.abs(design).max(axis=0, initial=0), 1e-300)
        rows = np.linalg.qr(design[seen] / scale, mode="r")  # of the size of the parameters: an SVD is cells x cells
        _, size, axes = np.linalg.svd(rows, full_matrices=True)
        rank = int((size > 1e-9 * size.max(initial=0)).sum())
        if rank < design.shape[1]:
            basis = np.linalg.qr(axes[rank:].T / scale[:, None])[0]
            found.append((genes, basis))
    return found


def check_identified(design: np.ndarray, weights: np.ndarray, argument: str) -> None:
    """Refuse weights per cell that leave parameters of a design without an observation."""
    if unseen_directions(design, weights[:, None]):
        n = int((weights > 0).sum())
        msg = (
            f"`weights` must leave enough cells to estimate `{argument}`; among the {n} cells with a positive weight "
            "it has linearly dependent columns. Use a smaller design or other weights."
        )
        raise InputError(msg)
