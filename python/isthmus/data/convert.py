"""AnnData <-> the transport dict: the one mapping that R (reticulate) and rpy2 share.

The dict holds arrays as R has them, so nothing is transposed: the p, i and x of a genes x cells ``dgCMatrix`` are the
cells x genes CSR, and a genes x cells matrix that runs down its columns is the cells x genes array in C order.

==========================  ===========================  ====================================
SingleCellExperiment        AnnData                      remark
==========================  ===========================  ====================================
first assay, or X           ``X``                        its name comes back
other assays                ``layers``                   genes x cells <-> cells x genes
colData, rowData            ``obs``, ``var``             ``sizeFactor`` <-> ``size_factors``
matrix or table columns     ``obsm``, ``varm``
rowRanges                   ``varm["rowRanges"]``        seqnames, start, end, strand
reducedDims, spatialCoords  ``obsm``                     spatialCoords is ``obsm["spatial"]``
colPairs, rowPairs          ``obsp``, ``varp``           row = from, column = to
altExps                     ``uns["altExps"]``, ``raw``  each an AnnData
metadata                    ``uns``
what is left                ``uns["isthmus"]``           bytes that only R reads
==========================  ===========================  ====================================
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from isthmus.data.likeness import describe, thawed
from isthmus.data.packing import Likenesses, Wire, labels
from isthmus.data.values import NoNodeError, node_of, text_index, texts

if TYPE_CHECKING:
    from anndata import AnnData

_OWN = "isthmus"  # the key of uns that holds what only R can read
_OTHERS = "altExps"
_RAW = "raw"

# --- to R -------------------------------------------------------------------------------------------------------------


def from_anndata(adata: AnnData) -> tuple[Wire, list[str]]:
    """Take an AnnData apart.

    Returns
    -------
    wire, lost
        The transport dict, and the names of what it could not carry.
    """
    lost = []
    if adata.isbacked:
        lost.append(f"X (backed by {adata.filename}): read into memory")
        adata = adata.to_memory()
    likenesses = Likenesses(lost=lost)
    cells, genes = labels(adata.obs_names), labels(adata.var_names)
    cell_index, gene_index = text_index(cells), text_index(genes)
    uns = {key: value for key, value in adata.uns.items() if key != _OWN}
    others = _alternatives(adata, uns, likenesses)
    wire = {
        "dim": np.array([adata.n_vars, adata.n_obs], dtype=np.int32),
        "cells": {"values": cells, "missing": None},
        "genes": {"values": genes, "missing": None},
        **_assays(adata, likenesses),
        "obs": _table(adata.obs, "obs", cell_index, likenesses),
        "var": _table(adata.var, "var", gene_index, likenesses),
        "obsm": _aligned(adata.obsm, "obsm", cell_index, likenesses),
        "varm": _aligned(adata.varm, "varm", gene_index, likenesses),
        "obsp": _graphs(adata.obsp, "obsp", likenesses),
        "varp": _graphs(adata.varp, "varp", likenesses),
        "uns": _items({key: likenesses.pack(value, "uns", str(key)) for key, value in uns.items()}),
        "alternatives": _items(others, hidden=False),
        "recipe": _bytes_of_r(adata.uns.get(_OWN)),
    }
    wire["python"] = likenesses.wire()
    return wire, likenesses.lost


def _items(nodes: Mapping[Any, Wire], *, hidden: bool = True) -> Wire:
    seen = {str(key): node for key, node in nodes.items() if not (hidden and node["kind"] == "opaque")}
    return {"names": list(seen), "items": list(seen.values())}


def _assays(adata: AnnData, likenesses: Likenesses) -> Wire:
    nodes = {} if adata.X is None else {"X": likenesses.pack(adata.X, "X", turned=True)}
    likenesses.layers_only = adata.X is None and len(adata.layers) > 0
    for key, layer in adata.layers.items():
        nodes[str(key)] = likenesses.pack(layer, "layers", str(key), turned=True)
    return {"assays": _items(nodes), "x_index": -1 if adata.X is None else 0}


def _table(frame: pd.DataFrame, place: str, index: pd.Index, likenesses: Likenesses) -> Wire:
    node = likenesses.pack_frame(frame, place, index=index)
    return {"names": node["names"], "items": node["columns"]}


def _aligned(values: Mapping[str, Any], place: str, index: pd.Index, likenesses: Likenesses) -> Wire:
    nodes = {
        key: likenesses.pack_frame(value, place, key, index=index)
        if isinstance(value, pd.DataFrame)
        else likenesses.pack(value, place, key)
        for key, value in values.items()
    }
    return _items(nodes)


def _graphs(values: Mapping[str, Any], place: str, likenesses: Likenesses) -> Wire:
    """Graphs cross as sparse matrices: in R they are lists of edges."""
    nodes = {}
    for key, value in values.items():
        graph = value
        if isinstance(value, np.ndarray):
            likenesses.described[place, key] = describe(value) or {}
            graph = sparse.csr_matrix(value)
        try:
            node = node_of(graph, turned=True)
        except NoNodeError:
            node = likenesses.without_node(value, (place, key))
        else:
            if graph is value:
                likenesses.noted_by_dtype(value, node, (place, key))
        nodes[key] = node
    return _items(nodes)


def _alternatives(adata: AnnData, uns: dict[str, Any], likenesses: Likenesses) -> dict[str, Wire]:
    """The AnnData of ``uns["altExps"]``, in the order of the cells, and ``raw``."""
    from anndata import AnnData

    wires = {}
    others = uns.get(_OTHERS)
    if isinstance(others, Mapping) and others and all(isinstance(other, AnnData) for other in others.values()):
        del uns[_OTHERS]
        for key, other in others.items():
            matched = _matched(other, adata.obs_names)
            if matched is None:
                likenesses.lost.append(f"uns['{_OTHERS}']['{key}']: its cells are not those of the AnnData")
                continue
            wires[str(key)], lost = from_anndata(matched)
            likenesses.lost += [f"uns['{_OTHERS}']['{key}'].{what}" for what in lost]
    if adata.raw is not None:
        raw = AnnData(
            adata.raw.X, obs=pd.DataFrame(index=adata.obs_names), var=adata.raw.var, varm=dict(adata.raw.varm)
        )
        wires[_RAW], lost = from_anndata(raw)
        likenesses.lost += [f"raw.{what}" for what in lost]
        likenesses.raw = True
    return wires


def _matched(other: AnnData, cells: pd.Index) -> AnnData | None:
    if other.obs_names.equals(cells):
        return other
    if not other.obs_names.is_unique or not cells.isin(other.obs_names).all():
        return None
    return other[cells].copy()


def _bytes_of_r(own: Any) -> bytearray | None:
    recipe = own.get("recipe") if isinstance(own, Mapping) else None
    return None if recipe is None else bytearray(np.asarray(recipe, dtype=np.uint8).tobytes())


# --- from R -----------------------------------------------------------------------------------------------------------


def to_anndata(wire: Mapping[str, Any]) -> AnnData:
    """Put an AnnData together from R's arrays, on their memory."""
    from anndata import AnnData

    likenesses = Likenesses.of_wire(wire.get("python"))
    n_genes, n_cells = (int(n) for n in wire["dim"])
    cells, genes = _names(wire["cells"], n_cells), _names(wire["genes"], n_genes)
    assays = dict(_nodes(wire["assays"]))
    first = list(assays)[int(wire["x_index"])] if int(wire["x_index"]) >= 0 else None
    layers = {
        key: likenesses.unpack(node, *(("X",) if key == first else ("layers", key)), turned=True)
        for key, node in assays.items()
    }
    obs = likenesses.unpack_frame(_frame(wire["obs"], n_cells), "obs", index=cells)
    var = likenesses.unpack_frame(_frame(wire["var"], n_genes), "var", index=genes)
    uns = likenesses.unpack({"kind": "list", "named": True, **wire["uns"]}, "uns")
    others = {key: to_anndata(node) for key, node in _nodes(wire["alternatives"])}
    raw = others.pop(_RAW, None) if likenesses.raw else None
    if others:
        uns[_OTHERS] = others
    if wire.get("recipe") is not None:
        uns[_OWN] = {"recipe": np.frombuffer(bytes(wire["recipe"]), dtype=np.uint8)}
    with warnings.catch_warnings():
        # Duplicated names are R's right, and anndata says so again at every step.
        warnings.filterwarnings("ignore", message=".*names are not unique")
        adata = AnnData(
            None if first is None else layers.pop(first),
            obs=obs,
            var=var,
            obsm=_unaligned(wire["obsm"], "obsm", obs.index, likenesses),
            varm=_unaligned(wire["varm"], "varm", var.index, likenesses),
            layers=layers | _absent("layers", (n_cells, n_genes), likenesses),
            obsp={key: likenesses.unpack(node, "obsp", key, turned=True) for key, node in _nodes(wire["obsp"])},
            varp={key: likenesses.unpack(node, "varp", key, turned=True) for key, node in _nodes(wire["varp"])},
            uns=uns,
        )
        if raw is not None:
            adata.raw = raw
    return adata


