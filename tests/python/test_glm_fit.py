"""What a fit gives besides estimates: predictions, residuals, ported names; and the rules of its arguments."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from glm_cases import awkward_counts, estimates, genes, nb_counts, random_problem
from scipy.stats import kstest

import isthmus
from isthmus.errors import ConvergenceWarning, InputError


@pytest.fixture(scope="module")
def problem():
    return random_problem(41, n_cells=200, n_genes=6, lowest=0.8)


@pytest.fixture(scope="module")
def fit(problem):
    counts, cells, size_factors = problem
    return isthmus.fit_glm(
        counts, "~ group + age", dispersion_design="~ group", size_factors=size_factors, cell_data=cells
    )


# --- predictions ------------------------------------------------------------------------------------------------------


def test_predictions_for_the_cells_of_the_fit(fit, problem):
    _, cells, size_factors = problem
    in_b = (cells["group"] == "b").to_numpy(float)
    a, b = estimates(fit).to_numpy(), estimates(fit, "dispersion").to_numpy()
    eta = np.column_stack([np.ones(len(cells)), in_b, cells["age"]]) @ a.T + np.log(size_factors)[:, None]
    np.testing.assert_allclose(fit.predict(type="link"), eta, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(fit.predict(), np.exp(eta), rtol=1e-12)
    np.testing.assert_allclose(
        fit.predict(type="dispersion"), np.exp(np.column_stack([np.ones(len(cells)), in_b]) @ b.T), rtol=1e-12
    )


def test_predictions_for_new_cells_use_the_encoding_of_the_fit(fit):
    """One new cell, of group b: encoded by itself it would be the first level."""
    new = pd.DataFrame({"group": ["b"], "age": [0.5]}, index=["new"])
    a = estimates(fit)
    expected = a["Intercept"] + a["group[T.b]"] + 0.5 * a["age"]
    np.testing.assert_allclose(fit.predict(new, type="link").loc["new"], expected, rtol=1e-12, atol=1e-12)
    doubled = fit.predict(new, size_factors=2.0, offset=0.1).loc["new"]
    np.testing.assert_allclose(doubled, 2 * np.exp(expected + 0.1), rtol=1e-12)


def test_prediction_of_an_unknown_level_is_an_error(fit):
    with pytest.raises(InputError, match=r"(?s)`newdata`.*group"):
        fit.predict(pd.DataFrame({"group": ["c"], "age": [0.0]}))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (
            {"size_factors": np.ones(3)},
            r"`size_factors` must have one number per new cell \(2\), or one for all; got 3",
        ),
        ({"size_factors": "sum"}, r"`size_factors`.*got 'sum'"),
        ({"size_factors": -1}, r"`size_factors` must be positive; got 1 value that is not"),
        ({"offset": np.ones(3)}, r"`offset` must hold one value per cell \(2\) or per cell and gene \(2 x 6\); got 3"),
        ({"offset": "age"}, r"`offset` must be numbers"),
        ({"offset": np.nan}, r"`offset` must be finite"),
    ],
)
def test_wrong_size_factors_and_offsets_of_new_cells(fit, options, match):
    new = pd.DataFrame({"group": ["a", "b"], "age": [0.0, 1.0]})
    with pytest.raises(InputError, match=match):
        fit.predict(new, **options)


def test_the_cells_of_the_fit_keep_their_size_factors(fit):
    """They would be ignored without a word otherwise."""
    with pytest.raises(InputError, match=r"`size_factors` is for new cells"):
        fit.predict(size_factors=2.0)
    with pytest.raises(InputError, match=r"`offset` is for new cells"):
        fit.predict(offset=np.ones(200))


def test_unknown_prediction_type(fit):
    with pytest.raises(InputError, match=r"`type` must be 'mean', 'link' or 'dispersion'; got 'variance'"):
        fit.predict(type="variance")


# --- residuals --------------------------------------------------------------------------------------------------------


def test_response_and_pearson_residuals(fit, problem):
    y, mu, alpha = problem[0].toarray(), fit.predict().to_numpy(), fit.predict(type="dispersion").to_numpy()
    np.testing.assert_allclose(fit.residuals(problem[0], type="response"), y - mu, atol=1e-10)
    np.testing.assert_allclose(
        fit.residuals(problem[0]), (y - mu) / np.sqrt(mu + alpha * mu**2), rtol=1e-10, atol=1e-12
    )


def test_squared_deviance_residuals_sum_to_the_deviance(fit, problem):
    """Twice the log-likelihood lost against mu = y, at the dispersion of the fit."""
    from isthmus._reference.nb import negative_binomial_terms

    y, mu, alpha = problem[0].toarray(), fit.predict().to_numpy(), fit.predict(type="dispersion").to_numpy()

    def value(mean):
        return negative_binomial_terms(y.ravel(), np.log(mean).ravel(), np.log(alpha).ravel()).value.reshape(y.shape)

    residuals = fit.residuals(problem[0], type="deviance").to_numpy()
    np.testing.assert_allclose(residuals**2, 2 * (value(np.maximum(y, 1e-300)) - value(mu)), rtol=1e-6, atol=1e-8)
    assert (np.sign(residuals) == np.sign(y - mu)).all()


def test_quantile_residuals_are_standard_normal_and_seeded():
    rng = np.random.default_rng(1)
    y = nb_counts(rng, np.array([0.5, 5.0, 500.0]) * np.ones((2000, 1)), 0.5)
    fit = isthmus.fit_glm(y, size_factors=None)
    residuals = fit.residuals(y, type="quantile", seed=3)
    for gene in residuals:
        # 1.63 / sqrt(2000) = 0.036 is passed by one sample in a hundred of a true normal.
        assert kstest(residuals[gene], "norm").statistic < 0.036
    pd.testing.assert_frame_equal(residuals, fit.residuals(y, type="quantile", seed=3))
    assert not residuals.equals(fit.residuals(y, type="quantile", seed=4))


@pytest.mark.parametrize("kind", ["response", "pearson", "deviance", "quantile"])
def test_residuals_of_awkward_genes_are_finite_except_where_nothing_was_fitted(kind):
    y, cells, names = awkward_counts()
    fit = isthmus.fit_glm(y, "~ group", cell_data=cells, gene_names=names, size_factors=None)
    residuals = fit.residuals(y, type=kind)
    assert residuals["all_zero"].isna().all()
    assert np.isfinite(residuals.drop(columns="all_zero")).all(axis=None)


def test_residuals_need_the_same_genes(fit, problem):
    with pytest.raises(InputError, match=r"`data`.*200 cells x 6 genes; got 200 x 5"):
        fit.residuals(problem[0][:, :5])
    with pytest.raises(InputError, match=r"`seed` must be a whole number"):
        fit.residuals(problem[0], type="quantile", seed=0.5)
    with pytest.raises(InputError, match=r"`type`.*pearson.*got 'raw'"):
        fit.residuals(problem[0], type="raw")


def test_residuals_need_the_genes_and_cells_in_the_order_of_the_fit():
    counts = pd.DataFrame(np.random.default_rng(0).poisson(3.0, (60, 3)), columns=list("abc"))
    counts.index = [f"c{i}" for i in range(60)]
    fit = isthmus.fit_glm(counts, size_factors=None)
    assert fit.residuals(counts.to_numpy()).equals(fit.residuals(counts))
    with pytest.raises(InputError, match=r"`data` must hold the cells of the fit in the fit's order"):
        fit.residuals(counts[::-1])
    with pytest.raises(InputError, match=r"`data` must hold the genes of the fit in the fit's order"):
        fit.residuals(counts[["c", "b", "a"]])


def test_the_covariance_of_one_gene_by_its_name(fit):
    gene = str(fit.gene_names[2])
    np.testing.assert_array_equal(fit.covariance(genes=gene)[0], fit.covariance()[2])
    with pytest.raises(InputError, match=r"`gene`.*got 'zz'"):
        fit.covariance(genes="zz")


# --- names of batchglm ------------------------------------------------------------------------------------------------


def test_attributes_of_batchglm_speak_of_log_r(fit):
    np.testing.assert_allclose(fit.par_link_loc, estimates(fit).T)
    np.testing.assert_allclose(fit.par_link_scale, -estimates(fit, "dispersion").T)
    p, q = fit.design_loc.shape[1], fit.design_scale.shape[1]
    assert (p, q) == (3, 2)
    assert fit.a_var.shape == (3, 6)
    assert fit.b_var.shape == (2, 6)
    np.testing.assert_allclose(fit.fisher_inv, fit.covariance()[:, :p, :p])
    np.testing.assert_array_equal(fit.constraints_loc, np.eye(3))
    np.testing.assert_array_equal(fit.constraints_scale, np.eye(2))
    flip = np.diag([1.0] * p + [-1.0] * q)  # log r = -log alpha
    np.testing.assert_allclose(np.linalg.inv(-fit.hessian), flip @ fit.covariance("observed") @ flip, rtol=1e-6)
    errors = np.sqrt(np.diagonal(fit.covariance("observed"), axis1=1, axis2=2))
    assert np.abs(fit.jacobian * errors).max() < 1e-3


def test_summary_counts_the_statuses():
    y, cells, names = awkward_counts()
    text = isthmus.fit_glm(y, "~ group", cell_data=cells, gene_names=names, size_factors=None).summary()
    for part in ("9 genes in 200 cells", "4 ok", "2 poisson_limit", "2 separated", "1 all_zero", "~ group"):
        assert part in text


# --- the arguments ----------------------------------------------------------------------------------------------------


def test_the_callers_objects_are_left_as_they_were(problem):
    counts, cells, size_factors = problem
    adata = ad.AnnData(counts.copy(), obs=cells.copy())
    adata.obs["size_factors"] = size_factors
    before = adata.copy()
    isthmus.fit_glm(adata, "~ group + age")
    pd.testing.assert_frame_equal(adata.obs, before.obs)
    assert list(adata.uns) == list(before.uns)
    assert (adata.X != before.X).nnz == 0


def test_stored_size_factors_are_used(problem):
    counts, cells, size_factors = problem
    stored = ad.AnnData(counts.copy(), obs=cells.assign(size_factors=size_factors))
    given = isthmus.fit_glm(counts, "~ group", cell_data=cells, size_factors=size_factors)
    pd.testing.assert_frame_equal(
        genes(isthmus.fit_glm(stored, "~ group")).reset_index(drop=True), genes(given).reset_index(drop=True)
    )


def test_moment_dispersions_refit_the_mean_only(problem):
    counts, cells, size_factors = problem
    options = {"cell_data": cells, "size_factors": size_factors}
    ml, moments = (isthmus.fit_glm(counts, "~ group", dispersion=kind, **options) for kind in ("ml", "moments"))
    assert (genes(moments)["log_likelihood"] <= genes(ml)["log_likelihood"] + 1e-6).all()
    # The mean's own score is zero at the dispersion that was chosen.
    mu, alpha = moments.predict().to_numpy(), moments.predict(type="dispersion").to_numpy()
    score = np.asarray(moments.design_loc).T @ ((counts.toarray() - mu) / (1 + alpha * mu))
    errors = np.sqrt(np.diagonal(moments.fisher_inv, axis1=1, axis2=2)).T
    assert np.abs(score * errors).max() < 1e-3
    assert not np.allclose(genes(moments)["dispersion"], genes(ml)["dispersion"], rtol=1e-3)


STARTS = ["auto", "standard", "closed_form", "zero"]


def test_moments_need_groups_of_cells(problem):
    """A moment estimate from single cells would be a number without meaning."""
    counts, cells, _ = problem
    options = {"cell_data": cells, "size_factors": None, "dispersion": "moments"}
    with pytest.raises(InputError, match=r"`dispersion_design` with dispersion=\"moments\" needs groups.*at most 100"):
        isthmus.fit_glm(counts, "~ group", dispersion_design="~ age", **options)


@pytest.mark.parametrize("init", STARTS)
@pytest.mark.parametrize("dispersion_init", STARTS)
def test_starts_lead_to_one_optimum(problem, init, dispersion_init):
    counts, cells, size_factors = problem
    options = {"cell_data": cells, "size_factors": size_factors, "dispersion_design": "~ group"}
    plain = isthmus.fit_glm(counts, "~ group", **options)
    started = isthmus.fit_glm(counts, "~ group", init=init, dispersion_init=dispersion_init, **options)
    np.testing.assert_allclose(genes(started)["log_likelihood"], genes(plain)["log_likelihood"], atol=1e-6)


def test_starts_as_arrays(problem, fit):
    """From the optimum no step is left to take."""
    counts, cells, size_factors = problem
    started = isthmus.fit_glm(
        counts, "~ group + age", dispersion_design="~ group", size_factors=size_factors, cell_data=cells,
        init=estimates(fit).to_numpy().T, dispersion_init=estimates(fit, "dispersion").to_numpy().T,
    )  # fmt: skip
    np.testing.assert_allclose(genes(started)["log_likelihood"], genes(fit)["log_likelihood"], atol=1e-7)
    assert (genes(started)["n_iter"] <= 2).all()


@pytest.mark.parametrize("start", [-80.0, -30.0, 40.0])
def test_starts_from_afar_lead_to_the_optimum(problem, fit, start):
    """log alpha = -30 is the Poisson limit in double precision; a fit that starts there never leaves it."""
    counts, cells, size_factors = problem
    started = isthmus.fit_glm(
        counts, "~ group + age", dispersion_design="~ group", size_factors=size_factors, cell_data=cells,
        init=np.full((3, 6), start), dispersion_init=np.full((2, 6), start),
    )  # fmt: skip
    np.testing.assert_allclose(genes(started)["log_likelihood"], genes(fit)["log_likelihood"], atol=1e-7)
    assert list(genes(started)["status"]) == list(genes(fit)["status"])


def test_too_few_iterations_warn_and_are_a_status(problem):
    counts, cells, size_factors = problem
    with pytest.warns(ConvergenceWarning, match=r"`?max_iter"):
        short = isthmus.fit_glm(counts, "~ group + age", max_iter=1, cell_data=cells, size_factors=size_factors)
    assert (genes(short)["status"] == "not_converged").any()
    tested = isthmus.test_glm(short, "age")
    assert tested.loc[tested["status"] == "not_converged", "pval"].isna().all()


def test_a_dispersion_that_is_wholly_held_is_refused(problem):
    """Without a free dispersion parameter the kernel would fit Poisson, not the dispersion that was asked for."""
    counts, cells, _ = problem
    with pytest.raises(InputError, match=r"`dispersion_constraints` must leave a parameter"):
        isthmus.fit_glm(counts, size_factors=None, cell_data=cells, dispersion_constraints=["Intercept = -1"])


def test_part_of_the_dispersion_can_be_held(problem):
    """The dispersions of the groups are held at the ratio 2: that ratio is an offset of log alpha."""
    counts, cells, size_factors = problem
    options = {"cell_data": cells, "size_factors": size_factors, "dispersion_design": "~ group"}
    held = isthmus.fit_glm(counts, "~ group", dispersion_constraints=[f"group[T.b] = {float(np.log(2))!r}"], **options)
    free = isthmus.fit_glm(counts, "~ group", **options)
    alpha = held.predict(type="dispersion").groupby(cells["group"]).first()
    np.testing.assert_allclose(alpha.loc["b"] / alpha.loc["a"], 2.0, rtol=1e-10)
    assert (genes(held)["log_likelihood"] <= genes(free)["log_likelihood"] + 1e-7).all()
    # The free dispersion coefficient is at its best: the score of the likelihood along it is zero.
    from isthmus._reference.nb import negative_binomial_terms

    eta, lam = held.predict(type="link").to_numpy(), np.log(held.predict(type="dispersion").to_numpy())
    terms = negative_binomial_terms(counts.toarray().ravel(), eta.ravel(), lam.ravel())
    score = terms.l.reshape(eta.shape).sum(0)
    assert np.abs(score * estimates(held, "dispersion", "se")["Intercept"]).max() < 1e-3


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"noise_model": "gamma"}, r"`noise_model`.*nb.*poisson.*gamma"),
        ({"dispersion": "trend"}, r"`dispersion`.*trend"),
        ({"dispersion": "best"}, r"`dispersion`.*best"),
        ({"max_iter": 0}, r"`max_iter`.*0"),
        ({"tol": -1.0}, r"`tol`.*-1"),
        ({"n_threads": 0}, r"`n_threads`.*0"),
        ({"chunk_genes": 0}, r"`chunk_genes`.*0"),
        ({"dtype": "int8"}, r"`dtype`.*float64.*int8"),
        ({"init": "random"}, r"`init`.*random"),
        ({"init": np.zeros((7, 7))}, r"`init`.*7"),
        ({"dispersion_init": "random"}, r"`dispersion_init`.*random"),
        ({"size_factors": np.zeros(200)}, r"`size_factors` must be positive"),
        ({"size_factors": np.ones(3)}, r"`size_factors`.*200.*3"),
        ({"offset": np.ones(3)}, r"`offset`.*200.*3"),
        ({"offset": np.full(200, np.nan)}, r"`offset`"),
        ({"cell_data": pd.DataFrame({"group": ["a"]})}, r"`cell_data`.*200.*1"),
    ],
)
def test_wrong_arguments(problem, options, match):
    counts, cells, _ = problem
    with pytest.raises(InputError, match=f"(?s){match}"):
        isthmus.fit_glm(counts, "~ group", **({"cell_data": cells, "size_factors": None} | options))


def test_zero_genes_and_one_gene():
    cells = pd.DataFrame({"group": ["a", "b"] * 20})
    with pytest.raises(InputError, match=r"`data` must have at least one gene"):
        isthmus.fit_glm(sp.csr_matrix((40, 0)), "~ group", cell_data=cells, size_factors=None)
    one = isthmus.fit_glm(np.arange(40.0)[:, None], "~ group", cell_data=cells, size_factors=None)
    assert list(isthmus.test_glm(one, "group[T.b]")["status"]) == ["ok"]
