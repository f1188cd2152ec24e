"""The forward pass in NumPy: one pass gives the attention and every part of every prediction.

The prediction of receiver i (type c) by the model of fold f is::

    y_i = mean_f[c] + W_f LayerNorm_f(q_f[c] + covariates_i + sum_h sum_s parts_i[h, s])

where parts_i[h, s] is the sum over i's neighbours of type s of attention times value, through the output matrix of
head h. Leaving heads, senders or all neighbours out is leaving parts out: attention is not normalised again. So every
ablation costs a sum, a LayerNorm and a product, and the network runs once.

`network.py` is the torch twin that training uses; the tests compare the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
from scipy import sparse

from isthmus.interaction.batches import Indexer, Indices, spatial_groups
from isthmus.interaction.expression import Rows
from isthmus.interaction.neighbors import Neighbors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from isthmus.interaction.result import InteractionFit

NORM_EPS = 1e-5  # of LayerNorm, as in network.py
_EMBED_ROWS = 4096  # neighbours embedded in one go
_sorted: WeakKeyDictionary[InteractionFit, Neighbors] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class FoldModel:
    """What follows the parts in the model of one fold.

    Attributes
    ----------
    fold
        0, 1, ...
    query
        ``(n_types, d)`` residual of the query of each receiver type.
    norm_weight, norm_bias, norm_eps
        ``(d,)``, ``(d,)``: of LayerNorm.
    output
        ``(n_genes, d)``: W.
    means
        ``(n_types, n_genes)`` of the cells outside the fold; NaN for a type of which none trained.
    """

    fold: int
    query: np.ndarray
    norm_weight: np.ndarray
    norm_bias: np.ndarray
    norm_eps: float
    output: np.ndarray
    means: np.ndarray

    def normalise(self, inner: np.ndarray) -> np.ndarray:
        """LayerNorm over the last axis, ``(..., d)``."""
        return _layer_norm(np.array(inner), self.norm_weight, self.norm_bias, self.norm_eps)

    def residual(self, inner: np.ndarray) -> np.ndarray:
        """``(..., n_genes)``: W LayerNorm(inner), the prediction minus the type's mean."""
        return np.asarray(self.normalise(inner) @ self.output.T)


@dataclass(frozen=True, eq=False)
class Parts:
    """What the neighbours of some receivers, all of one fold, add.

    Attributes
    ----------
    fold
        0, 1, ...
    cells
        ``(n,)``: rows of the data.
    types
        ``(n,)``: codes of the receivers' types.
    query
        ``(n, d)``: the types' queries plus covariates.
    mixed
        ``(n_heads, n, n_types, value_size)``: attention times values by head and sender type, before the heads' output
        matrices. Sums are cheapest here: value_size is much less than d.
    head_out
        ``(n_heads, value_size, d)``: the heads' output matrices.
    """

    fold: int
    cells: np.ndarray
    types: np.ndarray
    query: np.ndarray
    mixed: np.ndarray
    head_out: np.ndarray

    @cached_property
    def heads(self) -> np.ndarray:
        """``(n, n_heads, n_types, d)``: parts by head and sender type."""
        n_heads, n, n_types, _ = self.mixed.shape
        out = np.matmul(self.mixed.reshape(n_heads, n * n_types, -1), self.head_out)
        return out.reshape(n_heads, n, n_types, -1).swapaxes(0, 1)

    def take(self, rows: np.ndarray) -> Parts:
        """Of some of the receivers."""
        return Parts(
            self.fold, self.cells[rows], self.types[rows], self.query[rows], self.mixed[:, rows], self.head_out
        )

    def of_head(self, head: int) -> np.ndarray:
        """``(n, d)``: of all senders by one head."""
        return np.asarray(self._by_head[head] @ self.head_out[head])

    def of_sender(self, sender: int) -> np.ndarray:
        """``(n, d)``: of one sender type by all heads."""
        return self._all_heads(self.mixed[:, :, sender])

    def of_all(self) -> np.ndarray:
        """``(n, d)``: of all senders by all heads."""
        return self._all_heads(self._by_head)

    @cached_property
    def _by_head(self) -> np.ndarray:
        """``(n_heads, n, value_size)``; added up one by one: a reduction over a short axis takes several times as
        long."""
        total = self.mixed[:, :, 0].copy()
        for sender in range(1, self.mixed.shape[2]):
            total += self.mixed[:, :, sender]
        return total

    def _all_heads(self, mixed: np.ndarray) -> np.ndarray:
        """``(n_heads, n, value_size)`` through the output matrices and added up, as one product."""
        n_heads, n, size = mixed.shape
        rows = np.ascontiguousarray(mixed.swapaxes(0, 1)).reshape(n, n_heads * size)
        return np.asarray(rows @ self.head_out.reshape(n_heads * size, -1))


