"""Who attends to whom: attention of each cell to its neighbours, and how it falls with distance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from isthmus import schema
from isthmus.data.wording import did_you_mean
from isthmus.errors import InputError
from isthmus.interaction import checks, forward
from isthmus.interaction.heads import head_orders
from isthmus.interaction.significance import check_choice

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd

    from isthmus.interaction.result import InteractionFit

FLAVORS = ("plain", "value", "information", "gene")


def attention(
    fit: InteractionFit,
    *,
    flavor: Literal["plain", "value", "information", "gene"] = "plain",
    top: int | None = None,
    gene: str | None = None,
) -> pd.DataFrame:
    """Attention of each cell to each of its neighbours, by the model that held the cell out.

    Parameters
    ----------
    fit
        What `fit_interactions` returned.
    flavor
        "plain": a, which with the attention to nobody sums to 1 over neighbours. "value": a |v|, v the neighbour's
        value after the head's output matrix: attention to a neighbour that passes nothing on counts less.
        "information": a (1 - H / log(k + 1)), H the entropy of the cell's attention in the head with nobody as one of
        k + 1: undecided attention counts less. "gene": a times what the neighbour's value adds to the genes, before the
        receiver's normalisation: root mean square over genes, or, signed, to one `gene`.
    top
        Keep this many neighbours of each cell and head, those with the largest weights (by size). None: all.
    gene
        Of flavor "gene".

    Returns
    -------
    DataFrame
        cell, neighbor, head (matched across folds), weight, distance: a row for each cell, head and neighbour, cells in
        the order of the data, neighbours by weight where `top` is given, else nearest first. Names, not positions.

    Raises
    ------
    InputError
        Unknown flavor or gene; `gene` with another flavor; `top` not a whole number above 0.

    Examples
    --------
    >>> from isthmus.interaction import fit_interactions
    >>> from isthmus.testing import simulate_interactions
    >>> tissue = simulate_interactions(300, 20, seed=0)
    >>> fit = fit_interactions(tissue, labels="cell_type", n_neighbors=10, n_heads=2, max_epochs=2)
    >>> attention(fit, top=1).shape  # the strongest neighbour of 300 cells in 2 heads
    (600, 5)
    """
    checks.check_fit(fit)
    check_choice(flavor, FLAVORS, "flavor")
    column = _gene(fit, gene, flavor)
    if top is not None and (isinstance(top, bool) or not isinstance(top, (int, np.integer)) or top < 1):
        msg = f"`top` must be a whole number, 1 or more, or None; got {top!r}."
        raise InputError(msg)
    chunks = [_rows_of(fit, chunk, flavor, column, top) for chunk in matched_attention(fit)]
    rows = [np.concatenate(parts) for parts in zip(*chunks, strict=True)] if chunks else [np.array([])] * 5
    receiver, neighbor, head, weight, distance = rows
    order = np.argsort(receiver, kind="stable")
    names = np.array(fit.cells, dtype=object)
    labels = np.array([str(h + 1) for h in range(fit.n_heads)], dtype=object)
    values = {
        "cell": names[receiver[order].astype(np.int64)],
        "neighbor": names[neighbor[order].astype(np.int64)],
        "head": labels[head[order].astype(np.int64)],
        "weight": weight[order],
        "distance": distance[order],
    }
    return schema.frame(schema.ATTENTION, values)


def attention_by_distance(
    fit: InteractionFit, *, n_bins: int = 20, breaks: Sequence[float] | None = None
) -> pd.DataFrame:
    """Mean attention to neighbours of each type, by distance.

    Parameters
    ----------
    fit
        What `fit_interactions` returned.
    n_bins
        Bins of equal width from 0 to the farthest neighbour.
    breaks
        Ends of the bins instead, rising, unit of the coordinates; the first bin includes its lower end.

    Returns
    -------
    DataFrame
        receiver, sender, head ("all": mean over heads; then each), distance (middle of the bin), lower, upper, weight,
        n_pairs. Pairs of types that are never neighbours have no rows.

    Raises
    ------
    InputError
        `n_bins` below 1; `breaks` that do not rise.
    """
    checks.check_fit(fit)
    edges = _edges(fit, n_bins, breaks)
    n_bins = len(edges) - 1
    shape = (fit.n_types, fit.n_types, n_bins)
    total, count = np.zeros((*shape, fit.n_heads)), np.zeros(shape, dtype=np.int64)
    for chunk in matched_attention(fit):
        present = chunk.neighbors >= 0
        row, place = np.nonzero(present)
        bins = np.searchsorted(edges, chunk.distance[row, place], side="left") - 1
        bins[chunk.distance[row, place] == edges[0]] = 0
        inside = (bins >= 0) & (bins < n_bins)
        row, place, bins = row[inside], place[inside], bins[inside]
        where = (chunk.types[row], fit.type_codes[chunk.neighbors[row, place]], bins)
        np.add.at(count, where, 1)
        np.add.at(total, where, chunk.weights[row, :, place])
    with np.errstate(invalid="ignore"):
        mean = total / count[..., None]
    mean = np.concatenate([mean.mean(axis=-1, keepdims=True), mean], axis=-1)
    return _distance_table(fit, edges, mean, count)


def matched_attention(fit: InteractionFit) -> Iterator[forward.Attention]:
    """`forward.held_out_attention` with heads in the order of their matched labels."""
    orders = head_orders(fit)
    for chunk in forward.held_out_attention(fit):
        order = orders[chunk.fold]
        yield forward.Attention(
            chunk.fold,
            chunk.cells,
            chunk.types,
            chunk.neighbors,
            chunk.distance,
            chunk.weights[:, order],
            chunk.empty[:, order],
            chunk.score[:, order],
            chunk.decay[:, order],
            chunk.values[:, order],
        )


def _rows_of(
    fit: InteractionFit, chunk: forward.Attention, flavor: str, gene: int | None, top: int | None
) -> list[np.ndarray]:
    """Receiver, neighbour, head, weight and distance of a chunk's rows."""
    weights = np.where((chunk.neighbors >= 0)[:, None], _weigh(fit, chunk, flavor, gene), np.nan)
    _, n_heads, k = weights.shape
    neighbors = np.broadcast_to(chunk.neighbors[:, None], weights.shape)
    distance = np.broadcast_to(chunk.distance[:, None], weights.shape)
    if top is not None and top < k:
        strongest = np.argsort(-np.abs(np.nan_to_num(weights, nan=0.0)), axis=2, kind="stable")[..., :top]
        # an absent neighbour weighs 0 and stands last, so it is never before one that is there and weighs more
        weights, neighbors, distance = (
            np.take_along_axis(a, strongest, axis=2) for a in (weights, neighbors, distance)
        )
    kept = ~np.isnan(weights)
    receiver = np.broadcast_to(chunk.cells[:, None, None], weights.shape)
    head = np.broadcast_to(np.arange(n_heads)[None, :, None], weights.shape)
    return [values[kept] for values in (receiver, neighbors, head, weights.astype(np.float64), distance)]


