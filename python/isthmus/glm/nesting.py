"""Dict constraints, ``{"batch": "condition"}``: the levels of batch sum to zero within each level of condition.

The design is built anew: the formula without the term of batch, then one column per level of batch at the right.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from isthmus.data import formulas
from isthmus.data.design import Design, dummy_block, from_formula
from isthmus.data.wording import did_you_mean, some
from isthmus.errors import InputError
from isthmus.messages import tell

if TYPE_CHECKING:
    from collections.abc import Mapping

ALL_LEVELS = "1"


def expand(design: Design, entries: Mapping[Any, Any], *, argument: str) -> tuple[Design, np.ndarray, list[list[int]]]:
    """The design with full blocks of dummies, the rows "these sum to zero", and the last level of each group as the
    one to mark."""
    checked = {str(factor): _group_name(group, argument) for factor, group in entries.items()}
    frame = _frame(design, argument)
    for factor, group in checked.items():
        _check_factor(factor, frame, argument, role="constrain")
        if group != ALL_LEVELS:
            _check_factor(group, frame, argument, role="group by")
            check_nested(factor, group, frame, argument=argument)
    base = _base(design, list(checked), argument)
    factors = {factor: frame[factor].array for factor in checked}
    expanded = append_dummies(base, factors, design)
    rows, marked = [], []
    for factor, group in checked.items():
        first = expanded.terms[factor][0]
        for levels in groups(factors[factor], None if group == ALL_LEVELS else frame[group].array):
            row = np.zeros(len(expanded.names))
            row[first + levels] = 1
            rows.append(row)
            marked.append([int(first + levels[-1])])
        _tell_fixed(factor, group, factors[factor], None if group == ALL_LEVELS else frame[group].array, argument)
    return expanded, np.array(rows), marked


def groups(factor: pd.Categorical, by: pd.Categorical | None) -> list[np.ndarray]:
    """The levels of `factor` (as positions) that lie in each level of `by`; all of them in one group without `by`."""
    n_levels = len(factor.categories)
    if by is None:
        return [np.arange(n_levels)]
    seen = np.zeros((len(by.categories), n_levels), dtype=bool)
    seen[by.codes, factor.codes] = True
    return [np.flatnonzero(row) for row in seen if row.any()]


def spread(factor: pd.Categorical, by: pd.Categorical) -> np.ndarray:
    """In how many levels of `by` each level of `factor` has cells."""
    seen = np.zeros((len(factor.categories), len(by.categories)), dtype=bool)
    seen[factor.codes, by.codes] = True
    return np.asarray(seen.sum(axis=1))


def append_dummies(base: Design, factors: Mapping[str, pd.Categorical], origin: Design) -> Design:
    """`base` with one column per level of each factor at the right; formula and frame stay those of `origin`."""
    blocks, names, terms, dummies = [base.matrix], list(base.names), dict(base.terms), dict(origin.dummies)
    for factor, values in factors.items():
        levels = tuple(map(str, values.categories))
        terms[factor] = tuple(range(len(names), len(names) + len(levels)))
        names += [f"{factor}{level}" if origin.language == "r" else f"{factor}[{level}]" for level in levels]
        blocks.append(dummy_block(values))
        dummies[factor] = levels
    matrix = np.ascontiguousarray(np.hstack(blocks))
    return replace(origin, matrix=matrix, names=tuple(names), terms=terms, dummies=dummies)


def check_nested(factor: str, group: str, frame: pd.DataFrame, *, argument: str) -> None:
    """Each level of the constrained factor must lie within one level of the group: a sum within groups is not defined
    otherwise."""
    values, by = frame[factor].array, frame[group].array
    crossed = np.flatnonzero(spread(values, by) > 1)
    if len(crossed):
        level = crossed[0]
        in_groups = by.categories[np.unique(by.codes[values.codes == level])]
        msg = (
            f"`{argument}` needs every level of '{factor}' within one level of '{group}'; got "
            f"'{values.categories[level]}' with cells in "
            f"{some(in_groups)}. Rename the levels if they are different ones in each '{group}', or let all levels "
            f"sum to zero with '{ALL_LEVELS}'."
        )
        raise InputError(msg)


def _group_name(group: Any, argument: str) -> str:
    if isinstance(group, (int, float)) and group == 1:
        return ALL_LEVELS
    if not isinstance(group, str):
        msg = (
            f"`{argument}` must name one grouping factor, or '{ALL_LEVELS}' for all levels at once, per entry; got "
            f"{type(group).__name__}."
        )
        raise InputError(msg)
    return group


def _frame(design: Design, argument: str) -> pd.DataFrame:
    if design.formula is None or design.frame is None:
        msg = (
            f"`{argument}` as a dict needs a formula as the design, from which the columns are built; got a matrix. "
            "Write the constraints as strings or rows."
        )
        raise InputError(msg)
    return design.frame


def _check_factor(name: str, frame: pd.DataFrame, argument: str, *, role: str) -> None:
    if name not in frame.columns:
        msg = (
            f"`{argument}` must {role} factors of the formula; got '{name}', which is not in it. "
            f"{did_you_mean(name, list(map(str, frame.columns)))}"
        )
        raise InputError(msg)
    if not isinstance(frame[name].dtype, pd.CategoricalDtype):
        msg = f"`{argument}` must {role} factors; got '{name}', which is numeric. List it in `as_categorical`."
        raise InputError(msg)


def _base(design: Design, constrained: list[str], argument: str) -> Design:
    """The design without the constrained factors' own terms."""
    if design.language == "r":
        left = [factor for factor in constrained if factor not in design.removed]
        if left:
            msg = (
                f"`{argument}` must constrain factors of the formula; got {some(left)}, which stands in it only "
                "within other terms or not at all."
            )
            raise InputError(msg)
        for factor in constrained:
            _refuse_interaction(list(design.terms), factor, argument)
        return design
    formula = formulas.parse(str(design.formula), argument="design")
    for factor in constrained:
        _check_stands_alone(formula, factor, design, argument)
    kept = type(formula)([term for term in formula if str(term) not in constrained])
    return from_formula(kept, design.frame, str(design.formula), argument="design")


