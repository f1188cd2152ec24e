"""The GLM's functions as R calls them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

import isthmus
from isthmus import messages
from isthmus.bridge.answers import answers, orientation_of_r
from isthmus.bridge.counts import counts_of_r
from isthmus.bridge.plain import as_columns, plain_experiment, slots
from isthmus.bridge.state import with_state
from isthmus.bridge.wire import Wire, as_labelled, as_number, as_strings, read_column, read_frame, read_names
from isthmus.data import counts as counts_module
from isthmus.data import design as design_module
from isthmus.data import formulas
from isthmus.errors import InputError
from isthmus.glm import constraints as constraints_module
from isthmus.glm import cooks, curves, filtering, group_tests, shrink
from isthmus.glm.offset import read_offset
from isthmus.glm.proposals import propose
from isthmus.glm.rank import aliases
from isthmus.glm.reduced import KeptTerms
from isthmus.glm.result import GlmFit
from isthmus.glm.source import same_counts


def _design(wire: Wire, counts: counts_module.Counts | int, argument: str) -> design_module.Design:
    """A design that R has evaluated (a formula's, with its terms), or a bare matrix."""
    matrix = np.ascontiguousarray(wire["matrix"], dtype=float)
    names, rows = read_names(wire.get("names")), read_names(wire.get("rows"))
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
        removed=as_strings(wire.get("removed")),
    )
    return design_module.read_design(given, counts, None, argument=argument)


def _checked_frame(wire: Wire, index: np.ndarray | None, argument: str) -> pd.DataFrame:
    """The variables of a formula: none missing, no level without cells."""
    index = index if index is not None and len(index) == wire["n"] else None
    frame = read_frame(wire, index)
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
        pairs = zip(as_strings(wire["names"]), wire["values"], strict=True)
        return {name: value if isinstance(value, str) else list(value) for name, value in pairs}
    if wire["kind"] == "strings":
        return list(as_strings(wire["values"]))
    matrix = np.ascontiguousarray(wire["matrix"], dtype=float)
    rows, columns = read_names(wire.get("rows")), read_names(wire.get("columns"))
    if rows is None and columns is None:
        return matrix
    return pd.DataFrame(matrix, index=rows, columns=columns)


@answers
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
    offset: Any = None,
    formula_offset: Any = None,
    **options: Any,
) -> dict[str, Any]:
    """Fit, and return the engine's fit beside its plain state. `formula_offset`: R's offset() terms, per cell."""
    any_values = options.get("noise_model") in ("normal", "norm")
    read = counts_of_r(counts, cell_data, gene_names, layer, keep_stored=True, any_values=any_values)
    _check_types(read.cell_data, as_strings(as_numeric), as_strings(as_categorical))
    fit = isthmus.fit_glm(
        read,
        _design(design, read, "design"),
        dispersion_design=_design(dispersion_design, read, "dispersion_design"),
        constraints=_constraints(constraints),
        dispersion_constraints=_constraints(dispersion_constraints),
        offset=_with_terms(as_labelled(offset), formula_offset, read),
        **{name: as_labelled(as_number(value)) for name, value in options.items()},
    )
    return with_state(fit)


def _with_terms(offset: Any, terms: Any, counts: counts_module.Counts) -> Any:
    """An offset and what offset() terms of a formula add to it in each cell."""
    if terms is None:
        return offset
    own, by_gene = read_offset(offset, counts)
    added = np.asarray(terms, dtype=float)
    return own + added if by_gene is None else by_gene + added[:, None]


def _check_types(cell_data: pd.DataFrame | None, as_numeric: tuple[str, ...], as_categorical: tuple[str, ...]) -> None:
    """R has applied as_numeric and as_categorical; that they name columns which can be read so is judged here."""
    if as_numeric or as_categorical:
        frame = pd.DataFrame() if cell_data is None else cell_data
        known = [name for name in as_numeric if name in frame.columns]
        formulas.typed_columns(frame, known, argument="design", as_numeric=as_numeric, as_categorical=as_categorical)


@answers
def check(counts: Any, cell_data: Wire | None, frame: Wire, argument: str) -> None:
    """The checks of counts and of a formula's variables, for a formula that R could not evaluate."""
    read = counts_of_r(counts, cell_data)
    _checked_frame(frame, read.cell_names, argument)


@answers
def check_design(design: Wire, argument: str) -> None:
    """The checks of one design without counts."""
    _design(design, int(np.shape(design["matrix"])[0]), argument)


@answers
def check_frame(frame: Wire, argument: str) -> None:
    """The checks of a formula's variables."""
    _checked_frame(frame, None, argument)


@answers
def unknown_columns(names: Any, available: Any, argument: str) -> None:
    """Refuse names that are no columns, in the words that a Python formula gets."""
    columns = as_strings(available)
    frame = pd.DataFrame(columns=list(columns)) if columns else None
    for name in as_strings(names):
        design_module.read_design(f"~ `{name}`", 0, frame, argument=argument)


