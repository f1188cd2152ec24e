"""Fits of panels and batches: tables, invariances, failures, parallel runs, what is kept."""

import json
import subprocess
import sys
import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import isthmus
from isthmus import schema
from isthmus.errors import ConvergenceWarning, InputError
from isthmus.factors import kernel
from isthmus.factors.align import aligning_map, transform_params
from isthmus.factors.params import pack
from isthmus.testing import simulate_panel

TABLES = ("factors", "loadings", "stats", "transition", "path", "forecast", "decomposition")


@pytest.fixture(scope="module")
def panel():
    return simulate_panel(120, 8, n_factors=2, missing=0.05, seed=4)


@pytest.fixture(scope="module")
def fit(panel):
    return isthmus.fit_factors(panel, factors=2)


@pytest.fixture(scope="module")
def batches():
    many = simulate_panel(90, 8, n_factors=2, n_batches=3, seed=5)
    many.var["factor"] = ["A"] * 4 + ["B"] * 4
    return many


@pytest.mark.parametrize("name", TABLES)
def test_tables_follow_the_schema(fit, name):
    table = fit.table(name)
    columns = schema.TABLES[name]
    assert list(table.columns) == list(columns)
    for column, described in columns.items():
        assert table[column].dtype == (object if described.dtype == "str" else described.dtype), column
        if described.missing == "never":
            assert table[column].notna().all(), column


def test_unknown_table_lists_the_names(fit):
    with pytest.raises(InputError, match=r"must be one of the fit's tables .factors, loadings, stats"):
        fit.table("news")


def test_the_optimum_is_an_optimum(fit):
    """Central differences of the log-likelihood at the reported parameters, in standard errors of the parameters."""
    one = fit.one()
    score = kernel.score(one.y, one.spec, one.estimate.params)
    assert fit.batches[0].status == "ok"
    assert one.estimate.scaled_score < 1e-2
    assert np.abs(score).max() / np.sqrt(one.y.size) < 0.05


def test_log_likelihood_is_that_of_the_parameters(fit):
    one = fit.one()
    assert kernel.loglike(one.y, one.spec, one.estimate.params) == pytest.approx(one.estimate.log_likelihood, abs=1e-7)
    assert (np.diff(fit.table("path")["log_likelihood"]) > -1e-6).all()


def test_normalisation_of_the_tables(fit):
    one = fit.one()
    np.testing.assert_allclose(one.estimate.params.innovation_cov[0], np.eye(2), atol=1e-10)
    loadings = one.estimate.params.loadings
    assert loadings[0, 1] == 0
    assert loadings[0, 0] > 0
    assert loadings[1, 1] > 0


def test_factors_are_found(fit, panel):
    smoothed = fit.table("factors").pivot(index="time", columns="factor", values="smoothed").to_numpy()
    common = fit.fitted().to_numpy()
    truth = np.asarray(panel.layers["common"]) + fit.one().mean * 0
    assert smoothed.shape == (120, 2)
    correlation = [np.corrcoef(common[:, i], truth[:, i])[0, 1] for i in range(8)]
    assert np.median(correlation) > 0.85


def test_criteria_count_identified_parameters(fit):
    row = fit.table("stats").iloc[0]
    k = 8 * 2 - 1 + 4 + 8 + 8  # loadings less one rotation, VAR, phi, sigma2
    assert row["aic"] == pytest.approx(2 * k - 2 * row["log_likelihood"])
    assert row["bic"] == pytest.approx(np.log(120) * k - 2 * row["log_likelihood"])


def test_shares_sum_to_one(batches):
    part = batches[batches.obs["batch"] == "batch1"].copy()
    shares = isthmus.fit_factors(part, time="time").table("decomposition")
    assert shares.groupby("series")["share"].sum().to_numpy() == pytest.approx(np.ones(8))
    assert set(shares["source"]) == {"global", "group", "idiosyncratic"}
    assert (shares["share"] >= 0).all()


def test_units_of_the_series_only_scale_the_results(panel, fit):
    scaled = panel.copy()
    scaled.X = scaled.X * 1000 + 5
    other = isthmus.fit_factors(scaled, factors=2)
    assert other.log_likelihood == pytest.approx(fit.log_likelihood, abs=1e-6)
    mine, theirs = (f.table("forecast").query("kind == 'series'") for f in (fit, other))
    np.testing.assert_allclose(theirs["mean"], mine["mean"] * 1000 + 5, rtol=1e-5, atol=1e-2)
    np.testing.assert_allclose(theirs["sd"], mine["sd"] * 1000, rtol=1e-5)


