"""Whole objects between R and Python, as R calls it: reticulate carries the arrays of the transport dict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from isthmus.bridge.answers import answers
from isthmus.bridge.filling import Waiting, writable
from isthmus.data.convert import from_anndata, to_anndata
from isthmus.errors import InputError


@answers
def as_anndata(wire: Any) -> Any:
    """An AnnData on the arrays that R has copied for it."""
    return to_anndata(owned(wire))


@answers
def take_apart(adata: Any) -> dict[str, Any]:
    """The transport dict of an AnnData, the names of what it could not carry, and the arrays that wait for R to make
    room for them."""
    from anndata import AnnData

    if not isinstance(adata, AnnData):
        msg = f"`adata` must be an AnnData; got {type(adata).__name__}."
        raise InputError(msg)
    wire, lost = from_anndata(adata)
    waiting = Waiting()
    wire = waiting.without_arrays(wire)
    return {"wire": wire, "lost": lost, "waiting": waiting, "room": waiting.room()}


@answers
def fill(waiting: Waiting, vectors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Write the arrays that wait into R's vectors; what R can tell by that these were its own."""
    return waiting.fill(list(vectors.values()))


@answers
def hand_over(waiting: Waiting) -> list[np.ndarray]:
    """The arrays that wait, for reticulate to copy."""
    return waiting.arrays


def owned(value: Any) -> Any:
    """reticulate marks its arrays read-only, since R may share them. These are copies that nothing else holds
    (``wire_vector()`` made them), and scanpy works in place: they may be written to."""
    if isinstance(value, Mapping):
        return {key: owned(item) for key, item in value.items()}
    if isinstance(value, list):
        return [owned(item) for item in value] if value and isinstance(value[0], (dict, list)) else value
    if isinstance(value, np.ndarray) and not value.flags.writeable and value.dtype.kind != "O":
        return writable(value)
    return value
