"""batchglm's names: the calls of its notebook on constraints, and what each object refuses."""

import ast
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray
from scipy import sparse

import isthmus
import isthmus.compat.batchglm as glm
from isthmus import InputError
from isthmus.messages import collected

NOTEBOOK = Path(__file__).parents[3] / "shared/references/batchglm_constraints_notebook.txt"
nb_glm = glm.models.nb_glm


def indicator(n, *ranges):
    """A column that is one in the given ranges of rows."""
    column = np.zeros(n)
    for first, last in ranges:
        column[first:last] = 1
    return column


def easy_design():
    """Four replicates, two in each condition (the notebook's example 1)."""
    replicates = [indicator(2000, (i, i + 500)) for i in range(0, 2000, 500)]
    return np.column_stack([np.ones(2000), *replicates, indicator(2000, (1000, 2000))])


def advanced_design():
    """And four technical replicates, each with cells from one replicate of either condition (example 2)."""
    technical = [indicator(2000, (i, i + 250), (i + 1000, i + 1250)) for i in range(0, 1000, 250)]
    return np.column_stack([easy_design()[:, :5], *technical, indicator(2000, (1000, 2000))])


def crossed_design():
    """Two technical replicates that all biological replicates share."""
    technical = [
        indicator(2000, *((first + half, first + half + 250) for first in range(0, 2000, 500))) for half in (0, 250)
    ]
    return np.column_stack([easy_design()[:, :5], *technical, indicator(2000, (1000, 2000))])


def marked(n_parameters, *rows):
    """Rows of -1 (the dependent parameter) and 1, as the notebook writes them."""
    constraints = np.zeros((len(rows), n_parameters))
    for row, (dependent, others) in zip(constraints, rows, strict=True):
        row[dependent] = -1
        row[list(others)] = 1
    return constraints


EXAMPLES = {
    "easy": (easy_design(), marked(6, (3, [4]), (1, [2, 3, 4]))),
    "advanced": (advanced_design(), marked(10, (3, [4]), (1, [2, 3, 4]), (5, [6]), (7, [8]))),
    "crossed": (crossed_design(), marked(8, (3, [4]), (1, [2, 3, 4]), (5, [6]))),
}


@pytest.fixture(scope="module", params=EXAMPLES)
def trained(request):
    """A simulator and a trained estimator, by the notebook's calls."""
    dmat, constraints = EXAMPLES[request.param]
    sim = nb_glm.Simulator(num_features=100, seed=1)
    sim.parse_dmat_loc(dmat=dmat)
    sim.parse_dmat_scale(dmat=dmat)
    sim.generate_params()
    sim.generate_data()
    input_data = nb_glm.InputData.new(data=sim.X, design_loc=sim.design_loc, design_scale=sim.design_scale)
    input_data.constraints_loc = constraints
    input_data.constraints_scale = constraints.copy()
    estimator = nb_glm.Estimator(input_data, quick_scale=False)
    estimator.initialize()
    estimator.train_sequence("QUICK")
    return sim, estimator, constraints


def test_estimates_are_as_close_to_the_truth_as_the_likelihood_allows(trained):
    sim, estimator, _ = trained
    location = glm.utils.stats.rmsd(
        np.matmul(estimator.design_loc, estimator.par_link_loc), np.matmul(sim.design_loc, sim.par_link_loc)
    )
    scale = glm.utils.stats.rmsd(
        np.matmul(estimator.design_scale, estimator.par_link_scale), np.matmul(sim.design_scale, sim.par_link_scale)
    )
    assert location < 0.03
    assert scale < 0.09


def test_constraints_hold_for_every_gene(trained):
    _, estimator, constraints = trained
    for parameters in (estimator.par_link_loc, estimator.par_link_scale):
        assert np.abs(np.abs(constraints) @ np.asarray(parameters)).max() < 1e-12


def test_the_likelihood_is_that_of_a_full_rank_part_of_the_design(trained):
    """The constraints identify: they may not cost likelihood."""
    sim, estimator, _ = trained
    kept = []
    for j in range(sim.design_loc.shape[1]):
        if np.linalg.matrix_rank(sim.design_loc[:, [*kept, j]]) == len(kept) + 1:
            kept.append(j)
    part = pd.DataFrame(sim.design_loc[:, kept], columns=[f"p{j}" for j in kept])
    fit = isthmus.fit_glm(np.asarray(sim.X), part, dispersion_design=part, size_factors=None)
    np.testing.assert_allclose(estimator.log_likelihood, fit.log_likelihood, rtol=0, atol=1e-5)


