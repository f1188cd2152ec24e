"""From checked arrays to estimates: maximum likelihood, moments, adjusted dispersions and those drawn to a trend."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.data.wording import plural
from isthmus.errors import InputError
from isthmus.glm import kernel, normal, start
from isthmus.glm.adjusted_profile import Prior, adjusted_profile
from isthmus.glm.chunks import gene_chunks
from isthmus.glm.refit import Model, put, take
from isthmus.glm.separation import find_separation, find_unseen, may_be_extreme
from isthmus.glm.source import Evidence
from isthmus.glm.trend import fit_trend

if TYPE_CHECKING:
    from collections.abc import Callable

    import scipy.sparse as sp

    from isthmus.data.counts import Counts
    from isthmus.data.design import Design
    from isthmus.glm.chunks import Chunk
    from isthmus.glm.constraints import Constraint
    from isthmus.glm.kernel import GeneFits
    from isthmus.glm.separation import Separation
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
    normal: bool = False  # the mean is linear: size factors multiply the design

    @property
    def x(self) -> np.ndarray:
        """Free mean design."""
        x = self.mean[0].matrix @ self.mean[1].free
        return self.size_factors[:, None] * x if self.normal else x

    @property
    def z(self) -> np.ndarray:
        """Free dispersion design."""
        return self.dispersion[0].matrix @ self.dispersion[1].free

    @property
    def predictor_offset(self) -> np.ndarray:
        """The part of the predictor without a parameter, shared by all genes."""
        particular = self.mean[0].matrix @ self.mean[1].particular
        if self.normal:
            return self.offset + self.size_factors * particular
        return np.log(self.size_factors) + self.offset + particular

    @property
    def df_resid(self) -> int:
        """Cells with a positive weight (in some gene) minus free parameters of the mean."""
        n = self.counts.n_cells if self.weights is None else int((self.weights > 0).any(axis=1).sum())
        return n - int(self.x.shape[1])

    @property
    def zeta_offset(self) -> np.ndarray:
        """The part of log alpha without a parameter."""
        return self.dispersion[0].matrix @ self.dispersion[1].particular

    @property
    def model(self) -> Model:
        """What the kernel fits again and again where a dispersion is not that of maximum likelihood."""
        return Model(self.x, self.z, self.predictor_offset, self.zeta_offset, has_dispersion=True)

    @cached_property
    def evidence(self) -> Evidence:
        """The counts for such fits, laid out once."""
        designs = self.x, self.z, self.zeta_offset
        return Evidence(self.counts, self.gene_offset, self.weights, designs, several=True)


@dataclass(frozen=True, eq=False)
class Estimates:
    """Every gene's fit, its mean of count / size factor, and the directions in which its likelihood keeps rising."""

    fits: GeneFits
    means: np.ndarray
    separations: list[Separation]


def estimate(
    job: Job,
    settings: dict[str, Any],
    init: Any,
    dispersion_init: Any,
    chunk_genes: int | None,
    n_threads: int,
    bar: Progress,
) -> Estimates:
    """Fit chunk by chunk; what is stored is read chunk by chunk too. Dispersions that are drawn to a trend take a
    second round, as the trend needs all genes."""
    n_genes, drawn = job.counts.n_genes, settings["dispersion"] == "trend"
    a0 = start.starting_values(init, job.x, n_genes, "init")
    b0 = start.starting_values(dispersion_init, job.z, n_genes, "dispersion_init")
    if drawn:
        _check_one_dispersion(job.z)
    parts, means, separations, shown = [], [], [], []
    for chunk in gene_chunks(job, chunk_genes):
        starts = _own_start(a0, chunk), _own_start(b0, chunk)
        fits = _fit(chunk.job, settings, *starts, n_threads, partial(_report, bar, chunk.first))
        parts.append(fits)
        means.append(mean_counts(chunk.job.counts.matrix, job.size_factors))
        if drawn:
            shown.append(_shows_dispersion(chunk.job, fits))
        else:
            separations += _separations(chunk, fits, means[-1])
    fits, all_means = kernel.join(parts), np.concatenate(means)
    if drawn:
        shows = np.concatenate(shown)
        fits, separations = _towards_trend(job, fits, all_means, shows, settings, chunk_genes, n_threads)
    n_nodes = int(fits.n_nodes.max(initial=0))
    settings["path"] = f"{n_nodes} nodes a stratum" if n_nodes else "cells"
    return Estimates(fits, all_means, separations)


def _shows_dispersion(job: Job, fits: GeneFits) -> np.ndarray:
    own: dict[str, Any] = {"gene_offset": job.gene_offset, "weights": job.weights}
    return start.shows_dispersion(job.counts.matrix, job.x, job.predictor_offset, fits.mean_coef, **own)


def _own_start(values: np.ndarray | str, chunk: Chunk) -> np.ndarray | str:
    return values if isinstance(values, str) else values[:, chunk.first : chunk.last]


