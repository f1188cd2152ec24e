"""Plots of factor models show the numbers of their tables."""

import matplotlib as mpl
import numpy as np
import pytest

import isthmus
from isthmus import plotting
from isthmus.testing import simulate_panel

mpl.use("Agg")


@pytest.fixture(autouse=True)
def closed():
    yield
    from matplotlib import pyplot as plt

    plt.close("all")


@pytest.fixture(scope="module")
def fit():
    return isthmus.fit_factors(
        simulate_panel(60, 6, n_factors=2, n_batches=2, seed=2), factors=2, batch="batch", time="time"
    )


def test_ribbons(fit):
    axes = plotting.factor_ribbons(fit, "Global.2", which="filtered")
    table = fit.table("factors").query("factor == 'Global.2' and batch == 'batch2'")
    np.testing.assert_allclose(axes.lines[1].get_ydata(), table["filtered"])
    assert len(axes.collections) == 2
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["batch1", "batch2"]


def test_heatmap(fit):
    axes = plotting.loading_heatmap(fit, "batch1")
    np.testing.assert_allclose(axes.images[0].get_array(), fit.one("batch1").estimate.params.loadings)


def test_fitted_against_observed(fit):
    axes = plotting.fitted_observed(fit, "y3", "batch2")
    np.testing.assert_allclose(axes.lines[0].get_ydata(), fit.observed("batch2")["y3"])
    np.testing.assert_allclose(axes.lines[1].get_ydata(), fit.fitted("batch2")["y3"])


def test_scree():
    table = isthmus.select_n_factors(simulate_panel(80, 8, seed=1), max_factors=4)
    axes = plotting.scree(table, ("ER",))
    np.testing.assert_allclose(axes.lines[0].get_ydata(), table.query("criterion == 'ER'")["value"])


def test_news_bars_sum_to_the_change():
    panel = simulate_panel(60, 6, seed=1).to_df()
    news = isthmus.factor_news(isthmus.fit_factors(panel.iloc[:-2], factors=1), panel)
    axes = plotting.news_bars(news, n=3)
    assert len(axes.patches) == 4
    assert sum(bar.get_width() for bar in axes.patches) == pytest.approx(news["impact"].sum())
