"""`fit_interactions`: how neighbours shape expression, by cross-fitted neighbour cross-attention."""

from __future__ import annotations

import time as clock
import uuid
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from isthmus.data.spatial import Tissue, read_tissue
from isthmus.errors import InputError
from isthmus.interaction import checks
from isthmus.interaction.expression import Rows, residual_sd, type_means
from isthmus.interaction.folds import Folds, beyond_reach, make_folds
from isthmus.interaction.neighbors import Neighbors, find_neighbors, typical_gap, typical_reach
from isthmus.interaction.options import NetworkOptions
from isthmus.interaction.result import InteractionFit
from isthmus.messages import tell
from isthmus.progress import Progress

_STEPS = 1500  # of training, by default; early stopping ends most runs before
_MOST_EPOCHS = 400


def fit_interactions(
    data: Any,
    *,
    labels: Any,
    coordinates: Any = "spatial",
    sample: Any = None,
    layer: str | None = None,
    n_neighbors: int = 30,
    radius: float | None = None,
    same_type_neighbors: bool = False,
    n_heads: int = 4,
    head_size: int = 16,
    folds: int = 5,
    block_size: Any = "auto",
    max_epochs: int | None = None,
    early_stopping: bool = True,
    batch_size: int = 512,
    lr: float = 1e-3,
    accelerator: str = "auto",
    seed: int = 0,
    progress: bool | None = None,
    covariates: Any = None,
    cell_radius: Any = None,
    **network_options: Any,
) -> InteractionFit:
    """Fit a neighbour cross-attention model: how far do its neighbours explain a cell, beyond its type?

    For receiver i of type c with neighbours j at distances d_ij, head h::

        score_ijh = <query_ch, key_jh> / sqrt(key size) - decay_cjh d_ij / unit
        a_ijh     = softmax over the neighbours and a slot "nobody" of fixed score and value 0
        y_i       = mean_c + W LayerNorm(query_c + covariates_i + sum_h sum_j a_ijh value_jh O_h) + noise

    Queries come from the receiver's type, keys, values and decay rates (always positive) from the neighbour's
    expression. The method is that of the AMICI preprint (doi 10.1101/2025.09.22.677860; a provisional patent
    application, US 63/884,704, covers that manuscript's subject), written from its description; cross-fitting in
    space, samples and tests on held-out cells are ours:

    1. Neighbours are found within samples, `n_neighbors` at most.
    2. Each sample is cut into square blocks; `folds` are runs of neighbouring blocks.
    3. For each fold a network is trained on the other cells, without a guard band: cells that have a held-out
       neighbour, so that nothing of a held-out cell's expression reaches the network that predicts it, and cells of
       the same sample within two reaches of a held-out cell (reach: median distance to the farthest neighbour),
       because smooth patterns in space tell of what lies beside them. The second part is narrowed where it would take
       more than half of the cells. ``guard_share`` and ``summary()`` report the share that is lost to the band.
    4. Training minimises half the squared error (and penalties) with Adam. A tenth of the training cells, in groups of
       neighbours, decides when to stop; the epoch that suited them best is kept.

    Parameters
    ----------
    data
        AnnData, DataFrame, ndarray or sparse matrix, cells x genes. Normalised values (counts / size factor, then
        log1p) or intensities: genes count by their variance, depth is not modelled.
    labels
        Cell types: a column of ``obs``, or one label per cell.
    coordinates
        Key of ``obsm``, the names of two or three columns of ``obs``, or an array or DataFrame, cells x 2 or 3.
    sample
        Column or one label per cell: sections, images. Neighbours never lie in another sample. None: one sample.
    layer
        AnnData layer to use instead of ``X``.
    n_neighbors, radius
        The nearest k cells, those farther than `radius` left out (unit of the coordinates; None: none is too far).
    same_type_neighbors
        Whether cells of the receiver's type are among its neighbours. Without them, autocorrelation within a type
        cannot pass for interaction.
    n_heads, head_size
        Attention heads and their size. More heads tell more kinds of influence apart.
    folds
        Number of folds. 1: one network, trained on all cells; its results say ``set = "train"`` and are no evidence.
    block_size
        Side of a block, unit of the coordinates; blocks are the units of the block test and should be longer than the
        reach of a neighbourhood. "auto": 2.5 times the median distance to the farthest neighbour, down to once that
        where it takes to have 20 blocks.
    max_epochs
        None: so many that training takes about 1,500 steps, 400 at most.
    early_stopping
        False: all training cells train, and the last epoch is kept.
    batch_size
        Receivers of a training step.
    lr
        Learning rate of Adam.
    accelerator
        "auto", "cpu" or "gpu" (CUDA; written for it, but so far run on the CPU only).
    seed
        Same seed, same numbers, whatever the number of threads (a CPU fit uses one). Global generators stay as they
        were.
    progress
        None: shown in terminals and notebooks.
    covariates
        Columns of ``obs``, or a DataFrame: what else shifts a receiver (batch, depth); their linear effect joins the
        query.
    cell_radius
        Column, one number per cell, or one for all: distances are then between surfaces, 0 at least.
    **network_options
        See `isthmus.interaction.options.NetworkOptions`: embedding_size, embedding_hidden, query_size, query_hidden,
        type_size, key_size, value_size, kernel_hidden; empty_score, kernel_offset, distance_unit; neighbor_dropout,
        attention_penalty (with attention_penalty_epochs and attention_penalty_schedule), value_l1; gene_scale,
        patience, validation_share, group_size.

    Returns
    -------
    InteractionFit
        Keeps the expression in float32, which every test needs. ``table("history")`` says how training went.

    Raises
    ------
    InputError
        Rules above that are broken: labels, places or samples that are missing or do not fit; values that are missing
        or infinite; cell names that are not unique; one cell type without `same_type_neighbors`; more folds than
        blocks; a fold that leaves no cell to train on.
    MissingDependencyError
        torch is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> places, kinds = rng.uniform(0, 100, (300, 2)), rng.choice(["a", "b"], 300)
    >>> fit = fit_interactions(
    ...     rng.poisson(1.0, (300, 5)), labels=kinds, coordinates=places, n_neighbors=5, folds=2, max_epochs=2
    ... )
    >>> fit.set, fit.predict().shape, fit.table("history").columns.tolist()
    ('held-out', (300, 5), ['fold', 'epoch', 'train_loss', 'validation_loss'])
    """
    checks.require_torch()
    tissue = read_tissue(
        data,
        labels=labels,
        coordinates=coordinates,
        sample=sample,
        layer=layer,
        covariates=covariates,
        cell_radius=cell_radius,
    )
    plan = _Plan(
        n_neighbors=checks.whole(n_neighbors, "n_neighbors", 1),
        radius=None if radius is None else checks.positive(radius, "radius"),
        same_type_neighbors=checks.flag(same_type_neighbors, "same_type_neighbors"),
        n_heads=checks.whole(n_heads, "n_heads", 1),
        head_size=checks.whole(head_size, "head_size", 1),
        folds=checks.whole(folds, "folds", 1),
        block_size=None
        if isinstance(block_size, str) and block_size == "auto"
        else checks.positive(block_size, "block_size"),
        max_epochs=None if max_epochs is None else checks.whole(max_epochs, "max_epochs", 1),
        early_stopping=checks.flag(early_stopping, "early_stopping"),
        batch_size=checks.whole(batch_size, "batch_size", 1),
        lr=checks.positive(lr, "lr"),
        accelerator=accelerator,
        seed=checks.whole(seed, "seed", 0),
        options=checks.read_options(network_options),
    )
    return _fit(tissue, plan, progress)


