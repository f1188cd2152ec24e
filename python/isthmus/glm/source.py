"""Finding the counts of a fit again: a fit keeps none, and some tests need them."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.data.counts import Counts, cells_unnamed, genes_unnamed, open_counts, open_values, read_counts, read_values
from isthmus.data.stored import StoredMatrix, pieces
from isthmus.data.wording import some
from isthmus.errors import InputError
from isthmus.glm import kernel
from isthmus.glm.offset import ordered_values
from isthmus.glm.weights import for_all_genes, ordered_weights

if TYPE_CHECKING:
    from collections.abc import Callable

    from isthmus._core import LaidOut
    from isthmus.glm.result import GlmFit

_SAME = 1e-6  # relative; float32 counts and another order of summation stay far below it


class Source:
    """Where a fit's counts came from, without holding them: forgotten with the object, and when the fit is stored."""

    def __init__(self, data: Any = None, layer: str | None = None, gene_names: Any = None) -> None:
        try:
            self._data = None if data is None or isinstance(data, Counts) else weakref.ref(data)
        except TypeError:  # a list cannot be referred to weakly
            self._data = None
        self._read = {"layer": layer, "gene_names": gene_names}

    def __reduce__(self) -> tuple[type[Source], tuple[()]]:
        return Source, ()  # weak references cannot be pickled

    def read(self, how: Callable[..., Counts] = read_counts) -> Counts | None:
        """The counts, if the object that held them is still there; `open_counts` leaves them in their store."""
        data = None if self._data is None else self._data()
        return None if data is None else how(data, **self._read)


@dataclass(frozen=True, eq=False)
class Evidence:
    """The counts of a fit, ``(n_cells, n_genes)``, its offset per cell and gene and its weights if it had any."""

    counts: Counts
    gene_offset: np.ndarray | None
    weights: np.ndarray | None = None  # (n_cells, n_genes), those of cells too
    designs: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None  # of the fit: x, z and the fixed part of log alpha
    several: bool = False  # are several refits of most genes to come?
    _shared: list[LaidOut] = field(default_factory=list)  # one, once it is there

    def layout_for(self, n_genes: int, n_threads: int) -> LaidOut | None:
        """The counts laid out for refits of so many genes, the same for all of them.

        None for counts that stay stored, for the plain NumPy kernel, for a refit that is the only one (a model of its
        own has fewer strata than that of the fit), and until most genes are asked for: a few are soon copied.
        """
        if self.designs is None or isinstance(self.counts.matrix, StoredMatrix) or kernel.kernel_name() == "reference":
            return None
        if not self._shared and self.several and 2 * n_genes >= self.counts.n_genes:
            x, z, zeta = self.designs
            fixed = zeta if zeta.any() else None
            self._shared.append(kernel.lay_out(self.counts.matrix, x, z, dispersion_offset=fixed, n_threads=n_threads))
        return self._shared[0] if self._shared else None


def find_evidence(
    fit: GlmFit, data: Any, layer: str | None, offset: Any, weights: Any = None, *, keep_stored: bool = False
) -> Evidence | None:
    """The counts that were handed in again, or those of the fit if they are still around; None if neither is.

    With `keep_stored` counts in a file stay there (a `StoredMatrix`), for `isthmus.glm.ranges`.
    """
    if data is not None:
        counts: Counts | None = same_counts(fit, data, layer, keep_stored=keep_stored)
    else:
        counts = _remembered(fit, keep_stored=keep_stored)
    if counts is None:
        return None
    mean, dispersion = fit.mean_model, fit.dispersion_model
    designs = mean.free_design, dispersion.free_design, dispersion.particular_predictor
    return Evidence(counts, _same_offset(fit, offset), _same_weights(fit, weights), designs)


def need_evidence(fit: GlmFit, evidence: Evidence | None, what: str) -> Evidence:
    """Refuse to go on without counts."""
    if evidence is None:
        msg = (
            f"`data` must be passed again for {what}: a fit keeps no counts, and those of this one are no longer at "
            "hand or have changed. Pass what fit_glm() was given."
        )
        raise InputError(msg)
    return evidence


