"""diffxpy's options as `fit_glm` takes them: each has an effect or a message."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from isthmus.compat.wording import no_effect
from isthmus.errors import InputError
from isthmus.messages import tell

_INITS = {"auto": "auto", "standard": "standard", "closed_form": "closed_form", "all_zero": "zero"}
_STRATEGIES = ("AUTO", "DEFAULT", "GD", "IRLS", "IRLS_GD", "IRLS_TR", "IRLS_GD_TR")
_NOISE = {"nb": "nb", "negative_binomial": "nb", "poisson": "poisson", "norm": "normal", "normal": "normal"}


def read_init(argument: str, init: Any, noise_model: str = "nb") -> Any:
    """Starting values; those of the scale model are log r in diffxpy and log alpha here, log standard deviation and log
    variance in the normal model."""
    if isinstance(init, str):
        if init.lower() not in _INITS:
            msg = f"`{argument}` must be 'AUTO', 'standard', 'closed_form', 'all_zero' or an array; got {init!r}."
            raise InputError(msg)
        return _INITS[init.lower()]
    values = np.asarray(init, dtype=float)
    if argument == "init_b":
        return 2 * values if noise_model == "normal" else -values
    return values


def read_noise(noise_model: str) -> str:
    """diffxpy's and batchglm's names of the noise model."""
    if noise_model not in _NOISE:
        msg = f"`noise_model` must be one of {', '.join(map(repr, _NOISE))}; got {noise_model!r}."
        raise InputError(msg)
    return _NOISE[noise_model]


def read_batch_size(batch_size: Any) -> int | None:
    """The genes of a (cells, genes) chunk; a number of cells has no effect."""
    if batch_size is None:
        return None
    if isinstance(batch_size, (tuple, list)) and len(batch_size) == 2:
        return int(batch_size[1])
    if isinstance(batch_size, bool) or not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
        msg = f"`batch_size` must be None, a whole number of cells, or a tuple (cells, genes); got {batch_size!r}."
        raise InputError(msg)
    no_effect("batch_size", "every step of the fit uses all cells; (cells, genes) sets the genes of a chunk")
    return None


def check_strategy(strategy: Any) -> None:
    """Names and lists of steps are accepted, and say that they have no effect where they are not the default."""
    if isinstance(strategy, str):
        if strategy.upper() not in _STRATEGIES:
            names = ", ".join(_STRATEGIES)
            msg = f"`training_strategy` must be one of {names}, a list of dicts or a function; got {strategy!r}."
            raise InputError(msg)
        asked = strategy.upper() not in ("AUTO", "DEFAULT")
    elif callable(strategy) or (isinstance(strategy, list) and all(isinstance(step, dict) for step in strategy)):
        asked = True
    else:
        msg = f"`training_strategy` must be a name, a list of dicts or a function; got {strategy!r}."
        raise InputError(msg)
    if asked and not callable(strategy):
        no_effect("training_strategy", "the fit goes to the maximum of the likelihood")


def check_dtype(dtype: Any) -> None:
    """Both precisions are accepted; the fit runs in double."""
    try:
        kind = np.dtype(dtype)
    except TypeError:
        kind = None
    if kind not in (np.dtype("float32"), np.dtype("float64")):
        msg = f"`dtype` must be 'float64' or 'float32'; got {dtype!r}."
        raise InputError(msg)
    if kind == np.dtype("float32"):
        no_effect("dtype", "the fit runs in float64, in float32 the noise of the likelihood defeats convergence")


def tell_unused(options: dict[str, Any]) -> None:
    """What fit.model logged and ignored."""
    if options:
        tell(f"{', '.join(f'`{name}`' for name in options)}: not an option of this model, without effect.")


def read_design(formula: Any, dmat: Any, formula_name: str, dmat_name: str, default: str | None) -> Any:
    """One design from a formula or a ready matrix; the matrix goes first where the formula is left at its default."""
    if dmat is None:
        if formula is None:
            msg = f"`{formula_name}` or `{dmat_name}` must be given; got neither."
            raise InputError(msg)
        return formula
    if formula is not None and str(formula).replace(" ", "") != default:
        msg = f"Only one of `{formula_name}` and `{dmat_name}` may be given; got both. Leave one out."
        raise InputError(msg)
    return dmat


def names_tuple(columns: str | list[str] | tuple[str, ...]) -> tuple[str, ...]:
    """One name or several."""
    return (columns,) if isinstance(columns, str) else tuple(columns)


def description(data: Any, sample_description: Any) -> pd.DataFrame | None:
    """`sample_description` where given, else nothing: `fit_glm` then reads ``data.obs``."""
    if sample_description is None or isinstance(sample_description, pd.DataFrame):
        return sample_description
    msg = f"`sample_description` must be a DataFrame with one row per cell; got {type(sample_description).__name__}."
    raise InputError(msg)
