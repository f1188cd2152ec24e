"""`fit_glm`: from what users hand in to arrays for the kernel, and back to a result."""

from __future__ import annotations

import uuid
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from isthmus.data.counts import Counts, open_counts, open_values
from isthmus.data.design import Design, read_design
from isthmus.data.wording import plural
from isthmus.errors import ConvergenceWarning, InputError
from isthmus.glm import kernel
from isthmus.glm.constraints import Constraint, resolve_constraints
from isthmus.glm.estimate import Estimates, Job, estimate
from isthmus.glm.nested_terms import nested_terms
from isthmus.glm.offset import read_offset
from isthmus.glm.result import GlmFit, Submodel
from isthmus.glm.size_factors import size_factors as read_size_factors
from isthmus.glm.source import Source
from isthmus.glm.strata import fit_by
from isthmus.glm.threads import check_whole, read_threads
from isthmus.glm.weights import check_identified, for_all_genes, read_weights
from isthmus.messages import tell
from isthmus.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Sequence

_FEW_DF = 40  # below it maximum-likelihood dispersions are noticeably too small
_STATUS = np.array(["ok", "poisson_limit", "not_converged", "all_zero"], dtype=object)


def fit_glm(
    data: Any,
    design: Any = "~ 1",
    *,
    dispersion_design: Any = "~ 1",
    constraints: Any = None,
    dispersion_constraints: Any = None,
    size_factors: Any = "auto",
    offset: Any = None,
    weights: Any = None,
    noise_model: Literal["nb", "negative_binomial", "poisson", "normal", "norm"] = "nb",
    dispersion: Literal["ml", "moments", "cox_reid", "trend"] = "ml",
    by: Any = None,
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
    r"""Fit a negative-binomial (or Poisson, or normal) GLM to every gene.

    .. math:: \log\mu_i = x_i a + \log s_i + o_i,\qquad \log\alpha_i = z_i b,\qquad Var(y_i) = \mu_i + \alpha_i\mu_i^2

    under linear constraints on a and b, jointly in both by default.

    Parameters
    ----------
    data
        Counts, cells x genes: AnnData, ``AnnData.raw``, DataFrame, ndarray, scipy CSR/CSC. Never made dense, never
        changed. What is stored is never read as a whole: an AnnData backed by h5ad or zarr (CSR, CSC or dense), a zarr
        array, h5py dataset or dask array is checked in one pass and then fitted chunk by chunk, with the same numbers.
        Stored by genes (CSC) it is read once more, by cells once more for every chunk.
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
    weights
        How much each count says: its log-likelihood is multiplied by it, so that a cell of weight 2 counts as two and
        one of weight 0 not at all. At least 0; one value per cell, a column name, or one per cell and gene (such as
        zinbwave's for zero inflation). Parameters whose cells all have weight 0 in a gene have no estimate there
        (status "separated"). The means of the tables, size factors and residuals do not use them.
    noise_model
        "nb" (also "negative_binomial"), "poisson" (alpha = 0; the dispersion design is not used), or "normal" (also
        "norm"), for values that are no counts, such as logarithms: mu = size factor * (x a) + offset without a
        logarithm, variance exp(z b), which takes the place of alpha (`isthmus.glm.normal`). Its "auto" size factors are
        1, ``log2fc`` is NaN, and its tests are "wald", "lrt" and "score".
    dispersion
        How alpha is estimated; the mean is at its maximum given alpha in each case.

        * "ml": joint maximum likelihood. Too small with few samples.
        * "moments": by moments at the Poisson fit.
        * "cox_reid": by the Cox-Reid adjusted profile likelihood, which allows for the parameters of the mean
          (`isthmus.glm.adjusted_profile`). With any dispersion design.
        * "trend": drawn towards a trend with the mean, as DESeq2 does with refitted means (`isthmus.glm.trend` says how
          far its default is from that); for one dispersion a gene.
    by
        One fit a level: a column name, or one label per cell. Each level is fitted as if there were no other cells,
        size factors included; tables and tests gain the column.
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
        Genes laid out at once; smaller means less memory. None chooses: all of a matrix in memory, and of a stored one
        as many as hold some six million counts (less than 200 MB).
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
        With `by` a `GlmFits`: level -> GlmFit, which `test_glm` takes too.

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
    noise_model = {"negative_binomial": "nb", "norm": "normal"}.get(noise_model, noise_model)  # type: ignore[assignment]
    _check_choices(noise_model, dispersion, dtype, max_iter, tol, chunk_genes)
    threads = read_threads(n_threads)
    read = open_values if noise_model == "normal" else open_counts
    counts = data if isinstance(data, Counts) else read(data, layer=layer, cell_data=cell_data, gene_names=gene_names)
    columns = {"as_numeric": as_numeric, "as_categorical": as_categorical}
    if by is not None:
        options = {"design": design, "dispersion_design": dispersion_design, "constraints": constraints}
        options |= {"dispersion_constraints": dispersion_constraints, "size_factors": size_factors, "offset": offset}
        options |= {"weights": weights, "noise_model": noise_model, "dispersion": dispersion, "init": init}
        options |= {"dispersion_init": dispersion_init, "chunk_genes": chunk_genes, "max_iter": max_iter, "tol": tol}
        options |= {"n_threads": n_threads, "progress": progress, **columns}
        # Annotated as GlmFit, which it is for everyone who did not ask for several.
        return fit_by(by, counts, Source(data, layer, gene_names), options)  # type: ignore[return-value]
    job = _read_job(
        counts,
        design,
        dispersion_design,
        constraints,
        dispersion_constraints,
        size_factors,
        offset,
        weights,
        noise_model,
        columns,
    )
    settings = {
        "id": uuid.uuid4().hex,
        "noise_model": noise_model,
        "dispersion": "none" if noise_model == "poisson" else dispersion,
        "max_iter": int(max_iter),
        "tol": float(tol),
        "gene_offset": job.gene_offset is not None,
        "weights": None if job.weights is None else "cells" if job.cell_weights is not None else "observations",
        "zero_weights": job.weights is not None and bool((job.weights <= 0).any()),
        "nested": nested_terms(job.mean[0], counts.cell_data),
        "kernel": "numpy" if noise_model == "normal" else kernel.kernel_name(),
        "versions": _versions(),
    }
    _tell_few_df(job, settings)
    with Progress(counts.n_genes, progress) as bar:
        estimates = estimate(job, settings, init, dispersion_init, chunk_genes, threads, bar)
    fit = replace(_result(job, estimates, settings), source=Source(data, layer, gene_names))
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
    weights: Any,
    noise_model: str,
    columns: dict[str, Any],
) -> Job:
    normal = noise_model == "normal"
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
    if normal and isinstance(size_factors, str) and size_factors == "auto":
        size_factors = None
    own_offset, gene_offset = read_offset(offset, counts)
    cell_weights, gene_weights = read_weights(weights, counts)
    job = Job(
        counts,
        mean,
        dispersion,
        read_size_factors(size_factors, counts),
        own_offset,
        gene_offset,
        for_all_genes(cell_weights, counts.n_genes) if gene_weights is None else gene_weights,
        cell_weights,
        normal,
    )
    if cell_weights is not None:
        check_identified(job.x, cell_weights, "design")
        check_identified(job.z, cell_weights, "dispersion_design")
    if job.df_resid <= 0:
        what = "cells" if weights is None else "cells with a positive weight"
        msg = (
            f"`design` must have fewer free parameters than there are {what} ({job.df_resid + job.x.shape[1]}); it has "
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
    if noise_model not in ("nb", "poisson", "normal"):
        msg = f"`noise_model` must be 'nb', 'poisson' or 'normal'; got {noise_model!r}."
        raise InputError(msg)
    if dispersion not in ("ml", "moments", "cox_reid", "trend"):
        msg = f"`dispersion` must be one of ml, moments, cox_reid, trend; got {dispersion!r}."
        raise InputError(msg)
    if noise_model == "normal" and dispersion != "ml":
        msg = f'`dispersion` must be "ml" where `noise_model` is "normal": it is the variance; got {dispersion!r}.'
        raise InputError(msg)
    if dtype not in ("float64", np.float64):
        msg = f"`dtype` must be 'float64': in float32 the noise of the likelihood defeats convergence; got {dtype!r}."
        raise InputError(msg)
    check_whole("max_iter", max_iter)
    if chunk_genes is not None:
        check_whole("chunk_genes", chunk_genes)
    if isinstance(tol, bool) or not isinstance(tol, (int, float, np.number)) or not 0 < float(tol) < 1:
        msg = f"`tol` must be a number between 0 and 1 (log-likelihood units); got {tol!r}."
        raise InputError(msg)


def _versions() -> dict[str, str]:
    from isthmus import __version__

    return {"isthmus": __version__, "numpy": np.__version__, "pandas": pd.__version__}


def _tell_few_df(job: Job, settings: dict[str, Any]) -> None:
    left = job.df_resid
    if job.normal and left < _FEW_DF:
        tell(
            f'`noise_model` = "normal" with {left} residual degrees of freedom: maximum-likelihood variances are too '
            "small with so few samples, and p-values with them. limma is made for those."
        )
    elif settings["dispersion"] == "ml" and left < _FEW_DF:
        tell(
            f'`dispersion` = "ml" with {left} residual degrees of freedom: maximum-likelihood dispersions are too '
            "small with so few samples, and p-values with them. Use method 'qlf' in test_glm(), or dispersion "
            '"cox_reid" or "trend".'
        )


# ---- the result
# --------------------------------------------------------------------------------------------------------


def _result(job: Job, estimates: Estimates, settings: dict[str, Any]) -> GlmFit:
    fits, means, separations = estimates.fits, estimates.means, estimates.separations
    if settings["dispersion"] in ("moments", "trend"):  # no maximum of a likelihood: nothing rises there
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
        weights=job.cell_weights,
    )


def _warn_not_converged(fit: GlmFit) -> None:
    n = int((fit.status == "not_converged").sum())
    if n:
        msg = (
            f"{plural(n, 'gene')} of {fit.n_genes} did not converge in {fit.settings['max_iter']} iterations; their "
            "status is "
            "'not_converged' and their p-values are missing. Raise `max_iter` or simplify the design."
        )
        warnings.warn(msg, ConvergenceWarning, stacklevel=3)
