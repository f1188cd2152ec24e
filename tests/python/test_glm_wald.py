"""`test_glm`: every column computed a second time by hand from the fit's coefficients and covariance."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from glm_cases import estimates, nb_counts, random_problem
from scipy.stats import chi2, f, norm, t

import isthmus
from isthmus.errors import InputError

LN2 = np.log(2)
MEAN = ["Intercept", "group[T.b]", "batch[T.y]", "batch[T.z]", "age"]


@pytest.fixture(scope="module")
def fit():
    counts, cells, size_factors = random_problem(21, n_cells=240, n_genes=30, lowest=0.8)
    return isthmus.fit_glm(
        counts, "~ group + batch + age", dispersion_design="~ group", size_factors=size_factors, cell_data=cells
    )


@pytest.fixture(scope="module")
def constrained():
    counts, cells, size_factors = random_problem(22, n_cells=240, n_genes=10, lowest=0.8)
    return isthmus.fit_glm(
        counts, "~ age + batch", constraints={"batch": "1"}, size_factors=size_factors, cell_data=cells
    )


def by_hand(fit, contrast, *, model="mean", information="expected"):
    """Estimate (genes x rows of the contrast) and covariance of the contrast."""
    contrast = np.atleast_2d(np.asarray(contrast, float))
    p = estimates(fit).shape[1]
    part = slice(0, p) if model == "mean" else slice(p, None)
    covariance = fit.covariance(information=information)[:, part, part]
    return estimates(fit, model).to_numpy() @ contrast.T, contrast @ covariance @ contrast.T


def one_hot(name, names=MEAN):
    return np.array([term == name for term in names], float)


def test_columns_are_those_of_the_contract(fit):
    table = isthmus.test_glm(fit, "group[T.b]")
    assert list(table.columns) == [
        "gene",
        "contrast",
        "method",
        "mean",
        "estimate",
        "log2fc",
        "se",
        "ci_low",
        "ci_high",
        "stat",
        "df",
        "df_resid",
        "pval",
        "padj",
        "log_likelihood",
        "status",
        "estimate_penalized",
    ]
    assert (table["method"] == "wald").all()


@pytest.mark.parametrize("information", ["expected", "observed"])
def test_coefficient_by_name(fit, information):
    table = isthmus.test_glm(fit, "group[T.b]", information=information)
    estimate, covariance = by_hand(fit, one_hot("group[T.b]"), information=information)
    estimate, se = estimate[:, 0], np.sqrt(covariance[:, 0, 0])
    np.testing.assert_allclose(table["estimate"], estimate, rtol=1e-12)
    np.testing.assert_allclose(table["log2fc"], estimate / LN2, rtol=1e-12)
    np.testing.assert_allclose(table["se"], se, rtol=1e-10)
    np.testing.assert_allclose(table["stat"], estimate / se, rtol=1e-10)
    np.testing.assert_allclose(table["pval"], 2 * norm.sf(np.abs(estimate / se)), rtol=1e-9)
    np.testing.assert_allclose(table["ci_low"], estimate - norm.ppf(0.975) * se, rtol=1e-9)
    np.testing.assert_allclose(table["ci_high"], estimate + norm.ppf(0.975) * se, rtol=1e-9)


def test_expected_information_is_the_sum_over_cells(fit):
    """X' diag(mu / (1 + alpha mu)) X, written out from `predict`."""
    mu = fit.predict(type="mean").to_numpy()
    alpha = fit.predict(type="dispersion").to_numpy()
    weights, x = mu / (1 + alpha * mu), np.asarray(fit.design_loc, float)
    covariance = np.linalg.inv(np.einsum("ng,np,nq->gpq", weights, x, x))
    p = x.shape[1]
    np.testing.assert_allclose(fit.covariance(information="expected")[:, :p, :p], covariance, rtol=1e-6)


def test_benjamini_hochberg(fit):
    table = isthmus.test_glm(fit, "age").sort_values("pval")
    m = len(table)
    adjusted = np.minimum(np.minimum.accumulate((table["pval"] * m / np.arange(1, m + 1)).to_numpy()[::-1])[::-1], 1)
    np.testing.assert_allclose(table["padj"], adjusted, rtol=1e-12)


