r"""The normal model: y = mu + e with mu = s (x a) + offset and Var(e) = exp(z b), s the size factors.

For values that are no counts, such as logarithms. Given the variances the means are weighted least squares; the
variances take Fisher's scoring, whose information does not mix with that of the means (Aitkin 1987, J. R. Stat. Soc. C
36:332). Both are joint maximum likelihood: with one variance a gene it is the mean of the squared residuals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.errors import InputError
from isthmus.glm import kernel

if TYPE_CHECKING:
    import scipy.sparse as sp

    from isthmus.glm.kernel import GeneFits
    from isthmus.glm.result import GlmFit

_AT_ONCE = 1_000_000  # cells x genes held as dense numbers
_NO_VARIANCE = 1e-18  # of the mean square: the model explains a gene to all digits


def refuse_normal(fit: GlmFit, what: str) -> None:
    """For what is about counts."""
    if fit.settings["noise_model"] == "normal":
        msg = f'`fit` must be of counts for {what}; it has noise_model="normal".'
        raise InputError(msg)


def fit_genes(
    values: sp.csr_matrix,
    x: np.ndarray,
    z: np.ndarray,
    offset: np.ndarray,
    *,
    dispersion_offset: np.ndarray | None = None,
    gene_offset: np.ndarray | None = None,
    weights: np.ndarray | None = None,
    start_mean: np.ndarray | None = None,
    start_dispersion: np.ndarray | None = None,
    fix_dispersion: bool = False,
    max_iter: int = 100,
    tol: float = 1e-8,
    **_: Any,
) -> GeneFits:
    """`isthmus.glm.kernel.fit_genes` of the normal model, block by block of genes; `x` has the size factors in it, and
    the dispersion is the variance. A gene without residual variance has not converged; one of zeros is all_zero."""
    columns = values.tocsc()
    step = max(1, _AT_ONCE // len(x))
    parts = []
    for first in range(0, values.shape[1], step):
        part = slice(first, min(first + step, values.shape[1]))
        y = np.asarray(columns[:, part].toarray(), dtype=float)
        empty = ~(y != 0).any(axis=0)
        y -= offset[:, None] if gene_offset is None else offset[:, None] + gene_offset[:, part]
        own = np.broadcast_to(1.0 if weights is None else weights[:, part], y.shape)
        fixed = np.zeros(len(x)) if dispersion_offset is None else dispersion_offset
        a, b = (None if start is None else start[:, part] for start in (start_mean, start_dispersion))
        problem = _Genes(y, x, z, own, fixed)
        parts.append(problem.fit(a, b, empty, hold=fix_dispersion, max_iter=max_iter, tol=tol))
    return kernel.join(parts)


def _solve(information: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The shortest solution where some parameter is not determined: the variance of other cells has all but vanished,
    beside which its own tell nothing (the gene ends as not converged), or its cells have weight 0 (as separated)."""
    try:
        return np.asarray(np.linalg.solve(information, right))
    except np.linalg.LinAlgError:
        if len(information) > 1:
            return np.concatenate([_solve(i[None], r[None]) for i, r in zip(information, right, strict=True)])
        return np.asarray(np.linalg.pinv(information, hermitian=True) @ right)


