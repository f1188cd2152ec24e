r"""The anchor rule: how much of a cluster is ambient on the whole.

Within a cluster the likelihood does not change when p becomes (p - c a) / (1 - c) and rho becomes rho + c (1 - rho):
the mixtures stay what they are. It fixes how cells differ, not their level. The level taken is the largest that keeps
the native profile non-negative: the left edge of the ratios

    y_g = S_g / (N a_g) = level + (1 - level) p_g / a_g >= level,

S_g the counts of gene g in the cluster and N their total. The edge is blurred by sampling, so that the smallest ratio
is too low, and any fixed quantile depends on how many genes are truly absent. The rule: take the low quantile below
which ratios scatter as counts do around their expectation,

    sum over genes with z_g < 0 of (z_g^2 - 1) = 0,  z_g = (S_g - N a_g level) / sqrt(N a_g level (1 + N level / M)),

with M the counts behind the profile. Genes with at least 20 expected ambient counts take part: the anchor genes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FEWEST_ANCHORS = 20
FEWEST_EXPECTED = 20.0
N_BOOT = 100
_GRID = np.exp(np.linspace(np.log(1e-4), 0.0, 361))  # steps of 2.6 %, interpolated between


@dataclass(frozen=True)
class Level:
    """The mean ambient share of a group of cells, its standard error (NaN: unidentified), and its anchor genes."""

    value: float
    se: float
    n_anchors: int


def anchor_level(
    counts: np.ndarray, total: float, ambient: np.ndarray, profile_total: float, generator: np.random.Generator
) -> Level:
    """The level of one group of cells by the anchor rule.

    Parameters
    ----------
    counts
        ``(n_genes,)``: S, counts of the group.
    total
        N, their sum over all genes.
    ambient
        ``(n_genes,)``: a.
    profile_total
        M; inf where the profile is taken as known.
    generator
        For the bootstrap over anchor genes.
    """
    value, anchors = settled_level(counts, total, ambient, total / profile_total)
    n_anchors = int(anchors.sum())
    if n_anchors < FEWEST_ANCHORS:
        return Level(value, np.nan, n_anchors)
    excess = _excess(counts[anchors], total * ambient[anchors], total / profile_total)
    weights = generator.multinomial(n_anchors, np.full(n_anchors, 1 / n_anchors), size=N_BOOT).T
    return Level(value, float(np.std(_edge(excess @ weights), ddof=1)), n_anchors)


def settled_level(counts: np.ndarray, total: float, ambient: np.ndarray, inflation: float) -> tuple[float, np.ndarray]:
    """The level, and which genes are rich enough at it: each depends on the other, a little."""
    expected = total * ambient
    anchors = _rich(expected, 1.0)
    lowest = float(min((counts[anchors] / expected[anchors]).min(initial=1.0), 1.0))
    value = 0.1
    for _ in range(4):
        anchors = _rich(expected, value)
        if not anchors.any():
            return lowest, anchors
        value = float(_edge(_excess(counts[anchors], expected[anchors], inflation).sum(axis=1))[0])
    return value, anchors


def _rich(expected: np.ndarray, level: float) -> np.ndarray:
    return expected * level >= FEWEST_EXPECTED


def _excess(counts: np.ndarray, expected: np.ndarray, inflation: float) -> np.ndarray:
    """``(n_levels, n_genes)``: z^2 - 1 where z < 0, for every level of the grid."""
    mean = _GRID[:, None] * expected
    z = (counts - mean) / np.sqrt(mean * (1 + inflation * _GRID[:, None]))
    return np.where(z < 0, z * z - 1, 0.0)


def _edge(excess: np.ndarray) -> np.ndarray:
    """The largest level of the grid at which the sum is not positive, interpolated towards the next."""
    excess = excess.reshape(len(_GRID), -1)
    at = len(_GRID) - 1 - np.argmax(excess[::-1] <= 0, axis=0)
    above = np.minimum(at + 1, len(_GRID) - 1)
    column = np.arange(excess.shape[1])
    low, high = excess[at, column], excess[above, column]
    share = np.divide(-low, high - low, out=np.zeros_like(low), where=high > low)
    return np.exp(np.log(_GRID[at]) + share * (np.log(_GRID[above]) - np.log(_GRID[at])))


def marker_level(counts: np.ndarray, total: float, ambient: np.ndarray, generator: np.random.Generator) -> Level:
    """The level from genes that the group does not express: pooled ratio, bootstrap over the genes."""
    expected = total * ambient
    if expected.sum() <= 0:
        return Level(0.0, np.nan, 0)
    value = min(float(counts.sum() / expected.sum()), 1.0)
    n = len(counts)
    weights = generator.multinomial(n, np.full(n, 1 / n), size=N_BOOT)
    drawn = np.divide(weights @ counts, weights @ expected, out=np.full(N_BOOT, np.nan), where=weights @ expected > 0)
    spread = float(np.nanstd(drawn)) if n > 1 else 0.0
    sampling = float(np.sqrt(max(counts.sum(), 1.0)) / expected.sum())
    return Level(value, max(spread, sampling), n)
