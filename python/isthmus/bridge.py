"""The functions that the R package calls, and the only place that knows R's habits.

R sends arrays, never containers: the p, i and x slots of a genes x cells ``dgCMatrix`` are the cells x genes CSR.
Numbers may come as 5.0 where 5 is meant, a vector of length one comes as a scalar, a longer one as a list. What goes
back are dicts of arrays and lists of text; no pandas object and no Python int above 2**31 - 1 crosses.

Every function answers with a dict: ``{"value": ..., "messages": [...], "warnings": [...]}``, or, where the user can
mend it, ``{"error": {"class": ..., "message": ...}, ...}``. reticulate before 1.41 loses the classes of exceptions, so
ours travel as values. All others pass through: reticulate 1.28 delivers about one Ctrl-C in three as
``RuntimeError('(Unknown exception occurred)')``, which R must see.
"""

from __future__ import annotations

import base64
import functools
import re
import sys
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

import isthmus
from isthmus import messages
from isthmus.ambient import AmbientFit
from isthmus.data import counts as counts_module
from isthmus.data import design as design_module
from isthmus.data import formulas
from isthmus.errors import ConvergenceWarning, IdentifiabilityWarning, InputError, MissingDependencyError
from isthmus.glm import constraints as constraints_module
from isthmus.glm import kernel
from isthmus.glm.proposals import propose
from isthmus.glm.rank import aliases
from isthmus.glm.result import GlmFit

Answer = dict[str, Any]
Wire = Mapping[str, Any]  # a named list of R

# Phrases of the engine's texts that name a Python thing, as an R user has it.
_IN_R = (
    (re.compile(r"`adata\.var_names_make_unique\(\)`"), "`make.unique(rownames(data))`"),
    (re.compile(r"`\.reset_index\(drop=True\)`"), "`rownames(cell_data) <- NULL`"),
    (re.compile(r"`as_categorical=\['([^']*)'\]`"), r'`as_categorical = "\1"`'),
    (re.compile(r"`data\.T`"), "`t(data)`"),
    (re.compile(r"\ba DataFrame\b"), "a data.frame"),
    (re.compile(r"\(nan in cell"), "(NA in cell"),
    (re.compile(r"\(inf in cell"), "(Inf in cell"),
    (re.compile(r"`name` must be one of the fit's tables"), "`table` must be one of the fit's tables"),
    (re.compile(r"(?<!['\w])None(?!['\w])"), "NULL"),
)
# A matrix of R is genes x cells. The engine, which sees it the other way round, counts rows and columns so.
_TRANSPOSED_IN_R = (
    (re.compile(r"cells x genes; got ([\d,]+) rows x ([\d,]+) columns"), r"genes x cells; got \2 rows x \1 columns"),
    (
        re.compile(r"the row names of `cell_data` are the column names"),
        "the row names of `cell_data` are the row names",
    ),
)

_R_CLASSES = {InputError: "isthmus_input_error", MissingDependencyError: "isthmus_missing_dependency"}
_R_WARNINGS: dict[type[Warning], str] = {
    ConvergenceWarning: "isthmus_convergence_warning",
    IdentifiabilityWarning: "isthmus_identifiability_warning",
}
_INT32_MAX = 2**31 - 1


def _answers(function: Callable[..., Any]) -> Callable[..., Answer]:
    """Turn our own errors, warnings and messages of a function into values that R can raise again."""

    @functools.wraps(function)
    def answered(*args: Any, **kwargs: Any) -> Answer:
        answer: Answer = {}
        with messages.collected() as told, warnings.catch_warnings(record=True) as caught:
            for category in _R_WARNINGS:
                warnings.simplefilter("always", category)
            try:
                answer["value"] = function(*args, **kwargs)
            except (InputError, MissingDependencyError) as error:
                kind = InputError if isinstance(error, InputError) else MissingDependencyError
                answer["error"] = {"class": _R_CLASSES[kind], "message": _said(str(error), _IN_R)}
        ours = [(str(w.message), _R_WARNINGS[w.category]) for w in caught if w.category in _R_WARNINGS]
        for other in (w for w in caught if w.category not in _R_WARNINGS):
            warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)
        return answer | {
            "messages": [_said(text, _IN_R) for text in told],
            "warnings": [_said(text, _IN_R) for text, _ in ours],
            "warning_classes": [kind for _, kind in ours],
        }

    return answered