def test_factor_is_a_chi_square_of_all_its_coefficients(fit):
    table = isthmus.test_glm(fit, factor="batch")
    estimate, covariance = by_hand(fit, np.array([one_hot("batch[T.y]"), one_hot("batch[T.z]")]))
    wald = np.einsum("gi,gij,gj->g", estimate, np.linalg.inv(covariance), estimate)
    np.testing.assert_allclose(table["stat"], wald, rtol=1e-8)
    assert (table["df"] == 2).all()
    np.testing.assert_allclose(table["pval"], chi2.sf(wald, 2), rtol=1e-8)
    assert table[["estimate", "log2fc", "se", "ci_low", "ci_high"]].isna().all(axis=None)


def test_factor_with_residual_degrees_of_freedom_is_an_f_test(fit):
    table = isthmus.test_glm(fit, factor="batch", reference="t")
    wald = isthmus.test_glm(fit, factor="batch")["stat"]
    assert (table["df_resid"] == fit.n_cells - 5).all()
    np.testing.assert_allclose(table["pval"], f.sf(wald / 2, 2, fit.n_cells - 5), rtol=1e-8)


def test_t_reference(fit):
    normal, student = isthmus.test_glm(fit, "age"), isthmus.test_glm(fit, "age", reference="t")
    df = fit.n_cells - 5
    np.testing.assert_allclose(student["stat"], normal["stat"])
    np.testing.assert_allclose(student["pval"], 2 * t.sf(normal["stat"].abs(), df), rtol=1e-9)
    half = t.ppf(0.975, df) * normal["se"]
    np.testing.assert_allclose(student["ci_high"] - student["estimate"], half, rtol=1e-9)


CONTRASTS = {
    "string": "batch[T.z] - batch[T.y]",
    "equation": "batch[T.z] = batch[T.y]",
    "vector": one_hot("batch[T.z]") - one_hot("batch[T.y]"),
    "one-row matrix": (one_hot("batch[T.z]") - one_hot("batch[T.y]"))[None],
}


