"""Fits whose answer can be written down, and genes on which other software goes wrong."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from glm_cases import awkward_counts, estimates, genes, intercept_only_alpha, nb_counts, nb_log_likelihood
from scipy.stats import nbinom, poisson

import isthmus

NO_TEST = ["stat", "pval", "padj"]


@pytest.fixture(scope="module")
def counts():
    rng = np.random.default_rng(1)
    return nb_counts(rng, np.array([0.8, 3.0, 40.0]) * np.ones((300, 1)), np.array([0.7, 0.3, 0.1]))


@pytest.fixture(scope="module")
def awkward():
    y, cells, names = awkward_counts()
    fit = isthmus.fit_glm(y, "~ group", cell_data=cells, gene_names=names, size_factors=None)
    return fit, pd.DataFrame(y, columns=names), (cells["group"] == "b").to_numpy()


def fit(y, design="~ 1", **options):
    options.setdefault("size_factors", None)
    return isthmus.fit_glm(y, design, **options)


# --- closed forms -----------------------------------------------------------------------------------------------------


def test_poisson_intercept_is_the_log_of_the_mean(counts):
    result = fit(counts, noise_model="poisson")
    table, n = estimates(result), len(counts)
    np.testing.assert_allclose(table["Intercept"], np.log(counts.mean(0)), atol=1e-10)
    np.testing.assert_allclose(estimates(result, column="se")["Intercept"], 1 / np.sqrt(n * counts.mean(0)), rtol=1e-9)
    expected = poisson.logpmf(counts, counts.mean(0)).sum(0)
    np.testing.assert_allclose(genes(result)["log_likelihood"], expected, rtol=1e-11)


def test_poisson_intercept_with_size_factors_is_the_ratio_of_sums(counts):
    size_factors = np.exp(np.random.default_rng(0).normal(0, 0.5, len(counts)))
    result = fit(counts, noise_model="poisson", size_factors=size_factors)
    np.testing.assert_allclose(estimates(result)["Intercept"], np.log(counts.sum(0) / size_factors.sum()), atol=1e-10)
    np.testing.assert_allclose(genes(result)["mean"], (counts / size_factors[:, None]).mean(0), rtol=1e-12)


def test_nb_intercept_is_the_log_of_the_mean_and_alpha_solves_its_equation(counts):
    result, n, mean = fit(counts), len(counts), counts.mean(0)
    alpha = np.array([intercept_only_alpha(y) for y in counts.T])
    np.testing.assert_allclose(estimates(result)["Intercept"], np.log(mean), atol=1e-8)
    np.testing.assert_allclose(estimates(result, "dispersion")["Intercept"], np.log(alpha), atol=1e-7)
    np.testing.assert_allclose(genes(result)["dispersion"], alpha, rtol=1e-7)
    np.testing.assert_allclose(estimates(result, column="se")["Intercept"], np.sqrt((1 / mean + alpha) / n), rtol=1e-7)
    expected = [nb_log_likelihood(y, m, a) for y, m, a in zip(counts.T, mean, alpha, strict=True)]
    np.testing.assert_allclose(genes(result)["log_likelihood"], expected, rtol=1e-10)


def test_saturated_two_groups_are_ratios_of_means_and_group_wise_dispersions():
    rng = np.random.default_rng(2)
    a, b = nb_counts(rng, np.full((200, 2), 4.0), 0.5), nb_counts(rng, np.full((150, 2), 9.0), 0.2)
    cells = pd.DataFrame({"group": ["a"] * 200 + ["b"] * 150})
    result = fit(np.vstack([a, b]), "~ group", dispersion_design="~ group", cell_data=cells)
    mean, dispersion = estimates(result).to_numpy(), estimates(result, "dispersion").to_numpy()
    np.testing.assert_allclose(mean[:, 1], np.log(b.mean(0) / a.mean(0)), atol=1e-8)
    alphas = np.array([[intercept_only_alpha(y) for y in group.T] for group in (a, b)])
    np.testing.assert_allclose(dispersion[:, 0], np.log(alphas[0]), atol=1e-7)
    np.testing.assert_allclose(dispersion[:, 1], np.log(alphas[1] / alphas[0]), atol=1e-7)
    variance = sum((1 / group.mean(0) + alpha) / len(group) for group, alpha in zip((a, b), alphas, strict=True))
    np.testing.assert_allclose(estimates(result, column="se").iloc[:, 1], np.sqrt(variance), rtol=1e-7)
    expected = sum(
        nbinom.logpmf(g, 1 / al, 1 / (1 + al * g.mean(0))).sum(0) for g, al in zip((a, b), alphas, strict=True)
    )
    np.testing.assert_allclose(genes(result)["log_likelihood"], expected, rtol=1e-10)


def test_several_groups_share_one_dispersion_but_keep_their_means():
    """The mean equations sum (y - mu) / (1 + alpha mu) over a group to zero: the group mean solves them."""
    rng = np.random.default_rng(3)
    cells = pd.DataFrame({"batch": np.repeat(["x", "y", "z"], 80)})
    y = nb_counts(rng, np.repeat([1.0, 5.0, 20.0], 80)[:, None] * np.ones(3), 0.4)
    result = fit(y, "~ 0 + batch", cell_data=cells)
    expected = np.log(pd.DataFrame(y).groupby(cells["batch"].to_numpy()).mean().T)
    np.testing.assert_allclose(estimates(result), expected, atol=1e-8)


def test_offset_shifts_the_intercept_and_nothing_else(counts):
    plain, moved = fit(counts), fit(counts, offset=np.full(len(counts), 1.5))
    np.testing.assert_allclose(estimates(moved), estimates(plain) - 1.5, atol=1e-8)
    np.testing.assert_allclose(genes(moved)["log_likelihood"], genes(plain)["log_likelihood"], rtol=1e-12)


def test_offset_per_cell_and_gene(counts):
    shift = np.array([0.0, -2.0, 1.0])
    moved = fit(counts, offset=np.tile(shift, (len(counts), 1)))
    np.testing.assert_allclose(estimates(moved)["Intercept"], np.log(counts.mean(0)) - shift, atol=1e-8)


# --- status -----------------------------------------------------------------------------------------------------------


def test_status_of_each_awkward_gene(awkward):
    result, _, _ = awkward
    assert genes(result)["status"].to_dict() == {
        "plain": "ok",
        "all_zero": "all_zero",
        "separated": "separated",
        "one_count": "separated",  # its only count lies in group a
        "poisson": "poisson_limit",
        "outlier": "ok",
        "huge_mean": "ok",
        "alpha_50": "ok",
        "constant": "poisson_limit",
    }


def test_rows_stay_in_input_order(awkward):
    result, y, _ = awkward
    assert list(genes(result).index) == list(y.columns)
    assert list(isthmus.test_glm(result, "group[T.b]")["gene"]) == list(y.columns)


def test_all_zero_gene_has_no_number(awkward):
    result, _, _ = awkward
    row = genes(result).loc["all_zero"]
    assert row[["dispersion", "log_likelihood"]].isna().all()
    table = result.table("coefficients")
    assert table.loc[table["gene"] == "all_zero", ["estimate", "se"]].isna().all(axis=None)
    tested = isthmus.test_glm(result, "group[T.b]").set_index("gene").loc["all_zero"]
    assert tested[["estimate", "log2fc", "se", "ci_low", "ci_high", *NO_TEST, "log_likelihood"]].isna().all()
    assert tested["status"] == "all_zero"


def test_separated_gene_keeps_its_likelihood_and_has_no_wald_test(awkward):
    result, y, in_b = awkward
    observed = y.loc[~in_b, "separated"].to_numpy()
    alpha = intercept_only_alpha(observed)
    expected = nb_log_likelihood(observed, observed.mean(), alpha)  # the empty group adds nothing in the limit
    assert genes(result).loc["separated", "log_likelihood"] == pytest.approx(expected, abs=1e-6)
    tested = isthmus.test_glm(result, "group[T.b]").set_index("gene").loc["separated"]
    assert np.isnan(tested["se"])
    assert tested["method"] == "lrt"
    assert tested["status"] == "separated"


def test_separation_is_decided_per_contrast(awkward):
    """The intercept is the level of group a, where there are counts: the direction that runs away does not touch it."""
    result, y, in_b = awkward
    tested = isthmus.test_glm(result, "Intercept").set_index("gene").loc["separated"]
    observed = y.loc[~in_b, "separated"].to_numpy()
    alpha = intercept_only_alpha(observed)
    assert tested["estimate"] == pytest.approx(np.log(observed.mean()), abs=1e-6)
    assert tested["se"] == pytest.approx(np.sqrt((1 / observed.mean() + alpha) / len(observed)), rel=1e-5)
    assert np.isfinite(tested[["stat", "pval"]].astype(float)).all()


@pytest.mark.parametrize(("first_age", "status"), [(1.0, "separated"), (0.9, "poisson_limit")])
def test_separation_by_a_continuous_covariate(first_age, status):
    """Counts at the last age only: a steeper slope that pivots there fits the zeros ever better. Two ages stop it."""
    age = np.linspace(-1, 1, 81)
    y = (age >= first_age - 1e-9).astype(float)[:, None]
    result = fit(y, "~ age", cell_data=pd.DataFrame({"age": age}))
    assert genes(result)["status"].iloc[0] == status
    assert np.isfinite(genes(result)["log_likelihood"]).all()
    tested = isthmus.test_glm(result, "age")
    assert tested["se"].isna().iloc[0] == (status == "separated")


def test_single_count_without_groups_is_at_the_poisson_limit():
    y = np.eye(50)[:, :1]
    result = fit(y)
    assert genes(result)["status"].iloc[0] == "poisson_limit"
    assert estimates(result)["Intercept"].iloc[0] == pytest.approx(-np.log(50), abs=1e-8)
    assert genes(result)["log_likelihood"].iloc[0] == pytest.approx(-np.log(50) - 1, abs=1e-8)


@pytest.mark.parametrize("gene", ["poisson", "constant"])
def test_poisson_limit_has_dispersion_zero_and_poisson_inference(awkward, gene):
    result, y, in_b = awkward
    row, observed = genes(result).loc[gene], y[gene].to_numpy()
    assert row["dispersion"] == 0.0
    assert np.isnan(estimates(result, "dispersion").loc[gene, "Intercept"])
    means = np.where(in_b, observed[in_b].mean(), observed[~in_b].mean())
    assert row["log_likelihood"] == pytest.approx(poisson.logpmf(observed, means).sum(), rel=1e-10)
    tested = isthmus.test_glm(result, "group[T.b]").set_index("gene").loc[gene]
    assert tested["se"] == pytest.approx(np.sqrt(1 / observed[in_b].sum() + 1 / observed[~in_b].sum()), rel=1e-8)
    assert np.isfinite(tested["pval"])
    dispersion_test = isthmus.test_glm(result, "Intercept", model="dispersion").set_index("gene").loc[gene]
    assert dispersion_test[NO_TEST].isna().all()


def test_outlier_of_a_million_in_a_sparse_gene():
    rng = np.random.default_rng(4)
    y = rng.poisson(0.05, 300).astype(float)
    y[7] = 1e6
    result, alpha = fit(y[:, None]), intercept_only_alpha(y)
    assert genes(result)["status"].iloc[0] == "ok"
    assert estimates(result)["Intercept"].iloc[0] == pytest.approx(np.log(y.mean()), abs=1e-7)
    assert genes(result)["dispersion"].iloc[0] == pytest.approx(alpha, rel=1e-6)
    assert genes(result)["log_likelihood"].iloc[0] == pytest.approx(nb_log_likelihood(y, y.mean(), alpha), rel=1e-8)


def test_mean_of_a_million():
    """The terms of the likelihood are 1e7 and cancel to about 14 a cell: the sum must still be good to 1e-6."""
    rng = np.random.default_rng(5)
    y = nb_counts(rng, np.full(200, 1e6), 0.1)
    result = fit(y[:, None])
    import mpmath

    alpha = mpmath.mpf(float(genes(result)["dispersion"].iloc[0]))
    mu = mpmath.exp(mpmath.mpf(float(estimates(result)["Intercept"].iloc[0])))
    with mpmath.workdps(40):
        r = 1 / alpha
        exact = sum(
            mpmath.loggamma(v + r) - mpmath.loggamma(r) - mpmath.loggamma(v + 1)
            + r * mpmath.log(r / (r + mu)) + v * mpmath.log(mu / (r + mu))
            for v in map(mpmath.mpf, y.tolist())
        )  # fmt: skip
    assert genes(result)["log_likelihood"].iloc[0] == pytest.approx(float(exact), abs=1e-6)
    assert estimates(result)["Intercept"].iloc[0] == pytest.approx(np.log(y.mean()), abs=1e-8)


def test_dispersion_of_fifty():
    rng = np.random.default_rng(6)
    y = nb_counts(rng, np.full(600, 5.0), 50.0)
    result, alpha = fit(y[:, None]), intercept_only_alpha(y)
    assert alpha > 20
    assert genes(result)["dispersion"].iloc[0] == pytest.approx(alpha, rel=1e-6)


@pytest.mark.parametrize(("count", "status"), [(0.0, "separated"), (5.0, "ok")])
def test_group_of_a_single_cell(count, status):
    rng = np.random.default_rng(7)
    y = nb_counts(rng, np.full(80, 3.0), 0.5)
    y[0] = count
    cells = pd.DataFrame({"group": ["only"] + ["rest"] * 79})
    cells["group"] = pd.Categorical(cells["group"], ["rest", "only"])
    result = fit(y[:, None], "~ group", cell_data=cells)
    assert genes(result)["status"].iloc[0] == status
    if status == "ok":
        assert estimates(result).iloc[0, 1] == pytest.approx(np.log(5 / y[1:].mean()), abs=1e-7)


def test_one_underdispersed_group_in_a_dispersion_design():
    """Group b is underdispersed: its dispersion runs to zero, which leaves the mean model and the likelihood finite."""
    rng = np.random.default_rng(8)
    a, b = nb_counts(rng, np.full(100, 4.0), 0.5), np.tile([3.0, 4.0, 5.0, 4.0], 25)
    cells = pd.DataFrame({"group": ["a"] * 100 + ["b"] * 100})
    result = fit(np.r_[a, b][:, None], "~ group", dispersion_design="~ group", cell_data=cells)
    expected = nb_log_likelihood(a, a.mean(), intercept_only_alpha(a)) + poisson.logpmf(b, 4.0).sum()
    assert genes(result)["log_likelihood"].iloc[0] == pytest.approx(expected, abs=1e-5)
    assert estimates(result).iloc[0].to_numpy() == pytest.approx([np.log(a.mean()), np.log(4 / a.mean())], abs=1e-6)
    tested = isthmus.test_glm(result, "group[T.b]", model="dispersion").iloc[0]
    assert np.isnan(tested["pval"])
    assert np.isfinite(isthmus.test_glm(result, "group[T.b]")["pval"]).all()


def test_rank_deficient_design_is_an_error_that_names_the_aliased_columns(counts):
    cells = pd.DataFrame({"condition": np.repeat(["a", "b"], 150), "donor": np.repeat(["d1", "d2", "d3", "d4"], 75)})
    with pytest.raises(isthmus.errors.InputError, match=r"(?s)`design`.*donor.*constraints"):
        fit(counts, "~ condition + donor", cell_data=cells)


def test_genes_without_a_p_value_take_no_part_in_benjamini_hochberg(awkward):
    result, _, _ = awkward
    tested = isthmus.test_glm(result, "group[T.b]")
    kept = tested["pval"].dropna().sort_values()
    adjusted = (kept * len(kept) / np.arange(1, len(kept) + 1))[::-1].cummin()[::-1].clip(upper=1)
    pd.testing.assert_series_equal(tested["padj"].dropna().loc[kept.index], adjusted, check_names=False, rtol=1e-12)
    assert tested.loc[tested["pval"].isna(), "padj"].isna().all()
