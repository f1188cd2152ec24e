"""Wald and score tests with variances between replicates (`sandwich`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from isthmus.glm import information as info
from isthmus.glm import refit, wald
from isthmus.glm.sandwich import Robust, cluster_sums, robust
from isthmus.glm.score import score_at_null
from isthmus.glm.wald import Reference

if TYPE_CHECKING:
    from isthmus.glm.hypothesis import Hypothesis
    from isthmus.glm.methods import Asked
    from isthmus.glm.replicates import Replicates
    from isthmus.glm.result import GlmFit
    from isthmus.glm.source import Evidence

_TESTED = ("stat", "pval", "df", "df_resid")


def robust_values(
    fit: GlmFit, tested: Hypothesis, asked: Asked, evidence: Evidence, replicates: Replicates, status: np.ndarray
) -> dict[str, np.ndarray]:
    """Estimates with robust standard errors, and the test that was asked for; over all genes."""
    genes = np.flatnonzero(status != "all_zero")
    own = status[genes]
    found = _wald(fit, tested, asked, evidence, replicates, genes, own)
    if asked.method == "score":
        for name in _TESTED:
            found[name] = np.full(len(genes), np.nan)
        inner = np.flatnonzero(own != "not_converged")
        scored = _score(fit, tested, asked, evidence, replicates, genes[inner])
        for name in _TESTED:
            found[name][inner] = scored[name]
    values = {name: np.full(fit.n_genes, np.nan) for name in found}
    for name, numbers in found.items():
        values[name][genes] = numbers
    return values


def _wald(
    fit: GlmFit,
    tested: Hypothesis,
    asked: Asked,
    evidence: Evidence,
    replicates: Replicates,
    genes: np.ndarray,
    status: np.ndarray,
) -> dict[str, np.ndarray]:
    model, bread = refit.full_model(fit), fit.free_covariance("mean")[genes]
    coef, dispersion = fit.mean_model.free_coef[:, genes], fit.dispersion_model.free_coef[:, genes]
    sums = cluster_sums(model, evidence, genes, coef, dispersion, replicates.of_cell)
    variance = robust(sums, bread, bread, tested.free, asked.sandwich)
    estimate = tested.rows @ fit.mean_model.coef[:, genes]
    if not tested.single:
        return _joint(estimate - tested.rhs[:, None], variance, status)
    against = Reference(variance.df)
    found = wald.single(
        estimate[0], variance.block[:, 0, 0], tested.rhs[0], status, against, asked.alternative, asked.threshold
    )
    for place in np.flatnonzero(status == "separated"):
        found["estimate"][place] = fit.separated("mean")[int(genes[place])].limits(tested.free)[0]
    return found


def _score(
    fit: GlmFit, tested: Hypothesis, asked: Asked, evidence: Evidence, replicates: Replicates, genes: np.ndarray
) -> dict[str, np.ndarray]:
    """The generalised score statistic (Boos 1992, Am. Stat. 46:327): the score with its robust variance at the null.

    The hat matrix is that of the null fit, which left the residuals: K = N (N' I N)^-1 N'.
    """
    at = score_at_null(fit, tested, evidence, genes, n_threads=asked.n_threads)
    model, basis = refit.full_model(fit), tested.restriction[0]
    bread = info.invert(at.expected_info, {})
    inner = info.invert(basis.T @ at.expected_info @ basis, {})
    hat = basis @ inner @ basis.T if basis.shape[1] else np.zeros_like(bread)
    sums = cluster_sums(model, evidence, genes, at.mean_coef, at.dispersion_coef, replicates.of_cell)
    variance = robust(sums, bread, hat, tested.free, asked.sandwich)
    step = np.einsum("gij,gj->gi", bread, at.gradient[:, : bread.shape[1]])
    distance, fine = (step @ tested.free.T).T, np.full(len(genes), "ok", dtype=object)
    if not tested.single:
        return _joint(distance, variance, fine)
    against = Reference(variance.df)
    return wald.single(distance[0], variance.block[:, 0, 0], 0.0, fine, against, asked.alternative, 0.0)


def _joint(distance: np.ndarray, variance: Robust, status: np.ndarray) -> dict[str, np.ndarray]:
    """Hotelling's T^2 with eta degrees of freedom: F = (eta - q + 1) / (eta q) Q on q and eta - q + 1."""
    found = wald.joint(distance, variance.block, status, Reference(np.inf))
    q, eta = found["df"], variance.df
    with np.errstate(invalid="ignore", divide="ignore"):
        below = np.where(eta - q + 1 > 0, eta - q + 1, np.nan)
        stat = found["stat"] * below / (eta * q)
        pval = special.fdtrc(q, below, stat)
    lost = np.isnan(pval)
    found |= {"stat": np.where(lost, np.nan, stat), "pval": pval, "df": np.where(lost, np.nan, q)}
    found["df_resid"] = np.where(lost, np.nan, below)
    return found
