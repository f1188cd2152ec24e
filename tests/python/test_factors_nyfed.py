"""The New York Fed's nowcasting programs: smoothed series, a forecast and news, from the MATLAB output that statsmodels
ships (its test_dynamic_factor_mq_frbny_nowcast.py shows how the two map: a time 0 without data, and measurement noise
of 1e-4)."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels
from scipy.io import loadmat
from statsmodels.tsa.statespace.dynamic_factor_mq import DynamicFactorMQ

from isthmus.factors.news import _impacts, _Vintages
from isthmus.factors.params import Block, Spec
from isthmus.factors.statespace import build, expected_observations
from isthmus.factors.statsmodels_engine import params_of, reordered

FOLDER = Path(statsmodels.__file__).parent / "tsa/statespace/tests/results/frbny_nowcast"
MONTHLY = ["CPIAUCSL", "UNRATE", "PAYEMS", "RSAFS", "TTLCONS", "TCU"]
BLOCKS = {
    "CPIAUCSL": ["global", "test1"],
    "UNRATE": ["global", "test2"],
    "PAYEMS": ["global", "test2"],
    "RSAFS": ["global", "test1", "test2"],
    "TTLCONS": ["global", "test1"],
    "TCU": ["global", "test2"],
    "GDPC1": ["global", "test1", "test2"],
    "ULCNFB": ["global"],
}


def read_vintage(date):
    """The transformed monthly and quarterly series of a vintage, from 2000."""
    raw = pd.read_csv(FOLDER / "Nowcasting/data/US" / f"{date}.csv")
    raw.index = pd.PeriodIndex(raw.pop("Date"), freq="M")
    monthly = raw[MONTHLY].copy()
    for name in ("CPIAUCSL", "RSAFS", "TTLCONS"):
        monthly[name] = (monthly[name] / monthly[name].shift(1) - 1) * 100
    for name in ("UNRATE", "PAYEMS", "TCU"):
        monthly[name] = monthly[name].diff()
    quarterly = raw[["GDPC1", "ULCNFB"]]
    quarterly = quarterly[quarterly.index.month % 3 == 0]
    quarterly = quarterly.set_axis(quarterly.index.asfreq("Q"), axis=0)
    quarterly = ((quarterly / quarterly.shift(1)) ** 4 - 1) * 100
    parts = [frame.loc["2000":] for frame in (monthly, quarterly)]
    return [frame.loc[frame.first_valid_index() : frame.last_valid_index()] for frame in parts]


def read_run(name, kind):
    """DynamicFactorMQ at the MATLAB parameters, its first state, and the MATLAB results."""
    blocks = "blocks" in name
    found = loadmat(FOLDER / f"test_{kind}_{name}.mat")
    k, p = (int(found["Spec"][field][0, 0][0, 0]) for field in ("k", "p"))
    factors = k * max(5, p) * (3 if blocks else 1) + (6 if blocks else 3)
    order = np.r_[np.arange(factors), factors + np.arange(10).reshape(2, 5).ravel(order="F")]
    results = {field: found["Res"][field][0, 0] for field in found["Res"].dtype.names}
    options = {"factors": k, "factor_orders": {("0", "1"): p} if k == 2 else p}
    if blocks:
        names = ("global", "test1", "test2")
        options = {"factors": BLOCKS, "factor_orders": dict.fromkeys(names, k)}
        options["factor_multiplicities"] = dict.fromkeys(names, k) if k > 1 else None
        options["factor_orders"] = dict.fromkeys(names, p if k == 1 else 2)
    monthly, quarterly = read_vintage("2016-06-29")
    n_monthly = 6 if blocks else 3
    model = DynamicFactorMQ(
        monthly.iloc[:, :n_monthly],
        endog_quarterly=quarterly,
        idiosyncratic_ar1=True,
        init_t0=True,
        obs_cov_diag=True,
        **options,
    )
    model.update(found["params"][:, 0])
    first = results["Z_0"][:, 0][order], results["V_0"][order][:, order]
    return model, first, results


def ours(model, first):
    """Our state space with the MATLAB programs' measurement noise."""
    names = list(model._s.factor_names)
    loads = model._s.endog_factor_map.to_numpy().astype(bool)
    blocks = tuple(
        Block("+".join(b.factor_names), tuple(names.index(f) for f in b.factor_names), int(b.factor_order))
        for b in model._s.factor_blocks
    )
    quarterly = np.arange(len(loads)) >= model.k_endog_M
    spec = Spec(loads, blocks, "ar1", "known", quarterly)
    order = np.arange(len(loads))
    params = params_of(model, spec, order)
    space = build(params, spec, initial=reordered(*first, model, spec, order))
    return replace(space, obs_var=np.full(len(loads), 1e-4))


@pytest.mark.parametrize("run", ["111", "112", "221", "222", "blocks_111", "blocks_112", "blocks_221", "blocks_222"])
def test_smoothed_series_and_forecast(run):
    model, first, results = read_run(run, "dfm")
    y = np.vstack([np.asarray(model.endog), np.full((1, model.k_endog), np.nan)])
    found = expected_observations(y, ours(model, first))[1:]
    np.testing.assert_allclose(found, results["x_sm"], rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("run", ["112", "222", "blocks_112", "blocks_222"])
def test_news(run):
    model, first, results = read_run(run, "news")
    monthly, quarterly = read_vintage("2016-07-29")
    later = model.clone(
        (monthly.iloc[:, : model.k_endog_M] - model._endog_mean[: model.k_endog_M].to_numpy())
        / model._endog_std[: model.k_endog_M].to_numpy(),
        endog_quarterly=(quarterly - model._endog_mean[model.k_endog_M :].to_numpy())
        / model._endog_std[model.k_endog_M :].to_numpy(),
        standardize=False,
    )
    months = pd.period_range(monthly.index[0] - 1, "2016-09", freq="M")
    old, new = (np.full((len(months), model.k_endog), np.nan) for _ in range(2))
    old[: len(model.endog)], new[: len(later.endog)] = model.endog, later.endog
    gdp = model.k_endog_M
    revisions, news = _impacts(_Vintages(months, old, new, (len(months) - 1, gdp)), ours(model, first))
    sd = float(model._endog_std.iloc[gdp])
    assert revisions.sum() * sd == pytest.approx(float(results["impact_revisions"].ravel()[0]), rel=1e-7)
    table = results["news_table"]
    at = {name: i for i, name in enumerate(model.endog_names)}
    expected = [("2016-06", "CPIAUCSL"), ("2016-06", "UNRATE"), ("2016-06", "PAYEMS")]
    if gdp == 6:
        expected += [("2016-06", "RSAFS"), ("2016-05", "TTLCONS"), ("2016-06", "TCU")]
    expected += [("2016-06", "GDPC1")]
    for row, (month, name) in enumerate(expected):
        place = months.get_loc(month), at[name]
        assert news[place] * sd == pytest.approx(table[row][-1], rel=1e-7), name
