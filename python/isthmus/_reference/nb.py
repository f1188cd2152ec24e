r"""The negative binomial GLM of one gene after the other: the plain twin of the compiled kernel.

For cell :math:`i` of one gene, with :math:`\eta_i = x_i a + o_i` (natural log of the mean :math:`\mu_i`) and
:math:`\lambda_i = z_i b` (natural log of the dispersion :math:`\alpha_i`, so that :math:`Var(y) = \mu + \alpha\mu^2`),

.. math::
    \ell_i = \sum_{j=0}^{y_i-1}\log(1 + j\alpha_i) - \log y_i! + y_i\eta_i - (y_i + 1/\alpha_i)\log(1 + \alpha_i\mu_i).

The sum over :math:`j` is :math:`\log\Gamma(y+1/\alpha) - \log\Gamma(1/\alpha) + y\log\alpha`. It is never taken as that
difference: both terms grow like :math:`\log(1/\alpha)/\alpha`, and released software loses hundreds of log-likelihood
units to the cancellation. As a sum it tends to 0 with alpha and leaves the Poisson log-likelihood behind.

The fit is Newton's method on (a, b) together, with the observed Hessian and a line search. Everything is dense and
takes one gene at a time: use it to check, not to work.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import scipy.linalg as sla
from scipy.special import gammaln

if TYPE_CHECKING:
    from collections.abc import Iterator

    import scipy.sparse as sp

    from isthmus.glm.kernel import GeneFits

OK, POISSON_LIMIT, NOT_CONVERGED, ALL_ZERO = 0, 1, 2, 3

# From this many terms on, the sum over j is taken by Stirling's series, which at 20 is exact to the last bit with the
# terms below.
N_DIRECT_TERMS = 20

# No step moves a linear predictor by more than this (natural log), whatever the Hessian says: beyond it the quadratic
# model means nothing. The whole step is scaled; clipping one coordinate turns an ascent direction into something else.
MAX_STEP = 5.0

# Differences of the log-likelihood below this share of the sizes of its terms are rounding. A cell's y eta and log y!
# are far larger than what is left when they cancel: at a mean of 1e6 they are 1e7 and leave 14.
NOISE = 4 * np.finfo(float).eps


# --- one cell ---------------------------------------------------------------------------------------------------------


class CellTerms(NamedTuple):
    """Log-likelihood of each cell with its derivatives in eta = log mean (e) and lambda = log dispersion (l)."""

    value: np.ndarray
    e: np.ndarray
    l: np.ndarray  # noqa: E741  the derivative in lambda, as `e` is the one in eta
    ee: np.ndarray
    el: np.ndarray
    ll: np.ndarray


def poisson_terms(y: np.ndarray, eta: np.ndarray) -> CellTerms:
    """The limit alpha = 0 of `negative_binomial_terms`."""
    mu = np.exp(eta)
    none = np.zeros_like(mu)
    return CellTerms(y * eta - mu - gammaln(y + 1), y - mu, none, -mu, none, none)


def negative_binomial_terms(y: np.ndarray, eta: np.ndarray, lam: np.ndarray) -> CellTerms:
    """Log-likelihood of each cell and its first and second derivatives, shapes ``(n_cells,)``.

    With w = alpha mu and r = 1 / alpha (so r w = mu) the part without the sum over j is y eta - (y + r) log(1 + w); its
    derivatives follow from dw/deta = dw/dlambda = w and dr/dlambda = -r.
    """
    mu, alpha, r = np.exp(eta), np.exp(lam), np.exp(-lam)
    w = alpha * mu
    one_w = 1 + w
    log_one_w = np.log1p(w)
    rising, rising_1, rising_2 = log_rising(y, alpha)
    return CellTerms(
        value=rising - gammaln(y + 1) + y * eta - (y + r) * log_one_w,
        e=(y - mu) / one_w,
        l=rising_1 + r * log_one_w - (y * w + mu) / one_w,
        ee=-mu * (1 + alpha * y) / one_w**2,
        el=-(y - mu) * w / one_w**2,
        ll=rising_2 - r * log_one_w + 2 * mu / one_w - (y * w + mu) / one_w**2,
    )


def log_rising(y: np.ndarray, alpha: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""Sum over j < y of log(1 + j alpha), with its first and second derivative in log alpha.

    Term by term the derivatives are u / (1 + u) and u / (1 + u)^2 with u = j alpha. Fractional counts take
    the continuous extension (the Gamma functions), as every other package does.
    """
    whole = y == np.floor(y)
    total, first, second = np.zeros((3, *y.shape))
    for j in range(N_DIRECT_TERMS):
        u = np.where(whole & (y > j), j * alpha, 0.0)
        total += np.log1p(u)
        first += u / (1 + u)
        second += u / (1 + u) ** 2
    above = whole & (y > N_DIRECT_TERMS)
    for cells, start in ((above, N_DIRECT_TERMS), (~whole, 0)):
        if cells.any():
            part = _log_rising_from(start, y[cells], alpha[cells])
            for into, amount in zip((total, first, second), part, strict=True):
                into[cells] += amount
    return total, first, second


