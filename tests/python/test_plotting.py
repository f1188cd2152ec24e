"""Plots show the rows they should, and say what is missing where matplotlib is not installed."""

import sys

import matplotlib as mpl
import numpy as np
import pytest

import isthmus
from isthmus.plotting import mean_dispersion, volcano

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


def test_mean_dispersion_puts_the_poisson_limit_on_the_edge(fit: isthmus.GlmFit) -> None:
    axes = mean_dispersion(fit)
    genes = fit.table("genes")
    at_limit = [points for points in axes.collections if points.get_label() == "Poisson limit"]
    assert len(at_limit) == 1
    assert len(at_limit[0].get_offsets()) == (genes["dispersion"] == 0).sum() >= 1


def test_given_axes_are_used(fit: isthmus.GlmFit) -> None:
    from matplotlib import pyplot as plt

    own = plt.subplots()[1]
    assert mean_dispersion(fit, ax=own) is own


def test_without_matplotlib_the_command_is_named(fit: isthmus.GlmFit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(isthmus.MissingDependencyError, match=r"pip install 'isthmus\[plot\]'"):
        mean_dispersion(fit)
