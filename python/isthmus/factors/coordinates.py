"""Unconstrained coordinates: loadings and VAR as they are, log-Cholesky of Q, atanh phi, log sigma2."""

from __future__ import annotations

import numpy as np

from isthmus.factors.params import Params, Spec, lower_triangle, pack, slices, unpack

# Steps go no further than this atanh phi (1 - phi = 2e-7): beyond, the log-likelihood falls by 1 a unit, for ever.
_FAR = 8.0


def _lower(values: np.ndarray, k: int) -> np.ndarray:
    out = np.zeros((k, k))
    out[lower_triangle(k)] = values
    return out


def _factor(q: np.ndarray) -> np.ndarray:
    """Cholesky factor; of a matrix that is singular but for rounding, that of a close neighbour."""
    for ridge in (0.0, 1e-14, 1e-12):
        try:
            return np.linalg.cholesky(q + ridge * np.trace(q) * np.eye(len(q)))
        except np.linalg.LinAlgError:
            continue
    values, vectors = np.linalg.eigh(q)
    return np.linalg.cholesky((vectors * np.maximum(values, 1e-10 * values[-1])) @ vectors.T)


class Coordinates:
    """Between the flat order of parameters and unconstrained coordinates of the same length.

    `least` ``(N,)``: where given, coordinates lead to no smaller sigma2.
    """

    def __init__(self, spec: Spec, least: np.ndarray | None = None) -> None:
        self._least = np.full(spec.n_series, -np.inf) if least is None else np.log(least)
        self._spec, self._where = spec, slices(spec)
        self._covs = [
            (self._where["innovation_cov", number], len(block.factors)) for number, block in enumerate(spec.blocks)
        ]
        self._phi = self._where.get(("idio_ar1", 0))
        self._var = self._where["idio_var", 0]

    def to(self, params: Params) -> np.ndarray:
        """Coordinates of `params`."""
        x = pack(self._spec, params)
        for (where, k), q in zip(self._covs, params.innovation_cov, strict=True):
            root = _factor(q)
            root[np.diag_indices(k)] = np.log(np.diag(root))
            x[where] = root[lower_triangle(k)]
        if self._phi is not None:
            x[self._phi] = np.arctanh(x[self._phi])
        x[self._var] = np.log(x[self._var])
        return x

    def back(self, x: np.ndarray, like: Params) -> Params:
        """Parameters at `x`; the first state's, where they are parameters, come from `like`."""
        flat = x.copy()
        for where, k in self._covs:
            root = self._root(x[where], k)
            flat[where] = (root @ root.T)[lower_triangle(k)]
        if self._phi is not None:
            flat[self._phi] = np.tanh(np.clip(x[self._phi], -_FAR, _FAR))
        flat[self._var] = np.exp(np.clip(x[self._var], self._least, 700))
        return unpack(self._spec, flat, like=like)

    @staticmethod
    def _root(values: np.ndarray, k: int) -> np.ndarray:
        root = _lower(values, k)
        root[np.diag_indices(k)] = np.exp(np.clip(np.diag(root), -350, 350))
        return root

    def gradient(self, x: np.ndarray, score: np.ndarray) -> np.ndarray:
        """Chain rule: the score's counterpart in coordinates."""
        out = score.copy()
        for where, k in self._covs:
            root, half = self._root(x[where], k), _lower(score[where], k)
            by_root = (half + half.T) @ root  # dG/dQ is half the packed entry off the diagonal: d/dL = 2 (dG/dQ) L
            by_root[np.diag_indices(k)] *= np.diag(root)
            out[where] = by_root[lower_triangle(k)]
        if self._phi is not None:
            out[self._phi] *= 1 - np.tanh(x[self._phi]) ** 2
        out[self._var] *= np.exp(np.clip(x[self._var], -700, 700))
        return out

    def curvature(self, x: np.ndarray, information: np.ndarray) -> np.ndarray:
        """The information's diagonal in coordinates (of Q only roughly): it scales quasi-Newton steps."""
        out = information.copy()
        for where, k in self._covs:
            root, own = self._root(x[where], k), _lower(information[where], k)
            scale = np.tile(np.diag(root), (k, 1))
            scale[np.diag_indices(k)] = 2 * np.diag(root) ** 2
            out[where] = (own * scale**2)[lower_triangle(k)]
        if self._phi is not None:
            out[self._phi] *= (1 - np.tanh(x[self._phi]) ** 2) ** 2
        out[self._var] *= np.exp(np.clip(x[self._var], -350, 350)) ** 2
        return np.maximum(out, 1e-3 * np.median(out) + 1e-8)
