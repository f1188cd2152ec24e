"""``de.fit``: a model for every gene, its residuals, and one model a group of cells."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from isthmus.compat.diffxpy import options
from isthmus.compat.diffxpy.estimator import Estimator
from isthmus.compat.wording import no_effect
from isthmus.data.counts import Counts, read_counts, read_values
from isthmus.errors import InputError
from isthmus.glm.fit import fit_glm

_BY_CELL = ("size_factors", "dmat_loc", "dmat_scale")


def model(
    data: Any,
    formula_loc: str | None = None,
    formula_scale: str | None = "~1",
    as_numeric: list[str] | tuple[str, ...] | str = (),
    init_a: np.ndarray | str = "AUTO",
    init_b: np.ndarray | str = "AUTO",
    gene_names: Any = None,
    sample_description: pd.DataFrame | None = None,
    dmat_loc: Any = None,
    dmat_scale: Any = None,
    constraints_loc: Any = None,
    constraints_scale: Any = None,
    noise_model: str = "nb",
    size_factors: Any = None,
    batch_size: Any = None,
    training_strategy: str | list[dict[str, object]] | Callable[..., Any] = "AUTO",
    quick_scale: bool = False,  # noqa: FBT001, FBT002
    dtype: str = "float64",
    **kwargs: Any,
) -> Estimator:
    """Fit a negative-binomial model to every gene by maximum likelihood.

    Parameters
    ----------
    data
        Counts, cells x genes: AnnData, ``AnnData.raw``, ndarray, scipy sparse matrix, DataFrame, or the input data of
        `isthmus.compat.batchglm`.
    formula_loc, formula_scale
        Formulas of log mu and log r. One of `formula_loc` and `dmat_loc` is needed.
    as_numeric
        Columns to take as numbers. Columns of numbers are numeric anyway (a deviation from diffxpy).
    init_a, init_b
        "AUTO", "standard", "closed_form", "all_zero", or free parameters x genes (b in log r). The optimum is the same.
    gene_names
        Where `data` has none.
    sample_description
        One row per cell; default ``data.obs``.
    dmat_loc, dmat_scale
        Designs: DataFrame, patsy DesignMatrix or ndarray. They stand before the formulas.
    constraints_loc, constraints_scale
        None; an array (rows in which the parameters marked 1 or -1 sum to zero, or all x free parameters);
        ``{"batch": "condition"}``; strings such as ``"b1 + b2 = 0"``.
    noise_model
        "nb" or "negative_binomial", "poisson"; "norm" (also "normal"), whose scale is the standard deviation.
    size_factors
        Linear, positive: one per cell, or a column's name. None = 1.
    batch_size
        (cells, genes): the genes laid out at once. A number of cells has no effect.
    training_strategy
        A name or a list of steps (no effect), or a function that is called with the fitted estimator.
    quick_scale
        Estimate the scale by moments.
    dtype
        "float64"; with "float32" a message says that the fit runs in float64.
    **kwargs
        Without effect; a message names them.

    Returns
    -------
    Estimator
        With diffxpy's attributes, and the fit itself as ``.fit``.

    Raises
    ------
    InputError
        Whatever does not fit.

    Examples
    --------
    >>> import isthmus, isthmus.compat.diffxpy as de
    >>> adata = isthmus.simulate_counts(200, 3, seed=0)
    >>> adata.obs["condition"] = ["a"] * 100 + ["b"] * 100
    >>> estim = de.fit.model(adata, "~ 1 + condition")
    >>> estim.a_var.shape
    (2, 3)
    """
    options.check_strategy(training_strategy)
    options.check_dtype(dtype)
    options.tell_unused(kwargs)
    noise = options.read_noise(noise_model)
    counts = read_data(data, gene_names, sample_description, any_values=noise == "normal")
    if quick_scale and noise == "normal":
        no_effect("quick_scale", "the variance of the normal model takes no time")
    fit = fit_glm(
        counts,
        options.read_design(formula_loc, dmat_loc, "formula_loc", "dmat_loc", None),
        dispersion_design=options.read_design(formula_scale, dmat_scale, "formula_scale", "dmat_scale", "~1"),
        constraints=constraints_loc,
        dispersion_constraints=constraints_scale,
        size_factors=size_factors,
        noise_model=noise,  # type: ignore[arg-type]  # fit_glm judges it
        dispersion="moments" if quick_scale and noise != "normal" else "ml",
        as_numeric=options.names_tuple(as_numeric),
        init=options.read_init("init_a", init_a),
        dispersion_init=options.read_init("init_b", init_b, noise),
        chunk_genes=options.read_batch_size(batch_size),
    )
    estimator = Estimator(fit, counts)
    if callable(training_strategy):
        training_strategy(estimator)
    return estimator


def residuals(data: Any, *args: Any, **kwargs: Any) -> pd.DataFrame:
    """Counts minus fitted means of `model` with the same arguments, cells x genes."""
    estimator = model(data, *args, **kwargs)
    return estimator.fit.residuals(estimator.counts, "response")


class partition:
    """Models of groups of cells: ``de.fit.partition(data, parts="celltype").model(formula_loc=...)``.

    Parameters
    ----------
    data
        As for `model`.
    parts
        A column of the cell data, or one label per cell.
    gene_names, sample_description
        As for `model`.
    """

    def __init__(
        self,
        data: Any,
        parts: Any,
        gene_names: Any = None,
        sample_description: pd.DataFrame | None = None,
    ) -> None:
        self._counts = read_data(data, gene_names, sample_description)
        self._rows = group_rows(self._counts, parts, "parts")

    def model(self, **options_of_model: Any) -> dict[str, Estimator]:
        """Fit `model` to each group; a dict by label. What has one entry per cell is divided like the cells."""
        return {label: model(part, **chosen) for label, part, chosen in self._parts(options_of_model)}

    def residuals(self, **options_of_model: Any) -> dict[str, pd.DataFrame]:
        """`residuals` of each group; a dict by label."""
        return {label: residuals(part, **chosen) for label, part, chosen in self._parts(options_of_model)}

    def _parts(self, given: dict[str, Any]) -> Iterator[tuple[str, Counts, dict[str, Any]]]:
        by_cell = [name for name in _BY_CELL if given.get(name) is not None and not isinstance(given[name], str)]
        for label, rows in self._rows.items():
            yield label, take_cells(self._counts, rows), given | {name: _take(given[name], rows) for name in by_cell}


def _take(values: Any, rows: np.ndarray) -> Any:
    return values.iloc[rows] if isinstance(values, (pd.Series, pd.DataFrame)) else np.asarray(values)[rows]


def read_data(data: Any, gene_names: Any, sample_description: Any, *, any_values: bool = False) -> Counts:
    """The counts of whatever `model` takes; with `any_values` they need not be counts."""
    cell_data = options.description(data, sample_description)
    if isinstance(data, Counts):
        return data
    given = getattr(data, "counts", data)  # batchglm's input data
    read = read_values if any_values else read_counts
    return given if isinstance(given, Counts) else read(data, cell_data=cell_data, gene_names=gene_names)


def group_rows(counts: Counts, groups: Any, argument: str) -> dict[str, np.ndarray]:
    """The rows of each group of a column's name or of one label per cell, in sorted order of the labels."""
    if isinstance(groups, str):
        frame = counts.cell_data
        if frame is None or groups not in frame.columns:
            msg = (
                f"`{argument}` must be a column of the cell data or one label per cell; no column is named {groups!r}."
            )
            raise InputError(msg)
        groups = frame[groups]
    labels = pd.Series(np.asarray(groups, dtype=object))
    if len(labels) != counts.n_cells:
        msg = f"`{argument}` must have one label per cell ({counts.n_cells}); got {len(labels)}."
        raise InputError(msg)
    if labels.isna().any():
        msg = (
            f"`{argument}` must not be missing; got {int(labels.isna().sum())} cells without a label. Drop those cells."
        )
        raise InputError(msg)
    text = labels.astype(str)
    return {label: np.flatnonzero(text == label) for label in sorted(text.unique())}


def take_cells(counts: Counts, rows: np.ndarray) -> Counts:
    """Some cells of the counts; factors lose the levels that have no cell left."""
    frame = counts.cell_data
    if frame is not None:
        frame = frame.iloc[rows].copy()
        for name in frame.columns[[isinstance(dtype, pd.CategoricalDtype) for dtype in frame.dtypes]]:
            frame[name] = frame[name].cat.remove_unused_categories()
    stored = counts.stored_size_factors
    return replace(
        counts,
        matrix=counts.matrix[rows],
        cell_names=counts.cell_names[rows],
        cell_data=frame,
        stored_size_factors=None if stored is None else stored[rows],
    )