def _weigh(fit: InteractionFit, chunk: forward.Attention, flavor: str, gene: int | None) -> np.ndarray:
    """``(n, n_heads, k)``."""
    if flavor == "value":
        return np.asarray(chunk.weights * chunk.values)
    if flavor == "information":
        everything = np.concatenate([chunk.weights, chunk.empty[..., None]], axis=2)
        with np.errstate(divide="ignore", invalid="ignore"):
            entropy = -np.nansum(everything * np.log(everything), axis=2)
        slots = 1 + (chunk.neighbors >= 0).sum(axis=1)[:, None]
        return np.asarray(chunk.weights * (1 - entropy / np.log(np.maximum(slots, 2)))[..., None])
    if flavor == "gene":
        return np.asarray(chunk.weights * _gene_moves(fit, chunk, gene))
    return chunk.weights


def _gene_moves(fit: InteractionFit, chunk: forward.Attention, gene: int | None) -> np.ndarray:
    """``(n, n_heads, k)`` W diag(norm weight) (v - mean v) of each neighbour: one gene's entry, or its size."""
    model = forward.fold_models(fit)[chunk.fold]
    distinct, place = np.unique(np.maximum(chunk.neighbors, 0), return_inverse=True)
    values = forward.neighbor_values(fit, chunk.fold, distinct)[:, head_orders(fit)[chunk.fold]]
    inner = (values - values.mean(axis=2, keepdims=True)) * model.norm_weight
    if gene is None:
        gram = model.output.T @ model.output / len(model.output)
        moved = np.sqrt(np.maximum(np.einsum("nhd,de,nhe->nh", inner, gram, inner, optimize=True), 0))
    else:
        moved = inner @ model.output[gene]
    return np.asarray(np.moveaxis(moved[place.reshape(chunk.neighbors.shape)], 2, 1))


def _gene(fit: InteractionFit, gene: str | None, flavor: str) -> int | None:
    if gene is None:
        return None
    if flavor != "gene":
        msg = f'`gene` goes with flavor="gene"; got flavor={flavor!r}. Leave `gene` out or change the flavor.'
        raise InputError(msg)
    if gene not in fit.genes:
        msg = f"`gene` must be a gene of the fit; got {gene!r}. " + did_you_mean(str(gene), fit.genes)
        raise InputError(msg)
    return fit.genes.index(gene)


def _edges(fit: InteractionFit, n_bins: Any, breaks: Any) -> np.ndarray:
    if breaks is not None:
        edges = np.asarray(breaks, dtype=np.float64)
        if edges.ndim != 1 or len(edges) < 2 or not (np.diff(edges) > 0).all():
            msg = f"`breaks` must be two or more rising distances; got {breaks!r}."
            raise InputError(msg)
        return edges
    if isinstance(n_bins, bool) or not isinstance(n_bins, (int, np.integer)) or n_bins < 1:
        msg = f"`n_bins` must be a whole number, 1 or more; got {n_bins!r}."
        raise InputError(msg)
    present = fit.neighbors.present
    farthest = float(fit.neighbors.distance[present].max()) if present.any() else 1.0
    return np.linspace(0, farthest or 1.0, n_bins + 1)


def _distance_table(fit: InteractionFit, edges: np.ndarray, mean: np.ndarray, count: np.ndarray) -> pd.DataFrame:
    heads = ["all", *(str(h + 1) for h in range(fit.n_heads))]
    pairs = np.argwhere(count.sum(axis=2) > 0)
    n_bins, n_heads = len(edges) - 1, len(heads)
    receiver, sender = pairs.T
    types = np.array(fit.types, dtype=object)
    n_rows = len(pairs) * n_heads
    values = {
        "receiver": np.repeat(types[receiver], n_heads * n_bins),
        "sender": np.repeat(types[sender], n_heads * n_bins),
        "head": np.tile(np.repeat(np.array(heads, dtype=object), n_bins), len(pairs)),
        "distance": np.tile((edges[:-1] + edges[1:]) / 2, n_rows),
        "lower": np.tile(edges[:-1], n_rows),
        "upper": np.tile(edges[1:], n_rows),
        "weight": np.moveaxis(mean[receiver, sender], 2, 1).ravel(),
        "n_pairs": np.repeat(count[receiver, sender][:, None], n_heads, axis=1).ravel(),
    }
    return schema.frame(schema.ATTENTION_BY_DISTANCE, values)