def test_outputs_are_xarrays_with_batchglms_names(trained):
    sim, estimator, _ = trained
    n = sim.design_loc.shape[1]
    assert isinstance(estimator.par_link_loc, xarray.DataArray)
    assert estimator.par_link_loc.dims == ("design_loc_params", "features")
    assert estimator.par_link_scale.coords["design_scale_params"].values.tolist() == [f"p{i}" for i in range(n)]
    assert not estimator.par_link_loc.coords["feature_allzero"].values.any()
    assert sim.X.dims == ("observations", "features")
    assert sim.par_link_loc.name == "a"
    total = np.max(estimator.par_link_loc[1, :] + np.sum(estimator.par_link_loc[2:5, :], axis=0))
    assert abs(float(total)) < 1e-12
    assert estimator.finalize() is estimator


def code_cells(text):
    """The code of a notebook printed as text: after each "In [n]:", paragraphs up to the first that is not code."""
    for block in re.split(r"^In \[\d+\]:$", text, flags=re.MULTILINE)[1:]:
        code = []
        for paragraph in re.split(r"\n\s*\n", block.strip("\n")):
            try:
                statements = ast.parse("\n".join([*code, paragraph])).body[len(ast.parse("\n".join(code)).body) :]
            except SyntaxError:
                break
            if any(isinstance(s, ast.Expr) and ast.unparse(s).startswith("array(") for s in statements):
                break
            code.append(paragraph)
        yield "\n\n".join(code)


@pytest.mark.skipif(not NOTEBOOK.exists(), reason="the notebook's text is in ../shared, which this checkout lacks")
def test_the_notebook_runs_with_another_import_line(capsys, monkeypatch):
    cells = list(code_cells(NOTEBOOK.read_text()))
    assert len(cells) == 54
    script = "\n".join(cells).replace("import batchglm.api as glm", "import isthmus.compat.batchglm as glm")
    assert "import batchglm" not in script
    seeded = np.random.default_rng  # the notebook sets no seed
    monkeypatch.setattr(np.random, "default_rng", lambda seed=None: seeded(1 if seed is None else seed))
    exec(compile(script, "notebook", "exec"), {})
    printed = capsys.readouterr().out
    locations = [float(x) for x in re.findall(r"deviation of location: ([\d.]+)", printed)]
    scales = [float(x) for x in re.findall(r"deviation of scale: +([\d.]+)", printed)]
    assert len(locations) == len(scales) == 3
    assert max(locations) <= 0.03
    assert max(scales) <= 0.09


def small(counts=None, **options):
    counts = np.random.default_rng(3).negative_binomial(4, 0.2, (60, 3)) if counts is None else counts
    ones = np.ones((len(counts) if isinstance(counts, np.ndarray) else counts.shape[0], 1))
    return nb_glm.InputData.new(counts, design_loc=ones, design_scale=ones, **options)


def test_quick_scale_estimates_the_scale_by_moments():
    exact, quick = nb_glm.Estimator(small()), nb_glm.Estimator(small(), quick_scale=True)
    for estimator in (exact, quick):
        estimator.train_sequence([{}])
    counts = small().X
    moments = counts.mean(axis=0) ** 2 / (counts.var(axis=0, ddof=1) - counts.mean(axis=0))
    np.testing.assert_allclose(np.exp(np.asarray(quick.par_link_scale)[0]), moments, rtol=0.05)
    assert (exact.log_likelihood >= quick.log_likelihood - 1e-9).all()
    assert exact.loss < quick.loss


def test_starting_values_in_log_r_do_not_change_the_optimum():
    plain, started = (
        nb_glm.Estimator(small()),
        nb_glm.Estimator(small(), init_a=np.ones((1, 3)), init_b=np.ones((1, 3))),
    )
    plain.train_sequence("AUTO")
    started.train_sequence("auto")
    np.testing.assert_allclose(started.par_link_scale, plain.par_link_scale, atol=1e-5)


