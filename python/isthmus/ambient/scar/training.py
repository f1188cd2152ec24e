"""The lean loop: minibatches straight from the CSR, a loss without constants, one look at held-out cells now and then.

What scvi-tools' trainer spends on argument checks of distributions, three gamma functions of constants, a data loader
and hooks at every step goes to steps here. Objective, optimiser and its settings are the same. Two things differ,
because the likelihood hardly says how large rho is, and single steps move it to and fro by a fifth:

1. The network starts at the average cell with a share of 0.05, not at p = 1 / n_genes with 0.5.
2. The weights that are kept are a running average over the last hundred steps or so (Polyak & Juditsky 1992, SIAM J.
   Control Optim. 30:838). Its held-out loss falls steadily, so that early stopping has something to go by.
"""

from __future__ import annotations

import copy
import math
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from isthmus.ambient.scar.network import Network, divergence, minus_log_likelihood, weights_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scipy import sparse

    from isthmus.ambient.scar.options import NetworkOptions

_ADAM_EPS, _DECAY = 0.01, 1e-6
WARM_UP = 400  # epochs over which the weight of the divergence rises to 1
_HELD_OUT, _FEWEST_HELD = 0.1, 20  # share; fewer cells than that are no yardstick, and may be all there is of a type
_LOOK_EVERY, _PATIENCE = 5, 6  # epochs, looks: the loss may rise for twenty epochs, early, while rho overshoots
_LOOK_STEPS = 100  # at least so many steps between two looks
_MIN_GAIN = 1e-4  # of the held-out loss, relative: less is no progress
_MEMORY = 0.99  # of the average of the weights, at each step
_FEWEST_STEPS = 8  # of an epoch: few cells go in smaller minibatches


@dataclass(frozen=True, eq=False)
class Trained:
    """Weights by name, posterior mean and variance of z ``(n_cells, n_latent)``, history, and whether training
    ended by itself."""

    weights: dict[str, np.ndarray]
    mean: np.ndarray
    variance: np.ndarray
    history: np.ndarray
    converged: bool


