"""Formulas: which columns they use, how those columns are typed, and their evaluation by formulaic.

formulaic is imported on first use: who fits with a matrix never waits for it.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from isthmus.data.splines import natural_spline
from isthmus.data.wording import cells_where, did_you_mean, plural, some
from isthmus.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

_QUOTED = re.compile(r"`([^`]+)`")


@lru_cache(maxsize=1)
def context() -> dict[str, Any]:
    """What a formula can call besides formulaic's own (``C``, ``bs``, ``cr``, ``poly``, ``center``, ``scale``,
    ``log``, ``np``, ...)."""
    from formulaic.materializers.types import FactorValues
    from formulaic.transforms import stateful_transform

    def ns(x: Any, df: Any = None, knots: Any = None, _state: Any = None) -> Any:
        columns = natural_spline(x, df, knots, _state)
        return FactorValues(columns, kind="numerical", spans_intercept=False, encoded=False, format="{name}[{field}]")

    return {"ns": stateful_transform(ns), "sqrt": np.sqrt, "log1p": np.log1p, "expm1": np.expm1, "abs": np.abs}


def parse(text: str, *, argument: str) -> Any:
    """A formulaic formula of one part, or an InputError."""
    from formulaic import Formula
    from formulaic.errors import FormulaicError

    if re.search(r"\boffset\s*\(", text):
        msg = f"`{argument}` must not hold offset(); got '{text}'. Pass the values as `offset=` (natural log)."
        raise InputError(msg)
    try:
        formula = Formula(text if text.strip() else "0")  # formulaic reads an empty text as '1'
    except FormulaicError as error:
        msg = (
            f"`{argument}` must be a formula such as '~ condition + batch'; got '{text}', which cannot be read: "
            f"{_one_line(error)}."
        )
        raise InputError(msg) from error
    if not hasattr(formula, "required_variables") or hasattr(formula, "_structure"):
        msg = (
            f"`{argument}` must be a formula of one side and one part; got '{text}'. Write only what stands right of "
            "the '~'."
        )
        raise InputError(msg)
    if len(formula) == 0:
        msg = f"`{argument}` must have at least one term; got '{text}'. Did you mean '~ 1'?"
        raise InputError(msg)
    return formula


def variables(formula: Any, columns: Sequence[str], *, argument: str) -> list[str]:
    """The columns that a formula uses, in the order of their first use; InputError for names that are neither column
    nor function."""
    used: dict[str, None] = {}
    for term in formula:
        for factor in term.factors:
            for name in _names_in(factor):
                if name in columns:
                    used[name] = None
                elif not _is_function(name):
                    msg = (
                        f"`{argument}` uses '{name}', which is no column of the cells' data. "
                        f"{did_you_mean(name, list(columns))}"
                    )
                    raise InputError(msg)
    return list(used)


def names_used(term: Any) -> list[str]:
    """Every name in a term that is no function: columns, whether they exist or not."""
    return [name for factor in term.factors for name in _names_in(factor) if not _is_function(name)]


def term_variables(term: Any, columns: Iterable[str]) -> list[str]:
    """The columns that one term uses."""
    columns = set(columns)
    return [name for factor in term.factors for name in _names_in(factor) if name in columns]


def _names_in(factor: Any) -> list[str]:
    kind = factor.eval_method.value
    if kind == "lookup":
        return [factor.expr]
    if kind == "literal":
        return []
    quoted: list[str] = []

    def placeholder(match: re.Match[str]) -> str:
        quoted.append(match.group(1))
        return f"__quoted{len(quoted) - 1}__"

    tree = ast.parse(_QUOTED.sub(placeholder, factor.expr), mode="eval")
    names = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name)]
    # Q("name with spaces") looks a column up by a string
    names += [
        str(node.args[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "Q"
        and isinstance(node.args[0], ast.Constant)
    ]
    return [quoted[int(name[8:-2])] if name.startswith("__quoted") else name for name in names]


def _is_function(name: str) -> bool:
    from formulaic.transforms import TRANSFORMS

    return name in context() or name in TRANSFORMS or hasattr(builtins, name)


def typed_columns(
    cell_data: pd.DataFrame,
    names: Sequence[str],
    *,
    argument: str,
    as_numeric: Sequence[str] = (),
    as_categorical: Sequence[str] = (),
    cell_names: np.ndarray | None = None,
) -> pd.DataFrame:
    """The named columns, numeric ones as float64 or int64 and everything else as categories; no missing values, no
    empty or
    lonely level.

    Logical columns are categories (levels False, True), as in R. A number listed in `as_categorical` gets its levels
    in numeric order,
    text in the order of its characters' codes ("B" before "a"; R's order depends on the locale).
    """
    as_numeric, as_categorical = (
        _listed(as_numeric, "as_numeric", cell_data),
        _listed(as_categorical, "as_categorical", cell_data),
    )
    both = sorted(set(as_numeric) & set(as_categorical))
    if both:
        msg = f"`as_numeric` and `as_categorical` must not share columns; got {some(both)} in both. Keep each in one."
        raise InputError(msg)
    typed: dict[str, Any] = {}
    for name in names:
        column = cell_data[name]
        if isinstance(column, pd.DataFrame):
            msg = f"`{argument}` uses '{name}', which is the name of {column.shape[1]} columns. Rename them."
            raise InputError(msg)
        refuse_missing(column, name, argument, cell_names)
        if pd.api.types.is_complex_dtype(column.dtype):
            msg = (
                f"`{argument}` uses '{name}', which must hold real numbers or levels; got {column.dtype}. Take a part."
            )
            raise InputError(msg)
        if name in as_numeric:
            typed[name] = _as_numbers(column, name)
        elif name in as_categorical or not _is_number(column.dtype):
            typed[name] = as_factor(column)
            check_levels(typed[name], name, argument=argument)
        else:
            typed[name] = _finite(column, name, argument, cell_names)
    return pd.DataFrame(typed, index=cell_data.index)


def _listed(names: Any, argument: str, cell_data: pd.DataFrame) -> list[str]:
    names = () if names is None else names
    if not isinstance(names, Iterable):
        msg = f"`{argument}` must name columns of the cells' data; got {names!r}. Pass a list of names."
        raise InputError(msg)
    names = [names] if isinstance(names, str) else list(names)
    for name in names:
        if name not in cell_data.columns:
            msg = (
                f"`{argument}` must name columns of the cells' data; got '{name}'. "
                f"{did_you_mean(str(name), [str(c) for c in cell_data.columns])}"
            )
            raise InputError(msg)
    return names


def _is_number(dtype: Any) -> bool:
    return bool(pd.api.types.is_numeric_dtype(dtype)) and not pd.api.types.is_bool_dtype(dtype)


def refuse_missing(column: pd.Series, name: str, argument: str, cell_names: np.ndarray | None) -> None:
    """A covariate with missing values is an InputError that names the cells."""
    missing = column.isna().to_numpy()
    if missing.any():
        msg = (
            f"`{argument}` uses '{name}', which must not be missing; got NA in {cells_where(missing, cell_names)}. "
            f"Drop those cells or fill '{name}'."
        )
        raise InputError(msg)


def _as_numbers(column: pd.Series, name: str) -> np.ndarray:
    """Numbers as they are written in the labels (not the codes of the categories, R's well-known trap)."""
    try:
        return pd.to_numeric(column.astype(object)).to_numpy(dtype=np.float64)
    except (ValueError, TypeError):
        wrong = [
            value
            for value in column.unique()
            if pd.isna(pd.to_numeric(pd.Series([value], dtype=object), errors="coerce"))[0]
        ]
        msg = (
            f"`as_numeric` must name columns that hold numbers; got '{name}' with "
            f"{plural(len(wrong), 'other value')} ({some(wrong)}). Leave it out or recode it."
        )
        raise InputError(msg) from None


def _finite(column: pd.Series, name: str, argument: str, cell_names: np.ndarray | None) -> np.ndarray:
    values = column.to_numpy(dtype=np.float64)
    if not np.isfinite(values).all():
        msg = (
            f"`{argument}` uses '{name}', which must be finite; got infinite values in "
            f"{cells_where(~np.isfinite(values), cell_names)}. Drop those cells."
        )
        raise InputError(msg)
    # Whole numbers stay whole, so that C(plate) names its levels 2 and 10, not 2.0 and 10.0; 64 bits, so that squares
    # fit.
    return values.astype(np.int64) if pd.api.types.is_integer_dtype(column.dtype) else values


def as_factor(column: pd.Series) -> pd.Categorical:
    """Categories with text labels; the order of existing categories stays, others are sorted."""
    categorical = column.array if isinstance(column.dtype, pd.CategoricalDtype) else _sorted_categories(column)
    labels = pd.Index([level_label(level) for level in categorical.categories], dtype=object)
    distinct = labels.unique()  # 1 and "1" in one column are one level
    codes = distinct.get_indexer(labels)[np.asarray(categorical.codes)]
    return pd.Categorical.from_codes(codes, categories=distinct)


def _sorted_categories(column: pd.Series) -> pd.Categorical:
    values = column.to_numpy(dtype=object)
    distinct = pd.unique(values)
    try:
        levels = sorted(distinct)
    except TypeError:  # types that have no common order sort by their text
        levels = sorted(distinct, key=str)
    return pd.Categorical(values, categories=levels)


def level_label(level: Any) -> str:
    """The text of a level: whole numbers without ``.0``, as R writes them."""
    if isinstance(level, (float, np.floating)):
        return f"{level:.15g}"
    return str(level)


def check_levels(factor: pd.Categorical, name: str, *, argument: str, language: str = "python") -> None:
    """A level that no cell has would be a column of zeros, and one level alone nothing to estimate: refuse both with
    the remedy."""
    counts = np.bincount(factor.codes, minlength=len(factor.categories))
    empty = list(np.asarray(factor.categories)[counts == 0])
    if empty:
        drop = (
            f"droplevels({name})"
            if language == "r"
            else f"data.obs['{name}'] = data.obs['{name}'].cat.remove_unused_categories()"
        )
        msg = (
            f"`{argument}` uses '{name}', whose levels must all have cells; got {plural(len(empty), 'level')} "
            f"without ({some(empty)}). Drop unused levels: {drop}."
        )
        raise InputError(msg)
    if len(factor.categories) < 2:
        msg = (
            f"`{argument}` uses '{name}', which must have two levels or more; got one ({some(factor.categories)}). "
            f"Leave '{name}' out."
        )
        raise InputError(msg)


def evaluate(formula: Any, frame: pd.DataFrame, *, argument: str) -> Any:
    """formulaic's model matrix of typed columns, missing values kept out by the caller."""
    from formulaic import ModelSpec

    spec = ModelSpec.from_spec(formula, output="pandas", na_action="ignore")
    return _run(spec, frame, argument)


def evaluate_again(model_spec: Any, frame: pd.DataFrame, *, argument: str) -> Any:
    """The same encoding (levels, knots, centres) for other rows."""
    return _run(model_spec, frame, argument)


def _run(spec: Any, frame: pd.DataFrame, argument: str) -> Any:
    from formulaic.errors import FormulaicError

    data = frame if frame.shape[1] else pd.DataFrame({"__row__": np.zeros(len(frame))}, index=frame.index)
    try:
        with np.errstate(all="ignore"):  # log(0) and the like: the caller names the column and the cells
            return spec.get_model_matrix(data, context=context())
    except FormulaicError as error:
        msg = (
            f"`{argument}` must be a formula that can be evaluated on the cells' data; got '~ {spec.formula}': "
            f"{_one_line(error)}."
        )
        raise InputError(msg) from error


def _one_line(error: Exception) -> str:
    plain = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    return plain.strip().splitlines()[0].rstrip(". ") if plain.strip() else type(error).__name__
