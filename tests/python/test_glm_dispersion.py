"""Cox-Reid and trended dispersions: against a numerical optimiser, and against DESeq2, edgeR and glmGamPoi."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from glm_cases import nb_counts, nb_log_likelihood, random_problem
from peers import peer, peer_problem, same_calls
from scipy.optimize import minimize, minimize_scalar

import isthmus
from isthmus.errors import InputError
from isthmus.glm.start import shows_dispersion
from isthmus.glm.trend import Trend, fit_trend
from isthmus.messages import collected


@pytest.fixture(scope="module")
def few():
    """12 cells, so that the adjustment is large."""
    rng = np.random.default_rng(5)
    cells = pd.DataFrame({"group": np.resize(["a", "b"], 12), "age": rng.normal(size=12)})
    size_factors = np.exp(rng.normal(0, 0.3, 12))
    return nb_counts(rng, size_factors[:, None] * np.exp(rng.uniform(2, 5, 30)), 0.3), cells, size_factors


def adjusted_profile(y, x, size_factors, alpha):
    """The log-likelihood at its maximum in the mean, less half the log determinant of the information."""

    def loss(a):
        return -nb_log_likelihood(y, size_factors * np.exp(x @ a), alpha)

    start = np.linalg.lstsq(x, np.log((y + 0.5) / size_factors), rcond=None)[0]
    best = minimize(loss, start, method="BFGS", options={"gtol": 1e-7})
    mu = size_factors * np.exp(x @ best.x)
    return -best.fun - np.linalg.slogdet((x.T * (mu / (1 + alpha * mu))) @ x)[1] / 2


def test_cox_reid_maximises_the_adjusted_profile(few):
    counts, cells, size_factors = few
    fit = isthmus.fit_glm(counts, "~ group + age", cell_data=cells, size_factors=size_factors, dispersion="cox_reid")
    x = isthmus.design_matrix(cells, "~ group + age").to_numpy()
    for gene in range(5):
        best = minimize_scalar(
            lambda b, y=counts[:, gene]: -adjusted_profile(y, x, size_factors, np.exp(b)),
            bounds=(-5, 2),
            method="bounded",
            options={"xatol": 1e-5},
        )
        assert np.log(fit.dispersion[gene]) == pytest.approx(best.x, abs=2e-3)


def test_cox_reid_with_a_dispersion_design(few):
    counts, cells, size_factors = few
    options = {"cell_data": cells, "size_factors": size_factors, "dispersion_design": "~ group"}
    fit = isthmus.fit_glm(counts, "~ age", dispersion="cox_reid", **options)
    x = isthmus.design_matrix(cells, "~ age").to_numpy()
    z = isthmus.design_matrix(cells, "~ group").to_numpy()
    inner = np.abs(fit.dispersion_model.free_coef).max(axis=0) < 5  # in some genes one group has no dispersion
    for gene in np.flatnonzero(inner & (fit.status == "ok"))[:3]:
        found = fit.dispersion_model.free_coef[:, gene]

        def value(b, y=counts[:, gene]):
            return adjusted_profile(y, x, size_factors, np.exp(z @ b))

        slopes = [(value(found + e) - value(found - e)) / 0.02 for e in np.eye(2) * 0.01]
        np.testing.assert_allclose(slopes, 0, atol=5e-3)


def test_cox_reid_is_larger_than_maximum_likelihood_and_unbiased_where_that_is_not(few):
    counts, cells, size_factors = few
    options = {"cell_data": cells, "size_factors": size_factors}
    ml, adjusted = (isthmus.fit_glm(counts, "~ group + age", dispersion=d, **options) for d in ("ml", "cox_reid"))
    assert (adjusted.dispersion >= ml.dispersion - 1e-8).all()
    assert ml.dispersion.mean() < 0.24
    assert 0.25 < adjusted.dispersion.mean() < 0.35  # 0.3 was simulated


def test_the_determinant_is_that_of_the_free_parameters(few):
    """Constraints that only identify leave the model, and its dispersion, as they are."""
    counts, cells, size_factors = few
    options = {"cell_data": cells, "size_factors": size_factors, "dispersion": "cox_reid"}
    plain = isthmus.fit_glm(counts, "~ group", **options)
    summed = isthmus.fit_glm(counts, "~ group", constraints={"group": "1"}, **options)
    np.testing.assert_allclose(plain.dispersion, summed.dispersion, rtol=1e-4)


def test_many_cells_need_no_adjustment():
    counts, cells, size_factors = random_problem(3, n_cells=600, n_genes=10, lowest=0.8)
    options = {"cell_data": cells, "size_factors": size_factors}
    ml, adjusted = (isthmus.fit_glm(counts, "~ group", dispersion=d, **options) for d in ("ml", "cox_reid"))
    np.testing.assert_allclose(adjusted.dispersion, ml.dispersion, rtol=0.05)


def test_poisson_counts_stay_at_the_limit():
    rng = np.random.default_rng(0)
    counts = np.tile([3.0, 4.0, 5.0, 4.0], 5)[:, None] + np.zeros((1, 2))
    counts[:, 1] = rng.poisson(4, 20)
    fit = isthmus.fit_glm(
        counts, "~ 1", cell_data=pd.DataFrame(index=range(20)), size_factors=None, dispersion="cox_reid"
    )
    assert fit.status[0] == "poisson_limit"
    assert fit.dispersion[0] == 0


def test_trend_finds_what_was_simulated():
    rng = np.random.default_rng(1)
    means = np.exp(rng.normal(4, 1.5, 3000))
    noise = rng.chisquare(10, 3000) / 10
    trend = fit_trend((0.1 + 3 / means) * noise, means, 10)
    assert trend.asymptotic == pytest.approx(0.1, rel=0.05)
    assert trend.extra == pytest.approx(3, rel=0.1)
    assert trend.prior_variance == 0.25  # all of the spread is sampling: the least
    np.testing.assert_allclose(trend.at(np.array([10.0])), trend.asymptotic + trend.extra / 10)
    assert Trend(0.1, 1, 0.25, 0.25).outliers(np.array([0.2, 0.9]), np.array([10.0, 10.0])).tolist() == [False, True]


# ---- the packages


@pytest.fixture(scope="module")
def problem():
    return peer_problem()


def peer_fit(problem, dispersion):
    counts, cells = problem
    with collected():
        return isthmus.fit_glm(
            counts, "~ condition + batch", cell_data=cells, size_factors="size_factor", dispersion=dispersion
        )


def close(fit, dispersions, within=0.05):
    """Share of genes whose dispersion agrees, of those that have one in the other package."""
    have = dispersions.to_numpy() > 1e-6
    return float((np.abs(fit.dispersion[have] / dispersions[have] - 1) < within).mean())


def test_ml_fold_changes_are_glmgampois(problem):
    """glmGamPoi fits in two stages, so some of its dispersions, and with them fold changes, are off the optimum."""
    table = isthmus.test_glm(peer_fit(problem, "ml"), "condition[T.b]")
    difference = np.abs(table["log2fc"].to_numpy() - peer("glmgampoi")["log2fc_ml"].to_numpy())
    assert np.quantile(difference, 0.95) < 1e-3


def test_cox_reid_is_deseq2s_with_refitted_means(problem):
    assert close(peer_fit(problem, "cox_reid"), peer("deseq2_exact")["genewise"]) > 0.95


def test_trend_and_map_are_deseq2s_with_refitted_means(problem):
    fit, theirs = peer_fit(problem, "trend"), peer("deseq2_exact")
    trend = Trend(**fit.settings["trend"])
    np.testing.assert_allclose(trend.at(fit.mean), theirs["trend"], rtol=0.05)
    assert close(fit, theirs["map"]) > 0.95


def test_trend_and_map_are_those_of_deseq2s_default(problem):
    fit, theirs = peer_fit(problem, "trend"), peer("deseq2")
    np.testing.assert_allclose(Trend(**fit.settings["trend"]).at(fit.mean), theirs["trend"], rtol=0.05)
    assert close(fit, theirs["map"]) > 0.95


def test_genes_without_dispersion_take_no_part_in_the_trend():
    """3 + 3 samples: moments show none in one gene of ten. Were they to take part, 41 % would be within 5 %."""
    counts, cells = peer_problem("dispersion")
    theirs = peer("deseq2", "dispersion")
    options = {"cell_data": cells, "size_factors": "size_factor"}
    with collected():
        fit = isthmus.fit_glm(counts, "~ condition", dispersion="trend", **options)
    np.testing.assert_allclose(Trend(**fit.settings["trend"]).at(fit.mean), theirs["trend"], rtol=0.05)
    assert close(fit, theirs["map"]) > 0.95
    x = isthmus.design_matrix(cells, "~ condition").to_numpy()
    log_size = np.log(fit.size_factors)
    for offset, weights in ((log_size, None), (log_size - 9, None), (log_size, np.full(counts.shape, 3.0))):
        coef = fit.mean_model.coef + np.array([[log_size[0] - offset[0]], [0]])
        shows = shows_dispersion(sp.csr_matrix(counts), x, offset, coef, weights=weights)
        assert (shows == (theirs["genewise"] > 1e-6)).mean() > 0.98  # DESeq2 leaves 1e-8 in the others


@pytest.mark.parametrize(("name", "method", "column"), [("deseq2", "wald", "pval"), ("deseq2", "lrt", "pval_lrt")])
def test_calls_of_the_trend_are_deseq2s(problem, name, method, column):
    fit, theirs = peer_fit(problem, "trend"), peer(name)
    table = isthmus.test_glm(fit, "condition[T.b]", method=method, data=problem[0]).set_index("gene")
    spearman, same = same_calls(table["pval"], theirs[column])
    assert spearman > 0.99
    assert same > 0.97


def test_tests_hold_trended_dispersions(problem):
    """A likelihood ratio between two mean models at the same dispersion, as DESeq2's nbinomLRT."""
    fit = peer_fit(problem, "trend")
    table = isthmus.test_glm(fit, "condition[T.b]", method="lrt", data=problem[0])
    theirs = peer("deseq2_exact")
    alike = np.abs(fit.dispersion / theirs["map"].to_numpy() - 1) < 0.01
    ratio = -np.log10(table["pval"].to_numpy()) / -np.log10(theirs["pval_lrt"].to_numpy())
    assert np.median(np.abs(ratio[alike] - 1)) < 0.01


