"""The options of the network, checked one by one."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from isthmus.data.wording import did_you_mean
from isthmus.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

LIKELIHOODS = {"b": "binomial", "binomial": "binomial", "nb": "nb", "zinb": "zinb", "poisson": "poisson"}
_CHOICES = {
    "latent_distribution": ("normal", "ln"),
    "scale_activation": ("softplus_sp", "softplus", "softmax"),
    "trainer": ("isthmus", "scvi"),
}
_WHOLE = ("n_hidden", "n_latent", "n_layers", "batch_size")


@dataclass(frozen=True)
class NetworkOptions:
    """What the network is, and how it is trained.

    Attributes
    ----------
    n_hidden, n_latent, n_layers, dropout_rate
        Nodes of a hidden layer, dimensions of z, hidden layers of encoder and of decoder, dropout in the encoder.
    likelihood
        "binomial", "nb", "zinb" or "poisson", of each count given z.
    latent_distribution
        "normal", or "ln": softmax of a normal.
    scale_activation
        What makes p non-negative: "softplus_sp" (zero below a threshold), "softplus" or "softmax".
    sparsity
        In [0, 1], for "softplus_sp": larger lets more genes have no native expression in a cell, and removes more.
    trainer
        "isthmus", our loop, or "scvi", that of scvi-tools (same network, more time).
    batch_size
        Cells of a minibatch.
    learning_rate
        Of Adam.
    """

    n_hidden: int = 150
    n_latent: int = 15
    n_layers: int = 2
    dropout_rate: float = 0.0
    likelihood: str = "binomial"
    latent_distribution: Literal["normal", "ln"] = "normal"
    scale_activation: Literal["softplus_sp", "softplus", "softmax"] = "softplus_sp"
    sparsity: float = 0.9
    trainer: Literal["isthmus", "scvi"] = "isthmus"
    batch_size: int = 128
    learning_rate: float = 1e-3

    @property
    def threshold(self) -> float:
        """What "softplus_sp" takes off softplus(x): softplus(-10 (1 - sparsity)), as in SCAR."""
        if self.scale_activation != "softplus_sp":
            return 0.0
        return float(np.log1p(np.exp(-(1 - self.sparsity) * 10.0)))

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for the settings of a fit."""
        return asdict(self)


def read_options(likelihood: Any, sparsity: Any, given: Mapping[str, Any]) -> NetworkOptions:
    """Options from the arguments of remove_ambient.

    Raises
    ------
    InputError
        An unknown name or choice; a number out of its range.
    """
    known = [field.name for field in fields(NetworkOptions) if field.name not in ("likelihood", "sparsity")]
    for name in given:
        if name not in known:
            msg = (
                f"`{name}` is no argument of remove_ambient and no option of the network; those are "
                f"{', '.join(known)}. {did_you_mean(name, known)}"
            )
            raise InputError(msg)
    if likelihood not in LIKELIHOODS:
        msg = f"`likelihood` must be 'binomial', 'nb', 'zinb' or 'poisson'; got {likelihood!r}."
        raise InputError(msg)
    for name, choices in _CHOICES.items():
        if given.get(name, choices[0]) not in choices:
            msg = f"`{name}` must be one of {', '.join(map(repr, choices))}; got {given[name]!r}."
            raise InputError(msg)
    for name in _WHOLE:
        least = 2 if name == "batch_size" else 1
        if not _whole(given.get(name, least), least):
            msg = f"`{name}` must be a whole number of at least {least}; got {given[name]!r}."
            raise InputError(msg)
    _check_range("dropout_rate", given.get("dropout_rate", 0.0), 0.0, 1.0, "at least 0 and below 1", open_end=True)
    _check_range("sparsity", sparsity, 0.0, 1.0, "between 0 and 1")
    rate = given.get("learning_rate", 1e-3)
    _check_range("learning_rate", rate, 1e-300, 1.0, "above 0 and at most 1")
    plain: dict[str, Any] = {name: int(value) if name in _WHOLE else value for name, value in given.items()}
    return NetworkOptions(likelihood=LIKELIHOODS[likelihood], sparsity=float(sparsity), **plain)


def _whole(value: Any, least: int) -> bool:
    return _number(value) and float(value).is_integer() and value >= least


def _number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool) and bool(np.isfinite(value))


def _check_range(name: str, value: Any, low: float, high: float, rule: str, *, open_end: bool = False) -> None:
    if not (_number(value) and low <= value <= high and not (open_end and value == high)):
        msg = f"`{name}` must be {rule}; got {value!r}."
        raise InputError(msg)
