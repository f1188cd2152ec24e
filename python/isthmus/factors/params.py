"""What a dynamic factor model estimates: its specification, its parameters, and their flat order.

For series i = 1..N and times t = 1..T (standardised, NaN where not observed)

    y_it = lambda_i' f_t + e_it                                     (monthly)
    y_it = lambda_i' (f_t + 2 f_t-1 + 3 f_t-2 + 2 f_t-3 + f_t-4)
           + (e_t + 2 e_t-1 + 3 e_t-2 + 2 e_t-3 + e_t-4)            (quarterly: Mariano and Murasawa 2003)
    f_t  = A_1 f_t-1 + ... + A_p f_t-p + u_t,  u_t ~ N(0, Q)        (block by block)
    e_it = phi_i e_i,t-1 + eps_it,  eps_it ~ N(0, sigma2_i)         (phi_i = 0 where `idiosyncratic` is "iid")
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

QUARTERLY_WEIGHTS = (1.0, 2.0, 3.0, 2.0, 1.0)


@dataclass(frozen=True)
class Block:
    """Factors that follow one VAR together: their numbers and the VAR's order."""

    name: str
    factors: tuple[int, ...]
    order: int


@dataclass(frozen=True, eq=False)
class Spec:
    """What is estimated, for N series and r factors.

    Attributes
    ----------
    loads
        ``(N, r)`` bool: which loadings are free; the others are 0.
    blocks
        Every factor is in exactly one; blocks are independent of each other.
    idiosyncratic
        "ar1" or "iid".
    initial
        "stationary": the first state has the VAR's stationary distribution. "known": its mean and covariance are
        parameters, updated by EM as in Banbura and Modugno (2014) and DynamicFactorMQ.
    quarterly
        ``(N,)`` bool.
    """

    loads: np.ndarray
    blocks: tuple[Block, ...]
    idiosyncratic: str
    initial: str
    quarterly: np.ndarray

    @property
    def n_series(self) -> int:
        """N."""
        return int(self.loads.shape[0])

    @property
    def n_factors(self) -> int:
        """r."""
        return int(self.loads.shape[1])

    @property
    def order(self) -> int:
        """Largest order of a block, at least 1."""
        return max([1, *(block.order for block in self.blocks)])

    @property
    def initial_lags(self) -> int:
        """Lags of the factors that the first state holds: the order, or 5 with quarterly series."""
        return max(self.order, 5 if np.any(self.quarterly) else 1)


@dataclass(frozen=True, eq=False)
class Params:
    """Values of the parameters of a :class:`Spec`.

    Attributes
    ----------
    loadings
        ``(N, r)``.
    transition
        Per block ``(order, k, k)``: ``transition[b][l - 1][i, j]`` is the effect of factor j at lag l on factor i.
    innovation_cov
        Per block ``(k, k)``.
    idio_ar1, idio_var
        ``(N,)``: phi (zeros where "iid") and sigma2, the variance of eps.
    initial_state, initial_cov
        ``(initial_lags * r,)`` and its square, lag by lag (all factors of lag 0 first); only with "known".
    """

    loadings: np.ndarray
    transition: tuple[np.ndarray, ...]
    innovation_cov: tuple[np.ndarray, ...]
    idio_ar1: np.ndarray
    idio_var: np.ndarray
    initial_state: np.ndarray | None = None
    initial_cov: np.ndarray | None = None

    def replace(self, **changes: object) -> Params:
        """Return a copy with some of the values replaced."""
        return replace(self, **changes)  # type: ignore[arg-type]


def dense_transition(spec: Spec, params: Params) -> tuple[np.ndarray, np.ndarray]:
    """``(order, r, r)`` and ``(r, r)``: the VAR of all factors together, zero between blocks."""
    r = spec.n_factors
    lags, cov = np.zeros((spec.order, r, r)), np.zeros((r, r))
    for block, a, q in zip(spec.blocks, params.transition, params.innovation_cov, strict=True):
        index = np.ix_(block.factors, block.factors)
        for lag in range(block.order):
            lags[lag][index] = a[lag]
        cov[index] = q
    return lags, cov


def from_dense(spec: Spec, lags: np.ndarray, cov: np.ndarray) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """Undo :func:`dense_transition`."""
    indices = [np.ix_(block.factors, block.factors) for block in spec.blocks]
    transition = tuple(
        np.stack([lags[lag][index] for lag in range(block.order)])
        if block.order
        else np.zeros((0, len(block.factors), len(block.factors)))
        for block, index in zip(spec.blocks, indices, strict=True)
    )
    return transition, tuple(cov[index].copy() for index in indices)


