"""Counts in any of the forms users hold them in, read into one: a CSR matrix, cells x genes, with names.

The rules (orientation, names, what is no count) are checked here once, in blocks, so that reading a large sparse matrix
costs no second copy of it. Buffers of a CSR matrix are shared with the caller and never written to.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from isthmus.data.matrix import as_csr, check_finite_pieces, check_pieces
from isthmus.data.stored import StoredMatrix, is_stored
from isthmus.data.wording import plural, some
from isthmus.errors import InputError

_ACCEPTED = "an AnnData, AnnData.raw, DataFrame, ndarray or scipy sparse matrix, cells x genes"


@dataclass(frozen=True, eq=False)
class Counts:
    """Counts that have passed every check.

    Attributes
    ----------
    matrix
        ``(n_cells, n_genes)``; float32, float64 or integers as they came; no duplicate entries; rows may be unsorted;
        explicit zeros stay.
        Its buffers may be the caller's: read only.
    gene_names, cell_names
        Object arrays of str. Gene names are unique, cell names need not be.
    cell_data
        Columns for formulas, one row per row of `matrix`, or None.
    stored_size_factors
        ``obs["size_factors"]`` of an AnnData, or None.
    cells_named
        False where `cell_names` are made up (``cell1``, ...): they are then compared with nothing.
    genes_named
        False where `gene_names` are made up (``gene1``, ...).
    """

    matrix: sparse.csr_matrix
    gene_names: np.ndarray
    cell_names: np.ndarray
    cell_data: pd.DataFrame | None
    stored_size_factors: np.ndarray | None
    cells_named: bool = True
    genes_named: bool = True

    @property
    def n_cells(self) -> int:
        return int(self.matrix.shape[0])

    @property
    def n_genes(self) -> int:
        return int(self.matrix.shape[1])


def read_counts(data: Any, *, layer: str | None = None, cell_data: Any = None, gene_names: Any = None) -> Counts:
    """Read counts, cells x genes, and check them.

    Parameters
    ----------
    data
        AnnData (its ``X``, or a layer), ``AnnData.raw``, DataFrame (dense or sparse columns), ndarray, a scipy sparse
        matrix or array; backed files, zarr and dask arrays, which are read once, piece by piece.
    layer
        Name of the AnnData layer to read instead of ``X``.
    cell_data
        DataFrame with one row per cell, for formulas. Takes the place of ``obs``. Rows are matched by name where both
        sides have
        names, by position otherwise.
    gene_names
        One name per gene, or the name of a column of ``AnnData.var``. Default: the data's own, else ``gene1``,
        ``gene2``, ...

    Returns
    -------
    Counts

    Raises
    ------
    InputError
        Another type; no cells or no genes; missing, infinite, negative or huge (>= 2**31) values; missing or
        duplicated gene names;
        lengths or names that do not fit, with a hint where they fit the other way round (a transposed matrix).

    Notes
    -----
    Fractional values are accepted and one message says so.

    Examples
    --------
    >>> counts = read_counts(np.array([[0, 3], [1, 0], [2, 5]]))
    >>> counts.matrix.shape, list(counts.gene_names)
    ((3, 2), ['gene1', 'gene2'])
    """
    return _checked(_read(data, layer, cell_data, gene_names, keep_stored=False), check_pieces)


def open_counts(data: Any, *, layer: str | None = None, cell_data: Any = None, gene_names: Any = None) -> Counts:
    """`read_counts` that leaves what is stored where it is: ``matrix`` is a `StoredMatrix`, checked in one pass."""
    return _checked(_read(data, layer, cell_data, gene_names, keep_stored=True), check_pieces)


def read_matrix(data: Any, *, layer: str | None = None, cell_data: Any = None, gene_names: Any = None) -> Counts:
    """`read_counts` without the rules for values: they may be normalised, negative or missing."""
    return _read(data, layer, cell_data, gene_names, keep_stored=False)


def read_values(data: Any, *, layer: str | None = None, cell_data: Any = None, gene_names: Any = None) -> Counts:
    """`read_counts` of values that need not be counts: any finite numbers."""
    return _checked(_read(data, layer, cell_data, gene_names, keep_stored=False), check_finite_pieces)


def open_values(data: Any, *, layer: str | None = None, cell_data: Any = None, gene_names: Any = None) -> Counts:
    """`read_values` that leaves what is stored where it is, as `open_counts` does."""
    return _checked(_read(data, layer, cell_data, gene_names, keep_stored=True), check_finite_pieces)


def _checked(counts: Counts, rules: Callable[..., object]) -> Counts:
    if isinstance(counts.matrix, StoredMatrix):
        counts.matrix.check(counts.cell_names, counts.gene_names, rules)
        return counts
    piece = counts.matrix, counts.cell_names, counts.gene_names
    rules([piece], lambda: [piece])
    return counts


def _read(data: Any, layer: str | None, cell_data: Any, gene_names: Any, *, keep_stored: bool) -> Counts:
    values, cells, genes, obs, stored = _take_apart(data, layer, gene_names)
    n_cells, n_genes = _shape(values)
    if isinstance(cell_data, Mapping):
        cell_data = pd.DataFrame(cell_data)
    if cell_data is not None and not isinstance(cell_data, pd.DataFrame):
        msg = f"`cell_data` must be a DataFrame with one row per cell; got {_type_name(cell_data)}."
        raise InputError(msg)
    cell_data = cell_data if cell_data is not None else obs
    refuse_transposed(n_cells, n_genes, cells, genes, cell_data, gene_names)
    checked_genes = _gene_names(genes, n_genes)
    cell_data, cell_names, cells_named = _match_cells(cells, cell_data, n_cells)
    stored_matrix = StoredMatrix(values) if is_stored(values) else None
    matrix = as_csr(values) if stored_matrix is None else stored_matrix if keep_stored else stored_matrix.whole()
    genes_named = genes is not None and not _counted(genes)
    return Counts(matrix, checked_genes, cell_names, cell_data, stored, cells_named, genes_named)


# --- taking a container apart
# -------------------------------------------------------------------------------------------------


def _take_apart(
    data: Any, layer: str | None, gene_names: Any
) -> tuple[Any, Any, Any, pd.DataFrame | None, np.ndarray | None]:
    """(values, cell names, gene names, obs, stored size factors); names are None where the container has none."""
    kind = _anndata_kind(data)
    if layer is not None and kind != "AnnData":
        msg = f"`layer` names a layer of an AnnData; got {_type_name(data)} as `data`. Leave `layer` out."
        raise InputError(msg)
    if isinstance(gene_names, str) and kind is None:
        msg = (
            f"`gene_names` must hold one name per gene; a column name ('{gene_names}') works only for an AnnData's "
            "`var`. Pass a list of names."
        )
        raise InputError(msg)
    if kind is not None:
        genes = data.var_names if gene_names is None else _var_column(data, gene_names)
        values = data.X if kind == "Raw" else _layer(data, layer)
        obs = None if kind == "Raw" else data.obs
        stored = None if obs is None or "size_factors" not in obs else np.asarray(obs["size_factors"])
        return values, data.obs_names, genes, obs, stored
    if isinstance(data, pd.DataFrame):
        columns = None if _is_row_number(data.columns) else data.columns
        return _frame_values(data), _names_of(data.index), columns if gene_names is None else gene_names, None, None
    return data, None, gene_names, None, None


def _anndata_kind(data: Any) -> str | None:
    """ "AnnData", "Raw" or None, without importing anndata: who passes one has imported it."""
    anndata = sys.modules.get("anndata")
    if anndata is None:
        return None
    if isinstance(data, anndata.AnnData):
        return "AnnData"
    # Raw moved between versions (anndata.Raw, anndata._core.raw.Raw), its name and attributes stayed.
    is_raw = type(data).__name__ == "Raw" and all(hasattr(data, name) for name in ("X", "var_names", "obs_names"))
    return "Raw" if is_raw else None


def _layer(adata: Any, layer: str | None) -> Any:
    if layer is None:
        if adata.X is None:
            msg = f"`data` has no X. Pass `layer`; the layers are: {', '.join(adata.layers) or 'none'}."
            raise InputError(msg)
        return adata.X
    if layer not in adata.layers:
        msg = f"`layer` must be a layer of `data`; got '{layer}'. The layers are: {', '.join(adata.layers) or 'none'}."
        raise InputError(msg)
    return adata.layers[layer]


def _var_column(data: Any, gene_names: Any) -> Any:
    if not isinstance(gene_names, str):
        return gene_names
    if gene_names not in data.var:
        msg = (
            f"`gene_names` must be a column of `data.var` or one name per gene; got '{gene_names}'. The columns are: "
            f"{', '.join(map(str, data.var.columns)) or 'none'}."
        )
        raise InputError(msg)
    return data.var[gene_names]


def _frame_values(frame: pd.DataFrame) -> Any:
    if not all(_is_countable(dtype) for dtype in frame.dtypes):
        wrong = [name for name, dtype in frame.dtypes.items() if not _is_countable(dtype)]
        msg = (
            f"`data` must hold numbers only; got {plural(len(wrong), 'column')} of another type ({some(wrong)}). "
            "Keep the genes and pass the other columns as `cell_data`."
        )
        raise InputError(msg)
    if all(isinstance(dtype, pd.SparseDtype) and dtype.fill_value == 0 for dtype in frame.dtypes) and frame.shape[1]:
        return frame.sparse.to_coo()
    if any(pd.api.types.is_extension_array_dtype(dtype) for dtype in frame.dtypes):
        return frame.to_numpy(dtype="float64", na_value=np.nan)
    return frame.to_numpy()


def _is_countable(dtype: Any) -> bool:
    base = dtype.subtype if isinstance(dtype, pd.SparseDtype) else dtype
    return bool(pd.api.types.is_numeric_dtype(base)) and not pd.api.types.is_complex_dtype(base)


def _type_name(value: Any) -> str:
    kind = type(value)
    return (
        kind.__name__
        if kind.__module__ in {"builtins", "numpy"}
        else f"{kind.__module__.split('.')[0]}.{kind.__name__}"
    )


def _shape(values: Any) -> tuple[int, int]:
    shape = getattr(values, "shape", None)
    if shape is None or not (sparse.issparse(values) or isinstance(values, np.ndarray) or _is_backed(values)):
        hint = " Convert it with `.compute()`." if hasattr(values, "dask") else ""
        msg = f"`data` must be {_ACCEPTED}; got {_type_name(values)}.{hint}"
        raise InputError(msg)
    if len(shape) != 2:
        msg = f"`data` must have two dimensions, cells x genes; got {len(shape)}."
        raise InputError(msg)
    if shape[0] == 0 or shape[1] == 0:
        lacking = "cell" if shape[0] == 0 else "gene"
        msg = (
            f"`data` must have at least one {lacking}; got {shape[0]:,} cells x {shape[1]:,} genes. Check the filter "
            "that made it."
        )
        raise InputError(msg)
    return int(shape[0]), int(shape[1])


def _is_backed(values: Any) -> bool:
    """A matrix that still lies in its file (h5py's Dataset, anndata's sparse datasets) or is a dask array."""
    return hasattr(values, "to_memory") or is_stored(values)


# --- names and orientation
# ----------------------------------------------------------------------------------------------------


def _is_row_number(index: pd.Index) -> bool:
    """Whether an index only counts 0, 1, 2, ...: pandas' way to say that rows have no names."""
    return isinstance(index, pd.RangeIndex) or (
        bool(pd.api.types.is_integer_dtype(index)) and np.array_equal(index, np.arange(len(index)))
    )


