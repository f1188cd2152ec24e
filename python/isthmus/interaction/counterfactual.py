"""What attention a neighbour would get, if it were alone and stood elsewhere.

A single neighbour at distance d competes with the slot for nobody only (score s0)::

    a(d) = 1 / (1 + exp(s0 - score + decay d))
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus import schema
from isthmus.errors import InputError
from isthmus.interaction import checks
from isthmus.interaction.attention import matched_attention

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from isthmus.interaction.result import InteractionFit


@dataclass(frozen=True, eq=False)
class Pairs:
    """The pairs of one receiver and one sender type.

    Attributes
    ----------
    receiver, sender
        Type codes.
    excess, decay
        ``(n, n_heads)``: score at distance 0 over that of the slot for nobody, and its decay per unit of distance.
    block
        ``(n,)``: block of the receiver.
    """

    receiver: int
    sender: int
    excess: np.ndarray
    decay: np.ndarray
    block: np.ndarray


def all_pairs(fit: InteractionFit) -> Iterator[Pairs]:
    """Receivers and neighbours of the fit, by types, scored by the model that held the receiver out."""
    nobody = float(fit.settings["empty_score"])
    parts: dict[tuple[int, int], list[tuple[np.ndarray, ...]]] = {}
    for chunk in matched_attention(fit):
        row, place = np.nonzero(chunk.neighbors >= 0)
        kind = chunk.types[row].astype(np.int64) * fit.n_types + fit.type_codes[chunk.neighbors[row, place]]
        excess, decay = chunk.score[row, :, place] - nobody, chunk.decay[row, :, place]
        block = fit.folds.block[chunk.cells[row]]
        for code in np.unique(kind):
            mine = kind == code
            key = (int(code) // fit.n_types, int(code) % fit.n_types)
            parts.setdefault(key, []).append((excess[mine], decay[mine], block[mine]))
    for (receiver, sender), chunks in sorted(parts.items()):
        excess, decay, block = (np.concatenate(values) for values in zip(*chunks, strict=True))
        yield Pairs(receiver, sender, excess.astype(np.float64), decay.astype(np.float64), block)


def counterfactual_attention(fit: InteractionFit, distances: Any) -> pd.DataFrame:
    """Attention to a lone neighbour put at given distances.

    Parameters
    ----------
    fit
        What `fit_interactions` returned.
    distances
        0 or more, unit of the coordinates.

    Returns
    -------
    DataFrame
        receiver, sender, head (matched across folds), distance, weight (median over the pairs of receivers and
        neighbours that there are), lower and upper quartile, n_pairs. Types that are never neighbours have no rows.

    Raises
    ------
    InputError
        Negative or missing distances, or none.

    Examples
    --------
    >>> from isthmus.interaction import fit_interactions
    >>> from isthmus.testing import simulate_interactions
    >>> tissue = simulate_interactions(300, 20, seed=0)
    >>> fit = fit_interactions(tissue, labels="cell_type", n_neighbors=10, n_heads=2, max_epochs=2)
    >>> table = counterfactual_attention(fit, [0, 50])
    >>> bool((table.query("distance == 0").weight.to_numpy() > table.query("distance == 50").weight.to_numpy()).all())
    True
    """
    checks.check_fit(fit)
    try:
        at = np.atleast_1d(np.asarray(distances, dtype=np.float64))
    except (TypeError, ValueError):
        at = np.array([np.nan])
    if at.ndim != 1 or not len(at) or not (np.isfinite(at).all() and (at >= 0).all()):
        msg = f"`distances` must be one or more finite distances, 0 or more; got {distances!r}."
        raise InputError(msg)
    rows: dict[str, list[Any]] = {name: [] for name in schema.COUNTERFACTUAL_ATTENTION}
    for pairs in all_pairs(fit):
        for head in range(fit.n_heads):
            for distance in at:
                weight = lone_attention(pairs.excess[:, head], pairs.decay[:, head], distance)
                lower, median, upper = np.quantile(weight, [0.25, 0.5, 0.75])
                row = (
                    fit.types[pairs.receiver],
                    fit.types[pairs.sender],
                    str(head + 1),
                    distance,
                    median,
                    lower,
                    upper,
                )
                for name, value in zip(rows, (*row, len(weight)), strict=True):
                    rows[name].append(value)
    return schema.frame(schema.COUNTERFACTUAL_ATTENTION, {name: np.array(v, dtype=object) for name, v in rows.items()})


def lone_attention(excess: np.ndarray, decay: np.ndarray, distance: float) -> np.ndarray:
    """1 / (1 + exp(-excess + decay distance)), without overflow.

    Examples
    --------
    >>> lone_attention(np.array([0.0, 2000.0]), np.array([1.0, 0.0]), 0.0)
    array([0.5, 1. ])
    """
    return np.exp(-np.logaddexp(0.0, decay * distance - excess))
