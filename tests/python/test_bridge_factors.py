"""What R sends of a panel and what it gets back, seen from the Python side (tests/testthat/test-factors.R sees R's)."""

import numpy as np
import pandas as pd
import pytest

import isthmus
from isthmus import bridge
from isthmus.bridge.factors import joint_orders, panel_of_r
from isthmus.testing import simulate_panel

OPTIONS = {"factors": 1.0, "factor_orders": 1.0, "max_iter": 500.0}


def r_panel(adata, **parts):
    """A matrix of R, series x time, with the names of its dimensions."""
    return {
        "kind": "matrix",
        "x": np.asfortranarray(adata.X.T),
        "series": {"values": list(adata.var_names), "missing": None},
        "rows": {"values": list(adata.obs_names), "missing": None},
    } | parts


@pytest.fixture(scope="module")
def panel():
    return simulate_panel(60, 5, missing=0.05, seed=2)


def test_a_fit_through_the_bridge_is_the_fit(panel):
    answer = bridge.fit_factors(r_panel(panel), **OPTIONS)
    fit = isthmus.fit_factors(panel, factors=1, max_iter=500)
    assert answer["warnings"] == []
    assert (answer["value"]["fit"].log_likelihood == fit.log_likelihood).all()
    assert answer["value"]["facts"]["kind"] == "FactorFit"
    assert answer["value"]["facts"]["stats"]["n_time"].tolist() == [60]


def test_a_state_that_r_has_kept_gives_the_fit_back(panel):
    value = bridge.fit_factors(r_panel(panel), **OPTIONS)["value"]
    restored = bridge.restore(value["state"], "FactorFit")["value"]
    pd.testing.assert_frame_equal(restored.table("factors"), value["fit"].table("factors"))
    forecast = bridge.forecast_factors(restored, 2.0)["value"]
    assert np.array_equal(forecast["mean"], isthmus.forecast_factors(value["fit"], 2)["mean"])


@pytest.mark.parametrize(
    ("parts", "first", "next_"),
    [
        ({"period": {"year": 1999, "within": 4, "per_year": 4}}, "1999Q4", "2000Q1"),
        ({"period": {"year": 1999, "within": 12, "per_year": 12}}, "1999-12", "2000-01"),
        ({"times": np.arange(1950.0, 2010.0), "rows": None}, "1950", "1951"),
        ({"rows": None}, "1", "2"),
        ({}, "2000-01-01", "2000-02-01"),
    ],
)
def test_times_of_every_kind(panel, parts, first, next_):
    fit = bridge.fit_factors(r_panel(panel, **parts), **OPTIONS)["value"]["fit"]
    assert fit.table("factors")["time"][:2].tolist() == [first, next_]


def test_an_input_error_is_a_value(panel):
    answer = bridge.fit_factors(r_panel(panel), **(OPTIONS | {"factors": 6}))
    assert answer["error"]["class"] == "isthmus_input_error"
    assert "`factors`" in answer["error"]["message"]


def test_a_joint_block_is_a_name_with_a_plus():
    assert joint_orders({"a+b": 2.0, "c": 1.0}) == {("a", "b"): 2.0, "c": 1.0}
    assert joint_orders(2.0) == 2.0


def test_observed_values_are_those_of_the_panel(panel):
    fit = bridge.fit_factors(r_panel(panel), **OPTIONS)["value"]["fit"]
    columns = bridge.fitted_series(fit)["value"]
    assert np.allclose(columns["observed"], panel.X.T.ravel(), equal_nan=True)
    assert np.allclose(columns["fitted"], fit.fitted().to_numpy().T.ravel())


def test_labels_are_written_as_the_tables_write_them():
    months = {"kind": "text", "codes": np.array([0, 1]), "levels": ["2001-01", "2001-02"]}
    numbers = {"kind": "number", "values": np.array([1.0, 2.0])}
    found = bridge.panel_labels(months, numbers)["value"]
    assert found["time"]["levels"] == ["2001-01-01", "2001-02-01"]
    assert found["batch"]["levels"] == ["1", "2"]


def test_na_of_r_is_missing_and_nothing_else(panel):
    """R's NA is a signalling NaN: the smallest of a column with one must still be found."""
    wire = r_panel(panel)
    wire["x"][0, -3:] = np.frombuffer(np.uint64(0x7FF00000000007A2).tobytes(), dtype=np.float64)[0]
    read = panel_of_r(wire)
    assert np.isnan(read["y1"][-3:]).all()
    assert np.isfinite(np.fmin.reduce(read["y1"].to_numpy()))


def test_news_of_a_refit_know_the_columns_of_batches_and_times():
    adata = simulate_panel(40, 5, n_batches=2, seed=4)
    frame = pd.DataFrame(adata.X, columns=adata.var_names).assign(
        b=adata.obs["batch"].to_numpy(), t=adata.obs["time"].to_numpy()
    )
    last = frame["t"] == frame["t"].max()
    fit = isthmus.fit_factors(frame[~last], factors=1, batch="b", time="t")
    news = isthmus.factor_news(fit, frame, batch="batch2", time="2003-05-01", refit=True)
    assert news["impact"].sum() == pytest.approx(news.attrs["after"] - news.attrs["before"], abs=1e-8)
    assert news["kind"].tolist() == ["news"] * 5 + ["reestimation"]
    assert abs(news["impact"].iloc[-1]) > 1e-6