def _counted(names: Any) -> bool:
    """Whether names only count "0", "1", "2", ...: an AnnData's way to say that cells have none."""
    return all(str(name) == str(i) for i, name in enumerate(names))


def _names_of(index: pd.Index) -> pd.Index | None:
    return None if _is_row_number(index) else index


def refuse_transposed(
    n_cells: int, n_genes: int, cells: Any, genes: Any, cell_data: pd.DataFrame | None, given: Any
) -> None:
    """Names or lengths that fit only the other way round mean genes x cells: say so before any other rule complains."""
    evidence = None
    if given is not None and not isinstance(given, str) and len(given) == n_cells != n_genes:
        evidence = f"`gene_names` has {len(given):,} names"
    elif cell_data is not None and len(cell_data) == n_genes != n_cells:
        evidence = f"`cell_data` has {len(cell_data):,} rows"
    elif cell_data is not None and given is None and len(cell_data) == n_genes and genes is not None:
        labels = _names_of(cell_data.index)
        by_row = labels is not None and cells is not None and set(labels) == set(cells)
        if labels is not None and not by_row and set(labels) == set(genes):
            evidence = "the row names of `cell_data` are the column names of `data`"
    if evidence:
        msg = (
            f"`data` must be cells x genes; got {n_cells:,} rows x {n_genes:,} columns, and {evidence}. It looks "
            "transposed: pass `data.T`."
        )
        raise InputError(msg)


