"""Linear constraints on parameters, in every form users write them, as theta = theta0 + H gamma.

All forms become R theta = q, which is solved as one linear system: neither the order of the rows nor the choice of the
dependent parameters changes the space of fits. The free parameters gamma are themselves entries of theta (identity
rows of H).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from isthmus.data.design import Design, read_design
from isthmus.data.wording import plural, some
from isthmus.errors import InputError
from isthmus.glm import nesting
from isthmus.glm.linear_text import read_constraints
from isthmus.glm.proposals import describe_deficiency, propose
from isthmus.glm.rank import aliases, rank, triangular
from isthmus.messages import tell

if TYPE_CHECKING:
    from collections.abc import Sequence

_SAME = 1e-9  # a row of R this close to a combination of earlier rows follows from them (entries are of order one)


@dataclass(frozen=True, eq=False)
class Constraint:
    """theta = particular + free @ gamma.

    Attributes
    ----------
    free
        H, ``(p, f)``. The rows of the free parameters form an identity, in order, so gamma are the free parameters.
    particular
        theta0, ``(p,)``: what the right-hand sides ask for; zero at the free parameters.
    dependent
        ``(p,)`` bool: parameters that follow from the free ones.
    kind
        "none"; "identifies" (rank X H == rank X: the fit is that of the design, the constraint only makes its
        parameters unique);
        "restricts" (the fit itself is constrained).
    """

    free: np.ndarray
    particular: np.ndarray
    dependent: np.ndarray
    kind: str


def resolve_constraints(
    design: Design, constraints: Any, *, argument: str = "constraints"
) -> tuple[Design, Constraint]:
    """Bring constraints of any form to theta = theta0 + H gamma and check that they identify the model.

    Parameters
    ----------
    design
        The design as `read_design` gives it.
    constraints
        * None (or empty): every parameter is free.
        * dict ``{"batch": "condition"}``: the levels of ``batch`` sum to zero within each level of ``condition``;
          ``"1"``: over all levels
          at once. Several entries are allowed. The design gets all levels of ``batch`` as columns, at the right.
          Dependent: the
          last level of each group.
        * str or list of str: ``"b1 + b2 = 0"``, ``"b = 2*a = c"``, ``"a - b = 0.5"``. Dependent: the first name of
          each equation.
        * array ``(k, p)`` of -1, 0, 1 with one -1 a row: the marked parameters sum to zero (the sign is only a mark:
          -1 marks the dependent one).
        * array H ``(p, f)``: theta = H gamma. An array ``(p, p)`` is taken as H: p rows of constraints would leave
          nothing to estimate.
        * DataFrame of either form; its names are matched with the parameters'.
    argument
        The user's name of `constraints`, for error texts.

    Returns
    -------
    design, constraint
        The design (with dummies appended for a dict) and its constraint.

    Raises
    ------
    InputError
        Shapes, names or values that do not fit; rows that repeat or contradict others (named); parameters that stay
        unidentified: the text names
        the aliased columns and proposes a constraint.
    """
    if _is_empty(constraints):
        return design, _checked(design, _nothing(len(design.names)), argument, given=False)
    if isinstance(constraints, Mapping):
        design, rows, marked = nesting.expand(design, constraints, argument=argument)
        constraint = solve_rows(rows, np.zeros(len(rows)), marked, argument=argument)
    elif isinstance(constraints, str) or _is_texts(constraints):
        texts = [constraints] if isinstance(constraints, str) else list(constraints)
        rows, values, marked = _from_texts(texts, design.names, argument)
        constraint = solve_rows(rows, values, marked, argument=argument, texts=texts)
    else:
        constraint = _from_array(constraints, design.names, argument)
    return design, _checked(design, constraint, argument, given=True)


def constraint_matrix(design: Any, constraints: Any, *, data: Any = None) -> pd.DataFrame:
    """The matrix H of theta = H gamma: all parameters x free parameters.

    Parameters
    ----------
    design
        A formula (with `data`) or a matrix, as in `fit_glm`.
    constraints
        Any form that `fit_glm` takes. None with a rank-deficient design: a constraint that identifies it is proposed,
        and a message says which.
    data
        AnnData or DataFrame with the columns of the formula.

    Returns
    -------
    DataFrame
        Rows are named by all parameters, columns by the free ones. It can be passed as `constraints` if no right-hand
        side was used.

    Raises
    ------
    InputError
        Constraints of no known form, with unknown names, dependent or contradictory rows; a design that they leave
        unidentified; a formula without `data`.

    Examples
    --------
    >>> cells = pd.DataFrame({"condition": list("aabb"), "batch": ["b1", "b2", "b3", "b4"]})
    >>> constraint_matrix("~ condition + batch", {"batch": "condition"}, data=cells)
                    Intercept  condition[T.b]  batch[b1]  batch[b3]
    Intercept             1.0             0.0        0.0        0.0
    condition[T.b]        0.0             1.0        0.0        0.0
    batch[b1]             0.0             0.0        1.0        0.0
    batch[b2]             0.0             0.0       -1.0        0.0
    batch[b3]             0.0             0.0        0.0        1.0
    batch[b4]             0.0             0.0        0.0       -1.0
    """
    read = _design_of(design, data)
    if _is_empty(constraints) and aliases(read.matrix):
        proposal = propose(read)
        tell(f"`constraints`: the design is rank-deficient; proposed: {proposal.text}.")
        constraints = proposal.constraints
    resolved, constraint = resolve_constraints(read, constraints)
    free = [name for name, dependent in zip(resolved.names, constraint.dependent, strict=True) if not dependent]
    return pd.DataFrame(constraint.free, index=list(resolved.names), columns=free)


def solve_rows(
    rows: np.ndarray,
    values: np.ndarray,
    marked: Sequence[Sequence[int]],
    *,
    argument: str,
    texts: Sequence[str] | None = None,
) -> Constraint:
    """Solve R theta = q for theta = theta0 + H gamma.

    Parameters
    ----------
    rows, values
        R ``(k, p)`` and q ``(k,)``.
    marked
        For each row, the parameters to make dependent, best first; others are taken where these do not determine a
        solution.
    """
    _check_rows(rows, values, argument, texts)
    n_rows, n_parameters = rows.shape
    if n_rows >= n_parameters:
        msg = (
            f"`{argument}` must leave a parameter to estimate; got {plural(n_rows, 'constraint')} on "
            f"{plural(n_parameters, 'parameter')}. Remove some."
        )
        raise InputError(msg)
    scale = np.abs(rows).max(axis=1)
    rows, values = rows / scale[:, None], values / scale
    chosen = _choose_dependent(rows, [j for row in marked for j in row])
    dependent = np.zeros(n_parameters, dtype=bool)
    dependent[chosen] = True
    square, rest = rows[:, dependent], rows[:, ~dependent]
    free = np.zeros((n_parameters, n_parameters - n_rows))
    free[~dependent] = np.eye(n_parameters - n_rows)
    free[dependent] = _solve(square, -rest)
    particular = np.zeros(n_parameters)
    particular[dependent] = _solve(square, values[:, None])[:, 0]
    return Constraint(free, particular, dependent, "restricts")


# --- solving
# ------------------------------------------------------------------------------------------------------------------


def _solve(square: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solve, refine once, and put integers back where rounding left them: constraints of -1 and 1 are then met
    exactly."""
    solution = np.linalg.solve(square, right)
    solution += np.linalg.solve(square, right - square @ solution)
    nearest = np.round(solution)
    return np.where(np.abs(solution - nearest) < 1e-13, nearest, solution) + 0.0


