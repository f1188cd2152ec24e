"""Importing torch into R's process without its linear algebra being replaced by R's."""

from __future__ import annotations

import contextlib
import os
import sys


def import_torch() -> None:
    """Import torch so that it calls its own BLAS; where it cannot be imported, whoever needs it says so.

    R loads its BLAS into the global scope of the process, and libtorch, which exports and calls ``sgemm_`` by that
    plain name, would be bound to it: with Debian's reference BLAS a product takes 25 times as long. RTLD_DEEPBIND lets
    a library look into itself first. Systems without that flag (macOS, Windows) bind names per library anyway.
    """
    deep = getattr(os, "RTLD_DEEPBIND", None)
    if "torch" in sys.modules or deep is None:
        return
    flags = sys.getdlopenflags()
    sys.setdlopenflags(os.RTLD_NOW | deep)
    try:
        with contextlib.suppress(ImportError):
            import torch  # noqa: F401
    finally:
        sys.setdlopenflags(flags)
