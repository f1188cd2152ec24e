"""What neighbours add to the predicted expression of each cell: where in the tissue an interaction is at work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from isthmus import schema
from isthmus.data.wording import did_you_mean
from isthmus.errors import InputError
from isthmus.interaction import checks, forward

if TYPE_CHECKING:
    import pandas as pd

    from isthmus.interaction.forward import FoldModel, Parts
    from isthmus.interaction.result import InteractionFit

ALL = "all"


def contributions(
    fit: InteractionFit, *, sender: str | Sequence[str] | None = None, gene: str | None = None
) -> pd.DataFrame:
    """What neighbours add to the prediction of each cell, and where the cell lies.

    The full prediction minus the prediction without the neighbours of one type (``"all"``: without any), each by the
    model that held the cell out::

        contribution_ig = W_g . [LN(q_i + all parts) - LN(q_i + all parts but the sender's)]

    Parameters
    ----------
    fit
        A fit of `fit_interactions`.
    sender
        A cell type, ``"all"``, or several; None: ``"all"`` and every type.
    gene
        One gene. None: the root of the mean square over genes, which is never negative.

    Returns
    -------
    DataFrame
        One row per sender and cell: cell, sample, receiver, x, y, z, sender, gene, contribution.

    Raises
    ------
    InputError
        No such gene or type.

    Examples
    --------
    >>> import numpy as np
    >>> from isthmus.interaction import fit_interactions
    >>> rng = np.random.default_rng(0)
    >>> fit = fit_interactions(
    ...     rng.poisson(1.0, (60, 5)).astype(float), labels=["a", "b"] * 30, coordinates=rng.uniform(0, 9, (60, 2)),
    ...     n_neighbors=2, folds=2, max_epochs=2, head_size=4
    ... )
    >>> contributions(fit, sender="a", gene="gene2").shape
    (60, 9)
    """
    checks.check_fit(fit)
    senders = _senders(fit, sender)
    column = None if gene is None else _gene(fit, gene)
    values = np.full((len(senders), fit.n_cells), np.nan)
    models = forward.fold_models(fit)
    for parts in forward.held_out_parts(fit):
        model = models[parts.fold]
        for row, name in enumerate(senders):
            lost = parts.of_all() if name == ALL else parts.of_sender(fit.types.index(name))
            values[row, parts.cells] = _added(parts, model, lost, column)
    return _table(fit, senders, gene, values)


def _senders(fit: InteractionFit, sender: str | Sequence[str] | None) -> list[str]:
    if sender is None:
        return [ALL, *fit.types]
    names = [sender] if isinstance(sender, str) else list(sender)
    for name in names:
        if name != ALL and name not in fit.types:
            msg = f"`sender` must be 'all' or cell types of the fit; got {name!r}. " + did_you_mean(name, fit.types)
            raise InputError(msg)
    return names


def _gene(fit: InteractionFit, gene: str) -> int:
    if gene not in fit.genes:
        msg = f"`gene` must be a gene of the fit; got {gene!r}. " + did_you_mean(str(gene), fit.genes)
        raise InputError(msg)
    return fit.genes.index(gene)


def _added(parts: Parts, model: FoldModel, lost: np.ndarray, gene: int | None) -> np.ndarray:
    """``(n,)`` what the parts `lost` (n x D) add to one gene, or the root mean square over genes."""
    inner = parts.query + parts.of_all()
    change = model.normalise(inner) - model.normalise(inner - lost)
    if gene is not None:
        return np.asarray(change @ model.output[gene])
    gram = model.output.T @ model.output / len(model.output)  # D x D, so that no cells x genes matrix is needed
    return np.sqrt(np.maximum(np.einsum("nd,de,ne->n", change, gram, change, optimize=True), 0))


def _table(fit: InteractionFit, senders: list[str], gene: str | None, values: np.ndarray) -> pd.DataFrame:
    n = len(senders)
    place = np.full((fit.n_cells, 3), np.nan)
    place[:, : fit.coordinates.shape[1]] = fit.coordinates
    columns = {
        "cell": np.tile(np.array(fit.cells, dtype=object), n),
        "sample": np.tile(np.array(fit.samples, dtype=object)[fit.sample_codes], n),
        "receiver": np.tile(np.array(fit.types, dtype=object)[fit.type_codes], n),
        "x": np.tile(place[:, 0], n),
        "y": np.tile(place[:, 1], n),
        "z": np.tile(place[:, 2], n),
        "sender": np.repeat(np.array(senders, dtype=object), fit.n_cells),
        "gene": np.full(n * fit.n_cells, gene, dtype=object),
        "contribution": values.reshape(-1),
    }
    return schema.frame(schema.CONTRIBUTIONS, columns)