def _choose_dependent(rows: np.ndarray, preferred: Sequence[int]) -> list[int]:
    """Columns D with R[:, D] well-conditioned: the preferred ones while they are independent, then the best of the
    others.

    A pivoted Gram-Schmidt: `rest` holds what is left of each column after projection on those chosen.
    """
    rest, lengths = rows.copy(), np.linalg.norm(rows, axis=0)
    chosen: list[int] = []

    def choose(j: int) -> None:
        direction = rest[:, j] / np.linalg.norm(rest[:, j])
        for _ in range(2):  # once is not orthogonal enough when columns are close
            rest[...] -= np.outer(direction, direction @ rest)
        chosen.append(j)

    for j in dict.fromkeys(preferred):
        if len(chosen) < len(rows) and lengths[j] > 0 and np.linalg.norm(rest[:, j]) > 1e-3 * lengths[j]:
            choose(j)
    while len(chosen) < len(rows):
        left = np.linalg.norm(rest, axis=0)
        left[chosen] = -1
        choose(int(np.argmax(left)))
    return chosen


def _check_rows(rows: np.ndarray, values: np.ndarray, argument: str, texts: Sequence[str] | None) -> None:
    """Refuse empty rows, and rows that follow from others or contradict them, by number (and text)."""
    if not (np.isfinite(rows).all() and np.isfinite(values).all()):
        msg = f"`{argument}` must be finite; got missing or infinite values. Check how it was made."
        raise InputError(msg)

    def called(row: int) -> str:
        return f"row {row + 1}" + (f" ('{texts[row]}')" if texts is not None and len(texts) == len(rows) else "")

    empty = np.flatnonzero(~rows.any(axis=1))
    if len(empty):
        msg = f"Every row of `{argument}` must involve a parameter; got none in {called(int(empty[0]))}. Remove it."
        raise InputError(msg)
    scale = np.abs(rows).max(axis=1)
    transposed = (rows / scale[:, None]).T
    for alias in aliases(transposed, tolerance=_SAME):
        others = ", ".join(called(row) for row in alias.of)
        implied = sum(weight * values[row] / scale[row] for row, weight in zip(alias.of, alias.weights, strict=True))
        own = values[alias.column] / scale[alias.column]
        if abs(implied - own) > 1e-9 * max(1.0, abs(own), abs(implied)):
            msg = (
                f"Rows of `{argument}` must not contradict each other; {called(alias.column)} cannot hold together "
                f"with {others}. Remove one of them."
            )
        else:
            msg = (
                f"Rows of `{argument}` must be independent; {called(alias.column)} already follows from {others}. "
                "Remove it."
            )
        raise InputError(msg)


