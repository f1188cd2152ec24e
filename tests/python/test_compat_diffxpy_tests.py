"""diffxpy's tests: the same numbers as ours and scipy's, in diffxpy's columns."""

import re

import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats

import isthmus
import isthmus.compat.diffxpy as de
from isthmus import InputError
from isthmus.messages import collected

WALD = ["gene", "pval", "qval", "log2fc", "mean", "zero_mean", "grad", "coef_mle", "coef_sd", "ll"]
GROUPS = ["gene", "pval", "qval", "log2fc", "mean", "zero_mean", "zero_variance"]


def with_gene(adata, gene, values):
    """The counts with other values of one gene."""
    dense = adata.X.toarray()
    dense[:, gene] = values
    return sparse.csr_matrix(dense)


@pytest.fixture(scope="module")
def adata():
    """Two conditions, three clusters without effect, a covariate without effect, a gene that is never seen."""
    group = np.repeat([0.0, 1.0], 150)
    data = isthmus.simulate_counts(300, 12, design=np.column_stack([np.ones(300), group]), seed=3)
    data.X = with_gene(data, 5, 0)
    data.obs["condition"] = np.where(group == 1, "b", "a")
    data.obs["cluster"] = np.tile(["x", "y", "z"], 100)
    data.obs["time"] = np.random.default_rng(0).uniform(0, 1, 300)
    return data


def plain(adata, design, **options):
    return isthmus.fit_glm(adata, design, size_factors=None, **options)


def test_wald_is_our_wald_in_diffxpys_columns(adata):
    tested = de.test.wald(adata, "condition", formula_loc="~ condition + cluster")
    wanted = isthmus.test_glm(plain(adata, "~ condition + cluster"), "condition[T.b]")
    table = tested.summary()
    assert list(table.columns) == WALD
    np.testing.assert_allclose(table["pval"], wanted["pval"], rtol=1e-10)
    np.testing.assert_allclose(table["qval"], wanted["padj"], rtol=1e-10)
    np.testing.assert_allclose(table["log2fc"], wanted["log2fc"], rtol=1e-10)
    np.testing.assert_allclose(table["coef_sd"], wanted["se"], rtol=1e-10)
    assert table["zero_mean"].tolist() == [i == 5 for i in range(12)]
    assert np.nanmax(table["grad"]) < 1e-4
    by_name = de.test.wald(adata, coef_to_test="condition[T.b]", formula_loc="~ condition + cluster")
    pd.testing.assert_frame_equal(by_name.summary(), table)


def test_several_coefficients_have_a_joint_test_and_the_largest_change(adata):
    tested = de.test.wald(adata, "cluster", formula_loc="~ condition + cluster")
    fit = plain(adata, "~ condition + cluster")
    wanted = isthmus.test_glm(fit, factor="cluster")
    np.testing.assert_allclose(tested.pval, wanted["pval"], rtol=1e-10)
    assert "coef_mle" not in tested.summary()
    coef = fit.coef().loc[["cluster[T.y]", "cluster[T.z]"]].to_numpy()
    np.testing.assert_allclose(np.abs(tested.log_fold_change()), np.abs(coef).max(axis=0))
    again = de.test.wald_repeated(tested, coef_to_test=["cluster[T.y]", "cluster[T.z]"])
    np.testing.assert_allclose(again.pval, tested.pval)


def test_wald_takes_constraints_and_tests_constrained_coefficients(adata):
    adata = adata.copy()
    adata.obs["batch"] = np.repeat(["1", "2", "3", "4"], 75)
    tested = de.test.wald(
        adata, coef_to_test="batch[2]", formula_loc="~ condition + batch", constraints_loc={"batch": "condition"}
    )
    groups = isthmus.fit_glm(adata, "~ 0 + batch", size_factors=None)
    half = isthmus.test_glm(groups, contrast={"batch[2]": 0.5, "batch[1]": -0.5})
    np.testing.assert_allclose(tested.log_fold_change(), half["estimate"], atol=1e-6)


