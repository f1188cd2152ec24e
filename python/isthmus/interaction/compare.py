"""Are interactions stronger in one condition than in another? Donors are the replicates."""

from __future__ import annotations

from itertools import combinations
from math import comb
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus import schema, seeds
from isthmus.errors import InputError
from isthmus.interaction import checks, significance
from isthmus.interaction.ablations import block_moments
from isthmus.interaction.nulls import draws_needed
from isthmus.interaction.units import sample_labels
from isthmus.messages import tell
from isthmus.multiplicity import benjamini_hochberg

if TYPE_CHECKING:
    import pandas as pd

    from isthmus.interaction.result import InteractionFit

_FEWEST = 3  # units in a group
_EXACT = 20_000  # relabellings that are all gone through


def compare_interactions(
    fit: InteractionFit,
    group: Any,
    *,
    unit: Any = "sample",
    n_permutations: int | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare the strength of each sender's effect between groups of samples.

    The strength in a unit is the mean over its receivers of what the sender's part takes off the held-out squared
    error, less the expectation without interaction (the statistic of `neighbor_effects`, per receiver). Units are
    relabelled, and Welch's t compared: cells of one donor never count as replicates.

    Parameters
    ----------
    fit
        What `fit_interactions` returned, made with `sample`.
    group
        Condition: a mapping from sample to label, or one label per cell, alike within samples.
    unit
        Replicate, each in one group: "sample", a mapping from sample to donor, or one donor per cell.
    n_permutations
        Relabellings, where there are more than 20,000 different ones. None: as in `explained_variance`.
    seed
        Of the relabellings. None: fresh.

    Returns
    -------
    DataFrame
        A row for each receiver, sender and group but the first: receiver, sender, group, reference (the first group),
        mean, reference_mean, difference, statistic, pval (two-sided), padj, n_units, n_reference.

    Raises
    ------
    InputError
        Fewer than two groups; a unit in two groups; samples without a label.
    """
    checks.check_fit(fit)
    groups = sample_labels(fit, group, "group")
    units = sample_labels(fit, unit, "unit")
    labels = list(dict.fromkeys(groups))
    if len(labels) < 2:
        msg = f"`group` must hold two groups or more; got only {labels[0]!r}."
        raise InputError(msg)
    names, group_of_unit = _units(groups, units)
    strength = _strength(fit, units, names)
    generator = seeds.generator(seed)
    draws = draws_needed(fit.n_types**2 * (len(labels) - 1), n_permutations)
    rows: dict[str, list[Any]] = {name: [] for name in schema.COMPARE_INTERACTIONS}
    few = False
    for receiver, receiver_name in enumerate(fit.types):
        for sender, sender_name in enumerate(fit.types):
            values = strength[:, receiver, sender]
            for label in labels[1:]:
                own, other = (values[(group_of_unit == g) & ~np.isnan(values)] for g in (label, labels[0]))
                few |= min(len(own), len(other)) in range(1, _FEWEST)
                statistic, pval = _relabel(own, other, draws, generator)
                mean, reference = (float(v.mean()) if len(v) else np.nan for v in (own, other))
                row = (receiver_name, sender_name, str(label), str(labels[0]), mean, reference, mean - reference)
                for name, value in zip(rows, (*row, statistic, pval, np.nan, len(own), len(other)), strict=True):
                    rows[name].append(value)
    if few:
        tell(f"`unit`: comparisons with fewer than {_FEWEST} units in a group have no p-value.")
    arrays = {name: np.array(values, dtype=object) for name, values in rows.items()}
    arrays["padj"] = benjamini_hochberg(arrays["pval"].astype(np.float64))
    return schema.frame(schema.COMPARE_INTERACTIONS, arrays)


def _units(groups: np.ndarray, units: np.ndarray) -> tuple[list[Any], np.ndarray]:
    """Units in order of appearance, and the group of each."""
    names = list(dict.fromkeys(units))
    of_unit = np.empty(len(names), dtype=object)
    for position, name in enumerate(names):
        found = list(dict.fromkeys(groups[units == name]))
        if len(found) > 1:
            msg = f"`unit` must lie in one group each; '{name}' has samples of {found[0]!r} and {found[1]!r}."
            raise InputError(msg)
        of_unit[position] = found[0]
    return names, of_unit


def _strength(fit: InteractionFit, units: np.ndarray, names: list[Any]) -> np.ndarray:
    """``(n_units, n_types, n_types)`` per receiver; NaN without receivers or where the types are never neighbours."""
    sample_of_block = np.zeros(fit.folds.n_blocks, dtype=np.int64)
    sample_of_block[fit.folds.block] = fit.sample_codes
    position = np.array([names.index(name) for name in units])
    out = np.full((len(names), fit.n_types, fit.n_types), np.nan)
    for moments in block_moments(fit):
        senders = significance.each_sender(moments.variants)
        sums = significance.contrast_cross(fit, moments, senders).sum(axis=2)  # sender x block
        unit = position[sample_of_block[moments.blocks]]
        n = np.bincount(unit, weights=moments.n, minlength=len(names))
        total = np.array([np.bincount(unit, weights=row, minlength=len(names)) for row in sums])
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(n > 0, total / n, np.nan)
        mean[~sums.any(axis=1)] = np.nan
        out[:, moments.receiver] = mean.T
    return out


def _welch(own: np.ndarray, other: np.ndarray) -> np.ndarray:
    """t along the last axis."""
    spread = own.var(axis=-1, ddof=1) / own.shape[-1] + other.var(axis=-1, ddof=1) / other.shape[-1]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((own.mean(axis=-1) - other.mean(axis=-1)) / np.sqrt(spread))


def _relabel(own: np.ndarray, other: np.ndarray, n_draws: int, generator: np.random.Generator) -> tuple[float, float]:
    """Welch's t and its two-sided p-value over relabellings: all of them, or random ones as (1 + c) / (1 + B)."""
    values, n = np.concatenate([own, other]), len(own)
    if min(n, len(other)) < _FEWEST or np.ptp(values) == 0:
        return np.nan, np.nan
    observed = float(_welch(own, other))
    every = comb(len(values), n) <= _EXACT
    if every:
        first = np.array(list(combinations(range(len(values)), n)))
    else:
        first = generator.permuted(np.tile(np.arange(len(values)), (n_draws, 1)), axis=1)[:, :n]
    inside = np.zeros((len(first), len(values)), dtype=bool)
    inside[np.arange(len(first))[:, None], first] = True
    tiled = np.broadcast_to(values, inside.shape)
    drawn = _welch(tiled[inside].reshape(len(first), n), tiled[~inside].reshape(len(first), -1))
    count = int((np.abs(drawn) >= abs(observed) * (1 - 1e-12)).sum())
    return observed, count / len(first) if every else (1 + count) / (1 + len(first))