@dataclass(frozen=True, eq=False)
class Cells:
    """Counts ``(n_cells, n_genes)`` CSR, ambient profiles ``(n_batches, n_genes)``, the batch of each cell."""

    matrix: sparse.csr_matrix
    ambient: np.ndarray
    batch: np.ndarray

    def minibatch(self, rows: np.ndarray, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Dense counts and the ambient profile of each row."""
        x = torch.from_numpy(self.matrix[rows].toarray().astype(np.float32, copy=False)).to(device)
        ambient = torch.from_numpy(self.ambient.astype(np.float32)).to(device)
        return x, ambient if len(self.ambient) == 1 else ambient[torch.from_numpy(self.batch[rows]).to(device)]


def train(
    cells: Cells,
    options: NetworkOptions,
    *,
    max_epochs: int,
    early_stopping: bool,
    seed: int,
    device: torch.device,
    after: Callable[[int], object],
) -> Trained:
    """Train on cells with counts."""
    with reproducible(seed, device):
        return _train(cells, options, max_epochs, early_stopping, np.random.default_rng([seed, 2]), device, after)


@contextmanager
def reproducible(seed: int, device: torch.device) -> Iterator[None]:
    """Random numbers of `seed` and one thread, inside; torch's global random state and threads as they were, after.

    One thread, because the sums of a matrix product depend on how many share it, and training multiplies that.
    """
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def _train(
    cells: Cells,
    options: NetworkOptions,
    max_epochs: int,
    early_stopping: bool,  # noqa: FBT001
    generator: np.random.Generator,
    device: torch.device,
    after: Callable[[int], object],
) -> Trained:
    umi = np.asarray(cells.matrix.sum(axis=1)).ravel()
    order = generator.permutation(np.flatnonzero(umi > 0))
    n_held = int(_HELD_OUT * len(order)) if early_stopping else 0
    n_held = n_held if n_held >= _FEWEST_HELD else 0
    held, used = np.sort(order[:n_held]), order[n_held:]
    total = np.asarray(cells.matrix.sum(axis=0)).ravel()
    network = Network(options, cells.matrix.shape[1], total / total.sum()).to(device)
    optimiser = torch.optim.Adam(network.parameters(), options.learning_rate, eps=_ADAM_EPS, weight_decay=_DECAY)
    average, history, stop = Average(network), [], Stop()
    every = max(_LOOK_EVERY, math.ceil(_LOOK_STEPS / len(minibatches(used, batch_size(options, len(used))))))
    for epoch in range(1, max_epochs + 1):
        history.append(_epoch(network, optimiser, average, cells, generator.permutation(used), epoch, device))
        after(epoch)
        if n_held and (epoch % every == 0 or epoch == max_epochs):
            stop.look(average.network, held_out_loss(average.network, cells, held, device))
            if stop.done:
                break
    kept = average.network
    if stop.best is not None:
        kept.load_state_dict(stop.best)
    mean, variance = posterior(kept, cells, device)
    return Trained(weights_of(kept), mean, variance, np.array(history), stop.done or not n_held)


def _epoch(
    network: Network,
    optimiser: torch.optim.Optimizer,
    average: Average,
    cells: Cells,
    order: np.ndarray,
    epoch: int,
    device: torch.device,
) -> tuple[float, float, float]:
    """One pass; mean loss, reconstruction and divergence of its cells."""
    network.train()
    weight, sums = min(1.0, epoch / WARM_UP), torch.zeros(2, device=device, dtype=torch.float64)
    for rows in minibatches(order, batch_size(network.options, len(order))):
        x, ambient = cells.minibatch(rows, device)
        optimiser.zero_grad(set_to_none=True)
        reconstruction, kl = _terms(network, x, ambient)
        (reconstruction.mean() + weight * kl.mean()).backward()
        optimiser.step()
        average.update(network)
        sums += torch.stack([reconstruction.detach().sum().double(), kl.detach().sum().double()])
    rec, kl_sum = (sums / len(order)).tolist()
    return rec + weight * kl_sum, rec, kl_sum


def batch_size(options: NetworkOptions, n_cells: int) -> int:
    """As asked, or smaller where that would leave an epoch with few steps."""
    return min(options.batch_size, max(_FEWEST_STEPS, n_cells // _FEWEST_STEPS))


def minibatches(order: np.ndarray, size: int) -> list[np.ndarray]:
    """Runs of about `size` cells, all of them nearly alike: a last one of a single cell has no variance."""
    return np.array_split(order, max(1, math.ceil(len(order) / size)))


def _terms(network: Network, x: torch.Tensor, ambient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    mean, variance = network.encode(x)
    z = mean + variance.sqrt() * torch.randn_like(mean)
    p, rho, dropout = network.decode(z)
    return minus_log_likelihood(network, x, (1 - rho) * p + rho * ambient, dropout), divergence(mean, variance)


@torch.no_grad()
def held_out_loss(network: Network, cells: Cells, held: np.ndarray, device: torch.device) -> float:
    """Mean of minus the log-likelihood of held-out cells at the mean of z."""
    network.eval()
    total = 0.0
    for rows in minibatches(held, 512):
        x, ambient = cells.minibatch(rows, device)
        mean = network.encode(x)[0]
        p, rho, dropout = network.decode(mean)
        total += float(minus_log_likelihood(network, x, (1 - rho) * p + rho * ambient, dropout).double().sum())
    return total / len(held)


@torch.no_grad()
def posterior(network: Network, cells: Cells, device: torch.device) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of q(z | x) of every cell, float32."""
    means, variances = [], []
    for rows in minibatches(np.arange(cells.matrix.shape[0]), 1024):
        mean, variance = network.encode(cells.minibatch(rows, device)[0])
        means.append(mean.cpu().numpy())
        variances.append(variance.cpu().numpy())
    return np.concatenate(means), np.concatenate(variances)


class Average:
    """A network whose weights and running moments follow those of another, averaged over its steps."""

    def __init__(self, network: Network) -> None:
        self.network = copy.deepcopy(network).eval()
        self._own = [value for value in self.network.state_dict().values() if value.is_floating_point()]
        self._steps = 0

    @torch.no_grad()
    def update(self, network: Network) -> None:
        """Take one step of the other network in; the first steps are forgotten faster."""
        self._steps += 1
        memory = min(_MEMORY, self._steps / (self._steps + 9))
        theirs = [value for value in network.state_dict().values() if value.is_floating_point()]
        torch._foreach_lerp_(self._own, theirs, 1 - memory)


class Stop:
    """Early stopping: the best weights so far, and whether the last looks brought no progress."""

    def __init__(self) -> None:
        self.best: dict[str, torch.Tensor] | None = None
        self._lowest, self._reference, self._since = math.inf, math.inf, 0
        self.done = False

    def look(self, network: Network, loss: float) -> None:
        """Keep the weights if the loss has fallen; count the looks since it fell by more than a trifle."""
        self._since += 1
        if not loss > self._reference * (1 - math.copysign(_MIN_GAIN, self._reference)):
            self._since, self._reference = 0, loss
        if loss < self._lowest:
            self._lowest = loss
            self.best = {name: value.detach().clone() for name, value in network.state_dict().items()}
        self.done = self._since >= _PATIENCE