@dataclass(frozen=True)
class _Plan:
    """The checked arguments of `fit_interactions`."""

    n_neighbors: int
    radius: float | None
    same_type_neighbors: bool
    n_heads: int
    head_size: int
    folds: int
    block_size: float | None
    max_epochs: int | None
    early_stopping: bool
    batch_size: int
    lr: float
    accelerator: str
    seed: int
    options: NetworkOptions


def _fit(tissue: Tissue, plan: _Plan, progress: bool | None) -> InteractionFit:  # noqa: FBT001
    neighbors = neighbors_of(tissue, plan.__dict__)
    _check_neighbors(neighbors, tissue, plan)
    folds = make_folds(
        tissue.coordinates, tissue.sample_codes, neighbors, n_folds=plan.folds, block_size=plan.block_size
    )
    training = [_training_cells(folds, fold, neighbors, tissue) for fold in range(plan.folds)]
    means = np.stack([_means(tissue, folds, fold, cells) for fold, cells in enumerate(training)])
    gene_weights = np.stack(
        [_gene_weights(tissue, plan, folds.outside(fold), means[fold]) for fold in range(plan.folds)]
    )
    unit = typical_gap(neighbors) if plan.options.distance_unit == "auto" else float(plan.options.distance_unit)
    trained, epochs = _train(tissue, plan, neighbors, training, means, gene_weights, unit, progress)
    guard = [1 - cells.sum() / folds.outside(fold).sum() for fold, cells in enumerate(training)]
    history = [
        np.column_stack([np.full(len(one.history), fold + 1), np.arange(1, len(one.history) + 1), one.history])
        for fold, one in enumerate(trained)
    ]
    return InteractionFit(
        cells=tissue.cells,
        genes=tissue.genes,
        types=tissue.types,
        samples=tissue.samples,
        type_codes=tissue.type_codes,
        sample_codes=tissue.sample_codes,
        coordinates=tissue.coordinates,
        expression=tissue.expression,
        covariates=tissue.covariates,
        neighbors=neighbors,
        folds=folds,
        weights={name: np.stack([one.weights[name] for one in trained]) for name in trained[0].weights},
        means=means,
        gene_weights=gene_weights,
        history=np.concatenate(history),
        guard_share=np.array(guard),
        settings=_settings(plan, tissue, unit, epochs, [one.best_epoch for one in trained]),
    )