@pytest.mark.parametrize("form", CONTRASTS)
def test_contrast_in_every_form(fit, form):
    table = isthmus.test_glm(fit, contrast=CONTRASTS[form])
    estimate, covariance = by_hand(fit, CONTRASTS["vector"])
    np.testing.assert_allclose(table["estimate"], estimate[:, 0], rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(table["se"], np.sqrt(covariance[:, 0, 0]), rtol=1e-9)


def test_contrast_with_coefficients_and_a_right_hand_side(fit):
    table = isthmus.test_glm(fit, contrast="2*age - group[T.b] = 0.5")
    row = 2 * one_hot("age") - one_hot("group[T.b]")
    estimate, covariance = by_hand(fit, row)
    wald = (estimate[:, 0] - 0.5) / np.sqrt(covariance[:, 0, 0])
    np.testing.assert_allclose(table["stat"], wald, rtol=1e-9)
    np.testing.assert_allclose(table["pval"], 2 * norm.sf(np.abs(wald)), rtol=1e-8)


def test_matrix_contrast_does_not_depend_on_its_basis(fit):
    rows = np.array([one_hot("batch[T.y]"), one_hot("batch[T.z]"), one_hot("age")])
    mixed = np.array([[1.0, 2, 0], [0, 1, -1], [3, 0, 1]]) @ rows
    plain, other = isthmus.test_glm(fit, contrast=rows), isthmus.test_glm(fit, contrast=mixed)
    np.testing.assert_allclose(other["stat"], plain["stat"], rtol=1e-8)
    assert (plain["df"] == 3).all()


def test_dependent_rows_count_once(fit):
    """Three differences of three levels have rank two."""
    rows = np.array([one_hot("batch[T.y]"), one_hot("batch[T.z]"), one_hot("batch[T.z]") - one_hot("batch[T.y]")])
    table, factor = isthmus.test_glm(fit, contrast=rows), isthmus.test_glm(fit, factor="batch")
    assert (table["df"] == 2).all()
    np.testing.assert_allclose(table["stat"], factor["stat"], rtol=1e-8)


@pytest.mark.parametrize("information", ["expected", "observed"])
def test_dispersion_model(fit, information):
    table = isthmus.test_glm(fit, "group[T.b]", model="dispersion", information=information)
    estimate, covariance = by_hand(fit, [0.0, 1.0], model="dispersion", information=information)
    np.testing.assert_allclose(table["estimate"], estimate[:, 0], rtol=1e-12)
    np.testing.assert_allclose(table["stat"], estimate[:, 0] / np.sqrt(covariance[:, 0, 0]), rtol=1e-9)


def test_expected_information_separates_mean_and_dispersion(fit):
    assert (fit.covariance(information="expected")[:, :5, 5:] == 0).all()
    assert (fit.covariance(information="observed")[:, :5, 5:] != 0).any()


def test_constrained_levels_can_be_tested_the_dependent_one_too(constrained):
    names = [term for term in estimates(constrained).columns if term.startswith("batch")]
    assert len(names) == 3
    total = np.zeros(len(constrained.table("genes")))
    for name in names:
        table = isthmus.test_glm(constrained, name)
        row = one_hot(name, estimates(constrained).columns)
        estimate, covariance = by_hand(constrained, row)
        np.testing.assert_allclose(table["estimate"], estimate[:, 0], rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(table["se"], np.sqrt(covariance[:, 0, 0]), rtol=1e-9)
        assert np.isfinite(table["pval"]).all()
        total += table["estimate"].to_numpy()
    np.testing.assert_allclose(total, 0, atol=1e-12)


def test_factor_of_constrained_levels_has_the_rank_of_what_is_free():
    counts, cells, size_factors = random_problem(22, n_cells=240, n_genes=10, lowest=0.8)
    options = {"size_factors": size_factors, "cell_data": cells}
    treated = isthmus.test_glm(isthmus.fit_glm(counts, "~ age + batch", **options), factor="batch")
    summed = isthmus.test_glm(
        isthmus.fit_glm(counts, "~ age + batch", constraints={"batch": "1"}, **options), factor="batch"
    )
    assert (summed["df"] == 2).all()
    np.testing.assert_allclose(summed["stat"], treated["stat"], rtol=1e-5)


def test_contrast_on_a_combination_held_by_a_constraint_is_no_test(constrained):
    """The sum of the levels is zero by construction: it has no variance, and no statistic either."""
    names = [term for term in estimates(constrained).columns if term.startswith("batch")]
    with pytest.raises(InputError, match=r"`contrast`"):
        isthmus.test_glm(constrained, contrast=" + ".join(names))


@pytest.mark.parametrize(("alternative", "tail"), [("greater", norm.sf), ("less", norm.cdf)])
def test_one_sided(fit, alternative, tail):
    both, table = isthmus.test_glm(fit, "age"), isthmus.test_glm(fit, "age", alternative=alternative)
    np.testing.assert_allclose(table["pval"], tail(both["stat"]), rtol=1e-9)


def test_two_sided_is_spelt_as_in_r_too(fit):
    pd.testing.assert_frame_equal(
        isthmus.test_glm(fit, "age", alternative="two.sided"), isthmus.test_glm(fit, "age", alternative="two-sided")
    )


def test_treat(fit):
    """McCarthy & Smyth 2009: both tails beyond the threshold, in log2 units."""
    threshold = 0.3
    both, table = isthmus.test_glm(fit, "group[T.b]"), isthmus.test_glm(fit, "group[T.b]", lfc_threshold=threshold)
    size, se = both["estimate"].abs(), both["se"]
    expected = norm.sf((size - threshold * LN2) / se) + norm.sf((size + threshold * LN2) / se)
    np.testing.assert_allclose(table["pval"], expected, rtol=1e-8)
    assert (table["pval"] >= both["pval"]).all()
    pd.testing.assert_series_equal(table["log2fc"], both["log2fc"])


def test_treat_one_sided(fit):
    both = isthmus.test_glm(fit, "group[T.b]")
    table = isthmus.test_glm(fit, "group[T.b]", lfc_threshold=0.3, alternative="greater")
    expected = norm.sf((both["estimate"] - 0.3 * LN2) / both["se"])
    np.testing.assert_allclose(table["pval"], expected, rtol=1e-8)


def test_p_values_far_in_the_tail_are_not_zero():
    """1 - cdf is 0 beyond 8 standard errors; the survival function goes to 37."""
    rng = np.random.default_rng(0)
    cells = pd.DataFrame({"group": np.repeat(["a", "b"], 300)})
    y = nb_counts(rng, np.repeat([5.0, 15.0], 300)[:, None] * np.ones(5), 0.1)
    table = isthmus.test_glm(isthmus.fit_glm(y, "~ group", cell_data=cells, size_factors=None), "group[T.b]")
    assert (table["stat"] > 15).all()
    assert ((table["pval"] > 0) & (table["pval"] < 1e-50)).all()
    np.testing.assert_allclose(np.log(table["pval"]), np.log(2) + norm.logsf(table["stat"]), rtol=1e-9)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"coef": "nope"}, r"`coef`.*nope.*group\[T\.b\]"),
        ({"coef": ["age", "batch[T.y]"]}, r"`coef` must be one name; got 2 values. Test several at once with `factor`"),
        (
            {"factor": ["age", "batch"]},
            r"`factor` must be one name; got 2 values. Test several at once with `contrast`",
        ),
        ({"contrast": {"age": "a"}}, r"`contrast` must hold numbers; got 'a' for 'age'"),
        ({"factor": "nope"}, r"`factor`.*nope"),
        ({"contrast": np.ones(3)}, r"`contrast`.*3 for 5"),
        ({"contrast": "nope - age"}, r"`contrast`.*nope"),
        ({}, r"`coef`"),
        ({"coef": "age", "factor": "batch"}, r"`coef`.*`factor`"),
        ({"coef": "age", "method": "anova"}, r"`method` must be one of wald, lrt, score, qlf.*anova"),
        ({"coef": "age", "alternative": "sideways"}, r"`alternative`.*sideways"),
        ({"coef": "age", "lfc_threshold": -1.0}, r"`lfc_threshold`.*-1"),
        ({"coef": "age", "information": "both"}, r"`information`.*both"),
        ({"coef": "age", "reference": "cauchy"}, r"`reference`.*cauchy"),
        ({"coef": "age", "model": "variance"}, r"`model`.*variance"),
        ({"factor": "batch", "lfc_threshold": 0.5}, r"`lfc_threshold`"),
        ({"factor": "batch", "alternative": "greater"}, r"`alternative`"),
    ],
)
def test_wrong_arguments(fit, options, match):
    with pytest.raises(InputError, match=f"(?s){match}"):
        isthmus.test_glm(fit, **options)


