"""What each method of `test_glm` puts into its table: estimates, statistics and p-values."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.data.wording import some
from isthmus.glm import refit, wald
from isthmus.glm.firth import firth_estimates
from isthmus.glm.lrt import LikelihoodRatio, likelihood_ratio
from isthmus.glm.qlf import QuasiFit, deviance_differences, quasi_covariance, quasi_fit
from isthmus.glm.ranges import is_stored, ranges
from isthmus.glm.robust_tests import robust_values
from isthmus.glm.score import score_at_null, standardised_score
from isthmus.glm.separation import loads
from isthmus.glm.source import Evidence, need_evidence
from isthmus.glm.wald import Reference
from isthmus.messages import tell

if TYPE_CHECKING:
    from isthmus.glm.hypothesis import Hypothesis
    from isthmus.glm.replicates import Replicates
    from isthmus.glm.result import GlmFit

    Values = dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Asked:
    """The options of a test, checked."""

    method: str
    reference: str
    information: str
    alternative: str
    threshold: float
    n_threads: int
    sandwich: str
    shared: dict[str, Any] = field(default_factory=dict)  # what all contrasts of a call have in common


@dataclass(frozen=True, eq=False)
class Answer:
    """One table without its names: over all genes, in their order."""

    status: np.ndarray
    method: np.ndarray
    values: Values
    penalized: np.ndarray


def answers(
    fit: GlmFit,
    hypotheses: list[Hypothesis],
    asked: Asked,
    evidence: Evidence | None,
    replicates: Replicates | None = None,
) -> list[Answer]:
    """Test hypotheses in every gene; counts that stay stored are read range by range, for all hypotheses at once."""
    if evidence is not None:
        evidence = replace(evidence, several=len(hypotheses) > 1 or asked.method in ("score", "qlf"))
    if evidence is None or not is_stored(evidence):
        return [answer(fit, tested, asked, evidence, replicates) for tested in hypotheses]
    if asked.method == "qlf":
        asked.shared["quasi"] = quasi_fit(fit, evidence, n_threads=asked.n_threads)
    whole = [_nothing_yet(fit, tested, asked) for tested in hypotheses]
    only_separated = asked.method == "wald" and replicates is None
    needed = (lambda part: _any_separated(part, hypotheses)) if only_separated else None
    for part in ranges(fit, evidence, np.flatnonzero(fit.status != "all_zero"), needed):
        own = replace(asked, shared={})
        if asked.method == "qlf":
            own.shared["quasi"] = asked.shared["quasi"].of(part.genes)
        for tested, out in zip(hypotheses, whole, strict=True):
            found = answer(part.fit, tested, own, part.evidence, replicates)
            for name, values in found.values.items():
                out.values[name][part.genes] = values
            out.status[part.genes], out.method[part.genes] = found.status, found.method
            out.penalized[part.genes] = found.penalized
    return whole


def _nothing_yet(fit: GlmFit, tested: Hypothesis, asked: Asked) -> Answer:
    """What stays of it is for genes without a count."""
    names = ("estimate", "se", "ci_low", "ci_high", "stat", "pval", "df", "df_resid")
    values = {name: np.full(fit.n_genes, np.nan) for name in names}
    method = np.full(fit.n_genes, asked.method, dtype=object)
    return Answer(fit.status.copy(), method, values, np.full(fit.n_genes, np.nan))


def _any_separated(fit: GlmFit, hypotheses: list[Hypothesis]) -> bool:
    separations = list(fit.separated(hypotheses[0].model).values())
    return any(loads(s, tested.free).any() for tested in hypotheses for s in separations)


def answer(
    fit: GlmFit,
    tested: Hypothesis,
    asked: Asked,
    evidence: Evidence | None,
    replicates: Replicates | None = None,
) -> Answer:
    """Test one hypothesis in every gene."""
    status = _status(fit, tested)
    method = np.full(fit.n_genes, asked.method, dtype=object)
    if asked.method == "qlf":
        values = _quasi(fit, tested, asked, need_evidence(fit, evidence, 'method="qlf"'), status)
        return Answer(status, method, values, _penalized(fit, tested, evidence, status))
    if replicates is not None and evidence is not None:
        values = robust_values(fit, tested, asked, evidence, replicates, status)
        return Answer(status, method, values, _penalized(fit, tested, evidence, status))
    values = _wald(fit, tested, asked, status)
    if asked.method == "lrt":
        evidence = need_evidence(fit, evidence, 'method="lrt"')
        genes = np.flatnonzero(_testable(fit, tested, status))
        found = likelihood_ratio(fit, tested, evidence, genes, n_threads=asked.n_threads)
        _clear(values)
        _set_ratio(values, genes, found, tested, asked.alternative)
    elif asked.method == "score":
        evidence = need_evidence(fit, evidence, 'method="score"')
        _set_score(fit, tested, asked, evidence, status, values)
    else:
        _test_separated(fit, tested, asked, evidence, status, values, method)
    return Answer(status, method, values, _penalized(fit, tested, evidence, status))


def _status(fit: GlmFit, tested: Hypothesis) -> np.ndarray:
    """The first that applies, for this contrast: a gene separated elsewhere is judged by the rest of its fit."""
    status = fit.status.copy()
    elsewhere = np.flatnonzero(status == "separated")
    at_limit = np.isnan(fit.dispersion_model.free_coef[:, elsewhere]).any(axis=0)
    fitted = np.where(at_limit, "poisson_limit", "ok")
    status[elsewhere] = np.where(fit.converged[elsewhere], fitted, "not_converged")
    for gene, separation in fit.separated(tested.model).items():
        if loads(separation, tested.free).any():
            status[gene] = "separated"
    return status


def _testable(fit: GlmFit, tested: Hypothesis, status: np.ndarray) -> np.ndarray:
    """Genes that a refit under the hypothesis can be compared with."""
    lost = ("all_zero", "not_converged") + (("poisson_limit",) if tested.model == "dispersion" else ())
    return ~np.isin(status, lost) & ~_flat(fit, tested)


def _flat(fit: GlmFit, tested: Hypothesis) -> np.ndarray:
    """Dispersions of cells whose mean is 0, parameters without an observation: of them the likelihood says nothing."""
    out = np.zeros(fit.n_genes, dtype=bool)
    for gene, separation in fit.separated(tested.model).items():
        out[gene] = not len(separation.faces) and bool(loads(separation, tested.free).any())
    return out


def _wald(fit: GlmFit, tested: Hypothesis, asked: Asked, status: np.ndarray) -> Values:
    against = Reference(float(fit.df_resid) if asked.reference == "t" else np.inf)
    if "covariance" not in asked.shared:
        asked.shared["covariance"] = fit.free_covariance(tested.model, information=asked.information)
    covariance = asked.shared["covariance"]
    block = tested.free @ covariance @ tested.free.T
    estimate = tested.rows @ fit.submodel(tested.model).coef  # (k, n_genes)
    if not tested.single:
        return wald.joint(estimate - tested.rhs[:, None], block, status, against)
    values = wald.single(
        estimate[0], block[:, 0, 0], tested.rhs[0], status, against, asked.alternative, asked.threshold
    )
    for gene, separation in fit.separated(tested.model).items():
        if status[gene] == "separated":
            values["estimate"][gene] = separation.limits(tested.free)[0]
    return values


def _quasi(fit: GlmFit, tested: Hypothesis, asked: Asked, evidence: Evidence, status: np.ndarray) -> Values:
    """Estimates and intervals of the refit at the trend; F and its p-value."""
    if "quasi" not in asked.shared:
        asked.shared["quasi"] = quasi_fit(fit, evidence, n_threads=asked.n_threads)
    quasi: QuasiFit = asked.shared["quasi"]
    ratio = deviance_differences(fit, tested, evidence, quasi, n_threads=asked.n_threads)
    constraint = fit.mean_model.constraint
    coef = constraint.particular[:, None] + constraint.free @ quasi.fits.mean_coef
    block = tested.free @ quasi_covariance(fit, quasi) @ tested.free.T
    own, against = status[quasi.genes], Reference(quasi.df_total)
    own = np.where(own == "not_converged", "ok", own)  # at the trend it may well have
    if tested.single:
        found = wald.single((tested.rows @ coef)[0], block[:, 0, 0], tested.rhs[0], own, against, "two-sided", 0.0)
        for place in np.flatnonzero(own == "separated"):
            separation = fit.separated("mean")[int(quasi.genes[place])]
            found["estimate"][place] = separation.limits(tested.free)[0]
    else:
        names = ("estimate", "se", "ci_low", "ci_high")
        found = dict.fromkeys(names, np.full(len(own), np.nan))
    f = ratio / tested.df / quasi.dispersion
    pval = against.sf_joint(f * tested.df, np.full(len(own), float(tested.df)))
    pval = _one_sided(pval, found["estimate"] - tested.rhs[0], asked.alternative)
    known = ~np.isnan(pval)
    found = found | {"stat": np.where(known, f, np.nan), "pval": pval, "df": np.where(known, float(tested.df), np.nan)}
    found["df_resid"] = np.where(known, quasi.df_total, np.nan)
    values = {name: np.full(fit.n_genes, np.nan) for name in found}
    for name, numbers in found.items():
        values[name][quasi.genes] = numbers
    return values


def _one_sided(pval: np.ndarray, above: np.ndarray, alternative: str) -> np.ndarray:
    """Half of a two-sided p-value where the estimate lies on the side asked for."""
    if alternative == "two-sided":
        return pval
    agrees = above > 0 if alternative == "greater" else above < 0
    return np.where(np.isnan(above), np.nan, np.where(agrees, pval / 2, 1 - pval / 2))


def _set_ratio(values: Values, genes: np.ndarray, found: LikelihoodRatio, tested: Hypothesis, alternative: str) -> None:
    """Statistic and p-value of some genes; one-sided ones go by the sign of the estimate."""
    pval = _one_sided(found.pval, values["estimate"][genes] - tested.rhs[0], alternative)
    known = ~np.isnan(pval)
    values["stat"][genes] = np.where(known, found.stat, np.nan)
    values["pval"][genes] = pval
    values["df"][genes] = np.where(known, float(tested.df), np.nan)
    values["df_resid"][genes] = np.where(known, np.inf, np.nan)


def _set_score(
    fit: GlmFit, tested: Hypothesis, asked: Asked, evidence: Evidence, status: np.ndarray, values: Values
) -> None:
    genes = np.flatnonzero(_testable(fit, tested, status))
    at = score_at_null(fit, tested, evidence, genes, n_threads=asked.n_threads)
    distance, block = standardised_score(fit, tested, at, asked.information)
    against = Reference(float(fit.df_resid) if asked.reference == "t" else np.inf)
    fine = np.full(len(genes), "ok", dtype=object)
    if tested.single:
        found = wald.single(distance[0], block[:, 0, 0], 0.0, fine, against, asked.alternative, 0.0)
    else:
        found = wald.joint(distance, block, fine, against)
    _clear(values)
    for name in ("stat", "pval", "df", "df_resid"):
        values[name][genes] = found[name]


def _clear(values: Values) -> None:
    for name in ("stat", "pval", "df", "df_resid"):
        values[name] = np.full(len(values[name]), np.nan)


def _test_separated(
    fit: GlmFit,
    tested: Hypothesis,
    asked: Asked,
    evidence: Evidence | None,
    status: np.ndarray,
    values: Values,
    method: np.ndarray,
) -> None:
    """An infinite estimate has no standard error, but the likelihood has a supremum that can be compared."""
    genes = np.flatnonzero((status == "separated") & ~_flat(fit, tested))
    held = tested.model == "dispersion" and refit.dispersion_is_fixed(fit)
    if not genes.size or asked.threshold > 0 or held:
        return
    if evidence is None:
        tell(
            f"`data`: {some(list(fit.gene_names[genes]))} {'is' if genes.size == 1 else 'are'} separated in "
            f"'{tested.label}'; a p-value there is a likelihood ratio's, for which counts are needed. Pass what "
            "fit_glm() was given."
        )
        return
    found = likelihood_ratio(fit, tested, evidence, genes, n_threads=asked.n_threads)
    _set_ratio(values, genes, found, tested, asked.alternative)
    method[genes] = "lrt"


def _penalized(fit: GlmFit, tested: Hypothesis, evidence: Evidence | None, status: np.ndarray) -> np.ndarray:
    """Firth's estimate of a separated contrast of the mean model, at the fit's dispersion."""
    out = np.full(fit.n_genes, np.nan)
    genes = np.flatnonzero((status == "separated") & ~_flat(fit, tested))
    if evidence is None or not genes.size or tested.model != "mean" or not tested.single:
        return out
    model = refit.full_model(fit)
    alpha = np.exp(np.minimum(model.z @ fit.dispersion_model.free_coef[:, genes] + model.zeta_offset[:, None], 50.0))
    alpha = np.nan_to_num(alpha) if model.has_dispersion else np.zeros((fit.n_cells, len(genes)))
    free = firth_estimates(model, evidence, genes, alpha)
    out[genes] = (tested.free @ free)[0] + tested.rhs[0] - tested.free_rhs[0]
    return out
