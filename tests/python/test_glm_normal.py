"""The normal noise model: against least squares of statsmodels, closed forms, and a numerical optimiser."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy.optimize import minimize
from scipy.stats import chi2, norm

import isthmus
import isthmus.compat.diffxpy as de
from isthmus.errors import ConvergenceWarning, InputError
from isthmus.glm import cooks_distance, curve_extremes, shrink_glm
from isthmus.messages import collected

N = 120


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    cells = pd.DataFrame(
        {
            "group": np.resize(["a", "b", "c"], N),
            "age": rng.normal(size=N),
            "donor": np.repeat([f"d{i}" for i in range(12)], N // 12),
            "size": np.exp(rng.normal(0, 0.3, N)),
        },
        index=[f"cell{i}" for i in range(N)],
    )
    x = isthmus.design_matrix(cells, "~ group + age").to_numpy()
    spread = np.exp(rng.normal(size=8)) * np.exp(0.4 * (cells["group"].to_numpy() == "b"))[:, None]
    y = x @ rng.normal(size=(4, 8)) + rng.normal(size=(N, 8)) * spread
    return pd.DataFrame(y, index=cells.index, columns=[f"g{k}" for k in range(8)]), cells, x


def test_one_variance_is_least_squares(problem):
    y, cells, x = problem
    fit = isthmus.fit_glm(y, "~ group + age", cell_data=cells, noise_model="normal")
    assert "Normal linear model of 8 genes" in fit.summary()
    assert (fit.status == "ok").all()
    for gene in range(8):
        theirs = sm.OLS(y.iloc[:, gene], x).fit()
        np.testing.assert_allclose(fit.coef().iloc[:, gene], theirs.params, rtol=1e-10)
        np.testing.assert_allclose(fit.standard_errors()[:, gene], theirs.bse * np.sqrt((N - 4) / N), rtol=1e-10)
        assert fit.log_likelihood[gene] == pytest.approx(theirs.llf, abs=1e-9)
        assert fit.dispersion[gene] == pytest.approx(theirs.ssr / N, rel=1e-10)


def test_variance_design_is_at_the_maximum(problem):
    y, cells, x = problem
    fit = isthmus.fit_glm(y, "~ group + age", dispersion_design="~ group", cell_data=cells, noise_model="norm")
    z = isthmus.design_matrix(cells, "~ group").to_numpy()
    for gene in range(3):
        values = y.iloc[:, gene].to_numpy()

        def loss(theta, values=values):
            return -norm.logpdf(values, x @ theta[:4], np.exp(z @ theta[4:] / 2)).sum()

        found = np.concatenate([fit.coef().iloc[:, gene], fit.coef("dispersion").iloc[:, gene]])
        best = minimize(loss, found + 0.1, method="BFGS", options={"gtol": 1e-7})
        np.testing.assert_allclose(found, best.x, atol=2e-5)
        assert fit.log_likelihood[gene] == pytest.approx(-best.fun, abs=1e-8)
        step = 1e-4
        numeric = np.empty((7, 7))
        for i, e in enumerate(np.eye(7) * step):
            for j, f in enumerate(np.eye(7) * step):
                pairs = ((1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1))
                numeric[i, j] = sum(s * loss(found + a * e + b * f) for a, b, s in pairs) / (4 * step**2)
        np.testing.assert_allclose(fit.neg_hessian[gene], numeric, rtol=1e-4, atol=1e-3)


def test_tests_are_those_of_linear_models(problem):
    y, cells, x = problem
    fit = isthmus.fit_glm(y, "~ group + age", cell_data=cells, noise_model="normal")
    tables = {m: isthmus.test_glm(fit, "age", method=m, data=y) for m in ("wald", "lrt", "score")}
    for gene in range(8):
        full, null = sm.OLS(y.iloc[:, gene], x).fit(), sm.OLS(y.iloc[:, gene], x[:, :3]).fit()
        ratio = N * np.log(null.ssr / full.ssr)
        assert tables["lrt"]["stat"][gene] == pytest.approx(ratio, rel=1e-8)
        assert tables["lrt"]["pval"][gene] == pytest.approx(chi2.sf(ratio, 1), rel=1e-6)
        assert tables["wald"]["stat"][gene] == pytest.approx(full.tvalues.iloc[3] * np.sqrt(N / (N - 4)), rel=1e-8)
        assert tables["score"]["stat"][gene] ** 2 == pytest.approx(N * (1 - full.ssr / null.ssr), rel=1e-8)
    assert np.isnan(tables["wald"]["log2fc"]).all()
    joint = isthmus.test_glm(fit, factor="group", method="lrt", data=y)
    assert (joint["df"] == 2).all()


def test_variances_of_groups_are_compared(problem):
    """Without a mean model beyond the groups, the ratio is Bartlett's without its correction."""
    y, cells, _ = problem
    fit = isthmus.fit_glm(y, "~ group", dispersion_design="~ group", cell_data=cells, noise_model="normal")
    table = isthmus.test_glm(fit, factor="group", model="dispersion", method="lrt", data=y)
    own = y.groupby(cells["group"]).var(ddof=0)
    stat = N * np.log(own.mean()) - N / 3 * np.log(own).sum()
    np.testing.assert_allclose(table["stat"], stat, rtol=1e-7)
    np.testing.assert_allclose(table["pval"], chi2.sf(stat, 2), rtol=1e-5)


