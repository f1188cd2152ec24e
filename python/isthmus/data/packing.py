"""Values on their way to R and back: the node of each, and what the node cannot say, noted by the value's place."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from isthmus.data.likeness import as_described, describe, frozen, same, thawed
from isthmus.data.values import NoNodeError, column_node, column_of, node_of, text_index, texts, value_of

Wire = dict[str, Any]
Path = tuple[str, ...]

_LARGEST_EXACT = 2**53  # of the integers that a double holds


@dataclass
class Likenesses:
    """What the values of an AnnData were, by their place in it; and what could not cross."""

    described: dict[Path, dict[str, Any]] = field(default_factory=dict)
    originals: dict[Path, bytes] = field(default_factory=dict)
    absent: set[Path] = field(default_factory=set)  # originals that R knows nothing of
    lost: list[str] = field(default_factory=list)
    raw: bool = False
    layers_only: bool = False

    def wire(self) -> Wire | None:
        """As R keeps it: one JSON text, and bytes."""
        if not (self.described or self.originals or self.raw or self.layers_only):
            return None
        text = {
            "described": [[list(path), what] for path, what in self.described.items()],
            "absent": [list(path) for path in sorted(self.absent)],
            "raw": self.raw,
        }
        return {
            "recipe": json.dumps(text),
            "keys": [json.dumps(list(path)) for path in self.originals],
            "objects": [bytearray(value) for value in self.originals.values()],
            "layers_only": self.layers_only,
        }

    @classmethod
    def of_wire(cls, wire: Mapping[str, Any] | None) -> Likenesses:
        if not wire:
            return cls()
        text = json.loads(wire["recipe"])
        objects = wire["objects"] if isinstance(wire["objects"], list) else [wire["objects"]]
        return cls(
            described={tuple(path): what for path, what in text["described"]},
            originals={
                tuple(json.loads(key)): bytes(value) for key, value in zip(texts(wire["keys"]), objects, strict=False)
            },
            absent={tuple(path) for path in text["absent"]},
            raw=text["raw"],
            layers_only=bool(wire["layers_only"]),
        )

    # --- a value on its way to R, and on its way back

    def pack(self, value: Any, *path: str, turned: bool = False) -> Wire:
        """The node of a value; what the node cannot say is noted under `path`."""
        if isinstance(value, Mapping):
            items = {str(key): self.pack(item, *path, str(key)) for key, item in value.items()}
            seen = {key: item for key, item in items.items() if item["kind"] != "opaque"}
            return {"kind": "list", "named": True, "names": list(seen), "items": list(seen.values())}
        if isinstance(value, pd.DataFrame):
            return self.pack_frame(value, *path)
        try:
            node = node_of(value, turned=turned)
        except NoNodeError:
            return self.without_node(value, path)
        if not self.noted_by_dtype(value, node, path):
            self._note(value, value_of(node, turned=turned), path)
        return node

    def without_node(self, value: Any, path: Path) -> Wire:
        written = frozen(value)
        if written is None:
            self.lost.append(f"{_place(path)} ({type(value).__name__})")
        else:
            self.originals[path] = written
            self.absent.add(path)
        return {"kind": "opaque"}

    def noted_by_dtype(self, value: Any, node: Wire, path: Path) -> bool:
        """Large matrices of numbers: what comes back follows from the dtype, and comparing would cost two copies."""
        numbers = (sparse.issparse(value) and value.format in ("csr", "csc")) or (
            isinstance(value, np.ndarray) and value.ndim > 1 and value.dtype.names is None
        )
        if not numbers or value.dtype.kind not in "biuf":
            return False
        data = value.data if sparse.issparse(value) else value
        stored = node["x"] if node["kind"] == "sparse" else node["values"]
        wide = value.dtype.kind in "iu" and value.dtype.itemsize == np.dtype(float).itemsize
        if wide and stored.dtype.kind == "f" and data.size and np.abs(data).max() > _LARGEST_EXACT:
            return False
        usual = "csr_matrix" if path[0] in ("X", "layers", "obsp", "varp") else "csc_matrix"
        kept = type(value).__name__ == usual if sparse.issparse(value) else type(value) is np.ndarray
        default = np.dtype(bool) if value.dtype.kind == "b" else stored.dtype
        if not (kept and value.dtype == default):
            self.described[path] = describe(value) or {}
        return True

    def _note(self, value: Any, default: Any, path: Path) -> None:
        if same(default, value):
            return
        described = describe(value)
        if described is not None and same(_tried(default, described), value):
            self.described[path] = described
            return
        written = None if isinstance(value, pd.Index) else frozen(_bare(value))
        if written is not None:
            self.originals[path] = written
        else:
            self.lost.append(f"{_place(path)}: the type {_type_of(value)}")

    def pack_column(self, column: pd.Series, *path: str) -> Wire:
        try:
            node = column_node(column)
        except NoNodeError:
            return self.without_node(column.array, path)
        self._note(column, column_of(node), path)
        return node

    def pack_frame(self, frame: pd.DataFrame, *path: str, index: pd.Index | None = None) -> Wire:
        """`index`: the names that the rows have anyway."""
        counted = isinstance(frame.index, pd.RangeIndex) and frame.index.equals(pd.RangeIndex(len(frame)))
        rows = None if counted or index is not None else {"values": labels(frame.index), "missing": None}
        if index is None:
            index = pd.RangeIndex(len(frame)) if counted else text_index(labels(frame.index))
        self._note(frame.index, index, (*path, "", "index"))
        names = [str(name) for name in frame.columns]
        self._note(frame.columns, pd.Index(names, dtype=object), (*path, "", "columns"))
        columns = [self.pack_column(frame.iloc[:, j], *path, name) for j, name in enumerate(names)]
        seen = [j for j, column in enumerate(columns) if column["kind"] != "opaque"]
        return {
            "kind": "frame",
            "n": len(frame),
            "rows": rows,
            "names": [names[j] for j in seen],
            "columns": [columns[j] for j in seen],
        }

    def unpack(self, node: Mapping[str, Any], *path: str, turned: bool = False) -> Any:
        """The value of a node, in the form that it had under `path` as far as that fits."""
        if node["kind"] == "list" and node["named"]:
            items = zip(texts(node["names"]), node["items"], strict=True)
            value = {key: self.unpack(item, *path, key) for key, item in items}
            for absent in (found for found in self.absent if found[:-1] == path and found[-1] not in value):
                value[absent[-1]] = thawed(self.originals[absent])
            return value
        if node["kind"] == "frame" and path not in self.described and path not in self.originals:
            return self.unpack_frame(node, *path)
        return self._as_it_was(value_of(node, turned=turned), path, turned=turned)

    def _as_it_was(self, default: Any, path: Path, *, turned: bool = False) -> Any:
        if path in self.originals:
            original = thawed(self.originals[path])
            series = isinstance(default, pd.Series)
            sent = (
                column_of(column_node(pd.Series(original)))
                if series
                else value_of(node_of(original, turned=turned), turned=turned)
            )
            if same(sent, default):
                return pd.Series(original) if series else original
        if path in self.described:
            made = _tried(default, self.described[path])
            return default if made is None else made
        return default

    def unpack_frame(self, node: Mapping[str, Any], *path: str, index: pd.Index | None = None) -> pd.DataFrame:
        rows = node.get("rows")
        if index is None:
            default = pd.RangeIndex(int(node["n"])) if rows is None else pd.Index(texts(rows["values"]), dtype=object)
        else:
            default = index
        labels = self._as_it_was(default, (*path, "", "index"))
        columns = {}
        for name, column in zip(texts(node["names"]), node["columns"], strict=True):
            columns[name] = self._as_it_was(column_of(column), (*path, name)).array
        frame = pd.DataFrame(columns, index=labels)
        frame.columns = self._as_it_was(pd.Index(list(columns), dtype=object), (*path, "", "columns"))
        return frame


def _bare(value: Any) -> Any:
    """A column as the array in it, which is numpy's where that has the dtype."""
    if not isinstance(value, (pd.Series, pd.Index)):
        return value
    return value.to_numpy() if isinstance(value.dtype, np.dtype) else value.array


def _tried(default: Any, described: dict[str, Any]) -> Any:
    """None where the description does not fit the value any more."""
    try:
        return as_described(default, described)
    except (TypeError, ValueError, KeyError, OverflowError):
        return None


def _place(path: Iterable[str]) -> str:
    """``uns['a']['b']``; a plain name for what has one."""
    first, *rest = (part for part in path if part)
    return first + "".join(f"['{part}']" for part in rest)


def _type_of(value: Any) -> str:
    dtype = getattr(value, "dtype", None)
    return type(value).__name__ if dtype is None else str(dtype)


def labels(index: pd.Index) -> list[str]:
    """Names of cells or genes; made text where they are none."""
    found = index.tolist()
    return found if index.inferred_type == "string" else [str(name) for name in found]
