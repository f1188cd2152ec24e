"""A GlmFit as a flat dict of arrays and back: what save_fit writes and what an R fit holds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from isthmus.data.design import Design
from isthmus.glm.constraints import Constraint
from isthmus.glm.separation import Separation
from isthmus.results import read_meta, read_numbers, read_text

if TYPE_CHECKING:
    from isthmus.glm.result import GlmFit, Submodel
    from isthmus.results import State

_PER_GENE = ("log_likelihood", "mean", "dispersion", "expected_info", "neg_hessian", "gradient")


def encode(fit: GlmFit) -> State:
    """The fit's arrays by name, and ``meta``, a JSON string."""
    state: State = {
        "gene_names": fit.gene_names,
        "cell_names": fit.cell_names,
        "status": fit.status,
        "n_iter": fit.n_iter,
        "converged": fit.converged,
        "size_factors": fit.size_factors,
        "offset": fit.offset,
    }
    state |= {name: getattr(fit, name) for name in _PER_GENE}
    if fit.weights is not None:
        state["weights"] = fit.weights
    meta: dict[str, Any] = {"settings": fit.settings, "separations": []}
    for model in ("mean", "dispersion"):
        meta[model] = _encode_submodel(model, fit.submodel(model), state)
        state["coef" if model == "mean" else "dispersion_coef"] = fit._reported(model)
    for number, separation in enumerate(fit.separations):
        meta["separations"].append({"gene": separation.gene, "model": separation.model})
        state[f"separation_{number}_basis"] = separation.basis
        state[f"separation_{number}_faces"] = separation.faces
    state["meta"] = json.dumps(meta)
    return state


def decode(state: State) -> GlmFit:
    """The fit of a state; values may have become lists, float64 or Fortran-ordered on the way."""
    from isthmus.glm.result import GlmFit

    meta = read_meta(state)
    models = {model: _decode_submodel(model, meta[model], state) for model in ("mean", "dispersion")}
    genes = _names(state["gene_names"])
    f, g = models["mean"].n_free, models["dispersion"].n_free
    inner = {"expected_info": (f, f), "neg_hessian": (f + g, f + g), "gradient": (f + g,)}
    per_gene: dict[str, Any] = {
        name: read_numbers(state[name], (len(genes), *inner.get(name, ()))) for name in _PER_GENE
    }
    cells = _names(state["cell_names"])
    return GlmFit(
        gene_names=genes,
        cell_names=cells,
        mean_model=models["mean"],
        dispersion_model=models["dispersion"],
        status=_names(state["status"]),
        n_iter=np.asarray(state["n_iter"]).reshape(-1).astype(np.int32),
        converged=np.asarray(state["converged"]).reshape(-1).astype(bool),
        size_factors=read_numbers(state["size_factors"], (len(cells),)),
        offset=read_numbers(state["offset"], (len(cells),)),
        separations=_decode_separations(meta["separations"], state, {"mean": f, "dispersion": g}),
        settings=meta["settings"],
        weights=read_numbers(state["weights"], (len(cells),)) if "weights" in state else None,
        **per_gene,
    )


def _encode_submodel(model: str, submodel: Submodel, state: State) -> dict[str, Any]:
    design, constraint = submodel.design, submodel.constraint
    state[f"{model}_names"] = np.array(design.names, dtype=object)
    state[f"{model}_design"] = design.matrix
    state[f"{model}_free_coef"] = submodel.free_coef
    state[f"{model}_free"] = constraint.free
    state[f"{model}_particular"] = constraint.particular
    state[f"{model}_dependent"] = constraint.dependent
    return {
        "shape": list(design.matrix.shape),
        "n_free": submodel.n_free,
        "kind": constraint.kind,
        "formula": design.formula,
        "language": design.language,
        "terms": {label: list(columns) for label, columns in design.terms.items()},
        "removed": list(design.removed),
        "dummies": {factor: list(levels) for factor, levels in design.dummies.items()},
        "columns": _encode_frame(model, design.frame, state),
    }


def _decode_submodel(model: str, meta: dict[str, Any], state: State) -> Submodel:
    from isthmus.glm.result import Submodel

    n_cells, p = meta["shape"]
    f = meta["n_free"]
    cells = _names(state["cell_names"])
    design = Design(
        matrix=read_numbers(state[f"{model}_design"], (n_cells, p)),
        names=tuple(_names(state[f"{model}_names"])),
        terms={label: tuple(columns) for label, columns in meta["terms"].items()},
        formula=meta["formula"],
        frame=_decode_frame(model, meta["columns"], state, cells),
        language=meta["language"],
        removed=tuple(meta["removed"]),
        dummies={factor: tuple(levels) for factor, levels in meta["dummies"].items()},
    )
    constraint = Constraint(
        free=read_numbers(state[f"{model}_free"], (p, f)),
        particular=read_numbers(state[f"{model}_particular"], (p,)),
        dependent=np.asarray(state[f"{model}_dependent"]).reshape(-1).astype(bool),
        kind=meta["kind"],
    )
    n_genes = len(_names(state["gene_names"]))
    return Submodel(design, constraint, read_numbers(state[f"{model}_free_coef"], (f, n_genes)))


def _encode_frame(model: str, frame: pd.DataFrame | None, state: State) -> list[dict[str, Any]] | None:
    """Columns of the formula, kept so that new cells can be encoded the same way."""
    if frame is None:
        return None
    columns = []
    for number, (name, column) in enumerate(frame.items()):
        described: dict[str, Any] = {"name": str(name)}
        if isinstance(column.dtype, pd.CategoricalDtype):
            described |= {
                "levels": [str(level) for level in column.cat.categories],
                "ordered": bool(column.cat.ordered),
            }
            state[f"{model}_frame_{number}"] = column.cat.codes.to_numpy().astype(np.int32)
        else:
            state[f"{model}_frame_{number}"] = column.to_numpy(dtype=float)
        columns.append(described)
    return columns


def _decode_frame(
    model: str, columns: list[dict[str, Any]] | None, state: State, cells: np.ndarray
) -> pd.DataFrame | None:
    if columns is None:
        return None
    found: dict[str, Any] = {}
    for number, described in enumerate(columns):
        values = np.asarray(state[f"{model}_frame_{number}"]).reshape(-1)
        if "levels" in described:
            codes = values.astype(np.int64)
            values = pd.Categorical.from_codes(codes, categories=described["levels"], ordered=described["ordered"])
        found[described["name"]] = values
    return pd.DataFrame(found, index=pd.Index(cells))


def _decode_separations(
    described: list[dict[str, Any]], state: State, n_free: dict[str, int]
) -> tuple[Separation, ...]:
    out = []
    for number, one in enumerate(described):
        width = n_free[one["model"]]
        basis = np.asarray(state[f"separation_{number}_basis"], dtype=float)
        faces = np.asarray(state[f"separation_{number}_faces"], dtype=float)
        basis = basis if basis.ndim == 2 else basis.reshape(width, -1)
        faces = faces if faces.ndim == 2 else faces.reshape(-1, basis.shape[1])
        out.append(Separation(int(one["gene"]), one["model"], basis, faces))
    return tuple(out)


def _names(value: Any) -> np.ndarray:
    return np.array(read_text(value), dtype=object)