def test_replicates_have_the_variance_of_clusters(problem):
    y, cells, x = problem
    fit = isthmus.fit_glm(y, "~ group + age", cell_data=cells, noise_model="normal")
    table = isthmus.test_glm(fit, "age", replicate="donor", sandwich="CR0", data=ad.AnnData(y, obs=cells))
    groups = pd.factorize(cells["donor"])[0]
    for gene in range(8):
        kwds = {"groups": groups, "use_correction": False}
        theirs = sm.OLS(y.iloc[:, gene], x).fit(cov_type="cluster", cov_kwds=kwds)
        assert table["se"][gene] == pytest.approx(theirs.bse.iloc[3], rel=1e-8)


def test_size_factors_multiply_and_offsets_add(problem):
    y, cells, x = problem
    offset = np.linspace(-1, 1, N)
    options = {"cell_data": cells, "noise_model": "normal"}
    fit = isthmus.fit_glm(y, "~ group + age", size_factors="size", offset=offset, **options)
    size = cells["size"].to_numpy()[:, None]
    theirs = np.linalg.lstsq(size * x, y.to_numpy() - offset[:, None], rcond=None)[0]
    np.testing.assert_allclose(fit.coef(), theirs, rtol=1e-9)
    np.testing.assert_allclose(fit.predict(), size * (x @ theirs) + offset[:, None], rtol=1e-9)
    new = fit.predict(cells[:3], size_factors=[1, 2, 3], offset=0.5)
    np.testing.assert_allclose(new, np.array([[1], [2], [3]]) * (x[:3] @ theirs) + 0.5, rtol=1e-9)
    rest = y.to_numpy() - fit.predict().to_numpy()
    np.testing.assert_allclose(fit.residuals(y, "response"), rest, rtol=1e-9)
    np.testing.assert_allclose(fit.residuals(y), rest / np.sqrt(fit.dispersion), rtol=1e-9)
    several = np.tile(offset[:, None], (1, 8))
    by_gene = isthmus.fit_glm(y, "~ group + age", size_factors="size", offset=several, **options)
    np.testing.assert_allclose(by_gene.coef(), fit.coef(), rtol=1e-9)
    lrt = isthmus.test_glm(by_gene, "age", method="lrt", data=y, offset=several)
    np.testing.assert_allclose(lrt["stat"], isthmus.test_glm(fit, "age", method="lrt", data=y)["stat"], rtol=1e-8)


