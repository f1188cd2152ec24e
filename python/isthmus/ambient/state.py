"""An AmbientFit as a flat dict of arrays and back: what save_fit writes and what an R fit holds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from isthmus.ambient.result import AmbientFit
    from isthmus.results import State

_TEXT = ("gene_names", "cell_names", "batch_names", "cluster_names", "flag")
_INTEGERS = ("batch", "cluster", "n_empty")
_VECTORS = ("rho", "rho_se", "observed_umi", "log_likelihood")
_BY_BATCH = ("observed", "ambient", "ambient_count")
_BY_CLUSTER = ("level", "level_se", "n_anchors")
_MATRICES = {"denoised": np.int32, "denoised_mean": np.float32}


def encode(fit: AmbientFit) -> State:
    """The fit's arrays by name, and ``meta``, a JSON string.

    A sparse matrix becomes ``<name>_indptr``, ``_indices`` and ``_data`` (CSR, cells x genes, from 0: the p, i and x of
    a genes x cells dgCMatrix).
    """
    names = (*_TEXT, *_INTEGERS, *_VECTORS, *_BY_BATCH, *_BY_CLUSTER, "native")
    state: State = {name: getattr(fit, name) for name in names}
    for name in _MATRICES:
        matrix = getattr(fit, name)
        state |= {f"{name}_{part}": getattr(matrix, part) for part in ("indptr", "indices", "data")}
    if fit.network is not None:
        from isthmus.ambient.scar.state import encode_network

        state |= encode_network(fit.network)
    state["meta"] = json.dumps({"settings": fit.settings})
    return state


def decode(state: State) -> AmbientFit:
    """The fit of a state; values may have become lists, float64 or Fortran-ordered on the way."""
    from isthmus.ambient.result import AmbientFit

    values: dict[str, Any] = {name: _text(state[name]) for name in _TEXT}
    values |= {name: np.asarray(state[name]).reshape(-1).astype(np.int32) for name in _INTEGERS}
    values |= {name: _numbers(state[name], (-1,)) for name in _VECTORS}
    n_genes, n_batches = len(values["gene_names"]), len(values["batch_names"])
    n_clusters, n_cells = len(values["cluster_names"]), len(values["cell_names"])
    values |= {name: _numbers(state[name], (n_batches, n_genes)) for name in _BY_BATCH}
    values |= {name: _numbers(state[name], (n_clusters, n_batches)) for name in _BY_CLUSTER}
    values["native"] = _numbers(state["native"], (n_clusters, n_genes))
    for name, dtype in _MATRICES.items():
        parts = [np.asarray(state[f"{name}_{part}"]).reshape(-1) for part in ("data", "indices", "indptr")]
        index = np.int64 if parts[1].dtype == np.int64 or len(parts[1]) >= 2**31 else np.int32
        arrays = (parts[0].astype(dtype), parts[1].astype(index), parts[2].astype(index))
        values[name] = sparse.csr_matrix(arrays, shape=(n_cells, n_genes))
    meta = json.loads(str(np.asarray(state["meta"]).reshape(-1)[0]))
    if "network" in meta["settings"]:
        from isthmus.ambient.scar.state import decode_network

        values["network"] = decode_network(state, meta["settings"]["network"])
    return AmbientFit(settings=meta["settings"], **values)


def _numbers(value: Any, shape: tuple[int, ...]) -> np.ndarray:
    """float64 in C order and in the shape it had: R drops single dimensions."""
    array = np.asarray(value, dtype=np.float64)
    return np.ascontiguousarray(array if array.shape == shape else array.reshape(shape))


def _text(value: Any) -> np.ndarray:
    return np.array([value] if isinstance(value, str) else [str(v) for v in value], dtype=object)
