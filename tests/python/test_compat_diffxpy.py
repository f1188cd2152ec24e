"""diffxpy's names: `fit.model` with its documented signature, and the helpers for designs and constraints."""

import inspect
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import isthmus
import isthmus.compat.batchglm as glm
import isthmus.compat.diffxpy as de
from isthmus import InputError
from isthmus.messages import collected

DOCUMENT = Path(__file__).parents[3] / "shared/references/diffxpy_fit_model.txt"
ARGUMENTS = [
    "data",
    "formula_loc",
    "formula_scale",
    "as_numeric",
    "init_a",
    "init_b",
    "gene_names",
    "sample_description",
    "dmat_loc",
    "dmat_scale",
    "constraints_loc",
    "constraints_scale",
    "noise_model",
    "size_factors",
    "batch_size",
    "training_strategy",
    "quick_scale",
    "dtype",
    "kwargs",
]


@pytest.fixture(scope="module")
def adata():
    """Two conditions with two batches each: confounded."""
    group = np.repeat([0.0, 1.0], 100)
    data = isthmus.simulate_counts(200, 8, design=np.column_stack([np.ones(200), group]), seed=4)
    data.obs["condition"] = np.where(group == 1, "b", "a")
    data.obs["batch"] = np.repeat(["b1", "b2", "b3", "b4"], 50)
    data.obs["age"] = np.linspace(20, 60, 200)
    data.obs["depth"] = np.linspace(0.5, 2, 200)
    return data


def test_the_signature_is_the_documented_one():
    assert list(inspect.signature(de.fit.model).parameters) == ARGUMENTS
    if DOCUMENT.exists():
        head = DOCUMENT.read_text().split("Fit model via")[0]
        for name, parameter in inspect.signature(de.fit.model).parameters.items():
            assert re.search(rf"[(, *]{name}[:=,)]", head)
            if isinstance(parameter.default, (str, bool)):
                assert re.search(rf"{name}[^=]*= ?'?{re.escape(str(parameter.default))}'?", head), name


def test_the_model_is_the_fit(adata):
    estim = de.fit.model(adata, "~ 1 + condition", "~ 1 + condition", size_factors="depth")
    fit = isthmus.fit_glm(adata, "~ condition", dispersion_design="~ condition", size_factors="depth")
    np.testing.assert_allclose(estim.log_likelihood, fit.log_likelihood, rtol=1e-12)
    np.testing.assert_array_equal(estim.a_var, fit.a_var)
    np.testing.assert_allclose(estim.model.location, np.exp(estim.model.eta_loc), rtol=1e-12)
    np.testing.assert_allclose(np.log(estim.model.scale), estim.model.design_scale @ estim.model.b, atol=1e-10)
    assert estim.input_data.design_loc_names == ["Intercept", "condition[T.b]"]
    assert estim.input_data.num_loc_params == estim.input_data.num_scale_params == 2
    assert estim.loss == pytest.approx(-fit.log_likelihood.sum())
    assert np.abs(estim.jacobian).max() < 1e-2
    assert estim.fisher_inv.shape == (8, 2, 2)


def test_size_factors_are_logged_once(adata):
    """One gene with a constant size factor: the mean is exp(a) times it, where diffxpy had exp(a) times e to it."""
    estim = de.fit.model(adata, "~ 1", size_factors=np.full(200, 2.0))
    np.testing.assert_allclose(np.exp(estim.a_var[0]) * 2.0, adata.X.mean(axis=0).A1, rtol=1e-8)


def test_numbers_stay_numbers(adata):
    assert de.fit.model(adata, "~ 1 + age").a_var.shape == (2, 8)
    assert de.fit.model(adata, "~ 1 + age", as_numeric="age").a_var.shape == (2, 8)


@pytest.mark.parametrize("data", ["AnnData", "ndarray", "csr", "csc", "frame", "input"])
def test_every_form_of_the_data_gives_the_same(adata, data):
    values = adata.X.toarray()
    forms = {
        "AnnData": adata,
        "ndarray": values,
        "csr": sparse.csr_matrix(values),
        "csc": sparse.csc_matrix(values),
        "frame": pd.DataFrame(values, index=adata.obs_names, columns=adata.var_names),
        "input": glm.models.nb_glm.InputData.new(values, np.ones((200, 1)), None, np.ones((200, 1))),
    }
    described = {} if data in ("AnnData", "input") else {"sample_description": adata.obs}
    estim = de.fit.model(forms[data], "~ 1" if data == "input" else "~ 1 + condition", **described)
    wanted = isthmus.fit_glm(adata, "~ 1" if data == "input" else "~ condition", size_factors=None)
    np.testing.assert_allclose(estim.log_likelihood, wanted.log_likelihood, rtol=1e-10)


