"""What to say when a design leaves parameters unidentified: the aliased columns, and a constraint that would identify
them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations, product
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from isthmus.data import formulas
from isthmus.data.design import Design, from_formula
from isthmus.data.wording import plural
from isthmus.glm.linear_text import write_linear
from isthmus.glm.nesting import ALL_LEVELS, append_dummies, groups, spread
from isthmus.glm.rank import Alias, aliases, rank, triangular

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from isthmus.glm.constraints import Constraint

_MOST_TRIED = 64  # combinations of nested factors that are tried before strings are proposed


@dataclass(frozen=True)
class Proposal:
    """A constraint that identifies the design, and how the user would write it."""

    constraints: dict[str, str] | list[str]
    text: str


def describe_deficiency(
    design: Design, constraint: Constraint, found: Sequence[Alias], *, argument: str, given: bool
) -> str:
    """The sentence(s) of the InputError."""
    free = [name for name, dependent in zip(design.names, constraint.dependent, strict=True) if not dependent]
    matrix = design.matrix @ constraint.free
    shown = "; ".join(_describe(alias, free) for alias in found[:3]) + ("; ..." if len(found) > 3 else "")
    what = "with these constraints" if given else "of the design"
    names = ", ".join(f"'{free[alias.column]}'" for alias in found[:6]) + (", ..." if len(found) > 6 else "")
    owner = argument if given else argument.replace("constraints", "design")
    head = (
        f"`{owner}` must identify every parameter; got {matrix.shape[1]} free parameters {what} but rank "
        f"{matrix.shape[1] - len(found)}. "
        f"{plural(len(found), 'column')} cannot be told apart from the others: {names} ({shown})."
    )
    if given:
        return f"{head} Add constraints that settle {'it' if len(found) == 1 else 'them'}."
    return f"{head} {_advice(design, argument)}"


def propose(design: Design) -> Proposal:
    """A constraint that identifies a rank-deficient design: sums to zero within groups for nested factors, otherwise
    columns left out."""
    for entries in _candidates(design):
        if _identifies(design, entries):
            return Proposal(entries, _snippet(entries, design.language))
    return left_out(design)


def left_out(design: Design) -> Proposal:
    """Each aliased column's parameter set to zero."""
    texts = [f"{_quoted(design.names[alias.column])} = 0" for alias in aliases(design.matrix)]
    listed = ", ".join(f'"{text}"' for text in texts)
    return Proposal(texts, f"constraints = c({listed})" if design.language == "r" else f"constraints=[{listed}]")


def _holds_the_constant(term: str) -> bool:
    """formulaic's `cr` and `cc` as they are, whose columns sum to one."""
    return term.startswith(("cr(", "cc(")) and term.endswith(")") and "center" not in term


def _advice(design: Design, argument: str) -> str:
    same = _one_to_one(design)
    if same:
        factor, other = same
        entry = _snippet({factor: other}, design.language)
        return (
            f"'{factor}' and '{other}' split the cells in the same way, so their effects cannot be separated by any "
            "constraint that keeps both. "
            f"Leave one of them out; `{entry}` would do that for '{factor}' (every effect of it fixed at 0, and "
            f"'{other}' takes it all)."
        )
    lost = {alias.column for alias in aliases(design.matrix)} if design.language != "r" else set()
    splines = [term for term, at in design.terms.items() if _holds_the_constant(term) and lost & set(at)]
    for spline in splines[:1]:
        centred = f"{spline[:-1]}, constraints='center')"
        return f"A spline of this kind holds the constant; beside an intercept it must be centred: `{centred}`."
    proposal = propose(design)
    text = proposal.text.replace("constraints", argument, 1)
    if isinstance(proposal.constraints, dict):
        said = " and ".join(
            f"the levels of '{factor}' sum to zero" + ("" if group == ALL_LEVELS else f" within each '{group}'")
            for factor, group in proposal.constraints.items()
        )
        return f"Pass `{text}`: {said}."
    them = "it" if len(proposal.constraints) == 1 else "them"
    return (
        f"Leave {them} out, or pass `{text}`, which does the same, or another constraint that ties the columns named."
    )


def _describe(alias: Alias, names: Sequence[str]) -> str:
    name = names[alias.column]
    if not alias.of:
        return f"'{name}' is zero in every cell"
    weights = np.zeros(len(names))
    weights[list(alias.of)] = [float(f"{weight:.4g}") for weight in alias.weights]
    terms = len(alias.of)
    if terms > 6:
        return f"'{name}' is a combination of {terms} columns"
    return f"'{name}' = {write_linear(weights, names)}"


