"""What every fit can do: give tables, and be written to a directory and read back, equal to the bit."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import zipfile
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from isthmus.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

State = dict[str, Any]

FORMAT = 1
_KINDS = {  # where the class of a saved fit lives
    "GlmFit": "isthmus.glm.result",
    "GlmFits": "isthmus.glm.strata",
    "FactorFit": "isthmus.factors.result",
    "AmbientFit": "isthmus.ambient.result",
    "InteractionFit": "isthmus.interaction.result",
}
_META, _ARRAYS = "fit.json", "arrays.npz"


@runtime_checkable
class Fit(Protocol):
    """A fitted model: settings and arrays, no hold on the input data."""

    def table(self, name: str) -> pd.DataFrame:
        """A tidy table by name."""
        ...

    def state(self) -> State:
        """The fit as a flat dict of arrays and one JSON string, ``meta``."""
        ...


def read_meta(state: State) -> dict[str, Any]:
    """The JSON of a state; R makes a vector of the text."""
    found: dict[str, Any] = json.loads(str(np.asarray(state["meta"]).reshape(-1)[0]))
    return found


def read_numbers(value: Any, shape: tuple[int, ...]) -> np.ndarray:
    """float64 in C order and in the shape it had: R drops empty and single dimensions."""
    array = np.asarray(value, dtype=np.float64) if value is not None else np.empty(0)
    return np.ascontiguousarray(array if array.shape == shape else array.reshape(shape))


def read_text(value: Any) -> tuple[str, ...]:
    """Text of any number of elements: R makes a scalar of one and nothing of none."""
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(str(v) for v in value)


def pick_table(name: str, available: dict[str, Any]) -> Any:
    """The entry for `name`, or an InputError that lists the names."""
    if not isinstance(name, str) or name not in available:
        msg = f"`name` must be one of the fit's tables ({', '.join(available)}); got {name!r}."
        raise InputError(msg)
    return available[name]


def save_fit(fit: Fit, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write a fit to a directory of plain files (JSON and npz, no pickle).

    The directory appears complete or not at all: it is written under another name beside `path` and then renamed.

    Parameters
    ----------
    fit
        Any fit of this package; those of ``fit_glm(by=)`` go into one directory.
    path
        The directory to make.
    overwrite
        Replace a saved fit that is there. Anything else is never replaced.

    Raises
    ------
    InputError
        Not a fit; `path` exists (without `overwrite`), or exists and is not a saved fit; its parent does not exist.

    Examples
    --------
    >>> import isthmus, tempfile, pathlib
    >>> fit = isthmus.fit_glm(isthmus.simulate_counts(50, 3, seed=1), size_factors=None)
    >>> where = pathlib.Path(tempfile.mkdtemp()) / "fit"
    >>> isthmus.save_fit(fit, where)
    >>> bool((isthmus.load_fit(where).log_likelihood == fit.log_likelihood).all())
    True
    """
    kind = type(fit).__name__
    if kind not in _KINDS:
        msg = f"`fit` must be a fit of isthmus ({', '.join(_KINDS)}); got {kind}."
        raise InputError(msg)
    target = Path(path)
    _check_target(target, overwrite=overwrite)
    state = fit.state()
    arrays = {name: value for name, value in state.items() if isinstance(value, np.ndarray)}
    meta = {"format": FORMAT, "kind": kind} | {name: value for name, value in state.items() if name not in arrays}
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        (temporary / _META).write_text(json.dumps(meta, indent=1), encoding="utf-8")
        np.savez(temporary / _ARRAYS, **{name: _storable(value) for name, value in arrays.items()})
        temporary.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def load_fit(path: str | os.PathLike[str]) -> Any:
    """Read a fit that `save_fit` wrote.

    Raises
    ------
    InputError
        `path` is not a saved fit, is damaged, or was written by a newer isthmus.
    """
    target = Path(path)
    if not (target / _META).is_file():
        msg = f"`path` must be a directory that save_fit wrote (with {_META} in it); got {str(target)!r}."
        raise InputError(msg)
    try:
        meta = json.loads((target / _META).read_text(encoding="utf-8"))
        with np.load(target / _ARRAYS, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        msg = f"`path` holds a damaged fit ({str(target)!r}): {error}. Save it again."
        raise InputError(msg) from error
    if meta.get("format", FORMAT + 1) > FORMAT or meta.get("kind") not in _KINDS:
        msg = (
            f"`path` holds a fit of a newer isthmus (format {meta.get('format')}, {meta.get('kind')}). Update isthmus."
        )
        raise InputError(msg)
    return restore_fit(meta["kind"], {"meta": meta["meta"]} | arrays)


def restore_fit(kind: str, state: State) -> Any:
    """The fit of class `kind` from its state."""
    return getattr(import_module(_KINDS[kind]), kind).from_state(state)


def _check_target(target: Path, *, overwrite: bool) -> None:
    if not target.parent.is_dir():
        msg = f"`path` must lie in a directory that exists; {str(target.parent)!r} does not."
        raise InputError(msg)
    if not target.exists():
        return
    if not overwrite:
        msg = f"`path` must not exist yet; {str(target)!r} does. Choose another or say overwrite=True."
        raise InputError(msg)
    if not (target / _META).is_file():
        msg = f"`path` can only replace a saved fit; {str(target)!r} is something else. Choose another."
        raise InputError(msg)


def _storable(value: np.ndarray) -> np.ndarray:
    """Text as fixed-width unicode: object arrays would need pickle."""
    return value.astype(str) if value.dtype == object else value
