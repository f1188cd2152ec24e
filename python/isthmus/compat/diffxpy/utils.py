"""``de.utils``: designs and constraints for use with ready matrices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from isthmus.compat.diffxpy.options import names_tuple
from isthmus.data.design import design_matrix as _design_matrix
from isthmus.data.design import read_design
from isthmus.errors import InputError
from isthmus.glm.constraints import constraint_matrix as _constraint_matrix
from isthmus.glm.constraints import resolve_constraints
from isthmus.glm.proposals import propose
from isthmus.glm.rank import aliases
from isthmus.messages import tell


def _frame(data: Any, sample_description: pd.DataFrame | None) -> pd.DataFrame:
    frame = getattr(data, "obs", data) if sample_description is None else sample_description
    if not isinstance(frame, pd.DataFrame):
        kind = type(frame).__name__
        msg = f"`sample_description` must be a DataFrame with one row per cell (or `data` an AnnData); got {kind}."
        raise InputError(msg)
    return frame


def design_matrix(
    data: Any = None,
    sample_description: pd.DataFrame | None = None,
    formula: str | None = None,
    as_numeric: str | list[str] | tuple[str, ...] = (),
    dmat: Any = None,
) -> pd.DataFrame:
    """The design of a formula, cells x parameters, with names; or `dmat` with names.

    Parameters
    ----------
    data, sample_description
        AnnData, or a DataFrame with one row per cell.
    formula
        Such as ``"~ 1 + condition"``.
    as_numeric
        Columns to take as numbers.
    dmat
        A ready design instead of a formula.

    Examples
    --------
    >>> design_matrix(pd.DataFrame({"x": [1.0, 2.0]}), formula="~ x")
       Intercept    x
    0        1.0  1.0
    1        1.0  2.0
    """
    if dmat is not None:
        names = list(dmat.columns) if isinstance(dmat, pd.DataFrame) else None
        names = names or list(getattr(getattr(dmat, "design_info", None), "column_names", ()))
        values = np.asarray(dmat, dtype=float)
        return pd.DataFrame(values, columns=names or [f"p{i}" for i in range(values.shape[1])])
    if formula is None:
        msg = "`formula` or `dmat` must be given; got neither."
        raise InputError(msg)
    return _design_matrix(_frame(data, sample_description), formula, as_numeric=names_tuple(as_numeric))


def setup_constrained(
    data: Any = None,
    sample_description: pd.DataFrame | None = None,
    formula: str = "~ 1",
    constraints: Any = None,
    as_numeric: str | list[str] | tuple[str, ...] = (),
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A design and its constraints, for ``dmat_loc=`` and ``constraints_loc=`` of ``de.fit.model``.

    diffxpy's documentation names this function; no release has it.

    Parameters
    ----------
    data, sample_description, formula, as_numeric
        As in `design_matrix`.
    constraints
        ``{"batch": "condition"}`` or strings; None proposes what identifies a rank-deficient design
        (a message says what).

    Returns
    -------
    DataFrame, DataFrame
        Cells x all parameters; all x free parameters.

    Examples
    --------
    >>> cells = pd.DataFrame({"condition": list("aabb"), "batch": ["b1", "b2", "b3", "b4"]})
    >>> dmat, constraints = setup_constrained(cells, formula="~ condition + batch", constraints={"batch": "condition"})
    >>> dmat.shape, constraints.shape
    ((4, 6), (6, 4))
    """
    frame = _frame(data, sample_description)
    design = read_design(formula, len(frame), frame, argument="formula", as_numeric=names_tuple(as_numeric))
    if constraints is None and aliases(design.matrix):
        proposal = propose(design)
        tell(f"`constraints`: the design is rank-deficient; proposed: {proposal.text}.")
        constraints = proposal.constraints
    resolved, constraint = resolve_constraints(design, constraints)
    names = np.array(resolved.names, dtype=object)
    free = pd.DataFrame(constraint.free, index=names, columns=names[~constraint.dependent])
    return pd.DataFrame(resolved.matrix, columns=names), free


