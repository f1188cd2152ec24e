"""A fit's networks on other cells: new sections, other donors."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from isthmus.data.counts import Counts, read_matrix
from isthmus.data.spatial import Tissue, read_tissue
from isthmus.data.wording import plural, some
from isthmus.errors import InputError
from isthmus.interaction import checks
from isthmus.interaction.expression import type_means
from isthmus.interaction.fit import neighbors_of
from isthmus.interaction.folds import make_folds

if TYPE_CHECKING:
    from isthmus.interaction.result import InteractionFit


def transfer(
    fit: InteractionFit,
    data: Any,
    *,
    labels: Any,
    coordinates: Any = "spatial",
    sample: Any = None,
    layer: str | None = None,
    covariates: Any = None,
    cell_radius: Any = None,
    means: Literal["fit", "new"] = "fit",
) -> InteractionFit:
    """Apply the networks of a fit to cells that took no part in it.

    Neighbours are found as in the fit. The new cells are cut into blocks of the fit's size, which share the networks
    of its folds among them, so that each cell is predicted by one network and every test works as on the fit itself.

    Parameters
    ----------
    fit
        A fit; its options for neighbours, blocks and distances are used.
    data, labels, coordinates, sample, layer, covariates, cell_radius
        The new cells, as in `fit_interactions`. Genes are matched by name; further genes are left out. Types must be
        among those of the fit.
    means
        "fit": the type means of the fit's training cells, so that a shift between the data sets counts as error.
        "new": those of the new cells in the blocks that other networks predict.

    Returns
    -------
    InteractionFit
        Of the new cells, with the fit's networks; ``set`` is "held-out".

    Raises
    ------
    InputError
        Genes of the fit that are missing, types that it does not know, covariates that are not its own; `means`
        "new" with one network or one block.

    Examples
    --------
    >>> from isthmus.interaction import fit_interactions
    >>> rng = np.random.default_rng(0)
    >>> def section(n):
    ...     cells = pd.DataFrame(rng.poisson(1.0, (n, 5)), columns=list("vwxyz"))
    ...     return cells, {"labels": rng.choice(["a", "b"], n), "coordinates": rng.uniform(0, 100, (n, 2))}
    >>> first, about = section(300)
    >>> fit = fit_interactions(first, **about, n_neighbors=5, folds=2, max_epochs=2)
    >>> second, about = section(200)
    >>> transfer(fit, second, **about).predict().shape
    (200, 5)
    """
    checks.check_fit(fit)
    if means not in ("fit", "new"):
        msg = f"`means` must be 'fit' or 'new'; got {means!r}."
        raise InputError(msg)
    counts = data if isinstance(data, Counts) else read_matrix(data, layer=layer)
    places = data.obsm[coordinates] if isinstance(coordinates, str) and hasattr(data, "obsm") else coordinates
    tissue = read_tissue(
        _same_genes(counts, fit),
        labels=labels,
        coordinates=places,
        sample=sample,
        covariates=covariates,
        cell_radius=cell_radius,
        encodings=fit.settings["covariates"],
    )
    tissue = _same_types(tissue, fit)
    neighbors = neighbors_of(tissue, fit.settings)
    folds = make_folds(
        tissue.coordinates,
        tissue.sample_codes,
        neighbors,
        n_folds=fit.n_folds,
        block_size=fit.folds.block_size,
        fill_all=False,
    )
    return replace(
        fit,
        cells=tissue.cells,
        types=tissue.types,
        samples=tissue.samples,
        type_codes=tissue.type_codes,
        sample_codes=tissue.sample_codes,
        coordinates=tissue.coordinates,
        expression=tissue.expression,
        covariates=tissue.covariates,
        neighbors=neighbors,
        folds=folds,
        means=fit.means if means == "fit" else _new_means(tissue, folds, fit),
        settings=fit.settings | {"set": "held-out", "transferred_from": fit.settings["id"], "id": uuid.uuid4().hex},
        _tables={},
    )


def _same_genes(counts: Counts, fit: InteractionFit) -> Counts:
    have = pd.Index(counts.gene_names)
    lacking = pd.Index(fit.genes).difference(have, sort=False)
    if len(lacking):
        msg = (
            f"`data` must hold the genes of the fit; {plural(len(lacking), 'gene')} not found ({some(lacking)}). Use "
            "the same names and the same panel."
        )
        raise InputError(msg)
    columns = have.get_indexer(pd.Index(fit.genes))
    return replace(counts, matrix=counts.matrix[:, columns], gene_names=np.array(fit.genes, dtype=object))


def _same_types(tissue: Tissue, fit: InteractionFit) -> Tissue:
    """Codes of the fit's types."""
    unknown = [label for label in tissue.types if label not in fit.types]
    if unknown:
        msg = (
            f"`labels` must be cell types of the fit ({some(fit.types)}); got {some(unknown)}. Drop those cells or "
            "relabel them."
        )
        raise InputError(msg)
    code = np.array([fit.types.index(label) for label in tissue.types], dtype=np.int32)
    return replace(tissue, types=fit.types, type_codes=code[tissue.type_codes])


def _new_means(tissue: Tissue, folds: Any, fit: InteractionFit) -> np.ndarray:
    if folds.n_folds == 1 or folds.n_blocks == 1:
        msg = (
            "`means` 'new' needs two networks and two blocks or more, so that no cell is part of its own mean; got "
            f"{folds.n_folds} and {folds.n_blocks}. Use 'fit'."
        )
        raise InputError(msg)
    new = [
        type_means(tissue.expression, tissue.type_codes, len(fit.types), folds.outside(fold))
        for fold in range(folds.n_folds)
    ]
    untrained = np.isnan(fit.means).all(axis=2)  # the network knows nothing of these types
    return np.where(untrained[:, :, None], np.nan, np.stack(new))