@pytest.mark.parametrize("form", ["dict", "strings", "rows", "h", "setup"])
def test_constraints_in_every_form_are_the_same_model(adata, form):
    levels = [f"batch[{name}]" for name in ("b1", "b2", "b3", "b4")]
    dmat, h = de.utils.setup_constrained(adata, formula="~ condition + batch", constraints={"batch": "condition"})
    rows = np.zeros((2, dmat.shape[1]))
    for row, (dependent, other) in zip(rows, ((0, 1), (2, 3)), strict=True):
        row[list(dmat.columns).index(levels[dependent])] = -1
        row[list(dmat.columns).index(levels[other])] = 1
    texts = ["batch[b1] + batch[b2] = 0", "batch[b3] + batch[b4] = 0"]
    given = {
        "dict": {"formula_loc": "~ condition + batch", "constraints_loc": {"batch": "condition"}},
        "strings": {"dmat_loc": dmat, "constraints_loc": texts},
        "rows": {"dmat_loc": dmat, "constraints_loc": rows},
        "h": {"dmat_loc": dmat, "constraints_loc": h.to_numpy()},
        "setup": {"dmat_loc": dmat, "constraints_loc": h},
    }[form]
    estim = de.fit.model(adata, **given)
    free = isthmus.fit_glm(adata, "~ 0 + batch", size_factors=None)
    np.testing.assert_allclose(estim.log_likelihood, free.log_likelihood, atol=1e-6)
    at = [list(estim.input_data.design_loc_names).index(name) for name in levels]
    sums = np.abs(estim.par_link_loc[at[:2]].sum(axis=0)) + np.abs(estim.par_link_loc[at[2:]].sum(axis=0))
    assert sums.max() < 1e-12


def test_a_constrained_scale_model(adata):
    estim = de.fit.model(
        adata,
        "~ condition + batch",
        "~ condition + batch",
        constraints_loc={"batch": "condition"},
        constraints_scale={"batch": "condition"},
    )
    both = isthmus.fit_glm(adata, "~ 0 + batch", dispersion_design="~ 0 + batch", size_factors=None)
    np.testing.assert_allclose(estim.log_likelihood, both.log_likelihood, atol=1e-6)


def test_starting_values_do_not_change_the_optimum(adata):
    wanted = de.fit.model(adata, "~ condition")
    for init in ("standard", "CLOSED_FORM", "all_zero"):
        found = de.fit.model(adata, "~ condition", init_a=init, init_b="standard")
        np.testing.assert_allclose(found.log_likelihood, wanted.log_likelihood, atol=1e-6)
    found = de.fit.model(adata, "~ condition", init_a=wanted.a_var, init_b=wanted.b_var)
    np.testing.assert_allclose(found.b_var, wanted.b_var, atol=1e-4)
    assert found.niter.max() <= wanted.niter.max()


def test_each_option_has_an_effect_or_a_message(adata):
    with collected() as told:
        de.fit.model(adata, "~ 1", batch_size=50, training_strategy="GD", dtype="float32", backend="tf1")
    text = "\n".join(told)
    for name in (
        "`batch_size` has no effect",
        "`training_strategy` has no",
        "`dtype` has no",
        "`backend`: not an option",
    ):
        assert name in text
    with collected() as told:
        chunked = de.fit.model(adata, "~ 1", batch_size=(1_000, 3), training_strategy="DEFAULT")
    assert told == []
    np.testing.assert_array_equal(chunked.a_var, de.fit.model(adata, "~ 1").a_var)
    seen = []
    de.fit.model(adata, "~ 1", training_strategy=seen.append)
    assert isinstance(seen[0].fit, isthmus.GlmFit)


def test_quick_scale_is_the_method_of_moments(adata):
    quick = de.fit.model(adata, "~ 1", quick_scale=True)
    fit = isthmus.fit_glm(adata, "~ 1", dispersion="moments", size_factors=None)
    np.testing.assert_array_equal(quick.b_var, fit.b_var)


def test_poisson_noise(adata):
    estim = de.fit.model(adata, "~ 1", noise_model="poisson")
    assert estim.fit.settings["noise_model"] == "poisson"


def test_residuals_and_parts(adata):
    found = de.fit.residuals(adata, "~ condition")
    estim = de.fit.model(adata, "~ condition")
    np.testing.assert_allclose(found.to_numpy(), adata.X.toarray() - estim.model.location, atol=1e-9)
    parts = de.fit.partition(adata, "condition")
    models = parts.model(formula_loc="~ 1 + batch", size_factors=adata.obs["depth"].to_numpy())
    assert list(models) == ["a", "b"]
    alone = isthmus.fit_glm(adata[adata.obs["condition"] == "b"].copy(), "~ batch", size_factors="depth")
    np.testing.assert_allclose(models["b"].log_likelihood, alone.log_likelihood, rtol=1e-10)
    assert parts.residuals(formula_loc="~ 1")["a"].shape == (100, 8)


