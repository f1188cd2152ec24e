"""The neighbour cross-attention network as a plain torch module. Arrays in, arrays out; `forward.py` is its NumPy twin.

Written from the published description of the model (preprint doi 10.1101/2025.09.22.677860). For receiver i of type c
and its neighbours j at distances d_ij, head h::

    e_j    = ResNetMLP(x_j)                                          embedding of the neighbour's expression
    q_c    = ResNetMLP(type embedding of c)
    score  = <W_Q q_c, W_K e_j> / sqrt(key size) - softplus(MLP([e_j, type embedding]) + offset) * d_ij / unit
    a_ijh  = softmax over the neighbours and a slot of fixed score and value 0 ("attend to nobody")
    y_i    = mean_c + W LayerNorm(W_R q_c + covariates + sum_h sum_j a_ijh W_V e_j W_O)

What depends on the neighbour alone is computed once for each distinct neighbour of a batch, what depends on neighbour
and receiver type once for each such combination; a cell-neighbour pair costs two look-ups, a softmax and a weighted
sum.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from isthmus.interaction.lookup import rows_of, weighted_sum

NORM_EPS = 1e-5


@dataclass(frozen=True)
class Sizes:
    """Numbers of inputs and units: genes, receiver types, covariates, heads, and the sizes of `NetworkOptions`."""

    n_genes: int
    n_types: int
    n_covariates: int
    n_heads: int
    head_size: int
    key_size: int
    value_size: int
    query_size: int
    query_hidden: int
    type_size: int
    embedding_size: int
    embedding_hidden: int
    kernel_hidden: int


@dataclass(frozen=True, eq=False)
class Batch:
    """Receivers and their neighbours; n receivers, k neighbours each, u distinct neighbours, m combinations.

    `combination_neighbor` counts rows of `expression`; `pair_neighbor` rows of `expression`; `pair_combination` rows of
    the combinations. Where `present` is False the pair's entries are 0.
    """

    types: Tensor  # (n,) receiver types
    covariates: Tensor  # (n, n_covariates)
    expression: Tensor  # (u, n_genes) of the distinct neighbours
    combination_type: Tensor  # (m,)
    combination_neighbor: Tensor  # (m,)
    pair_combination: Tensor  # (n, k)
    pair_neighbor: Tensor  # (n, k)
    distance: Tensor  # (n, k) in units of the distance unit
    present: Tensor  # (n, k) bool


@dataclass(frozen=True, eq=False)
class Prediction:
    """Residual on the type's mean ``(n, n_genes)``, attention ``(n, h, k + 1)`` with the empty slot last, values
    ``(u, h, value_size)``."""

    residual: Tensor
    attention: Tensor
    values: Tensor


def _weight(n_in: int, n_out: int, generator: torch.Generator, scale: float = 1.0) -> nn.Parameter:
    """Uniform with variance scale^2 / n_in, drawn from our own generator: torch's global one stays as it is."""
    bound = scale * (3.0 / max(n_in, 1)) ** 0.5
    return nn.Parameter((torch.rand(n_in, n_out, generator=generator) * 2 - 1) * bound)


class ResNetMLP(nn.Module):
    """LayerNorm(x S + relu(x A + a) B + b); without S where the sizes agree."""

    def __init__(self, n_in: int, n_hidden: int, n_out: int, generator: torch.Generator) -> None:
        super().__init__()
        self.skip = None if n_in == n_out else _weight(n_in, n_out, generator)
        self.hidden_weight = _weight(n_in, n_hidden, generator)
        self.hidden_bias = nn.Parameter(torch.zeros(n_hidden))
        self.out_weight = _weight(n_hidden, n_out, generator)
        self.out_bias = nn.Parameter(torch.zeros(n_out))
        self.norm_weight = nn.Parameter(torch.ones(n_out))
        self.norm_bias = nn.Parameter(torch.zeros(n_out))

    def forward(self, x: Tensor) -> Tensor:
        hidden = functional.relu(torch.addmm(self.hidden_bias, x, self.hidden_weight))
        skipped = x if self.skip is None else x @ self.skip
        inner = skipped + torch.addmm(self.out_bias, hidden, self.out_weight)
        return functional.layer_norm(inner, inner.shape[-1:], self.norm_weight, self.norm_bias, NORM_EPS)


