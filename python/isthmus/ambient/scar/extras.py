"""torch and scvi-tools, which come with the extra "deep": what to say where they are missing, and which device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from isthmus.errors import InputError, MissingDependencyError

if TYPE_CHECKING:
    import torch

_ACCELERATORS = {"auto": None, "cpu": "cpu", "gpu": "cuda", "cuda": "cuda", "mps": "mps"}


def need(package: str, what: str) -> None:
    """Raise MissingDependencyError where `package`, "torch" or "scvi", is not installed."""
    from importlib.util import find_spec

    if find_spec(package) is None:
        name = {"scvi": "scvi-tools"}.get(package, package)
        msg = f"{what} needs {name}, which is not installed. Run: pip install 'isthmus[deep]'"
        raise MissingDependencyError(msg)


def pick_device(accelerator: Any) -> torch.device:
    """The device of `accelerator`: "auto" takes a GPU of CUDA where there is one, else the CPU."""
    import torch

    if accelerator not in _ACCELERATORS:
        msg = f"`accelerator` must be one of {', '.join(map(repr, _ACCELERATORS))}; got {accelerator!r}."
        raise InputError(msg)
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    name = _ACCELERATORS[accelerator] or ("cuda" if there["cuda"] else "cpu")
    if not there[name]:
        msg = f"`accelerator` must be a device of this machine; {accelerator!r} is not there. Use 'auto' or 'cpu'."
        raise InputError(msg)
    return torch.device(name)