def _nodes(part: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    return zip(texts(part["names"]), part["items"], strict=True)


def _frame(part: Mapping[str, Any], n: int) -> Wire:
    return {"kind": "frame", "n": n, "rows": None, "names": part["names"], "columns": part["items"]}


def _names(wire: Mapping[str, Any] | None, n: int) -> pd.Index:
    """An AnnData cannot be without names: "0", "1", ..., which are its own default."""
    return text_index([str(i) for i in range(n)] if wire is None else texts(wire["values"]))


def _unaligned(part: Mapping[str, Any], place: str, index: pd.Index, likenesses: Likenesses) -> dict[str, Any]:
    values = {}
    for key, node in _nodes(part):
        if node["kind"] == "frame":
            values[key] = likenesses.unpack_frame(node, place, key, index=text_index(labels(index)))
            values[key].index = index
        else:
            values[key] = likenesses.unpack(node, place, key)
    return values | _absent(place, (len(index),), likenesses)


def _absent(place: str, shape: tuple[int, ...], likenesses: Likenesses) -> dict[str, Any]:
    """What R could not hold, where the cells and genes are still as many."""
    found = {path[1]: thawed(likenesses.originals[path]) for path in likenesses.absent if path[0] == place}
    return {key: value for key, value in found.items() if len(value) == shape[0]}