def test_likelihood_ratios_are_those_of_two_fits(adata):
    tested = de.test.lrt(adata, "~ condition + cluster", "~ cluster")
    full, reduced = plain(adata, "~ condition + cluster"), plain(adata, "~ cluster")
    stat = 2 * (full.log_likelihood - reduced.log_likelihood)
    np.testing.assert_allclose(tested.pval, stats.chi2.sf(stat, 1), rtol=1e-4)
    np.testing.assert_allclose(tested.log_fold_change(), full.coef().loc["condition[T.b]"])


def test_welch_and_rank_sum_are_scipys(adata):
    values = adata.X.toarray()
    a, b = values[:150], values[150:]
    seen = np.arange(12) != 5
    welch = de.test.t_test(adata, "condition")
    wanted = stats.ttest_ind(b[:, seen], a[:, seen], equal_var=False)
    np.testing.assert_allclose(welch.pval[seen], wanted.pvalue, rtol=1e-8)
    rank = de.test.rank_test(adata, "condition")
    assert np.isnan([rank.pval[5], welch.pval[5]]).all()
    np.testing.assert_allclose(rank.pval[seen], stats.mannwhitneyu(b, a).pvalue[seen], rtol=1e-10)
    for tested in (welch, rank):
        assert list(tested.summary().columns) == GROUPS
        ratio = b[:, seen].mean(axis=0) / a[:, seen].mean(axis=0)
        np.testing.assert_allclose(tested.log2_fold_change()[seen], np.log2(ratio))
        np.testing.assert_allclose(tested.mean, values.mean(axis=0))
    assert welch.zero_variance.tolist() == (~seen).tolist()


def test_groups_without_variance():
    counts = np.column_stack([np.repeat([1.0, 3.0], 10), np.ones(20), np.arange(20.0)])
    labels = np.repeat(["a", "b"], 10)
    sure, unsure = (de.test.t_test(counts, labels, is_sig_zerovar=value) for value in (True, False))
    assert sure.pval[0] == 0
    assert np.isnan(unsure.pval[0])
    assert np.isnan(sure.pval[1])
    assert de.test.t_test(counts, labels, is_logged=True).log_fold_change()[0] == pytest.approx(2.0)


def test_fold_changes_and_logs_of_p_values(adata):
    tested = de.test.wald(adata, "condition", formula_loc="~ condition")
    change = tested.log_fold_change()
    np.testing.assert_allclose(tested.log10_fold_change(), change / np.log(10))
    np.testing.assert_allclose(tested.log_fold_change(base=2), tested.log2_fold_change())
    assert tested.log10_pval_clean(-5).min() == -5
    assert tested.log10_qval_clean()[5] == 0


def test_summaries_are_filtered(adata):
    tested = de.test.wald(adata, "condition", formula_loc="~ condition")
    table = tested.summary()
    assert set(tested.summary(qval_thres=0.05)["gene"]) == set(table["gene"][table["qval"] <= 0.05])
    fold = np.exp2(table["log2fc"])
    assert set(tested.summary(fc_upper_thres=1.5)["gene"]) == set(table["gene"][fold >= 1.5])
    both = tested.summary(fc_upper_thres=1.5, fc_lower_thres=0.7)
    assert set(both["gene"]) == set(table["gene"][(fold >= 1.5) | (fold <= 0.7)])
    assert (tested.summary(mean_thres=100)["mean"] >= 100).all()


@pytest.mark.parametrize("test", ["t-test", "rank", "wald", "lrt"])
def test_two_samples_by_every_test(adata, test):
    tested = de.test.two_sample(adata, "condition", test=test)
    coef = plain(adata, "~ condition").coef().loc["condition[T.b]"]
    seen = np.arange(12) != 5
    np.testing.assert_allclose(tested.log_fold_change()[seen], coef[seen], atol=1e-5)
    strong = np.abs(coef.to_numpy()) > 0.5
    assert strong.sum() > 1
    assert (tested.pval[strong] < 1e-10).all()


