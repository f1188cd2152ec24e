"""What a user should read but need not act on: which size factors were used, that counts are fractional.

`tell` writes to the logger ``"isthmus"`` at level INFO. A handler of our own shows it on stderr until the program
sets up logging itself (a handler on the root logger), which then decides.
``logging.getLogger("isthmus").setLevel("WARNING")`` silences it.
Inside `collected` messages go to a list instead: the bridge uses it to hand them to R's ``message()``.
"""

from __future__ import annotations

import logging
import sys
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_collector: ContextVar[list[str] | None] = ContextVar("isthmus_messages", default=None)


class _UntilLoggingIsSetUp(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to the stderr of the moment (notebooks and tests replace it), and only while the root logger has no
    handler."""

    def emit(self, record: logging.LogRecord) -> None:
        if not logging.getLogger().handlers:
            self.stream = sys.stderr
            super().emit(record)


def _logger() -> logging.Logger:
    logger = logging.getLogger("isthmus")
    if not any(isinstance(handler, _UntilLoggingIsSetUp) for handler in logger.handlers):
        logger.addHandler(_UntilLoggingIsSetUp())
        if logger.level == logging.NOTSET:  # a level that the user chose before the import stays
            logger.setLevel(logging.INFO)
    return logger


_logger()


def tell(text: str) -> None:
    """Show `text` to the user, or add it to the list of the innermost `collected` block.

    Parameters
    ----------
    text
        One sentence or two, with the argument it is about in backticks.

    Examples
    --------
    >>> with collected() as messages:
    ...     tell("`size_factors`: none, every cell counts as 1.")
    >>> messages
    ['`size_factors`: none, every cell counts as 1.']
    """
    collector = _collector.get()
    if collector is None:
        _logger().info(text)
    else:
        collector.append(text)


@contextmanager
def collected() -> Iterator[list[str]]:
    """Gather what `tell` says inside the block into a list, in order. Blocks nest; each thread and task has its own."""
    texts: list[str] = []
    token = _collector.set(texts)
    try:
        yield texts
    finally:
        _collector.reset(token)
