"""Which series load on which factors, and which factors move together: the `factors` argument made explicit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.data.transforms import check_series
from isthmus.data.wording import did_you_mean, some
from isthmus.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

MOST_FACTORS = 64  # what the kernel's stack of a series' free loadings holds
GLOBAL = "Global"


@dataclass(frozen=True)
class Group:
    """Factors that load on the same series and may be rotated into each other: a name with its multiplicity."""

    name: str
    factors: tuple[int, ...]


@dataclass(frozen=True)
class BlockLayout:
    """Groups that follow one vector autoregression of this order."""

    name: str
    groups: tuple[Group, ...]
    order: int

    @property
    def factors(self) -> tuple[int, ...]:
        """Positions of the block's factors."""
        return tuple(position for group in self.groups for position in group.factors)


@dataclass(frozen=True, eq=False)
class Layout:
    """The factors of a model.

    Attributes
    ----------
    factors
        Names, blocks one after the other; a name of multiplicity k gives ``name.1`` ... ``name.k``.
    blocks
        In the order of `factors`.
    loads
        ``(n_series, n_factors)`` bool.
    """

    factors: tuple[str, ...]
    blocks: tuple[BlockLayout, ...]
    loads: np.ndarray

    @property
    def groups(self) -> tuple[Group, ...]:
        """All groups, in order."""
        return tuple(group for block in self.blocks for group in block.groups)

    def is_global(self, group: Group) -> bool:
        """Does every series load on it?"""
        return bool(self.loads[:, group.factors[0]].all())

    def restrict(self, series: np.ndarray) -> Layout:
        """The layout of some of the series; factors without a series are gone."""
        loads = self.loads[series]
        kept = np.flatnonzero(loads.any(axis=0))
        position = {old: new for new, old in enumerate(kept)}
        blocks = []
        for block in self.blocks:
            groups = tuple(
                Group(g.name, tuple(position[f] for f in g.factors)) for g in block.groups if g.factors[0] in position
            )
            if groups:
                blocks.append(BlockLayout(block.name, groups, block.order))
        return Layout(tuple(self.factors[f] for f in kept), tuple(blocks), loads[:, kept])


def read_layout(
    factors: Any,
    names: Sequence[str],
    var: pd.DataFrame | None,
    *,
    global_factors: int = 1,
    factor_multiplicities: Any = None,
    factor_orders: Any = 1,
) -> Layout:
    """Read the specification of the factors.

    Parameters
    ----------
    factors
        A column of `var` that names each series' group; a dict series -> group (text), or series -> all its factors (a
        list: then nothing is added, as in DynamicFactorMQ); or a number of factors on which all series load, one block.
    names
        The series.
    var
        Columns about the series, or None.
    global_factors
        Number of factors on which all series load, added to the groups. 0: none.
    factor_multiplicities
        Number of factors of each group: a number for all groups, or a dict group -> number.
    factor_orders
        Order of the autoregressions: a number, or a dict; a tuple of names as a key makes these groups one block with a
        joint VAR.

    Raises
    ------
    InputError
        Unknown columns, series or factor names; numbers that are not whole; more factors than series.
    """
    members = _members(factors, names, var, whole(global_factors, "global_factors", 0))
    multiplicity = _multiplicities(factor_multiplicities, members, global_factors, factors)
    orders = _orders(factor_orders, members)
    sized = sorted(members, key=lambda name: (-int(members[name].sum()), list(members).index(name)))
    joined = {name: key for key in orders for name in key}
    keys = list(dict.fromkeys(joined.get(name, (name,)) for name in sized))
    labels: list[str] = []
    loads: list[np.ndarray] = []
    blocks: list[BlockLayout] = []
    for key in keys:
        groups = []
        for name in key:
            count = multiplicity[name]
            groups.append(Group(name, tuple(range(len(labels), len(labels) + count))))
            labels += [name] if count == 1 else [f"{name}.{i + 1}" for i in range(count)]
            loads += [members[name]] * count
        blocks.append(BlockLayout("+".join(key), tuple(groups), orders.get(key, 1)))
    if len(labels) > len(names):
        msg = (
            f"`factors` must ask for at most as many factors as there are series ({len(names)}); got {len(labels)}: "
            f"{some(labels)}. Lower `global_factors` or `factor_multiplicities`."
        )
        raise InputError(msg)
    if len(labels) > MOST_FACTORS:
        msg = f"`factors` must ask for at most {MOST_FACTORS} factors; got {len(labels)}."
        raise InputError(msg)
    return Layout(tuple(labels), tuple(blocks), np.column_stack(loads))