def _said(text: str, phrases: Iterable[tuple[re.Pattern[str], str]]) -> str:
    for pattern, phrase in phrases:
        text = pattern.sub(phrase, text)
    return text


# --- what comes from R ------------------------------------------------------------------------------------------------


def _strings(values: str | Iterable[str] | None) -> tuple[str, ...]:
    """A character vector of R: length one comes as a scalar, length zero as an empty list or None."""
    if values is None:
        return ()
    return (values,) if isinstance(values, str) else tuple(values)


def _names(wire: Wire | None) -> np.ndarray | None:
    """Names with a mask for NA, which would otherwise cross as the text "NA"."""
    if wire is None:
        return None
    names = np.array(_strings(wire["values"]), dtype=object)
    if wire.get("missing") is not None:
        names[np.asarray(wire["missing"], dtype=bool)] = None
    return names


def _number(value: Any) -> Any:
    """5.0 means 5; everything else is left for the surface to judge."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) <= _INT32_MAX else value


def _column(wire: Wire) -> pd.Series | pd.Categorical | np.ndarray:
    """One column of cell data: numbers as they are, factors and text as codes (-1 = NA) and levels."""
    if wire["kind"] == "number":
        return np.asarray(wire["values"], dtype=float)
    codes = np.asarray(wire["codes"], dtype=np.intp)
    levels = np.array(_strings(wire["levels"]), dtype=object)
    if wire["kind"] == "factor":
        return pd.Categorical.from_codes(codes, categories=pd.Index(levels), ordered=bool(wire.get("ordered", False)))
    if wire["kind"] == "logical":
        levels = np.array([False, True], dtype=object)
        if (codes >= 0).all():
            return codes.astype(bool)
    text = np.full(len(codes), None, dtype=object)
    text[codes >= 0] = levels[codes[codes >= 0]]
    return text


def _frame(wire: Wire, index: np.ndarray | None = None) -> pd.DataFrame:
    """A data.frame; its rows have R's names, else those of `index`, else numbers."""
    rows = _names(wire.get("rows"))
    if rows is None and index is not None and len(index) == wire["n"]:
        rows = index
    named = wire["columns"] if isinstance(wire["columns"], Mapping) else {}  # R's empty list crosses as []
    labels = pd.RangeIndex(int(wire["n"])) if rows is None else pd.Index(rows, dtype=object)
    return pd.DataFrame({name: _column(column) for name, column in named.items()}, index=labels)


def _matrix(wire: Wire) -> Any:
    """The cells x genes matrix of a genes x cells matrix of R, on the memory that R gave."""
    n_genes, n_cells = (int(n) for n in wire["dim"])
    shape = (n_cells, n_genes)
    if wire["kind"] == "dense":
        return np.asarray(wire["x"]).T
    if wire["kind"] == "triplet":
        return sparse.coo_matrix((wire["x"], (wire["j"], wire["i"])), shape=shape)
    compressed = sparse.csr_matrix if wire["kind"] == "column" else sparse.csc_matrix
    return compressed((wire["x"], wire["i"], wire["p"]), shape=shape)


