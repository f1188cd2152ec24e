"""The level of every cluster in every batch: by the anchor rule, from markers, or as given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isthmus.ambient.em import Mixture
from isthmus.ambient.level import Level, anchor_level, marker_level

_TOO_MUCH = 2.0  # times the level of the anchor rule, which is the largest that the counts allow: no marker says more


@dataclass(frozen=True, eq=False)
class Levels:
    """``(n_clusters, n_batches)`` each; `value` is NaN where a cluster has no cell in a batch.

    `source` is "anchors", "markers" or "given". `at_most` is what the anchor rule allows where markers say more than
    that, beyond chance; NaN elsewhere.
    """

    value: np.ndarray
    se: np.ndarray
    n_anchors: np.ndarray
    unidentified: np.ndarray
    source: str
    at_most: np.ndarray


def find_levels(
    sums: np.ndarray,
    total: np.ndarray,
    data: Mixture,
    profile_count: np.ndarray,
    markers: dict[str, np.ndarray] | None,
    names: np.ndarray,
    rho: float | np.ndarray | None,
    generator: np.random.Generator,
) -> Levels:
    """Levels from the counts of each cluster and batch, ``sums`` ``(n_clusters, n_batches, n_genes)``."""
    if rho is not None:
        return _given(data, total, rho)
    value, se, at_most = (np.full(total.shape, np.nan) for _ in range(3))
    n_anchors = np.zeros(total.shape, dtype=int)
    for k, b in np.argwhere(total > 0):
        profile_total = float(profile_count[b].sum())
        known = profile_total if np.isfinite(profile_total) and profile_total > 0 else np.inf
        group = (sums[k, b], float(total[k, b]), data.ambient[b])
        if markers is None:
            found = anchor_level(*group, known, generator)
        else:
            found = _by_markers(*group, markers, str(names[k]), names, generator)
            bound = anchor_level(*group, known, np.random.default_rng(0))  # the fit's own draws stay as they are
            if found.value > _TOO_MUCH * bound.value + 3 * np.hypot(found.se, bound.se):
                at_most[k, b] = bound.value
        value[k, b], se[k, b], n_anchors[k, b] = min(found.value, 0.99), found.se, found.n_anchors
    unidentified = (total > 0) & np.isnan(se)
    if markers is None and unidentified[total > 0].all():
        value = _pooled(sums, total, data, generator)
    source = "anchors" if markers is None else "markers"
    return Levels(_filled(value, total, unidentified), se, n_anchors, unidentified, source, at_most)


def _given(data: Mixture, total: np.ndarray, rho: float | np.ndarray) -> Levels:
    value = np.full(total.shape, np.nan)
    for k, b in np.argwhere(total > 0):
        here = (data.cluster == k) & (data.batch == b)
        value[k, b] = rho if isinstance(rho, float) else float(rho[here] @ data.umi[here]) / total[k, b]
    nothing = np.zeros(total.shape, dtype=int)
    return Levels(
        value,
        np.where(np.isnan(value), np.nan, 0.0),
        nothing,
        nothing.astype(bool),
        "given",
        np.full(total.shape, np.nan),
    )


def _pooled(sums: np.ndarray, total: np.ndarray, data: Mixture, generator: np.random.Generator) -> np.ndarray:
    """The level of each batch as a whole, for all its clusters: where none has anchor genes enough."""
    value = np.full(total.shape, np.nan)
    for b in np.flatnonzero(total.sum(axis=0) > 0):
        whole = anchor_level(sums[:, b].sum(axis=0), float(total[:, b].sum()), data.ambient[b], np.inf, generator)
        value[total[:, b] > 0, b] = min(whole.value, 0.99)
    return value


def _filled(value: np.ndarray, total: np.ndarray, unidentified: np.ndarray) -> np.ndarray:
    """Unidentified levels replaced by the mean of the identified ones, of the same batch where there are any."""
    out, sound = value.copy(), (total > 0) & ~unidentified
    for k, b in np.argwhere(unidentified):
        peers = sound[:, b]
        if peers.any():
            out[k, b] = float(value[peers, b] @ total[peers, b]) / total[peers, b].sum()
        elif sound.any():
            out[k, b] = float(value[sound] @ total[sound]) / total[sound].sum()
    return out


def _by_markers(
    counts: np.ndarray,
    total: float,
    ambient: np.ndarray,
    markers: dict[str, np.ndarray],
    name: str,
    names: np.ndarray,
    generator: np.random.Generator,
) -> Level:
    """Genes of the sets that the cluster does not express."""
    if set(markers) & set(map(str, names)):
        absent = [genes for label, genes in markers.items() if label != name]
    else:
        absent = [genes for genes in markers.values() if counts[genes].sum() < total * ambient[genes].sum()]
    genes = np.setdiff1d(np.unique(np.concatenate(absent)) if absent else np.empty(0, int), markers.get(name, []))
    genes = genes.astype(int)
    if not len(genes):
        return Level(0.0, np.nan, 0)
    return marker_level(counts[genes], total, ambient[genes], generator)