class _Genes:
    """Dense values of some genes, ``(n_cells, n)``, less their offsets."""

    def __init__(self, y: np.ndarray, x: np.ndarray, z: np.ndarray, weights: np.ndarray, fixed: np.ndarray) -> None:
        self.y, self.x, self.z, self.weights, self.fixed = y, x, z, weights, fixed[:, None]

    def fit(
        self, a: np.ndarray | None, b: np.ndarray | None, empty: np.ndarray, *, hold: bool, max_iter: int, tol: float
    ) -> GeneFits:
        evaluate_only = max_iter == 0
        b = self._first_variance() if b is None else np.array(b, dtype=float)
        if a is None or not evaluate_only:
            a = self.means(b)
        value, n_iter = self.log_likelihood(a, b), np.zeros(self.y.shape[1], dtype=np.int32)
        gain = np.zeros(self.y.shape[1]) if hold or evaluate_only else np.full(self.y.shape[1], np.inf)
        for _ in range(0 if hold else max_iter):
            moving = gain > tol
            if not moving.any():
                break
            step, promised = self._direction(a, b)
            gain = np.where(moving, promised, gain)
            n_iter[moving] += 1
            # The step that promises less than `tol` is taken too: it costs little and squares the error.
            a, b, value = self._climb(a, b, value, np.where(moving, step, 0.0))
        return self._result(a, b, value, gain, n_iter, empty, tol)

    def _first_variance(self) -> np.ndarray:
        """One variance for all cells, that of least squares; a trace of the mean square where there is none."""
        a = self.means(np.zeros((self.z.shape[1], self.y.shape[1])))
        w = self.weights / self.weights.sum(axis=0)
        rest, whole = (w * (self.y - self.x @ a) ** 2).sum(axis=0), (w * self.y**2).sum(axis=0)
        log_variance = np.log(np.maximum(rest, np.maximum(_NO_VARIANCE * whole, 1e-300)))
        return np.asarray(np.linalg.lstsq(self.z, log_variance - self.fixed, rcond=None)[0])

    def precision(self, b: np.ndarray) -> np.ndarray:
        return np.exp(-np.clip(self.z @ b + self.fixed, -600, 600))

    def means(self, b: np.ndarray) -> np.ndarray:
        """Weighted least squares at some variances, ``(f, n)``."""
        if not self.x.shape[1]:
            return np.empty((0, self.y.shape[1]))
        w = self.weights * self.precision(b)
        w = w / w.max(axis=0)
        information = np.einsum("nf,ng,nh->gfh", self.x, w, self.x, optimize=True)
        right = (self.x.T @ (w * self.y)).T[:, :, None]
        return _solve(information, right)[:, :, 0].T

    def log_likelihood(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        precision, rest = self.precision(b), self.y - self.x @ a
        terms = np.log(2 * np.pi) - np.log(precision) + precision * rest**2
        return np.asarray(-(self.weights * terms).sum(axis=0) / 2)

    def _score(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Of b, ``(g, n)``."""
        excess = self.precision(b) * (self.y - self.x @ a) ** 2 - 1
        return np.asarray(self.z.T @ (self.weights * excess) / 2)

    def _direction(self, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Fisher's step in b and the log-likelihood that it promises."""
        score = self._score(a, b)
        information = np.einsum("nf,ng,nh->gfh", self.z, self.weights, self.z, optimize=True) / 2
        step = _solve(information, score.T[:, :, None])[:, :, 0].T
        reach = np.abs(self.z @ step).max(axis=0)
        return step / np.maximum(reach / 2.0, 1.0), (score * step).sum(axis=0) / 2

    def _climb(
        self, a: np.ndarray, b: np.ndarray, value: np.ndarray, step: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The step, halved where the likelihood would fall, and the means that belong to it."""
        size = np.ones(self.y.shape[1])
        for _ in range(30):
            new_b = b + size * step
            new_a = self.means(new_b)
            new_value = self.log_likelihood(new_a, new_b)
            falls = ~(new_value >= value - 1e-10 * (1 + np.abs(value)))
            if not falls.any():
                break
            size[falls] /= 2
        return new_a, new_b, new_value

    def _result(
        self,
        a: np.ndarray,
        b: np.ndarray,
        value: np.ndarray,
        gain: np.ndarray,
        n_iter: np.ndarray,
        empty: np.ndarray,
        tol: float,
    ) -> GeneFits:
        f, g, n = self.x.shape[1], self.z.shape[1], self.y.shape[1]
        precision, mean = self.precision(b), self.x @ a
        rest, w = self.y - mean, self.weights * precision
        hessian = np.empty((n, f + g, f + g))
        hessian[:, :f, :f] = np.einsum("nf,ng,nh->gfh", self.x, w, self.x, optimize=True)
        hessian[:, :f, f:] = np.einsum("nf,ng,nh->gfh", self.x, w * rest, self.z, optimize=True)
        hessian[:, f:, :f] = hessian[:, :f, f:].swapaxes(1, 2)
        hessian[:, f:, f:] = np.einsum("nf,ng,nh->gfh", self.z, w * rest**2, self.z, optimize=True) / 2
        gradient = np.hstack([(self.x.T @ (w * rest)).T, self._score(a, b).T])
        least = _NO_VARIANCE * np.maximum((self.y**2).mean(axis=0), 1e-280)
        explained = (1 / precision).min(axis=0) <= 1e3 * least
        code = np.where(explained | (gain > tol), kernel.NOT_CONVERGED, kernel.OK)
        code = np.where(empty, kernel.ALL_ZERO, code).astype(np.int32)
        variance = np.where(empty, np.nan, 1 / precision)
        return kernel.GeneFits(
            mean_coef=a,
            dispersion_coef=b,
            log_likelihood=np.where(empty, np.nan, value),
            expected_info=hessian[:, :f, :f].copy(),
            neg_hessian=hessian,
            gradient=gradient,
            decrement=gain,
            min_mu=mean.min(axis=0),
            min_alpha=variance.min(axis=0),
            max_alpha=variance.max(axis=0),
            mean_alpha=variance.mean(axis=0),
            n_iter=n_iter,
            code=code,
            n_nodes=np.zeros(n, dtype=np.int32),
        )