def _counts(
    wire: Any, cell_data: Wire | None, gene_names: Any = None, layer: str | None = None
) -> counts_module.Counts:
    """Counts with the checks of ``read_counts``; `wire` is a named list of slots, or a Python object that R holds."""
    given = None if gene_names is None else np.array(_strings(gene_names), dtype=object)
    if not isinstance(wire, Mapping):
        frame = None if cell_data is None else _frame(cell_data)
        return counts_module.read_counts(wire, layer=layer, cell_data=frame, gene_names=given)
    # Names of the cells and the cell data travel as one frame, which is what a bare matrix can have beside it.
    cells = _names(wire.get("cells"))
    frame = pd.DataFrame(index=cells) if cell_data is None else _frame(cell_data, cells)
    genes = _names(wire.get("genes")) if given is None else given
    with _orientation_of_r():
        read = counts_module.read_counts(_matrix(wire), cell_data=frame, gene_names=genes)
    stored = wire.get("size_factors")
    return read if stored is None else replace(read, stored_size_factors=np.asarray(stored, dtype=float))


@contextmanager
def _orientation_of_r() -> Iterator[None]:
    """Errors about a matrix of R speak of genes x cells."""
    try:
        yield
    except InputError as error:
        raise InputError(_said(str(error), _TRANSPOSED_IN_R)) from error


def _design(wire: Wire, counts: counts_module.Counts | int, argument: str) -> design_module.Design:
    """A design that R has evaluated (a formula's, with its terms), or a bare matrix."""
    matrix = np.ascontiguousarray(wire["matrix"], dtype=float)
    names, rows = _names(wire.get("names")), _names(wire.get("rows"))
    if wire.get("formula") is None:
        labelled = names is not None or rows is not None
        spec = pd.DataFrame(matrix, index=rows, columns=names) if labelled else matrix
        return replace(design_module.read_design(spec, counts, None, argument=argument), language="r")
    index = counts.cell_names if isinstance(counts, counts_module.Counts) else None
    terms = wire["terms"] if isinstance(wire["terms"], Mapping) else {}
    given = design_module.Design(
        matrix=matrix,
        names=() if names is None else tuple(names),
        terms={label: tuple(int(i) for i in np.atleast_1d(at)) for label, at in terms.items()},
        formula=wire["formula"],
        frame=_checked_frame(wire["frame"], index, argument),
        language="r",
        removed=_strings(wire.get("removed")),
    )
    return design_module.read_design(given, counts, None, argument=argument)


def _checked_frame(wire: Wire, index: np.ndarray | None, argument: str) -> pd.DataFrame:
    """The variables of a formula: none missing, no level without cells."""
    index = index if index is not None and len(index) == wire["n"] else None
    frame = _frame(wire, index)
    for name in frame.columns:
        formulas.refuse_missing(frame[name], name, argument, index)
        if isinstance(frame[name].dtype, pd.CategoricalDtype):
            formulas.check_levels(frame[name].array, name, argument=argument, language="r")
    return frame


def _constraints(wire: Wire | None) -> Any:
    """None, a dict, strings, or a matrix (a frame where it has names on either side)."""
    if wire is None:
        return None
    if wire["kind"] == "dict":
        pairs = zip(_strings(wire["names"]), wire["values"], strict=True)
        return {name: value if isinstance(value, str) else list(value) for name, value in pairs}
    if wire["kind"] == "strings":
        return list(_strings(wire["values"]))
    matrix = np.ascontiguousarray(wire["matrix"], dtype=float)
    rows, columns = _names(wire.get("rows")), _names(wire.get("columns"))
    if rows is None and columns is None:
        return matrix
    return pd.DataFrame(matrix, index=rows, columns=columns)


# --- what goes to R ---------------------------------------------------------------------------------------------------


def _plain(value: Any) -> Any:
    """Anything a fit or a simulation holds, in a form whose conversion by reticulate loses nothing."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (np.generic, np.ndarray)) and value.ndim == 0:
        value = value.item()
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > _INT32_MAX:
        return float(value)
    if not isinstance(value, np.ndarray):
        return value
    if value.dtype.kind in "OU":
        return value.tolist()
    if value.dtype.kind in "iu" and value.dtype != np.int32:
        return value.astype(float)
    return value.astype(float) if value.dtype == np.float32 else value


def _coded(values: Any) -> Wire:
    """Text as int32 codes (-1 = missing) and levels: repeated names cross once, and NA stays NA."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        codes, levels = values.cat.codes.to_numpy(), values.cat.categories
        kind = "ordered" if values.cat.ordered else "factor"
    else:
        codes, levels = pd.factorize(values)
        kind = "text"
    return {"kind": kind, "codes": np.asarray(codes, dtype=np.int32), "levels": [str(level) for level in levels]}