@answers
def known_levels(values: Any, name: str, levels: Any) -> None:
    """Refuse levels that the fit has not seen."""
    design_module.known_levels(pd.Series(as_strings(values), dtype=object), name, as_strings(levels))


@answers
def match_cells(rows: Wire, cells: Wire, genes: Wire | None) -> np.ndarray:
    """The row of `cell_data` of each cell, from 0; refuses the names of the genes, which mean a transposed matrix."""
    labels = pd.Index(read_names(rows), dtype=object)
    wanted, gene_names = read_names(cells), read_names(genes)
    if wanted is not None and gene_names is not None:
        frame = pd.DataFrame(index=labels)
        with orientation_of_r():
            counts_module.refuse_transposed(len(wanted), len(gene_names), wanted, gene_names, frame, None)
    order = counts_module.match_rows(labels, wanted, argument="cell_data")
    return np.arange(len(labels))[order].astype(np.int32)


@answers
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


@answers
def constraint_matrix(design: Wire, constraints: Wire | None, *, cell_data: Wire | None = None) -> dict[str, Any]:
    """H as a matrix with the names of its rows and columns."""
    read = _design(design, int(np.shape(design["matrix"])[0]), "design")
    if read.frame is None and cell_data is not None:
        read = replace(read, frame=_checked_frame(cell_data, None, "constraints"))
    table = constraints_module.constraint_matrix(read, _constraints(constraints))
    return {"matrix": table.to_numpy(dtype=float), "rows": list(table.index), "columns": list(table.columns)}


@answers
def test_glm(
    fit: GlmFit,
    counts: Any = None,
    cell_data: Wire | None = None,
    *,
    layer: str | None = None,
    remembered: bool = False,
    reduced: Any = None,
    replicate: Any = None,
    **options: Any,
) -> dict[str, Any]:
    """Test a fit; the table as columns. `remembered`: R has found the counts itself, so they may be other ones."""
    data = None if counts is None else _counts_again(fit, counts, cell_data, layer, remembered=remembered)
    options = {name: as_labelled(as_number(value)) for name, value in options.items()}
    replicate = np.asarray(read_column(replicate)) if isinstance(replicate, Mapping) else replicate
    return as_columns(isthmus.test_glm(fit, data=data, reduced=_reduced(reduced), replicate=replicate, **options))


def _counts_again(fit: GlmFit, wire: Any, cell_data: Wire | None, layer: str | None, *, remembered: bool) -> Any:
    try:
        any_values = fit.settings["noise_model"] == "normal"
        counts = counts_of_r(wire, cell_data, None, layer, keep_stored=True, any_values=any_values)
        return same_counts(fit, counts, None)
    except InputError:
        if remembered:
            return None
        raise


def _reduced(wire: Any) -> Any:
    """A formula's terms as R reads them, names of coefficients, or a matrix."""
    if not isinstance(wire, Mapping) or wire.get("kind") != "formula":
        return list(as_strings(wire)) if isinstance(wire, (str, list)) else as_labelled(wire)
    return KeptTerms(as_strings(wire["labels"]), wire["text"])


test_glm.__test__ = False  # type: ignore[attr-defined]  # pytest collects what is called test_*


@answers
def pseudobulk(
    counts: Any, cell_data: Wire, by: Any, *, layer: str | None = None, min_cells: Any = 10
) -> dict[str, Any]:
    """Sums as the slots of a genes x groups dgCMatrix, with the groups' data."""
    read = counts_of_r(counts, cell_data, None, layer, keep_stored=True)
    summed = isthmus.pseudobulk(read, list(as_strings(by)), min_cells=as_number(min_cells))
    names = {"genes": list(summed.var_names), "cells": list(summed.obs_names)}
    return slots(summed.X) | names | {"obs": as_columns(summed.obs)}


@answers
def expressed_genes(
    counts: Any, design: Wire, cell_data: Wire | None, *, layer: str | None = None, **options: Any
) -> dict[str, Any]:
    """Which genes have enough counts, with their names."""
    read = counts_of_r(counts, cell_data, None, layer)
    kept = filtering.expressed_genes(read, _design(design, read, "design"), **options)
    return {"genes": list(kept.index), "kept": kept.to_numpy(dtype=bool)}


@answers
def filter_by_mean(contrast: Any, mean: Any, pval: Any, *, fdr: float = 0.1) -> np.ndarray:
    """Adjusted p-values after independent filtering."""
    numbers = {"mean": np.atleast_1d(mean), "pval": np.atleast_1d(pval), "padj": np.atleast_1d(pval)}
    test = pd.DataFrame({"contrast": list(as_strings(contrast)), **numbers})
    return filtering.filter_by_mean(test, fdr=fdr)["padj"].to_numpy(dtype=float)