def test_names_size_factors_and_sparse_counts_reach_the_fit():
    counts = np.random.default_rng(3).negative_binomial(4, 0.2, (60, 3))
    factors = np.linspace(0.5, 1.5, 60)
    data = small(sparse.csr_matrix(counts), feature_names=["x", "y", "z"], size_factors=factors)
    estimator = nb_glm.Estimator(data)
    estimator.train_sequence("EXACT")
    fit = isthmus.fit_glm(counts, size_factors=factors)
    np.testing.assert_allclose(estimator.log_likelihood, fit.log_likelihood, rtol=1e-12)
    assert estimator.par_link_loc.coords["features"].values.tolist() == ["x", "y", "z"]
    assert (data.num_observations, data.num_features) == (60, 3)


def test_settings_without_effect_say_so():
    with collected() as told:
        estimator = nb_glm.Estimator(small(), batch_size=10, dtype="float32")
        estimator.train_sequence([{"learning_rate": 0.1, "convergence_criteria": "t_test"}])
    assert "`batch_size` has no effect" in told[0]
    assert "`dtype`" in told[1]
    assert "`convergence_criteria`, `learning_rate`: without effect" in told[2]


def test_a_strategy_may_be_a_function():
    estimator = nb_glm.Estimator(small())
    estimator.train_sequence(lambda estimator: estimator.train(max_iter=50))
    assert np.isfinite(estimator.log_likelihood).all()
    assert np.abs(estimator.gradients).max() < 1e-2
    assert estimator.hessians.shape == (3, 2, 2)
    assert (estimator.fisher_inv > 0).all()


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: nb_glm.Simulator(0), "`num_observations` must be a whole number"),
        (lambda: nb_glm.Simulator(10).generate_params(), "call `parse_dmat_loc"),
        (lambda: nb_glm.Simulator(10).parse_dmat_loc(np.ones((9, 1))), "one row per observation"),
        (lambda: nb_glm.Simulator(10).par_link_loc, "call `generate_params"),
        (lambda: nb_glm.Simulator(10).X, "call `generate_data"),
        (lambda: nb_glm.Estimator(np.ones((4, 2))), "must come from `InputData.new"),
        (lambda: nb_glm.Estimator(small(), init_a="best"), "`init_a` must be 'AUTO'"),
        (lambda: nb_glm.Estimator(small(), dtype="int8"), "`dtype` must be"),
        (lambda: nb_glm.Estimator(small()).par_link_loc, "not trained yet"),
        (lambda: nb_glm.Estimator(small()).train_sequence("QUIK"), "Did you mean `QUICK`"),
        (lambda: nb_glm.Estimator(small()).train_sequence(3), "a name, a list of dicts or a function"),
        (lambda: nb_glm.InputData.new(np.ones((4, 2)), None, None, np.ones((4, 1))), "`design_loc` must be a matrix"),
        (lambda: nb_glm.InputData.new(np.ones((4, 2)), np.ones((3, 1))), "one row per observation"),
        (
            lambda: nb_glm.InputData.new(np.ones((4, 2)), np.ones((4, 1)), ["a", "b"], np.ones((4, 1))),
            "must name each of the 1 columns",
        ),
    ],
)
def test_wrong_calls_are_sentences(call, text):
    with pytest.raises(InputError, match=re.escape(text)):
        call()


def test_draws_follow_the_seed_and_leave_numpys_state_alone():
    before = np.random.get_state()[1].copy()
    first, second = (nb_glm.Simulator(50, 4, seed=9) for _ in range(2))
    for sim in (first, second):
        sim.parse_dmat_loc(np.ones((50, 2)))
        sim.parse_dmat_scale(np.ones((50, 1)))
        sim.generate()
    np.testing.assert_array_equal(first.X, second.X)
    np.testing.assert_array_equal(np.random.get_state()[1], before)
    ratios = np.exp(np.asarray(first.par_link_loc)[1])
    assert ((ratios > 0.5) & (ratios < 2)).all()


def test_deviations():
    stats = glm.utils.stats
    estimate, truth = np.array([1.0, 3.0]), np.array([2.0, 1.0])
    assert stats.rmsd(estimate, truth) == pytest.approx(np.sqrt(2.5))
    assert stats.mae(estimate, truth) == 1.5
    assert stats.normalized_rmsd(estimate, truth) == pytest.approx(np.sqrt(2.5))
    assert stats.normalized_mae(estimate, truth * 2) == pytest.approx(1.0)
    assert stats.mapd(estimate, truth) == 125.0