def _columns(frame: pd.DataFrame) -> dict[str, Any]:
    """A table as a dict of 1-d arrays; R builds the data.frame."""
    columns: dict[str, Any] = {}
    for name, column in frame.items():
        if pd.api.types.is_bool_dtype(column.dtype) and not column.isna().any():
            columns[str(name)] = column.to_numpy(dtype=bool)
        elif column.dtype == np.int32:
            columns[str(name)] = column.to_numpy()
        elif pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype):
            columns[str(name)] = column.to_numpy(dtype=float, na_value=np.nan)
        else:
            columns[str(name)] = _coded(column)
    return columns


# --- the functions ----------------------------------------------------------------------------------------------------


@_answers
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


@_answers
def cell_columns(data: Any, names: Any = None) -> dict[str, Any] | None:
    """Columns of the cell data (``obs``) of a Python object that R holds: those of `names` that exist, or all."""
    obs = getattr(data, "obs", None)
    if not isinstance(obs, pd.DataFrame):
        return None
    wanted = obs.columns if names is None else [name for name in _strings(names) if name in obs.columns]
    return {
        "columns": _columns(obs[list(wanted)]),
        "rows": [str(name) for name in obs.index],
        "all": list(map(str, obs.columns)),
    }


@_answers
def fit_glm(
    counts: Any,
    design: Wire,
    dispersion_design: Wire,
    *,
    cell_data: Wire | None = None,
    constraints: Wire | None = None,
    dispersion_constraints: Wire | None = None,
    gene_names: Any = None,
    layer: str | None = None,
    as_numeric: Any = None,
    as_categorical: Any = None,
    **options: Any,
) -> dict[str, Any]:
    """Fit, and return the engine's fit beside its plain state."""
    read = _counts(counts, cell_data, gene_names, layer)
    _check_types(read.cell_data, _strings(as_numeric), _strings(as_categorical))
    fit = isthmus.fit_glm(
        read,
        _design(design, read, "design"),
        dispersion_design=_design(dispersion_design, read, "dispersion_design"),
        constraints=_constraints(constraints),
        dispersion_constraints=_constraints(dispersion_constraints),
        **{name: _number(value) for name, value in options.items()},
    )
    return _both(fit)


def _check_types(cell_data: pd.DataFrame | None, as_numeric: tuple[str, ...], as_categorical: tuple[str, ...]) -> None:
    """R has applied as_numeric and as_categorical; that they name columns which can be read so is judged here."""
    if as_numeric or as_categorical:
        frame = pd.DataFrame() if cell_data is None else cell_data
        known = [name for name in as_numeric if name in frame.columns]
        formulas.typed_columns(frame, known, argument="design", as_numeric=as_numeric, as_categorical=as_categorical)


def _both(fit: Any) -> dict[str, Any]:
    """The engine's fit, the plain state that R keeps of it, and what R prints."""
    state = {name: _plain(value) for name, value in fit.state().items()}
    answer = {"fit": fit, "kind": type(fit).__name__, "state": state}
    if not isinstance(fit, AmbientFit):
        return answer | {"facts": _glm_facts(fit)}
    for name in ("denoised", "denoised_mean"):  # R keeps these as matrices
        parts = {slot: state.pop(f"{name}_{part}") for slot, part in (("p", "indptr"), ("i", "indices"), ("x", "data"))}
        answer[name] = parts
    return answer | {"facts": _ambient_facts(fit)}


