"""Tests of groups without a model, and the extremes of fitted curves."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import isthmus
from isthmus import schema
from isthmus.errors import InputError
from isthmus.glm import compare_groups, curve_extremes


@pytest.fixture(scope="module")
def problem() -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(1)
    cells = pd.DataFrame({"group": np.repeat(["a", "b", "c"], 20), "depth": np.exp(rng.normal(0, 0.3, 60))})
    counts = pd.DataFrame(rng.poisson(rng.gamma(2, 2, (60, 5)) * cells[["depth"]].to_numpy())).astype(float)
    counts[3] = 0.0
    counts.loc[:19, 4] = 0.0
    return counts.rename(columns=lambda k: f"g{k}"), cells


@pytest.mark.parametrize("transform", ["log1p", "none"])
def test_welch_and_rank_sum_are_scipys(problem, transform):
    counts, cells = problem
    scaled = counts.to_numpy() / cells[["depth"]].to_numpy()
    values = np.log1p(scaled) if transform == "log1p" else scaled
    for test in ("welch", "rank"):
        found = compare_groups(counts, "group", cell_data=cells, size_factors="depth", test=test, transform=transform)
        assert list(found.columns) == list(schema.TEST_GLM)
        assert found["contrast"].unique().tolist() == ["b - a", "c - a", "c - b"]
        block = found[found["contrast"] == "c - a"].reset_index(drop=True)
        a, c = values[:20], values[40:]
        for g in (0, 1, 2, 4):
            if test == "welch":
                expected = stats.ttest_ind(c[:, g], a[:, g], equal_var=False)
                np.testing.assert_allclose(block["df_resid"][g], expected.df)
            else:
                expected = stats.mannwhitneyu(c[:, g], a[:, g], method="asymptotic")
                assert block["df_resid"][g] == np.inf
            np.testing.assert_allclose(block["stat"][g], expected.statistic)
            np.testing.assert_allclose(block["pval"][g], expected.pvalue)
        ratio = scaled[40:].mean(axis=0)[:3] / scaled[:20].mean(axis=0)[:3]
        np.testing.assert_allclose(block["log2fc"][:3], np.log2(ratio))
        assert block["status"].tolist() == ["ok", "ok", "ok", "all_zero", "ok"]
        assert block.loc[3, ["mean", "pval", "padj", "stat", "estimate"]].isna().all()
        assert block["estimate"][4] == np.inf
        known = block["pval"].notna()
        np.testing.assert_allclose(block["padj"][known], stats.false_discovery_control(block["pval"][known]))


def test_groups_that_cannot_be_compared(problem):
    counts, cells = problem
    for groups, options, message in [
        ("grop", {}, "`groups` must be a column of the cells' data or one label per cell; there is no column 'grop'"),
        (["a"] * 60, {}, "`groups` must be two or more, of two or more cells each; there is one group, 'a'"),
        (["a"] * 59 + ["b"], {}, "`groups` must be two or more, of two or more cells each; 'b' has one"),
        (["a"] * 59 + [None], {}, "`groups` must not be missing"),
        (["a"] * 7, {}, "`groups` must be one column of the cells' data or one label per cell .60.; got 7"),
        ("group", {"test": "t"}, "`test` must be one of welch, rank; got 't'"),
        ("group", {"transform": "log"}, "`transform` must be one of log1p, none; got 'log'"),
    ]:
        with pytest.raises(InputError, match=message):
            compare_groups(counts, groups, cell_data=cells, size_factors=None, **options)


@pytest.mark.parametrize("basis", ["bs(age, df=5)", 'cr(age, df=5, constraints="center")', "ns(age, 5)"])
def test_extremes_lie_where_the_truth_has_them(basis):
    rng = np.random.default_rng(0)
    cells = pd.DataFrame({"age": rng.uniform(0, 10, 600), "batch": rng.choice(["x", "y"], 600)})
    truth = np.column_stack([4 - (cells["age"] - 6) ** 2 / 10, 2 + (cells["age"] - 3) ** 2 / 20])
    counts = rng.poisson(np.exp(truth + 0.5 * (cells[["batch"]] == "y").to_numpy()))
    fit = isthmus.fit_glm(counts, f"~ batch + {basis}", cell_data=cells, size_factors=None)
    found = curve_extremes(fit, "age")
    assert list(found.columns) == list(schema.CURVES)
    np.testing.assert_allclose(found["argmax"], [6, cells["age"].max()], atol=0.6)
    np.testing.assert_allclose(found["argmin"], [cells["age"].min(), 3], atol=0.6)
    np.testing.assert_allclose(found["max"], [np.exp(4), np.exp(2 + 49 / 20)], rtol=0.1)
    np.testing.assert_allclose(found["min"], [np.exp(0.4), np.exp(2)], rtol=0.2)
    np.testing.assert_allclose(found["log2fc"], np.log2(found["max"] / found["min"]))
    term = next(t for t in fit.mean_model.design.terms if "age" in t)
    assert (isthmus.test_glm(fit, factor=term)["pval"] < 1e-10).all()


def test_a_line_has_its_extremes_at_its_ends(problem):
    counts, cells = problem
    fit = isthmus.fit_glm(counts, "~ depth", cell_data=cells, size_factors=None)
    found, slope = curve_extremes(fit, "depth"), fit.coef().loc["depth"]
    rising = (slope > 0).to_numpy()
    known = found["status"] != "all_zero"
    np.testing.assert_array_equal((found["argmax"] == cells["depth"].max())[known], rising[known])
    assert found.loc[3, ["min", "max", "argmin", "argmax", "log2fc"]].isna().all()


def test_curves_that_are_not_there(problem):
    counts, cells = problem
    fit = isthmus.fit_glm(counts, "~ group + group:depth", cell_data=cells, size_factors=None)
    for covariate, message in [
        ("dept", "`covariate` must be a column of the fit's formula .'group', 'depth'.; got 'dept'. Did you mean"),
        ("group", "`covariate` must be numeric; 'group' is a factor"),
        ("depth", "`covariate` must have a term of its own in the formula; 'depth' occurs with other columns only"),
    ]:
        with pytest.raises(InputError, match=message):
            curve_extremes(fit, covariate)
    matrix = isthmus.fit_glm(counts, np.ones((60, 1)), size_factors=None)
    with pytest.raises(InputError, match=r"`covariate` must be a column of the fit's formula .it has none."):
        curve_extremes(matrix, "depth")
