"""scvi-tools' SCAR with every documented method working, for all four likelihoods.

    from isthmus.compat.scvi import SCAR

`SCAR` is a subclass of ``scvi.external.SCAR``: same constructor, same training, same files. It needs the extra
``isthmus[deep]``, which is loaded when `SCAR` is asked for. New work should use ``remove_ambient(method="scar")``: the
same network, trained in a fraction of the time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from isthmus.compat.scvi.model import SCAR

__all__ = ["SCAR"]


def __getattr__(name: str) -> Any:
    if name != "SCAR":
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from isthmus.ambient.scar.extras import need

    need("scvi", "isthmus.compat.scvi.SCAR")
    from isthmus.compat.scvi.model import SCAR

    return SCAR
