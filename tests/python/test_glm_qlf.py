"""Quasi-likelihood F tests: their parts against closed forms and simulation, the whole against edgeR and glmGamPoi."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from glm_cases import nb_counts
from peers import peer, peer_problem, same_calls
from scipy import special
from scipy.stats import f as f_law
from scipy.stats import nbinom

import isthmus
from isthmus import _core
from isthmus.errors import InputError
from isthmus.glm.quasi_deviance import residual_deviances
from isthmus.glm.squeeze import inverse_trigamma, squeeze
from isthmus.glm.unit_deviance import cubic_pieces, deviance_moments, scaled_chi_square, unit_deviance
from isthmus.messages import collected


def quietly(*args, **options):
    with collected():
        return isthmus.fit_glm(*args, **options)


@pytest.mark.parametrize(("mu", "alpha"), [(0.05, 0.5), (0.8, 0.1), (3.0, 2.0), (40.0, 0.3)])
def test_moments_of_the_unit_deviance(mu, alpha):
    y = nbinom.rvs(1 / alpha, 1 / (1 + alpha * mu), size=400_000, random_state=1).astype(float)
    d = unit_deviance(y, np.full_like(y, mu), np.full_like(y, alpha))
    expectation, variance = deviance_moments(mu, alpha)
    assert expectation == pytest.approx(d.mean(), rel=0.02)
    assert variance == pytest.approx(d.var(), rel=0.05)
    scale, k = scaled_chi_square(np.array([mu]), np.array([alpha]))
    assert (scale * k)[0] == pytest.approx(expectation, rel=1e-3)
    assert (2 * scale**2 * k)[0] == pytest.approx(variance, rel=3e-3)


def test_unit_deviance_of_a_large_poisson_count_is_chi_square():
    scale, k = scaled_chi_square(np.array([300.0]), np.array([0.0]))
    assert scale[0] == pytest.approx(1, abs=0.01)
    assert k[0] == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("x", [1e-4, 0.3, 2.0, 40.0, 1e5])
def test_inverse_trigamma(x):
    assert inverse_trigamma(float(special.polygamma(1, x))) == pytest.approx(x, rel=1e-3)


def test_squeeze_finds_the_prior():
    rng = np.random.default_rng(3)
    log_mean = rng.normal(2, 1, 20_000)
    prior = np.exp(0.3 * log_mean) * 8 / rng.chisquare(8, 20_000)
    found = squeeze(prior * rng.chisquare(4, 20_000) / 4, np.full(20_000, 4.0), log_mean)
    assert found.df_prior == pytest.approx(8, rel=0.1)
    np.testing.assert_allclose(np.quantile(found.prior / np.exp(0.3 * log_mean), [0.05, 0.5, 0.95]), 1, atol=0.06)


def test_squeeze_of_equal_variances_takes_the_trend():
    rng = np.random.default_rng(4)
    found = squeeze(rng.chisquare(6, 5000) / 6, np.full(5000, 6.0), rng.normal(size=5000))
    assert found.df_prior > 100
    np.testing.assert_allclose(found.posterior, 1, atol=0.15)


def test_genes_without_a_variance_have_the_prior():
    variance = np.r_[np.nan, np.random.default_rng(0).chisquare(5, 100) / 5]
    found = squeeze(variance, np.full(101, 5.0), np.linspace(0, 1, 101))
    assert found.posterior[0] == pytest.approx(found.prior[0])


# ---- the whole


@pytest.fixture(scope="module")
def problem():
    counts, cells = peer_problem()
    return counts, quietly(counts, "~ condition + batch", cell_data=cells, size_factors="size_factor")


@pytest.mark.parametrize("name", ["edger", "glmgampoi"])
def test_calls_are_those_of_the_packages(problem, name):
    counts, fit = problem
    table = isthmus.test_glm(fit, "condition[T.b]", method="qlf", data=counts).set_index("gene")
    spearman, same = same_calls(table["pval"], peer(name)["pval"])
    assert spearman > 0.99
    assert same > 0.97


def test_statistic_is_edgers(problem):
    """Both trends and both priors are estimated, by different smoothers: the statistics are near, not equal."""
    counts, fit = problem
    table = isthmus.test_glm(fit, "condition[T.b]", method="qlf", data=counts)
    ratio = table["stat"].to_numpy() / peer("edger")["f"].to_numpy()
    assert np.median(ratio) == pytest.approx(1, abs=0.05)
    assert (np.abs(ratio - 1) < 0.2).mean() > 0.9


def test_columns_belong_together(problem):
    counts, fit = problem
    one = isthmus.test_glm(fit, "condition[T.b]", method="qlf", data=counts)
    np.testing.assert_allclose(one["pval"], f_law.sf(one["stat"], 1, one["df_resid"]), rtol=1e-9)
    wald = (one["estimate"] / one["se"]) ** 2  # the same quasi dispersion, another approximation of the same test
    assert np.median(np.abs(wald / one["stat"] - 1)) < 0.05
    two = isthmus.test_glm(fit, reduced="~ 1", method="qlf", data=counts)
    assert (two["df"] == 2).all()
    np.testing.assert_allclose(two["pval"], f_law.sf(two["stat"], 2, two["df_resid"]), rtol=1e-9)
    np.testing.assert_allclose(two["df_resid"], one["df_resid"], rtol=1e-9)


def test_kind_of_dispersion_hardly_matters(problem):
    """Gene-wise dispersions enter only through their trend."""
    counts, fit = problem
    other = quietly(
        counts, "~ condition + batch", cell_data=peer_problem()[1], size_factors="size_factor", dispersion="trend"
    )
    one, two = (isthmus.test_glm(f, "condition[T.b]", method="qlf", data=counts) for f in (fit, other))
    np.testing.assert_allclose(two["pval"], one["pval"], rtol=0.02)


@pytest.mark.parametrize("mean", [0.3, 1.0, 5.0, 50.0])
def test_level_with_six_samples_an_arm(mean):
    """Wald tests of maximum-likelihood fits reject 10 % here."""
    rng = np.random.default_rng(7)
    means = np.exp(rng.normal(np.log(mean), 0.5, 2000))
    y = nb_counts(rng, np.tile(means, (12, 1)), 0.3 * np.exp(rng.normal(0, 0.3, 2000)))
    x = np.column_stack([np.ones(12), np.repeat([0.0, 1.0], 6)])
    pval = isthmus.test_glm(quietly(y, x, size_factors=None), "x2", method="qlf", data=y)["pval"].dropna()
    assert 0.025 < (pval < 0.05).mean() < 0.07


def test_awkward_genes():
    rng = np.random.default_rng(8)
    y = nb_counts(rng, np.full((40, 60), 5.0), 0.3)
    y[:, 0], y[20:, 1], y[:, 2] = 0, 0, 5
    cells = pd.DataFrame({"group": np.repeat(["a", "b"], 20)})
    fit = quietly(y, "~ group", cell_data=cells, size_factors=None)
    table = isthmus.test_glm(fit, "group[T.b]", method="qlf", data=y)
    assert table["status"][:3].tolist() == ["all_zero", "separated", "poisson_limit"]
    assert table.loc[0, ["pval", "estimate"]].isna().all()
    assert table["estimate"][1] == -np.inf
    assert table["pval"][1] < 1e-6
    assert table["estimate_penalized"][1] < -2
    assert table["pval"][2] == pytest.approx(1, abs=1e-6)


def test_one_sided(problem):
    counts, fit = problem
    both, above = (
        isthmus.test_glm(fit, "condition[T.b]", method="qlf", alternative=a, data=counts)
        for a in ("two-sided", "greater")
    )
    rises = both["estimate"] > 0
    np.testing.assert_allclose(above["pval"], np.where(rises, both["pval"] / 2, 1 - both["pval"] / 2))


def test_rules(problem):
    counts, fit = problem
    few = quietly(counts.iloc[:, :40], "~ 1", size_factors=None)
    with pytest.raises(InputError, match=r'`method` = "qlf" needs at least 50 genes.*got 40\. Use method="lrt"'):
        isthmus.test_glm(few, "Intercept", method="qlf", data=counts.iloc[:, :40])
    cells = peer_problem()[1]
    wide = quietly(counts, "~ batch", dispersion_design="~ batch", cell_data=cells, size_factors=None)
    with pytest.raises(InputError, match=r'`method` = "qlf" is for tests of the mean with one dispersion.*"lrt"'):
        isthmus.test_glm(wide, "batch[T.y]", method="qlf", data=counts)
    with pytest.raises(InputError, match='`reference` = "t" is for Wald and score tests; quasi-likelihood has its F'):
        isthmus.test_glm(fit, "batch[T.y]", method="qlf", reference="t", data=counts)


def test_counts_that_vary_less_than_poisson_have_a_quasi_dispersion_below_one():
    """No gene has a dispersion to fit a trend to: the test is quasi-Poisson."""
    rng = np.random.default_rng(9)
    y = rng.binomial(10, 0.5, (20, 80)).astype(float)  # variance half the mean
    x = np.column_stack([np.ones(20), np.repeat([0.0, 1.0], 10)])
    fit = quietly(y, x, size_factors=None)
    quasi, plain = isthmus.test_glm(fit, "x2", method="qlf", data=y), isthmus.test_glm(fit, "x2")
    assert np.median(quasi["se"] / plain["se"]) == pytest.approx(np.sqrt(0.5), rel=0.1)
    assert (quasi["pval"] < 0.05).mean() < 0.12


# ---- the compiled sums


def deviance_case(seed: int = 0) -> tuple[tuple, dict]:
    """Cells that fill no whole register, genes from absent to abundant, dispersions from none to beyond the table."""
    rng = np.random.default_rng(seed)
    n_cells, n_genes = 331, 24
    x = np.column_stack([np.ones(n_cells), rng.integers(0, 2, n_cells), rng.normal(size=n_cells)])
    coef = np.vstack([np.linspace(-9, 6, n_genes), rng.normal(0, 0.5, (2, n_genes))])
    alpha = np.tile([0.0, 1e-9, 0.02, 0.4, 3.0, 50.0], 4)
    offset, gene_offset = rng.normal(0, 0.4, n_cells), rng.normal(0, 0.2, (n_cells, n_genes))
    counts = nb_counts(rng, np.exp(x @ coef + offset[:, None] + gene_offset), np.maximum(alpha, 1e-9))
    half = rng.normal(size=(n_genes, 3, 3)) / 30
    arguments = sp.csc_matrix(counts), x, offset, coef, alpha, half @ half.transpose(0, 2, 1)
    return arguments, {"gene_offset": gene_offset, "weights": rng.choice([0.0, 0.3, 1.0, 2.0], counts.shape)}


@pytest.mark.parametrize("name", _core.kernels)
@pytest.mark.parametrize("given", [(), ("gene_offset",), ("weights",), ("gene_offset", "weights")])
def test_compiled_deviances_are_those_of_the_plain_twin(name, given, monkeypatch):
    arguments, options = deviance_case()
    options = {key: options[key] for key in given}
    monkeypatch.setenv("ISTHMUS_KERNEL", "reference")
    plain = residual_deviances(*arguments, **options)
    monkeypatch.setenv("ISTHMUS_KERNEL", name)
    for compiled in (residual_deviances(*arguments, **options, n_threads=n) for n in (1, 3)):
        for ours, twin in zip(compiled, plain, strict=True):
            np.testing.assert_allclose(ours, twin, rtol=1e-9)


def test_pieces_are_the_table_itself():
    alpha = np.array([0.3, 0.0, 12.0, 1e-3, 0.3])
    low, step, pieces = cubic_pieces(alpha)
    log_mean = np.random.default_rng(0).uniform(low, low + step * pieces.shape[1], 500)
    at = ((log_mean - low) / step).astype(int)
    powers = (log_mean - low - at * step)[:, None] ** np.arange(4)
    for j, a in enumerate(alpha):
        expectation, variance = ((pieces[j, at, k : k + 4] * powers).sum(axis=1) for k in (0, 4))
        scale, df = scaled_chi_square(np.exp(log_mean), np.full(500, a))
        np.testing.assert_allclose(np.exp(variance - expectation) / 2, scale, rtol=1e-9)
        np.testing.assert_allclose(2 * np.exp(2 * expectation - variance), df, rtol=1e-9)


def test_arrays_that_do_not_fit_are_refused():
    (columns, x, offset, coef, alpha, inverse), options = deviance_case()
    with pytest.raises(ValueError, match="must have one row per cell"):
        residual_deviances(columns, x[:-1], offset, coef, alpha, inverse)
    with pytest.raises(ValueError, match="`indices` must be cells"):
        residual_deviances(columns, x[:-1], offset[:-1], coef, alpha, inverse)
    with pytest.raises(ValueError, match="must be one per gene"):
        residual_deviances(columns, x, offset, coef[:, 1:], alpha, inverse)
    with pytest.raises(ValueError, match="`weights` must be cells x genes"):
        residual_deviances(columns, x, offset, coef, alpha, inverse, weights=options["weights"][1:])