def _ambient_facts(fit: AmbientFit) -> dict[str, Any]:
    known = fit.rho[np.isfinite(fit.rho)]
    flags, counts = np.unique(fit.flag.astype(str), return_counts=True)
    return {
        "id": uuid.uuid4().hex,
        "n_cells": fit.n_cells,
        "n_genes": fit.n_genes,
        "method": fit.settings["method"],
        "profile": fit.settings["profile"],
        "rho": np.quantile(known, [0.05, 0.5, 0.95]) if len(known) else np.full(3, np.nan),
        "observed": float(fit.observed_umi.sum()),
        "denoised": float(fit.denoised.sum(dtype=np.float64)),
        "flags": [str(flag) for flag in flags],
        "flag_counts": counts.astype(float),
        "seed": _plain(fit.settings.get("seed")),
    }


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
    }


def _design_text(design: design_module.Design) -> str:
    return design.formula if design.formula is not None else f"matrix of {len(design.names)} columns"


@_answers
def ambient_profile(cells: Wire, droplets: Wire, *, batch: Any = None, **options: Any) -> dict[str, Any]:
    """The profile table as columns."""
    profile = isthmus.ambient_profile(
        _whole_counts(cells, "cells"),
        _whole_counts(droplets, "droplets"),
        batch=_labels(batch),
        **{name: _number(value) for name, value in options.items()},
    )
    return _columns(profile)


@_answers
def remove_ambient(
    cells: Wire,
    *,
    droplets: Wire | None = None,
    profile: Wire | None = None,
    batch: Any = None,
    labels: Any = None,
    markers: Wire | None = None,
    rho: Any = None,
    **options: Any,
) -> dict[str, Any]:
    """Correct, and return the engine's fit beside its plain state."""
    fit = isthmus.remove_ambient(
        _whole_counts(cells, "cells"),
        droplets=None if droplets is None else _whole_counts(droplets, "droplets"),
        profile=None if profile is None else _profile(profile),
        batch=_labels(batch),
        labels=_labels(labels),
        markers=None if markers is None else _sets(markers),
        rho=float(rho[0]) if isinstance(rho, np.ndarray) and rho.size == 1 else rho,
        **{name: _number(value) for name, value in options.items()},
    )
    return _both(fit)


def _whole_counts(wire: Wire, argument: str) -> counts_module.Counts:
    """Counts whose errors say `argument` where those of a single matrix say `data`."""
    try:
        with messages.collected():  # that fractions are accepted, which the surface then refuses
            return _counts(wire["counts"], wire["cell_data"], None, wire.get("layer"))
    except InputError as error:
        raise InputError(re.sub(r"(?<=[`(])data(?=[`)])", argument, _said(str(error), _IN_R))) from error


def _labels(wire: Any) -> Any:
    """The name of a column, one label per cell, or both for cells and droplets."""
    if not isinstance(wire, Mapping):
        return wire
    return _column(wire) if "kind" in wire else {name: _labels(item) for name, item in wire.items()}


def _profile(wire: Wire) -> Any:
    if wire["kind"] == "table":
        return _frame(wire["table"])
    values, genes = np.asarray(wire["values"], dtype=float), _names(wire.get("genes"))
    return values if genes is None else pd.Series(values, index=genes)


def _sets(wire: Wire) -> dict[str, list[str]]:
    return {name: list(_strings(genes)) for name, genes in zip(_strings(wire["names"]), wire["values"], strict=True)}


@_answers
def check(counts: Any, cell_data: Wire | None, frame: Wire, argument: str) -> None:
    """The checks of counts and of a formula's variables, for a formula that R could not evaluate."""
    read = _counts(counts, cell_data)
    _checked_frame(frame, read.cell_names, argument)


@_answers
def check_design(design: Wire, argument: str) -> None:
    """The checks of one design without counts."""
    _design(design, int(np.shape(design["matrix"])[0]), argument)


@_answers
def check_frame(frame: Wire, argument: str) -> None:
    """The checks of a formula's variables."""
    _checked_frame(frame, None, argument)


