"""`fit_glm`: from what users hand in to arrays for the kernel, and back to a result."""

from __future__ import annotations

import os
import uuid
import warnings
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from isthmus.data.counts import Counts, read_counts
from isthmus.data.design import Design, read_design
from isthmus.data.wording import plural
from isthmus.errors import ConvergenceWarning, InputError
from isthmus.glm import kernel, start
from isthmus.glm.constraints import Constraint, resolve_constraints
from isthmus.glm.offset import read_offset
from isthmus.glm.result import GlmFit, Submodel
from isthmus.glm.separation import find_separation
from isthmus.glm.size_factors import size_factors as read_size_factors
from isthmus.messages import tell
from isthmus.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    import scipy.sparse as sp

    from isthmus.glm.kernel import GeneFits

_FEW_DF = 40  # below it maximum-likelihood dispersions are noticeably too small
_STATUS = np.array(["ok", "poisson_limit", "not_converged", "all_zero"], dtype=object)


@dataclass(frozen=True, eq=False)
class Job:
    """Everything the kernel needs, checked."""

    counts: Counts
    mean: tuple[Design, Constraint]
    dispersion: tuple[Design, Constraint]
    size_factors: np.ndarray
    offset: np.ndarray
    gene_offset: np.ndarray | None

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
    def zeta_offset(self) -> np.ndarray:
        """The part of log alpha without a parameter."""
        return self.dispersion[0].matrix @ self.dispersion[1].particular


def fit_glm(
    data: Any,
    design: Any = "~ 1",
    *,
    dispersion_design: Any = "~ 1",
    constraints: Any = None,
    dispersion_constraints: Any = None,
    size_factors: Any = "auto",
    offset: Any = None,
    noise_model: Literal["nb", "poisson"] = "nb",
    dispersion: Literal["ml", "moments", "cox_reid", "trend"] = "ml",
    cell_data: pd.DataFrame | None = None,
    as_numeric: Sequence[str] = (),
    as_categorical: Sequence[str] = (),
    gene_names: Any = None,
    layer: str | None = None,
    init: Any = "auto",
    dispersion_init: Any = "auto",
    chunk_genes: int | None = None,
    max_iter: int = 100,
    tol: float = 1e-8,
    dtype: Literal["float64"] = "float64",
    n_threads: int | None = None,
    progress: bool | None = None,
) -> GlmFit:
    r"""Fit a negative-binomial (or Poisson) GLM to every gene by maximum likelihood.

    .. math:: \log\mu_i = x_i a + \log s_i + o_i,\qquad \log\alpha_i = z_i b,\qquad Var(y_i) = \mu_i + \alpha_i\mu_i^2

    jointly in (a, b), under linear constraints on either.

    Parameters
    ----------
    data
        Counts, cells x genes: AnnData, ``AnnData.raw``, DataFrame, ndarray, scipy CSR/CSC. Never made dense, never
        changed.
    design, dispersion_design
        Formulas such as ``"~ condition + age"``, or matrices with one row per cell. Numeric columns are numeric, all
        others categorical.
    constraints, dispersion_constraints
        None; rows of -1/+1 (the marked parameters sum to zero); H with theta = H gamma; ``{"batch": "condition"}``
        (levels of batch sum to zero within each condition; ``"1"``: over all levels), strings such as ``"b1 + b2 =
        0"``. See `constraint_matrix`.
    size_factors
        Linear, positive, logged once. "auto": ``obs["size_factors"]``, else column sums over their mean (a message
        says which). None = 1. "sum", "ratio", "poscounts", a vector, or a column name.
    offset
        Natural log, added to log mu: one value per cell, a column name, or one per cell and gene. A Series or DataFrame
        is matched by the names of cells and genes.
    noise_model
        "nb" or "poisson" (alpha = 0; the dispersion design is not used).
    dispersion
        "ml", or "moments": alpha by moments at the Poisson fit, the mean refitted with it ("cox_reid" and "trend" come
        later).
    cell_data
        Columns for formulas where `data` has none, one row per cell.
    as_numeric, as_categorical
        Columns to take as numbers or as factors whatever their type.
    gene_names
        One name per gene where `data` has none, or a column of ``AnnData.var``.
    layer
        AnnData layer instead of ``X``.
    init, dispersion_init
        Where to start: "auto", "standard" (every cell at the gene's mean / moment), "closed_form" (least squares on
        group means), "zero", or arrays, free parameters x genes (log alpha for the dispersion). The optimum does not
        depend on it.
    chunk_genes
        Genes laid out at once; smaller means less memory. None chooses.
    max_iter, tol
        Newton steps at most; a gene has converged when one more step promises less log-likelihood than `tol`.
    dtype
        "float64". In float32 the likelihood's noise defeats convergence.
    n_threads
        Threads over genes; None = all cores. Results do not depend on it.
    progress
        True / False; None = in a terminal or notebook, after two seconds.

    Returns
    -------
    GlmFit

    Raises
    ------
    InputError
        Whatever does not fit, with the argument, the rule, what came and what to do.

    Examples
    --------
    >>> import isthmus
    >>> adata = isthmus.simulate_counts(200, 4, seed=0)
    >>> fit = isthmus.fit_glm(adata, "~ 1", size_factors=None)
    >>> fit.table("genes")["status"].tolist()
    ['ok', 'ok', 'ok', 'ok']
    """
    _check_choices(noise_model, dispersion, dtype, max_iter, tol, chunk_genes)
    threads = _threads(n_threads)
    counts = (
        data if isinstance(data, Counts) else read_counts(data, layer=layer, cell_data=cell_data, gene_names=gene_names)
    )
    columns = {"as_numeric": as_numeric, "as_categorical": as_categorical}
    job = _read_job(
        counts,
        design,
        dispersion_design,
        constraints,
        dispersion_constraints,
        size_factors,
        offset,
        noise_model,
        columns,
    )
    settings = {
        "id": uuid.uuid4().hex,
        "noise_model": noise_model,
        "dispersion": dispersion if noise_model == "nb" else "none",
        "max_iter": int(max_iter),
        "tol": float(tol),
        "gene_offset": job.gene_offset is not None,
        "kernel": kernel.kernel_name(),
        "versions": _versions(),
    }
    _tell_few_df(job, settings)
    with Progress(counts.n_genes, progress) as bar:
        fits = _fit(job, settings, init, dispersion_init, chunk_genes, threads, bar)
    fit = _result(job, fits, settings)
    _warn_not_converged(fit)
    return fit


