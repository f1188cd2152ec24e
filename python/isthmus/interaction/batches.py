"""Batches of receivers with their neighbours, each distinct neighbour once. Arrays only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from isthmus.interaction.neighbors import Neighbors


@dataclass(frozen=True, eq=False)
class Indices:
    """What `network.Batch` says by number, of receivers `cells` (rows of the data).

    `neighbors` ``(u,)`` are the distinct neighbours, rows of the data; combinations of receiver type and neighbour
    ``(m,)``; pairs ``(n, k)``, 0 where `present` is False.
    """

    cells: np.ndarray
    neighbors: np.ndarray
    combination_type: np.ndarray
    combination_neighbor: np.ndarray
    pair_combination: np.ndarray
    pair_neighbor: np.ndarray
    present: np.ndarray


class Indexer:
    """Numbers distinct neighbours and combinations with look-up arrays made once: a sort of all pairs a step would
    cost more than the network."""

    def __init__(self, neighbors: Neighbors, type_codes: np.ndarray, n_types: int) -> None:
        self._index, self._present = neighbors.index, neighbors.present
        self._types = type_codes
        n_cells = len(type_codes)
        self._place = np.zeros(n_cells, dtype=np.int64)
        self._seen = np.zeros(n_cells, dtype=bool)
        self._n_types = n_types

    def __call__(self, cells: np.ndarray) -> Indices:
        present = self._present[cells]
        rows = np.where(present, self._index[cells], 0)
        self._seen[rows[present]] = True
        distinct = np.flatnonzero(self._seen)
        self._seen[distinct] = False
        self._place[distinct] = np.arange(len(distinct))
        pair = np.where(present, self._place[rows], 0)
        kind, neighbor, combination = self._combine(pair, present, self._types[cells], len(distinct))
        return Indices(cells, distinct, kind, neighbor, combination, pair, present)

    def _combine(
        self, pair: np.ndarray, present: np.ndarray, types: np.ndarray, n_distinct: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        key = types[:, None].astype(np.int64) * n_distinct + pair
        seen = np.zeros(max(self._n_types * n_distinct, 1), dtype=bool)
        seen[key[present]] = True
        distinct = np.flatnonzero(seen)
        place = np.zeros(len(seen), dtype=np.int64)
        place[distinct] = np.arange(len(distinct))
        width = max(n_distinct, 1)
        return distinct // width, distinct % width, np.where(present, place[np.where(present, key, 0)], 0)


def spatial_groups(
    cells: np.ndarray, coordinates: np.ndarray, sample_codes: np.ndarray, group_size: int
) -> list[np.ndarray]:
    """`cells` in groups of at most `group_size` that lie side by side in one sample: halved at the median of the longer
    side until small enough."""
    groups: list[np.ndarray] = []
    for sample in np.unique(sample_codes[cells]):
        waiting = [cells[sample_codes[cells] == sample]]
        while waiting:
            members = waiting.pop()
            if len(members) <= group_size:
                groups.append(members)
                continue
            places = coordinates[members]
            order = np.argsort(places[:, int(np.argmax(np.ptp(places, axis=0)))], kind="stable")
            half = len(members) // 2
            waiting += [members[order[half:]], members[order[:half]]]
    return groups


def batches_of(groups: list[np.ndarray], batch_size: int, order: np.ndarray) -> Iterator[np.ndarray]:
    """Receivers of the groups in this order, about `batch_size` at a time; no batch much smaller than the others."""
    sizes = np.array([len(groups[number]) for number in order])
    n_batches = max(1, round(int(sizes.sum()) / batch_size))
    edge = np.minimum((np.cumsum(sizes) - sizes / 2) / sizes.sum() * n_batches, n_batches - 1e-9).astype(np.int64)
    for batch in np.unique(edge):
        yield np.concatenate([groups[number] for number in order[edge == batch]])
