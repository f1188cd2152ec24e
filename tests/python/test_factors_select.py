"""The number of factors, and the evaluation of forecasts."""

import numpy as np
import pytest

import isthmus
from isthmus import schema
from isthmus.errors import InputError
from isthmus.factors import evaluate_forecasts
from isthmus.factors.select import complete
from isthmus.testing import simulate_panel


@pytest.mark.parametrize("missing", [0.0, 0.1])
@pytest.mark.parametrize("n_factors", [1, 3])
def test_the_true_number_is_selected(n_factors, missing):
    panel = simulate_panel(250, 40, n_factors=n_factors, missing=missing, seed=6)
    table = isthmus.select_n_factors(panel, max_factors=6)
    assert list(table.columns) == list(schema.N_FACTORS)
    chosen = table[table["selected"]].set_index("criterion")["n_factors"]
    assert chosen.to_dict() == dict.fromkeys(["IC1", "IC2", "IC3", "ER", "GR"], n_factors)


def test_formulas_by_hand():
    rng = np.random.default_rng(1)
    y = rng.normal(size=(30, 5))
    z = (y - y.mean(0)) / y.std(0)
    table = isthmus.select_n_factors(y, max_factors=2).set_index(["criterion", "n_factors"])["value"]
    m = np.linalg.eigvalsh(z.T @ z / z.size)[::-1]
    v1 = m[1:].sum()
    assert table["IC2", 0] == pytest.approx(0, abs=1e-12)
    assert table["IC1", 1] == pytest.approx(np.log(v1) + 35 / 150 * np.log(150 / 35))
    assert table["IC2", 1] == pytest.approx(np.log(v1) + 35 / 150 * np.log(5))
    assert table["IC3", 1] == pytest.approx(np.log(v1) + np.log(5) / 5)
    assert table["ER", 1] == pytest.approx(m[0] / m[1])
    assert table["GR", 1] == pytest.approx(np.log1p(m[0] / m[1:].sum()) / np.log1p(m[1] / m[2:].sum()))


def test_completion_of_an_exact_low_rank_panel():
    rng = np.random.default_rng(2)
    truth = rng.normal(size=(60, 1)) @ rng.normal(size=(1, 10))
    y = np.where(rng.random(truth.shape) < 0.1, np.nan, truth)
    np.testing.assert_allclose(complete(y, 1), truth, atol=1e-6)


@pytest.mark.parametrize(
    ("data", "most", "match"),
    [
        (np.random.default_rng(0).normal(size=(30, 5)), 0, "`max_factors` must be a whole number, 1 or more; got 0"),
        (np.random.default_rng(0).normal(size=(30, 2)), 2, "at least three series and three time points; got 2 and 30"),
        (np.ones((30, 5)), 2, "`data` must have series that vary; got 5 that do not"),
    ],
)
def test_rules(data, most, match):
    with pytest.raises(InputError, match=match):
        isthmus.select_n_factors(data, max_factors=most)


def test_forecasts_beat_an_ar1_where_factors_lead():
    panel = simulate_panel(140, 12, factor_ar=0.9, idio_ar=(-0.1, 0.1), r2=0.7, seed=7).to_df()
    vintages = [panel.iloc[:n] for n in range(110, 140, 3)] + [panel]
    table = evaluate_forecasts(vintages, h=(1, 2), factors=1)
    assert list(table.columns) == ["series", "h", "n", "rmse", "rmse_ar1", "ratio"]
    assert len(table) == 24
    assert set(table["n"]) == {10}
    assert table["ratio"].mean() < 1


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"vintages": []}, "`vintages` must be two panels or more"),
        ({"h": [0]}, "`h` must be a whole number, 1 or more; got 0"),
        ({"h": [1.5]}, "`h` must be a whole number, 1 or more; got 1.5"),
        ({"h": []}, "`h` must name one step or more; got none"),
        ({"vintages": simulate_panel(40, 3, seed=1).to_df()}, "`vintages` must be a list of panels, oldest first; got"),
        ({"series": "q"}, "`series` must name series of `data`; got 'q'"),
        (
            {"factorz": 1},
            "`factorz` must be an option of fit_factors; there is none of that name. Did you mean `factors`",
        ),
    ],
)
def test_evaluation_rules(options, match):
    panel = simulate_panel(40, 3, seed=1)
    with pytest.raises(InputError, match=match):
        evaluate_forecasts(**({"vintages": [panel, panel]} | options), factors=1)
