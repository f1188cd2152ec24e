"""The rules for the options of `fit_interactions`, each with its sentence."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np

from isthmus.data.wording import did_you_mean
from isthmus.errors import InputError, MissingDependencyError
from isthmus.interaction.options import NetworkOptions

_COUNTS = ("embedding_size", "embedding_hidden", "query_size", "query_hidden", "type_size", "kernel_hidden")
_COUNTS_OR_NONE = ("key_size", "value_size")
_CHOICES = {"attention_penalty_schedule": ("linear", "log"), "gene_scale": ("unit", "sd")}


def require_torch() -> Any:
    """torch, or the command that installs it."""
    try:
        import torch
    except ImportError as error:
        msg = "fit_interactions needs torch, which is not installed. Run: pip install 'isthmus[deep]'"
        raise MissingDependencyError(msg) from error
    return torch


def check_fit(fit: Any) -> None:
    """An `InputError` for what is no fit of cell-cell interactions."""
    from isthmus.interaction.result import InteractionFit

    if not isinstance(fit, InteractionFit):
        msg = f"`fit` must be what fit_interactions returned; got {type(fit).__name__}."
        raise InputError(msg)


def between_0_and_1(value: Any, argument: str) -> float:
    """A number above 0 and below 1."""
    if not _is_number(value) or not 0 < value < 1:
        msg = f"`{argument}` must lie between 0 and 1; got {value!r}."
        raise InputError(msg)
    return float(value)


def whole(value: Any, argument: str, least: int) -> int:
    """A whole number, `least` or more; 5.0 is none."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)) or value < least:
        msg = f"`{argument}` must be a whole number, {least} or more; got {value!r}."
        raise InputError(msg)
    return int(value)


def flag(value: Any, argument: str) -> bool:
    """True or False; "no" is neither, though Python takes it for True."""
    if not isinstance(value, (bool, np.bool_)):
        msg = f"`{argument}` must be True or False; got {value!r}."
        raise InputError(msg)
    return bool(value)


def positive(value: Any, argument: str) -> float:
    """A finite number above 0."""
    if not _is_number(value) or not 0 < value < np.inf:
        msg = f"`{argument}` must be a positive number; got {value!r}."
        raise InputError(msg)
    return float(value)


def not_negative(value: Any, argument: str) -> float:
    """A finite number, 0 or more."""
    if not _is_number(value) or not 0 <= value < np.inf:
        msg = f"`{argument}` must be 0 or a positive number; got {value!r}."
        raise InputError(msg)
    return float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)


def _finite(value: Any, argument: str) -> float:
    if not _is_number(value) or not np.isfinite(value):
        msg = f"`{argument}` must be a finite number; got {value!r}."
        raise InputError(msg)
    return float(value)


def _share(value: Any, argument: str) -> float:
    if not _is_number(value) or not 0 <= value < 1:
        msg = f"`{argument}` must lie between 0 and 1, 1 excluded; got {value!r}."
        raise InputError(msg)
    return float(value)


def read_options(given: dict[str, Any]) -> NetworkOptions:
    """Network options by name, checked.

    Raises
    ------
    InputError
        An unknown name, or a value against its rule.
    """
    known = [option.name for option in fields(NetworkOptions)]
    for name in given:
        if name not in known:
            msg = f"`{name}` is no argument of fit_interactions. " + did_you_mean(name, known)
            raise InputError(msg)
    return _checked(NetworkOptions(**given))


def _checked(options: NetworkOptions) -> NetworkOptions:
    sizes: dict[str, Any] = {name: whole(getattr(options, name), name, 1) for name in _COUNTS}
    for name in _COUNTS_OR_NONE:
        value = getattr(options, name)
        sizes[name] = None if value is None else whole(value, name, 1)
    for name, allowed in _CHOICES.items():
        if getattr(options, name) not in allowed:
            msg = f"`{name}` must be {' or '.join(map(repr, allowed))}; got {getattr(options, name)!r}."
            raise InputError(msg)
    unit = options.distance_unit
    return replace(
        options,
        **sizes,
        empty_score=_finite(options.empty_score, "empty_score"),
        kernel_offset=_finite(options.kernel_offset, "kernel_offset"),
        distance_unit="auto" if unit == "auto" else positive(unit, "distance_unit"),
        neighbor_dropout=_share(options.neighbor_dropout, "neighbor_dropout"),
        attention_penalty=_penalty(options),
        attention_penalty_epochs=_epochs(options.attention_penalty_epochs),
        value_l1=not_negative(options.value_l1, "value_l1"),
        patience=whole(options.patience, "patience", 1),
        validation_share=_share(options.validation_share, "validation_share"),
        group_size=whole(options.group_size, "group_size", 1),
    )


def _penalty(options: NetworkOptions) -> float | tuple[float, float]:
    given: Any = options.attention_penalty
    if not isinstance(given, (list, tuple, np.ndarray)):
        return not_negative(given, "attention_penalty")
    if len(given) != 2:
        msg = f"`attention_penalty` must be a number or a pair (start, end); got {len(given)} values."
        raise InputError(msg)
    start, end = (not_negative(value, "attention_penalty") for value in given)
    if options.attention_penalty_schedule == "log" and min(start, end) == 0:
        msg = (
            f"`attention_penalty` must be positive with a 'log' schedule; got ({start:.6g}, {end:.6g}). Start from a "
            "small number, or use 'linear'."
        )
        raise InputError(msg)
    return start, end


def _epochs(given: Any) -> tuple[int, int]:
    if not isinstance(given, (list, tuple, np.ndarray)) or len(given) != 2:
        msg = f"`attention_penalty_epochs` must be a pair (first, last); got {given!r}."
        raise InputError(msg)
    first, last = (whole(value, "attention_penalty_epochs", 1) for value in given)
    if last < first:
        msg = f"`attention_penalty_epochs` must be (first, last) with first <= last; got ({first}, {last})."
        raise InputError(msg)
    return first, last
