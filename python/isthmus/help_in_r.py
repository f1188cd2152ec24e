"""What R's help and completion show of the functions here.

reticulate reads ``inspect.getfullargspec()`` and shows positional arguments alone, so that ``fit_glm(data, design = )``
would be all of ``fit_glm``. A call from R names its arguments anyway: inside R, and nowhere else, keyword-only
arguments are therefore announced as ordinary ones. Calling is as strict as before.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any


def inside_r() -> bool:
    """Whether reticulate has started this Python: its callbacks are a module that nothing else has."""
    return "rpycall" in sys.modules


class _NoText:
    """The default ``()`` as R writes it: reticulate writes an empty tuple as ``list(``."""

    def __repr__(self) -> str:
        return "character(0)"


def announce_all_arguments(function: Callable[..., Any]) -> None:
    """Set the signature that `inspect` shows, with keyword-only arguments as ordinary ones in the same order.

    Examples
    --------
    >>> def fit(data, *, seed=0): ...
    >>> announce_all_arguments(fit)
    >>> inspect.getfullargspec(fit).args
    ['data', 'seed']
    >>> fit(1, 2)
    Traceback (most recent call last):
        ...
    TypeError: fit() takes 1 positional argument but 2 were given
    """
    signature = inspect.signature(function)
    parameters = [_announced(one) for one in signature.parameters.values()]
    function.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]


def _announced(parameter: inspect.Parameter) -> inspect.Parameter:
    default = _NoText() if parameter.default == () else parameter.default
    kind = parameter.POSITIONAL_OR_KEYWORD if parameter.kind is parameter.KEYWORD_ONLY else parameter.kind
    return parameter.replace(kind=kind, default=default)


def announce(namespace: dict[str, Any], names: list[str]) -> None:
    """Do so for the functions among some names of a module; in a Python that R has not started, nothing."""
    if not inside_r():
        return
    for name in names:
        if inspect.isfunction(namespace[name]):
            announce_all_arguments(namespace[name])
