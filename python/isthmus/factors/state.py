"""A FactorFit as a flat dict of arrays and back: what save_fit writes and what an R fit holds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from isthmus.data.panel import time_text
from isthmus.factors.blocks import BlockLayout, Group, Layout
from isthmus.factors.fitted import BatchFit, Estimate, Fitted
from isthmus.factors.params import Block, Params, Spec
from isthmus.results import read_meta, read_numbers, read_text

if TYPE_CHECKING:
    from isthmus.factors.result import FactorFit
    from isthmus.results import State

_MOMENTS = ("filtered", "filtered_cov", "smoothed", "smoothed_cov", "path", "heywood", "held")
_FLAGS = ("heywood", "held")
_ESTIMATE = ("log_likelihood", "n_iter", "converged", "gain", "scaled_score", "kernel")
_ROW = ("text", "status", "message", "n_time", "n_series", "n_missing", "seconds")


def encode(fit: FactorFit) -> State:
    """The fit's arrays by name, and ``meta``, a JSON string."""
    state: State = {"series": np.array(fit.series, dtype=object), "loads": fit.layout.loads.astype(np.float64)}
    meta = {
        "settings": fit.settings,
        "layout": _encode_layout(fit.layout),
        "batches": [_encode_batch(batch, f"b{number}_", state) for number, batch in enumerate(fit.batches)],
    }
    state["meta"] = json.dumps(meta)
    return state


def decode(state: State) -> FactorFit:
    """The fit of a state; values may have become lists, float64 or Fortran-ordered on the way."""
    from isthmus.factors.result import FactorFit

    meta = read_meta(state)
    series = read_text(state["series"])
    loads = read_numbers(state["loads"], (len(series), len(meta["layout"]["factors"]))).astype(bool)
    layout = _decode_layout(meta["layout"], loads)
    batches = tuple(
        _decode_batch(row, f"b{number}_", state, meta["settings"]) for number, row in enumerate(meta["batches"])
    )
    return FactorFit(batches, series, layout, meta["settings"])


def _encode_layout(layout: Layout) -> dict[str, Any]:
    return {
        "factors": list(layout.factors),
        "blocks": [
            {"name": b.name, "order": b.order, "groups": [[g.name, list(g.factors)] for g in b.groups]}
            for b in layout.blocks
        ],
    }


def _decode_layout(meta: dict[str, Any], loads: np.ndarray) -> Layout:
    blocks = tuple(
        BlockLayout(b["name"], tuple(Group(name, tuple(own)) for name, own in b["groups"]), b["order"])
        for b in meta["blocks"]
    )
    return Layout(tuple(meta["factors"]), blocks, loads)


def _encode_batch(batch: BatchFit, prefix: str, state: State) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(batch, name) for name in _ROW}
    row["label"] = _plain(batch.label)
    one = batch.fitted
    if one is None:
        return row
    estimate, params = one.estimate, one.estimate.params
    arrays: dict[str, Any] = {name: getattr(estimate, name) for name in _MOMENTS}
    arrays |= {name: getattr(estimate, name).astype(np.float64) for name in _FLAGS}
    arrays |= {"mean": one.mean, "sd": one.sd, "y": one.y, "loads": one.spec.loads.astype(np.float64)}
    arrays |= {"loadings": params.loadings, "idio_ar1": params.idio_ar1, "idio_var": params.idio_var}
    arrays["quarterly"] = one.spec.quarterly.astype(np.float64)
    for number, (a, q) in enumerate(zip(params.transition, params.innovation_cov, strict=True)):
        arrays |= {f"transition{number}": a, f"innovation_cov{number}": q}
    for name, value in _optional(one).items():
        if value is not None:
            arrays[name] = value
    state |= {prefix + name: np.asarray(value) for name, value in arrays.items()}
    state[prefix + "names"] = np.array(one.names, dtype=object)
    state[prefix + "times"] = time_text(one.times)
    return row | {
        "times": _times_kind(one.times),
        "layout": _encode_layout(one.layout),
        "spec": {"idiosyncratic": one.spec.idiosyncratic, "initial": one.spec.initial},
        "shapes": {name: list(np.shape(value)) for name, value in arrays.items()},
        "estimate": {name: getattr(estimate, name) for name in _ESTIMATE},
    }