def _quoted(name: str) -> str:
    return name if name.replace("_", "a").replace(".", "a").isalnum() and not name[0].isdigit() else f"`{name}`"


def _snippet(entries: dict[str, str], language: str) -> str:
    if language == "r":
        inner = ", ".join(f'{_quoted(factor)} = "{group}"' for factor, group in entries.items())
        return f"constraints = list({inner})"
    inner = ", ".join(f'"{factor}": "{group}"' for factor, group in entries.items())
    return f"constraints={{{inner}}}"


# --- nested factors
# -----------------------------------------------------------------------------------------------------------


def _factors(design: Design) -> dict[str, pd.Categorical]:
    """The factors with a term of their own."""
    if design.frame is None or design.formula is None:
        return {}
    return {
        str(name): design.frame[name].array
        for name in design.frame.columns
        if isinstance(design.frame[name].dtype, pd.CategoricalDtype) and str(name) in design.terms
    }


def _in_interaction(design: Design, factor: str) -> bool:
    return any(factor in label.split(":") for label in design.terms if ":" in label)


def _one_to_one(design: Design) -> tuple[str, str] | None:
    """Two factors that split the cells alike: (the later, the earlier)."""
    factors = list(_factors(design).items())
    for i, (later, values) in enumerate(factors):
        for earlier, by in factors[:i]:
            if len(values.categories) == len(by.categories) and (spread(values, by) == 1).all():
                return later, earlier
    return None


def _candidates(design: Design) -> Iterator[dict[str, str]]:
    """Dicts to try: single factors first, then several; a group must hold fewer levels than the factor."""
    factors = _factors(design)
    options: dict[str, list[str]] = {}
    for factor, values in factors.items():
        nested = [
            name
            for name, by in factors.items()
            if name != factor and len(by.categories) < len(values.categories) and (spread(values, by) == 1).all()
        ]
        # the finest grouping first: it takes away the least
        nested.sort(key=lambda name: -len(factors[name].categories))
        if not _in_interaction(design, factor):
            options[factor] = [*nested, ALL_LEVELS]
    singles = [{factor: group} for factor, groups_ in options.items() for group in groups_ if group != ALL_LEVELS]
    yield from singles
    names = list(options)
    tried = 0
    for size in (2, 3):
        for chosen in combinations(names, size):
            for picked in product(*(options[name] for name in chosen)):
                tried += 1
                if tried > _MOST_TRIED:
                    return
                yield dict(zip(chosen, picked, strict=True))


def _identifies(design: Design, entries: dict[str, str]) -> bool:
    """Whether the dict makes the parameters unique without changing the fit."""
    factors = _factors(design)
    base = _without(design, list(entries))
    if base is None:
        return False
    expanded = append_dummies(base, {factor: factors[factor] for factor in entries}, replace(design, dummies={}))
    rows = []
    for factor, group in entries.items():
        first = expanded.terms[factor][0]
        for levels in groups(factors[factor], None if group == ALL_LEVELS else factors[group]):
            row = np.zeros(len(expanded.names))
            row[first + levels] = 1
            rows.append(row)
    small = triangular(expanded.matrix)
    # parameters are unique when no direction is left free by both the design and the rows; the fit stays when they
    # only fill the gap
    lengths = np.linalg.norm(small, axis=0)
    scaled_rows = np.array(rows) / lengths
    full = np.vstack([small / lengths, scaled_rows / np.linalg.norm(scaled_rows, axis=1, keepdims=True)])
    n_columns = len(expanded.names)
    return rank(full) == n_columns and rank(small) + len(rows) == n_columns and rank(small) == rank(design.matrix)


def _without(design: Design, factors: list[str]) -> Design | None:
    """The design without these factors' terms: evaluated anew in Python, columns taken out for a matrix that R made."""
    if design.language == "r":
        if "Intercept" not in design.terms and "(Intercept)" not in design.terms and "(Intercept)" not in design.names:
            return None
        gone = {column for factor in factors for column in design.terms[factor]}
        kept = [j for j in range(len(design.names)) if j not in gone]
        where = {old: new for new, old in enumerate(kept)}
        terms = {
            label: tuple(where[j] for j in columns)
            for label, columns in design.terms.items()
            if not set(columns) & gone
        }
        return replace(design, matrix=design.matrix[:, kept], names=tuple(design.names[j] for j in kept), terms=terms)
    formula = formulas.parse(str(design.formula), argument="design")
    kept_terms = type(formula)([term for term in formula if str(term) not in factors])
    return from_formula(kept_terms, design.frame, str(design.formula), argument="design")
