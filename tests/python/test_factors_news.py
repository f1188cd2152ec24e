"""News, forecasts and the state space behind them, against DynamicFactorMQ and against conditional expectations."""

import numpy as np
import pandas as pd
import pytest

import isthmus
from isthmus.errors import InputError
from isthmus.factors import kernel
from isthmus.factors.news import _weights
from isthmus.factors.statespace import build, expected_observations, forecast_moments, innovations
from isthmus.testing import simulate_panel

N = 80
MONTHS = pd.period_range("2001-01", periods=N, freq="M")


@pytest.fixture(scope="module")
def new():
    values = pd.DataFrame(np.asarray(simulate_panel(N, 5, seed=3, missing=0.04).X), MONTHS, [f"y{i}" for i in range(5)])
    values.iloc[-1, 2:] = np.nan
    values.iloc[-2, 4] = np.nan
    return values


@pytest.fixture(scope="module")
def old(new):
    values = new.iloc[:-2].copy()
    values.iloc[-3:, 3] = np.nan
    values.iloc[-1, 1] = np.nan
    values.iloc[40, 0] += 0.7
    values.iloc[-4, 2] -= 0.3
    return values


@pytest.fixture(scope="module", params=["ar1", "iid"])
def idiosyncratic(request):
    return request.param


@pytest.fixture(scope="module")
def fit(old, idiosyncratic):
    return isthmus.fit_factors(old, factors=1, idiosyncratic=idiosyncratic)


TARGETS = [{}, {"series": "y4"}, {"series": "y3", "time": "2007-06"}, {"series": "y2", "time": "2007-11"}]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("refit", [False, True])
def test_impacts_sum_to_the_change(fit, new, target, refit):
    table = isthmus.factor_news(fit, new, **target, refit=refit)
    change = table.attrs["after"] - table.attrs["before"]
    assert table["impact"].sum() == pytest.approx(change, abs=1e-8)
    assert list(table["kind"].unique()) == ["revision", "news", "reestimation"]
    # An observed value is what it is under any parameters.
    observed = target.get("time", "2007-06") == "2007-06" and target.get("series") != "y4"
    assert (abs(table["impact"].iloc[-1]) > 1e-12) == (refit and not observed)


def test_rows_are_the_revised_and_the_new_values(fit, new, old):
    table = isthmus.factor_news(fit, new)
    kinds = table["kind"].value_counts()
    was, now = old.reindex(new.index).notna(), new.notna()
    assert kinds["news"] == int((now & ~was).to_numpy().sum())
    assert kinds["revision"] == 2
    assert set(table.query("kind == 'revision'")["series"]) == {"y0", "y2"}


def test_nothing_new_gives_no_news(fit, old):
    table = isthmus.factor_news(fit, old)
    assert list(table["kind"]) == ["reestimation"]
    assert table.attrs["before"] == table.attrs["after"]


def test_before_is_the_forecast_of_the_old_fit(fit, new):
    table = isthmus.factor_news(fit, new, series="y1")
    forecast = isthmus.forecast_factors(fit, 2).query("name == 'y1'")
    assert table.attrs["before"] == pytest.approx(forecast["mean"].iloc[-1], abs=1e-8)


def test_a_withdrawn_value_is_a_revision(fit, old):
    gone = old.copy()
    gone.iloc[-2, 0] = np.nan
    table = isthmus.factor_news(fit, gone, series="y1", time="2006-08")
    assert list(table["kind"]) == ["revision", "reestimation"]
    assert table["impact"].sum() == pytest.approx(table.attrs["after"] - table.attrs["before"], abs=1e-10)


def test_weights_are_derivatives(fit):
    one = fit.one()
    model = build(one.estimate.params, one.spec, noise_in_state=True)
    target, y = (len(one.y) - 1, 1), one.y.copy()
    weights = _weights(~np.isnan(y), model, target)
    for place in [(40, 0), (len(y) - 2, 2), (len(y) - 5, 4)]:
        ends = []
        for step in (1.0, -1.0):
            moved = y.copy()
            moved[place] += step
            ends.append(expected_observations(moved, model)[target])
        assert weights[place] == pytest.approx((ends[0] - ends[1]) / 2, abs=1e-10)


def test_news_are_those_of_statsmodels(new, old, idiosyncratic):
    from statsmodels.tsa.statespace.dynamic_factor_mq import DynamicFactorMQ

    fit = isthmus.fit_factors(old, factors=1, idiosyncratic=idiosyncratic, engine="statsmodels")
    one = fit.one()
    table = isthmus.factor_news(fit, new, series="y3", time="2007-08")
    options = {"factors": 1, "idiosyncratic_ar1": idiosyncratic == "ar1", "standardize": False}
    model = DynamicFactorMQ((old - one.mean) / one.sd, **options)
    before = model.fit(disp=False)
    after = before.apply((new - one.mean) / one.sd, retain_standardization=False)
    theirs = after.news(before, impact_date="2007-08", impacted_variable="y3", comparison_type="previous")
    impact = theirs.impacts.iloc[0] * one.sd[3]
    mine = table.groupby("kind")["impact"].sum()
    assert mine["news"] == pytest.approx(impact["impact of news"], abs=1e-6)
    assert mine["revision"] == pytest.approx(impact["impact of revisions"], abs=1e-6)
    details = (theirs.details_by_impact["impact"] * one.sd[3]).to_numpy()
    np.testing.assert_allclose(np.sort(table.query("kind == 'news'")["impact"]), np.sort(details), atol=1e-6)