@_answers
def unknown_columns(names: Any, available: Any, argument: str) -> None:
    """Refuse names that are no columns, in the words that a Python formula gets."""
    columns = _strings(available)
    frame = pd.DataFrame(columns=list(columns)) if columns else None
    for name in _strings(names):
        design_module.read_design(f"~ `{name}`", 0, frame, argument=argument)


@_answers
def known_levels(values: Any, name: str, levels: Any) -> None:
    """Refuse levels that the fit has not seen."""
    design_module.known_levels(pd.Series(_strings(values), dtype=object), name, _strings(levels))


@_answers
def match_cells(rows: Wire, cells: Wire, genes: Wire | None) -> np.ndarray:
    """The row of `cell_data` of each cell, from 0; refuses the names of the genes, which mean a transposed matrix."""
    labels = pd.Index(_names(rows), dtype=object)
    wanted, gene_names = _names(cells), _names(genes)
    if wanted is not None and gene_names is not None:
        frame = pd.DataFrame(index=labels)
        with _orientation_of_r():
            counts_module.refuse_transposed(len(wanted), len(gene_names), wanted, gene_names, frame, None)
    order = counts_module.match_rows(labels, wanted, argument="cell_data")
    return np.arange(len(labels))[order].astype(np.int32)


@_answers
def proposed_constraints(design: Wire) -> dict[str, Any] | None:
    """For a rank-deficient design: the constraints that would identify it, in the form that `_constraints` reads."""
    read = _design(design, int(np.shape(design["matrix"])[0]), "design")
    if not aliases(read.matrix):
        return None
    proposal = propose(read)
    messages.tell(f"`constraints`: the design is rank-deficient; proposed: {proposal.text}.")
    if isinstance(proposal.constraints, Mapping):
        entries = proposal.constraints
        return {"kind": "dict", "names": list(entries), "values": list(entries.values())}
    return {"kind": "strings", "values": list(proposal.constraints)}


@_answers
def constraint_matrix(design: Wire, constraints: Wire | None, *, cell_data: Wire | None = None) -> dict[str, Any]:
    """H as a matrix with the names of its rows and columns."""
    read = _design(design, int(np.shape(design["matrix"])[0]), "design")
    if read.frame is None and cell_data is not None:
        read = replace(read, frame=_checked_frame(cell_data, None, "constraints"))
    table = constraints_module.constraint_matrix(read, _constraints(constraints))
    return {"matrix": table.to_numpy(dtype=float), "rows": list(table.index), "columns": list(table.columns)}


@_answers
def restore(state: Wire, kind: str = "GlmFit") -> Any:
    """The engine's fit of a state that R has kept."""
    return {"GlmFit": GlmFit, "AmbientFit": AmbientFit}[kind].from_state(dict(state))


@_answers
def test_glm(fit: GlmFit, **options: Any) -> dict[str, Any]:
    """Test a fit; the table as columns."""
    return _columns(isthmus.test_glm(fit, **{name: _number(value) for name, value in options.items()}))


test_glm.__test__ = False  # type: ignore[attr-defined]  # pytest collects what is called test_*


@_answers
def table(fit: GlmFit | AmbientFit, name: str) -> dict[str, Any]:
    """One table of a fit as columns."""
    return _columns(fit.table(name))


@_answers
def summary(fit: GlmFit | AmbientFit) -> str:
    """The text of ``fit.summary()``."""
    return fit.summary()


@_answers
def covariance(fit: GlmFit, gene: float, information: str = "expected") -> np.ndarray:
    """The covariance of one gene's parameters (gene counted from 0), mean model first."""
    return fit.covariance(information=information)[int(gene)]


@_answers
def predict(fit: GlmFit, designs: Wire | None, *, type: str = "mean", **options: Any) -> np.ndarray:
    """Predictions, genes x cells; `designs` holds both designs of new cells, or is None for the fit's own cells."""
    if designs is None:
        return fit.predict(type=type, **options).to_numpy().T
    name, part = ("dispersion", fit.dispersion_model) if type == "dispersion" else ("mean", fit.mean_model)
    wire = designs[name]
    rows, names = np.ascontiguousarray(wire["matrix"], dtype=float), _names(wire.get("names"))
    if part.design.formula is None:
        newdata = rows if names is None else pd.DataFrame(rows, columns=names)
        return fit.predict(newdata, type=type, **options).to_numpy().T
    # R has evaluated the formula's part
    base = {"dispersion_base" if type == "dispersion" else "base": rows}
    return fit.predict(_frame(wire["frame"]), type=type, **base, **options).to_numpy().T