def constraint_system_from_star(
    dmat: Any = None,
    sample_description: pd.DataFrame | None = None,
    formula: str | None = None,
    as_numeric: str | list[str] | tuple[str, ...] = (),
    constraints: Any = None,
    return_type: str = "patsy",
) -> tuple[pd.DataFrame, list[str], pd.DataFrame, list[str]]:
    """Design, names of its parameters, constraint matrix and names of its terms, from any form of constraints.

    Parameters
    ----------
    dmat, sample_description, formula, as_numeric
        As in `design_matrix`.
    constraints
        Any form that ``de.fit.model`` takes.
    return_type
        Accepted and without effect: the design is a DataFrame.
    """
    if dmat is None:
        if formula is None:
            msg = "`formula` or `dmat` must be given; got neither."
            raise InputError(msg)
        design, free = setup_constrained(sample_description, None, formula, constraints, as_numeric)
        terms = [term.strip() for term in formula.lstrip("~ ").split("+")]
        return design, list(design.columns), free, terms
    design = design_matrix(dmat=dmat)
    free = _constraint_matrix(design, constraints)
    return design, list(design.columns), free, list(design.columns)


def constraint_matrix_from_string(
    dmat: Any, coef_names: list[str] | None = None, constraints: list[str] | tuple[str, ...] | str = ()
) -> np.ndarray:
    """All x free parameters of constraints such as ``"b1 + b2 = 0"``; coefficients and minus signs count.

    Parameters
    ----------
    dmat
        The design.
    coef_names
        Names of its columns where it has none.
    constraints
        Strings; right-hand sides must be zero here, because a matrix cannot hold them.
    """
    design = design_matrix(dmat=dmat)
    if coef_names is not None:
        design.columns = list(coef_names)
    texts = [constraints] if isinstance(constraints, str) else list(constraints)
    _, constraint = resolve_constraints(read_design(design, len(design), None, argument="dmat"), texts)
    if constraint.particular.any():
        msg = "`constraints` with a right-hand side cannot be a matrix alone; pass the strings to `de.fit.model`."
        raise InputError(msg)
    return constraint.free


def constraint_matrix_from_dict(
    sample_description: pd.DataFrame, formula: str, as_numeric: Any = (), constraints: dict[str, str] | None = None
) -> tuple[pd.DataFrame, np.ndarray]:
    """Design and all x free parameters of ``{"batch": "condition"}``."""
    design, free = setup_constrained(sample_description, None, formula, constraints, as_numeric)
    return design, free.to_numpy()


def view_coef_names(dmat: Any) -> np.ndarray:
    """Names of a design's columns."""
    return np.array(design_matrix(dmat=dmat).columns)


def preview_coef_names(
    sample_description: pd.DataFrame, formula: str, as_numeric: str | list[str] | tuple[str, ...] = ()
) -> np.ndarray:
    """Names of the columns that a formula would make."""
    return np.array(design_matrix(sample_description, formula=formula, as_numeric=as_numeric).columns)


def bin_continuous_covariate(
    sample_description: pd.DataFrame, factor_to_bin: str, bins: int | list[float]
) -> pd.DataFrame:
    """The cell data with a column ``<factor>_binned``: quantile bins numbered from 0, or bins between given edges.

    Parameters
    ----------
    sample_description
        Cell data; a copy is changed.
    factor_to_bin
        A column of numbers.
    bins
        How many bins of about equal size, or their edges.
    """
    if factor_to_bin not in sample_description.columns:
        msg = f"`factor_to_bin` must be a column of `sample_description`; there is none named {factor_to_bin!r}."
        raise InputError(msg)
    values = sample_description[factor_to_bin].astype(float)
    if isinstance(bins, int):
        numbers = pd.qcut(values, bins, labels=False, duplicates="drop")
    else:
        numbers = pd.cut(values, bins, labels=False)
    return sample_description.assign(**{f"{factor_to_bin}_binned": numbers.astype("Int64").astype("category")})