# ---- reading
# -----------------------------------------------------------------------------------------------------------


def _read_job(
    counts: Counts,
    design: Any,
    dispersion_design: Any,
    constraints: Any,
    dispersion_constraints: Any,
    size_factors: Any,
    offset: Any,
    noise_model: str,
    columns: dict[str, Any],
) -> Job:
    mean_design = read_design(design, counts, counts.cell_data, argument="design", **columns)
    mean = resolve_constraints(mean_design, constraints)
    if noise_model == "poisson":
        if dispersion_constraints is not None:
            msg = '`dispersion_constraints` needs noise_model="nb": the Poisson model has no dispersion. Leave it out.'
            raise InputError(msg)
        dispersion = _no_parameters(counts.n_cells)
    else:
        z = read_design(dispersion_design, counts, counts.cell_data, argument="dispersion_design", **columns)
        dispersion = resolve_constraints(z, dispersion_constraints, argument="dispersion_constraints")
    own_offset, gene_offset = read_offset(offset, counts)
    job = Job(counts, mean, dispersion, read_size_factors(size_factors, counts), own_offset, gene_offset)
    if counts.n_cells <= job.x.shape[1]:
        msg = (
            f"`design` must have fewer free parameters than there are cells ({counts.n_cells}); it has "
            f"{job.x.shape[1]}. Use a smaller design."
        )
        raise InputError(msg)
    return job


def _no_parameters(n_cells: int) -> tuple[Design, Constraint]:
    nothing = Constraint(np.empty((0, 0)), np.empty(0), np.empty(0, dtype=bool), "none")
    return Design(np.empty((n_cells, 0)), (), {}, None, None), nothing


def _check_choices(
    noise_model: str, dispersion: str, dtype: str, max_iter: int, tol: float, chunk_genes: int | None
) -> None:
    if noise_model not in ("nb", "poisson"):
        msg = f"`noise_model` must be 'nb' or 'poisson'; got {noise_model!r}."
        raise InputError(msg)
    if dispersion in ("cox_reid", "trend"):
        msg = f"`dispersion` = {dispersion!r} is not available yet; use 'ml' or 'moments'."
        raise InputError(msg)
    if dispersion not in ("ml", "moments"):
        msg = f"`dispersion` must be 'ml' or 'moments'; got {dispersion!r}."
        raise InputError(msg)
    if dtype not in ("float64", np.float64):
        msg = f"`dtype` must be 'float64': in float32 the noise of the likelihood defeats convergence; got {dtype!r}."
        raise InputError(msg)
    _check_whole("max_iter", max_iter)
    if chunk_genes is not None:
        _check_whole("chunk_genes", chunk_genes)
    if isinstance(tol, bool) or not isinstance(tol, (int, float, np.number)) or not 0 < float(tol) < 1:
        msg = f"`tol` must be a number between 0 and 1 (log-likelihood units); got {tol!r}."
        raise InputError(msg)


