"""A progress bar for people who wait: in a terminal or notebook, after two seconds, never in a script's log."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import numpy as np

from isthmus.errors import InputError

_PATIENCE = 2.0  # seconds


def wanted(progress: bool | None) -> bool:  # noqa: FBT001  None = decide
    """Should progress be shown? None: in a terminal or notebook, unless ``ISTHMUS_PROGRESS=0``."""
    if isinstance(progress, bool | np.bool_):
        return bool(progress)
    if progress is not None:
        msg = f"`progress` must be True, False or None (shown in a terminal or notebook); got {progress!r}."
        raise InputError(msg)
    if os.environ.get("ISTHMUS_PROGRESS") == "0":
        return False
    return sys.stderr.isatty() or "ipykernel" in sys.modules


class Progress:
    """Counts what is finished; ``with Progress(total, shown) as bar: bar(n)``."""

    def __init__(self, total: int, progress: bool | None, *, unit: str = "gene", what: str = "fit_glm") -> None:  # noqa: FBT001
        self._total, self._done = total, 0
        self._unit, self._what = unit, what
        self._shown = wanted(progress)
        self._start = time.monotonic()
        self._bar: Any = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, done: int) -> None:
        """Report that `done` of the total are finished."""
        if not self._shown or time.monotonic() - self._start < _PATIENCE:
            return
        if self._bar is None:
            from tqdm.auto import tqdm

            self._bar = tqdm(total=self._total, unit=self._unit, desc=self._what, leave=False)
        self._bar.update(done - self._done)
        self._done = done
