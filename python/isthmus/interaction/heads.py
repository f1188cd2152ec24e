"""Which head of one fold's model is which of another's: heads carry no names of their own.

Networks of different folds learn their heads in any order. What a head does is compared by what it alone adds to the
predictions of the same cells; the best one-to-one assignment matches them (Kuhn 1955), and the correlation that is left
says how far a head exists beyond one fold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
from scipy.optimize import linear_sum_assignment

from isthmus import schema
from isthmus.interaction import checks, forward

if TYPE_CHECKING:
    import pandas as pd

    from isthmus.interaction.result import InteractionFit

STABLE = 0.5
_CELLS = 2_000  # compared on at most so many

_kept: WeakKeyDictionary[InteractionFit, tuple[np.ndarray, np.ndarray]] = WeakKeyDictionary()


def head_table(fit: InteractionFit) -> pd.DataFrame:
    """Heads matched across folds.

    Contributions W [LN(q + head's part) - LN(q)] of a fixed set of cells (every n-th, at most 2,000), centred within
    receiver type, are correlated over cells and genes between folds. The fold that agrees best with the others gives
    the labels 1, 2, ... in order of how much its heads move the predictions.

    Returns
    -------
    DataFrame
        head, fold, fold_head (which of the fold's own heads it is), stability (mean correlation with the heads of the
        same label in the other folds; NaN for one fold). A head's stability is the mean of its rows.
    """
    checks.check_fit(fit)
    orders, stability = _matched(fit)
    n_folds, n_heads = orders.shape
    values = {
        "head": np.tile([str(h + 1) for h in range(n_heads)], n_folds),
        "fold": np.repeat(np.arange(n_folds) + 1, n_heads),
        "fold_head": orders.ravel() + 1,
        "stability": stability.ravel(),
    }
    return schema.frame(schema.HEADS, values)


def head_orders(fit: InteractionFit) -> np.ndarray:
    """``(n_folds, n_heads)`` which of the fold's heads goes by the label 1, 2, ..."""
    return _matched(fit)[0]


def head_stability(fit: InteractionFit) -> np.ndarray:
    """``(n_heads,)`` mean correlation of a head with itself in other folds; NaN for one fold."""
    return np.asarray(_matched(fit)[1].mean(axis=0))


def fixed_cells(fit: InteractionFit) -> np.ndarray:
    """Rows of the cells that folds are compared on: every n-th, at most 2,000."""
    return np.unique(np.linspace(0, fit.n_cells - 1, min(fit.n_cells, _CELLS)).astype(np.int64))


def _matched(fit: InteractionFit) -> tuple[np.ndarray, np.ndarray]:
    if fit not in _kept:
        products = _inner_products(fit)
        size = np.sqrt(np.einsum("fhfh->fh", products))
        with np.errstate(invalid="ignore", divide="ignore"):
            correlation = products / (size[:, :, None, None] * size)
        _kept[fit] = match_heads(np.nan_to_num(correlation), size)
    return _kept[fit]


def match_heads(correlation: np.ndarray, size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Assign the heads of every fold to those of the fold that agrees best with all.

    Parameters
    ----------
    correlation
        ``(n_folds, n_heads, n_folds, n_heads)``.
    size
        ``(n_folds, n_heads)``: labels go by it, largest first.

    Returns
    -------
    orders, stability
        ``(n_folds, n_heads)`` each: the fold's head with each label, and its mean correlation with the others'.

    Examples
    --------
    >>> both = np.eye(2)
    >>> swapped = np.block([[both, both[::-1]], [both[::-1], both]]).reshape(2, 2, 2, 2)
    >>> match_heads(swapped, np.array([[2.0, 1.0], [1.0, 2.0]]))[0]
    array([[0, 1],
           [1, 0]])
    """
    n_folds = len(correlation)
    candidates = [_assign_to(correlation, reference) for reference in range(n_folds)]
    agreement = [
        sum(correlation[reference, np.arange(order.shape[1]), f, order[f]].sum() for f in range(n_folds))
        for reference, order in enumerate(candidates)
    ]
    best = int(np.argmax(agreement))
    orders = candidates[best][:, np.argsort(-size[best], kind="stable")]
    return orders, _stability(correlation, orders)


def _assign_to(correlation: np.ndarray, reference: int) -> np.ndarray:
    """``(n_folds, n_heads)``: heads in the order of the reference fold's."""
    return np.array(
        [linear_sum_assignment(correlation[reference][:, f], maximize=True)[1] for f in range(len(correlation))]
    )


def _stability(correlation: np.ndarray, orders: np.ndarray) -> np.ndarray:
    n_folds, n_heads = orders.shape
    if n_folds == 1:
        return np.full(orders.shape, np.nan)
    out = np.empty(orders.shape)
    for head in range(n_heads):
        ids = orders[:, head]
        between = correlation[np.arange(n_folds)[:, None], ids[:, None], np.arange(n_folds), ids]
        out[:, head] = (between.sum(axis=1) - np.diag(between)) / (n_folds - 1)
    return out


def _inner_products(fit: InteractionFit) -> np.ndarray:
    """``(n_folds, n_heads, n_folds, n_heads)`` of head-only contributions over the fixed cells and all genes.

    <Z W', Z' W''> = <Z'Z', W'W''> in the d x d products: contributions to genes are never formed.
    """
    cells = fixed_cells(fit)
    models = forward.fold_models(fit)
    shifts = [_head_shifts(fit, fold, cells) for fold in range(fit.n_folds)]
    n_folds, n_heads = fit.n_folds, fit.n_heads
    out = np.zeros((n_folds, n_heads, n_folds, n_heads))
    for f in range(n_folds):
        for g in range(f, n_folds):
            outputs = models[f].output.T.astype(np.float64) @ models[g].output
            for h in range(n_heads):
                for i in range(n_heads):
                    value = float(((shifts[f][h].T @ shifts[g][i]) * outputs).sum())
                    out[f, h, g, i] = out[g, i, f, h] = value
    return out


def _head_shifts(fit: InteractionFit, fold: int, cells: np.ndarray) -> np.ndarray:
    """``(n_heads, n_cells, d)`` float64, centred within type."""
    model = forward.fold_models(fit)[fold]
    place = np.full(fit.n_cells, -1)
    place[cells] = np.arange(len(cells))
    out = np.zeros((fit.n_heads, len(cells), model.output.shape[1]))
    for parts in forward.fold_parts(fit, fold, cells):
        alone = np.stack([parts.of_head(head) for head in range(fit.n_heads)])
        out[:, place[parts.cells]] = model.normalise(parts.query + alone) - model.normalise(parts.query)
    types = fit.type_codes[cells]
    for kind in np.unique(types):
        out[:, types == kind] -= out[:, types == kind].mean(axis=1, keepdims=True)
    return out
