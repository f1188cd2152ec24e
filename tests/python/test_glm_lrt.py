"""Likelihood-ratio and score tests: against two independent fits, closed forms, and simulation at the bound."""

from __future__ import annotations

import gc
import pickle

import numpy as np
import pandas as pd
import pytest
from glm_cases import awkward_counts, nb_log_likelihood, random_problem
from scipy.optimize import minimize
from scipy.stats import chi2, norm

import isthmus
from isthmus.errors import InputError
from isthmus.glm import refit
from isthmus.glm.firth import firth_estimates
from isthmus.glm.lrt import mixture
from isthmus.glm.source import find_evidence
from isthmus.messages import collected


@pytest.fixture(scope="module")
def problem():
    return random_problem(31, n_cells=240, n_genes=20, lowest=0.8)


@pytest.fixture(scope="module")
def fit(problem):
    return fit_of(problem, "~ group + batch + age", dispersion_design="~ group")


def fit_of(problem, design, **options):
    counts, cells, size_factors = problem
    return isthmus.fit_glm(counts, design, size_factors=size_factors, cell_data=cells, **options)


def log_likelihood(fit):
    return fit.table("genes")["log_likelihood"].to_numpy()


NESTED = {
    "coefficient": ({"coef": "age"}, "~ group + batch", 1),
    "factor": ({"factor": "batch"}, "~ group + age", 2),
    "reduced formula": ({"reduced": "~ age + group"}, "~ group + age", 2),
    "reduced to nothing": ({"reduced": "~ 1"}, "~ 1", 4),
    "zeroed coefficients": ({"reduced": ["batch[T.y]", "batch[T.z]"]}, "~ group + age", 2),
    "matrix of rows": ({"contrast": np.eye(5)[[2, 3]]}, "~ group + age", 2),
}


