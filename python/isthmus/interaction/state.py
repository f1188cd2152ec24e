"""An InteractionFit as a flat dict of arrays and back: what save_fit writes and what an R fit holds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from isthmus.interaction.folds import Folds
from isthmus.interaction.neighbors import Neighbors

if TYPE_CHECKING:
    from isthmus.interaction.result import InteractionFit
    from isthmus.results import State

_NAMES = ("cells", "genes", "types", "samples")
_PLAIN = {  # name -> dtype
    "type_codes": np.int32,
    "sample_codes": np.int32,
    "coordinates": np.float64,
    "covariates": np.float32,
    "means": np.float64,
    "gene_weights": np.float64,
    "history": np.float64,
    "guard_share": np.float64,
}
_WEIGHT = "weight_"


def encode(fit: InteractionFit) -> State:
    """The fit's arrays by name, and ``meta``, a JSON string."""
    arrays: dict[str, np.ndarray] = {name: getattr(fit, name) for name in _PLAIN}
    arrays |= {"neighbors": fit.neighbors.index, "distance": fit.neighbors.distance}
    arrays |= {"block": fit.folds.block, "fold": fit.folds.fold}
    x = fit.expression
    arrays |= {"data": x.data, "indices": x.indices, "indptr": x.indptr}
    arrays |= {_WEIGHT + name: value for name, value in fit.weights.items()}
    meta = {
        "settings": fit.settings,
        "n_folds": fit.folds.n_folds,
        "block_size": fit.folds.block_size,
        "arrays": {name: [list(value.shape), value.dtype.name] for name, value in arrays.items()},
    }
    state: State = {name: np.array(getattr(fit, name), dtype=object) for name in _NAMES}
    return state | arrays | {"meta": json.dumps(meta)}


def decode(state: State) -> InteractionFit:
    """The fit of a state; values may have become lists, float64 or Fortran-ordered on the way."""
    from isthmus.interaction.result import InteractionFit

    meta = json.loads(str(np.asarray(state["meta"]).reshape(-1)[0]))
    arrays = {name: _array(state[name], tuple(shape), dtype) for name, (shape, dtype) in meta["arrays"].items()}
    names: dict[str, Any] = {name: _text(state[name]) for name in _NAMES}
    shape = (len(names["cells"]), len(names["genes"]))
    plain: dict[str, Any] = {name: arrays[name] for name in _PLAIN}
    return InteractionFit(
        **names,
        **plain,
        expression=sparse.csr_matrix((arrays["data"], arrays["indices"], arrays["indptr"]), shape=shape),
        neighbors=Neighbors(arrays["neighbors"], arrays["distance"]),
        folds=Folds(arrays["block"], arrays["fold"], meta["n_folds"], meta["block_size"]),
        weights={name.removeprefix(_WEIGHT): value for name, value in arrays.items() if name.startswith(_WEIGHT)},
        settings=meta["settings"],
    )


def _array(value: Any, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """In the type and shape it had: R knows int32 and float64 only, and drops empty and single dimensions."""
    array = np.asarray([] if value is None else value)
    return np.ascontiguousarray(array.astype(dtype).reshape(shape))


def _text(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(str(v) for v in value)
