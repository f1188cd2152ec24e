"""dfmdash's names over our models: the published runs, its files, and what it did wrong around them."""

import json
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from isthmus.compat import dfmdash
from isthmus.compat.dfmdash import DataLoader, DataProcessor, ModelRunner, files
from isthmus.errors import InputError
from isthmus.testing import simulate_panel

PUBLISHED = Path(__file__).parents[1] / "reference" / "dfmdash"
SHARED = Path(__file__).parents[3] / "shared" / "data"
FILES = {"model.csv", "results.csv", "factors.csv", "raw.csv", "df.csv", "run-info.yaml"}


def published(names=("CA", "NY")):
    """The published inputs as one AnnData; they are differenced already."""
    frames = [pd.read_csv(PUBLISHED / name / "df.csv", index_col=0) for name in names]
    obs = pd.DataFrame({"State": np.repeat(names, [len(f) for f in frames])})
    stacked = pd.concat(frames)
    obs.index = [f"{state}_{time}" for state, time in zip(obs["State"], stacked.index, strict=True)]
    return ad.AnnData(
        stacked.set_axis(obs.index), obs=obs, var=pd.DataFrame({"factor": "Pandemic"}, index=stacked.columns)
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "deep" / "er"
    return ModelRunner(published(), folder, "State").run(), folder


def small(seed=1, **var):
    panel = simulate_panel(40, 5, n_batches=2, seed=seed)
    out = ad.AnnData(np.asarray(panel.X), obs=panel.obs[["batch"]].copy(), var=pd.DataFrame(index=panel.var_names))
    out.var["factor"] = "A"
    for name, values in var.items():
        out.var[name] = values
    return out


@pytest.mark.parametrize("state", ["CA", "NY"])
def test_published_runs(run, state):
    runner, folder = run
    result = next(r for r in runner.results if r.name == state)
    theirs = dfmdash.parse_results(PUBLISHED / state / "results.csv")
    assert round(result.result.llf, 3) == theirs["Log Likelihood"][0]
    assert result.result.mle_retvals.iter == theirs["EM Iterations"][0]
    expected = pd.read_csv(PUBLISHED / state / "factors.csv", index_col=0)
    written = pd.read_csv(folder / state / "factors.csv", index_col=0)
    for column in ("Factor_Global", "Factor_Pandemic"):
        np.testing.assert_allclose(written[column], expected[column], atol=1e-8)


def test_files_and_their_parsers(run):
    runner, folder = run
    assert {path.name for path in folder.iterdir()} == {"CA", "NY"}
    assert {path.name for path in (folder / "CA").iterdir()} == FILES
    table = dfmdash.parse_run_results(folder)
    assert list(table["Batch"]) == ["CA", "NY"]
    both = dfmdash.parse_multiple_runs(folder.parent)
    assert list(both.columns) == ["Log Likelihood", "AIC", "EM Iterations", "Batch", "Run"]
    assert runner.failures == {}


def test_run_info_is_plain_yaml(run):
    text = (run[1] / "CA" / "run-info.yaml").read_text()
    assert "!!" not in text
    assert '  "Cases1":\n  - "Global"\n  - "Pandemic"\n' in text
    assert "global_multiplier: 1\n" in text
    assert "non_stationary_cols: null" in text
    for line in text.splitlines():
        value = line.split("- ")[-1].split(": ")[-1].rstrip(":").strip()
        if value.startswith('"'):
            json.loads(value)


def test_two_runs_replace_each_other_and_the_object_stays(tmp_path):
    data = small()
    before = data.copy()
    runner = ModelRunner(data, str(tmp_path / "out"), "batch")
    for _ in range(2):
        runner.run(maxiter=5)
    assert [r.name for r in runner.results] == ["batch1", "batch2"]
    pd.testing.assert_frame_equal(data.obs, before.obs)
    np.testing.assert_array_equal(data.X, before.X)


def test_failures_are_isolated_and_written(tmp_path):
    data = small()
    data.X[:40] = 1.0
    runner = ModelRunner(data, tmp_path, "batch").run(maxiter=5)
    assert [r.name for r in runner.results] == ["batch2"]
    assert list(runner.failures) == ["batch1"]
    label, message = (tmp_path / "failed.txt").read_text().rstrip("\n").split("\t")
    assert (label, "none after dropping constant columns" in message) == ("batch1", True)


@pytest.mark.parametrize(("label", "folder"), [(7, "7"), ("a/b", "a%2Fb"), ("..", "%2E2E"), ("x:y*", "x%3Ay%2A")])
def test_labels_become_safe_folders(label, folder):
    found = files.batch_folder(Path("out"), label)
    assert found.parent == Path("out")
    assert found.name == folder


def test_differences_zeros_and_normalisation():
    data = small(difference=[True, False, False, False, False], logdiff=[False, True, False, False, False])
    part = data[:40].copy()
    part.X = np.abs(part.X)
    part.X[5, 2] = np.nan
    part.X[:, 3] = 2.0
    found = DataProcessor(part, 0).process()
    assert found.df.shape == (39, 4)
    assert "y4" not in found.df.columns
    assert found.df.min().tolist() == pytest.approx([0] * 4, abs=1e-12)
    assert found.df.max().tolist() == pytest.approx([1] * 4)
    raw = part.to_df()
    change = np.log(raw["y2"] + 1).diff().iloc[1:]
    np.testing.assert_allclose(found.df["y2"], (change - change.min()) / (change.max() - change.min()), atol=1e-12)
    assert found.df["y3"].iloc[4] == pytest.approx(0)
    assert found.factors == dict.fromkeys(["y1", "y2", "y3", "y5"], ("A",))
    assert found.get_nonstationary_columns() == found.non_stationary_cols


def test_our_engine_writes_the_same_files(tmp_path):
    data = small()[:40].copy()
    runner = ModelRunner(data, tmp_path, engine="isthmus").run(global_multiplier=1)
    assert runner.failures == {}
    assert {path.name for path in tmp_path.iterdir()} == FILES
    written = pd.read_csv(tmp_path / "factors.csv", index_col=0)
    assert list(written.columns[:2]) == ["Factor_Global", "Factor_A"]


def test_loader_round_trip(tmp_path):
    data = small()
    loader = DataLoader().convert(data).write_csvs(tmp_path / "csv").write_h5ad(tmp_path / "h5")
    assert (tmp_path / "h5" / "data.h5ad").is_file()
    loader.obs = None
    loader.write_csvs(tmp_path / "two")
    assert {path.name for path in (tmp_path / "two").iterdir()} == {"data.csv", "factors.csv"}
    again = DataLoader().load(
        tmp_path / "csv" / "data.csv", tmp_path / "csv" / "factors.csv", tmp_path / "csv" / "metadata.csv"
    )
    np.testing.assert_allclose(again.ad.X, data.X)
    assert list(again.ad.obs["batch"]) == list(data.obs["batch"])


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda d: ModelRunner(d, engine="x"), "`engine` must be 'statsmodels' or 'isthmus'; got 'x'"),
        (lambda d: ModelRunner(d, batch="x"), "`batch` must be a column of `obs`; got 'x'"),
        (lambda d: DataProcessor(d).process(["y1", "zz"]), "`columns` must name series of `ad`; got 'zz'"),
        (lambda d: DataProcessor(d[:, :2].copy().T.copy()).get_factors(), "`ad` must have a column `factor` in `var`"),
        (lambda d: DataLoader().write_h5ad("x"), "`ad` must be loaded first"),
        (lambda d: DataLoader().dfs_to_ad(d.to_df(), pd.DataFrame(index=["q"]), None), "it lacks 'q'"),
        (lambda d: dfmdash.parse_results(__file__), "must be a results.csv of DynamicFactorMQ"),
    ],
)
def test_rules(call, match):
    with pytest.raises(InputError, match=match):
        call(small())


def test_undefined_logarithms_are_errors():
    data = small(logdiff=[True] * 5)
    data.X[3, 0] = -2.0
    with pytest.raises(InputError, match="`logdiff` needs values > -1, as it takes log"):
        DataProcessor(data).process()


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared, which a plain clone does not have")
def test_published_failure_and_the_fit_of_new_york(tmp_path):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the published file has times as row names, once for each state
        data = ad.read_h5ad(SHARED / "dfmdash_covid" / "data.h5ad")
        part = data[data.obs["State"].isin(["AK", "NY"]) & (data.obs_names >= "2019-02-01")].copy()
        runner = ModelRunner(part, tmp_path, "State").run(global_multiplier=2)
    assert {name: str(error) for name, error in runner.failures.items()} == {"AK": "Matrix is not positive definite"}
    assert round(runner.results[0].result.llf, 3) == -914.629
