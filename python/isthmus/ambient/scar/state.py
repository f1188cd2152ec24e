"""The network of a fit as a flat dict of arrays and back, equal to the bit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.ambient.scar.model import ScarModel
from isthmus.ambient.scar.options import NetworkOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

_PREFIX, _WEIGHT = "network_", "network_weight_"


def encode_network(model: ScarModel) -> dict[str, np.ndarray]:
    """Arrays by name; the options are in the settings of the fit."""
    parts = {f"{_PREFIX}{name}": getattr(model, name) for name in ("mean", "variance", "history")}
    return parts | {f"{_WEIGHT}{name}": value for name, value in model.weights.items()}


def decode_network(state: Mapping[str, Any], options: dict[str, Any]) -> ScarModel:
    """The network of a state, whose numbers may have become float64 and whose matrices may have lost a dimension."""
    flat = {
        name.removeprefix(_WEIGHT): np.asarray(value, dtype=np.float32)
        for name, value in state.items()
        if name.startswith(_WEIGHT)
    }
    weights = {name: np.ascontiguousarray(_shaped(name, value, flat)) for name, value in flat.items()}
    chosen = NetworkOptions(**options)
    mean, variance = (
        np.ascontiguousarray(np.asarray(state[f"{_PREFIX}{name}"], dtype=np.float32).reshape(-1, chosen.n_latent))
        for name in ("mean", "variance")
    )
    history = np.ascontiguousarray(np.asarray(state[f"{_PREFIX}history"], dtype=np.float64).reshape(-1, 3))
    return ScarModel(chosen, weights, mean, variance, history)


def _shaped(name: str, value: np.ndarray, flat: dict[str, np.ndarray]) -> np.ndarray:
    """Matrices of linear maps have one row per bias; everything else is a vector."""
    if not name.endswith(".weight") or ".norm." in name:
        return value.reshape(-1)
    rows = flat[name.replace(".weight", ".bias")].size
    return value if value.shape[:1] == (rows,) and value.ndim == 2 else value.reshape(rows, -1)
