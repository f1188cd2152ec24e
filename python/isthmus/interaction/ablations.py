"""Every ablation from one forward pass, and the sums over blocks that the tests are made of.

A prediction is m[c] + W LN(q + sum of parts), one part for each head and sender type; leaving parts out gives every
ablation without touching the attention again. Written as what the neighbours add to the prediction without them,

    shift = LN(q + kept parts) - LN(q),    Delta = W shift,

so that the squared error of every variant follows from sums of e^2, e Delta and Delta^2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from isthmus.interaction import forward

if TYPE_CHECKING:
    from collections.abc import Iterator

    from isthmus.interaction.forward import FoldModel, Parts
    from isthmus.interaction.result import InteractionFit


@dataclass(frozen=True, eq=False)
class Variants:
    """Which variants of the prediction are kept, in order: "all", each head alone, all but each sender type."""

    n_heads: int
    n_types: int

    @property
    def everything(self) -> int:
        """Position of the full prediction."""
        return 0

    def head(self, head: int) -> int:
        """Position of one head alone."""
        return 1 + head

    def without(self, sender: int) -> int:
        """Position of all heads without one sender type."""
        return 1 + self.n_heads + sender

    def __len__(self) -> int:
        return 1 + self.n_heads + self.n_types


def variant_shifts(
    parts: Parts, model: FoldModel, head_order: np.ndarray, variants: np.ndarray | None = None
) -> np.ndarray:
    """``(n_variants, n, D)`` what each variant adds to the normalised query.

    Parameters
    ----------
    parts
        A chunk of receivers.
    model
        Of the same fold.
    head_order
        ``(n_heads,)`` which of this fold's heads goes by each label.
    variants
        Which variants (positions in `Variants`). None: all.
    """
    order = Variants(parts.mixed.shape[0], parts.mixed.shape[2])
    total = parts.of_all()
    wanted = np.arange(len(order)) if variants is None else variants
    kept = np.empty((len(wanted), *total.shape), dtype=total.dtype)
    for place, variant in enumerate(wanted):
        if variant == order.everything:
            kept[place] = total
        elif variant < order.without(0):
            kept[place] = parts.of_head(head_order[variant - order.head(0)])
        else:
            np.subtract(total, parts.of_sender(variant - order.without(0)), out=kept[place])
    kept += parts.query
    return np.asarray(model.normalise(kept) - model.normalise(parts.query))


@dataclass(frozen=True, eq=False)
class BlockMoments:
    """Sums over the held-out receivers of one type in each block, gene by gene.

    e = y - prediction without neighbours, Delta = what a variant adds to it, m = mean of the type in training cells.

    Attributes
    ----------
    receiver
        Type code.
    blocks, strata
        ``(n_blocks,)`` code of the block, and of its sample and fold.
    n
        ``(n_blocks,)`` receivers.
    around_mean, error, error_squared
        ``(n_blocks, n_genes)`` sums of (y - m)^2, e, e^2.
    shift, cross, shift_squared
        ``(n_variants, n_blocks, n_genes)`` sums of Delta, e Delta, Delta^2.
    varies
        ``(n_genes,)`` bool: whether the receivers' expression differs at all.
    variants
        The order of the variants.
    """

    receiver: int
    blocks: np.ndarray
    strata: np.ndarray
    n: np.ndarray
    around_mean: np.ndarray
    error: np.ndarray
    error_squared: np.ndarray
    shift: np.ndarray
    cross: np.ndarray
    shift_squared: np.ndarray
    varies: np.ndarray
    variants: Variants

    def squared_error(self, variant: int) -> np.ndarray:
        """``(n_blocks, n_genes)`` sum of (e - Delta)^2."""
        return self.error_squared - 2 * self.cross[variant] + self.shift_squared[variant]

    def centred_cross(self, variant: int) -> np.ndarray:
        """``(n_blocks, n_genes)`` sum of (e - mean e) (Delta - mean Delta), means over the block's stratum."""
        error_mean, shift_mean = (self._stratum_mean(sums) for sums in (self.error, self.shift[variant]))
        n = self.n[:, None]
        return (
            self.cross[variant]
            - error_mean * self.shift[variant]
            - shift_mean * self.error
            + n * error_mean * shift_mean
        )

    def _stratum_mean(self, sums: np.ndarray) -> np.ndarray:
        """Of each block's stratum, a row a block."""
        _, position = np.unique(self.strata, return_inverse=True)
        total = np.zeros((position.max() + 1, sums.shape[1]))
        np.add.at(total, position, sums)
        return (total / np.bincount(position, weights=self.n)[:, None])[position]


_kept: WeakKeyDictionary[InteractionFit, tuple[BlockMoments, ...]] = WeakKeyDictionary()


def block_moments(fit: InteractionFit) -> tuple[BlockMoments, ...]:
    """The sums of every receiver type that has cells, from one forward pass; kept as long as the fit lives."""
    if fit not in _kept:
        _kept[fit] = tuple(_accumulate(fit))
    return _kept[fit]


