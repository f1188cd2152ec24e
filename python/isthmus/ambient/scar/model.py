"""A trained network as arrays, and its decoder in NumPy: whoever loads a fit needs no torch, and no input data.

Batch normalisation at its running moments is a linear map, so that the decoder is a few matrix products:

    h = relu(norm(W h + b)) ...;  p ~ max(softplus(W_s h + b_s) - t, 0), sums to 1;  rho = (1 + tanh(w h + c)) / 2
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special

if TYPE_CHECKING:
    from collections.abc import Iterator

    from isthmus.ambient.scar.options import NetworkOptions

_BATCH_EPS = np.float32(1e-3)  # as in `network`, where torch is needed
_SMALLEST = np.float32(1e-30)
_LEAST_VARIANCE = np.float32(1e-4)
_VALUES = 1 << 22  # of a block of cells x genes: 16 MB of float32


@dataclass(frozen=True, eq=False)
class ScarModel:
    """Weights by name (float32), and what the encoder says of the cells it was trained for.

    Attributes
    ----------
    options
        Sizes, likelihood and activations.
    weights
        Parameters and running moments of `isthmus.ambient.scar.network.Network`.
    mean, variance
        ``(n_cells, n_latent)`` float32: q(z | x) of each cell, before the softmax of "ln".
    history
        ``(n_epochs, 3)``: loss, reconstruction error and divergence, mean of the training cells.
    """

    options: NetworkOptions
    weights: dict[str, np.ndarray]
    mean: np.ndarray
    variance: np.ndarray
    history: np.ndarray

    @property
    def n_genes(self) -> int:
        """Number of genes."""
        return len(self.weights["scale.bias"])

    @property
    def inverse_dispersion(self) -> np.ndarray | None:
        """``(n_genes,)``: r of the negative binomials, Var = mu + mu^2 / r; None for the other likelihoods."""
        log_r = self.weights.get("log_dispersion")
        return None if log_r is None else np.exp(log_r.astype(float))


@dataclass(frozen=True, eq=False)
class Decoded:
    """p ``(n, n_genes)``, rows sum to 1; rho ``(n,)``; logits of dropout ``(n, n_genes)``, None but for zinb."""

    p: np.ndarray
    rho: np.ndarray
    dropout: np.ndarray | None


def decode(model: ScarModel, z: np.ndarray) -> Decoded:
    """What the network says of cells at `z`, ``(n, n_latent)``."""
    w, hidden = model.weights, _hidden(model, z)
    raw = _affine(w, "scale", hidden)
    if model.options.scale_activation == "softmax":
        active = special.softmax(raw, axis=1)
    else:
        active = np.maximum(np.logaddexp(np.float32(0), raw) - np.float32(model.options.threshold), 0)
    total = active.sum(axis=1, keepdims=True)
    # The sparse activation may leave nothing at all: then nothing is known of p.
    p = np.where(total > 0, active / np.maximum(total, _SMALLEST), np.float32(1 / model.n_genes))
    return Decoded(p, _share(model, hidden), _affine(w, "dropout", hidden) if "dropout.weight" in w else None)


def decode_share(model: ScarModel, z: np.ndarray) -> np.ndarray:
    """rho ``(n,)`` alone, without the product over the genes."""
    return _share(model, _hidden(model, z))


def _hidden(model: ScarModel, z: np.ndarray) -> np.ndarray:
    z = z.astype(np.float32, copy=False)
    return layers(
        model.weights, "decoder", special.softmax(z, axis=1) if model.options.latent_distribution == "ln" else z
    )


def _share(model: ScarModel, hidden: np.ndarray) -> np.ndarray:
    return np.asarray((1 + np.tanh(_affine(model.weights, "noise", hidden)[:, 0])) / 2)


def encode(model: ScarModel, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of q(z | x) for dense counts ``(n, n_genes)``."""
    w = model.weights
    hidden = layers(w, "encoder", np.log1p(x.astype(np.float32, copy=False)))
    return _affine(w, "mean", hidden), np.exp(_affine(w, "variance", hidden)) + _LEAST_VARIANCE


def layers(w: dict[str, np.ndarray], name: str, h: np.ndarray) -> np.ndarray:
    """Linear, normalisation at the running moments, ReLU, layer by layer."""
    k = 0
    while f"{name}.linear.{k}.weight" in w:
        h = _affine(w, f"{name}.linear.{k}", h)
        norm = f"{name}.norm.{k}"
        spread = np.sqrt(w[f"{norm}.running_var"] + _BATCH_EPS)
        h = (h - w[f"{norm}.running_mean"]) / spread * w[f"{norm}.weight"] + w[f"{norm}.bias"]
        h, k = np.maximum(h, 0), k + 1
    return h


def _affine(w: dict[str, np.ndarray], name: str, h: np.ndarray) -> np.ndarray:
    return np.asarray(h @ w[f"{name}.weight"].T + w[f"{name}.bias"])


@dataclass(frozen=True, eq=False)
class Posterior:
    """The decoder with the cells that are asked about.

    Attributes
    ----------
    model
        The network.
    mean, variance
        ``(n_cells, n_latent)``: q(z | x) of these cells.
    library
        ``(n_cells,)``: N, the counts of each cell.
    ambient, batch
        ``(n_batches, n_genes)`` profiles, and the batch of each cell.
    """

    model: ScarModel
    mean: np.ndarray
    variance: np.ndarray
    library: np.ndarray
    ambient: np.ndarray
    batch: np.ndarray

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return len(self.mean)

    @property
    def n_genes(self) -> int:
        """Number of genes."""
        return self.model.n_genes

    def of(self, rows: Any) -> Posterior:
        """The same for some of the cells."""
        return Posterior(
            self.model, self.mean[rows], self.variance[rows], self.library[rows], self.ambient, self.batch[rows]
        )

    def draw(self, generator: np.random.Generator, rows: Any = slice(None)) -> np.ndarray:
        """One z of each cell from q(z | x), before the softmax of "ln"."""
        mean = self.mean[rows]
        noise = generator.standard_normal(mean.shape, dtype=np.float32)
        return np.asarray(mean + np.sqrt(self.variance[rows]) * noise)

    def blocks(self) -> Iterator[slice]:
        """Runs of cells whose cells x genes matrices stay small."""
        step = max(1, _VALUES // max(self.n_genes, 1))
        for start in range(0, self.n_cells, step):
            yield slice(start, min(start + step, self.n_cells))

    def mixed(self, decoded: Decoded, rows: Any = slice(None)) -> np.ndarray:
        """(1 - rho) p + rho a of each cell."""
        rho = decoded.rho[:, None]
        return np.asarray((1 - rho) * decoded.p + rho * self.ambient[self.batch[rows]].astype(np.float32))