def _fit(
    job: Job,
    settings: dict[str, Any],
    init: np.ndarray | str,
    dispersion_init: np.ndarray | str,
    n_threads: int,
    progress: Callable[[int], None],
) -> GeneFits:
    """The fits of one chunk; with "trend", those from which it is made."""
    matrix = job.counts.matrix
    x, z, offset, zeta_offset = job.x, job.z, job.predictor_offset, job.zeta_offset
    options = {"max_iter": settings["max_iter"], "tol": settings["tol"], "n_threads": n_threads}
    if job.normal:
        return normal.fit_genes(
            matrix,
            x,
            z,
            offset,
            dispersion_offset=zeta_offset,
            gene_offset=job.gene_offset,
            weights=job.weights,
            start_dispersion=dispersion_init if isinstance(dispersion_init, np.ndarray) else None,
            **options,
        )
    a0 = start.mean_start(init, matrix, x, offset)
    if settings["dispersion"] == "moments":
        return _fit_moments(job, x, z, offset, zeta_offset, a0, options)
    adjusted = settings["dispersion"] not in ("ml", "none")
    fits = kernel.fit_genes(
        matrix,
        x,
        z,
        offset,
        dispersion_offset=zeta_offset if zeta_offset.any() else None,
        gene_offset=job.gene_offset,
        weights=job.weights,
        laid_out=job.evidence.layout_for(job.counts.n_genes, n_threads) if adjusted else None,
        start_mean=a0,
        start_dispersion=start.dispersion_start(dispersion_init, matrix, z, zeta_offset, x, offset)
        if z.shape[1]
        else None,
        progress=progress,
        **options,
    )
    if not adjusted:
        return fits
    means = mean_counts(matrix, job.size_factors)
    return adjusted_profile(job.model, job.evidence, fits, means, settings, n_threads=n_threads)


def _separations(chunk: Chunk, fits: GeneFits, means: np.ndarray) -> list[Separation]:
    job, matrix = chunk.job, chunk.job.counts.matrix
    if job.normal:  # a linear mean has its least squares, whatever the values
        unseen = [] if job.weights is None else find_unseen(job.x, job.z, job.weights, fits)
        return [replace(s, gene=s.gene + chunk.first) for s in unseen]
    least = means * job.size_factors.min()  # a bound from below of the mean count
    if may_be_extreme(fits, least).any():
        least = np.asarray(matrix.sum(axis=0), dtype=float).reshape(-1) / matrix.shape[0]
    found = find_separation(matrix, job.x, job.z, job.predictor_offset, job.zeta_offset, fits, least, job.weights)
    return [replace(s, gene=s.gene + chunk.first) for s in found]


def _check_one_dispersion(z: np.ndarray) -> None:
    if z.shape[1] != 1 or np.ptp(z) > 0:
        msg = (
            '`dispersion` = "trend" needs one dispersion a gene, `dispersion_design` = "~ 1"; got a design with '
            f'{plural(z.shape[1], "free column")}. Use "cox_reid".'
        )
        raise InputError(msg)


def _towards_trend(
    job: Job,
    own: GeneFits,
    means: np.ndarray,
    shows: np.ndarray,
    settings: dict[str, Any],
    chunk_genes: int | None,
    n_threads: int,
) -> tuple[GeneFits, list[Separation]]:
    """Draw adjusted dispersions towards their trend, made by the genes that show one. Adds it to the settings."""
    trend = fit_trend(np.where(shows, own.mean_alpha, np.nan), means, job.df_resid)
    settings["trend"] = asdict(trend)
    scale, zeta = job.z[0, 0], job.zeta_offset[0]
    parts, separations = [], []
    for chunk in gene_chunks(job, chunk_genes):
        here = np.arange(chunk.first, chunk.last)
        before, own_means = take(own, here), means[here]
        center = np.log(trend.at(np.where(own_means > 0, own_means, 1.0)) / np.exp(zeta)) / scale
        prior = Prior(center, trend.prior_variance / scale**2)
        part = chunk.job.model, chunk.job.evidence, before, own_means, settings
        drawn = adjusted_profile(*part, prior=prior, n_threads=n_threads)
        outlying = np.flatnonzero(trend.outliers(before.mean_alpha, own_means) & shows[here])
        fits = put(drawn, outlying, take(before, outlying))
        parts.append(fits)
        separations += _separations(chunk, fits, own_means)
    return kernel.join(parts), separations


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
    options = options | {"laid_out": job.evidence.layout_for(job.counts.n_genes, options["n_threads"])}
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


def mean_counts(matrix: sp.csr_matrix, size_factors: np.ndarray) -> np.ndarray:
    return np.asarray((1 / size_factors) @ matrix, dtype=float).reshape(-1) / matrix.shape[0]
