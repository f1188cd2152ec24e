"""Communication hubs: cells grouped by whom they attend to."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
from scipy.cluster.vq import kmeans2

from isthmus import schema, seeds
from isthmus.errors import InputError
from isthmus.interaction import checks
from isthmus.interaction.attention import matched_attention
from isthmus.messages import tell

if TYPE_CHECKING:
    import pandas as pd

    from isthmus.interaction.result import InteractionFit

_STARTS = 10


def communication_hubs(
    fit: InteractionFit, *, n_hubs: int = 5, min_attention: float = 0.1, seed: int = 0
) -> pd.DataFrame:
    """Group the cells that attend to neighbours by the types they attend to.

    1. Attention of each cell to each sender type: mean over heads of the sum over its neighbours.
    2. Cells with `min_attention` or more in all are clustered by the shares of the types (k-means++, best of 10
       starts). Hubs are numbered from the largest.

    Parameters
    ----------
    fit
        What `fit_interactions` returned.
    n_hubs
        Clusters; fewer where cells attend in fewer different ways.
    min_attention
        Between 0 and 1.
    seed
        Of the starts. None: fresh.

    Returns
    -------
    DataFrame
        A row for each cell in the order of the data: cell, receiver, head ("all"), sender (the type with most of the
        attention; missing without neighbours), attention, hub ("hub1", ...; missing below `min_attention`).

    Raises
    ------
    InputError
        `n_hubs` below 1; `min_attention` outside of [0, 1].
    """
    checks.check_fit(fit)
    if isinstance(n_hubs, bool) or not isinstance(n_hubs, (int, np.integer)) or n_hubs < 1:
        msg = f"`n_hubs` must be a whole number, 1 or more; got {n_hubs!r}."
        raise InputError(msg)
    if not 0 <= min_attention <= 1:
        msg = f"`min_attention` must lie between 0 and 1; got {min_attention!r}."
        raise InputError(msg)
    by_sender = attention_by_sender(fit)
    total = by_sender.sum(axis=1)
    busy = np.flatnonzero((total >= min_attention) & (total > 0))
    hub = np.full(fit.n_cells, None, dtype=object)
    if len(busy):
        hub[busy] = _cluster(by_sender[busy] / total[busy, None], n_hubs, seeds.generator(seed))
    else:
        tell(f"`min_attention`: no cell gives {min_attention:g} or more of its attention to neighbours.")
    types = np.array(fit.types, dtype=object)
    sender = types[by_sender.argmax(axis=1)]
    sender[total == 0] = None
    values = {
        "cell": np.array(fit.cells, dtype=object),
        "receiver": types[fit.type_codes],
        "head": np.full(fit.n_cells, "all", dtype=object),
        "sender": sender,
        "attention": total,
        "hub": hub,
    }
    return schema.frame(schema.COMMUNICATION_HUBS, values)


def attention_by_sender(fit: InteractionFit) -> np.ndarray:
    """``(n_cells, n_types)`` attention to the neighbours of each type together, mean over heads."""
    out = np.zeros((fit.n_cells, fit.n_types))
    for chunk in matched_attention(fit):
        row, place = np.nonzero(chunk.neighbors >= 0)
        sender = fit.type_codes[chunk.neighbors[row, place]]
        np.add.at(out, (chunk.cells[row], sender), chunk.weights.mean(axis=1)[row, place])
    return out


def _cluster(shares: np.ndarray, n_hubs: int, generator: np.random.Generator) -> np.ndarray:
    """Labels "hub1", "hub2", ... by size."""
    different = np.unique(shares.round(6), axis=0)
    k = min(n_hubs, len(different))
    best, labels = np.inf, np.zeros(len(shares), dtype=np.int64)
    for _ in range(_STARTS if k > 1 else 0):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a cluster that loses all its cells keeps its centre
            centres, member = kmeans2(shares, _spread(shares, k, generator), minit="matrix")
        inertia = float(((shares - centres[member]) ** 2).sum())
        if inertia < best:
            best, labels = inertia, np.asarray(member)
    _, labels = np.unique(labels, return_inverse=True)
    rank = np.empty(labels.max() + 1, dtype=np.int64)
    rank[np.argsort(-np.bincount(labels), kind="stable")] = np.arange(labels.max() + 1)
    return np.array([f"hub{rank[label] + 1}" for label in labels], dtype=object)


def _spread(shares: np.ndarray, k: int, generator: np.random.Generator) -> np.ndarray:
    """Starting centres far apart: each next one drawn with probability by its squared distance (k-means++)."""
    chosen = [int(generator.integers(len(shares)))]
    distance = ((shares - shares[chosen[0]]) ** 2).sum(axis=1)
    while len(chosen) < k:
        chosen.append(int(generator.choice(len(shares), p=distance / distance.sum())))
        distance = np.minimum(distance, ((shares - shares[chosen[-1]]) ** 2).sum(axis=1))
    return shares[chosen]