def _gene_names(genes: Any, n_genes: int) -> np.ndarray:
    if genes is None:
        return np.array([f"gene{i + 1}" for i in range(n_genes)], dtype=object)
    index = pd.Index(np.asarray(genes, dtype=object))
    if len(index) != n_genes:
        msg = f"`gene_names` must have one name per gene (n_genes = {n_genes}); got {len(index)}."
        raise InputError(msg)
    missing = np.asarray(index.isna()) | np.array([name == "" for name in index])
    if missing.any():
        where = ", ".join(str(i + 1) for i in np.flatnonzero(missing)[:3])
        msg = (
            f"`gene_names` must not be missing; got {plural(int(missing.sum()), 'missing name')} (genes number "
            f"{where}). Name or drop those genes."
        )
        raise InputError(msg)
    names = index.map(str)
    if not names.is_unique:
        twice = names[names.duplicated()].unique()
        msg = (
            f"`gene_names` must be unique; got {plural(len(twice), 'duplicated name')} ({some(twice)}). Use "
            "`adata.var_names_make_unique()` or pass `gene_names`."
        )
        raise InputError(msg)
    return np.array(names, dtype=object)


def _match_cells(
    cells: Any, cell_data: pd.DataFrame | None, n_cells: int
) -> tuple[pd.DataFrame | None, np.ndarray, bool]:
    """`cell_data` in the order of the rows, and the cells' names: the data's own, else those of `cell_data`, else
    made up."""
    if cell_data is not None and len(cell_data) != n_cells:
        msg = (
            f"`cell_data` must have one row per cell (n_cells = {n_cells}); got {len(cell_data)} rows. Drop the "
            "filtered cells from `cell_data`."
        )
        raise InputError(msg)
    labels = None if cell_data is None else _names_of(cell_data.index)
    if cells is not None and cell_data is not None and labels is not None and not _counted(cells):
        cell_data = cell_data.iloc[match_rows(labels, cells, argument="cell_data")]
    names = cells if cells is not None else labels
    if names is None:
        return cell_data, np.array([f"cell{i + 1}" for i in range(n_cells)], dtype=object), False
    missing = np.asarray(pd.Index(names).isna())
    if missing.any():
        msg = (
            f"Cell names of `data` must not be missing; got {plural(int(missing.sum()), 'missing name')} (rows "
            f"{', '.join(str(i + 1) for i in np.flatnonzero(missing)[:3])}). Name those cells."
        )
        raise InputError(msg)
    return cell_data, _texts(names), not _counted(names)


