"""What is done to a series before it is standardised: differences, logarithms, growth rates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from isthmus.data.wording import did_you_mean, some
from isthmus.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

TRANSFORMS = ("none", "diff", "log", "logdiff", "pct")
_FLAGS = ("difference", "logdiff")  # dfmdash's boolean columns


def read_transforms(transform: Any, names: Sequence[str], var: pd.DataFrame | None) -> tuple[str, ...]:
    """One transform per series, from the argument, else from the columns of `var`.

    Parameters
    ----------
    transform
        None (``var["transform"]``, else dfmdash's booleans ``var["difference"]`` and ``var["logdiff"]``, else none),
        one transform for all series, a dict series -> transform (series that are not in it stay as they are), the name
        of a column of `var`, or one per series.
    names
        The series that are used.
    var
        One row per series, or None.

    Raises
    ------
    InputError
        An unknown transform, series or column; a series with both of dfmdash's flags.
    """
    if transform is None:
        found = _from_var(names, var)
    elif isinstance(transform, Mapping):
        check_series("transform", transform, names)
        found = [str(transform.get(name, "none")) for name in names]
    elif isinstance(transform, str):
        if transform not in TRANSFORMS and var is not None and transform in var.columns:
            found = [_text(value) for value in var[transform]]
        else:
            found = [transform] * len(names)
    else:
        if not isinstance(transform, Iterable):
            msg = (
                "`transform` must be text, a dict series -> transform, or one per series; got "
                f"{type(transform).__name__}."
            )
            raise InputError(msg)
        found = [_text(value) for value in transform]
        if len(found) != len(names):
            msg = f"`transform` must have one entry per series (n_series = {len(names)}); got {len(found)}."
            raise InputError(msg)
    for name, value in zip(names, found, strict=True):
        if value not in TRANSFORMS:
            msg = (
                f"`transform` must be one of {', '.join(TRANSFORMS)}; got {value!r} for the series '{name}'. "
                + did_you_mean(value, TRANSFORMS)
            )
            raise InputError(msg)
    return tuple(found)


def apply_transforms(
    values: np.ndarray,
    transforms: Sequence[str],
    *,
    steps: np.ndarray,
    names: Sequence[str],
    times: Sequence[str],
) -> np.ndarray:
    """Transformed values; a first observation without a predecessor becomes missing, and missing values stay missing.

    diff x_t - x_{t-s}; log log x_t; logdiff log x_t - log x_{t-s}; pct 100 (x_t / x_{t-s} - 1), where s is 1, or 3 for
    a quarterly series in a monthly panel.

    Parameters
    ----------
    values
        ``(n_time, n_series)``, sorted in time, one batch.
    steps
        ``(n_series,)``: s of each series.

    Raises
    ------
    InputError
        The logarithm of a value <= 0, or growth from zero: the text names the series and the times.
    """
    out = np.array(values, dtype=np.float64)
    for column, kind in enumerate(transforms):
        if kind == "none":
            continue
        series = out[:, column]
        if kind in {"log", "logdiff"}:
            _refuse_undefined(series <= 0, kind, "values > 0", names[column], times, series)
            series = np.log(series)
        if kind == "pct":
            growing = np.r_[series[: -int(steps[column])] == 0, np.zeros(int(steps[column]), dtype=bool)]
            _refuse_undefined(growing, kind, "values that are not 0", names[column], times, series)
        out[:, column] = series if kind == "log" else _change(series, int(steps[column]), relative=kind == "pct")
    return out


def _change(series: np.ndarray, step: int, *, relative: bool) -> np.ndarray:
    before = np.r_[np.full(min(step, len(series)), np.nan), series[:-step]]
    return 100 * (series / before - 1) if relative else series - before


def _refuse_undefined(
    bad: np.ndarray, kind: str, rule: str, name: str, times: Sequence[str], series: np.ndarray
) -> None:
    if not bad.any():
        return
    where = np.flatnonzero(bad)
    msg = (
        f"`transform` '{kind}' needs {rule}; the series '{name}' has {len(where)} others, the first "
        f"{series[where[0]]:g} (times {some([times[i] for i in where[:4]], len(where))}). Use 'diff' for this series, "
        "or add a constant to it."
    )
    raise InputError(msg)


def _from_var(names: Sequence[str], var: pd.DataFrame | None) -> list[str]:
    if var is None:
        return ["none"] * len(names)
    if "transform" in var.columns:
        return [_text(value) for value in var["transform"]]
    flags = {flag: np.zeros(len(names), dtype=bool) for flag in _FLAGS}
    for flag in _FLAGS:
        if flag in var.columns:
            flags[flag] = _as_flags(var[flag], flag)
    both = flags["difference"] & flags["logdiff"]
    if both.any():
        twice = [name for name, flag in zip(names, both, strict=True) if flag]
        msg = (
            "A series can be flagged in `difference` or in `logdiff`, not in both; got "
            f"{some(twice)}. Set one of them to False."
        )
        raise InputError(msg)
    return [
        "diff" if diff else "logdiff" if log else "none"
        for diff, log in zip(flags["difference"], flags["logdiff"], strict=True)
    ]


def _as_flags(column: pd.Series, name: str) -> np.ndarray:
    values = column.to_numpy()
    known = pd.api.types.is_bool_dtype(column) or all(value in (True, False, 0, 1) for value in values)
    if not known:
        msg = f"The column `{name}` must hold True and False; got {values[:3]!r}."
        raise InputError(msg)
    return values.astype(bool)


def _text(value: Any) -> str:
    return "none" if value is None or pd.isna(value) else str(value)


def check_series(argument: str, given: Iterable[Any], names: Sequence[str]) -> None:
    """Refuse keys that name no series."""
    unknown = [str(name) for name in given if str(name) not in set(names)]
    if unknown:
        msg = f"`{argument}` must name series of `data`; got {some(unknown)}. " + did_you_mean(unknown[0], list(names))
        raise InputError(msg)
