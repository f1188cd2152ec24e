"""Shrunken fold changes: DESeq2's normal prior, and modes under a Cauchy prior found by general-purpose search."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from glm_cases import REFERENCE, nb_log_likelihood
from peers import peer_problem
from scipy import stats
from scipy.optimize import minimize

import isthmus
from isthmus import schema
from isthmus.errors import InputError
from isthmus.glm import shrink_glm
from isthmus.glm.shrink import prior_variance, weighted_quantile

CONDITION = "condition[T.b]"


@pytest.fixture(scope="module")
def problem():
    counts, cells = peer_problem()
    fit = isthmus.fit_glm(
        counts, "~ batch + condition", cell_data=cells, size_factors="size_factor", dispersion="cox_reid"
    )
    return counts, cells, fit


def test_normal_prior_is_deseq2s(problem):
    """A few of DESeq2's dispersions stay at their least value, 1e-8; the others agree to four digits, as do these."""
    counts, _, fit = problem
    theirs = pd.read_csv(REFERENCE / "shrink" / "deseq2.csv", index_col=0)
    variance = pd.read_csv(REFERENCE / "shrink" / "prior.csv", index_col=0)["variance"]
    ours = shrink_glm(fit, CONDITION, prior="normal", data=counts)
    width = ours["prior_scale"].iloc[0] / np.log(2)
    np.testing.assert_allclose(width, np.sqrt(variance["conditionb"]), rtol=2e-3)
    away = np.abs(ours["log2fc"].to_numpy() - theirs["log2fc"])
    assert away[theirs["dispersion"] > 1e-7].max() < 0.01
    assert np.quantile(away, 0.95) < 1e-3
    assert (theirs["log2fc_ml"].abs() - theirs["log2fc"].abs()).max() > 0.5  # there was something to shrink


def log_posterior(gamma, y, x, offset, alpha, scale):
    likelihood = nb_log_likelihood(y, np.exp(np.minimum(x @ gamma + offset, 50)), alpha)
    return likelihood + stats.norm.logpdf(gamma[:2], 0, 15).sum() + stats.cauchy.logpdf(gamma[2], 0, scale)


