"""How many threads a fit or a test may use."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from isthmus.errors import InputError

_LIMIT = 2**31


def check_whole(name: str, value: Any) -> None:
    """Refuse what is not a whole number of at least 1, or more than an int of C++ holds."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        msg = f"`{name}` must be a whole number of at least 1; got {value!r}."
        raise InputError(msg)
    if value >= _LIMIT:
        msg = f"`{name}` must be below 2^31; got {value!r}."
        raise InputError(msg)


def read_threads(n_threads: int | None) -> int:
    """None = as many as this process may use."""
    if n_threads is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    check_whole("n_threads", n_threads)
    return int(n_threads)