def test_rotation_leaves_the_likelihood(fit):
    one = fit.one()
    turn = np.array([[0.8, -0.6], [0.6, 0.8]]) @ np.diag([2.0, -0.5])
    turned = transform_params(one.estimate.params, one.spec, turn)
    assert kernel.loglike(one.y, one.spec, turned) == pytest.approx(one.estimate.log_likelihood, abs=1e-7)
    back = aligning_map(one.estimate.params.loadings @ turn[:, ::-1], one.estimate.params.loadings, one.layout)
    assert back @ back.T == pytest.approx(np.eye(2), abs=1e-12)


def test_more_data_never_changes_the_callers_object(panel):
    before = panel.copy()
    isthmus.fit_factors(panel, factors=1)
    np.testing.assert_array_equal(panel.X, before.X)
    pd.testing.assert_frame_equal(panel.obs, before.obs)


def test_one_series_iid_is_an_ar1_with_noise():
    from statsmodels.tsa.statespace.sarimax import SARIMAX

    series = simulate_panel(300, 1, idio_ar=(0.0, 0.0), r2=0.7, factor_ar=0.9, missing=0.05, seed=8)
    fit = isthmus.fit_factors(series, factors=1, idiosyncratic="iid")
    one = fit.one()
    assert one.estimate.params.idio_var[0] > 0.1
    p = one.estimate.params
    model = SARIMAX(one.y[:, 0], order=(1, 0, 0), measurement_error=True)
    theirs = model.loglike([p.transition[0][0, 0, 0], p.idio_var[0], p.loadings[0, 0] ** 2])
    assert one.estimate.log_likelihood == pytest.approx(theirs, abs=1e-6)


def test_batches_are_the_fits_of_their_rows(batches):
    together = isthmus.fit_factors(batches, batch="batch", time="time")
    for label in together.labels:
        alone = isthmus.fit_factors(batches[batches.obs["batch"] == label].copy(), time="time")
        assert together.one(label).estimate.log_likelihood == pytest.approx(alone.log_likelihood[0], abs=1e-6)


def test_signs_agree_across_batches(batches):
    loadings = isthmus.fit_factors(batches, factors=2, batch="batch", time="time").table("loadings")
    wide = loadings.pivot(index=["series", "factor"], columns="batch", values="loading")
    assert wide.corr().to_numpy().min() > 0.8


def test_two_workers_give_the_same_numbers(batches):
    runs = [isthmus.fit_factors(batches, batch="batch", time="time", n_workers=n) for n in (1, 2)]
    for name in ("factors", "loadings", "transition"):
        pd.testing.assert_frame_equal(runs[0].table(name), runs[1].table(name), check_exact=True)