def neighbors_of(tissue: Tissue, settings: dict[str, Any]) -> Neighbors:
    """The neighbours that these settings ask for."""
    return find_neighbors(
        tissue.coordinates,
        tissue.type_codes,
        tissue.sample_codes,
        n_neighbors=settings["n_neighbors"],
        radius=settings["radius"],
        same_type=settings["same_type_neighbors"],
        radii=tissue.radii,
    )


def _check_neighbors(neighbors: Neighbors, tissue: Tissue, plan: _Plan) -> None:
    if len(tissue.types) == 1 and not plan.same_type_neighbors:
        msg = (
            f"`labels` must hold two cell types or more; got only '{tissue.types[0]}', so no cell has a neighbour of "
            "another type. Use same_type_neighbors=True to study interactions within one type."
        )
        raise InputError(msg)
    if not neighbors.present.any():
        what = "`radius`" if plan.radius is not None else "`sample`"
        msg = f"{what} leaves no cell with a neighbour. Use a larger radius, or samples with several cell types."
        raise InputError(msg)


def _training_cells(folds: Folds, fold: int, neighbors: Neighbors, tissue: Tissue) -> np.ndarray:
    cells = folds.training(fold, neighbors)
    if folds.n_folds > 1:
        plane, reach = tissue.coordinates[:, :2], typical_reach(neighbors)
        cells = beyond_reach(plane, tissue.sample_codes, folds.held_out(fold), cells, reach)
    if not cells.any():
        msg = (
            f"`folds` leaves no cell to train on: outside of fold {fold + 1} of {folds.n_folds} every cell has a "
            "neighbour that is held out. Use a smaller `n_neighbors` or `radius`, or more samples."
        )
        raise InputError(msg)
    held = tissue.type_codes[folds.held_out(fold)] if folds.n_folds > 1 else tissue.type_codes
    lost = np.setdiff1d(held, tissue.type_codes[cells])
    if len(lost):
        names = ", ".join(f"'{tissue.types[code]}'" for code in lost[:3])
        tell(f"`labels`: no training cell of {names} is left for fold {fold + 1}: its cells get no prediction there.")
    return cells


def _means(tissue: Tissue, folds: Folds, fold: int, training: np.ndarray) -> np.ndarray:
    """Means of all cells outside the fold, guard band included: they are no part of what is held out."""
    means = type_means(tissue.expression, tissue.type_codes, len(tissue.types), folds.outside(fold))
    means[np.bincount(tissue.type_codes[training], minlength=len(tissue.types)) == 0] = np.nan
    return means


