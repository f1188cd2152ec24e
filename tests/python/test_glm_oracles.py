"""Published and released numbers in `../shared`: batchglm's notebook, diffxpy's designs, glm.nb, statsmodels."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from glm_cases import estimates, genes, shared

import isthmus

# --- batchglm's constraint notebook -----------------------------------------------------------------------------------


def notebook(example: int):
    folder = shared("data", "oracles", "glm_reference")
    given = np.load(folder / f"notebook_ex{example}_batchglm061_ADAM.npz")
    mle = np.load(folder / f"notebook_ex{example}_mle.npz")
    design = given["design"].astype(float)
    return given, mle, pd.DataFrame(design, columns=[f"p{k}" for k in range(design.shape[1])])


def fit_notebook(given, design, constraints):
    return isthmus.fit_glm(
        given["X"], design, dispersion_design=design, constraints=constraints, dispersion_constraints=constraints,
        size_factors=None,
    )  # fmt: skip


def fitted_values(fit, design) -> np.ndarray:
    return design.to_numpy() @ np.hstack([fit.par_link_loc, fit.par_link_scale])


@pytest.fixture(scope="module", params=[1, 2])
def notebook_fit(request):
    given, mle, design = notebook(request.param)
    return given, mle, design, fit_notebook(given, design, given["constraints"])


def test_notebook_distance_from_the_truth(notebook_fit):
    given, _, design, fit = notebook_fit
    for ours, truth, bar in ((fit.par_link_loc, given["a_true"], 0.03), (fit.par_link_scale, given["b_true"], 0.09)):
        rmsd = np.sqrt(np.mean((design.to_numpy() @ (ours - truth)) ** 2))
        assert rmsd <= bar


def test_notebook_log_likelihood_reaches_the_optimum(notebook_fit):
    _, mle, _, fit = notebook_fit
    ours = genes(fit)["log_likelihood"].to_numpy()
    assert (ours >= mle["ll"] - 1e-6).all()
    np.testing.assert_allclose(ours, mle["ll"], rtol=1e-8)


def test_notebook_constraints_hold(notebook_fit):
    given, _, _, fit = notebook_fit
    marked = np.abs(given["constraints"]).astype(float)
    for parameters in (fit.par_link_loc, fit.par_link_scale):
        assert np.abs(marked @ parameters).max() <= 1e-12


def other_marks(rows: np.ndarray) -> np.ndarray:
    """The same sums to zero with another parameter of each row marked as the dependent one."""
    out = np.abs(rows).astype(float)
    for row in out:
        members = np.flatnonzero(row)
        row[members[1]] = -1
    return out


CHANGES = {"rows reversed": lambda rows: rows[::-1], "other parameter marked": other_marks}


@pytest.mark.parametrize("change", CHANGES)
def test_notebook_fit_does_not_depend_on_how_the_constraint_is_written(notebook_fit, change):
    given, _, design, fit = notebook_fit
    other = fit_notebook(given, design, CHANGES[change](given["constraints"]))
    np.testing.assert_allclose(genes(other)["log_likelihood"], genes(fit)["log_likelihood"], rtol=1e-8)
    np.testing.assert_allclose(fitted_values(other, design), fitted_values(fit, design), rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(other.par_link_loc, fit.par_link_loc, atol=1e-7)


def test_notebook_right_hand_sides_move_the_parameters_but_not_the_fit(notebook_fit):
    """These constraints identify: another right-hand side names another point of the same line of equal likelihood."""
    given, _, design, fit = notebook_fit
    sides = np.linspace(-0.5, 0.7, len(given["constraints"]))
    text = [
        " + ".join(design.columns[np.flatnonzero(row)]) + f" = {side!r}"
        for row, side in zip(given["constraints"], sides.tolist(), strict=True)
    ]
    other = fit_notebook(given, design, text)
    marked = np.abs(given["constraints"]).astype(float)
    assert np.abs(marked @ other.par_link_loc - sides[:, None]).max() <= 1e-12
    assert np.abs(marked @ other.par_link_loc).max() > 0.1
    np.testing.assert_allclose(genes(other)["log_likelihood"], genes(fit)["log_likelihood"], rtol=1e-8)
    np.testing.assert_allclose(fitted_values(other, design), fitted_values(fit, design), rtol=1e-8, atol=1e-8)


# --- diffxpy's designs, fitted by another optimiser -------------------------------------------------------------------


def reference_counts():
    folder = shared("data", "oracles", "glm_reference")
    return np.load(folder / "counts_2000x500.npz"), np.load(folder / "independent_mle.npz")


def assert_reaches(fit, value: np.ndarray, theta: np.ndarray | None, n_mean: int) -> None:
    """BFGS stops a little short: ours may be above by that little, never below.

    Genes at the Poisson limit are left to the Poisson likelihood: the oracle runs to log r = 19 to 25 there, where its
    lgamma(r + y) - lgamma(r) is rounding (off by 0.1 in the crossed design, by 1,800 with size factors).
    """
    table = genes(fit).iloc[: len(value)]
    ok = (table["status"] == "ok").to_numpy()
    assert ok.mean() > 0.9
    ours = table["log_likelihood"].to_numpy()
    assert (ours >= value - 1e-6)[ok].all()
    assert np.quantile(ours[ok] - value[ok], 0.98) <= 1e-3  # a few BFGS runs stop on the plateau of the Poisson limit
    if theta is None:
        return
    near = ok & (theta[-1] < 8)
    assert near.sum() > 400
    np.testing.assert_allclose(estimates(fit).to_numpy()[: len(value)][near], theta[:n_mean, near].T, atol=1e-3)
    log_r = -estimates(fit, "dispersion").to_numpy()[: len(value), 0]
    np.testing.assert_allclose(log_r[near], theta[-1, near], atol=1e-2)


def test_crossed_design_reaches_the_independent_mle():
    data, mle = reference_counts()
    batch = data["batch_crossed"]
    design = pd.DataFrame({"Intercept": 1.0, "cond": data["cond"], "b1": batch == 1, "b2": batch == 2}).astype(float)
    fit = isthmus.fit_glm(data["X_crossed"], design, size_factors=None)
    assert_reaches(fit, mle["wald_crossed_ll"], mle["wald_crossed_theta"], 4)
    assert list(genes(fit)["status"].iloc[[497, 498, 499]]) == ["all_zero", "separated", "separated"]
    limit = genes(fit)["status"].eq("poisson_limit").to_numpy()
    assert (mle["wald_crossed_theta"][-1, limit[:497]] > 12).all()
    poisson = isthmus.fit_glm(data["X_crossed"], design, size_factors=None, noise_model="poisson")
    np.testing.assert_allclose(genes(fit)["log_likelihood"][limit], genes(poisson)["log_likelihood"][limit], rtol=1e-10)


def test_nested_design_by_dict_reaches_the_independent_mle():
    data, mle = reference_counts()
    cells = pd.DataFrame({"cond": pd.Categorical(data["cond"]), "batch": pd.Categorical(data["batch_nested"])})
    fit = isthmus.fit_glm(
        data["X_nested"], "~ cond + batch", cell_data=cells, constraints={"batch": "cond"}, size_factors=None
    )
    assert_reaches(fit, mle["wald_nested_ll"], None, 4)


def test_size_factors_are_logged_once():
    data, mle = reference_counts()
    design = pd.DataFrame({"Intercept": 1.0, "cond": data["cond"].astype(float)})
    fit = isthmus.fit_glm(data["X_sf"][:, :60], design, size_factors=data["size_factors"])
    assert_reaches(fit, mle["sf_ll_offset_log_first60"], None, 2)


# --- MASS::glm.nb on B cells of Kang et al. ---------------------------------------------------------------------------

# theta of UBA52 runs to infinity (glm.nb is not converged); IFIT3 has no count in the control cells.
LEFT_OUT = ["UBA52", "IFIT3"]


@pytest.fixture(scope="module")
def b_cells():
    import anndata

    folder = shared("data", "oracles", "r_generated")
    adata = anndata.read_h5ad(shared("data", "kang18_muscat", "kang18.h5ad"))
    cells = pd.read_csv(folder / "kang_bcells_cells.csv", index_col="cell")
    cells["sample_id"] = cells["sample_id"].astype(str)
    return adata[cells.index], cells, folder


def read_glm_nb(path) -> pd.DataFrame:
    table = pd.read_csv(path, index_col="gene").drop(index=LEFT_OUT)
    assert table["conv"].all()
    return table


def assert_glm_nb(fit, r: pd.DataFrame, terms: dict[str, str]) -> None:
    """Estimates to 1e-4, log-likelihood to 1e-6 relative, standard errors (expected) to 1e-3 relative.

    glm.nb has no notion of separation: where a sample holds no count of a gene it stops at coefficients of -15 with
    standard errors of 1e5. Those rows must be ours with the status that says so, and the same likelihood.
    """
    np.testing.assert_allclose(genes(fit)["log_likelihood"], r["loglik"], rtol=1e-6)
    separated = (r.filter(like="se_") > 1e3).any(axis=1).to_numpy()
    np.testing.assert_array_equal(genes(fit)["status"] == "separated", separated)
    inside = r[~separated]
    mean, errors = (estimates(fit, column=column)[~separated] for column in ("estimate", "se"))
    for ours, theirs in terms.items():
        np.testing.assert_allclose(mean[ours], inside[f"b_{theirs}"], atol=1e-4, err_msg=ours)
        np.testing.assert_allclose(errors[ours], inside[f"se_{theirs}"], rtol=1e-3, err_msg=ours)
    dispersion = estimates(fit, "dispersion")["Intercept"]
    np.testing.assert_allclose(dispersion, -np.log(r["theta"]), atol=1e-4)
    # theta.ml gives the standard error of the theta before its last step, which shows where theta is tiny: HBB (theta
    # 0.02, 0.03) is 1.1e-3 and 2.5e-3 off. Run to eps = 1e-13 it gives 0.00410317517 and 0.00651972796, our digits.
    relative = np.abs(estimates(fit, "dispersion", "se")["Intercept"] / (r["se_theta"] / r["theta"]) - 1)
    assert (relative.drop(index="HBB") < 1e-3).all()
    assert relative["HBB"] < 3e-3


def test_kang_b_cells_group(b_cells):
    adata, cells, folder = b_cells
    r = read_glm_nb(folder / "kang_bcells_group_glmnb.csv")
    counts = sp.csr_matrix(adata[:, r.index].X)
    fit = isthmus.fit_glm(
        counts, "~ group", cell_data=cells, gene_names=r.index, size_factors=None, offset=cells["offset"]
    )
    assert_glm_nb(fit, r, {"Intercept": "(Intercept)", "group[T.stim]": "groupstim"})


@pytest.mark.parametrize("form", ["H", "rows", "strings", "dict"])
def test_kang_b_cells_samples_nested_in_group(b_cells, form):
    adata, cells, folder = b_cells
    r = read_glm_nb(folder / "kang_bcells_nested_constrained_glmnb.csv")
    free = pd.read_csv(folder / "kang_bcells_nested_constraint_matrix.csv", index_col=0)
    samples = ["ctrl101", "ctrl107", "stim101", "stim107"]
    design = pd.DataFrame({"Intercept": 1.0, "groupstim": cells["group"] == "stim"}, index=cells.index)
    design = design.join(pd.get_dummies(cells["sample_id"])[samples]).astype(float)
    rows = np.array([[0, 0, 1, -1, 0, 0], [0, 0, 0, 0, 1, -1]])
    forms = {"H": free.to_numpy(float), "rows": rows, "strings": ["ctrl101 + ctrl107", "stim101 + stim107 = 0"]}
    terms = {name: name for name in ("Intercept", "groupstim", "ctrl101", "stim101")}
    if form == "dict":
        spec, constraints = "~ group + sample_id", {"sample_id": "group"}
        terms = {"Intercept": "Intercept", "group[T.stim]": "groupstim"}
        terms |= {f"sample_id[{name}]": name for name in ("ctrl101", "stim101")}
    else:
        spec, constraints = design, forms[form]
    fit = isthmus.fit_glm(
        sp.csr_matrix(adata[:, r.index].X), spec, cell_data=cells, gene_names=r.index, constraints=constraints,
        size_factors=np.exp(cells["offset"]),
    )  # fmt: skip
    assert_glm_nb(fit, r, terms)


def test_kang_separated_and_poisson_genes(b_cells):
    adata, cells, _ = b_cells
    counts = sp.csr_matrix(adata[:, LEFT_OUT].X)
    fit = isthmus.fit_glm(
        counts, "~ group", cell_data=cells, gene_names=LEFT_OUT, size_factors=None, offset=cells["offset"]
    )
    assert genes(fit)["status"].to_dict() == {"UBA52": "poisson_limit", "IFIT3": "separated"}


# --- statsmodels' own reference numbers -------------------------------------------------------------------------------


def test_randhie():
    """20,190 people, as statsmodels stores them: coefficients' errors are glm.nb's (expected), that of log alpha is
    Stata's.

    statsmodels' own errors come from the joint Hessian; they are in tests/reference/human_gender/statsmodels.csv.
    """
    folder = shared("data", "oracles", "statsmodels_nb")
    data = pd.read_csv(folder / "randhie.csv.gz")
    expected = json.loads((folder / "randhie_nb_expected.json").read_text())["negativebinomial_nb2_bfgs"]
    design = data.drop(columns="mdvis").assign(const=1.0)
    fit = isthmus.fit_glm(data[["mdvis"]], design, size_factors=None)
    np.testing.assert_allclose(estimates(fit).iloc[0], expected["params"][:-1], atol=1e-4)
    assert estimates(fit, "dispersion").iloc[0, 0] == pytest.approx(expected["lnalpha"], abs=1e-4)
    assert genes(fit)["log_likelihood"].iloc[0] == pytest.approx(expected["llf"], rel=1e-6)
    expected_errors, observed_errors = (
        np.sqrt(np.diag(fit.covariance(information=information)[0])) for information in ("expected", "observed")
    )
    np.testing.assert_allclose(expected_errors[:-1], expected["bse"][:-1], rtol=1e-3)
    assert observed_errors[-1] == pytest.approx(expected["lnalpha_std_err"], rel=1e-3)


def test_committee_at_a_fixed_dispersion():
    """GLM(family=NegativeBinomial(alpha=1)): the mean at a given dispersion, as `dispersion="moments"` fits it."""
    from isthmus.glm.kernel import fit_genes

    folder = shared("data", "oracles", "statsmodels_nb")
    data = pd.read_csv(folder / "committee.csv")
    expected = json.loads((folder / "committee_expected.json").read_text())
    log_staff = np.log(data["STAFF"])
    columns = [data["SIZE"], data["SUBS"], log_staff, data["PRESTIGE"], data["BILLS103"], log_staff * data["SUBS"]]
    x = np.column_stack([*columns, np.ones(len(data))])
    fits = fit_genes(
        sp.csr_matrix(data[["BILLS104"]].to_numpy(float)), x, np.ones((len(data), 1)), np.zeros(len(data)),
        start_dispersion=np.zeros((1, 1)), fix_dispersion=True,
    )  # fmt: skip
    # R stops at a relative deviance of 1e-8: its last digits (statsmodels compares to three decimals).
    np.testing.assert_allclose(fits.mean_coef[:, 0], expected["params"], rtol=5e-4, atol=1e-6)
    assert fits.log_likelihood[0] == pytest.approx(expected["llf"], rel=1e-6)
    # R's summary scales by the Pearson dispersion; ours is the likelihood's own.
    errors = np.sqrt(np.diag(np.linalg.inv(fits.expected_info[0])) * expected["scale"])
    np.testing.assert_allclose(errors, expected["bse"], rtol=1e-3)
