"""Ctrl-C while the engine works for R: caught in Python, handed back as a value, raised again in R.

reticulate 1.28 answers a Ctrl-C in running Python code by jumping out of it to R's handler. The interpreter keeps its
frames, and some later call reads freed memory and kills the session (about once in twenty interrupts). So the engine
takes SIGINT for itself while it computes, and gives it back, both Python's handler and the process's own, when it is
done.
"""

from __future__ import annotations

import ctypes
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_get_handler = ctypes.pythonapi.PyOS_getsig
_get_handler.restype, _get_handler.argtypes = ctypes.c_void_p, (ctypes.c_int,)
_set_handler = ctypes.pythonapi.PyOS_setsig
_set_handler.restype, _set_handler.argtypes = ctypes.c_void_p, (ctypes.c_int, ctypes.c_void_p)


@contextmanager
def own_interrupts() -> Iterator[None]:
    """Ctrl-C is a KeyboardInterrupt in here, whatever R or reticulate would make of it."""
    in_python = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or in_python is None:
        yield
        return
    of_process = _get_handler(signal.SIGINT)
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        yield
    finally:
        signal.signal(signal.SIGINT, in_python)
        _set_handler(signal.SIGINT, of_process)