def _check_whole(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        msg = f"`{name}` must be a whole number of at least 1; got {value!r}."
        raise InputError(msg)


def _threads(n_threads: int | None) -> int:
    if n_threads is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    _check_whole("n_threads", n_threads)
    return int(n_threads)


def _versions() -> dict[str, str]:
    from isthmus import __version__

    return {"isthmus": __version__, "numpy": np.__version__, "pandas": pd.__version__}


def _tell_few_df(job: Job, settings: dict[str, Any]) -> None:
    left = job.counts.n_cells - job.x.shape[1]
    if settings["dispersion"] == "ml" and left < _FEW_DF:
        tell(
            f'`dispersion` = "ml" with {left} residual degrees of freedom: maximum-likelihood dispersions are too '
            "small with so few "
            "samples, and p-values with them. Read them with care; quasi-likelihood tests (method 'qlf') are the "
            "remedy once available."
        )


# ---- fitting
# -----------------------------------------------------------------------------------------------------------


def _fit(
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
                start_mean=None if a0 is None else a0[:, first:last],
                start_dispersion=None if b0 is None else b0[:, first:last],
                genes=(first, last),
                progress=partial(_report, bar, first),
                **shared,
            )
        )
    return kernel.join(parts)


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
    poisson = kernel.fit_genes(matrix, x, nothing, offset, gene_offset=job.gene_offset, start_mean=a0, **options)
    means = np.nan_to_num(poisson.mean_coef)
    b, limit = start.moment_dispersion(matrix, x, z, offset, zeta_offset, job.gene_offset, means)
    fits = kernel.fit_genes(
        matrix,
        x,
        z,
        offset,
        dispersion_offset=zeta_offset if zeta_offset.any() else None,
        gene_offset=job.gene_offset,
        start_mean=means,
        start_dispersion=b,
        fix_dispersion=True,
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


# ---- the result
# --------------------------------------------------------------------------------------------------------


def _result(job: Job, fits: GeneFits, settings: dict[str, Any]) -> GlmFit:
    means = _mean_counts(job.counts.matrix, job.size_factors)
    separations = find_separation(
        job.counts.matrix, job.x, job.z, job.predictor_offset, job.zeta_offset, fits, _raw_means(job.counts.matrix)
    )
    if settings["dispersion"] == "moments":  # the dispersion was not estimated by likelihood: nothing rises there
        separations = [s for s in separations if s.model == "mean"]
    status = _STATUS[fits.code]
    status[[s.gene for s in separations]] = "separated"  # comes before "not_converged": nothing to converge to
    none = fits.code == kernel.ALL_ZERO
    means[none] = np.nan
    return GlmFit(
        gene_names=job.counts.gene_names,
        cell_names=job.counts.cell_names,
        mean_model=Submodel(*job.mean, fits.mean_coef),
        dispersion_model=Submodel(*job.dispersion, fits.dispersion_coef),
        log_likelihood=fits.log_likelihood,
        status=status,
        n_iter=fits.n_iter,
        converged=fits.code != kernel.NOT_CONVERGED,
        mean=means,
        dispersion=fits.mean_alpha,
        size_factors=job.size_factors,
        offset=job.offset,
        expected_info=fits.expected_info,
        neg_hessian=fits.neg_hessian,
        gradient=fits.gradient,
        separations=tuple(separations),
        settings=settings,
    )


def _mean_counts(matrix: sp.csr_matrix, size_factors: np.ndarray) -> np.ndarray:
    return np.asarray((1 / size_factors) @ matrix, dtype=float).reshape(-1) / matrix.shape[0]


def _raw_means(matrix: sp.csr_matrix) -> np.ndarray:
    return np.asarray(matrix.sum(axis=0), dtype=float).reshape(-1) / matrix.shape[0]


def _warn_not_converged(fit: GlmFit) -> None:
    n = int((fit.status == "not_converged").sum())
    if n:
        msg = (
            f"{plural(n, 'gene')} of {fit.n_genes} did not converge in {fit.settings['max_iter']} iterations; their "
            "status is "
            "'not_converged' and their p-values are missing. Raise `max_iter` or simplify the design."
        )
        warnings.warn(msg, ConvergenceWarning, stacklevel=3)