@_answers
def residuals(
    fit: GlmFit, counts: Any, cell_data: Wire | None, *, layer: str | None = None, **options: Any
) -> np.ndarray:
    """Residuals, genes x cells."""
    return fit.residuals(_counts(counts, cell_data, None, layer), **options).to_numpy().T


@_answers
def save_fit(fit: GlmFit | AmbientFit, path: str, *, overwrite: bool = False, own: Any = None) -> None:
    """Save a fit; `own` are the bytes (as integers) of what only R knows: terms and levels of its formulas."""
    text = base64.b64encode(np.asarray(own, dtype=np.uint8).tobytes()).decode("ascii")
    isthmus.save_fit(replace(fit, settings=fit.settings | {"r": text}), path, overwrite=overwrite)


@_answers
def load_fit(path: str) -> dict[str, Any]:
    """Load a fit, in the form of `fit_glm`, with R's own part where R has saved it."""
    fit = isthmus.load_fit(path)
    own = base64.b64decode(fit.settings.get("r", ""))
    kept = {name: value for name, value in fit.settings.items() if name != "r"}
    return _both(replace(fit, settings=kept)) | {"own": np.frombuffer(own, dtype=np.uint8).astype(np.int32)}


@_answers
def simulate_counts(**options: Any) -> dict[str, Any]:
    """Simulated counts as the slots of a genes x cells dgCMatrix, with cell data and truth."""
    for name in ("design", "dispersion_design"):
        if options.get(name) is not None:
            options[name] = _simulated_design(options[name])
    return _experiment(isthmus.simulate_counts(**{name: _number(value) for name, value in options.items()}))


@_answers
def simulate_ambient(**options: Any) -> dict[str, Any]:
    """Cells and droplets, each as `simulate_counts` gives them; the cells with their native counts and markers."""
    from isthmus.testing import simulate_ambient as simulate

    cells, droplets = simulate(**{name: _number(value) for name, value in options.items()})
    truth = {"native": _slots(cells.layers["native"]), "marker": _coded(cells.var["marker"])}
    return {"cells": _experiment(cells) | truth, "droplets": _experiment(droplets)}


def _experiment(adata: Any) -> dict[str, Any]:
    obs = adata.obs.copy()
    stored = obs.pop("size_factors").to_numpy(dtype=float) if "size_factors" in obs else None
    return _slots(adata.X) | {
        "genes": list(adata.var_names),
        "cells": list(adata.obs_names),
        "obs": _columns(obs),
        "varm": {name: np.asarray(values, dtype=float) for name, values in adata.varm.items()},
        "metadata": _plain({**adata.uns, **{name: np.asarray(adata.obsm[name]) for name in adata.obsm}}),
        "size_factors": stored,
    }


def _slots(matrix: Any) -> dict[str, np.ndarray]:
    """The slots of the genes x cells dgCMatrix that a cells x genes matrix is."""
    rows = sparse.csr_matrix(matrix)
    rows.sort_indices()
    return {"p": rows.indptr.astype(np.int32), "i": rows.indices.astype(np.int32), "x": rows.data.astype(float)}


def _simulated_design(wire: Wire) -> Any:
    matrix, names = np.ascontiguousarray(wire["matrix"], dtype=float), _names(wire.get("names"))
    return matrix if names is None else pd.DataFrame(matrix, columns=names)


@_answers
def spin(seconds: float, where: str = "cpp") -> None:
    """Do nothing for a while, in C++ or in Python: what a test interrupts."""
    kernel.spin(float(seconds), where=where)