def test_a_script_without_main_says_so(tmp_path):
    """Workers import the script that started them; its call would start workers again."""
    script = tmp_path / "script.py"
    script.write_text(
        "from isthmus import fit_factors\nfrom isthmus.testing import simulate_panel\n"
        "panel = simulate_panel(40, 4, n_batches=2, seed=1)\n"
        "fit_factors(panel, factors=1, batch='batch', time='time', n_workers=2)\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode != 0
    assert "InputError: `n_workers` 2: a worker process died. In a script, the call must stand under" in done.stderr


def test_an_interrupt_while_workers_start_leaves_none_behind(tmp_path):
    """The first task never ends and the interrupt comes with the second: whoever waits for the first waits for ever."""
    script = tmp_path / "interrupted.py"
    script.write_text(
        "import multiprocessing, os\n"
        "import numpy as np, pandas as pd\n"
        "from isthmus import fit_factors\n"
        "from isthmus.factors import batches\n"
        "class Interrupted(batches.ProcessPoolExecutor):\n"
        "    n = 0\n"
        "    def submit(self, *task):\n"
        "        self.n += 1\n"
        "        if self.n == 2: raise KeyboardInterrupt\n"
        "        out = super().submit(*task)\n"
        "        pids.extend(worker.pid for worker in multiprocessing.active_children())\n"
        "        return out\n"
        "def there(pid):\n"
        "    try: os.kill(pid, 0)\n"
        "    except ProcessLookupError: return False\n"
        "    return True\n"
        "pids = []\n"
        "if __name__ == '__main__':\n"
        "    batches.ProcessPoolExecutor = Interrupted\n"
        "    panel = pd.DataFrame(np.sin(np.arange(12_000) ** 1.5).reshape(-1, 20))\n"
        "    labels = ['a'] * 300 + ['b'] * 300\n"
        "    endless = dict(accelerate=False, tol=1e-300, max_iter=10**9)\n"
        "    try: fit_factors(panel, factors=2, batch=labels, n_workers=2, **endless)\n"
        "    except KeyboardInterrupt: print('interrupted', len(pids), sum(map(there, pids)))\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip() == "interrupted 1 0"


def test_labels_of_any_type_and_character(batches):
    labels = np.array([*[7] * 90, *["a/b"] * 90, *[2.5] * 90], dtype=object)
    fit = isthmus.fit_factors(batches, batch=labels, time="time", factors=1)
    assert fit.labels == [7, "a/b", 2.5]
    assert list(fit.table("stats")["batch"]) == ["7", "a/b", "2.5"]
    assert fit.one(2.5) is fit.one("2.5")


def failing(batches):
    broken = batches.copy()
    broken.X[broken.obs["batch"] == "batch1", :] = 3.0
    broken.X[broken.obs["batch"] == "batch2", 2] = 1.0
    return broken


def test_a_failing_batch_says_why_and_stops_no_other(batches):
    with pytest.warns(ConvergenceWarning, match=r"1 of 3 batches could not be fitted \(batch1\)"):
        fit = isthmus.fit_factors(failing(batches), batch="batch", time="time")
    assert list(fit.table("stats")["status"]) == ["failed", "ok", "ok"]
    assert fit.failures == {"batch1": fit.table("stats")["message"][0]}
    assert "all 8 series are constant" in fit.failures["batch1"]
    assert set(fit.table("factors")["batch"]) == {"batch2", "batch3"}
    with pytest.raises(InputError, match="`batch` 'batch1' was not fitted: `data` must have series that vary"):
        fit.one("batch1")


def test_a_constant_series_keeps_its_row(batches):
    with pytest.warns(ConvergenceWarning):
        fit = isthmus.fit_factors(failing(batches), batch="batch", time="time")
    assert fit.table("stats")["message"][1] == "Left out, constant or empty: y3."
    rows = fit.table("loadings").query("batch == 'batch2' and series == 'y3'")
    assert len(rows) == 2
    assert rows["loading"].isna().all()


def test_undefined_logs_and_short_batches_fail_alone(batches):
    positive = batches.copy()
    positive.X = np.exp(positive.X / 10)
    positive.X[positive.obs["batch"] == "batch2", 0] *= -1
    keep = (positive.obs["batch"] != "batch3").to_numpy() | (np.arange(270) >= 267)
    with pytest.warns(ConvergenceWarning):
        fit = isthmus.fit_factors(positive[keep].copy(), batch="batch", time="time", transform="log")
    messages = list(fit.table("stats")["message"])
    assert fit.table("stats")["status"][0] == "ok"
    assert "`transform` 'log' needs values > 0; the series 'y1' has 90 others" in messages[1]
    assert "at least 5 time points" in messages[2]


def test_without_batches_a_failure_is_an_error():
    with pytest.raises(InputError, match="all 3 series are constant"):
        isthmus.fit_factors(np.ones((30, 3)), factors=1)


def test_few_iterations_warn_and_say_so(panel):
    with pytest.warns(ConvergenceWarning, match=r"did not converge.*Raise `max_iter` \(2\)"):
        fit = isthmus.fit_factors(panel, factors=2, max_iter=2)
    assert fit.table("stats")["status"][0] == "not_converged"
    assert not fit.table("stats")["converged"][0]


def test_near_duplicates_are_named(panel):
    values = panel.to_df()
    values["twin"] = values["y2"] + 1e-5 * np.random.default_rng(1).normal(size=len(values))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fit = isthmus.fit_factors(values, factors=2)
    message = fit.table("stats")["message"][0]
    assert "near a Heywood case" in message
    assert "twin" in message or "y2" in message


@pytest.mark.parametrize("engine", ["isthmus", "statsmodels"])
def test_saved_fits_come_back_equal(tmp_path, batches, engine):
    with pytest.warns(ConvergenceWarning):
        fit = isthmus.fit_factors(failing(batches), batch="batch", time="time", engine=engine)
    isthmus.save_fit(fit, tmp_path / "fit")
    again = isthmus.load_fit(tmp_path / "fit")
    assert isinstance(again, isthmus.FactorFit)
    for name in TABLES:
        pd.testing.assert_frame_equal(fit.table(name), again.table(name), check_exact=True)
    assert again.settings == fit.settings
    assert again.summary() == fit.summary()


def test_states_survive_what_r_does_to_arrays(fit):
    state = {
        k: (v.tolist() if v.ndim == 1 else np.asfortranarray(v)) if isinstance(v, np.ndarray) else v
        for k, v in fit.state().items()
    }
    state["b0_mean"] = np.squeeze(state["b0_mean"])
    again = isthmus.FactorFit.from_state(state)
    np.testing.assert_array_equal(
        pack(again.one().spec, again.one().estimate.params), pack(fit.one().spec, fit.one().estimate.params)
    )
    json.loads(fit.state()["meta"])


def test_residuals_and_diagnostics(fit):
    errors = fit.residuals()
    assert np.nanstd(errors.to_numpy()) == pytest.approx(1, abs=0.05)
    assert fit.residuals(type="common").shape == (120, 8)
    table = fit.diagnostics()
    assert list(table["series"]) == list(fit.series)
    assert table["ljung_box_pval"].between(0, 1).all()
    assert list(table.columns) == list(schema.DIAGNOSTICS)
    with pytest.raises(InputError, match="`type` must be 'innovations' or 'common'"):
        fit.residuals(type="raw")
    with pytest.raises(InputError, match="`fit` must be what fit_factors returns; got int"):
        isthmus.factors.diagnostics(1)
    with pytest.raises(InputError, match="`old_fit` must be what fit_factors returns; got int"):
        isthmus.factor_news(1, np.zeros((9, 2)))
    with pytest.raises(InputError, match=r"`name` must be one of the fit's tables.*got \['factors'\]"):
        fit.table(["factors"])
    for lags in (0, 1.5, "a", True):
        with pytest.raises(InputError, match="`lags` must be a whole number, 1 or more; got"):
            fit.diagnostics(lags)


def test_diagnostics_are_the_tests_of_other_packages():
    from scipy.stats import jarque_bera
    from statsmodels.stats.diagnostic import acorr_ljungbox

    fit = isthmus.fit_factors(simulate_panel(90, 5, seed=6), factors=1)
    table = isthmus.factors.diagnostics(fit, 3).set_index("series")
    for name, e in fit.residuals().items():
        box, bera = acorr_ljungbox(e, lags=[3]).iloc[0], jarque_bera(e)
        expected = [len(e), e.mean(), e.std(ddof=0), box["lb_stat"], box["lb_pvalue"], bera.statistic, bera.pvalue]
        np.testing.assert_allclose(table.loc[name].drop("batch").astype(float), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"h": 0}, "`h` must be a whole number of steps, 1 or more; got 0"),
        ({"h": np.inf}, "1 or more; got inf"),
        ({"level": 95}, "`level` must lie between"),
    ],
)
def test_forecast_rules(fit, options, match):
    with pytest.raises(InputError, match=match):
        isthmus.forecast_factors(fit, **({"h": 2} | options))


