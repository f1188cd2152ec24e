r"""Cook's distances: how far one count alone moves the coefficients of its gene.

.. math:: D_i = \frac{(y_i - \mu_i)^2}{p\,(\mu_i + \alpha_r\mu_i^2)} \cdot \frac{h_i}{(1 - h_i)^2}

with leverages h at the fit and p free parameters (Cook 1977, Technometrics 19:15), as DESeq2 has it (Love, Huber &
Anders 2014, Genome Biol. 15:550, section "Cook's distance for outlier detection"): :math:`\alpha_r` is a dispersion by
moments with trimmed means, at least 0.04, on which one outlier has little hold. With observation weights w, the squared
residual and the information behind h are multiplied by them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import special, stats

from isthmus.errors import InputError
from isthmus.glm import information as info
from isthmus.glm import refit
from isthmus.glm.multiplicity import benjamini_hochberg
from isthmus.glm.normal import refuse_normal
from isthmus.glm.source import Evidence, find_evidence, need_evidence
from isthmus.glm.strata import check_one_fit

if TYPE_CHECKING:
    from isthmus.glm.refit import Model
    from isthmus.glm.result import GlmFit

_LEAST_DISPERSION = 0.04
_REPLICATES = 3  # a group of fewer samples cannot say which of them is the outlier
_LARGER = 3  # in two groups, an outlier below so many other counts is none
_AT_ONCE = 4_000_000  # cells x genes held as dense numbers
# Trimmed share of each end, and what makes the trimmed mean of squares a variance, for groups of up to 3, 23, and more.
_GROUP_SIZES = (3.5, 23.5)
_TRIM, _SCALE = (1 / 3, 1 / 4, 1 / 8), (2.04, 1.86, 1.51)


def cooks_distance(
    fit: GlmFit, data: Any = None, *, layer: str | None = None, offset: Any = None, weights: Any = None
) -> pd.DataFrame:
    """Cook's distance of every count, cells x genes (dense: meant for samples and pseudobulks).

    Parameters
    ----------
    fit
        What `fit_glm` returned.
    data, layer, offset, weights
        The fit's counts, and its offset and weights per cell and gene if it had such, once more: as in `test_glm`.

    Returns
    -------
    DataFrame
        NaN for genes without a count or whose fit did not converge.

    Raises
    ------
    InputError
        Counts that are not there, or not those of the fit.

    Examples
    --------
    >>> import isthmus
    >>> counts = np.array([[5.0], [6], [4], [90], [5], [7]])
    >>> fit = isthmus.fit_glm(counts, size_factors=None)
    >>> int(cooks_distance(fit, counts).to_numpy().argmax())
    3
    """
    check_one_fit(fit)
    refuse_normal(fit, "Cook's distances")
    evidence = need_evidence(fit, find_evidence(fit, data, layer, offset, weights), "Cook's distances")
    parts = [distances for _, distances in _distances(fit, evidence)]
    return pd.DataFrame(np.hstack(parts), index=fit.cell_names, columns=fit.gene_names)


def flag_outliers(
    test: pd.DataFrame,
    fit: GlmFit,
    data: Any = None,
    *,
    cutoff: float | None = None,
    drop: bool = True,
    layer: str | None = None,
    offset: Any = None,
    weights: Any = None,
) -> pd.DataFrame:
    """Mark genes whose result hangs on one count, by Cook's distance as DESeq2 does.

    1. A gene's ``max_cooks`` is its largest distance among the cells that share their row of the design with at least
       two others; without such cells nothing can be said.
    2. It is an outlier above `cutoff`; in a comparison of two groups not where three other counts are larger still.

    Parameters
    ----------
    test
        A table of `test_glm` of this fit, of one or several contrasts.
    fit
        The fit behind it.
    cutoff
        None: the 99 % quantile of F with p and cells - p degrees of freedom. Larger marks fewer genes.
    drop
        Take the p-values of outliers out, and adjust the others anew.
    data, layer, offset, weights
        As in `cooks_distance`.

    Returns
    -------
    DataFrame
        The table with the columns ``max_cooks`` and ``outlier`` (`isthmus.schema.FLAGGED`).

    Raises
    ------
    InputError
        A table of another fit; a cutoff that is not positive; counts that are not there.

    Examples
    --------
    >>> import isthmus
    >>> counts = np.array([[5.0], [6], [4], [400], [5], [7]])
    >>> fit = isthmus.fit_glm(counts, size_factors=None)
    >>> test = isthmus.test_glm(fit, "Intercept")
    >>> flag_outliers(test, fit, counts)[["outlier", "pval"]].values.tolist()
    [[True, nan]]
    """
    check_one_fit(fit)
    refuse_normal(fit, "Cook's distances")
    if not isinstance(drop, (bool, np.bool_)):
        msg = f"`drop` must be True or False; got {drop!r}."
        raise InputError(msg)
    blocks = _check_test(test, fit)
    evidence = need_evidence(fit, find_evidence(fit, data, layer, offset, weights), "Cook's distances")
    largest, outlier = _outliers(fit, evidence, _check_cutoff(cutoff, fit))
    out = test.copy()
    out["max_cooks"], out["outlier"] = np.tile(largest, blocks), np.tile(outlier, blocks)
    if drop:
        pval = np.where(out["outlier"], np.nan, out["pval"].to_numpy(dtype=float))
        adjusted = [benjamini_hochberg(part) for part in pval.reshape(blocks, fit.n_genes)]
        out["pval"], out["padj"] = pval, np.concatenate(adjusted)
    return out


# ---- reading
# -----------------------------------------------------------------------------------------------------------


def _check_test(test: Any, fit: GlmFit) -> int:
    """How many blocks of the fit's genes the table holds."""
    lacking = [name for name in ("gene", "pval", "padj") if name not in getattr(test, "columns", ())]
    if lacking:
        msg = f"`test` must be a table of test_glm(); it has no column '{lacking[0]}'."
        raise InputError(msg)
    blocks = len(test) // fit.n_genes
    if list(test["gene"]) != list(fit.gene_names) * blocks:
        msg = "`test` must hold all genes of `fit` in the fit's order; filter or sort it afterwards."
        raise InputError(msg)
    return blocks


