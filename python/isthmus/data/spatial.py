"""Cells in space: expression, type, sample and place of each, read from what users hold and checked once.

Expression may be normalised, scaled or continuous (intensities): it is used as it is, in float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from isthmus.data.columns import labels_per_cell, per_cell
from isthmus.data.counts import Counts, cell_order, read_matrix
from isthmus.data.covariates import Encoding, encode
from isthmus.data.wording import cells_where, did_you_mean, plural, some
from isthmus.errors import InputError
from isthmus.messages import tell


@dataclass(frozen=True, eq=False)
class Tissue:
    """Cells with their places.

    Attributes
    ----------
    expression
        ``(n_cells, n_genes)`` CSR float32, sorted indices, our own copy.
    genes, cells
        Names; both unique.
    types, samples
        Labels that the codes stand for.
    type_codes, sample_codes
        ``(n_cells,)`` int32.
    coordinates
        ``(n_cells, 2 or 3)`` float64, in the user's unit.
    covariates
        ``(n_cells, n_covariates)`` float32: numbers standardised, categories as indicators of all levels but the first.
    encodings
        How the covariates were encoded.
    radii
        ``(n_cells,)`` float64 in the unit of the coordinates, or None.
    """

    expression: sparse.csr_matrix
    genes: tuple[str, ...]
    cells: tuple[str, ...]
    types: tuple[str, ...]
    type_codes: np.ndarray
    samples: tuple[str, ...]
    sample_codes: np.ndarray
    coordinates: np.ndarray
    covariates: np.ndarray
    encodings: list[Encoding]
    radii: np.ndarray | None

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return len(self.cells)


def read_tissue(
    data: Any,
    *,
    labels: Any,
    coordinates: Any = "spatial",
    sample: Any = None,
    layer: str | None = None,
    covariates: Any = None,
    cell_radius: Any = None,
    encodings: list[Encoding] | None = None,
) -> Tissue:
    """Read cells in space.

    Parameters
    ----------
    data
        AnnData, DataFrame, ndarray or sparse matrix, cells x genes, normalised values; or Counts that were read.
    labels
        Cell types: a column of ``obs`` or one per cell.
    coordinates
        Key of ``obsm``, the names of two or three columns of ``obs``, or an array or DataFrame, cells x 2 or 3.
    sample
        Column or one label per cell: sections, images. None: all cells lie in one.
    layer
        AnnData layer to read instead of ``X``.
    covariates
        Columns of ``obs``, or a DataFrame with one row per cell.
    cell_radius
        Column or one number per cell, or one for all, in the unit of the coordinates.
    encodings
        How the covariates of earlier cells were encoded.

    Raises
    ------
    InputError
        Missing or infinite values; labels, coordinates, covariates or radii that do not fit the cells or are missing;
        cell names that are not unique.

    Examples
    --------
    >>> tissue = read_tissue(np.eye(3), labels=["a", "b", "b"], coordinates=[[0, 0], [0, 1], [2, 0]])
    >>> tissue.types, tissue.type_codes.tolist()
    (('a', 'b'), [0, 1, 1])
    """
    counts = data if isinstance(data, Counts) else read_matrix(data, layer=layer)
    _check_finite(counts)
    _check_unique(counts.cell_names)
    type_codes, types = labels_per_cell(labels, counts, "labels")
    everyone: Any = np.full(counts.n_cells, "all")
    sample_codes, samples = labels_per_cell(everyone if sample is None else sample, counts, "sample")
    matrix, encodings = encode(covariates, counts, encodings)
    return Tissue(
        expression=_own(counts.matrix),
        genes=tuple(map(str, counts.gene_names)),
        cells=tuple(map(str, counts.cell_names)),
        types=types,
        type_codes=type_codes,
        samples=samples,
        sample_codes=sample_codes,
        coordinates=_coordinates(coordinates, data, counts),
        covariates=matrix,
        encodings=encodings,
        radii=_radii(cell_radius, counts),
    )


# ---- expression ---------------------------------------------------------------------------------------------------


def _own(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    """float32 with sorted indices, in buffers of our own: the fit outlives the caller's object."""
    own = sparse.csr_matrix(matrix, dtype=np.float32, copy=True)
    own.sort_indices()
    return own