@answers
def cooks_distance(
    fit: GlmFit,
    counts: Any,
    cell_data: Wire | None,
    *,
    layer: str | None = None,
    remembered: bool = False,
    offset: Any = None,
    weights: Any = None,
) -> np.ndarray:
    """Cook's distances, genes x cells."""
    data = None if counts is None else _counts_again(fit, counts, cell_data, layer, remembered=remembered)
    found = cooks.cooks_distance(fit, data, offset=as_labelled(offset), weights=as_labelled(weights))
    return np.ascontiguousarray(found.to_numpy().T)


@answers
def flag_outliers(
    fit: GlmFit,
    gene: Any,
    pval: Any,
    padj: Any,
    counts: Any,
    cell_data: Wire | None,
    *,
    layer: str | None = None,
    remembered: bool = False,
    cutoff: Any = None,
    drop: Any = True,
    offset: Any = None,
    weights: Any = None,
) -> dict[str, Any]:
    """The columns of a test that outliers change."""
    data = None if counts is None else _counts_again(fit, counts, cell_data, layer, remembered=remembered)
    test = pd.DataFrame({"gene": list(as_strings(gene)), "pval": np.atleast_1d(pval), "padj": np.atleast_1d(padj)})
    options = {"offset": as_labelled(offset), "weights": as_labelled(weights)}
    found = cooks.flag_outliers(test, fit, data, cutoff=as_number(cutoff), drop=drop, **options)
    return {name: found[name].to_numpy() for name in ("pval", "padj", "max_cooks", "outlier")}


@answers
def compare_groups(
    counts: Any,
    cell_data: Wire | None,
    groups: Any,
    *,
    layer: str | None = None,
    gene_names: Any = None,
    **options: Any,
) -> dict[str, Any]:
    """Tests without a model; the table as columns."""
    read = counts_of_r(counts, cell_data, gene_names, layer)
    labels = read_column(groups) if isinstance(groups, Mapping) else groups
    options = {name: as_labelled(as_number(value)) for name, value in options.items()}
    return as_columns(group_tests.compare_groups(read, labels, **options))


@answers
def curve_extremes(fit: GlmFit, covariate: str) -> dict[str, Any]:
    """Extremes of fitted curves; the table as columns."""
    return as_columns(curves.curve_extremes(fit, covariate))


@answers
def shrink_glm(
    fit: GlmFit,
    counts: Any,
    cell_data: Wire | None,
    *,
    layer: str | None = None,
    remembered: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """Shrunken estimates; the table as columns."""
    data = None if counts is None else _counts_again(fit, counts, cell_data, layer, remembered=remembered)
    options = {name: as_labelled(as_number(value)) for name, value in options.items()}
    return as_columns(shrink.shrink_glm(fit, data=data, **options))


@answers
def covariance(fit: GlmFit, gene: float, information: str = "expected") -> np.ndarray:
    """The covariance of one gene's parameters (gene counted from 0), mean model first."""
    return fit.covariance(information=information)[int(gene)]


@answers
def predict(fit: GlmFit, designs: Wire | None, *, type: str = "mean", **options: Any) -> np.ndarray:
    """Predictions, genes x cells; `designs` holds both designs of new cells, or is None for the fit's own cells."""
    options = {key: as_labelled(value) for key, value in options.items()}
    if designs is None:
        return fit.predict(type=type, **options).to_numpy().T
    name, part = ("dispersion", fit.dispersion_model) if type == "dispersion" else ("mean", fit.mean_model)
    wire = designs[name]
    rows, names = np.ascontiguousarray(wire["matrix"], dtype=float), read_names(wire.get("names"))
    if part.design.formula is None:
        newdata = rows if names is None else pd.DataFrame(rows, columns=names)
        return fit.predict(newdata, type=type, **options).to_numpy().T
    # R has evaluated the formula's part
    base = {"dispersion_base" if type == "dispersion" else "base": rows}
    return fit.predict(read_frame(wire["frame"]), type=type, **base, **options).to_numpy().T


@answers
def residuals(
    fit: GlmFit, counts: Any, cell_data: Wire | None, *, layer: str | None = None, **options: Any
) -> np.ndarray:
    """Residuals, genes x cells."""
    options = {name: as_labelled(value) for name, value in options.items()}
    any_values = fit.settings["noise_model"] == "normal"
    return fit.residuals(counts_of_r(counts, cell_data, None, layer, any_values=any_values), **options).to_numpy().T


@answers
def simulate_counts(**options: Any) -> dict[str, Any]:
    """Simulated counts as the slots of a genes x cells dgCMatrix, with cell data and truth."""
    for name in ("design", "dispersion_design"):
        if options.get(name) is not None:
            options[name] = _simulated_design(options[name])
    return plain_experiment(isthmus.simulate_counts(**{name: as_number(value) for name, value in options.items()}))


def _simulated_design(wire: Wire) -> Any:
    matrix, names = np.ascontiguousarray(wire["matrix"], dtype=float), read_names(wire.get("names"))
    return matrix if names is None else pd.DataFrame(matrix, columns=names)