@dataclass(frozen=True, eq=False)
class Attention:
    """Attention of some receivers, all of one fold, to their neighbours in the order of ``fit.neighbors``.

    Attributes
    ----------
    fold, cells, types
        As in `Parts`.
    neighbors, distance
        ``(n, k)``: rows of the data, -1 where there is none; unit of the coordinates.
    weights
        ``(n, n_heads, k)``; 0 where there is no neighbour.
    empty
        ``(n, n_heads)``: attention to nobody. 1 minus the sum of `weights`.
    score, decay
        ``(n, n_heads, k)``: score at distance 0, and its decay per unit of distance in the unit of the coordinates.
    values
        ``(n, n_heads, k)``: Euclidean norm of the neighbour's value after the head's output matrix.
    """

    fold: int
    cells: np.ndarray
    types: np.ndarray
    neighbors: np.ndarray
    distance: np.ndarray
    weights: np.ndarray
    empty: np.ndarray
    score: np.ndarray
    decay: np.ndarray
    values: np.ndarray


# ---- what the statistics call -------------------------------------------------------------------------------------


def fold_models(fit: InteractionFit) -> tuple[FoldModel, ...]:
    """The model of each fold."""
    return tuple(_fold_model(fit, fold) for fold in range(fit.n_folds))


def held_out_parts(fit: InteractionFit, chunk: int = 1024) -> Iterator[Parts]:
    """Parts of every cell by the model that held it out (by the only model where nothing is), in bounded memory.

    Cells whose type has no mean in their fold are left out; chunks hold neighbouring cells, in no particular order.
    """
    for fold in range(fit.n_folds):
        yield from fold_parts(fit, fold, predicted_cells(fit, fold), chunk)


def fold_parts(fit: InteractionFit, fold: int, cells: np.ndarray, chunk: int = 1024) -> Iterator[Parts]:
    """Parts of any `cells` (rows of the data) by the model of one fold."""
    network = _Network(fit, fold, _by_sender(fit))
    return (network.parts(indices) for indices in network.chunks(cells, chunk))


def held_out_attention(fit: InteractionFit, chunk: int = 1024) -> Iterator[Attention]:
    """Attention of every cell by the model that held it out; cells and chunks as in `held_out_parts`."""
    for fold in range(fit.n_folds):
        network = _Network(fit, fold, fit.neighbors)
        yield from (network.attention(indices) for indices in network.chunks(predicted_cells(fit, fold), chunk))


def neighbor_values(fit: InteractionFit, fold: int, cells: np.ndarray) -> np.ndarray:
    """``(n, n_heads, d)``: values of `cells` as neighbours, after each head's output matrix."""
    w = {name: value[fold] for name, value in fit.weights.items()}
    out = np.empty((len(cells), fit.n_heads, w["head_out"].shape[2]), dtype=np.float32)
    expression = Rows(fit.expression, dense=False)
    for start in range(0, len(cells), _EMBED_ROWS):
        block = slice(start, start + _EMBED_ROWS)
        inner = _res_net_mlp(w, "key_mlp", _res_net_mlp(w, "cell_mlp", expression(cells[block])))
        values = (inner @ w["value_weight"]).reshape(len(inner), fit.n_heads, -1)
        out[block] = np.einsum("nhv,hvd->nhd", values, w["head_out"])
    return out


def predicted_cells(fit: InteractionFit, fold: int) -> np.ndarray:
    """Rows of the cells that the model of a fold predicts: those it held out whose type has a mean."""
    known = ~np.isnan(fit.means[fold]).all(axis=1)
    held_out = fit.folds.held_out(fold) if fit.folds.n_folds > 1 else np.ones(fit.n_cells, dtype=bool)
    return np.flatnonzero(held_out & known[fit.type_codes])


def predictions(fit: InteractionFit, *, neighbors: bool = True) -> np.ndarray:
    """``(n_cells, n_genes)`` float32; NaN for cells without a prediction."""
    out = np.full((fit.n_cells, fit.n_genes), np.nan, dtype=np.float32)
    models = fold_models(fit)
    for parts in held_out_parts(fit):
        model = models[parts.fold]
        inner = parts.query + parts.of_all() if neighbors else parts.query
        out[parts.cells] = model.means[parts.types] + model.residual(inner)
    return out


# ---- the network --------------------------------------------------------------------------------------------------


def _fold_model(fit: InteractionFit, fold: int) -> FoldModel:
    w = {name: value[fold] for name, value in fit.weights.items()}
    query = _res_net_mlp(w, "type_mlp", w["type_embedding"]) @ w["query_residual"]
    return FoldModel(fold, query, w["norm_weight"], w["norm_bias"], NORM_EPS, w["output"], fit.means[fold])