class NeighborAttention(nn.Module):
    """The network; `empty_score` is the score of the slot for nobody, `kernel_offset` that of the distance kernel."""

    def __init__(self, sizes: Sizes, *, empty_score: float, kernel_offset: float, generator: torch.Generator) -> None:
        super().__init__()
        s, g = sizes, generator
        width = s.n_heads * s.head_size
        self.sizes, self.empty_score, self.kernel_offset = sizes, empty_score, kernel_offset
        self.type_embedding = _weight(s.n_types, s.type_size, g, scale=float(s.n_types) ** 0.5)
        self.type_mlp = ResNetMLP(s.type_size, s.query_hidden, s.query_size, g)
        self.cell_mlp = ResNetMLP(s.n_genes, s.embedding_hidden, s.embedding_size, g)
        self.key_mlp = ResNetMLP(s.embedding_size, s.embedding_hidden, s.embedding_size, g)
        self.query_weight = _weight(s.query_size, s.n_heads * s.key_size, g)
        self.query_residual = _weight(s.query_size, width, g)
        self.covariate_weight = nn.Parameter(torch.zeros(s.n_covariates, width))
        self.key_weight = _weight(s.embedding_size, s.n_heads * s.key_size, g)
        self.value_weight = _weight(s.embedding_size, s.n_heads * s.value_size, g)
        self.kernel_cell = _weight(s.embedding_size, s.kernel_hidden, g)
        self.kernel_type = _weight(s.type_size, s.kernel_hidden, g)
        self.kernel_bias = nn.Parameter(torch.zeros(s.kernel_hidden))
        self.kernel_out = _weight(s.kernel_hidden, s.n_heads, g)
        self.kernel_out_bias = nn.Parameter(torch.zeros(s.n_heads))
        self.head_out = nn.Parameter(
            torch.stack([_weight(s.value_size, width, g).detach() for _ in range(s.n_heads)])
        )  # (h, value_size, width)
        self.norm_weight = nn.Parameter(torch.ones(width))
        self.norm_bias = nn.Parameter(torch.zeros(width))
        # Nearly zero: training starts from the prediction "the mean of the type".
        self.output = nn.Parameter(_weight(width, s.n_genes, g, scale=0.01).detach().T.contiguous())

    def queries(self) -> tuple[Tensor, Tensor]:
        """Queries ``(n_types, h, key_size)`` and residuals ``(n_types, width)``."""
        q = self.type_mlp(self.type_embedding)
        return (q @ self.query_weight).view(-1, self.sizes.n_heads, self.sizes.key_size), q @ self.query_residual

    def forward(self, batch: Batch, keep: Tensor | None = None) -> Prediction:
        """Predictions of a batch; `keep` ``(n, k)`` leaves neighbours out (dropout)."""
        s = self.sizes
        query, residual = self.queries()
        embedded = self.cell_mlp(batch.expression)
        inner = self.key_mlp(embedded)
        keys = (inner @ self.key_weight).view(-1, s.n_heads, s.key_size)
        values = (inner @ self.value_weight).view(-1, s.n_heads, s.value_size)
        table = self._score_table(batch, query, keys, embedded)
        present = batch.present if keep is None else batch.present & keep
        attention = self._attention(batch, table, present)
        mixed = weighted_sum(attention[:, :, :-1], values, batch.pair_neighbor)
        parts = torch.bmm(mixed.transpose(0, 1), self.head_out).sum(0)
        x = rows_of(residual, batch.types) + parts
        if s.n_covariates:
            x = x + batch.covariates @ self.covariate_weight
        normed = functional.layer_norm(x, x.shape[-1:], self.norm_weight, self.norm_bias, NORM_EPS)
        return Prediction(normed @ self.output.T, attention, values)

    def _score_table(self, batch: Batch, query: Tensor, keys: Tensor, embedded: Tensor) -> Tensor:
        """``(m, 2 h)``: score at distance 0, then decay per unit of distance, of each combination."""
        c, j = batch.combination_type, batch.combination_neighbor
        wanted, offered = rows_of(query.flatten(1), c), rows_of(keys.flatten(1), j)
        score = (wanted * offered).view(-1, *keys.shape[1:]).sum(-1)
        cell, kind = embedded @ self.kernel_cell, self.type_embedding @ self.kernel_type + self.kernel_bias
        hidden = functional.relu(rows_of(cell, j) + rows_of(kind, c))
        decay = functional.softplus(hidden @ self.kernel_out + self.kernel_out_bias + self.kernel_offset)
        return torch.cat([score / self.sizes.key_size**0.5, decay], dim=1)

    def _attention(self, batch: Batch, table: Tensor, present: Tensor) -> Tensor:
        """``(n, h, k + 1)``, the empty slot last."""
        h = self.sizes.n_heads
        looked_up = rows_of(table, batch.pair_combination)
        score = looked_up[..., :h] - looked_up[..., h:] * batch.distance[..., None]
        score = score.masked_fill(~present[..., None], -torch.inf).transpose(1, 2)
        empty = score.new_full((*score.shape[:2], 1), self.empty_score)
        return torch.softmax(torch.cat([score, empty], dim=2), dim=2)
