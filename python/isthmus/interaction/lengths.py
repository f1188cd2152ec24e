"""How far an interaction reaches: the distance at which attention to a lone neighbour falls to a threshold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus import schema, seeds
from isthmus.errors import InputError
from isthmus.interaction import checks
from isthmus.interaction.counterfactual import Pairs, all_pairs

if TYPE_CHECKING:
    import pandas as pd

    from isthmus.interaction.result import InteractionFit

_MOST_PAIRS = 20_000  # of two types: a median needs no more
_LEVELS = (0.025, 0.975)


def length_scales(fit: InteractionFit, *, threshold: float = 0.1, n_boot: int = 200, seed: int = 0) -> pd.DataFrame:
    """Length scale of each receiver, sender and head, with a block-bootstrap interval.

    A lone neighbour at distance d gets the attention a(d) of `counterfactual_attention`; it falls to the threshold t at

        d* = (score - score of nobody - log(t / (1 - t))) / decay.

    Neighbours that are below the threshold even at distance 0 have no length scale. The table gives the median over
    pairs of receivers and neighbours that have one, and NaN where half of the pairs or more have none. Intervals
    resample the blocks of the receivers, each with the model of its fold: they hold variation between places and
    folds, not of retraining on other data.

    Parameters
    ----------
    fit
        What `fit_interactions` returned.
    threshold
        t, between 0 and 1.
    n_boot
        Bootstrap samples. 0: no intervals.
    seed
        Of the samples. None: fresh.

    Returns
    -------
    DataFrame
        receiver, sender, head, median, lower, upper (95 %), n (pairs with a length scale): a row for each two types
        and each head.

    Raises
    ------
    InputError
        `threshold` outside of (0, 1), `n_boot` below 0.

    Examples
    --------
    >>> from isthmus.interaction import fit_interactions
    >>> from isthmus.testing import simulate_interactions
    >>> tissue = simulate_interactions(300, 20, seed=0)
    >>> fit = fit_interactions(tissue, labels="cell_type", n_neighbors=10, n_heads=2, max_epochs=2)
    >>> table = length_scales(fit, threshold=0.01)
    >>> len(table), bool((table["lower"] <= table["median"])[table["median"].notna()].all())
    (18, True)
    """
    checks.check_fit(fit)
    threshold = checks.between_0_and_1(threshold, "threshold")
    if isinstance(n_boot, bool) or not isinstance(n_boot, (int, np.integer)) or n_boot < 0:
        msg = f"`n_boot` must be a whole number, 0 or more; got {n_boot!r}."
        raise InputError(msg)
    generator = seeds.generator(seed)
    found = {(p.receiver, p.sender): _of_pairs(p, threshold, int(n_boot), generator) for p in all_pairs(fit)}
    nothing = np.array([[np.nan, np.nan, np.nan, 0]] * fit.n_heads)
    rows: dict[str, list[Any]] = {name: [] for name in schema.LENGTH_SCALES}
    for receiver, receiver_name in enumerate(fit.types):
        for sender, sender_name in enumerate(fit.types):
            for head, numbers in enumerate(found.get((receiver, sender), nothing)):
                row = (receiver_name, sender_name, str(head + 1), *numbers)
                for name, value in zip(rows, row, strict=True):
                    rows[name].append(value)
    values = {name: np.array(v, dtype=object) for name, v in rows.items()}
    return schema.frame(schema.LENGTH_SCALES, values)


def _of_pairs(pairs: Pairs, threshold: float, n_boot: int, generator: np.random.Generator) -> np.ndarray:
    """``(n_heads, 4)``: median, lower, upper, n."""
    chosen = np.arange(len(pairs.block))
    if len(chosen) > _MOST_PAIRS:
        chosen = np.sort(generator.choice(chosen, _MOST_PAIRS, replace=False))
    needed = np.log(threshold / (1 - threshold))
    draws = _block_draws(pairs.block[chosen], n_boot, generator)
    out = []
    for excess, decay in zip(pairs.excess.T, pairs.decay.T, strict=True):
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = np.where(excess >= needed, (excess - needed) / decay, np.nan)
        middle = _medians(scale[chosen], np.ones((1, len(chosen))))[0]
        between = _medians(scale[chosen], draws)
        known = between[~np.isnan(between)]
        ends = np.quantile(known, _LEVELS) if len(known) and not np.isnan(middle) else (np.nan, np.nan)
        out.append((middle, *ends, int((~np.isnan(scale)).sum())))
    return np.array(out)


def _block_draws(block: np.ndarray, n_boot: int, generator: np.random.Generator) -> np.ndarray:
    """``(n_boot, n_pairs)`` how often each pair is in a sample of as many blocks as there are."""
    _, position = np.unique(block, return_inverse=True)
    n_blocks = int(position.max()) + 1
    counts = generator.multinomial(n_blocks, np.full(n_blocks, 1 / n_blocks), size=n_boot)
    return np.asarray(counts[:, position])


def _medians(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Medians of the values that are not NaN, each counted so often; NaN where they are no more than half of all.

    Examples
    --------
    >>> _medians(np.array([3.0, np.nan, 1.0]), np.array([[1, 1, 1], [0, 1, 1], [1, 0, 2]]))
    array([ 2., nan,  1.])
    """
    known = np.flatnonzero(~np.isnan(values))
    order = known[np.argsort(values[known], kind="stable")]
    if not len(order):
        return np.full(len(counts), np.nan)
    below = np.cumsum(counts[:, order], axis=1)
    total = below[:, -1:]
    # the middle, or the two around it
    low, high = (below < total / 2).sum(axis=1), (below <= total / 2).sum(axis=1)
    last = len(order) - 1
    middle = (values[order[np.minimum(low, last)]] + values[order[np.minimum(high, last)]]) / 2
    return np.where(2 * total[:, 0] > counts.sum(axis=1), middle, np.nan)