def _res_net_mlp(w: dict[str, np.ndarray], name: str, x: np.ndarray) -> np.ndarray:
    """LayerNorm(x S + relu(x A + a) B + b)."""
    hidden = np.maximum(x @ w[f"{name}.hidden_weight"] + w[f"{name}.hidden_bias"], 0)
    skip = w.get(f"{name}.skip")
    inner = (x if skip is None else x @ skip) + hidden @ w[f"{name}.out_weight"] + w[f"{name}.out_bias"]
    return _layer_norm(inner, w[f"{name}.norm_weight"], w[f"{name}.norm_bias"], NORM_EPS)


def _layer_norm(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, eps: float) -> np.ndarray:
    """LayerNorm over the last axis, in place: sums as products, which are several times as quick as reductions."""
    width = x.shape[-1]
    x -= (x @ np.full((width, 1), 1 / width, dtype=x.dtype)).reshape(*x.shape[:-1], 1)
    variance = np.einsum("...d,...d->...", x, x)[..., None] / x.dtype.type(width)
    x /= np.sqrt(variance + x.dtype.type(eps))
    x *= weight
    x += bias
    return x


class _Network:
    """The network of one fold, with the neighbours of the cells it was last asked about embedded; takes each cell's
    neighbours in the order of `neighbors`."""

    def __init__(self, fit: InteractionFit, fold: int, neighbors: Neighbors) -> None:
        self.fit, self.fold, self.neighbors = fit, fold, neighbors
        self.w = {name: value[fold] for name, value in fit.weights.items()}
        self.n_heads = fit.n_heads
        self.head_out = self.w["head_out"]
        query = _res_net_mlp(self.w, "type_mlp", self.w["type_embedding"])
        self.query = (query @ self.w["query_weight"]).reshape(fit.n_types, self.n_heads, -1)
        self.residual = query @ self.w["query_residual"]
        self.kernel_type = self.w["type_embedding"] @ self.w["kernel_type"] + self.w["kernel_bias"]
        self.place = np.zeros(fit.n_cells, dtype=np.int64)  # row of a cell among the embedded ones

    def chunks(self, cells: np.ndarray, chunk: int) -> Iterator[Indices]:
        """Embed the neighbours of `cells`, then number them chunk by chunk of cells that lie side by side."""
        fit = self.fit
        self._embed(cells)
        indexer = Indexer(self.neighbors, fit.type_codes, fit.n_types)
        groups = spatial_groups(cells, fit.coordinates, fit.sample_codes, max(1, min(chunk, 256)))
        waiting: list[np.ndarray] = []
        for group in groups:
            if waiting and sum(map(len, waiting)) + len(group) > chunk:
                yield indexer(np.concatenate(waiting))
                waiting = []
            waiting.append(group)
        if waiting:
            yield indexer(np.concatenate(waiting))

    def _embed(self, cells: np.ndarray) -> None:
        """Keys, values and kernel inputs of every distinct neighbour of `cells`."""
        fit, w = self.fit, self.w
        seen = np.zeros(fit.n_cells, dtype=bool)
        rows = fit.neighbors.index[cells]
        seen[rows[rows >= 0]] = True
        distinct = np.flatnonzero(seen)
        self.place[distinct] = np.arange(len(distinct))
        n = len(distinct)
        self.keys = np.empty((n, w["key_weight"].shape[1]), dtype=np.float32)
        self.values = np.empty((n, w["value_weight"].shape[1]), dtype=np.float32)
        self.kernel_cell = np.empty((n, w["kernel_cell"].shape[1]), dtype=np.float32)
        expression = Rows(fit.expression, dense=False)
        for start in range(0, n, _EMBED_ROWS):
            block = slice(start, start + _EMBED_ROWS)
            embedded = _res_net_mlp(w, "cell_mlp", expression(distinct[block]))
            self.kernel_cell[block] = embedded @ w["kernel_cell"]
            inner = _res_net_mlp(w, "key_mlp", embedded)
            self.keys[block], self.values[block] = inner @ w["key_weight"], inner @ w["value_weight"]

    def parts(self, ids: Indices) -> Parts:
        weights = self._weights(ids, *self._pair_scores(ids))[0]
        types = self.fit.type_codes[ids.cells]
        return Parts(self.fold, ids.cells, types, self._queries(ids.cells), self._mix(ids, weights), self.w["head_out"])

    def attention(self, ids: Indices) -> Attention:
        fit, cells = self.fit, ids.cells
        score, decay = self._pair_scores(ids)
        weights, empty = self._weights(ids, score, decay)
        out = np.matmul(self.values.reshape(len(self.values), self.n_heads, 1, -1), self.head_out)
        norms = np.sqrt(np.square(out).sum(axis=(2, 3)))[self.place[ids.neighbors]]
        values = np.where(ids.present[..., None], _rows(norms, ids.pair_neighbor), 0.0)
        return Attention(
            self.fold,
            cells,
            fit.type_codes[cells],
            fit.neighbors.index[cells],
            fit.neighbors.distance[cells],
            weights.transpose(0, 2, 1),
            empty,
            score.transpose(0, 2, 1),
            decay.transpose(0, 2, 1) / np.float32(fit.settings["unit"]),
            values.transpose(0, 2, 1),
        )

    def _queries(self, cells: np.ndarray) -> np.ndarray:
        return np.asarray(
            self.residual[self.fit.type_codes[cells]] + self.fit.covariates[cells] @ self.w["covariate_weight"]
        )

    def _pair_scores(self, ids: Indices) -> tuple[np.ndarray, np.ndarray]:
        """``(n, k, h)`` each: score at distance 0, and decay per distance unit."""
        h, w = self.n_heads, self.w
        place = self.place[ids.neighbors][ids.combination_neighbor]
        c = ids.combination_type
        n_key = self.query.shape[2]
        score = np.einsum("mhk,mhk->mh", self.query[c], self.keys[place].reshape(-1, h, n_key)) / np.sqrt(
            np.float32(n_key)
        )
        hidden = np.maximum(self.kernel_cell[place] + self.kernel_type[c], 0)
        inner = hidden @ w["kernel_out"] + w["kernel_out_bias"] + np.float32(self.fit.settings["kernel_offset"])
        table = np.concatenate([score, np.logaddexp(np.float32(0), inner)], axis=1)
        found = _rows(table, ids.pair_combination)
        return found[..., :h], found[..., h:]

    def _weights(self, ids: Indices, score: np.ndarray, decay: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Attention ``(n, k, h)`` and that of the empty slot ``(n, h)``."""
        empty_score = np.float32(self.fit.settings["empty_score"])
        distance = np.where(ids.present, self.neighbors.distance[ids.cells], 0) / np.float32(self.fit.settings["unit"])
        # neighbours first: sums over an axis in the middle take several times as long
        total = np.ascontiguousarray((score - decay * distance[..., None]).transpose(1, 0, 2))
        total[~ids.present.T] = -np.inf
        top = np.maximum(total.max(axis=0, initial=-np.inf), empty_score)
        weights = np.exp(np.subtract(total, top, out=total), out=total)
        empty = np.exp(empty_score - top)
        sums = weights.sum(axis=0) + empty
        weights /= sums
        return weights.transpose(1, 0, 2), empty / sums

    def _mix(self, ids: Indices, weights: np.ndarray) -> np.ndarray:
        """``(h, n, s, v)``: attention times values, added up by sender type.

        One product with a sparse matrix that has a row for each head, receiver and sender; neighbours are in the order
        of their types, so that its entries are in the order of its rows.
        """
        n, _, h = weights.shape
        n_senders, n_value = self.fit.n_types, self.head_out.shape[1]
        if not len(ids.neighbors):
            return np.zeros((h, n, n_senders, n_value), dtype=np.float32)
        place = self.place[ids.neighbors]
        sender = np.where(ids.present, self.fit.type_codes[ids.neighbors][ids.pair_neighbor], n_senders - 1)
        counts = np.bincount((np.arange(n)[:, None] * n_senders + sender).reshape(-1), minlength=n * n_senders)
        indptr = np.concatenate([[0], np.cumsum(np.tile(counts, h))]).astype(np.int32)
        columns = place[ids.pair_neighbor].astype(np.int32) * h + np.arange(h, dtype=np.int32)[:, None, None]
        matrix = sparse.csr_matrix(
            (weights.transpose(2, 0, 1).reshape(-1), columns.reshape(-1), indptr),
            shape=(h * n * n_senders, len(self.values) * h),
        )
        return np.asarray(matrix @ self.values.reshape(-1, n_value)).reshape(h, n, n_senders, n_value)


def _by_sender(fit: InteractionFit) -> Neighbors:
    """Each cell's neighbours in the order of their types, absent ones last; kept as long as the fit lives."""
    if fit not in _sorted:
        index = fit.neighbors.index
        kind = np.where(index >= 0, fit.type_codes[np.maximum(index, 0)], fit.n_types).astype(np.int16)
        order = np.argsort(kind, axis=1, kind="stable")
        _sorted[fit] = Neighbors(
            np.take_along_axis(index, order, axis=1), np.take_along_axis(fit.neighbors.distance, order, axis=1)
        )
    return _sorted[fit]


def _rows(table: np.ndarray, index: np.ndarray) -> np.ndarray:
    """``table[index]``, zeros where the table is empty because nobody has a neighbour."""
    if not len(table):
        return np.zeros((*index.shape, table.shape[1]), dtype=np.float32)
    return np.take(table, index, axis=0)