def test_forecasts_are_expectations_of_a_longer_panel(fit):
    """E(y_T+2 | data) from the filter over two empty rows, and the sd of a far forecast is the series' own."""
    table = isthmus.forecast_factors(fit, 400).query("kind == 'series'")
    last = table.groupby("name")["sd"].last()
    shares = fit.table("decomposition").query("source == 'idiosyncratic'").set_index("series")["share"]
    one = fit.one()
    idio = one.estimate.params.idio_var / (1 - one.estimate.params.idio_ar1**2)
    expected = pd.Series(np.sqrt(idio / shares[list(one.names)].to_numpy()) * one.sd, index=list(one.names))
    np.testing.assert_allclose(last[list(one.names)], expected, rtol=1e-8)


def test_anndata_without_series_columns_and_int_factors():
    values = simulate_panel(60, 4, seed=9)
    small = ad.AnnData(np.asarray(values.X))
    assert isthmus.fit_factors(small).layout.factors == ("Global",)


def test_factors_that_follow_from_their_past_are_named():
    """One AR(1) factor whose lag loads too: two factors fit it with one shock, and their own scales mean little."""
    rng = np.random.default_rng(3)
    f = np.zeros(301)
    for t in range(1, 301):
        f[t] = 0.5 * f[t - 1] + rng.normal()
    y = np.outer(f[1:], rng.normal(size=8)) + np.outer(f[:-1], rng.normal(size=8)) + 0.3 * rng.normal(size=(300, 8))
    message = isthmus.fit_factors(y, factors=2).table("stats")["message"][0]
    assert "A combination of the factors Global.1, Global.2 follows almost wholly from their past" in message
    two = isthmus.fit_factors(simulate_panel(100, 12, n_factors=2, seed=1), factors=2)
    assert two.table("stats")["message"][0] == ""


def test_unreadable_times_of_news_are_refused():
    panel = simulate_panel(60, 4, seed=1).to_df().set_axis(pd.date_range("2001-01-01", periods=60, freq="MS"))
    fit = isthmus.fit_factors(panel, factors=1)
    for time in ("x", True, np.inf, [1, 2], []):
        with pytest.raises(InputError, match="`time` must be a time of `new_data` or one of the 60"):
            isthmus.factor_news(fit, panel, time=time)
    with pytest.raises(InputError, match="`refit` must be True or False; got 1"):
        isthmus.factor_news(fit, panel, refit=1)
    with pytest.raises(InputError, match="`vintages` must be oldest first"):
        isthmus.factors.evaluate_forecasts([panel, panel[:50]], factors=1)
