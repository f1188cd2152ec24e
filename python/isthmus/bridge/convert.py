"""Whole objects between R and Python, as R calls it: reticulate carries the arrays of the transport dict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from isthmus.bridge.answers import answers
from isthmus.data.convert import from_anndata, to_anndata
from isthmus.errors import InputError


@answers
def as_anndata(wire: Any) -> Any:
    """An AnnData on the arrays that R has copied for it."""
    return to_anndata(owned(wire))


@answers
def take_apart(adata: Any) -> dict[str, Any]:
    """The transport dict of an AnnData, and the names of what it could not carry."""
    from anndata import AnnData

    if not isinstance(adata, AnnData):
        msg = f"`adata` must be an AnnData; got {type(adata).__name__}."
        raise InputError(msg)
    wire, lost = from_anndata(adata)
    return {"wire": wire, "lost": lost}


class _Memory:
    """The memory of an array, which it keeps alive, as something that may be written to."""

    def __init__(self, view: np.ndarray) -> None:
        self._view = view
        self.__array_interface__ = view.__array_interface__ | {"data": (view.ctypes.data, False)}


def owned(value: Any) -> Any:
    """reticulate marks its arrays read-only, since R may share them. These are copies that nothing else holds
    (``wire_vector()`` made them), and scanpy works in place: they may be written to."""
    if isinstance(value, Mapping):
        return {key: owned(item) for key, item in value.items()}
    if isinstance(value, list):
        return [owned(item) for item in value] if value and isinstance(value[0], (dict, list)) else value
    if isinstance(value, np.ndarray) and not value.flags.writeable and value.dtype.kind != "O":
        return np.asarray(_Memory(value))
    return value
