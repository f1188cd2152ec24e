"""A fit as R keeps it: plain state, and what R prints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from isthmus.bridge.plain import as_columns, as_plain
from isthmus.data.design import Design
from isthmus.glm.result import GlmFit


def with_state(fit: Any) -> dict[str, Any]:
    """The engine's fit, the plain state that R keeps of it, and what R prints."""
    kind = type(fit).__name__
    state = {name: as_plain(value) for name, value in fit.state().items()}
    return {"fit": fit, "state": state, "facts": {"kind": kind} | _FACTS[kind](fit)}


def _glm_facts(fit: GlmFit) -> dict[str, Any]:
    return {
        "id": fit.settings["id"],
        "n_cells": fit.n_cells,
        "n_genes": fit.n_genes,
        "n_free": fit.df,
        "noise_model": fit.settings["noise_model"],
        "design": _design_text(fit.mean_model.design),
        "dispersion_design": _design_text(fit.dispersion_model.design),
        "kernel": fit.kernel,
    } | _trend(fit)


def _trend(fit: GlmFit) -> dict[str, Any]:
    """The trend of the dispersions, asymptotic and extra, where there is one: R draws it."""
    trend = fit.settings.get("trend")
    return {} if trend is None else {"trend": np.array([trend["asymptotic"], trend["extra"]])}


def _design_text(design: Design) -> str:
    return design.formula if design.formula is not None else f"matrix of {len(design.names)} columns"


def _factor_facts(fit: Any) -> dict[str, Any]:
    return {
        "id": fit.settings["id"],
        "stats": as_columns(fit.table("stats")),
        "factors": list(fit.layout.factors),
        "idiosyncratic": fit.settings["idiosyncratic"],
    }


def _ambient_facts(fit: Any) -> dict[str, Any]:
    known = fit.rho[np.isfinite(fit.rho)]
    flags, counts = np.unique(fit.flag.astype(str), return_counts=True)
    return {
        "id": fit.settings["id"],
        "n_cells": fit.n_cells,
        "n_genes": fit.n_genes,
        "method": fit.settings["method"],
        "profile": fit.settings["profile"],
        "rho": np.quantile(known, [0.05, 0.5, 0.95]) if len(known) else np.full(3, np.nan),
        "observed": float(fit.observed_umi.sum()),
        "denoised": float(fit.denoised.sum(dtype=np.float64)),
        "flags": [str(flag) for flag in flags],
        "flag_counts": counts.astype(float),
        "seed": as_plain(fit.settings["seed"]),
    }


def _interaction_facts(fit: Any) -> dict[str, Any]:
    s = fit.settings
    return {
        "id": s["id"],
        "n_cells": fit.n_cells,
        "n_genes": fit.n_genes,
        "types": as_columns(_type_counts(fit)),
        "samples": list(fit.samples),
        "n_heads": fit.n_heads,
        "n_neighbors": as_plain(s["n_neighbors"]),
        "folds": fit.n_folds,
        "blocks": fit.folds.n_blocks,
        "set": fit.set,
        "seed": as_plain(s["seed"]),
    }


def _type_counts(fit: Any) -> pd.DataFrame:
    counts = np.bincount(fit.type_codes, minlength=fit.n_types).astype(np.int32)
    return pd.DataFrame({"type": list(fit.types), "n_cells": counts})


_FACTS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "GlmFit": _glm_facts,
    "FactorFit": _factor_facts,
    "AmbientFit": _ambient_facts,
    "InteractionFit": _interaction_facts,
}
