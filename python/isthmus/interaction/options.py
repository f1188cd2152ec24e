"""The options of the network and its training that `fit_interactions` takes by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class NetworkOptions:
    """Sizes and penalties.

    Attributes
    ----------
    embedding_size, embedding_hidden
        Units of a neighbour's embedding, and of the hidden layer before it. Larger: finer states of neighbours are told
        apart, at more risk of fitting noise.
    query_size, query_hidden, type_size
        Units of the receiver type's query, of the hidden layer before it, and of the type's embedding.
    key_size, value_size
        Units of keys and of values in each head. None: `head_size`.
    kernel_hidden
        Hidden units of the distance kernel.
    empty_score
        Score of the slot "attend to nobody". Larger: neighbours need higher scores to be attended to.
    kernel_offset
        Added before the softplus of the decay rate; the rate starts near softplus(offset) per unit of distance.
    distance_unit
        "auto": the median distance to the nearest neighbour; or a number, in the unit of the coordinates.
    neighbor_dropout
        Probability with which a neighbour is left out in a training step.
    attention_penalty
        Weight of the entropy of attention (mean over heads): larger makes attention more selective. A pair (start, end)
        rises from one to the other within `attention_penalty_epochs` and is 0 before.
    attention_penalty_epochs, attention_penalty_schedule
        First and last epoch of the rise; "linear" or "log" in between.
    value_l1
        Weight of the sum of absolute values, mean over neighbours: larger gives sparser values.
    gene_scale
        "unit": squared errors of all genes count alike. "sd": each gene's error is divided by its standard deviation
        around the type means.
    patience, validation_share
        Early stopping: epochs without a gain, and the share of the training receivers (whole groups of neighbouring
        cells) that decides.
    group_size
        A batch is made of groups of about this many neighbouring receivers, which share neighbours. 1: of single cells.
    """

    embedding_size: int = 64
    embedding_hidden: int = 128
    query_size: int = 64
    query_hidden: int = 64
    type_size: int = 32
    key_size: int | None = None
    value_size: int | None = None
    kernel_hidden: int = 32
    empty_score: float = 3.0
    kernel_offset: float = -2.0
    distance_unit: float | Literal["auto"] = "auto"
    neighbor_dropout: float = 0.1
    attention_penalty: float | tuple[float, float] = 0.0
    attention_penalty_epochs: tuple[int, int] = (10, 30)
    attention_penalty_schedule: Literal["linear", "log"] = "linear"
    value_l1: float = 0.0
    gene_scale: Literal["unit", "sd"] = "unit"
    patience: int = 20
    validation_share: float = 0.1
    group_size: int = 64