def test_strings_with_coefficients_and_right_hand_sides_count(adata):
    dmat = de.utils.design_matrix(adata, formula="~ 0 + batch")
    estim = de.fit.model(adata, dmat_loc=dmat, constraints_loc=["2*batch[b1] - batch[b2] = 0.5"])
    coef = pd.DataFrame(estim.par_link_loc, index=estim.input_data.design_loc_names)
    np.testing.assert_allclose(2 * coef.loc["batch[b1]"] - coef.loc["batch[b2]"], 0.5, atol=1e-12)
    with pytest.raises(InputError, match="right-hand side cannot be a matrix"):
        de.utils.constraint_matrix_from_string(dmat, constraints="batch[b1] + batch[b2] = 5")
    free = de.utils.constraint_matrix_from_string(dmat.to_numpy(), list("wxyz"), ["w - x = 0"])
    assert free.shape == (4, 3)
    np.testing.assert_array_equal(free[0], free[1])


def test_helpers_for_designs(adata):
    assert de.utils.preview_coef_names(adata.obs, "~ condition").tolist() == ["Intercept", "condition[T.b]"]
    assert de.utils.view_coef_names(np.ones((3, 2))).tolist() == ["p0", "p1"]
    with collected() as told:
        dmat, free = de.utils.setup_constrained(adata, formula="~ condition + batch")
    assert "proposed" in told[0]
    assert np.linalg.matrix_rank(dmat.to_numpy() @ free.to_numpy()) == free.shape[1]
    system = de.utils.constraint_system_from_star(
        sample_description=adata.obs, formula="~ condition + batch", constraints={"batch": "condition"}
    )
    assert system[0].shape[1] == len(system[1]) == len(system[2])
    assert system[3] == ["condition", "batch"]
    design, matrix = de.utils.constraint_matrix_from_dict(
        adata.obs, "~ condition + batch", constraints={"batch": "condition"}
    )
    np.testing.assert_array_equal(matrix, system[2])
    np.testing.assert_array_equal(design, system[0])
    binned = de.utils.bin_continuous_covariate(adata.obs, "age", 4)
    assert binned["age_binned"].value_counts().tolist() == [50] * 4
    assert "age_binned" not in adata.obs
    edges = de.utils.bin_continuous_covariate(adata.obs, "age", [0, 40, 100])
    assert edges["age_binned"].cat.categories.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "`formula_loc` or `dmat_loc` must be given"),
        ({"formula_loc": "~ 1", "dmat_loc": np.ones((200, 1))}, "Only one of `formula_loc` and `dmat_loc`"),
        (
            {"formula_loc": "~ 1", "formula_scale": "~ condition", "dmat_scale": np.ones((200, 1))},
            "Only one of `formula_scale` and `dmat_scale`",
        ),
        ({"formula_loc": "~ 1", "init_a": "best"}, "`init_a` must be 'AUTO'"),
        ({"formula_loc": "~ 1", "noise_model": "beta"}, "`noise_model` must be one of 'nb'"),
        ({"formula_loc": "~ 1", "training_strategy": "FAST"}, "`training_strategy` must be one of AUTO"),
        ({"formula_loc": "~ 1", "training_strategy": 3}, "a name, a list of dicts or a function"),
        ({"formula_loc": "~ 1", "dtype": "int8"}, "`dtype` must be"),
        ({"formula_loc": "~ 1", "batch_size": -1}, "`batch_size` must be None"),
        ({"formula_loc": "~ 1", "sample_description": 3}, "`sample_description` must be a DataFrame"),
        ({"formula_loc": "~ condition + batch"}, "must identify every parameter"),
    ],
)
def test_wrong_calls_are_sentences(adata, options, text):
    with pytest.raises(InputError, match=re.escape(text)):
        de.fit.model(adata, **options)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda data: de.fit.partition(data, "cluster"), "no column is named 'cluster'"),
        (lambda data: de.fit.partition(data, ["a"]), "one label per cell (200); got 1"),
        (lambda data: de.fit.partition(data, [None] * 200), "200 cells without a label"),
        (lambda data: de.utils.design_matrix(data), "`formula` or `dmat` must be given"),
        (lambda data: de.utils.design_matrix(3, formula="~ 1"), "must be a DataFrame with one row per cell"),
        (lambda data: de.utils.constraint_system_from_star(), "`formula` or `dmat` must be given"),
        (lambda data: de.utils.bin_continuous_covariate(data.obs, "height", 3), "there is none named 'height'"),
    ],
)
def test_wrong_helpers_are_sentences(adata, call, text):
    with pytest.raises(InputError, match=re.escape(text)):
        call(adata)