def same_counts(fit: GlmFit, data: Any, layer: str | None, *, keep_stored: bool = False) -> Counts:
    """Read `data` and make sure that it holds the counts of the fit.

    Raises
    ------
    InputError
        Another shape, other names, or other numbers: the mean of count / size factor of a gene differs.
    """
    counts = data if isinstance(data, Counts) else reader(fit, keep_stored=keep_stored)(data, layer=layer)
    if counts.matrix.shape != (fit.n_cells, fit.n_genes):
        msg = (
            f"`data` must be the counts of the fit, {fit.n_cells} cells x {fit.n_genes} genes; got "
            f"{counts.n_cells} x {counts.n_genes}."
        )
        raise InputError(msg)
    unnamed = genes_unnamed(counts.gene_names) or genes_unnamed(fit.gene_names)
    if not unnamed and list(counts.gene_names) != list(fit.gene_names):
        msg = "`data` must hold the genes of the fit in the fit's order; its gene names differ."
        raise InputError(msg)
    if counts.cells_named and not cells_unnamed(fit.cell_names) and list(counts.cell_names) != list(fit.cell_names):
        msg = "`data` must hold the cells of the fit in the fit's order; its cell names differ."
        raise InputError(msg)
    _check_means(fit, counts)
    return counts


def _remembered(fit: GlmFit, *, keep_stored: bool) -> Counts | None:
    """What the caller did not hand in is used only if nothing speaks against it."""
    try:
        counts = fit.source.read(reader(fit, keep_stored=keep_stored))
        return None if counts is None else same_counts(fit, counts, None)
    except InputError:
        return None


def reader(fit: GlmFit, *, keep_stored: bool) -> Callable[..., Counts]:
    """How the data of a fit are read again."""
    if fit.settings["noise_model"] == "normal":
        return open_values if keep_stored else read_values
    return open_counts if keep_stored else read_counts


def _check_means(fit: GlmFit, counts: Counts) -> None:
    """Normalised, filtered or other counts would give wrong numbers without a word."""
    means = np.zeros(fit.n_genes)
    for rows, columns, piece in pieces(counts.matrix):
        means[columns] += np.asarray((1 / fit.size_factors[rows]) @ piece, dtype=float).reshape(-1) / fit.n_cells
    if fit.settings.get("weights"):  # a gene may have its counts in cells of weight 0
        means[np.isnan(fit.mean)] = 0
    known = np.nan_to_num(fit.mean)
    scale = np.maximum(np.abs(means), np.abs(known)) + (fit.settings["noise_model"] == "normal")  # sums to about 0
    wrong = np.flatnonzero(np.abs(means - known) > _SAME * scale)
    if wrong.size:
        msg = (
            "`data` must hold the counts that were fitted; the means of "
            f"{some(list(fit.gene_names[wrong]))} differ. Were they normalised or changed after the fit? Pass the "
            "counts that fit_glm() was given."
        )
        raise InputError(msg)


def _same_offset(fit: GlmFit, offset: Any) -> np.ndarray | None:
    if not fit.settings["gene_offset"]:
        if offset is not None:
            msg = "`offset` is only asked for again where the fit had one value per cell and gene. Leave it out."
            raise InputError(msg)
        return None
    if offset is None:
        msg = "`offset` must be passed again: the fit used one value per cell and gene and does not keep it."
        raise InputError(msg)
    return ordered_values(offset, fit.cell_names, fit.gene_names)


def _same_weights(fit: GlmFit, weights: Any) -> np.ndarray | None:
    if fit.settings.get("weights") != "observations":
        if weights is not None:
            msg = "`weights` are only asked for again where the fit had one per cell and gene. Leave them out."
            raise InputError(msg)
        return for_all_genes(fit.weights, fit.n_genes)
    if weights is None:
        msg = "`weights` must be passed again: the fit used one per cell and gene and does not keep them."
        raise InputError(msg)
    return ordered_weights(weights, fit.cell_names, fit.gene_names)