def _nothing(n_parameters: int) -> Constraint:
    return Constraint(np.eye(n_parameters), np.zeros(n_parameters), np.zeros(n_parameters, dtype=bool), "none")


def _checked(design: Design, constraint: Constraint, argument: str, *, given: bool) -> Constraint:
    """The constraint with its kind, once every free parameter is identified."""
    if len(design.names) == 0:
        msg = f"`{argument}` needs a design with at least one column; got none."
        raise InputError(msg)
    small = triangular(design.matrix)
    found = aliases(small @ constraint.free)
    if found:
        raise InputError(describe_deficiency(design, constraint, found, argument=argument, given=given))
    if not constraint.dependent.any():
        return constraint
    kind = "identifies" if constraint.free.shape[1] == rank(small) else "restricts"
    return Constraint(constraint.free, constraint.particular, constraint.dependent, kind)


# --- forms
# --------------------------------------------------------------------------------------------------------------------


def _is_empty(constraints: Any) -> bool:
    if constraints is None:
        return True
    if isinstance(constraints, (str, Mapping, list, tuple)):
        return len(constraints) == 0
    return hasattr(constraints, "shape") and len(constraints.shape) == 2 and constraints.shape[0] == 0


def _is_texts(constraints: Any) -> bool:
    if isinstance(constraints, np.ndarray) and constraints.dtype.kind not in "OU":
        return False
    if not isinstance(constraints, (list, tuple, np.ndarray)):
        return False
    return all(isinstance(text, str) for text in constraints)


def _from_texts(
    texts: Sequence[str], names: Sequence[str], argument: str
) -> tuple[np.ndarray, np.ndarray, list[list[int]]]:
    read = [read_constraints(text, names, argument=argument) for text in texts]
    rows, values = np.vstack([rows for rows, _ in read]), np.concatenate([values for _, values in read])
    if not rows.any(axis=1).all() and len(rows) == len(texts):
        _check_rows(rows, values, argument, texts)
    return rows, values, [_first_named(text, rows_of, names) for text, (rows_of, _) in zip(texts, read, strict=True)]


def _first_named(text: str, rows: np.ndarray, names: Sequence[str]) -> list[int]:
    """Per equation of one text, the parameter that is written first: in ``b = 2*a`` that is b."""
    where = {j: text.find(names[j]) for j in np.flatnonzero(rows.any(axis=0))}
    return [min(np.flatnonzero(row), key=lambda j: where[j]) for row in rows if row.any()]


