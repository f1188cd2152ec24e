"""Replicates: which cells belong together, whether a contrast can be tested between them, and warnings about few."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from isthmus.data.counts import cell_order
from isthmus.data.wording import cells_where, did_you_mean, plural, some
from isthmus.errors import InputError, ReplicateWarning

if TYPE_CHECKING:
    from isthmus.glm.hypothesis import Hypothesis
    from isthmus.glm.result import GlmFit
    from isthmus.glm.source import Evidence

_FEW = 4  # replicates an arm
_UNEVEN = 3.0  # times the median number of cells


@dataclass(frozen=True, eq=False)
class Replicates:
    """Names of the replicates and the one of each cell, ``(n_cells,)``, from 0."""

    names: np.ndarray
    of_cell: np.ndarray

    @property
    def sizes(self) -> np.ndarray:
        """Cells of each."""
        return np.bincount(self.of_cell, minlength=len(self.names))


def read_replicates(replicate: Any, fit: GlmFit, evidence: Evidence) -> Replicates:
    """A column's name or one label per cell."""
    values = _column(replicate, fit, evidence) if isinstance(replicate, str) else _labels(replicate, fit)
    missing = np.asarray(pd.isna(values))
    if missing.any():
        msg = f"`replicate` must not be missing; got missing values in {cells_where(missing, fit.cell_names)}."
        raise InputError(msg)
    codes, names = pd.factorize(np.asarray(values, dtype=object).astype(str), sort=True)
    if len(names) < 2:
        msg = f"`replicate` must name at least two replicates; got one, {some(names)}."
        raise InputError(msg)
    return Replicates(np.asarray(names, dtype=object), np.asarray(codes))


def check_contrast(fit: GlmFit, tested: Hypothesis, replicates: Replicates, *, warn: bool = True) -> None:
    """Refuse a contrast that lies in what columns constant within replicates absorb, and warn of few or uneven ones.

    The columns of the free design that do not vary within a replicate span a model of the replicates themselves. A
    contrast weighs replicates through it; if these weights lie where that model leaves no residual, the variance
    between replicates cannot be estimated.
    """
    if tested.model != "mean":
        msg = '`replicate` is for tests of the mean model; got model="dispersion".'
        raise InputError(msg)
    weights, left = _between(fit.mean_model.free_design, tested.free, replicates)
    absorbed = np.array([w.any() and not (np.abs(w) * (left > 1e-8)).max() > 1e-8 * np.abs(w).max() for w in weights])
    if absorbed.any():
        msg = (
            f"`replicate` needs a design that leaves variance between replicates; '{tested.label}' lies in what "
            "columns that are constant within replicates absorb, so none is left to judge it by. Take the replicates' "
            "effects out of the design, or test a contrast within replicates."
        )
        raise InputError(msg)
    if warn:
        _warn_few(weights, replicates)


def _between(x: np.ndarray, rows: np.ndarray, replicates: Replicates) -> tuple[np.ndarray, np.ndarray]:
    """Weights of the replicates in each row of the contrast, ``(k, m)``, and what the model of the replicates leaves of
    each, ``(m,)``: 1 - leverage."""
    m, means = len(replicates.names), _group_means(x, replicates)
    within = x - means[replicates.of_cell]
    _, size, axes = np.linalg.svd(within, full_matrices=False)  # full ones are cells x cells
    rank = int((size > 1e-9 * max(float(np.abs(x).max()), 1.0) * np.sqrt(len(x))).sum())
    constant = axes[rank:].T  # directions without variation within replicates
    if not constant.shape[1]:
        return np.zeros((len(rows), m)), np.ones(m)
    model = means @ constant
    inverse = np.linalg.pinv(model)
    left = 1 - np.einsum("mt,tm->m", model, inverse)
    weights = rows @ constant @ inverse
    weights[np.abs(weights) < 1e-10 * max(1.0, float(np.abs(rows).max()))] = 0
    return weights, left


def _group_means(x: np.ndarray, replicates: Replicates) -> np.ndarray:
    indicator = (replicates.of_cell[None, :] == np.arange(len(replicates.names))[:, None]).astype(float)
    return np.asarray(indicator @ x / replicates.sizes[:, None])


def _warn_few(weights: np.ndarray, replicates: Replicates) -> None:
    between = weights[weights.any(axis=1)]
    arms = [min(int((w > 0).sum()) or m, int((w < 0).sum()) or m) for w in between for m in [len(w)]]
    fewest = min([*arms, len(replicates.names)])
    if fewest < _FEW:
        msg = (
            f"`replicate`: {plural(fewest, 'replicate')} in an arm of this contrast; below {_FEW} their variance is "
            "hardly known, and p-values depend on the small-sample correction. Add replicates, or test pseudobulk() "
            "sums with 'qlf'."
        )
        warnings.warn(msg, ReplicateWarning, stacklevel=5)
    sizes = replicates.sizes
    if sizes.max() > _UNEVEN * np.median(sizes):
        largest = replicates.names[int(sizes.argmax())]
        msg = (
            f"`replicate`: '{largest}' has {sizes.max():,} cells, over {_UNEVEN:g} times the median of "
            f"{np.median(sizes):,.0f}; sandwich variances lean on it. Test pseudobulk() sums with 'qlf' instead."
        )
        warnings.warn(msg, ReplicateWarning, stacklevel=5)


def _column(name: str, fit: GlmFit, evidence: Evidence) -> Any:
    for frame in (evidence.counts.cell_data, fit.mean_model.design.frame, fit.dispersion_model.design.frame):
        if frame is not None and name in frame.columns:
            return frame[name].to_numpy()
    known = [] if evidence.counts.cell_data is None else [str(c) for c in evidence.counts.cell_data.columns]
    msg = (
        f"`replicate` must be a column of the cells' data or one label per cell; there is no column '{name}'. "
        f"{did_you_mean(name, known)}"
    )
    raise InputError(msg)


def _labels(values: Any, fit: GlmFit) -> Any:
    if np.ndim(values) != 1 or len(values) != fit.n_cells:
        got = " x ".join(map(str, np.shape(values))) or type(values).__name__
        msg = f"`replicate` must be a column's name or one label per cell ({fit.n_cells}); got {got}."
        raise InputError(msg)
    if isinstance(values, pd.Series):
        return values.to_numpy()[cell_order(values.index, fit.cell_names, argument="replicate")]
    return values
