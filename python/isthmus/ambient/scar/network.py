"""SCAR's network in plain torch: what is trained. Everything after training is NumPy (`isthmus.ambient.scar.model`).

    z ~ q(z | x) = Normal(m(log1p x), v(log1p x));    p, rho = decoder(z);    x ~ likelihood(N ((1 - rho) p + rho a))

Sheng et al. 2022, bioRxiv 2022.01.14.476312; sizes, activations and batch normalisation as in scvi-tools' SCAR, so that
weights go from one to the other (`isthmus.ambient.scar.stock`). Only this file, `training` and `stock` import torch.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from isthmus.ambient.scar.options import NetworkOptions

BATCH_EPS, BATCH_MOMENTUM = 1e-3, 0.01
LEAST_VARIANCE = 1e-4  # of the latent posterior
NORMALISER = 1e-5  # added to the sum that scales p: the sparse activation may give zeros only
_FIRST_SHARE = 0.05


class Layers(nn.Module):
    """Linear, batch normalisation, ReLU, dropout; `n_layers` times."""

    def __init__(self, sizes: list[int], dropout: float) -> None:
        super().__init__()
        pairs = list(pairwise(sizes))
        self.linear = nn.ModuleList([nn.Linear(a, b) for a, b in pairs])
        self.norm = nn.ModuleList([nn.BatchNorm1d(b, BATCH_EPS, BATCH_MOMENTUM) for _, b in pairs])
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        for linear, norm in zip(self.linear, self.norm, strict=True):
            x = functional.relu(norm(linear(x)))
            if self.dropout:
                x = functional.dropout(x, self.dropout, self.training)
        return x


class Network(nn.Module):
    """Encoder, decoder and, for the negative binomials, log of the inverse dispersion of each gene.

    Parameters
    ----------
    options
        Sizes, likelihood and activations.
    n_genes
        Number of genes.
    average
        ``(n_genes,)``: profile of the average cell; p starts there instead of at 1 / n_genes.
    """

    def __init__(self, options: NetworkOptions, n_genes: int, average: np.ndarray) -> None:
        super().__init__()
        self.options = options
        hidden = [options.n_hidden] * options.n_layers
        self.encoder = Layers([n_genes, *hidden], options.dropout_rate)
        self.mean = nn.Linear(options.n_hidden, options.n_latent)
        self.variance = nn.Linear(options.n_hidden, options.n_latent)
        self.decoder = Layers([options.n_latent, *hidden], 0.0)
        self.scale = nn.Linear(options.n_hidden, n_genes)
        self.noise = nn.Linear(options.n_hidden, 1)
        if options.likelihood == "zinb":
            self.dropout = nn.Linear(options.n_hidden, n_genes)
        if options.likelihood in ("nb", "zinb"):
            self.log_dispersion = nn.Parameter(torch.randn(n_genes))
        self._start_at(average)

    def _start_at(self, average: np.ndarray) -> None:
        """The decoder's biases give the average cell and a small share: training starts near the data."""
        with torch.no_grad():
            self.noise.bias.fill_(float(np.arctanh(2 * _FIRST_SHARE - 1)))
            wanted = torch.as_tensor(average * len(average), dtype=torch.float32).clamp_min(1e-3)
            if self.options.scale_activation == "softmax":
                self.scale.bias.copy_(wanted.log())
            else:
                self.scale.bias.copy_(torch.log(torch.expm1((wanted + self.threshold).clamp_max(80.0))))

    @property
    def threshold(self) -> float:
        """What the sparse softplus takes off: the larger `sparsity`, the more, and the more of p is exactly zero."""
        return self.options.threshold

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of q(z | x)."""
        hidden = self.encoder(torch.log1p(x))
        return self.mean(hidden), torch.exp(self.variance(hidden)) + LEAST_VARIANCE

    def decode(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """p ``(n, n_genes)``, rho ``(n, 1)`` and the logits of dropout (zinb)."""
        if self.options.latent_distribution == "ln":
            z = torch.softmax(z, dim=-1)
        hidden = self.decoder(z)
        raw = self.scale(hidden)
        if self.options.scale_activation == "softmax":
            active = torch.softmax(raw, dim=-1)
        else:
            active = functional.relu(functional.softplus(raw) - self.threshold)
        p = active / (active.sum(dim=-1, keepdim=True) + NORMALISER)
        rho = (1 + torch.tanh(self.noise(hidden))) / 2
        return p, rho, self.dropout(hidden) if self.options.likelihood == "zinb" else None


def minus_log_likelihood(network: Network, x: Tensor, q: Tensor, dropout: Tensor | None) -> Tensor:
    """-log p(x | z) of each cell without the terms that no parameter enters; ``q = (1 - rho) p + rho a``.

    Gamma functions are evaluated where x > 0 only: elsewhere their difference vanishes.
    """
    kind, tiny = network.options.likelihood, 1e-8
    n = x.sum(dim=1, keepdim=True)
    if kind == "binomial":
        q = q.clamp(tiny, 1 - 1e-6)
        return -(x * torch.log(q) + (n - x) * torch.log1p(-q)).sum(dim=1)
    mu = n * q + tiny
    if kind == "poisson":
        return (mu - x * torch.log(mu)).sum(dim=1)
    log_r = network.log_dispersion
    r = torch.exp(log_r)
    log_sum = torch.log(r + mu)
    at_zero = r * (log_r - log_sum)
    row, gene = torch.nonzero(x, as_tuple=True)
    seen = x[row, gene]
    gammas = torch.lgamma(seen + r[gene]) - torch.lgamma(r[gene])
    stored = seen * (torch.log(mu[row, gene]) - log_sum[row, gene]) + gammas
    if dropout is None:
        return -(at_zero.sum(dim=1) + torch.zeros_like(n[:, 0]).index_add(0, row, stored))
    log_kept, log_dropped = -functional.softplus(dropout), functional.logsigmoid(dropout)
    zero = torch.logaddexp(log_dropped, log_kept + at_zero)
    stored = stored + log_kept[row, gene] + at_zero[row, gene] - zero[row, gene]
    return -(zero.sum(dim=1) + torch.zeros_like(n[:, 0]).index_add(0, row, stored))


def divergence(mean: Tensor, variance: Tensor) -> Tensor:
    """KL(q(z | x), Normal(0, 1)) of each cell."""
    return 0.5 * (mean**2 + variance - torch.log(variance) - 1).sum(dim=-1)


def weights_of(network: Network) -> dict[str, np.ndarray]:
    """Parameters and running moments by name, float32."""
    return {
        name: value.detach().cpu().numpy().astype(np.float32)
        for name, value in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