# ---- rules


def test_message_with_few_residual_degrees_of_freedom(few):
    counts, cells, size_factors = few
    for dispersion, said in (("ml", True), ("cox_reid", False)):
        with collected() as messages:
            isthmus.fit_glm(counts, "~ group", cell_data=cells, size_factors=size_factors, dispersion=dispersion)
        assert any("10 residual degrees of freedom" in text for text in messages) == said


def test_trend_needs_one_dispersion_a_gene(few):
    counts, cells, size_factors = few
    with pytest.raises(InputError, match=r'`dispersion` = "trend" needs one dispersion a gene.*2 free columns'):
        isthmus.fit_glm(
            counts, "~ 1", dispersion_design="~ group", cell_data=cells, size_factors=size_factors, dispersion="trend"
        )


def test_trend_needs_genes(few):
    counts, cells, size_factors = few
    with pytest.raises(InputError, match=r'`dispersion` = "trend" needs at least 20 genes with a dispersion.*got 5'):
        isthmus.fit_glm(counts[:, :5], "~ group", cell_data=cells, size_factors=size_factors, dispersion="trend")


@pytest.mark.parametrize("method", ["lrt", "score"])
def test_ratios_of_dispersions_need_maximum_likelihood(few, method):
    counts, cells, size_factors = few
    options = {"dispersion_design": "~ group", "cell_data": cells, "size_factors": size_factors}
    fit = isthmus.fit_glm(counts, "~ age", dispersion="cox_reid", **options)
    with pytest.raises(InputError, match=f'`method` = "{method}" of the dispersion model needs.*dispersion="cox_reid"'):
        isthmus.test_glm(fit, "group[T.b]", model="dispersion", method=method, data=counts)


def test_unknown_dispersion(few):
    with pytest.raises(InputError, match="`dispersion` must be one of ml, moments, cox_reid, trend; got 'bayes'"):
        isthmus.fit_glm(few[0], "~ 1", dispersion="bayes")