def companion(lags: np.ndarray, n_lags: int) -> np.ndarray:
    """``(n_lags * r, n_lags * r)`` transition matrix of the factors' last `n_lags` values, lag by lag."""
    order, r, _ = lags.shape
    matrix = np.eye(n_lags * r, k=-r)
    matrix[:r, : order * r] = np.concatenate(list(lags), axis=1)
    return matrix


def stationary_cov(lags: np.ndarray, cov: np.ndarray, n_lags: int) -> np.ndarray:
    """Covariance of the factors' last `n_lags` values under stationarity: P = T P T' + R Q R'."""
    from scipy.linalg import solve_discrete_lyapunov

    r = cov.shape[0]
    noise = np.zeros((n_lags * r, n_lags * r))
    noise[:r, :r] = cov
    return np.asarray(solve_discrete_lyapunov(companion(lags, n_lags), noise, method="bilinear"))


def spectral_radius(spec: Spec, params: Params) -> float:
    """Largest modulus of an eigenvalue of the factors' transition; below 1 where they are stationary."""
    lags, _ = dense_transition(spec, params)
    return float(np.abs(np.linalg.eigvals(companion(lags, spec.order))).max())


def with_initial(spec: Spec, params: Params) -> Params:
    """Give `params` the stationary distribution as their first state, where the model has such parameters."""
    if spec.initial != "known":
        return params.replace(initial_state=None, initial_cov=None)
    lags, cov = dense_transition(spec, params)
    state_cov = stationary_cov(lags, cov, spec.initial_lags)
    return params.replace(initial_state=np.zeros(len(state_cov)), initial_cov=state_cov)


@cache
def lower_triangle(k: int) -> tuple[np.ndarray, np.ndarray]:
    """``np.tril_indices(k)``, which would cost more than the kernel in small models."""
    return np.tril_indices(k)


def _parts(spec: Spec) -> Iterator[tuple[str, int, int]]:
    """Name, block and size of each stretch of the flat order."""
    yield "loadings", 0, int(np.count_nonzero(spec.loads))
    for number, block in enumerate(spec.blocks):
        yield "transition", number, block.order * len(block.factors) ** 2
    for number, block in enumerate(spec.blocks):
        yield "innovation_cov", number, len(block.factors) * (len(block.factors) + 1) // 2
    if spec.idiosyncratic == "ar1":
        yield "idio_ar1", 0, spec.n_series
    yield "idio_var", 0, spec.n_series


def slices(spec: Spec) -> dict[tuple[str, int], slice]:
    """Where each group of parameters lies in the flat order: ``slices(spec)["transition", 0]``."""
    found, start = {}, 0
    for name, number, size in _parts(spec):
        found[name, number] = slice(start, start + size)
        start += size
    return found


def n_params(spec: Spec) -> int:
    """Length of the flat order. A mean and covariance of the first state are not counted."""
    return sum(size for _, _, size in _parts(spec))


def pack(spec: Spec, params: Params) -> np.ndarray:
    """Write the parameters into one vector.

    Order: free loadings series by series; the transition block by block, each ``(order, k, k)`` in C order; the lower
    triangle (row by row) of each block's innovation covariance Q, as Q[i, j] itself; phi where "ar1"; sigma2. An entry
    below the diagonal of Q stands for both Q[i, j] and Q[j, i].
    """
    parts = [params.loadings[spec.loads]]
    parts += [a.ravel() for a in params.transition]
    parts += [q[lower_triangle(len(q))] for q in params.innovation_cov]
    if spec.idiosyncratic == "ar1":
        parts.append(params.idio_ar1)
    return np.concatenate([*parts, params.idio_var])


def unpack(spec: Spec, values: np.ndarray, *, like: Params | None = None) -> Params:
    """Undo :func:`pack`; the first state's mean and covariance come from `like`."""
    where = slices(spec)
    loadings = np.zeros(spec.loads.shape)
    loadings[spec.loads] = values[where["loadings", 0]]
    transition, innovation_cov = [], []
    for number, block in enumerate(spec.blocks):
        k = len(block.factors)
        transition.append(values[where["transition", number]].reshape(block.order, k, k).copy())
        q = np.zeros((k, k))
        q[lower_triangle(k)] = values[where["innovation_cov", number]]
        innovation_cov.append(q + np.tril(q, -1).T)
    ar1 = values[where["idio_ar1", 0]].copy() if spec.idiosyncratic == "ar1" else np.zeros(spec.n_series)
    return Params(
        loadings=loadings,
        transition=tuple(transition),
        innovation_cov=tuple(innovation_cov),
        idio_ar1=ar1,
        idio_var=values[where["idio_var", 0]].copy(),
        initial_state=None if like is None else like.initial_state,
        initial_cov=None if like is None else like.initial_cov,
    )
