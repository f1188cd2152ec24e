"""Who is next to whom: the k nearest cells of other types (or of any), never across samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

NONE = -1  # in `Neighbors.index`: there is no further neighbour


@dataclass(frozen=True, eq=False)
class Neighbors:
    """Neighbours of every cell, nearest first.

    Attributes
    ----------
    index
        ``(n_cells, k)`` int32, rows of the neighbours; -1 where there are fewer than k.
    distance
        ``(n_cells, k)`` float32, unit of the coordinates, between surfaces where radii are known; inf where `index` is
        -1.
    """

    index: np.ndarray
    distance: np.ndarray

    @property
    def present(self) -> np.ndarray:
        """``(n_cells, k)`` bool."""
        return self.index != NONE


def find_neighbors(
    coordinates: np.ndarray,
    type_codes: np.ndarray,
    sample_codes: np.ndarray,
    *,
    n_neighbors: int,
    radius: float | None = None,
    same_type: bool = False,
    radii: np.ndarray | None = None,
) -> Neighbors:
    """The nearest cells of each cell, by one KD-tree per sample (and per receiver type, where its own are left out).

    Parameters
    ----------
    coordinates
        ``(n_cells, 2 or 3)``.
    type_codes, sample_codes
        ``(n_cells,)``.
    n_neighbors
        k, at most.
    radius
        Centres farther apart than this are no neighbours. None: any distance.
    same_type
        Whether cells of the receiver's own type are among its neighbours.
    radii
        ``(n_cells,)``: distances become max(0, distance of centres - radius - radius). Which cells are neighbours is
        decided by their centres.

    Returns
    -------
    Neighbors
    """
    n_cells = len(coordinates)
    index = np.full((n_cells, n_neighbors), NONE, dtype=np.int32)
    distance = np.full((n_cells, n_neighbors), np.inf, dtype=np.float64)
    for sample in np.unique(sample_codes):
        inside = np.flatnonzero(sample_codes == sample)
        for own in [None] if same_type else np.unique(type_codes[inside]):
            receivers = inside if own is None else inside[type_codes[inside] == own]
            senders = inside if own is None else inside[type_codes[inside] != own]
            found, apart = _nearest(coordinates, receivers, senders, n_neighbors, radius, drop_self=own is None)
            index[receivers], distance[receivers] = found, apart
    if radii is not None:
        present = index != NONE
        gap = distance - radii[:, None] - radii[np.where(present, index, 0)]
        distance = np.where(present, np.maximum(gap, 0.0), np.inf)
    return Neighbors(index, distance.astype(np.float32))


def _nearest(
    coordinates: np.ndarray,
    receivers: np.ndarray,
    senders: np.ndarray,
    k: int,
    radius: float | None,
    *,
    drop_self: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """``(n_receivers, k)`` rows and distances among `senders`, nearest first, -1 and inf where there are fewer."""
    index = np.full((len(receivers), k), NONE, dtype=np.int32)
    distance = np.full((len(receivers), k), np.inf)
    wanted = min(k + drop_self, len(senders))
    if wanted == 0:
        return index, distance
    # just above the radius: the tree leaves out a neighbour at exactly its bound
    bound = np.inf if radius is None else np.nextafter(radius, np.inf)
    apart, place = cKDTree(coordinates[senders]).query(coordinates[receivers], k=wanted, distance_upper_bound=bound)
    apart, place = apart.reshape(len(receivers), wanted), place.reshape(len(receivers), wanted)
    present = place < len(senders)
    rows = np.where(present, senders[np.minimum(place, len(senders) - 1)], NONE)
    if drop_self:
        rows, apart = _without_self(rows, apart, receivers)
    width = min(k, rows.shape[1])
    index[:, :width], distance[:, :width] = rows[:, :width], np.where(rows[:, :width] == NONE, np.inf, apart[:, :width])
    return index, distance


def _without_self(rows: np.ndarray, apart: np.ndarray, receivers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each row without the receiver, or without its last entry where many cells share its place and hide it."""
    own = rows == receivers[:, None]
    own[~own.any(axis=1), -1] = True
    shape = (len(rows), rows.shape[1] - 1)
    return rows[~own].reshape(shape), apart[~own].reshape(shape)


def typical_reach(neighbors: Neighbors) -> float:
    """Median over cells of the distance to the farthest neighbour; 0 where no cell has one."""
    farthest = np.where(neighbors.present, neighbors.distance, -np.inf).max(axis=1)
    known = farthest[np.isfinite(farthest)]
    return float(np.median(known)) if len(known) else 0.0


def typical_gap(neighbors: Neighbors) -> float:
    """Median over cells of the distance to the nearest neighbour that is not at distance 0; 1 where there is none."""
    apart = np.where(neighbors.present & (neighbors.distance > 0), neighbors.distance, np.inf).min(axis=1)
    known = apart[np.isfinite(apart)]
    return float(np.median(known)) if len(known) else 1.0
