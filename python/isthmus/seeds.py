"""The one rule for `seed`, whatever is drawn."""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus.errors import InputError


def generator(seed: Any) -> np.random.Generator:
    """Random numbers of a seed; fresh ones for None."""
    whole = isinstance(seed, (int, np.integer)) and not isinstance(seed, bool) and seed >= 0
    if seed is not None and not whole:
        msg = f"`seed` must be a whole number, 0 or more; got {seed!r}."
        raise InputError(msg)
    return np.random.default_rng(seed)