def test_forecasts_are_those_of_statsmodels(old, idiosyncratic):
    from statsmodels.tsa.statespace.dynamic_factor_mq import DynamicFactorMQ

    fit = isthmus.fit_factors(old, factors=1, idiosyncratic=idiosyncratic, engine="statsmodels")
    model = DynamicFactorMQ(old, factors=1, idiosyncratic_ar1=idiosyncratic == "ar1")
    result = model.fit(disp=False)
    assert fit.log_likelihood[0] == pytest.approx(result.llf, abs=1e-6)
    theirs = result.get_forecast(5)
    mine = isthmus.forecast_factors(fit, 5, level=0.9).query("kind == 'series'")
    for column, expected in (("mean", theirs.predicted_mean), ("sd", theirs.se_mean)):
        wide = mine.pivot(index="time", columns="name", values=column)
        np.testing.assert_allclose(wide.to_numpy(), expected.to_numpy(), atol=1e-6)
    smoothed = fit.table("factors")["smoothed"].to_numpy()
    np.testing.assert_allclose(smoothed, result.factors["smoothed"].to_numpy()[:, 0], atol=1e-6)
    ends = theirs.conf_int(alpha=0.1)
    np.testing.assert_allclose(mine["lower"], ends.iloc[:, :5].to_numpy().T.ravel(), atol=1e-6)
    assert list(mine["time"][:5]) == [str(p) for p in pd.period_range("2007-07", periods=5, freq="M")]


def test_the_kernel_and_the_full_state_space_agree(fit):
    one = fit.one()
    model = build(one.estimate.params, one.spec)
    theirs, mine = forecast_moments(one.y, model, 4), kernel.forecast(one.y, one.spec, one.estimate.params, 4)
    np.testing.assert_allclose(mine.series, theirs[0], atol=1e-8)
    np.testing.assert_allclose(mine.series_var, theirs[1], atol=1e-8)
    np.testing.assert_allclose(mine.factors, theirs[2], atol=1e-8)
    states = kernel.states(one.y, one.spec, one.estimate.params)
    np.testing.assert_allclose(
        states.innovations / np.sqrt(states.innovation_var), innovations(one.y, model), atol=1e-7
    )


def test_quarterly_targets_come_first(new):
    quarterly = new["y4"].copy()
    quarterly[[month.month % 3 != 0 for month in new.index]] = np.nan
    mixed = new.assign(y4=quarterly)
    mixed.attrs["frequency"] = {"y4": "quarterly"}
    before = mixed.iloc[:-4].copy()
    before.attrs = mixed.attrs
    fit = isthmus.fit_factors(before, factors=1, transform="none")
    table = isthmus.factor_news(fit, mixed)
    assert table.attrs["series"] == "y4"
    assert table["impact"].sum() == pytest.approx(table.attrs["after"] - table.attrs["before"], abs=1e-8)


def test_news_of_one_batch_of_an_anndata():
    panel = simulate_panel(60, 4, n_batches=2, seed=1)
    early = panel[panel.obs["time"] < panel.obs["time"].max()].copy()
    fit = isthmus.fit_factors(early, factors=1, batch="batch", time="time")
    table = isthmus.factor_news(fit, panel, batch="batch2")
    assert table["kind"].tolist() == ["news"] * 4 + ["reestimation"]
    assert table["impact"].sum() == pytest.approx(table.attrs["after"] - table.attrs["before"], abs=1e-8)
    alone = panel[panel.obs["batch"] == "batch2"].copy()
    np.testing.assert_array_equal(isthmus.factor_news(fit, alone, batch="batch2")["impact"], table["impact"])
    with pytest.raises(InputError, match="`batch` must name one of the 2 batches; got None"):
        isthmus.factor_news(fit, panel)


@pytest.mark.parametrize(
    ("change", "options", "match"),
    [
        (lambda x: x.drop(columns="y2"), {}, "`new_data` must have every series of the fit; it lacks y2"),
        (
            lambda x: x.iloc[:50],
            {},
            r"`new_data` must have every time of the old data; it lacks 28 \(the first 2005-03",
        ),
        (lambda x: x, {"series": "gdp"}, "`series` must be a series of the fit; got 'gdp'"),
        (lambda x: x, {"time": "1990-01"}, "`time` must be a time of `new_data` or one of the 60 that follow"),
        (lambda x: x, {"batch": "b"}, "`batch` must be a batch of the fit; got 'b'"),
    ],
)
def test_rules(fit, new, change, options, match):
    with pytest.raises(InputError, match=match):
        isthmus.factor_news(fit, change(new), **options)