def _optional(one: Fitted) -> dict[str, np.ndarray | None]:
    params, initial = one.estimate.params, one.estimate.initial
    return {
        "initial_state": params.initial_state,
        "initial_cov": params.initial_cov,
        "first_mean": None if initial is None else initial[0],
        "first_cov": None if initial is None else initial[1],
    }


def _decode_batch(row: dict[str, Any], prefix: str, state: State, settings: dict[str, Any]) -> BatchFit:
    fitted = _decode_fitted(row, prefix, state) if "shapes" in row else None
    return BatchFit(label=row["label"], fitted=fitted, **{name: row[name] for name in _ROW})


def _decode_fitted(row: dict[str, Any], prefix: str, state: State) -> Fitted:
    arrays = {name: read_numbers(state[prefix + name], tuple(shape)) for name, shape in row["shapes"].items()}
    layout = _decode_layout(row["layout"], arrays["loads"].astype(bool))
    spec = Spec(
        loads=layout.loads,
        blocks=tuple(Block(b.name, b.factors, b.order) for b in layout.blocks),
        quarterly=arrays["quarterly"].astype(bool),
        **row["spec"],
    )
    params = Params(
        loadings=arrays["loadings"],
        transition=tuple(arrays[f"transition{i}"] for i in range(len(spec.blocks))),
        innovation_cov=tuple(arrays[f"innovation_cov{i}"] for i in range(len(spec.blocks))),
        idio_ar1=arrays["idio_ar1"],
        idio_var=arrays["idio_var"],
        initial_state=arrays.get("initial_state"),
        initial_cov=arrays.get("initial_cov"),
    )
    moments = {name: arrays[name] for name in _MOMENTS} | {name: arrays[name].astype(bool) for name in _FLAGS}
    initial = (arrays["first_mean"], arrays["first_cov"]) if "first_mean" in arrays else None
    estimate = Estimate(params=params, initial=initial, **moments, **row["estimate"])
    times = _decode_times(row["times"], read_text(state[prefix + "times"]))
    return Fitted(
        times, read_text(state[prefix + "names"]), arrays["mean"], arrays["sd"], arrays["y"], spec, layout, estimate
    )


def _times_kind(times: pd.Index) -> dict[str, Any]:
    if isinstance(times, pd.PeriodIndex):
        return {"kind": "period", "freq": times.freqstr}
    if isinstance(times, pd.DatetimeIndex):
        return {"kind": "datetime", "freq": times.freqstr}
    if pd.api.types.is_integer_dtype(times):
        return {"kind": "integer", "freq": None}
    return {"kind": "number" if pd.api.types.is_numeric_dtype(times) else "text", "freq": None}


def _decode_times(kind: dict[str, Any], texts: tuple[str, ...]) -> pd.Index:
    if kind["kind"] == "period":
        return pd.PeriodIndex(list(texts), freq=kind["freq"])
    if kind["kind"] == "datetime":
        return pd.DatetimeIndex(pd.to_datetime(list(texts), format="ISO8601"), freq=kind["freq"])
    if kind["kind"] == "integer":
        return pd.Index([int(t) for t in texts])
    return pd.Index([float(t) for t in texts]) if kind["kind"] == "number" else pd.Index(list(texts), dtype=object)


def _plain(label: Any) -> Any:
    """A label that JSON can hold: numbers and text as they are, anything else as text."""
    if isinstance(label, np.generic):
        label = label.item()
    return label if label is None or isinstance(label, (bool, int, float, str)) else str(label)