def _from_array(constraints: Any, names: Sequence[str], argument: str) -> Constraint:
    constraints = _match_names(constraints, names, argument)
    try:
        array = np.asarray(constraints, dtype=np.float64)
    except (TypeError, ValueError):
        msg = f"`{argument}` must be a dict, strings or an array of numbers; got {type(constraints).__name__}."
        raise InputError(msg) from None
    n_parameters = len(names)
    if array.ndim != 2 or n_parameters not in array.shape:
        shape = " x ".join(map(str, array.shape)) or "a single number"
        msg = (
            f"`{argument}` must have one column per parameter (rows of -1, 0, 1) or one row per parameter (the "
            "matrix H); "
            f"got {shape} for {plural(n_parameters, 'parameter')} "
            f"({', '.join(names[:6])}{', ...' if n_parameters > 6 else ''})."
        )
        raise InputError(msg)
    if array.shape[0] == n_parameters:
        return _from_h(array, argument)
    return _from_marked_rows(array, argument)


def _match_names(constraints: Any, names: Sequence[str], argument: str) -> Any:
    """A DataFrame's names, where it has the parameters' on one side, put in the parameters' order."""
    if not isinstance(constraints, pd.DataFrame):
        return constraints
    for axis, labels in ((0, constraints.index), (1, constraints.columns)):
        if set(map(str, labels)) == set(names) and len(labels) == len(names):
            return constraints.set_axis(labels.map(str), axis=axis).reindex(list(names), axis=axis)
    named = [
        labels
        for labels in (constraints.index, constraints.columns)
        if len(labels) == len(names) and all(isinstance(x, str) for x in labels)
    ]
    if named:
        unknown = [name for name in named[0] if name not in names]
        msg = (
            f"The names of `{argument}` must be those of the parameters; got {some(unknown)}. The parameters are: "
            f"{', '.join(names)}."
        )
        raise InputError(msg)
    return constraints


def _from_marked_rows(array: np.ndarray, argument: str) -> Constraint:
    if not np.isin(array, (-1, 0, 1)).all():
        msg = (
            f"Rows of `{argument}` must hold -1, 0 and 1 only; got {array[~np.isin(array, (-1, 0, 1))][0]:g}. Write "
            "other coefficients as strings, such as 'a = 2*b'."
        )
        raise InputError(msg)
    marks = (array == -1).sum(axis=1)
    if (marks != 1).any():
        row = int(np.flatnonzero(marks != 1)[0])
        msg = (
            f"Each row of `{argument}` must mark one dependent parameter with -1 and the others of the sum with 1; "
            f"got {marks[row]} in row {row + 1}."
        )
        raise InputError(msg)
    marked = [[int(np.argmin(row))] for row in array]
    return solve_rows(np.abs(array), np.zeros(len(array)), marked, argument=argument)


def _from_h(array: np.ndarray, argument: str) -> Constraint:
    """H with identity rows: a user's H may use any basis, the space it spans is what counts."""
    n_parameters, n_free = array.shape
    if not np.isfinite(array).all():
        msg = f"`{argument}` must be finite; got missing or infinite values. Check how it was made."
        raise InputError(msg)
    if n_free > n_parameters or aliases(array):
        columns = ", ".join(str(alias.column + 1) for alias in aliases(array)[:3])
        msg = (
            f"The columns of `{argument}` (the matrix H) must be independent; got combinations of others in column "
            f"{columns}. Remove them."
        )
        raise InputError(msg)
    units = [
        int(np.flatnonzero((array == unit).all(axis=1))[0])
        for unit in np.eye(n_free)
        if (array == unit).all(axis=1).any()
    ]
    order = [*units, *(j for j in range(n_parameters) if j not in units)]
    dependent_rows = {order[alias.column] for alias in aliases(array[order].T, tolerance=1e-9)}
    chosen = [j for j in range(n_parameters) if j not in dependent_rows]
    free = np.linalg.solve(array[chosen].T, array.T).T
    nearest = np.round(free)
    free = np.where(np.abs(free - nearest) < 1e-13, nearest, free) + 0.0
    free[chosen] = np.eye(n_free)
    dependent = np.ones(n_parameters, dtype=bool)
    dependent[chosen] = False
    return Constraint(free, np.zeros(n_parameters), dependent, "restricts" if n_free < n_parameters else "none")


def _design_of(design: Any, data: Any) -> Design:
    if isinstance(design, Design):
        return design
    if isinstance(design, str):
        cell_data = getattr(data, "obs", data)
        if not isinstance(cell_data, pd.DataFrame):
            msg = (
                f"`data` must be an AnnData or a DataFrame with the columns of the formula; got {type(data).__name__}."
            )
            raise InputError(msg)
        return read_design(design, len(cell_data), cell_data)
    shape = np.shape(design)
    return read_design(design, shape[0] if shape else 0, None)
