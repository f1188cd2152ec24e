"""From checked arrays to estimates: maximum likelihood, moments, adjusted dispersions and those drawn to a trend."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.data.wording import plural
from isthmus.errors import InputError
from isthmus.glm import kernel, start
from isthmus.glm.adjusted_profile import Prior, adjusted_profile
from isthmus.glm.refit import Model, put, take
from isthmus.glm.source import Evidence
from isthmus.glm.trend import fit_trend

if TYPE_CHECKING:
    import scipy.sparse as sp

    from isthmus.data.counts import Counts
    from isthmus.data.design import Design
    from isthmus.glm.constraints import Constraint
    from isthmus.glm.kernel import GeneFits
    from isthmus.progress import Progress


@dataclass(frozen=True, eq=False)
class Job:
    """Everything the kernel needs, checked."""

    counts: Counts
    mean: tuple[Design, Constraint]
    dispersion: tuple[Design, Constraint]
    size_factors: np.ndarray
    offset: np.ndarray
    gene_offset: np.ndarray | None
    weights: np.ndarray | None = None  # (n_cells, n_genes)
    cell_weights: np.ndarray | None = None  # (n_cells,) where they are those of all genes

    @property
    def x(self) -> np.ndarray:
        """Free mean design."""
        return self.mean[0].matrix @ self.mean[1].free

    @property
    def z(self) -> np.ndarray:
        """Free dispersion design."""
        return self.dispersion[0].matrix @ self.dispersion[1].free

    @property
    def predictor_offset(self) -> np.ndarray:
        """The part of log mu without a parameter, shared by all genes."""
        return np.log(self.size_factors) + self.offset + self.mean[0].matrix @ self.mean[1].particular

    @property
    def df_resid(self) -> int:
        """Cells with a positive weight (in some gene) minus free parameters of the mean."""
        n = self.counts.n_cells if self.weights is None else int((self.weights > 0).any(axis=1).sum())
        return n - int(self.x.shape[1])

    @property
    def zeta_offset(self) -> np.ndarray:
        """The part of log alpha without a parameter."""
        return self.dispersion[0].matrix @ self.dispersion[1].particular


def estimate(
    job: Job,
    settings: dict[str, Any],
    init: Any,
    dispersion_init: Any,
    chunk_genes: int | None,
    n_threads: int,
    bar: Progress,
) -> GeneFits:
    matrix, n_genes = job.counts.matrix, job.counts.n_genes
    x, z, offset, zeta_offset = job.x, job.z, job.predictor_offset, job.zeta_offset
    a0 = start.mean_start(start.starting_values(init, x, n_genes, "init"), matrix, x, offset)
    given_b = start.starting_values(dispersion_init, z, n_genes, "dispersion_init")
    options = {"max_iter": settings["max_iter"], "tol": settings["tol"], "n_threads": n_threads}
    shared = {"dispersion_offset": zeta_offset if zeta_offset.any() else None, **options}
    if settings["dispersion"] == "moments":
        return _fit_moments(job, x, z, offset, zeta_offset, a0, options)
    if settings["dispersion"] == "trend":
        _check_one_dispersion(z)
    b0 = start.dispersion_start(given_b, matrix, z, zeta_offset, x, offset) if z.shape[1] else None
    parts = []
    for first, last in _chunks(matrix, chunk_genes):
        parts.append(
            kernel.fit_genes(
                matrix,
                x,
                z,
                offset,
                gene_offset=None if job.gene_offset is None else job.gene_offset[:, first:last],
                weights=None if job.weights is None else job.weights[:, first:last],
                start_mean=None if a0 is None else a0[:, first:last],
                start_dispersion=None if b0 is None else b0[:, first:last],
                genes=(first, last),
                progress=partial(_report, bar, first),
                **shared,
            )
        )
    fits = kernel.join(parts)
    return fits if settings["dispersion"] in ("ml", "none") else _adjusted(job, fits, settings, n_threads)


def _check_one_dispersion(z: np.ndarray) -> None:
    if z.shape[1] != 1 or np.ptp(z) > 0:
        msg = (
            '`dispersion` = "trend" needs one dispersion a gene, `dispersion_design` = "~ 1"; got a design with '
            f'{plural(z.shape[1], "free column")}. Use "cox_reid".'
        )
        raise InputError(msg)


def _adjusted(job: Job, ml: GeneFits, settings: dict[str, Any], n_threads: int) -> GeneFits:
    """Cox-Reid dispersions from maximum-likelihood ones; drawn towards a trend in a second round. Adds the trend to the
    settings."""
    model = Model(job.x, job.z, job.predictor_offset, job.zeta_offset, has_dispersion=True)
    evidence = Evidence(job.counts, job.gene_offset, job.weights)
    means = mean_counts(job.counts.matrix, job.size_factors)
    own = adjusted_profile(model, evidence, ml, means, settings, n_threads=n_threads)
    if settings["dispersion"] == "cox_reid":
        return own
    trend = fit_trend(own.mean_alpha, means, job.df_resid)
    settings["trend"] = asdict(trend)
    scale = model.z[0, 0]
    center = np.log(trend.at(np.where(means > 0, means, 1.0)) / np.exp(model.zeta_offset[0])) / scale
    prior = Prior(center, trend.prior_variance / scale**2)
    drawn = adjusted_profile(model, evidence, own, means, settings, prior=prior, n_threads=n_threads)
    outlying = np.flatnonzero(trend.outliers(own.mean_alpha, means))
    return put(drawn, outlying, take(own, outlying))


def _report(bar: Progress, before: int, done: int) -> None:
    bar(before + done)


def _fit_moments(
    job: Job,
    x: np.ndarray,
    z: np.ndarray,
    offset: np.ndarray,
    zeta_offset: np.ndarray,
    a0: np.ndarray | None,
    options: dict[str, Any],
) -> GeneFits:
    """Means by Poisson, dispersions by moments at those means, means again at those dispersions."""
    matrix = job.counts.matrix
    nothing = np.empty((len(x), 0))
    own: dict[str, Any] = {"gene_offset": job.gene_offset, "weights": job.weights}
    poisson = kernel.fit_genes(matrix, x, nothing, offset, start_mean=a0, **own, **options)
    means = np.nan_to_num(poisson.mean_coef)
    b, limit = start.moment_dispersion(matrix, x, z, offset, zeta_offset, means, **own)
    fits = kernel.fit_genes(
        matrix,
        x,
        z,
        offset,
        dispersion_offset=zeta_offset if zeta_offset.any() else None,
        start_mean=means,
        start_dispersion=b,
        fix_dispersion=True,
        **own,
        **options,
    )
    return _at_poisson_limit(fits, poisson, limit & (fits.code != kernel.ALL_ZERO))


def _at_poisson_limit(fits: GeneFits, poisson: GeneFits, limit: np.ndarray) -> GeneFits:
    """Take the Poisson fit where the moments leave no room for a dispersion."""
    f = fits.mean_coef.shape[0]
    out = {name: getattr(fits, name).copy() for name in fits.__dataclass_fields__}
    for name in ("log_likelihood", "expected_info", "decrement", "min_mu", "n_iter"):
        out[name][limit] = getattr(poisson, name)[limit]
    out["mean_coef"][:, limit] = poisson.mean_coef[:, limit]
    out["dispersion_coef"][:, limit] = np.nan
    out["neg_hessian"][limit] = np.nan
    out["neg_hessian"][np.flatnonzero(limit), :f, :f] = poisson.neg_hessian[limit]
    out["gradient"][limit] = 0.0
    for name in ("min_alpha", "max_alpha", "mean_alpha"):
        out[name][limit] = 0.0
    converged = poisson.code[limit] == kernel.OK
    out["code"][limit] = np.where(converged, kernel.POISSON_LIMIT, kernel.NOT_CONVERGED)
    return replace(fits, **out)


def _chunks(matrix: sp.csr_matrix, chunk_genes: int | None) -> list[tuple[int, int]]:
    """Ranges of genes that are laid out at once.

    A gene-major copy takes 8 bytes a count, at most what the matrix itself takes, so by default there is one chunk.
    """
    n_genes = matrix.shape[1]
    size = n_genes if chunk_genes is None else int(chunk_genes)
    return [(first, min(first + size, n_genes)) for first in range(0, n_genes, size)]


def mean_counts(matrix: sp.csr_matrix, size_factors: np.ndarray) -> np.ndarray:
    return np.asarray((1 / size_factors) @ matrix, dtype=float).reshape(-1) / matrix.shape[0]
