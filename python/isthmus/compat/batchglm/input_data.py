"""What an Estimator fits: counts, designs, constraints and size factors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from isthmus.compat.batchglm.labelled import parameter_names, xarray
from isthmus.data.counts import Counts, read_counts
from isthmus.errors import InputError


@dataclass(eq=False)
class InputData:
    """Counts with their models; make one with `InputData.new`. Constraints may be set later.

    Attributes
    ----------
    X
        The counts as they were given, observations x features.
    design_loc, design_scale
        Observations x parameters.
    constraints_loc, constraints_scale
        None; rows in which the parameters marked 1 or -1 sum to zero; or the matrix of all x free parameters.
    size_factors
        Linear, positive, one per observation, or None.
    """

    X: Any
    counts: Counts
    design_loc: np.ndarray
    design_scale: np.ndarray
    design_loc_names: list[str]
    design_scale_names: list[str]
    constraints_loc: Any = None
    constraints_scale: Any = None
    size_factors: Any = None

    @classmethod
    def new(
        cls,
        data: Any,
        design_loc: Any = None,
        design_loc_names: Sequence[str] | None = None,
        design_scale: Any = None,
        design_scale_names: Sequence[str] | None = None,
        constraints_loc: Any = None,
        constraints_scale: Any = None,
        size_factors: Any = None,
        observation_names: Sequence[str] | None = None,
        feature_names: Sequence[str] | None = None,
        cast_dtype: Any = None,
    ) -> InputData:
        """Gather the input of a model.

        Parameters
        ----------
        data
            Counts, observations x features: DataArray, ndarray, scipy sparse matrix, DataFrame or AnnData.
        design_loc, design_scale
            Matrices with one row per observation. Columns without names are called p0, p1, ...
        design_loc_names, design_scale_names
            Names of their columns.
        constraints_loc, constraints_scale
            See the attributes.
        size_factors
            Linear, positive, one per observation.
        observation_names, feature_names
            Names, where `data` has none.
        cast_dtype
            Accepted and without effect: counts are read as they are and fitted in float64.

        Raises
        ------
        InputError
            Where counts, designs or names do not fit each other.
        """
        given = np.asarray(data) if isinstance(data, xarray.DataArray) else data
        cells = None if observation_names is None else pd.DataFrame(index=pd.Index(list(observation_names)))
        counts = read_counts(given, cell_data=cells, gene_names=feature_names)
        loc, loc_names = _read_design("design_loc", design_loc, design_loc_names, counts.n_cells)
        scale, scale_names = _read_design("design_scale", design_scale, design_scale_names, counts.n_cells)
        return cls(data, counts, loc, scale, loc_names, scale_names, constraints_loc, constraints_scale, size_factors)

    @property
    def num_observations(self) -> int:
        """The number of observations."""
        return self.counts.n_cells

    @property
    def num_features(self) -> int:
        """The number of features."""
        return self.counts.n_genes

    @property
    def features(self) -> np.ndarray:
        """Names of the features."""
        return np.asarray(self.counts.gene_names)

    @property
    def feature_isallzero(self) -> np.ndarray:
        """Features without a single count."""
        return np.asarray(self.counts.matrix.sum(axis=0)).ravel() == 0


def _read_design(argument: str, design: Any, names: Sequence[str] | None, n: int) -> tuple[np.ndarray, list[str]]:
    if design is None:
        msg = f"`{argument}` must be a matrix with one row per observation; got None."
        raise InputError(msg)
    if names is None:
        names = list(map(str, design.columns)) if isinstance(design, pd.DataFrame) else None
    matrix = np.asarray(design, dtype=float)
    if matrix.ndim != 2 or len(matrix) != n:
        msg = f"`{argument}` must have one row per observation ({n}); got shape {matrix.shape}."
        raise InputError(msg)
    names = parameter_names(matrix.shape[1]) if names is None else list(map(str, names))
    if len(names) != matrix.shape[1]:
        msg = f"`{argument}_names` must name each of the {matrix.shape[1]} columns; got {len(names)} names."
        raise InputError(msg)
    return matrix, names
