"""Arguments of the functions of a fit of the network, read and checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from isthmus.ambient.profile import is_number
from isthmus.ambient.reading import read_whole_counts
from isthmus.data.wording import did_you_mean, plural, some
from isthmus.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scipy import sparse

    from isthmus.ambient.result import AmbientFit
    from isthmus.ambient.scar.model import Posterior


def posterior_of(fit: AmbientFit) -> Posterior:
    """The decoder and the latent posterior of a fit's cells.

    Raises
    ------
    InputError
        A fit of another method.
    """
    from isthmus.ambient.scar.model import Posterior

    network = getattr(fit, "network", None)
    if network is None:
        msg = '`fit` must be a fit of remove_ambient(method="scar"): only that has a latent space; got another.'
        raise InputError(msg)
    return Posterior(network, network.mean, network.variance, fit.observed_umi, fit.ambient, fit.batch.astype(np.intp))


def counts_of(fit: AmbientFit, cells: Any, layer: str | None) -> sparse.csr_matrix:
    counts = read_whole_counts(cells, "cells", layer)
    same = counts.matrix.shape == (fit.n_cells, fit.n_genes) and (counts.gene_names == fit.gene_names).all()
    if not same or not np.array_equal(np.asarray(counts.matrix.sum(axis=1)).ravel(), fit.observed_umi):
        msg = (
            f"`cells` must be the counts of the fit ({fit.n_cells:,} cells x {fit.n_genes:,} genes); got "
            f"{counts.n_cells:,} x {counts.n_genes:,}, or other counts. Pass the object of the fit."
        )
        raise InputError(msg)
    return counts.matrix


def whole(name: str, value: Any, least: int = 1) -> int:
    if not (is_number(value) and float(value).is_integer() and value >= least):
        msg = f"`{name}` must be a whole number of at least {least}; got {value!r}."
        raise InputError(msg)
    return int(value)


def samples(value: Any) -> int | None:
    return None if value is None else whole("n_samples", value)


def places(fit: AmbientFit, genes: Iterable[str] | None) -> np.ndarray:
    """Positions of the genes asked for, in the order asked."""
    if genes is None:
        return np.arange(fit.n_genes)
    names = [genes] if isinstance(genes, str) else list(map(str, genes))
    place = pd.Index(fit.gene_names).get_indexer(pd.Index(names, dtype=object))
    if not names or (place < 0).any():
        wrong = [name for name, at in zip(names, place, strict=True) if at < 0]
        found = f"{plural(len(wrong), 'unknown name')} ({some(wrong)})" if wrong else "none"
        hint = did_you_mean(wrong[0], list(fit.gene_names)) if wrong else "Leave it out for all."
        msg = f"`genes` must name genes of the fit; got {found}. {hint}"
        raise InputError(msg)
    return np.asarray(place)


def groups_of(fit: AmbientFit, groupby: Any, argument: str = "groupby") -> np.ndarray:
    """One label per cell, as text: "cluster" and "batch" are those of the fit."""
    if isinstance(groupby, str):
        if groupby not in ("cluster", "batch"):
            msg = f"`{argument}` must be 'cluster', 'batch' or one label per cell of the fit; got '{groupby}'."
            raise InputError(msg)
        return np.asarray(fit.clusters if groupby == "cluster" else fit.batch_names[fit.batch], dtype=str)
    labels = pd.Series(np.asarray(groupby, dtype=object).reshape(-1))
    if len(labels) != fit.n_cells or labels.isna().any():
        found = f"{len(labels):,}" if len(labels) != fit.n_cells else plural(int(labels.isna().sum()), "missing label")
        msg = f"`{argument}` must hold one label per cell of the fit ({fit.n_cells:,}), none missing; got {found}."
        raise InputError(msg)
    return labels.astype(str).to_numpy(dtype=str)


def level_of(name: str, value: Any, groups: np.ndarray) -> str:
    levels = sorted(set(groups.tolist()))
    if str(value) not in levels:
        msg = f"`{name}` must be one of the groups ({some(levels)}); got {value!r}."
        raise InputError(msg)
    return str(value)


def frame_of(fit: AmbientFit, values: np.ndarray, genes: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(values, index=fit.cell_names, columns=fit.gene_names[genes])


def mask_of(fit: AmbientFit, group: Any) -> np.ndarray:
    mask = np.asarray(group)
    if mask.dtype != bool or mask.shape != (fit.n_cells,) or not mask.any():
        msg = (
            f"`group` must be True or False for each cell of the fit ({fit.n_cells:,}), True for some; got "
            f"{mask.dtype} of shape {mask.shape}."
        )
        raise InputError(msg)
    return mask


def check_between(name: str, value: Any, low: float, high: float, *, low_included: bool = False) -> None:
    inside = is_number(value) and low <= value < high and (low_included or value > low)
    if not inside:
        rule = "at least 0" if high == np.inf else f"between {low} and {high}"
        msg = f"`{name}` must be {rule}; got {value!r}."
        raise InputError(msg)
