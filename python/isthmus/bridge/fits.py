"""What R calls on any fit, and about the engine."""

from __future__ import annotations

import base64
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

import isthmus
from isthmus.bridge.answers import answers
from isthmus.bridge.plain import as_columns
from isthmus.bridge.state import with_state
from isthmus.bridge.strata import strata_of_r, strata_with_state
from isthmus.bridge.wire import Wire, as_strings
from isthmus.errors import MissingDependencyError
from isthmus.glm import kernel
from isthmus.glm.strata import GlmFits
from isthmus.results import Fit, restore_fit


@answers
def info() -> dict[str, Any]:
    """Versions of what runs underneath, and the kernel that is used."""
    from importlib.metadata import version

    packages = {name: version(name) for name in ("numpy", "scipy", "pandas", "anndata", "formulaic")}
    return {
        "version": isthmus.__version__,
        "kernel": kernel.kernel_name(),
        "python": sys.version.split()[0],
        "executable": sys.executable,
        "packages": packages,
    }


_EXTRAS = {"torch": "deep", "scvi": "deep", "matplotlib": "plot", "dask": "dask", "xarray": "compat", "rpy2": "rpy2"}


@answers
def need_modules(modules: Any) -> None:
    """Complain where one of these modules cannot be imported; none of them is."""
    from importlib.util import find_spec

    for name in as_strings(modules):
        if find_spec(name) is None:
            hint = f"Run: pip install 'isthmus[{_EXTRAS[name]}]'" if name in _EXTRAS else "Install it there."
            msg = f"The engine's Python has no module {name}. {hint}"
            raise MissingDependencyError(msg)


@answers
def cell_columns(data: Any, names: Any = None) -> dict[str, Any]:
    """The cells of a Python object that R holds: their number, their names (None where they have none), and the columns
    of ``obs``: those of `names` that exist, or all."""
    obs = getattr(data, "obs", None)
    if not isinstance(obs, pd.DataFrame):
        shape = getattr(data, "shape", ()) or (0,)
        index = data.index if isinstance(data, pd.DataFrame) else getattr(data, "obs_names", None)
        rows = None
        if isinstance(index, pd.Index) and not pd.api.types.is_integer_dtype(index):
            rows = [str(name) for name in index]
        return {"columns": {}, "n": int(shape[0]), "rows": rows, "all": []}
    wanted = obs.columns if names is None else [name for name in as_strings(names) if name in obs.columns]
    return {
        "columns": as_columns(obs[list(wanted)]),
        "n": len(obs),
        "rows": [str(name) for name in obs.index],
        "all": list(map(str, obs.columns)),
    }


@answers
def restore(state: Wire, kind: str = "GlmFit") -> Any:
    """The engine's fit of a state that R has kept."""
    return restore_fit(kind, dict(state))


@answers
def table(fit: Fit, name: str) -> dict[str, Any]:
    """One table of a fit as columns."""
    return as_columns(fit.table(name))


@answers
def summary(fit: Any) -> str:
    """The text of ``fit.summary()``."""
    return str(fit.summary())


@answers
def save_fit(fit: Any, path: str, *, overwrite: bool = False, own: Any = None) -> None:
    """Save a fit; `own` are the bytes (as integers) of what only R knows: terms and levels of its formulas."""
    isthmus.save_fit(replace(fit, settings=fit.settings | {"r": _as_text(own)}), path, overwrite=overwrite)


@answers
def save_strata(
    fits: Any, by: str, levels: Any, cells: Any, path: str, *, overwrite: bool = False, own: Any = None
) -> None:
    """Save R's list of fits by level as the engine's; `cells` are the positions (from 0) of each level's cells."""
    isthmus.save_fit(strata_of_r(fits, by, levels, cells, {"r": _as_text(own)}), path, overwrite=overwrite)


def _as_text(own: Any) -> str:
    return base64.b64encode(np.asarray(own, dtype=np.uint8).tobytes()).decode("ascii")


@answers
def load_fit(path: str) -> dict[str, Any]:
    """Load a fit, in the form of `fit_glm`, with R's own part where R has saved it."""
    fit = isthmus.load_fit(path)
    own = base64.b64decode(fit.settings.get("r", ""))
    kept = replace(fit, settings={name: value for name, value in fit.settings.items() if name != "r"})
    found = strata_with_state(kept) if isinstance(kept, GlmFits) else with_state(kept)
    return found | {"own": np.frombuffer(own, dtype=np.uint8).astype(np.int32)}


@answers
def spin(seconds: float, where: str = "cpp") -> None:
    """Do nothing for a while, in C++ or in Python: what a test interrupts."""
    kernel.spin(float(seconds), where=where)