@pytest.mark.parametrize("case", NESTED)
def test_ratio_is_that_of_two_fits(problem, fit, case):
    question, smaller, df = NESTED[case]
    table = isthmus.test_glm(fit, **question, method="lrt", data=problem[0])
    stat = 2 * (log_likelihood(fit) - log_likelihood(fit_of(problem, smaller, dispersion_design="~ group")))
    np.testing.assert_allclose(table["stat"], stat, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(table["pval"], chi2.sf(stat, df), rtol=1e-5)
    assert (table["df"] == df).all()
    assert (table["method"] == "lrt").all()


def test_ratio_of_a_contrast_with_a_right_hand_side(problem, fit):
    counts = problem[0]
    table = isthmus.test_glm(fit, contrast="2*age - group[T.b] = 0.5", method="lrt", data=counts)
    constrained = fit_of(
        problem, "~ group + batch + age", dispersion_design="~ group", constraints=["2*age - group[T.b] = 0.5"]
    )
    stat = 2 * (log_likelihood(fit) - log_likelihood(constrained))
    np.testing.assert_allclose(table["stat"], stat, rtol=1e-6, atol=1e-7)


def test_ratio_under_constraints_does_not_depend_on_them(problem):
    """Levels that sum to zero and treatment contrasts are one model, so dropping the factor costs the same."""
    plain = fit_of(problem, "~ age + batch")
    summed = fit_of(problem, "~ age + batch", constraints={"batch": "1"})
    one, two = (isthmus.test_glm(f, factor="batch", method="lrt", data=problem[0]) for f in (plain, summed))
    np.testing.assert_allclose(one["stat"], two["stat"], rtol=1e-6, atol=1e-7)
    assert (two["df"] == 2).all()


def test_ratio_of_the_dispersion_model(problem, fit):
    table = isthmus.test_glm(fit, "group[T.b]", model="dispersion", method="lrt", data=problem[0])
    stat = 2 * (log_likelihood(fit) - log_likelihood(fit_of(problem, "~ group + batch + age")))
    np.testing.assert_allclose(table["stat"], stat, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(table["pval"], chi2.sf(stat, 1), rtol=1e-5)


def test_a_dispersion_that_a_hypothesis_fixes_is_held(problem):
    """log alpha = 0 in all cells: the null likelihood by a numerical optimiser."""
    fit = fit_of(problem, "~ group")
    table = isthmus.test_glm(fit, "Intercept", model="dispersion", method="lrt", data=problem[0])
    counts, cells, size_factors = problem
    y, b = counts.toarray()[:, 0], (cells["group"] == "b").to_numpy()
    best = minimize(lambda a: -nb_log_likelihood(y, size_factors * np.exp(a[0] + a[1] * b), 1.0), [1.0, 0.0], tol=1e-10)
    assert table["stat"][0] == pytest.approx(2 * (log_likelihood(fit)[0] + best.fun), abs=1e-5)


def test_reduced_designs_of_every_form_agree(problem, fit):
    counts, cells, _ = problem
    matrix = isthmus.design_matrix(cells, "~ age + group")
    mixed = matrix.to_numpy() @ np.array([[1.0, 2, 0], [0, 1, 1], [0, 0, 3]])
    expected = isthmus.test_glm(fit, factor="batch", method="lrt", data=counts)
    for form in ("~ group + age", matrix, mixed):
        table = isthmus.test_glm(fit, reduced=form, method="lrt", data=counts)
        np.testing.assert_allclose(table["stat"], expected["stat"], rtol=1e-6, atol=1e-7)
        assert (table["df"] == 2).all()
    wald = isthmus.test_glm(fit, reduced=mixed)
    np.testing.assert_allclose(wald["stat"], isthmus.test_glm(fit, factor="batch")["stat"], rtol=1e-7)


def test_a_formula_that_recodes_its_terms_is_evaluated(problem):
    """Without the main effect `group:batch` is coded with more columns: the same space as `group * batch`."""
    fit = fit_of(problem, "~ group * batch")
    with pytest.raises(InputError, match="`reduced` must be smaller than the model"):
        isthmus.test_glm(fit, reduced="~ batch + group:batch", method="lrt", data=problem[0])


def test_one_sided_ratio_goes_by_the_sign(problem, fit):
    both, above, below = (
        isthmus.test_glm(fit, "age", method="lrt", alternative=a, data=problem[0])
        for a in ("two-sided", "greater", "less")
    )
    rises = both["estimate"] > 0
    np.testing.assert_allclose(above["pval"], np.where(rises, both["pval"] / 2, 1 - both["pval"] / 2))
    np.testing.assert_allclose(above["pval"] + below["pval"], 1)


def test_poisson_ratio_has_a_closed_form():
    """Two groups: 2 sum over groups of total log(group mean / mean)."""
    rng = np.random.default_rng(2)
    y = rng.poisson([[2.0, 0.4, 7.0]] * 60).astype(float)
    group = np.repeat([0.0, 1.0], 30)
    fit = isthmus.fit_glm(y, np.column_stack([np.ones(60), group]), noise_model="poisson", size_factors=None)
    totals = np.array([y[:30].sum(axis=0), y[30:].sum(axis=0)])
    stat = 2 * (totals * np.log(totals / 30 / y.mean(axis=0))).sum(axis=0)
    np.testing.assert_allclose(isthmus.test_glm(fit, "x2", method="lrt", data=y)["stat"], stat, rtol=1e-6)


def test_held_dispersions_stay_held(problem):
    """A moment estimate is no maximum: it is kept under the hypothesis, so that the ratio cannot be negative."""
    fit = fit_of(problem, "~ group + age", dispersion="moments")
    table = isthmus.test_glm(fit, "age", method="lrt", data=problem[0])
    counts, cells, size_factors = problem
    y, alpha = counts.toarray()[:, 3], fit.dispersion[3]
    b = (cells["group"] == "b").to_numpy()
    best = minimize(
        lambda a: -nb_log_likelihood(y, size_factors * np.exp(a[0] + a[1] * b), alpha), [1.0, 0.0], tol=1e-10
    )
    assert table["stat"][3] == pytest.approx(2 * (log_likelihood(fit)[3] + best.fun), abs=1e-5)


@pytest.mark.parametrize("information", ["expected", "observed"])
@pytest.mark.parametrize(
    ("question", "mean", "dispersion"),
    [
        ({"coef": "age"}, "~ group + batch", "~ group"),
        ({"factor": "batch"}, "~ group + age", "~ group"),
        ({"coef": "group[T.b]", "model": "dispersion"}, "~ group + batch + age", "~ 1"),
    ],
)
def test_score_is_raos(problem, fit, question, mean, dispersion, information):
    """U' I^-1 U at the null, the score by numerical differentiation of scipy's log-likelihood."""
    counts, cells, size_factors = problem
    table = isthmus.test_glm(fit, **question, method="score", information=information, data=counts)
    null = fit_of(problem, mean, dispersion_design=dispersion)
    x = isthmus.design_matrix(cells, "~ group + batch + age")
    z = isthmus.design_matrix(cells, "~ group")
    gene, parameters = 5, [*x.columns, *(f"d:{name}" for name in z.columns)]
    at = pd.Series(0.0, index=parameters)
    at[null.coef().index] = null.coef().iloc[:, gene]
    at[[f"d:{name}" for name in null.coef("dispersion").index]] = null.coef("dispersion").iloc[:, gene].to_numpy()
    y = counts.toarray()[:, gene]

    def value(theta):
        alpha = np.exp(z.to_numpy() @ theta[5:])
        return nb_log_likelihood(y, size_factors * np.exp(x.to_numpy() @ theta[:5]), alpha)

    score, hessian = derivatives(value, at.to_numpy())
    inner = -hessian
    if information == "expected":
        mu, alpha = null.predict().to_numpy()[:, gene], null.predict(type="dispersion").to_numpy()[:, gene]
        inner = -hessian.copy()
        inner[:5, :5] = (x.to_numpy().T * (mu / (1 + alpha * mu))) @ x.to_numpy()
        inner[:5, 5:] = inner[5:, :5] = 0
    rao = score @ np.linalg.inv(inner) @ score
    stat = table["stat"][gene] if "factor" in question else table["stat"][gene] ** 2
    assert stat == pytest.approx(rao, rel=1e-3, abs=1e-4)


def derivatives(value, at, h=1e-4):
    n = len(at)
    e = np.eye(n) * h
    gradient = np.array([(value(at + e[i]) - value(at - e[i])) / (2 * h) for i in range(n)])
    hessian = np.array(
        [
            [
                (value(at + e[i] + e[j]) - value(at + e[i] - e[j]) - value(at - e[i] + e[j]) + value(at - e[i] - e[j]))
                / (4 * h * h)
                for j in range(n)
            ]
            for i in range(n)
        ]
    )
    return gradient, hessian


def test_score_and_wald_agree_on_what_is_close(problem, fit):
    wald, score = (isthmus.test_glm(fit, "age", method=m, data=problem[0]) for m in ("wald", "score"))
    small = wald["stat"].abs() < 2
    np.testing.assert_allclose(score["stat"][small], wald["stat"][small], atol=0.2)
    np.testing.assert_allclose(score["pval"], 2 * norm.sf(score["stat"].abs()), rtol=1e-9)


# ---- bounds and separation


def test_mixture():
    stat = np.array([0.0, 1.0, 4.0, np.nan])
    np.testing.assert_allclose(mixture(stat, 1), [1, chi2.sf(1, 1) / 2, chi2.sf(4, 1) / 2, np.nan])
    np.testing.assert_allclose(mixture(stat, 2), [1, *((chi2.sf(s, 1) + chi2.sf(s, 2)) / 2 for s in (1, 4)), np.nan])


@pytest.mark.parametrize(("alpha", "most"), [(0.0, 0.05), (0.03, 0.07), (0.1, 0.07)])
def test_dispersion_ratio_keeps_its_level_near_the_bound(alpha, most):
    """Without the mixture 1.2 % are rejected at alpha = 0 where 5 % are meant."""
    rng = np.random.default_rng(4)
    shape = (400, 1500)
    y = rng.poisson(3 * (rng.gamma(1 / alpha, alpha, shape) if alpha else 1.0), size=shape).astype(float)
    x = np.column_stack([np.ones(400), np.repeat([0.0, 1.0], 200)])
    fit = isthmus.fit_glm(y, x, dispersion_design=x, size_factors=None)
    pval = isthmus.test_glm(fit, "x2", model="dispersion", method="lrt", data=y)["pval"]
    share = (pval < 0.05).sum() / len(pval)
    assert 0.02 < share < most


@pytest.fixture(scope="module")
def awkward():
    y, cells, names = awkward_counts()
    data = pd.DataFrame(y, index=cells.index, columns=names)
    return data, isthmus.fit_glm(data, "~ group", cell_data=cells, size_factors=None)


def test_separated_contrast_has_the_p_value_of_the_ratio(awkward):
    data, fit = awkward
    wald = isthmus.test_glm(fit, "group[T.b]", data=data).set_index("gene")
    ratio = isthmus.test_glm(fit, "group[T.b]", method="lrt", data=data).set_index("gene")
    for gene in ("separated", "one_count"):
        assert wald.loc[gene, "method"] == "lrt"
        assert wald.loc[gene, "status"] == "separated"
        assert wald.loc[gene, "estimate"] == -np.inf
        assert wald.loc[gene, "pval"] == ratio.loc[gene, "pval"]
    # one count in 100 + 100 cells: 2 log 2
    assert wald.loc["one_count", "stat"] == pytest.approx(2 * np.log(2), abs=1e-5)
    assert (wald.loc[["plain", "outlier"], "method"] == "wald").all()
    assert np.isnan(wald.loc["all_zero", "pval"])
    assert ratio.loc["poisson", "pval"] == pytest.approx(1.0)
    other = isthmus.test_glm(fit, "Intercept", data=data).set_index("gene")
    assert other.loc["separated", "status"] == "ok"
    assert other.loc["separated", "method"] == "wald"


def test_separated_contrast_without_counts_says_what_is_missing(awkward):
    data, fit = awkward
    lost = pickle.loads(pickle.dumps(fit))  # the source is forgotten
    with collected() as messages:
        table = isthmus.test_glm(lost, "group[T.b]").set_index("gene")
    assert messages == [
        "`data`: 'separated', 'one_count' are separated in 'group[T.b]'; a p-value there is a likelihood ratio's, for "
        "which counts are needed. Pass what fit_glm() was given."
    ]
    assert np.isnan(table.loc["separated", "pval"])
    with collected() as messages:
        isthmus.test_glm(lost, "group[T.b]", data=data)
        isthmus.test_glm(lost, "Intercept")
    assert messages == []


def test_firths_estimate_of_an_empty_group_is_half_a_count(awkward):
    """Poisson, two groups: Firth's estimate adds 1/2 to each total."""
    data, _ = awkward
    x = np.column_stack([np.ones(200), np.repeat([0.0, 1.0], 100)])
    fit = isthmus.fit_glm(data[["separated", "one_count", "plain"]], x, noise_model="poisson", size_factors=None)
    table = isthmus.test_glm(fit, "x2", data=data[["separated", "one_count", "plain"]])
    total = data["separated"].sum()
    np.testing.assert_allclose(table["estimate_penalized"][:2], np.log([0.5 / (total + 0.5), 0.5 / 1.5]), rtol=1e-6)
    assert np.isnan(table["estimate_penalized"][2])


def test_firths_estimate_maximises_the_penalised_likelihood(awkward):
    data, fit = awkward
    gene = int(np.flatnonzero(fit.gene_names == "separated")[0])
    evidence, model = find_evidence(fit, data, None, None), refit.full_model(fit)
    alpha = np.full((200, 1), fit.dispersion[gene])
    found = firth_estimates(model, evidence, np.array([gene]), alpha)[:, 0]
    y = data["separated"].to_numpy()

    def penalised(coef):
        mu = np.exp(model.x @ coef + model.offset)
        information = (model.x.T * (mu / (1 + alpha[:, 0] * mu))) @ model.x
        return nb_log_likelihood(y, mu, alpha[:, 0]) + np.linalg.slogdet(information)[1] / 2

    slopes = [(penalised(found + e) - penalised(found - e)) / 2e-4 for e in np.eye(2) * 1e-4]
    np.testing.assert_allclose(slopes, 0, atol=1e-4)


# ---- where the counts come from


def test_counts_are_found_while_they_are_around_and_asked_for_afterwards(problem):
    counts, cells, size_factors = problem
    own = counts.copy()
    fit = isthmus.fit_glm(own, "~ group", cell_data=cells, size_factors=size_factors)
    found = isthmus.test_glm(fit, "group[T.b]", method="lrt")
    pd.testing.assert_frame_equal(found, isthmus.test_glm(fit, "group[T.b]", method="lrt", data=counts))
    del own
    gc.collect()
    with pytest.raises(InputError, match='`data` must be passed again for method="lrt"'):
        isthmus.test_glm(fit, "group[T.b]", method="lrt")


def test_changed_counts_are_not_used(problem):
    counts, cells, size_factors = problem
    own = counts.copy()
    fit = isthmus.fit_glm(own, "~ group", cell_data=cells, size_factors=size_factors)
    own.data = own.data * 2
    with pytest.raises(InputError, match='`data` must be passed again for method="score"'):
        isthmus.test_glm(fit, "group[T.b]", method="score")
    with pytest.raises(InputError, match="`data` must hold the counts that were fitted; the means of 'gene1'"):
        isthmus.test_glm(fit, "group[T.b]", method="score", data=own)


def test_a_fit_with_its_source_is_pickled_without_it(problem):
    fit = pickle.loads(pickle.dumps(fit_of(problem, "~ group")))
    with pytest.raises(InputError, match="`data` must be passed again"):
        isthmus.test_glm(fit, "group[T.b]", method="lrt")


def test_separated_genes_without_counts_have_no_p_value(awkward):
    _, fit = awkward
    table = isthmus.test_glm(pickle.loads(pickle.dumps(fit)), "group[T.b]").set_index("gene")
    assert table.loc["separated", "method"] == "wald"
    assert table.loc["separated", ["pval", "estimate_penalized"]].isna().all()


def test_an_offset_per_cell_and_gene_is_asked_for_again(problem):
    counts, cells, _ = problem
    offset = np.random.default_rng(0).normal(0, 0.2, counts.shape)
    options = {"cell_data": cells, "size_factors": None}
    fit = isthmus.fit_glm(counts, "~ group", offset=offset, **options)
    with pytest.raises(InputError, match="`offset` must be passed again"):
        isthmus.test_glm(fit, "group[T.b]", method="lrt", data=counts)
    table = isthmus.test_glm(fit, "group[T.b]", method="lrt", data=counts, offset=offset)
    null = isthmus.fit_glm(counts, "~ 1", offset=offset, **options)
    np.testing.assert_allclose(table["stat"], 2 * (log_likelihood(fit) - log_likelihood(null)), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"coef": "age", "method": "lrt", "reference": "t"}, r'`reference` = "t" is for Wald and score tests'),
        ({"coef": "age", "method": "lrt", "lfc_threshold": 0.5}, r'`lfc_threshold` needs method="wald"; got \'lrt\''),
        ({"reduced": "~ group + sex"}, r"`reduced`.*sex"),
        ({"reduced": "~ group + batch + age"}, r"`reduced` must be smaller than the model of the fit"),
        ({"reduced": ["nope"]}, r"`reduced` must be a formula.*nope"),
        ({"reduced": np.random.default_rng(0).normal(size=(240, 2))}, r"`reduced` must be nested.*'1', '2'"),
        ({"contrast": ["age = 0", "age = 1"]}, r"`contrast` must not contradict itself.*age = 0; age = 1"),
        ({"coef": "age", "offset": np.zeros(240), "method": "lrt"}, r"`offset` is only asked for again"),
        ({"coef": "age", "n_threads": 0}, r"`n_threads` must be a whole number of at least 1; got 0"),
        ({"coef": "age", "n_threads": 2**31}, r"`n_threads` must be below 2\^31; got 2147483648"),
        ({"coef": "age", "reduced": "~ 1"}, r"One of .*got `coef` and `reduced`"),
    ],
)
def test_wrong_arguments(problem, fit, options, match):
    with pytest.raises(InputError, match=f"(?s){match}"):
        isthmus.test_glm(fit, **options, data=problem[0])


def test_other_data_are_refused(problem, fit):
    with pytest.raises(InputError, match="`data` must be the counts of the fit, 240 cells x 20 genes; got 240 x 19"):
        isthmus.test_glm(fit, "age", method="lrt", data=problem[0][:, :19])