def test_dispersion_tests_need_a_dispersion_model():
    counts, cells, _ = random_problem(3)
    fit = isthmus.fit_glm(sp.csr_matrix(counts), "~ group", cell_data=cells, noise_model="poisson", size_factors=None)
    with pytest.raises(InputError, match=r"(?s)`model`.*[Pp]oisson"):
        isthmus.test_glm(fit, "Intercept", model="dispersion")


def test_an_unfinished_gene_is_not_ok_because_it_is_separated_elsewhere():
    rng = np.random.default_rng(0)
    group = rng.integers(0, 4, 150)
    x = np.column_stack([np.eye(4)[group], rng.normal(size=(150, 2))])
    z = np.column_stack([np.ones(150), rng.normal(size=150), group == 1])
    mu = np.exp(rng.normal(-2, 2, 60)) * np.exp(x @ rng.normal(0, 1, (6, 60)))
    alpha = np.exp(rng.normal(0, 2, 60)) * np.ones((150, 1))
    y = rng.poisson(np.minimum(rng.gamma(1 / alpha, alpha * mu), 1e6)).astype(float)
    with pytest.warns(isthmus.ConvergenceWarning):
        fit = isthmus.fit_glm(y, x, dispersion_design=z, size_factors=None, max_iter=8)
    both = (fit.status == "separated") & ~fit.converged
    tested = isthmus.test_glm(fit, "x5")[both]
    assert both.any()
    assert (tested["status"] == "not_converged").all()
    assert tested["pval"].isna().all()