def _gene_weights(tissue: Tissue, plan: _Plan, outside: np.ndarray, means: np.ndarray) -> np.ndarray:
    if plan.options.gene_scale == "unit":
        return np.ones(len(tissue.genes))
    known = outside & ~np.isnan(means).all(axis=1)[tissue.type_codes]
    sd = residual_sd(tissue.expression, tissue.type_codes, np.nan_to_num(means), known)
    # a constant gene has nothing to predict
    return np.where(sd > 0, 1 / np.where(sd > 0, sd, 1) ** 2, 0.0)


def _train(
    tissue: Tissue,
    plan: _Plan,
    neighbors: Neighbors,
    training: list[np.ndarray],
    means: np.ndarray,
    gene_weights: np.ndarray,
    unit: float,
    progress: bool | None,  # noqa: FBT001
) -> tuple[list[Any], int]:
    torch = checks.require_torch()
    from isthmus.interaction.network import Sizes
    from isthmus.interaction.train import Problem, train_fold

    options = plan.options
    epochs = plan.max_epochs or _default_epochs(max(int(cells.sum()) for cells in training), plan.batch_size)
    problem = Problem(
        rows=Rows(tissue.expression),
        type_codes=tissue.type_codes,
        sample_codes=tissue.sample_codes,
        coordinates=tissue.coordinates,
        covariates=tissue.covariates,
        neighbors=neighbors,
        distance=np.where(neighbors.present, neighbors.distance, 0) / np.float32(unit),
        sizes=Sizes(
            n_genes=len(tissue.genes),
            n_types=len(tissue.types),
            n_covariates=tissue.covariates.shape[1],
            n_heads=plan.n_heads,
            head_size=plan.head_size,
            key_size=options.key_size or plan.head_size,
            value_size=options.value_size or plan.head_size,
            query_size=options.query_size,
            query_hidden=options.query_hidden,
            type_size=options.type_size,
            embedding_size=options.embedding_size,
            embedding_hidden=options.embedding_hidden,
            kernel_hidden=options.kernel_hidden,
        ),
        options=options,
        max_epochs=epochs,
        early_stopping=plan.early_stopping,
        batch_size=plan.batch_size,
        lr=plan.lr,
        device=_device(torch, plan.accelerator),
    )
    trained = []
    with Progress(len(training) * epochs, progress, unit="epoch", what="fit_interactions") as bar:
        for fold, cells in enumerate(training):
            trained.append(
                train_fold(
                    problem,
                    cells,
                    np.nan_to_num(means[fold]),
                    gene_weights[fold],
                    (plan.seed, fold),
                    lambda epoch, fold=fold: bar(fold * epochs + epoch),  # type: ignore[misc]
                )
            )
    return trained, epochs


def _default_epochs(n_training: int, batch_size: int) -> int:
    per_epoch = max(1, round(n_training / batch_size))
    return int(min(_MOST_EPOCHS, max(20, -(-_STEPS // per_epoch))))


def _device(torch: Any, accelerator: str) -> Any:
    if accelerator not in ("auto", "cpu", "gpu", "cuda"):
        msg = f"`accelerator` must be 'auto', 'cpu' or 'gpu'; got {accelerator!r}."
        raise InputError(msg)
    there = torch.cuda.is_available()
    if accelerator in ("gpu", "cuda") and not there:
        msg = "`accelerator` 'gpu' needs a CUDA device that torch sees; there is none. Use 'cpu' or 'auto'."
        raise InputError(msg)
    return torch.device("cuda" if there and accelerator != "cpu" else "cpu")


def _settings(plan: _Plan, tissue: Tissue, unit: float, epochs: int, best: list[int]) -> dict[str, Any]:
    from isthmus import __version__

    options = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(plan.options).items()}
    asked = {name: value for name, value in plan.__dict__.items() if name != "options"}
    return {
        **options,
        **asked,
        "max_epochs": epochs,
        "best_epochs": best,
        "unit": unit,
        "set": "train" if plan.folds == 1 else "held-out",
        "covariates": tissue.encodings,
        "version": __version__,
        "fitted": clock.strftime("%Y-%m-%dT%H:%M:%SZ", clock.gmtime()),
        "id": uuid.uuid4().hex,
    }