def stratum_codes(fit: InteractionFit) -> np.ndarray:
    """``(n_cells,)`` one code for each sample and fold."""
    return fit.sample_codes.astype(np.int64) * fit.folds.n_folds + fit.folds.fold


def _accumulate(fit: InteractionFit) -> Iterator[BlockMoments]:
    from isthmus.interaction.heads import head_orders

    models, orders = forward.fold_models(fit), head_orders(fit)
    variants = Variants(orders.shape[1], fit.n_types)
    met = _met(fit)
    n_blocks = fit.folds.n_blocks
    sums = [_Sums(n_blocks, fit.n_genes, variants, senders) for senders in met]
    for parts in forward.held_out_parts(fit):
        model = models[parts.fold]
        for receiver in np.unique(parts.types):
            rows = np.flatnonzero(parts.types == receiver)
            observed = fit.expression[parts.cells[rows]].toarray()
            # without covariates all receivers of a type share one query
            without = model.residual(parts.query[rows if fit.covariates.shape[1] else rows[:1]])
            one = sums[receiver]
            one.see(observed)
            one.add(
                fit.folds.block[parts.cells[rows]],
                observed.astype(np.float64) - model.means[receiver],
                without,
                variant_shifts(parts.take(rows), model, orders[parts.fold], one.computed),
                model.output,
            )
    stratum_of_block = np.zeros(n_blocks, dtype=np.int64)
    stratum_of_block[fit.folds.block] = stratum_codes(fit)
    for receiver, one in enumerate(sums):
        if one.n.any():
            yield one.finish(receiver, stratum_of_block)


def _met(fit: InteractionFit) -> np.ndarray:
    """``(n_types, n_types)`` bool: whether any receiver of a type has a neighbour of another."""
    met = np.zeros((fit.n_types, fit.n_types + 1), dtype=bool)
    index = fit.neighbors.index
    met[fit.type_codes[:, None], np.where(index >= 0, fit.type_codes[np.maximum(index, 0)], fit.n_types)] = True
    return met[:, :-1]


class _Sums:
    """What `BlockMoments` of one receiver type holds, while it grows.

    Without a sender that the receivers never meet the prediction is the full one, so that variant is not computed.
    """

    def __init__(self, n_blocks: int, n_genes: int, variants: Variants, met: np.ndarray) -> None:
        self.variants = variants
        always = np.arange(variants.without(0))
        self.computed = np.concatenate([always, variants.without(0) + np.flatnonzero(met)])
        self.n = np.zeros(n_blocks, dtype=np.int64)
        self.plain = np.zeros((3, n_blocks, n_genes))
        self.by_variant = np.zeros((3, len(self.computed), n_blocks, n_genes))
        self.least, self.most = np.full(n_genes, np.inf), np.full(n_genes, -np.inf)

    def see(self, observed: np.ndarray) -> None:
        """Take note of the range of each gene (n x G)."""
        self.least = np.minimum(self.least, observed.min(axis=0))
        self.most = np.maximum(self.most, observed.max(axis=0))

    def add(
        self, blocks: np.ndarray, residual: np.ndarray, without: np.ndarray, shifts: np.ndarray, output: np.ndarray
    ) -> None:
        """Add receivers: residual about the type's mean (n x G), prediction without neighbours about it (n or 1 x G).

        Products of single receivers are float32, as the predictions are; so are sums over a block's share of a chunk.
        """
        present, position = np.unique(blocks, return_inverse=True)
        # a dense product: the blocks of a chunk are few, and making a sparse matrix takes longer than the sums
        gather = np.equal(np.arange(len(present))[:, None], position).astype(np.float64)
        rough = gather.astype(np.float32)
        error = residual - without
        self.n[present] += np.bincount(position)
        for place, values in enumerate((residual**2, error, error**2)):
            self.plain[place, present] += gather @ values
        error = error.astype(np.float32)
        sums = np.empty((2, len(shifts), len(present), error.shape[1]), dtype=np.float32)
        for variant, shift in enumerate(shifts):
            added = shift @ output.T
            np.matmul(rough, error * added, out=sums[0, variant])
            np.matmul(rough, np.square(added, out=added), out=sums[1, variant])
        self.by_variant[0][:, present] += np.matmul(gather, shifts) @ output.T
        self.by_variant[1:, :, present] += sums

    def finish(self, receiver: int, stratum_of_block: np.ndarray) -> BlockMoments:
        held = np.flatnonzero(self.n)
        around_mean, error, error_squared = self.plain[:, held]
        source = np.full(len(self.variants), self.variants.everything)
        source[self.computed] = np.arange(len(self.computed))
        shift, cross, shift_squared = self.by_variant[:, source[:, None], held]
        return BlockMoments(
            receiver,
            held,
            stratum_of_block[held],
            self.n[held],
            around_mean,
            error,
            error_squared,
            shift,
            cross,
            shift_squared,
            self.least < self.most,
            self.variants,
        )
