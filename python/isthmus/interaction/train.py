"""The training loop of one fold: Adam over batches of neighbouring receivers, early stopping on receivers left aside.

Reads expression of the training receivers and of their neighbours only; draws from generators of its own, so that
torch's and numpy's global states stay as they were.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from isthmus.errors import InputError
from isthmus.interaction.batches import Indexer, batches_of, spatial_groups
from isthmus.interaction.network import Batch, NeighborAttention, Sizes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from isthmus.interaction.expression import Rows
    from isthmus.interaction.neighbors import Neighbors
    from isthmus.interaction.options import NetworkOptions


@dataclass(frozen=True, eq=False)
class Problem:
    """What all folds share: cells, neighbours (distances in the distance unit) and options."""

    rows: Rows
    type_codes: np.ndarray
    sample_codes: np.ndarray
    coordinates: np.ndarray
    covariates: np.ndarray
    neighbors: Neighbors
    distance: np.ndarray
    sizes: Sizes
    options: NetworkOptions
    max_epochs: int
    early_stopping: bool
    batch_size: int
    lr: float
    device: torch.device


@dataclass(frozen=True, eq=False)
class Trained:
    """Weights by name, and the history: epochs x (train loss, validation loss)."""

    weights: dict[str, np.ndarray]
    history: np.ndarray
    best_epoch: int


@dataclass(frozen=True, eq=False)
class Step:
    """A batch and what it should predict: ``(n, n_genes)`` residuals on the type means."""

    batch: Batch
    target: torch.Tensor


def train_fold(
    problem: Problem,
    training: np.ndarray,
    means: np.ndarray,
    gene_weight: np.ndarray,
    seed: tuple[int, int],
    report: Callable[[int], None],
) -> Trained:
    """Train one network.

    Parameters
    ----------
    training
        ``(n_cells,)`` bool: the receivers.
    means
        ``(n_types, n_genes)`` of the fold.
    gene_weight
        ``(n_genes,)`` factors of the squared errors.
    seed
        The user's seed and the fold.
    report
        Called with the number of epochs done.
    """
    loop = _Loop(problem, training, means, gene_weight, seed)
    with one_thread(problem.device):
        return loop.run(report)


@contextmanager
def one_thread(device: torch.device) -> Iterator[None]:
    """Sums depend on how many threads share them. One thread: the same numbers whatever the machine is set to."""
    before = torch.get_num_threads()
    exact = torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)
    if device.type == "cuda":
        torch.use_deterministic_algorithms(mode=True, warn_only=True)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        if device.type == "cuda":
            torch.use_deterministic_algorithms(exact)


def penalty_at(epoch: int, options: NetworkOptions) -> float:
    """Weight of the attention penalty in an epoch (1, 2, ...)."""
    penalty = options.attention_penalty
    if not isinstance(penalty, tuple):
        return penalty
    start, end = penalty
    first, last = options.attention_penalty_epochs
    if epoch < first:
        return 0.0
    share = min(1.0, (epoch - first) / (last - first)) if last > first else 1.0
    if options.attention_penalty_schedule == "log":
        return float(start * (end / start) ** share)
    return float(start + (end - start) * share)


class _Loop:
    def __init__(
        self,
        problem: Problem,
        training: np.ndarray,
        means: np.ndarray,
        gene_weight: np.ndarray,
        seed: tuple[int, int],
    ) -> None:
        self.p, self.options = problem, problem.options
        self.means = means.astype(np.float32)
        self.rng = np.random.default_rng(seed)
        self.generator = torch.Generator().manual_seed(int(self.rng.integers(2**63 - 1)))
        self.gene_weight = torch.from_numpy(gene_weight.astype(np.float32)).to(problem.device)
        self.indexer = Indexer(problem.neighbors, problem.type_codes, problem.sizes.n_types)
        groups = spatial_groups(
            np.flatnonzero(training), problem.coordinates, problem.sample_codes, self.options.group_size
        )
        self.groups, self.aside = self._split(groups)
        self.net = NeighborAttention(
            problem.sizes,
            empty_score=self.options.empty_score,
            kernel_offset=self.options.kernel_offset,
            generator=self.generator,
        ).to(problem.device)

    def _split(self, groups: list[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Groups that train and groups that decide when to stop."""
        if not self.p.early_stopping or len(groups) < 2:
            return groups, []
        n_aside = min(max(1, round(self.options.validation_share * len(groups))), len(groups) - 1)
        aside = set(self.rng.permutation(len(groups))[:n_aside].tolist())
        return [g for i, g in enumerate(groups) if i not in aside], [groups[i] for i in sorted(aside)]

    def run(self, report: Callable[[int], None]) -> Trained:
        flat = _flatten(self.net)
        optimizer = torch.optim.Adam([flat], lr=self.p.lr)
        validation = list(self._steps(self.aside, np.arange(len(self.aside)))) if self.aside else []
        history: list[tuple[float, float]] = []
        best, best_epoch, kept = np.inf, 0, self._copy()
        for epoch in range(1, self.p.max_epochs + 1):
            train_loss = self._epoch(optimizer, penalty_at(epoch, self.options))
            loss = self._validate(validation) if validation else np.nan
            self._check(train_loss, epoch)
            history.append((train_loss, loss))
            report(epoch)
            if not validation or loss < best:
                best, best_epoch = loss, epoch
                kept = self._copy() if validation else kept
            elif epoch - best_epoch >= self.options.patience:
                break
        if not validation:
            kept = self._copy()
        return Trained(kept, np.array(history, dtype=np.float64).reshape(-1, 2), best_epoch)

    def _check(self, loss: float, epoch: int) -> None:
        if not np.isfinite(loss):
            msg = (
                f"`lr` must be small enough for training to stay finite; got {self.p.lr:.3g}, and the loss of epoch "
                f"{epoch} is {loss}. Use a smaller one, or data on a smaller scale (log1p of normalised counts)."
            )
            raise InputError(msg)

    def _epoch(self, optimizer: torch.optim.Optimizer, penalty: float) -> float:
        self.net.train()
        total, n = 0.0, 0
        for step in self._steps(self.groups, self.rng.permutation(len(self.groups))):
            optimizer.zero_grad(set_to_none=False)
            error, extra = self._loss(step, penalty)
            (error + extra).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            size = len(step.target)
            total, n = total + float(error.detach()) * size, n + size
        return total / n

    def _loss(self, step: Step, penalty: float) -> tuple[torch.Tensor, torch.Tensor | float]:
        """Half the squared error per receiver, and the penalties."""
        options, keep = self.options, None
        if options.neighbor_dropout > 0:
            shape = step.batch.present.shape
            keep = torch.rand(shape, generator=self.generator).to(self.p.device) >= options.neighbor_dropout
        found = self.net(step.batch, keep)
        extra: Any = 0.0
        if penalty > 0:
            extra = extra + penalty * _entropy(found.attention).mean()
        if options.value_l1 > 0 and len(found.values):
            extra = extra + options.value_l1 * found.values.abs().sum((1, 2)).mean()
        return self._error(found.residual, step.target), extra

    def _error(self, found: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return 0.5 * ((found - target).square() @ self.gene_weight).mean()

    def _validate(self, steps: list[Step]) -> float:
        self.net.eval()
        with torch.inference_mode():
            losses = [(float(self._error(self.net(s.batch).residual, s.target)), len(s.target)) for s in steps]
        return sum(loss * n for loss, n in losses) / sum(n for _, n in losses)

    def _steps(self, groups: list[np.ndarray], order: np.ndarray) -> Iterator[Step]:
        for cells in batches_of(groups, self.p.batch_size, order):
            yield self._step(cells)

    def _step(self, cells: np.ndarray) -> Step:
        p, ids = self.p, self.indexer(cells)
        types = p.type_codes[cells]
        if not len(ids.neighbors):  # nobody here has a neighbour: a stand-in that no pair attends to
            stand_in = np.zeros(1, dtype=np.int64)
            ids = replace(ids, neighbors=cells[:1], combination_type=stand_in, combination_neighbor=stand_in)

        def put(values: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(np.ascontiguousarray(values)).to(p.device)

        batch = Batch(
            types=put(types.astype(np.int64)),
            covariates=put(p.covariates[cells]),
            expression=put(p.rows(ids.neighbors)),
            combination_type=put(ids.combination_type),
            combination_neighbor=put(ids.combination_neighbor),
            pair_combination=put(ids.pair_combination),
            pair_neighbor=put(ids.pair_neighbor),
            distance=put(p.distance[cells]),
            present=put(ids.present),
        )
        return Step(batch, put(p.rows(cells) - self.means[types]))

    def _copy(self) -> dict[str, np.ndarray]:
        return {name: value.detach().cpu().numpy().copy() for name, value in self.net.state_dict().items()}


def _entropy(attention: torch.Tensor) -> torch.Tensor:
    """Over the last axis. The bound keeps the gradient finite where attention is 0: for neighbours left out."""
    return -(attention * attention.clamp_min(1e-20).log()).sum(-1)


def _flatten(net: torch.nn.Module) -> torch.nn.Parameter:
    """One vector that holds all parameters and gradients, which become views of it: Adam's step then costs a few calls
    instead of a few for each parameter (1.1 ms of a step of 10)."""
    parameters = list(net.parameters())
    flat = torch.nn.Parameter(torch.cat([p.detach().reshape(-1) for p in parameters]))
    flat.grad = torch.zeros_like(flat)
    start = 0
    for p in parameters:
        place = slice(start, start + p.numel())
        p.data, p.grad = flat.data[place].view_as(p), flat.grad[place].view_as(p)
        start += p.numel()
    return flat
