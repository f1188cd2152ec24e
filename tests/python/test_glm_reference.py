"""Reference numbers of `tests/reference`: exact maximum likelihood, statsmodels, MASS::glm.nb, glmGamPoi."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from glm_cases import REFERENCE, estimates, genes

import isthmus

HUMAN, SIMULATED = REFERENCE / "human_gender", REFERENCE / "simulated"
# exact.csv is right to 16 digits. A fit stops when one more Newton step promises under 1e-8 log-likelihood units,
# sqrt(2e-8) = 1.4e-4 standard errors (here at most 0.5) from the optimum, and takes that step, which squares the
# distance. The information is that of the last point.
ESTIMATE, LOG_LIKELIHOOD, STANDARD_ERROR = 1e-7, 1e-8, 1e-6


@pytest.fixture(scope="module")
def human():
    counts = pd.read_csv(HUMAN / "counts.csv", index_col=0).T
    samples = pd.read_csv(HUMAN / "samples.csv", index_col=0)
    exact = pd.read_csv(HUMAN / "exact.csv")

    def fit(dispersion_design="~ 1"):
        return isthmus.fit_glm(
            counts, "~ group", dispersion_design=dispersion_design, size_factors="sizeFactor", cell_data=samples
        )

    return fit, exact


@pytest.fixture(scope="module")
def human_fit(human):
    return human[0]()


def matrix(exact: pd.DataFrame, model: str, column: str) -> np.ndarray:
    """Genes x terms in file order, as `estimates` gives them."""
    part = exact[exact["model"] == model]
    return part[column].to_numpy().reshape(-1, part["term"].nunique())


def assert_exact(fit, exact: pd.DataFrame) -> None:
    for model in ("mean", "dispersion"):
        np.testing.assert_allclose(estimates(fit, model), matrix(exact, model, "estimate"), atol=ESTIMATE)
    value = exact.drop_duplicates("gene")["log_likelihood"].to_numpy()
    np.testing.assert_allclose(genes(fit)["log_likelihood"], value, atol=LOG_LIKELIHOOD)
    n_mean = matrix(exact, "mean", "estimate").shape[1]
    for information in ("expected", "observed"):
        errors = np.sqrt(np.diagonal(fit.covariance(information=information), axis1=1, axis2=2))
        for model, block in (("mean", errors[:, :n_mean]), ("dispersion", errors[:, n_mean:])):
            np.testing.assert_allclose(block, matrix(exact, model, f"se_{information}"), rtol=STANDARD_ERROR)


@pytest.mark.parametrize("dispersion_design", ["~ 1", "~ group"])
def test_human_gender_exact(human, dispersion_design):
    fit, exact = human
    assert_exact(fit(dispersion_design), exact[exact["dispersion_design"] == dispersion_design])


def test_human_gender_glm_nb(human_fit):
    """glm.nb agrees with the exact fit to 2e-9; its standard error of theta to 5e-5 relative."""
    r = pd.read_csv(HUMAN / "glm_nb.csv")
    np.testing.assert_allclose(estimates(human_fit), r[["Intercept", "groupMale"]], atol=ESTIMATE)
    np.testing.assert_allclose(
        estimates(human_fit, column="se"), r[["se_Intercept", "se_groupMale"]], rtol=STANDARD_ERROR
    )
    log_alpha = estimates(human_fit, "dispersion")["Intercept"]
    np.testing.assert_allclose(log_alpha, -np.log(r["theta"]), atol=ESTIMATE)
    np.testing.assert_allclose(genes(human_fit)["log_likelihood"], r["log_likelihood"], atol=1e-6)
    se_log_alpha = estimates(human_fit, "dispersion", "se")["Intercept"]
    np.testing.assert_allclose(se_log_alpha, r["se_theta"] / r["theta"], rtol=1e-4)


def test_human_gender_statsmodels(human_fit):
    """statsmodels inverts the joint Hessian: our observed information."""
    expected = pd.read_csv(HUMAN / "statsmodels.csv")
    found = np.column_stack([estimates(human_fit), estimates(human_fit, "dispersion")])
    np.testing.assert_allclose(found, expected[["Intercept", "groupMale", "log_alpha"]], atol=ESTIMATE)
    errors = np.sqrt(np.diagonal(human_fit.covariance(information="observed"), axis1=1, axis2=2))
    np.testing.assert_allclose(errors, expected[["se_Intercept", "se_groupMale", "se_log_alpha"]], rtol=STANDARD_ERROR)
    np.testing.assert_allclose(genes(human_fit)["log_likelihood"], expected["log_likelihood"], atol=1e-6)


def test_human_gender_glmgampoi(human_fit):
    """Its dispersion is fitted at a mean from an earlier dispersion: near the joint optimum (3e-5, 2e-3)."""
    expected = pd.read_csv(HUMAN / "glmgampoi.csv")
    np.testing.assert_allclose(estimates(human_fit), expected[["Intercept", "groupMale"]], atol=1e-4)
    np.testing.assert_allclose(estimates(human_fit, "dispersion")["Intercept"], np.log(expected["alpha"]), atol=5e-3)


def test_human_gender_y_linked_genes_lead(human_fit):
    tested = isthmus.test_glm(human_fit, factor="group").sort_values("pval")
    y_linked = pd.read_csv(HUMAN / "counts.csv", usecols=["gene"])["gene"][:8]
    assert set(tested["gene"][:8]) == set(y_linked)


@pytest.fixture(scope="module")
def simulated():
    cells = pd.read_csv(SIMULATED / "cells.csv")
    counts = cells.filter(regex="^gene")
    exact = pd.read_csv(SIMULATED / "exact.csv")
    return counts, cells.drop(columns=counts.columns), lambda name: exact[exact["fit"] == name]


def test_simulated_covariates_exact(simulated):
    counts, cells, exact = simulated
    fit = isthmus.fit_glm(
        counts, "~ condition + age", dispersion_design="~ condition", size_factors="depth", cell_data=cells
    )
    assert_exact(fit, exact("covariates"))


def donor_design(cells: pd.DataFrame) -> pd.DataFrame:
    columns = {"Intercept": 1.0, "condition": cells["condition"] == "b"}
    columns |= {donor: cells["donor"] == donor for donor in ("d1", "d2", "d3", "d4")}
    return pd.DataFrame(columns, index=cells.index).astype(float)


ROWS = np.array([[0, 0, -1, 1, 0, 0], [0, 0, 0, 0, -1, 1]])
FORMS = {
    "rows": ROWS,
    "H": np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, -1, 0], [0, 0, 0, 1], [0, 0, 0, -1]], float),
    "strings": ["d1 + d2 = 0", "d3 = -d4"],
}


@pytest.mark.parametrize("form", FORMS)
def test_simulated_donors_exact_in_every_form_of_the_constraint(simulated, form):
    counts, cells, exact = simulated
    design = donor_design(cells)
    fit = isthmus.fit_glm(
        counts, design, dispersion_design=design, size_factors="depth", cell_data=cells,
        constraints=FORMS[form], dispersion_constraints=FORMS[form],
    )  # fmt: skip
    assert_exact(fit, exact("donors"))


def test_simulated_donors_exact_by_nesting(simulated):
    counts, cells, exact = simulated
    nested = {"donor": "condition"}
    fit = isthmus.fit_glm(
        counts, "~ condition + donor", dispersion_design="~ condition + donor", size_factors="depth", cell_data=cells,
        constraints=nested, dispersion_constraints=nested,
    )  # fmt: skip
    assert_exact(fit, exact("donors"))


def test_simulated_fixed_effect_exact(simulated):
    """A constraint that restricts: the effect of the condition is held at 0.3."""
    counts, cells, exact = simulated
    fit = isthmus.fit_glm(
        counts, "~ condition + age", size_factors="depth", cell_data=cells, constraints=["condition[T.b] = 0.3"]
    )
    table = exact("fixed_effect")
    mean = estimates(fit)
    np.testing.assert_allclose(mean["condition[T.b]"], 0.3, atol=1e-12)
    np.testing.assert_allclose(mean[["Intercept", "age"]], matrix(table, "mean", "estimate"), atol=ESTIMATE)
    np.testing.assert_allclose(estimates(fit, "dispersion"), matrix(table, "dispersion", "estimate"), atol=ESTIMATE)
    value = table.drop_duplicates("gene")["log_likelihood"].to_numpy()
    np.testing.assert_allclose(genes(fit)["log_likelihood"], value, atol=LOG_LIKELIHOOD)
    errors = estimates(fit, column="se")
    np.testing.assert_allclose(errors[["Intercept", "age"]], matrix(table, "mean", "se_expected"), rtol=STANDARD_ERROR)
    np.testing.assert_allclose(errors["condition[T.b]"], 0.0, atol=1e-12)
