"""remove_ambient(method="scar"): train the network, read the counts out as the EM does."""

from __future__ import annotations

import uuid
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from isthmus.ambient.reading import read_column
from isthmus.ambient.result import AmbientFit
from isthmus.ambient.scar.extras import need, pick_device
from isthmus.ambient.scar.model import Posterior, ScarModel
from isthmus.ambient.scar.options import NetworkOptions, read_options
from isthmus.ambient.scar.readout import split_counts
from isthmus.data.sums import column_sums, row_sums
from isthmus.errors import ConvergenceWarning, InputError
from isthmus.progress import Progress

if TYPE_CHECKING:
    from isthmus.ambient.readout import Split
    from isthmus.ambient.scar.training import Trained
    from isthmus.data.counts import Counts

_MOST_EPOCHS, _CELL_EPOCHS = 400, 8_000_000  # as scvi-tools: 400 epochs up to 20,000 cells, then fewer


@dataclass(frozen=True)
class Training:
    """What was asked of the training."""

    options: NetworkOptions
    max_epochs: int | None
    early_stopping: bool
    accelerator: str
    seed: int
    progress: bool | None


def read_training(
    likelihood: str,
    sparsity: float,
    max_epochs: int | None,
    early_stopping: bool,  # noqa: FBT001
    accelerator: str,
    seed: int,
    progress: bool | None,  # noqa: FBT001
    network_options: dict[str, Any],
    **of_em: Any,
) -> Training:
    """Check what needs no data; `of_em` are arguments that only method="em" has."""
    options = read_options(likelihood, sparsity, network_options)
    for name, value in of_em.items():
        if value is not None:
            msg = (
                f'`{name}` goes with method="em": the network finds no clusters, and its sparse activation fixes the '
                f"level of rho (`sparsity`). Leave it out."
            )
            raise InputError(msg)
    if not isinstance(early_stopping, (bool, np.bool_)):
        msg = f"`early_stopping` must be True or False; got {early_stopping!r}."
        raise InputError(msg)
    need("torch", 'method="scar"')
    if options.trainer == "scvi":
        need("scvi", 'trainer="scvi"')
    pick_device(accelerator)
    return Training(options, max_epochs, bool(early_stopping), accelerator, seed, progress)


def remove_with_network(
    counts: Counts,
    of_cells: np.ndarray,
    profiles: dict[str, np.ndarray],
    labels: Any,
    fpr: float | None,
    training: Training,
    settings: dict[str, Any],
) -> AmbientFit:
    """Train, split every count, and describe the fit; `settings` are those that the caller knows."""
    umi = row_sums(counts.matrix)
    _refuse_too_few(umi)
    batch_names, batch = pd.unique(of_cells), pd.factorize(of_cells)[0]
    trained = _train(counts, profiles["prob"], batch, training)
    model = ScarModel(training.options, trained.weights, trained.mean, trained.variance, trained.history)
    posterior = Posterior(model, trained.mean, trained.variance, umi, profiles["prob"], batch)
    split, rho, spread = split_counts(posterior, counts.matrix, fpr, training.seed)
    if not trained.converged:
        warnings.warn(
            f"The network was still improving after {len(trained.history)} epochs. Raise `max_epochs`.",
            ConvergenceWarning,
            stacklevel=4,
        )
    settings = settings | {
        "id": uuid.uuid4().hex,
        "labels": "none" if labels is None else "given",
        "level": "network",
        "max_iter": len(trained.history) if training.max_epochs is None else int(training.max_epochs),
        "converged": trained.converged,
        "network": training.options.as_dict(),
    }
    cluster_names, cluster = _clusters(labels, counts)
    return _result(
        counts, profiles, model, split, rho, spread, umi, batch_names, batch, cluster_names, cluster, settings
    )


def _refuse_too_few(umi: np.ndarray) -> None:
    if (umi > 0).sum() < 10:
        msg = (
            f"`cells` must hold at least 10 cells with counts for a network to learn from; got {int((umi > 0).sum())}. "
            'Use method="em".'
        )
        raise InputError(msg)


def _train(counts: Counts, ambient: np.ndarray, batch: np.ndarray, training: Training) -> Trained:
    from isthmus.ambient.scar.training import Cells, train

    cells, n = Cells(counts.matrix, ambient, batch), counts.n_cells
    epochs = training.max_epochs or max(1, min(_MOST_EPOCHS, round(_CELL_EPOCHS / n)))
    device = pick_device(training.accelerator)
    common: dict[str, Any] = {"max_epochs": int(epochs), "seed": training.seed, "device": device}
    if training.options.trainer == "scvi":
        from isthmus.ambient.scar.stock import train_with_scvi

        if len(ambient) > 1:
            msg = '`trainer` = "scvi" knows one ambient profile; got several batches. Use trainer="isthmus".'
            raise InputError(msg)
        return train_with_scvi(cells, training.options, early_stopping=training.early_stopping, **common)
    with Progress(int(epochs), training.progress, what="remove_ambient", unit="epoch") as bar:
        return train(cells, training.options, early_stopping=training.early_stopping, after=bar, **common)


def _clusters(labels: Any, counts: Counts) -> tuple[np.ndarray, np.ndarray]:
    """Labels only sum up what the network found: native profiles and shares by cluster."""
    if labels is None:
        return np.array(["1"], dtype=object), np.zeros(counts.n_cells, dtype=np.intp)
    cluster, names = pd.factorize(read_column(labels, counts, "labels"), sort=True)
    return np.asarray(names, dtype=object), cluster


def _result(
    counts: Counts,
    profiles: dict[str, np.ndarray],
    model: ScarModel,
    split: Split,
    rho: np.ndarray,
    spread: np.ndarray,
    umi: np.ndarray,
    batch_names: np.ndarray,
    batch: np.ndarray,
    cluster_names: np.ndarray,
    cluster: np.ndarray,
    settings: dict[str, Any],
) -> AmbientFit:
    empty = umi == 0
    flag = np.full(len(rho), "ok", dtype=object)
    flag[(rho < 1e-4) | (rho > 0.99)] = "at_bound"
    flag[empty] = "no_counts"
    shape = (len(cluster_names), len(batch_names))
    level = np.full(shape, np.nan)
    for k, b in sorted(set(zip(cluster.tolist(), batch.tolist(), strict=True))):
        own = (cluster == k) & (batch == b)
        if umi[own].sum() > 0:
            level[k, b] = float(rho[own] @ umi[own] / umi[own].sum())
    kept = np.stack([column_sums(split.mean, cluster == k) for k in range(len(cluster_names))])
    return AmbientFit(
        gene_names=counts.gene_names,
        cell_names=counts.cell_names,
        batch_names=np.asarray(batch_names, dtype=object),
        batch=batch.astype(np.int32),
        cluster_names=cluster_names,
        cluster=cluster.astype(np.int32),
        rho=np.where(empty, np.nan, rho),
        rho_se=np.where(empty, np.nan, spread),
        flag=flag,
        observed_umi=umi,
        observed=np.stack([column_sums(counts.matrix, batch == b) for b in range(len(batch_names))]),
        ambient=profiles["prob"],
        ambient_count=profiles["count"],
        n_empty=profiles["n_empty"],
        native=kept / np.maximum(kept.sum(axis=1, keepdims=True), 1e-300),
        level=level,
        level_se=np.full(shape, np.nan),
        n_anchors=np.zeros(shape),
        denoised=split.drawn,
        denoised_mean=split.mean,
        log_likelihood=np.zeros(0),
        settings=settings,
        network=model,
    )
