"""xarray arrays as batchglm gives them; `numpy.matmul` works on them, as it did when the notebook was written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from isthmus.errors import MissingDependencyError

try:
    import xarray
except ImportError as error:
    msg = "isthmus.compat.batchglm needs xarray. Run: pip install 'isthmus[compat]'"
    raise MissingDependencyError(msg) from error


__all__ = ["Labelled", "parameter_names", "parameters", "xarray"]


class Labelled(xarray.DataArray):
    """A DataArray that takes part in ``np.matmul``: xarray refuses universal functions with a signature."""

    __slots__ = ()

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """Multiply matrices as plain arrays; leave everything else to xarray."""
        if ufunc is np.matmul:
            return getattr(ufunc, method)(*(np.asarray(value) for value in inputs), **kwargs)
        return super().__array_ufunc__(ufunc, method, *inputs, **kwargs)


def parameter_names(n: int) -> list[str]:
    """The names p0, p1, ... that batchglm gives to unnamed columns of a design."""
    return [f"p{i}" for i in range(n)]


def parameters(
    values: np.ndarray,
    dim: str,
    names: Sequence[str],
    features: Mapping[str, Any] | None = None,
    name: str | None = None,
) -> Labelled:
    """Parameters x features, with the names of the parameters and whatever is known of the features."""
    coords: dict[str, Any] = {dim: list(names)}
    coords |= {key: ("features", np.asarray(value)) for key, value in (features or {}).items()}
    return Labelled(values, dims=(dim, "features"), coords=coords, name=name)
