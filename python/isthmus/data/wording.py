"""Small pieces of error text that several readers share, so that one rule has one wording."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_SHOWN = 3


def plural(n: int, noun: str) -> str:
    """``3 cells``, ``1 cell``, ``12,000 cells``."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def some(names: Iterable[object], n: int | None = None) -> str:
    """The first few of `names` in quotes, ``...`` for the rest (`n` = how many there are in all)."""
    names = list(names)
    n = len(names) if n is None else n
    text = ", ".join(f"'{name}'" for name in names[:_SHOWN])
    return f"{text}, ..." if n > _SHOWN else text


def cells_where(bad: np.ndarray, cell_names: np.ndarray | None) -> str:
    """``2 cells ('c1', 'c7')`` for a boolean mask; positions counted from 1 where cells have no names."""
    where = np.flatnonzero(bad)
    if cell_names is None:
        listed = ", ".join(str(i + 1) for i in where[:_SHOWN]) + (", ..." if len(where) > _SHOWN else "")
    else:
        listed = some(cell_names[where[: _SHOWN + 1]], len(where))
    return f"{plural(len(where), 'cell')} ({listed})"


def did_you_mean(wrong: str, names: Sequence[str]) -> str:
    """A closing sentence that guesses the name or lists the first ones."""
    close = difflib.get_close_matches(wrong, list(names), n=1, cutoff=0.6)
    if close:
        return f"Did you mean `{close[0]}`?"
    listed = ", ".join(f"`{name}`" for name in names[:20]) + (", ..." if len(names) > 20 else "")
    return f"There are: {listed}." if names else "There are none."