def _check_cutoff(cutoff: Any, fit: GlmFit) -> float:
    if cutoff is None:
        return float(special.fdtri(fit.mean_model.n_free, fit.df_resid, 0.99))
    if isinstance(cutoff, bool) or not isinstance(cutoff, (int, float, np.number)) or not float(cutoff) > 0:
        msg = f"`cutoff` must be a positive number, or None for the 99 % quantile of F; got {cutoff!r}."
        raise InputError(msg)
    return float(cutoff)


# ---- distances
# ---------------------------------------------------------------------------------------------------------


def _outliers(fit: GlmFit, evidence: Evidence, cutoff: float) -> tuple[np.ndarray, np.ndarray]:
    """The largest distance of each gene, and whether it makes the gene an outlier."""
    groups, sizes = _groups(fit)
    judged = sizes[groups] >= _REPLICATES
    largest, outlier = np.full(fit.n_genes, np.nan), np.zeros(fit.n_genes, dtype=bool)
    if not judged.any():
        return largest, outlier
    columns = evidence.counts.matrix.tocsc()
    for part, distances in _distances(fit, evidence):
        largest[part] = distances[judged].max(axis=0)
        outlier[part] = largest[part] > cutoff
        if len(sizes) == 2:
            y = np.asarray(columns[:, part].toarray(), dtype=float)
            furthest = y[np.nan_to_num(distances).argmax(axis=0), np.arange(y.shape[1])]
            outlier[part] &= (y > furthest).sum(axis=0) < _LARGER
    return largest, outlier


def _distances(fit: GlmFit, evidence: Evidence) -> Iterator[tuple[slice, np.ndarray]]:
    """Distances of some genes at a time, ``(n_cells, n)``."""
    model = refit.full_model(fit)
    columns = evidence.counts.matrix.tocsc()
    step = max(1, _AT_ONCE // fit.n_cells)
    for first in range(0, fit.n_genes, step):
        part = slice(first, min(first + step, fit.n_genes))
        y = np.asarray(columns[:, part].toarray(), dtype=float)
        yield part, _distances_of(fit, model, evidence, part, y)


def _distances_of(fit: GlmFit, model: Model, evidence: Evidence, part: slice, y: np.ndarray) -> np.ndarray:
    eta = model.x @ np.nan_to_num(fit.mean_model.free_coef[:, part]) + model.offset[:, None]
    exposure = fit.size_factors[:, None]
    if evidence.gene_offset is not None:
        eta += evidence.gene_offset[:, part]
        exposure = exposure * np.exp(evidence.gene_offset[:, part])
    mu = np.exp(np.clip(eta, -60, 50))
    alpha = np.zeros_like(mu)
    if model.has_dispersion:
        log_alpha = model.z @ fit.dispersion_model.free_coef[:, part] + model.zeta_offset[:, None]
        alpha = np.nan_to_num(np.exp(np.minimum(log_alpha, 50.0)))  # the Poisson limit is alpha = 0
    weight = 1.0 if evidence.weights is None else evidence.weights[:, part]
    infinite = {
        gene - part.start: s.basis for gene, s in fit.separated("mean").items() if part.start <= gene < part.stop
    }
    inverse = np.nan_to_num(info.invert(fit.expected_info[part], infinite))
    leverage = np.einsum("nf,gfh,nh->ng", model.x, inverse, model.x, optimize=True) * weight * mu / (1 + alpha * mu)
    leverage = np.clip(leverage, 0, 1 - 1e-10)
    robust = robust_dispersion(y / exposure / np.exp(fit.offset)[:, None], _groups(fit)[0])
    pearson = weight * (y - mu) ** 2 / (mu + robust * mu**2)
    out = pearson / model.x.shape[1] * leverage / (1 - leverage) ** 2
    out[:, ~fit.converged[part] | (fit.status[part] == "all_zero")] = np.nan
    return np.asarray(out)


def _groups(fit: GlmFit) -> tuple[np.ndarray, np.ndarray]:
    """Which cells share a row of the mean design: a number for each cell, and the sizes."""
    _, groups, sizes = np.unique(fit.mean_model.free_design, axis=0, return_inverse=True, return_counts=True)
    return groups.reshape(-1), sizes


def robust_dispersion(scaled: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Dispersions by moments that an outlier does not move, ``(n_genes,)``.

    Parameters
    ----------
    scaled
        ``(n_cells, n_genes)``: count / size factor.
    groups
        ``(n_cells,)`` whole numbers: cells that should have the same mean. Without three or more in any, all cells are
        one group.
    """
    sizes = np.bincount(groups)
    used = np.flatnonzero(sizes >= _REPLICATES)
    kinds = np.searchsorted(_GROUP_SIZES, sizes)
    if used.size:
        variances = [_trimmed_variance(scaled[groups == group], int(kinds[group])) for group in used]
        variance = np.max(variances, axis=0)
    else:
        variance = _trimmed_variance(scaled, 2)
    means = scaled.mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.fmax((variance - means) / means**2, _LEAST_DISPERSION)


def _trimmed_variance(values: np.ndarray, kind: int) -> np.ndarray:
    squares = (values - stats.trim_mean(values, _TRIM[kind], axis=0)) ** 2
    return np.asarray(_SCALE[kind] * stats.trim_mean(squares, _TRIM[kind], axis=0))