@pytest.mark.parametrize("test", ["z-test", "lrt", "t-test", "rank"])
def test_pairs_by_every_test(adata, test):
    tested = de.test.pairwise(adata, "cluster", test=test)
    assert tested.summary().shape[0] == 12
    pair = tested.summary_pair("x", "z")
    assert list(pair.columns) == ["gene", "pval", "qval", "log2fc", "mean"]
    back = tested.summary_pair("z", "x")
    np.testing.assert_array_equal(pair["pval"], back["pval"])
    np.testing.assert_allclose(pair["log2fc"], -back["log2fc"], rtol=1e-12)
    both = tested.summary_pairs(["x"], ["y", "z"])
    smaller = np.fmin(tested.summary_pair("x", "y")["pval"], pair["pval"])
    np.testing.assert_array_equal(both["pval"], smaller)
    part = adata[adata.obs["cluster"].isin(["x", "z"])].copy()
    alone = de.test.two_sample(part, "cluster", test="wald" if test == "z-test" else test)
    if test != "z-test":
        np.testing.assert_allclose(tested.tests(("x", "z")).pval, alone.pval, rtol=1e-8)
    np.testing.assert_allclose(pair["log2fc"], alone.log2_fold_change(), atol=1e-5)


def test_corrections_of_many_tests(adata):
    globally, each = (de.test.pairwise(adata, "cluster", pval_correction=way) for way in ("global", "by_test"))
    np.testing.assert_allclose(each.summary_pair("x", "y")["qval"], each.tests(("x", "y")).qval)
    every = globally.pvals[:3].ravel()
    wanted = stats.false_discovery_control(every[~np.isnan(every)])
    np.testing.assert_allclose(globally.qvals[:3].ravel()[~np.isnan(every)], wanted)


def test_each_group_against_the_rest(adata):
    tested = de.test.versus_rest(adata, "cluster")
    fit = plain(adata, "~ 0 + cluster")
    wanted = isthmus.test_glm(fit, contrast={"cluster[x]": 1.0, "cluster[y]": -0.5, "cluster[z]": -0.5})
    table = tested.summary_group("x")
    np.testing.assert_allclose(table["pval"], wanted["pval"], rtol=1e-6)
    np.testing.assert_allclose(table["log2fc"], wanted["log2fc"], atol=1e-8)
    ranked = de.test.versus_rest(adata, "cluster", test="rank")
    values, inside = adata.X.toarray(), (adata.obs["cluster"] == "y").to_numpy()
    np.testing.assert_allclose(
        ranked.summary_group("y")["pval"].drop(5),
        np.delete(stats.mannwhitneyu(values[inside], values[~inside]).pvalue, 5),
        rtol=1e-8,
    )


def test_parts_are_tested_apart(adata):
    parts = de.test.partition(adata, "cluster")
    factors = np.linspace(0.5, 2, 300)
    tested = parts.two_sample("condition", test="wald", size_factors=factors)
    inside = (adata.obs["cluster"] == "y").to_numpy()
    alone = de.test.two_sample(adata[inside].copy(), "condition", test="wald", size_factors=factors[inside])
    np.testing.assert_allclose(tested.tests("y").pval, alone.pval, rtol=1e-8)
    assert parts.t_test("condition").summary().shape[0] == 12
    assert parts.rank_test(adata.obs["condition"].to_numpy()).names == ["x", "y", "z"]
    assert parts.wald(factor_loc_totest="condition", formula_loc="~ condition").names == ["x", "y", "z"]
    ratios = parts.lrt(full_formula_loc="~ condition", reduced_formula_loc="~ 1")
    smallest = np.fmin.reduce(ratios.pvals)
    np.testing.assert_allclose(ratios.summary()["pval"], smallest, rtol=1e-12)