def test_cauchy_modes_are_those_of_a_search(problem):
    counts, cells, fit = problem
    ours = shrink_glm(fit, CONDITION, data=counts)
    assert list(ours.columns) == list(schema.SHRUNKEN)
    scale = ours["prior_scale"].iloc[0]
    x = np.column_stack([np.ones(12), cells["batch"] == "y", cells["condition"] == "b"]).astype(float)
    offset = np.log(cells["size_factor"].to_numpy())
    usual = np.flatnonzero(fit.status == "ok")
    for g in usual[:: len(usual) // 12]:
        arguments = (counts.to_numpy()[:, g], x, offset, fit.dispersion[g], scale)

        def cost(gamma, arguments=arguments):
            return -log_posterior(gamma, *arguments)

        found = [
            minimize(cost, start, method="BFGS", options={"gtol": 1e-7})
            for start in (fit.mean_model.free_coef[:, g], [np.log(fit.mean[g]), 0, 0])
        ]
        best = min(found, key=lambda result: result.fun)
        np.testing.assert_allclose(ours["estimate"][g], best.x[2], atol=1e-4)
        mode, step = best.x, 1e-4
        values = [log_posterior(mode + step * np.array(d), *arguments) for d in np.eye(3)]
        assert max(values) <= log_posterior(mode, *arguments) + 1e-6


def test_cauchy_keeps_large_effects_and_draws_in_uncertain_ones(problem):
    counts, _, fit = problem
    ours = shrink_glm(fit, CONDITION, data=counts)
    test = isthmus.test_glm(fit, CONDITION)
    sure = (test["pval"] < 1e-8).to_numpy()
    kept = (ours["log2fc"] / ours["log2fc_ml"]).to_numpy()
    assert sure.sum() >= 5
    assert np.median(kept[sure]) > 0.9
    doubtful = (test["pval"] > 0.5).to_numpy()
    assert np.median(np.abs(kept[doubtful])) < np.median(kept[sure]) - 0.15
    known = ours["sd"].notna()
    assert (ours["sd"][known] > 0).all()
    assert (ours["estimate"] * ours["log2fc_ml"] >= -1e-3).mean() > 0.99


def test_the_scale_is_learnt_from_the_genes():
    rng = np.random.default_rng(0)
    se = rng.uniform(0.1, 0.5, 20_000)
    estimate = rng.normal(0, 0.7, 20_000) + rng.normal(0, se)
    np.testing.assert_allclose(prior_variance(estimate, se), 0.49, rtol=0.03)
    assert prior_variance(rng.normal(0, 0.1, 50), np.full(50, 1.0)) == 1e-6


def test_a_narrow_prior_leaves_nothing_and_a_wide_one_everything(problem):
    counts, _, fit = problem
    fine = fit.status == "ok"
    for prior in ("cauchy", "normal"):
        none = shrink_glm(fit, CONDITION, prior=prior, scale=1e-4, data=counts)
        all_of_it = shrink_glm(fit, CONDITION, prior=prior, scale=1e3, data=counts)
        np.testing.assert_allclose(all_of_it["log2fc"][fine], all_of_it["log2fc_ml"][fine], atol=0.02)
        assert np.quantile(none["log2fc"].abs()[fine], 0.5) < 1e-3


def test_contrasts_and_separated_genes():
    rng = np.random.default_rng(3)
    cells = pd.DataFrame({"group": np.repeat(["a", "b", "c"], 10)})
    counts = pd.DataFrame(rng.poisson(rng.gamma(5, 2, (30, 40)))).astype(float)
    counts.iloc[10:20, 0] = 0
    counts[39] = 0.0
    fit = isthmus.fit_glm(counts, "~ group", cell_data=cells, size_factors=None)
    one = shrink_glm(fit, contrast="group[T.c] - group[T.b]", data=counts, scale=0.5)
    other = shrink_glm(fit, contrast="group[T.b] - group[T.c]", data=counts, scale=0.5)
    np.testing.assert_allclose(one["estimate"], -other["estimate"], atol=1e-6)
    shrunken = shrink_glm(fit, "group[T.b]", data=counts, scale=0.5)
    assert shrunken["status"][0] == "separated"
    assert shrunken["log2fc_ml"][0] == -np.inf
    assert -20 < shrunken["log2fc"][0] < -2
    assert np.isnan(shrunken["estimate"][39])


def test_quantiles_count_weights_as_repeats():
    values = np.array([3.0, 1, 2, 5])
    np.testing.assert_allclose(weighted_quantile(values, np.ones(4), 0.5), np.quantile(values, 0.5))
    np.testing.assert_allclose(weighted_quantile(values, np.full(4, 7.0), 0.9), np.quantile(values, 0.9))
    heavy = weighted_quantile(values, np.array([0.01, 0.01, 0.01, 10]), 0.5)
    assert heavy == 5


def test_what_cannot_be_shrunken(problem):
    counts, _, fit = problem
    for options, message in [
        ({"coef": "x"}, "`coef` must name a coefficient"),
        ({"coef": CONDITION, "prior": "apeglm"}, "`prior` must be one of cauchy, normal; got 'apeglm'"),
        ({"coef": CONDITION, "scale": 0}, "`scale` must be a positive number"),
        ({"coef": CONDITION, "scale": True}, "`scale` must be a positive number"),
        ({"contrast": np.eye(3)}, "`contrast` must be one row compared with 0"),
        ({"contrast": f"{CONDITION} = 1"}, "`contrast` must be one row compared with 0"),
        ({}, "One of `coef` and `contrast` must be given; got none"),
        ({"coef": CONDITION, "contrast": CONDITION}, "One of `coef` and `contrast` must be given; got both"),
    ]:
        with pytest.raises(InputError, match=message):
            shrink_glm(fit, data=counts, **options)
    with pytest.raises(InputError, match="`fit` must be what fit_glm returned"):
        shrink_glm(counts, "x")
    one = isthmus.fit_glm(counts.iloc[:, :1], "~ 1", size_factors=None)
    with pytest.raises(InputError, match="`scale` cannot be learnt from 1 genes"):
        shrink_glm(one, "Intercept", data=counts.iloc[:, :1])