def _check_finite(counts: Counts) -> None:
    values = counts.matrix.data
    bad = ~np.isfinite(values) | (np.abs(values) > np.finfo(np.float32).max)
    if not bad.any():
        if len(values) and values.min() >= 0 and values.max() > 30 and np.array_equal(values, np.floor(values)):
            tell(
                "`data` holds whole numbers up to "
                f"{values.max():.6g}: these look like raw counts. The model is made for normalised values "
                "(counts / size factor, then log1p; stable_size_factors() gives sizes): otherwise depth and the genes "
                "with the largest counts decide."
            )
        return
    first = int(np.argmax(bad))
    row = int(np.searchsorted(counts.matrix.indptr, first, side="right")) - 1
    place = f"cell '{counts.cell_names[row]}', gene '{counts.gene_names[counts.matrix.indices[first]]}'"
    msg = (
        f"Values of `data` must be finite; got {plural(int(bad.sum()), 'value')} missing or infinite "
        f"({values[first]:.6g} in {place}). Fill or drop those genes or cells."
    )
    raise InputError(msg)


def _check_unique(cells: np.ndarray) -> None:
    names = pd.Index(cells)
    if not names.is_unique:
        twice = names[names.duplicated()].unique()
        msg = (
            f"Cell names of `data` must be unique: neighbours are given by name; got "
            f"{plural(len(twice), 'duplicated name')} ({some(twice)}). Use `adata.obs_names_make_unique()`."
        )
        raise InputError(msg)


# ---- places -------------------------------------------------------------------------------------------------------


def _coordinates(given: Any, data: Any, counts: Counts) -> np.ndarray:
    found = _look_up_coordinates(given, data, counts)
    if isinstance(found, pd.DataFrame):
        found = found.iloc[cell_order(found.index, counts.cell_names, argument="coordinates")]
    try:
        values = np.array(found, dtype=np.float64)
    except (TypeError, ValueError):
        msg = "`coordinates` must be numbers; got something else. Pass the columns that hold the places of the cells."
        raise InputError(msg) from None
    if values.ndim != 2 or values.shape[0] != counts.n_cells or values.shape[1] not in (2, 3):
        msg = (
            f"`coordinates` must be cells x 2 or 3 (n_cells = {counts.n_cells}); got shape {values.shape}. Pass one "
            "row per cell."
        )
        raise InputError(msg)
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        msg = f"`coordinates` must be finite; got {cells_where(bad, counts.cell_names)} without. Drop those cells."
        raise InputError(msg)
    return values


def _look_up_coordinates(given: Any, data: Any, counts: Counts) -> Any:
    if isinstance(given, str):
        obsm = getattr(data, "obsm", None)
        if obsm is None or given not in obsm:
            there = [] if obsm is None else list(obsm.keys())
            msg = (
                "`coordinates` must be a key of `obsm`, the names of two or three columns, or an array; got "
                f"'{given}'. " + did_you_mean(given, there)
            )
            raise InputError(msg)
        return obsm[given]
    if isinstance(given, (list, tuple)) and given and all(isinstance(name, str) for name in given):
        return np.column_stack([per_cell(name, counts, "coordinates").to_numpy() for name in given])
    return given


def _radii(given: Any, counts: Counts) -> np.ndarray | None:
    if given is None:
        return None
    if isinstance(given, (int, float, np.number)) and not isinstance(given, bool):
        radii = np.full(counts.n_cells, float(given))
    else:
        radii = _numbers(per_cell(given, counts, "cell_radius"), "cell_radius")
    bad = ~(np.isfinite(radii) & (radii >= 0))
    if bad.any():
        msg = f"`cell_radius` must be 0 or more; got {cells_where(bad, counts.cell_names)} with another value."
        raise InputError(msg)
    return radii


def _numbers(values: pd.Series, argument: str) -> np.ndarray:
    if not pd.api.types.is_numeric_dtype(values):
        msg = f"`{argument}` must hold numbers; got values of type {values.dtype}."
        raise InputError(msg)
    return values.to_numpy(dtype=np.float64, na_value=np.nan)