def test_constraints_and_weights(problem):
    y, cells, x = problem
    options = {"cell_data": cells, "noise_model": "normal"}
    summed = isthmus.fit_glm(y, "~ group + age", constraints={"group": "1"}, **options)
    plain = isthmus.fit_glm(y, "~ group + age", **options)
    np.testing.assert_allclose(summed.log_likelihood, plain.log_likelihood, rtol=1e-10)
    fixed = isthmus.fit_glm(y, "~ group + age", constraints=["age = 0.5"], **options)
    theirs = np.linalg.lstsq(x[:, :3], y.to_numpy() - 0.5 * x[:, 3:], rcond=None)[0]
    np.testing.assert_allclose(fixed.coef().to_numpy()[:3], theirs, rtol=1e-8)
    weights = np.resize([1.0, 2.0, 0.0], N)
    rows = np.repeat(np.arange(N), weights.astype(int))
    several = isthmus.fit_glm(y.iloc[rows].reset_index(drop=True), x[rows][:, [0, 3]], noise_model="normal")
    weighted = isthmus.fit_glm(y, x[:, [0, 3]], weights=weights, noise_model="normal")
    np.testing.assert_allclose(weighted.log_likelihood, several.log_likelihood, rtol=1e-9)
    np.testing.assert_allclose(weighted.coef(), several.coef(), rtol=1e-9)


def test_a_saved_fit_and_levels(problem, tmp_path):
    y, cells, _ = problem
    fits = isthmus.fit_glm(y, "~ age", by="group", cell_data=cells, noise_model="normal")
    isthmus.save_fit(fits, tmp_path / "fits")
    again = isthmus.load_fit(tmp_path / "fits")
    tests = [isthmus.test_glm(f, "age", method="lrt", data=y) for f in (fits, again)]
    pd.testing.assert_frame_equal(*tests)
    own = (cells["group"] == "b").to_numpy()
    alone = isthmus.fit_glm(y[own], "~ age", cell_data=cells[own], noise_model="normal")
    np.testing.assert_allclose(fits["b"].coef(), alone.coef(), rtol=1e-12)


def test_genes_without_variance_have_no_test(problem):
    y, cells, x = problem
    odd = y.copy()
    odd["g0"], odd["g1"], odd["g2"] = 0.0, x @ [1.0, 2, 3, 4], 5.0
    with pytest.warns(ConvergenceWarning, match="2 genes of 8 did not converge"):
        fit = isthmus.fit_glm(odd, "~ group + age", cell_data=cells, noise_model="normal")
    assert fit.status[:4].tolist() == ["all_zero", "not_converged", "not_converged", "ok"]
    for method in ("wald", "lrt", "score"):
        table = isthmus.test_glm(fit, "age", method=method, data=odd)
        assert np.isnan(table["pval"][:3]).all()
        assert np.isfinite(table["pval"][3:]).all()


def test_names_of_diffxpy(problem):
    y, cells, x = problem
    data = ad.AnnData(y, obs=cells)
    with collected():
        estimator = de.fit.model(data, formula_loc="~ 1 + group + age", as_numeric=["age"], noise_model="norm")
    theirs = np.linalg.lstsq(x, y.to_numpy(), rcond=None)[0]
    np.testing.assert_allclose(np.asarray(estimator.a_var), theirs, rtol=1e-8)
    spread = np.sqrt(((y.to_numpy() - x @ theirs) ** 2).mean(axis=0))
    np.testing.assert_allclose(np.asarray(estimator.b_var)[0], np.log(spread), rtol=1e-8)
    np.testing.assert_allclose(estimator.model.scale[0], spread, rtol=1e-8)
    curvature = np.einsum("gii->gi", np.asarray(estimator.fit.hessian))[:, -1]
    np.testing.assert_allclose(curvature, -2 * N, rtol=1e-8)  # in the log standard deviation
    with collected() as messages:
        de.fit.model(data, formula_loc="~ 1", noise_model="normal", quick_scale=True, init_b=np.zeros((1, 8)))
    assert any("`quick_scale`" in text for text in messages)


def test_message_with_few_samples(problem):
    y, cells, _ = problem
    with collected() as messages:
        isthmus.fit_glm(y[:20], "~ age", cell_data=cells[:20], noise_model="normal")
    assert len(messages) == 1
    assert '`noise_model` = "normal" with 18 residual degrees of freedom' in messages[0]