def _texts(names: Any) -> np.ndarray:
    """Names as text, in an array of our own."""
    own = np.array(names, dtype=object)
    is_text = pd.api.types.infer_dtype(own, skipna=False) == "string"
    return own if is_text else np.array([str(name) for name in own], dtype=object)


def match_rows(labels: pd.Index, cells: Any, *, argument: str) -> np.ndarray | slice:
    """Positions in `labels` of each cell. All rows as they are where the names agree or cannot be compared (row
    numbers beside names)."""
    have, want = pd.Index(np.asarray(labels, dtype=object)), pd.Index(np.asarray(cells, dtype=object))
    if have.equals(want) or isinstance(have[0], str) != isinstance(want[0], str):
        return slice(None)
    lacking = want.difference(have)
    if len(lacking) or not have.is_unique or not want.is_unique:
        reason = (
            f"{plural(len(lacking), 'cell')} of `data` not found ({some(lacking)})"
            if len(lacking)
            else "duplicated names in another order"
        )
        msg = (
            f"The row names of `{argument}` must be the names of the cells; got {reason}. Use the same names, or "
            "drop them (`.reset_index(drop=True)`) to match by position."
        )
        raise InputError(msg)
    return np.asarray(have.get_indexer(want))


def cell_order(labels: pd.Index, cell_names: np.ndarray, *, argument: str) -> np.ndarray | slice:
    """Positions in `labels` of each cell; all as they are where either side has no names."""
    if pd.api.types.is_integer_dtype(labels) or cells_unnamed(cell_names):
        return slice(None)
    return match_rows(labels, cell_names, argument=argument)


def gene_order(labels: pd.Index, gene_names: np.ndarray, *, argument: str) -> np.ndarray | slice:
    """Positions in `labels` of each gene; all as they are where either side has no names."""
    have, want = pd.Index(np.asarray(labels, dtype=object)).map(str), pd.Index(gene_names)
    unnamed = pd.api.types.is_integer_dtype(labels) or have.equals(want)
    if unnamed or genes_unnamed(gene_names):
        return slice(None)
    lacking = want.difference(have)
    if len(lacking) or not have.is_unique:
        reason = f"{plural(len(lacking), 'gene')} not found ({some(lacking)})" if len(lacking) else "duplicated names"
        msg = f"The genes of `{argument}` must have the names of the genes of `data`; got {reason}. Use the same names."
        raise InputError(msg)
    return np.asarray(have.get_indexer(want))


def genes_unnamed(names: np.ndarray) -> bool:
    """Whether gene names are made up: ours, or an AnnData's "0", "1", ..."""
    return _counted(names) or all(name == f"gene{i + 1}" for i, name in enumerate(names))


def cells_unnamed(names: np.ndarray) -> bool:
    """Whether cell names are made up: ours, or an AnnData's "0", "1", ..."""
    return _counted(names) or all(name == f"cell{i + 1}" for i, name in enumerate(names))
