"""Plots show the rows they should, and say what is missing where matplotlib is not installed."""

import sys

import matplotlib as mpl
import numpy as np
import pytest

import isthmus
from isthmus.plotting import coefficients, fitted_counts, ma, mean_dispersion, p_values, volcano

mpl.use("Agg")


@pytest.fixture(scope="module")
def fit() -> isthmus.GlmFit:
    rng = np.random.default_rng(0)
    counts = rng.negative_binomial(2, 0.3, size=(120, 8)).astype(float)
    counts[60:, 0] *= 8  # a gene that differs
    counts[:60, 1] = 0  # separated: has no p-value
    counts[:, 2] = rng.poisson(3, 120)
    counts[:, 3] = np.tile([2.0, 3.0], 60)  # less variable than Poisson
    design = np.column_stack([np.ones(120), np.repeat([0.0, 1.0], 60)])
    return isthmus.fit_glm(counts, design, size_factors=None)


def test_volcano_draws_every_gene_with_a_p_value(fit: isthmus.GlmFit) -> None:
    test = isthmus.test_glm(fit, "x2")
    axes = volcano(test, n_labels=1)
    drawn = sum(len(points.get_offsets()) for points in axes.collections)
    assert drawn == test["pval"].notna().sum() == 7
    assert [text.get_text() for text in axes.texts] == ["gene1"]


def test_a_test_without_fold_changes_has_no_volcano(fit: isthmus.GlmFit) -> None:
    with pytest.raises(isthmus.InputError, match=r"`test` must have fold changes"):
        volcano(isthmus.test_glm(fit, contrast=["x1", "x2"]))
    y = np.random.default_rng(0).normal(size=(60, 2))
    normal = isthmus.fit_glm(y, np.ones((60, 1)), noise_model="normal")
    for draw in (volcano, ma):
        with pytest.raises(isthmus.InputError, match="has none, nor has the normal noise model"):
            draw(isthmus.test_glm(normal, "x1"))
    with pytest.raises(isthmus.InputError, match="`fit` must be of counts for dispersion against mean"):
        mean_dispersion(normal)


def test_mean_dispersion_puts_the_poisson_limit_on_the_edge(fit: isthmus.GlmFit) -> None:
    axes = mean_dispersion(fit)
    genes = fit.table("genes")
    at_limit = [points for points in axes.collections if points.get_label() == "Poisson limit"]
    assert len(at_limit) == 1
    assert len(at_limit[0].get_offsets()) == (genes["dispersion"] == 0).sum() >= 1


def test_ma_draws_what_the_volcano_draws(fit: isthmus.GlmFit) -> None:
    test = isthmus.test_glm(fit, "x2")
    axes = ma(test)
    assert sum(len(points.get_offsets()) for points in axes.collections) == test["pval"].notna().sum()
    assert axes.get_xscale() == "log"


def test_separated_genes_stand_at_their_penalised_estimate() -> None:
    counts = np.random.default_rng(1).poisson(2, (60, 5)).astype(float)
    counts[30:, 0] = 0
    fit = isthmus.fit_glm(counts, np.column_stack([np.ones(60), np.repeat([0.0, 1.0], 30)]), size_factors=None)
    test = isthmus.test_glm(fit, "x2", data=counts)
    drawn = np.vstack([points.get_offsets() for points in ma(test).collections])
    assert len(drawn) == 5
    assert drawn[:, 1].min() == pytest.approx(test["estimate_penalized"][0] / np.log(2))


def test_histogram_holds_every_p_value(fit: isthmus.GlmFit) -> None:
    test = isthmus.test_glm(fit, "x2")
    bars = p_values(test, n_bins=10).patches
    assert len(bars) == 10
    assert sum(bar.get_height() for bar in bars) == test["pval"].notna().sum()


def test_fitted_counts_are_fitted_and_observed() -> None:
    adata = isthmus.simulate_counts(30, 3, seed=2)
    fit = isthmus.fit_glm(adata)
    drawn = fitted_counts(fit, adata, "gene2").collections[0].get_offsets()
    np.testing.assert_allclose(drawn[:, 1], adata.X.toarray()[:, 1], atol=1e-9)
    np.testing.assert_allclose(drawn[:, 0], fit.predict()["gene2"], rtol=1e-12)


def test_coefficients_against_the_truth(fit: isthmus.GlmFit) -> None:
    reference = np.arange(16.0).reshape(2, 8)
    drawn = coefficients(fit, reference).collections
    assert len(drawn) == 2
    np.testing.assert_allclose(drawn[1].get_offsets()[:, 0], reference[1])
    with pytest.raises(isthmus.InputError, match=r"`reference` must be terms x genes \(2 x 8\).*got 8 x 2"):
        coefficients(fit, reference.T)


def test_trend_is_drawn_where_there_is_one() -> None:
    rng = np.random.default_rng(3)
    counts = rng.negative_binomial(2, 0.1, size=(12, 40)).astype(float)
    fit = isthmus.fit_glm(counts, dispersion="trend")
    assert [line.get_label() for line in mean_dispersion(fit).lines] == ["trend"]


def test_given_axes_are_used(fit: isthmus.GlmFit) -> None:
    from matplotlib import pyplot as plt

    own = plt.subplots()[1]
    assert mean_dispersion(fit, ax=own) is own


def test_without_matplotlib_the_command_is_named(fit: isthmus.GlmFit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(isthmus.MissingDependencyError, match=r"pip install 'isthmus\[plot\]'"):
        mean_dispersion(fit)