def test_a_group_without_variance_is_told_and_leaves_other_genes_alone(problem):
    """As a gene that one group does not express after log(1 + x): its likelihood has no maximum."""
    y, cells, _ = problem
    flat = y.copy()
    flat.loc[(cells["group"] == "a").to_numpy(), ["g1", "g5"]] = -0.25
    flat["g6"] = 3.0
    options = {"cell_data": cells, "dispersion_design": "~ group", "noise_model": "normal"}
    with pytest.warns(ConvergenceWarning, match="3 genes of 8 did not converge"):
        fit = isthmus.fit_glm(flat, "~ group + age", **options)
    assert list(np.flatnonzero(fit.status == "not_converged")) == [1, 5, 6]
    assert np.isnan(isthmus.test_glm(fit, "age")["pval"][[1, 5, 6]]).all()
    rest = [0, 2, 3, 4, 7]
    own = isthmus.fit_glm(y.iloc[:, rest], "~ group + age", **options)
    np.testing.assert_allclose(fit.log_likelihood[rest], own.log_likelihood, rtol=1e-10)


@pytest.mark.parametrize("spread", ["~ 1", "~ group"])
def test_a_group_of_weight_zero_leaves_its_parameters_without_an_estimate(problem, spread):
    """And all others where a fit without its cells puts them."""
    y, cells, _ = problem
    weights, seen = np.ones(y.shape), (cells["group"] != "b").to_numpy()
    weights[~seen, 3] = 0
    options = {"dispersion_design": spread, "noise_model": "normal"}
    fit = isthmus.fit_glm(y, "~ group + age", cell_data=cells, weights=weights, **options)
    assert list(fit.status) == ["ok"] * 3 + ["separated"] + ["ok"] * 4
    own = isthmus.fit_glm(y[seen], "~ group + age", cell_data=cells[seen], **options)
    for coef in ("group[T.c]", "age"):
        for method in ("wald", "lrt"):
            table = isthmus.test_glm(fit, coef, method=method, data=y, weights=weights)
            wanted = isthmus.test_glm(own, coef, method=method, data=y[seen])
            for column in ("estimate", "se", "pval"):
                assert table[column][3] == pytest.approx(wanted[column][3], rel=1e-6, nan_ok=True), (coef, method)
    for method in ("wald", "lrt", "score"):
        table = isthmus.test_glm(fit, "group[T.b]", method=method, data=y, weights=weights)
        assert np.isnan(table["pval"][3])
        assert np.isnan(table["estimate"][3])
        assert table["status"][3] == "separated"


def test_wrong_calls_are_sentences(problem):
    y, cells, _ = problem
    options = {"cell_data": cells, "noise_model": "normal"}
    with pytest.raises(InputError, match=r'`dispersion` must be "ml" where `noise_model` is "normal"'):
        isthmus.fit_glm(y, "~ age", dispersion="trend", **options)
    with pytest.raises(InputError, match=r"`data` must be finite; got 1 missing or infinite value \(nan in cell"):
        isthmus.fit_glm(y.mask(y == y.iloc[3, 2]), "~ age", **options)
    with pytest.raises(InputError, match="`noise_model` must be 'nb', 'poisson' or 'normal'; got 'beta'"):
        isthmus.fit_glm(y, "~ age", cell_data=cells, noise_model="beta")
    fit = isthmus.fit_glm(y, "~ age", **options)
    with pytest.raises(InputError, match=r'`fit` must be of counts for method="qlf"; it has noise_model="normal"'):
        isthmus.test_glm(fit, "age", method="qlf", data=y)
    with pytest.raises(InputError, match="`fit` must be of counts for `lfc_threshold`"):
        isthmus.test_glm(fit, "age", lfc_threshold=1)
    for call in (
        lambda: cooks_distance(fit, y),
        lambda: shrink_glm(fit, "age", data=y),
        lambda: curve_extremes(fit, "age"),
    ):
        with pytest.raises(InputError, match="`fit` must be of counts for"):
            call()
    other = y.copy()
    other.iloc[0, 0] += 1
    with pytest.raises(InputError, match="the means of 'g0' differ"):
        isthmus.test_glm(fit, "age", method="lrt", data=other)