def _refuse_interaction(labels: list[str], factor: str, argument: str) -> None:
    for label in labels:
        if factor in label.split(":") and label != factor:
            _refuse_part(label, factor, argument)


def _refuse_part(label: str, factor: str, argument: str) -> None:
    msg = (
        f"`{argument}` must constrain factors that stand alone in the formula; got '{factor}', which is part of "
        f"'{label}'. "
        "Write that model with a matrix as design and the constraints as strings."
    )
    raise InputError(msg)


def _check_stands_alone(formula: Any, factor: str, design: Design, argument: str) -> None:
    columns = [str(name) for name in design.frame.columns] if design.frame is not None else []
    for term in formula:
        if factor in formulas.term_variables(term, columns) and str(term) != factor:
            _refuse_part(str(term), factor, argument)
    if factor not in [str(term) for term in formula]:
        msg = (
            f"`{argument}` must constrain factors of the formula; got '{factor}', which has no term of its own. Add "
            f"'+ {factor}'."
        )
        raise InputError(msg)


def _tell_fixed(factor: str, group: str, values: pd.Categorical, by: pd.Categorical | None, argument: str) -> None:
    alone = [str(values.categories[levels[0]]) for levels in groups(values, by) if len(levels) == 1]
    if alone:
        tell(
            f"`{argument}`: {some(alone)} of '{factor}' {'is' if len(alone) == 1 else 'are'} alone in "
            f"{'its' if len(alone) == 1 else 'their'} level of "
            f"'{group}', so {'its effect is' if len(alone) == 1 else 'their effects are'} fixed at 0."
        )