def _members(
    factors: Any, names: Sequence[str], var: pd.DataFrame | None, global_factors: int
) -> dict[str, np.ndarray]:
    """Name of each group -> which series load on it."""
    if isinstance(factors, bool) or not isinstance(factors, (int, float, np.integer, np.floating, str, Mapping)):
        msg = (
            "`factors` must be the name of a column about the series, a dict series -> factor, or a number of factors; "
            f"got {type(factors).__name__}."
        )
        raise InputError(msg)
    if isinstance(factors, (int, float, np.integer, np.floating)):
        whole(factors, "factors", 1)
        return {GLOBAL: np.ones(len(names), dtype=bool)}
    listed = _from_dict(factors, names) if isinstance(factors, Mapping) else _from_column(factors, names, var)
    explicit = isinstance(factors, Mapping) and any(
        not isinstance(value, (str, float, type(None))) for value in factors.values()
    )
    members: dict[str, np.ndarray] = {}
    if global_factors and not explicit:
        members[GLOBAL] = np.ones(len(names), dtype=bool)
    for position, own in enumerate(listed):
        for name in own:
            members.setdefault(name, np.zeros(len(names), dtype=bool))[position] = True
    if not members:
        msg = "`global_factors` must be 1 or more where no series has a group; got 0 and no groups in `factors`."
        raise InputError(msg)
    bare = [name for position, name in enumerate(names) if not any(m[position] for m in members.values())]
    if bare:
        msg = f"`factors` must give every series a factor; got none for {some(bare)} ({len(bare)} in all)."
        raise InputError(msg)
    return members


def _from_dict(factors: Mapping[Any, Any], names: Sequence[str]) -> list[tuple[str, ...]]:
    check_series("factors", factors, names)
    by_name = {str(name): value for name, value in factors.items()}
    found: list[tuple[str, ...]] = []
    for name in names:
        value = by_name.get(name)
        if value is None or (isinstance(value, (str, float)) and _missing(value)):
            found.append(())
        else:
            found.append((value,) if isinstance(value, str) else tuple(str(v) for v in np.atleast_1d(value)))
    return found


def _from_column(column: str, names: Sequence[str], var: pd.DataFrame | None) -> list[tuple[str, ...]]:
    if var is not None and column in var.columns:
        return [() if _missing(value) else (str(value),) for value in var[column]]
    if column == "factor":  # the default: no groups, global factors alone
        return [()] * len(names)
    there = [] if var is None else [str(name) for name in var.columns]
    msg = f"`factors` must be a column about the series, a dict or a number; got {column!r}. " + did_you_mean(
        column, there
    )
    raise InputError(msg)


def _missing(value: Any) -> bool:
    return value is None or value != value or str(value) == ""


def _multiplicities(given: Any, members: dict[str, np.ndarray], global_factors: int, factors: Any) -> dict[str, int]:
    numbered = isinstance(factors, (int, float, np.integer, np.floating))
    default = {name: 1 for name in members}
    if given is not None and not isinstance(given, Mapping):
        default = dict.fromkeys(members, whole(given, "factor_multiplicities", 1))
    if GLOBAL in members:
        default[GLOBAL] = int(factors) if numbered else max(int(global_factors), 1)
    if isinstance(given, Mapping):
        _check_names("factor_multiplicities", [str(name) for name in given], members)
        default |= {str(name): whole(value, "factor_multiplicities", 1) for name, value in given.items()}
    return default


def _orders(given: Any, members: dict[str, np.ndarray]) -> dict[tuple[str, ...], int]:
    if not isinstance(given, Mapping):
        order = whole(given, "factor_orders", 1)
        return {(name,): order for name in members}
    orders: dict[tuple[str, ...], int] = {}
    for key, value in given.items():
        block = tuple(str(name) for name in key) if isinstance(key, tuple) else (str(key),)
        _check_names("factor_orders", block, members)
        orders[block] = whole(value, "factor_orders", 1)
    listed = [name for block in orders for name in block]
    twice = [name for name in members if listed.count(name) > 1]
    if twice:
        msg = f"`factor_orders` must name each factor once; got {some(twice)} more than once."
        raise InputError(msg)
    return orders


def _check_names(argument: str, given: Sequence[str], members: dict[str, np.ndarray]) -> None:
    unknown = [name for name in given if name not in members]
    if unknown:
        msg = f"`{argument}` must name factors of the model; got {some(unknown)}. " + did_you_mean(
            unknown[0], list(members)
        )
        raise InputError(msg)


def whole(value: Any, argument: str, least: int) -> int:
    """`value` as an int, where it is one: 5.0 counts."""
    good = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not good or not np.isfinite(value) or value != int(value) or value < least:
        msg = f"`{argument}` must be a whole number, {least} or more; got {value!r}."
        raise InputError(msg)
    return int(value)