@pytest.mark.parametrize("basis", ["bs", "cr", "cc"])
@pytest.mark.parametrize("test", ["wald", "lrt"])
def test_a_curve_along_time_is_found(adata, basis, test):
    adata = adata.copy()
    time = adata.obs["time"].to_numpy()
    random = np.random.default_rng(1)
    mean = np.exp(4 + np.sin(2 * np.pi * time))
    adata.X = with_gene(adata, 0, random.poisson(random.gamma(20, mean / 20)))
    tested = de.test.continuous_1d(adata, "time", formula_loc="~ time", df=5, spline_basis=basis, test=test)
    assert tested.pval[0] < 1e-20
    assert tested.argmax("gene1")[0] == pytest.approx(0.25, abs=0.06)
    assert tested.argmin("gene1")[0] == pytest.approx(0.75, abs=0.06)
    assert tested.max("gene1")[0] == pytest.approx(np.exp(5), rel=0.15)
    assert tested.min(["gene1"])[0] == pytest.approx(np.exp(3), rel=0.15)
    assert tested.log_fold_change()[0] == pytest.approx(2, abs=0.25)
    assert (tested.pval[[3, 4, 6]] > 1e-4).all()
    assert tested.curves().shape == (300, 12)


def test_volcano(adata):
    axes = de.test.wald(adata, "condition", formula_loc="~ condition").plot_volcano()
    assert axes.get_xlabel() == "log2 fold change"


def test_options_of_the_old_engine_say_so(adata):
    with collected() as told:
        de.test.wald(adata, "condition", formula_loc="~ condition", backend="numpy", train_args={"nproc": 3})
    assert [text[:12] for text in told] == ["`backend` ha", "`train_args`"]


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda d: de.test.wald(d, formula_loc="~ condition"), "One of `factor_loc_totest` and `coef_to_test`"),
        (lambda d: de.test.wald(d, "age", formula_loc="~ condition"), "must be a term of the location formula; 'age'"),
        (lambda d: de.test.wald(d, coef_to_test="b", formula_loc="~ condition"), "must name coefficients; 'b' is none"),
        (lambda d: de.test.wald_repeated(3, "b"), "`det` must be what"),
        (lambda d: de.test.lrt(d, "~ condition", "~ 1", "~ condition", "~ 1"), "`reduced_formula_scale` must equal"),
        (lambda d: de.test.t_test(d, "cluster"), "`grouping` must have two groups; got 3"),
        (lambda d: de.test.t_test(d, "age"), "no column is named 'age'"),
        (lambda d: de.test.two_sample(d, "condition", test="anova"), "`test` must be one of"),
        (lambda d: de.test.two_sample(d, "condition", size_factors="depth"), "is an option of a model"),
        (lambda d: de.test.pairwise(d, ["a"] * 300), "two groups or more; got 1"),
        (lambda d: de.test.pairwise(d, "cluster", pval_correction="none"), "`pval_correction` must be"),
        (lambda d: de.test.pairwise(d, "cluster").summary_pair("x", "w"), "There is no test of ('x', 'w')"),
        (lambda d: de.test.pairwise(d, "cluster").summary_pairs("x", "x"), "two different groups"),
        (lambda d: de.test.versus_rest(d, "cluster", test="lrt"), "`test` must be one of"),
        (lambda d: de.test.continuous_1d(d, "age"), "there is none named 'age'"),
        (lambda d: de.test.continuous_1d(d, "time", spline_basis="ns"), "`spline_basis` must be"),
        (lambda d: de.test.continuous_1d(d, "time", test="rank"), "`test` must be 'wald' or 'lrt'"),
        (lambda d: de.test.continuous_1d(d, "time", formula_loc="~ condition"), "must have 'time' in it"),
    ],
)
def test_wrong_calls_are_sentences(adata, call, text):
    with pytest.raises(InputError, match=re.escape(text)):
        call(adata)
