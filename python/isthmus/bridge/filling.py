"""Large arrays on their way to R, written into vectors that R has allocated for them.

reticulate would copy each array twice, once for itself and once for R. Here R makes room and shows it (``filled`` in
R/wire.R), Python writes, and nothing here holds on to R's memory afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from isthmus.data.values import NA_INTEGER

_LARGE = 4096  # elements: below it the second copy is cheaper than one more call
_TYPES = {np.dtype(np.int32): "integer", np.dtype(np.float64): "double"}
_STRETCH = 2**16  # elements looked at in one go


class Waiting:
    """Arrays for which R has yet to make room. reticulate hands this object to R as it is."""

    def __init__(self) -> None:
        self.arrays: list[np.ndarray] = []
        self._dims: list[np.ndarray] = []

    def without_arrays(self, wire: Any) -> Any:
        """The same wire with ``{"waiting": k}`` in the place of each large array."""
        if isinstance(wire, Mapping):
            dim = wire.get("dim")  # that of a matrix, which R allocates as one
            return {
                key: self._taken(item, dim if key == "values" else None)
                if isinstance(item, np.ndarray)
                else self.without_arrays(item)
                for key, item in wire.items()
            }
        if isinstance(wire, list) and wire and isinstance(wire[0], Mapping):
            return [self.without_arrays(item) for item in wire]
        return wire

    def _taken(self, array: np.ndarray, dim: Any) -> Any:
        if array.dtype not in _TYPES or array.ndim != 1 or array.size < _LARGE:
            return array
        self.arrays.append(array)
        self._dims.append(np.array([array.size] if dim is None else dim, dtype=float))
        return {"waiting": len(self.arrays)}

    def room(self) -> dict[str, Any]:
        """What R has to allocate: types, and dims (a single number for a vector)."""
        return {"types": [_TYPES[array.dtype] for array in self.arrays], "dims": self._dims}

    def fill(self, vectors: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Write each array into R's memory.

        Returns
        -------
        dict
            ``at`` (counted from 1; 0 where all is zero) and ``values``: an element of each array that R, which made its
            vectors of zeros, finds there if what was shown was its own memory and no copy.
        """
        for array, vector in zip(self.arrays, vectors, strict=True):
            np.copyto(writable(vector).T.reshape(-1), array, casting="no")  # R's matrices run down their columns
        found = [_witness(array) for array in self.arrays]
        return {"at": np.array([at for at, _ in found], float), "values": np.array([value for _, value in found])}


def _witness(array: np.ndarray) -> tuple[int, float]:
    for start in range(0, array.size, _STRETCH):
        places = np.flatnonzero(array[start : start + _STRETCH])
        if len(places):
            at = start + int(places[0])
            missing = array.dtype.kind == "i" and array[at] == NA_INTEGER
            return at + 1, float("nan") if missing else float(array[at])
    return 0, 0.0


class _Memory:
    """The memory of an array, which it keeps alive, as something that may be written to."""

    def __init__(self, view: np.ndarray) -> None:
        self._view = view
        self.__array_interface__ = view.__array_interface__ | {"data": (view.ctypes.data, False)}


def writable(view: np.ndarray) -> np.ndarray:
    """reticulate marks what it shows of R's memory as read-only, since R may share it. For what R has just made and
    nothing else holds."""
    return np.asarray(_Memory(view))