def _log_rising_from(start: int, y: np.ndarray, alpha: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""The terms j = start, ..., y - 1 at once: log Gamma(y + r) - log Gamma(start + r) + (y - start) log alpha.

    For a start of 0 (fractional counts) both arguments are raised first, with Gamma(x + 1) = x Gamma(x).
    """
    r, n = 1 / alpha, y - start
    low, high = start + r, y + r
    raised = np.zeros((3, *y.shape))
    if start < N_DIRECT_TERMS:
        for j in range(start, N_DIRECT_TERMS):
            u_low, u_high = low + (j - start), high + (j - start)
            raised[0] += np.log(u_low) - np.log(u_high)
            raised[1] += 1 / u_low - 1 / u_high
            raised[2] += 1 / u_high**2 - 1 / u_low**2
        low, high = low + N_DIRECT_TERMS - start, high + N_DIRECT_TERMS - start
    ratio = np.log1p(n / low)
    value = n * np.log(low * alpha) + (high - 0.5) * ratio - n + _series(high, 0) - _series(low, 0) + raised[0]
    slope = ratio + n / (2 * low * high) + _series(high, 1) - _series(low, 1) + raised[1]  # d/dr
    curvature = (
        (-n / (low * high)) * (1 + (low + high) / (2 * low * high)) + _series(high, 2) - _series(low, 2) + raised[2]
    )
    # r = exp(-lambda): d/dlambda = -r d/dr, and (y - start) log alpha adds its own derivative, y - start.
    return value, n - r * slope, r * slope + r**2 * curvature


# Stirling: log Gamma(x) = (x - 1/2) log x - x + log(2 pi)/2 + sum_k c_k x^-(2k-1); Abramowitz & Stegun 6.1.41.
STIRLING = np.array([1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360])


def _series(x: np.ndarray, order: int) -> np.ndarray:
    """The sum in Stirling's formula (order 0) or its first or second derivative."""
    power = 2 * np.arange(len(STIRLING)) + 1
    factor = [np.ones(len(power)), -power, power * (power + 1)][order]
    return sum(c * f * x ** -float(p + order) for c, f, p in zip(STIRLING, factor, power, strict=True))


# --- one gene ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gene:
    """One gene's data and model. Without `z` only the mean has parameters: at dispersion `log_alpha`, or Poisson."""

    y: np.ndarray
    x: np.ndarray
    offset: np.ndarray
    z: np.ndarray | None = None
    log_alpha: np.ndarray | None = None  # with z: an offset of log alpha
    weight: np.ndarray | None = None  # of each cell's log-likelihood

    @property
    def n_mean(self) -> int:
        return self.x.shape[1]

    def log_dispersion(self, theta: np.ndarray) -> np.ndarray | None:
        """Log alpha of each cell; None is the Poisson model."""
        if self.z is None:
            return self.log_alpha
        return self.z @ theta[self.n_mean :] + (0.0 if self.log_alpha is None else self.log_alpha)

    def terms(self, theta: np.ndarray) -> CellTerms:
        eta, lam = self.x @ theta[: self.n_mean] + self.offset, self.log_dispersion(theta)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            terms = poisson_terms(self.y, eta) if lam is None else negative_binomial_terms(self.y, eta, lam)
        return terms if self.weight is None else CellTerms(*(self.weight * part for part in terms))

    def total(self, values: np.ndarray) -> float:
        """Weighted sum over cells."""
        return float(values.sum() if self.weight is None else self.weight @ values)

    def value(self, theta: np.ndarray) -> float:
        total = self.terms(theta).value.sum()
        return float(total) if np.isfinite(total) else -np.inf

    def derivatives(self, theta: np.ndarray) -> tuple[float, float, np.ndarray, np.ndarray]:
        """Log-likelihood, its noise floor, gradient and minus the Hessian."""
        t, x, z = self.terms(theta), self.x, self.z
        noise = NOISE * float((np.abs(t.value) + gammaln(self.y + 1) + self.y).sum())
        gradient, information = x.T @ t.e, -(x.T * t.ee) @ x
        if z is not None:
            cross = -(x.T * t.el) @ z
            gradient = np.concatenate([gradient, z.T @ t.l])
            information = np.block([[information, cross], [cross.T, -(z.T * t.ll) @ z]])
        return float(t.value.sum()), noise, gradient, information


@dataclass(frozen=True)
class Optimum:
    theta: np.ndarray
    value: float
    n_iter: int
    converged: bool


def maximise(gene: Gene, theta: np.ndarray, *, max_iter: int, tol: float) -> Optimum:
    """Newton's method with a line search, from `theta`.

    It stops once the gain that the quadratic model promises, half the squared Newton decrement, is under ``tol**2``
    log-likelihood units (after a last step, which squares the error once more) or drowns in rounding.
    """
    value = gene.value(theta)
    for iteration in range(1, max_iter + 1):
        value, noise, gradient, information = gene.derivatives(theta)
        step = ascent_step(gradient, information)
        gain = 0.5 * float(gradient @ step)
        step *= min(1.0, MAX_STEP / max(_largest_move(gene, step), 1e-300))
        last = gain <= max(tol**2, noise)
        theta, moved = line_search(gene, theta, value, noise, gradient, step)
        if last or not moved:
            return Optimum(theta, gene.value(theta), iteration, last or gain <= max(tol, 10 * noise))
    return Optimum(theta, gene.value(theta), max_iter, converged=False)


def ascent_step(gradient: np.ndarray, information: np.ndarray) -> np.ndarray:
    """Newton's step, with negative curvature turned round and flat directions bounded: it always leads uphill."""
    scale = 1 / np.sqrt(np.maximum(np.abs(np.diag(information)), 1e-200))
    curvature, axes = sla.eigh(information * np.outer(scale, scale))
    curvature = np.maximum(np.abs(curvature), 1e-12)
    return scale * (axes @ ((axes.T @ (scale * gradient)) / curvature))


def _largest_move(gene: Gene, step: np.ndarray) -> float:
    move = np.abs(gene.x @ step[: gene.n_mean]).max()
    return float(move if gene.z is None else max(move, np.abs(gene.z @ step[gene.n_mean :]).max()))


def line_search(
    gene: Gene, theta: np.ndarray, value: float, noise: float, gradient: np.ndarray, step: np.ndarray
) -> tuple[np.ndarray, bool]:
    """Halve the step until the log-likelihood rises by a part of what the slope promises (Armijo)."""
    slope = float(gradient @ step)
    for halvings in range(60):
        size = 0.5**halvings
        trial = theta + size * step
        if gene.value(trial) >= value + 1e-4 * size * slope - noise:
            return trial, True
    return theta, False


def fit_gene(
    gene: Gene, *, start_mean: np.ndarray | None, start_dispersion: np.ndarray | None, max_iter: int, tol: float
) -> tuple[Optimum, bool]:
    """Fit one gene that has a count; the second value says that the Poisson limit is the optimum."""
    settings = {"max_iter": max_iter, "tol": tol}
    first_mean = _level_start(gene) if start_mean is None else start_mean
    if gene.z is None:
        return maximise(gene, first_mean, **settings), False
    poisson = maximise(replace(gene, z=None, log_alpha=None), _level_start(gene), **settings)
    best = max(
        (
            maximise(gene, start, **settings)
            for start in _joint_starts(gene, poisson.theta, start_mean, start_dispersion)
        ),
        key=lambda optimum: optimum.value,
    )
    # The limit is open: alpha = 0 is never reached, only approached until the likelihood no longer tells the two apart.
    noise = gene.derivatives(best.theta)[1]
    at_limit = best.value <= poisson.value + max(1e-9, 10 * noise)
    return (poisson if at_limit else best), at_limit


def _level_start(gene: Gene) -> np.ndarray:
    level = np.log(gene.total(gene.y) / gene.total(np.exp(gene.offset)))
    return np.linalg.lstsq(gene.x, np.full(len(gene.y), level), rcond=None)[0]


def _joint_starts(
    gene: Gene, poisson_mean: np.ndarray, start_mean: np.ndarray | None, start_dispersion: np.ndarray | None
) -> Iterator[np.ndarray]:
    """The caller's start, or two: the joint likelihood may have several maxima, and the better counts."""
    assert gene.z is not None

    def level(alpha: float) -> np.ndarray:
        return np.linalg.lstsq(gene.z, np.full(len(gene.y), np.log(alpha)), rcond=None)[0]

    mu = np.exp(gene.x @ poisson_mean + gene.offset)
    moments = gene.total((gene.y - mu) ** 2 - gene.y) / gene.total(mu**2)
    moments = min(max(moments, 1e-2), 1e2)
    first_dispersion = level(moments) if start_dispersion is None else start_dispersion
    yield np.concatenate([poisson_mean if start_mean is None else start_mean, first_dispersion])
    if start_mean is None and start_dispersion is None:
        yield np.concatenate([_level_start(gene), level(1.0)])


# --- all genes --------------------------------------------------------------------------------------------------------


def fit_genes(
    counts: sp.csr_matrix,
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
    n_threads: int = 1,
) -> GeneFits:
    """Maximise the joint likelihood of every gene; arguments and result are those of `isthmus.glm.kernel.fit_genes`.

    Parameters
    ----------
    counts
        ``(n_cells, n_genes)``, sparse.
    x, z
        Free mean design ``(n_cells, f)`` and free dispersion design ``(n_cells, g)``; ``g = 0`` fits Poisson.
    offset, gene_offset
        Natural log, ``(n_cells,)`` and ``(n_cells, n_genes)``; both are added.
    dispersion_offset
        ``(n_cells,)``, added to log alpha.
    weights
        ``(n_cells, n_genes)``, at least 0: each observation's log-likelihood is multiplied by its weight.
    start_mean, start_dispersion
        ``(f, n_genes)`` and ``(g, n_genes)``.
    fix_dispersion
        Keep `start_dispersion` and fit the mean only.
    n_threads
        Taken for the sake of the same signature; genes go one by one.
    """
    from isthmus.glm.kernel import GeneFits

    columns, n_genes = counts.tocsc(), counts.shape[1]
    fits = []
    for k in range(n_genes):
        y = np.asarray(columns[:, [k]].toarray(), dtype=float).ravel()
        own_offset = offset if gene_offset is None else offset + gene_offset[:, k]
        weight = None if weights is None else np.asarray(weights[:, k], dtype=float)
        gene = Gene(y, x, own_offset, z=z if z.shape[1] else None, log_alpha=dispersion_offset, weight=weight)
        starts = {
            "start_mean": None if start_mean is None else start_mean[:, k],
            "start_dispersion": None if start_dispersion is None else start_dispersion[:, k],
        }
        fits.append(_fit_column(gene, starts, fix_dispersion=fix_dispersion, max_iter=max_iter, tol=tol))
    return GeneFits(**_stack(fits, x.shape[1], z.shape[1]), n_nodes=np.zeros(n_genes, dtype=np.int32))


def _fit_column(
    gene: Gene, starts: dict[str, np.ndarray | None], *, fix_dispersion: bool, max_iter: int, tol: float
) -> dict[str, np.ndarray | float | int]:
    if not gene.total(gene.y) > 0:
        return _all_zero(gene.n_mean, 0 if gene.z is None else gene.z.shape[1])
    if not (fix_dispersion and gene.z is not None):
        optimum, at_limit = fit_gene(gene, **starts, max_iter=max_iter, tol=tol)
        return _describe(gene, optimum, at_limit=at_limit)
    known = starts["start_dispersion"]
    assert known is not None, "fix_dispersion needs start_dispersion"
    log_alpha = gene.log_dispersion(np.concatenate([np.zeros(gene.n_mean), known]))
    optimum, _ = fit_gene(replace(gene, z=None, log_alpha=log_alpha), **starts, max_iter=max_iter, tol=tol)
    return _describe(gene, replace(optimum, theta=np.concatenate([optimum.theta, known])), at_limit=False)


def _describe(gene: Gene, optimum: Optimum, *, at_limit: bool) -> dict[str, np.ndarray | float | int]:
    """Information, dispersions and code at the optimum."""
    f, g = gene.n_mean, 0 if gene.z is None else gene.z.shape[1]
    theta = optimum.theta
    fitted = replace(gene, z=None, log_alpha=None) if at_limit else gene
    _, _, score, information = fitted.derivatives(theta[:f] if at_limit else theta)
    gradient, neg_hessian = np.full(f + g, np.nan), np.full((f + g, f + g), np.nan)
    gradient[: len(score)], neg_hessian[: len(score), : len(score)] = score, information
    mu, alpha = np.exp(gene.x @ theta[:f] + gene.offset), np.zeros(len(gene.y))
    weight = np.ones(len(mu)) if gene.weight is None else gene.weight
    if (lam := fitted.log_dispersion(theta)) is not None:
        alpha = np.exp(lam)
    return {
        "mean_coef": theta[:f],
        "dispersion_coef": np.full(g, np.nan) if at_limit else theta[f:],
        "log_likelihood": optimum.value,
        "expected_info": (gene.x.T * (weight * mu / (1 + alpha * mu))) @ gene.x,
        "neg_hessian": neg_hessian,
        "gradient": gradient,
        "decrement": 0.5 * float(score @ ascent_step(score, information)),
        "min_mu": mu[weight > 0].min(),
        "min_alpha": alpha.min(),
        "max_alpha": alpha.max(),
        "mean_alpha": alpha.mean(),
        "n_iter": optimum.n_iter,
        "code": POISSON_LIMIT if at_limit else OK if optimum.converged else NOT_CONVERGED,
    }


def _all_zero(f: int, g: int) -> dict[str, np.ndarray | float | int]:
    shapes = {"mean_coef": f, "dispersion_coef": g, "expected_info": (f, f), "neg_hessian": (f + g, f + g)}
    shapes["gradient"] = f + g
    numbers = ("log_likelihood", "decrement", "min_mu", "min_alpha", "max_alpha", "mean_alpha")
    blank = {name: np.full(shape, np.nan) for name, shape in shapes.items()}
    return blank | dict.fromkeys(numbers, np.nan) | {"n_iter": 0, "code": ALL_ZERO}


def _stack(fits: list[dict[str, np.ndarray | float | int]], f: int, g: int) -> dict[str, np.ndarray]:
    """Genes last for coefficients (coefficients x genes), first for information matrices."""
    stacked = {name: np.array([fit[name] for fit in fits]) for name in _all_zero(f, g)}
    for name, width in (("mean_coef", f), ("dispersion_coef", g)):
        stacked[name] = np.ascontiguousarray(stacked[name].reshape(len(fits), width).T)
    for name in ("n_iter", "code"):
        stacked[name] = stacked[name].astype(np.int32)
    return stacked
