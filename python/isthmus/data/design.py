"""Design matrices: from a formula, or handed in ready-made, with the names that tables and contrasts speak in.

Rank is not judged here: constraints may identify what the design alone does not (`isthmus.glm.constraints`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from isthmus.data import formulas
from isthmus.data.counts import Counts, match_rows
from isthmus.data.wording import cells_where, did_you_mean, plural, some
from isthmus.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, eq=False)
class Design:
    """A design matrix and where it came from.

    Attributes
    ----------
    matrix
        ``(n_cells, p)`` float64, C order.
    names
        Column names.
    terms
        Term label -> its columns, e.g. ``{"Intercept": (0,), "condition": (1, 2)}``.
    formula
        What the user wrote, or None for a bare matrix.
    frame
        The typed columns the formula (and dict constraints) use; lets `apply_design` rebuild the encoding.
    language
        "python" or "r": how dummies are called (``batch[b1]`` / ``batchb1``) and how proposals are written.
    removed
        R only: constrained factors that the caller has taken out of the formula before it was evaluated.
    dummies
        Factor -> levels of the full blocks of dummies that dict constraints appended at the right. In Python these
        factors
        are still in `formula`; their own term is left out when it is evaluated.
    """

    matrix: np.ndarray
    names: tuple[str, ...]
    terms: dict[str, tuple[int, ...]]
    formula: str | None = None
    frame: pd.DataFrame | None = None
    language: str = "python"
    removed: tuple[str, ...] = ()
    dummies: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def n_cells(self) -> int:
        return int(self.matrix.shape[0])


def read_design(
    spec: Any,
    counts_or_n: Counts | int,
    cell_data: pd.DataFrame | None,
    *,
    argument: str = "design",
    as_numeric: Sequence[str] = (),
    as_categorical: Sequence[str] = (),
) -> Design:
    """Read a design for given cells.

    Parameters
    ----------
    spec
        A formula, or a matrix with one row per cell: ndarray (columns become ``x1`` .. ``xp``), DataFrame,
        formulaic's ModelMatrix,
        patsy's DesignMatrix, scipy sparse; or a `Design`, which is checked and passed through.
    counts_or_n
        The counts (their cell names are compared where the design has row names), or only the number of cells.
    cell_data
        Columns for the formula, in the order of the cells.
    argument
        The user's name of `spec`, for error texts.
    as_numeric, as_categorical
        Columns whose type is not what their dtype says.

    Raises
    ------
    InputError
        Unreadable formula, unknown columns, offset() in a formula, missing or infinite values, a factor with one
        level or with a level that has
        no cells, wrong number of rows, row names that are not the cells', duplicated column names, no columns.
    """
    n_cells = counts_or_n.n_cells if isinstance(counts_or_n, Counts) else int(counts_or_n)
    cell_names = counts_or_n.cell_names if isinstance(counts_or_n, Counts) and counts_or_n.cells_named else None
    names_shown = cell_names if cell_names is not None else _names_shown(cell_data)
    if isinstance(spec, str):
        frame = _formula_columns(spec, n_cells, cell_data, argument, as_numeric, as_categorical, names_shown)
        design = _from_formula(spec, frame, argument)
    elif isinstance(spec, Design):
        design = spec
        _check_factors(design, argument)
    else:
        design = _from_matrix(spec, argument)
    _check_rows(design, counts_or_n, n_cells, argument)
    if not isinstance(spec, (str, Design)):
        labels = _row_labels(spec)
        if labels is not None and cell_names is not None:
            order = match_rows(labels, cell_names, argument=argument)
            design = replace(design, matrix=np.ascontiguousarray(design.matrix[order]))
    _check_matrix(design, argument, names_shown)
    return design


def design_matrix(
    data: Any, formula: str, *, as_numeric: Sequence[str] = (), as_categorical: Sequence[str] = ()
) -> pd.DataFrame:
    """The design matrix of a formula.

    Parameters
    ----------
    data
        AnnData (its ``obs``) or a DataFrame with one row per cell.
    formula
        For example ``"~ condition + np.log(dose)"``. Numeric columns are numeric; all others, logical ones included,
        are factors with treatment
        contrasts. Besides formulaic's functions (``C``, ``bs``, ``cr``, ``poly``, ``center``, ``scale``, ``log``,
        ``np.*``)
        it can use ``sqrt``, ``log1p`` and ``ns(x, df=)``, the natural cubic spline of R's ``splines::ns``, column for
        column.
    as_numeric, as_categorical
        Columns to take as numbers, or as factors, whatever their dtype.

    Returns
    -------
    DataFrame
        Cells x terms, float64.

    Raises
    ------
    InputError
        As `read_design`.

    Examples
    --------
    >>> cells = pd.DataFrame({"condition": ["a", "a", "b"], "dose": [0.0, 1.0, 2.0]}, index=["c1", "c2", "c3"])
    >>> design_matrix(cells, "~ condition + dose")
        Intercept  condition[T.b]  dose
    c1        1.0             0.0   0.0
    c2        1.0             0.0   1.0
    c3        1.0             1.0   2.0
    """
    cell_data = getattr(data, "obs", data)
    if not isinstance(cell_data, pd.DataFrame):
        msg = f"`data` must be an AnnData or a DataFrame with one row per cell; got {type(data).__name__}."
        raise InputError(msg)
    design = read_design(
        formula, len(cell_data), cell_data, argument="formula", as_numeric=as_numeric, as_categorical=as_categorical
    )
    return pd.DataFrame(design.matrix, index=cell_data.index, columns=list(design.names))


def apply_design(design: Design, newdata: Any, base: np.ndarray | None = None) -> np.ndarray:
    """Rows of the full parameter space (dummies of dict constraints included) for new cells.

    Parameters
    ----------
    design
        The design of the fit.
    newdata
        DataFrame with the columns of the formula; for a bare matrix, a DataFrame with its columns or an array ``(n,
        p)``.
    base
        The formula's part, already evaluated (by R); then only dummies are added.

    Returns
    -------
    ndarray
        ``(n, p)`` float64.
    """
    if base is None and design.formula is None:
        return _matrix_rows(design, newdata)
    if base is None and design.language == "r":
        msg = (
            "`newdata` of a fit made in R is evaluated by R; call predict() there, or pass the design's rows as a "
            "matrix."
        )
        raise InputError(msg)
    if not isinstance(newdata, pd.DataFrame):
        msg = f"`newdata` must be a DataFrame with the columns of the formula; got {type(newdata).__name__}."
        raise InputError(msg)
    blocks = [_formula_rows(design, newdata) if base is None else np.asarray(base, dtype=np.float64)]
    for factor, levels in design.dummies.items():
        _require_columns([factor], newdata)
        blocks.append(dummy_block(known_levels(newdata[factor], factor, levels)))
    rows = np.ascontiguousarray(np.hstack(blocks))
    if not np.isfinite(rows).all():
        bad = design.names[int(np.flatnonzero(~np.isfinite(rows).all(axis=0))[0])]
        msg = f"`newdata` must give finite values; got missing or infinite ones in '{bad}'. Drop those rows."
        raise InputError(msg)
    return rows


def reduced_formula(design: Design) -> Any:
    """The formula without the main effects that full blocks of dummies stand for."""
    formula = formulas.parse(str(design.formula), argument="design")
    kept = [term for term in formula if str(term) not in design.dummies]
    return type(formula)(kept)


def dummy_block(factor: pd.Categorical) -> np.ndarray:
    """One column per level, ``(n_cells, n_levels)``."""
    return (np.asarray(factor.codes)[:, None] == np.arange(len(factor.categories))).astype(np.float64)


def from_formula(formula: Any, frame: pd.DataFrame, text: str, *, argument: str) -> Design:
    """Evaluate a parsed formula on typed columns. A formula without terms gives a design without columns."""
    if len(formula) == 0:
        return Design(np.empty((len(frame), 0)), (), {}, text, frame)
    evaluated = formulas.evaluate(formula, frame, argument=argument)
    names = tuple(str(name) for name in evaluated.columns)
    terms = {_term_label(term): tuple(columns) for term, columns in evaluated.model_spec.term_indices.items()}
    barren = [label for label, columns in terms.items() if not columns]
    if barren:
        msg = (
            f"Every term of `{argument}` must give a column; got none for {some(barren)}, a factor with one level. "
            "Leave it out."
        )
        raise InputError(msg)
    return Design(_floats(evaluated, argument), names, terms, text, frame)


# --- reading
# ------------------------------------------------------------------------------------------------------------------


def _formula_columns(
    text: str,
    n_cells: int,
    cell_data: pd.DataFrame | None,
    argument: str,
    as_numeric: Sequence[str],
    as_categorical: Sequence[str],
    cell_names: np.ndarray | None,
) -> pd.DataFrame:
    formula = formulas.parse(text, argument=argument)
    columns = [] if cell_data is None else [str(name) for name in cell_data.columns]
    if cell_data is None:
        if any(name for term in formula for name in formulas.names_used(term)):
            msg = (
                f"`{argument}` uses columns of the cells' data, but there are none; got '{text}'. Pass `cell_data`, "
                "a DataFrame with one row per cell."
            )
            raise InputError(msg)
        return pd.DataFrame(index=pd.RangeIndex(n_cells))
    used = formulas.variables(formula, columns, argument=argument)
    return formulas.typed_columns(
        cell_data.set_axis(columns, axis=1),
        used,
        argument=argument,
        as_numeric=as_numeric,
        as_categorical=as_categorical,
        cell_names=cell_names,
    )


def _from_formula(text: str, frame: pd.DataFrame, argument: str) -> Design:
    return from_formula(formulas.parse(text, argument=argument), frame, text, argument=argument)


def _term_label(term: Any) -> str:
    return "Intercept" if str(term) == "1" else str(term)


def _from_matrix(spec: Any, argument: str) -> Design:
    values = spec.toarray() if sparse.issparse(spec) else spec
    names, terms = None, None
    if hasattr(spec, "model_spec"):  # formulaic's ModelMatrix
        names = tuple(str(name) for name in spec.model_spec.column_names)
        terms = {_term_label(term): tuple(columns) for term, columns in spec.model_spec.term_indices.items()}
    elif hasattr(values, "design_info"):  # patsy's DesignMatrix
        names = tuple(values.design_info.column_names)
        slices = values.design_info.term_name_slices
        terms = {name: tuple(range(part.start, part.stop)) for name, part in slices.items()}
    elif hasattr(values, "columns"):
        names = tuple(formulas.level_label(name) for name in values.columns)
    matrix = _floats(values, argument)
    if matrix.ndim != 2:
        msg = (
            f"`{argument}` must be a formula or a matrix, cells x terms; got {matrix.ndim} "
            f"dimension{'s' if matrix.ndim != 1 else ''}. Pass two, e.g. `x[:, None]`."
        )
        raise InputError(msg)
    names = names or tuple(f"x{i + 1}" for i in range(matrix.shape[1]))
    return Design(matrix, names, terms or {name: (i,) for i, name in enumerate(names)})


def _floats(values: Any, argument: str) -> np.ndarray:
    if hasattr(values, "dtypes") and hasattr(values, "columns"):
        wrong = [name for name, dtype in values.dtypes.items() if not pd.api.types.is_numeric_dtype(dtype)]
        if wrong:
            msg = (
                f"`{argument}` must be a matrix of numbers; got {plural(len(wrong), 'column')} of another type "
                f"({some(wrong)}). Pass a formula and the columns as `cell_data`."
            )
            raise InputError(msg)
        return np.ascontiguousarray(values.to_numpy(dtype=np.float64, na_value=np.nan))
    try:
        array = np.asarray(values)
        if array.ndim == 0 or array.dtype.kind == "c":
            raise TypeError
        return np.ascontiguousarray(array, dtype=np.float64)
    except (TypeError, ValueError):
        msg = (
            f"`{argument}` must be a formula or a matrix of numbers, cells x terms; got {type(values).__name__}. Did "
            "you mean '~ 1'?"
        )
        raise InputError(msg) from None


def _names_shown(cell_data: pd.DataFrame | None) -> np.ndarray | None:
    """Names to show in error texts where the counts have none."""
    if cell_data is None or pd.api.types.is_integer_dtype(cell_data.index):
        return None
    return np.asarray(cell_data.index, dtype=object)


def _row_labels(spec: Any) -> pd.Index | None:
    labels = getattr(spec, "index", None)
    return labels if isinstance(labels, pd.Index) and not pd.api.types.is_integer_dtype(labels) else None


# --- checks
# -------------------------------------------------------------------------------------------------------------------


def _check_factors(design: Design, argument: str) -> None:
    if design.frame is None:
        return
    for name in design.frame.columns:
        column = design.frame[name]
        if isinstance(column.dtype, pd.CategoricalDtype):
            missing = column.isna().to_numpy()
            if missing.any():
                msg = (
                    f"`{argument}` uses '{name}', which must not be missing; got NA in {cells_where(missing, None)}. "
                    f"Drop those cells or fill '{name}'."
                )
                raise InputError(msg)
            formulas.check_levels(column.array, str(name), argument=argument, language=design.language)


def _check_rows(design: Design, counts_or_n: Counts | int, n_cells: int, argument: str) -> None:
    n_rows = design.n_cells
    if n_rows == n_cells:
        return
    hint = (
        f"Drop the filtered cells from `{argument}`." if n_rows > n_cells else f"Add the missing cells to `{argument}`."
    )
    if isinstance(counts_or_n, Counts) and n_rows == counts_or_n.n_genes:
        turned = "t(data)" if design.language == "r" else "data.T"
        hint = f"`data` has {n_rows} genes: it looks transposed, pass `{turned}`."
    elif design.matrix.shape[1] == n_cells:
        hint = f"`{argument}` looks transposed: it must be cells x terms."
    msg = f"`{argument}` must have one row per cell (n_cells = {n_cells}); got {n_rows} rows. {hint}"
    raise InputError(msg)


def _check_matrix(design: Design, argument: str, cell_names: np.ndarray | None) -> None:
    # Without columns but with factors to come: dict constraints append their dummies (R has removed the only term).
    if design.matrix.shape[1] == 0 and not design.removed:
        msg = f"`{argument}` must have at least one column; got none. Did you mean '~ 1'?"
        raise InputError(msg)
    if len(design.names) != design.matrix.shape[1]:
        msg = (
            f"`{argument}` must have one name per column; got {len(design.names)} names for {design.matrix.shape[1]} "
            "columns."
        )
        raise InputError(msg)
    twice = pd.Index(design.names)[pd.Index(design.names).duplicated()].unique()
    if len(twice):
        msg = f"Column names of `{argument}` must be unique; got {some(twice)} twice. Rename the columns."
        raise InputError(msg)
    finite = np.isfinite(design.matrix)
    if not finite.all():
        column = int(np.flatnonzero(~finite.all(axis=0))[0])
        msg = (
            f"`{argument}` must be finite; got missing or infinite values in column '{design.names[column]}', "
            f"{cells_where(~finite[:, column], cell_names)}. Drop those cells or mend the column."
        )
        raise InputError(msg)


# --- new cells
# ----------------------------------------------------------------------------------------------------------------


def _matrix_rows(design: Design, newdata: Any) -> np.ndarray:
    if isinstance(newdata, pd.DataFrame):
        newdata = newdata.rename(columns=formulas.level_label)
        _require_columns(design.names, newdata)
        newdata = newdata[list(design.names)]
    rows = _floats(newdata, "newdata")
    if rows.ndim != 2 or rows.shape[1] != len(design.names) or not np.isfinite(rows).all():
        msg = (
            f"`newdata` must be a finite matrix with the design's {len(design.names)} columns "
            f"({some(design.names)}); got shape {rows.shape}."
        )
        raise InputError(msg)
    return rows


def _formula_rows(design: Design, newdata: pd.DataFrame) -> np.ndarray:
    formula = reduced_formula(design)
    if len(formula) == 0:
        return np.empty((len(newdata), 0))
    frame = design.frame if design.frame is not None else pd.DataFrame(index=range(design.n_cells))
    model_spec = formulas.evaluate(formula, frame, argument="design").model_spec
    used = formulas.variables(formula, list(frame.columns), argument="design")
    _require_columns(used, newdata)
    typed: dict[str, Any] = {}
    for name in used:
        if isinstance(frame[name].dtype, pd.CategoricalDtype):
            typed[name] = known_levels(newdata[name], name, tuple(frame[name].cat.categories))
        else:
            numbers = pd.to_numeric(newdata[name].astype(object), errors="coerce").to_numpy(dtype=np.float64)
            whole = frame[name].dtype.kind == "i" and bool(np.all(numbers == np.floor(numbers)))
            typed[name] = numbers.astype(np.int64) if whole else numbers
    evaluated = formulas.evaluate_again(model_spec, pd.DataFrame(typed, index=newdata.index), argument="newdata")
    return np.asarray(evaluated, dtype=np.float64)


def _require_columns(names: Sequence[str], newdata: pd.DataFrame) -> None:
    for name in names:
        if name not in newdata.columns:
            msg = f"`newdata` must have the column '{name}'. {did_you_mean(name, [str(c) for c in newdata.columns])}"
            raise InputError(msg)


def known_levels(column: pd.Series, name: str, levels: Sequence[str]) -> pd.Categorical:
    """A column of new cells as the factor of the fit; levels that the fit has not seen are refused by name."""
    values = [formulas.level_label(value) for value in column]
    unknown = sorted(set(values) - set(levels))
    if unknown:
        msg = (
            f"`newdata` must hold levels the fit has seen; got {some(unknown)} in '{name}'. The levels are: "
            f"{', '.join(map(str, levels))}."
        )
        raise InputError(msg)
    return pd.Categorical(values, categories=list(levels))
