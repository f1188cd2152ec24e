"""Panels in the forms users hold them in, transforms, and the rules about them."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import isthmus
from isthmus.data.panel import batch_panel, future_times, read_panel, split_panel, time_text
from isthmus.errors import InputError
from isthmus.factors.blocks import read_layout

MONTHS = pd.date_range("2001-01-01", periods=6, freq="MS")
VALUES = np.array([[1.0, 10.0], [2.0, 20.0], [4.0, np.nan], [8.0, 40.0], [16.0, 50.0], [32.0, 80.0]])


def one(data, **options):
    panel = read_panel(data, **options)
    return batch_panel(panel, *split_panel(panel)[0])


def frame(values=VALUES, index=MONTHS):
    return pd.DataFrame(values, index=index, columns=["a", "b"])


def anndata(x=VALUES, **var):
    obs = pd.DataFrame({"when": MONTHS, "part": list("xxxyyy")}, index=[f"{t:%Y-%m-%d}" for t in MONTHS])
    return ad.AnnData(x, obs=obs, var=pd.DataFrame(var, index=["a", "b"]))


@pytest.mark.parametrize("data", [frame(), anndata(), VALUES, anndata(sparse.csr_matrix(np.nan_to_num(VALUES)))])
def test_forms_hold_the_same_numbers(data):
    values = one(data).values
    np.testing.assert_array_equal(np.nan_to_num(values), np.nan_to_num(VALUES))


def test_text_that_is_dates_becomes_dates():
    assert isinstance(one(anndata()).times, pd.DatetimeIndex)
    assert list(time_text(one(anndata()).times)[:2]) == ["2001-01-01", "2001-02-01"]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("diff", [np.nan, 1, 2, 4, 8, 16]),
        ("log", np.log([1, 2, 4, 8, 16, 32])),
        ("logdiff", [np.nan, *[np.log(2)] * 5]),
        ("pct", [np.nan, *[100.0] * 5]),
    ],
)
def test_transforms(kind, expected):
    np.testing.assert_allclose(one(frame(), transform={"a": kind}).values[:, 0], expected, rtol=1e-14)


def test_a_first_row_that_differencing_emptied_is_dropped_and_gaps_stay():
    panel = one(frame(), transform="diff")
    assert panel.values.shape == (5, 2)
    np.testing.assert_array_equal(np.isnan(panel.values[:, 1]), [False, True, True, False, False])


def test_differences_do_not_cross_batches():
    panel = read_panel(anndata(), batch="part", transform="diff")
    parts = [batch_panel(panel, *part) for part in split_panel(panel)]
    assert [part.values[:, 0].tolist() for part in parts] == [[1.0, 2.0], [8.0, 16.0]]


def test_rows_are_sorted_by_time():
    shuffled = frame().iloc[[3, 0, 5, 1, 4, 2]]
    np.testing.assert_array_equal(one(shuffled).values[:, 0], VALUES[:, 0])


@pytest.mark.parametrize(
    ("var", "expected"),
    [
        ({"transform": ["log", None]}, ("log", "none")),
        ({"difference": [True, False], "logdiff": [False, True]}, ("diff", "logdiff")),
        ({}, ("none", "none")),
    ],
)
def test_transforms_come_from_var(var, expected):
    assert read_panel(anndata(**var)).transforms == expected


def test_undefined_logarithms_name_the_series_and_the_times():
    bad = frame().copy()
    bad.iloc[2, 0], bad.iloc[4, 0] = 0.0, -1.0
    with pytest.raises(
        InputError, match=r"'log' needs values > 0; the series 'a' has 2 others.*'2001-03-01', '2001-05"
    ):
        one(bad, transform="log")


def test_growth_from_zero_is_undefined():
    bad = frame().copy()
    bad.iloc[1, 0] = 0.0
    with pytest.raises(InputError, match="'pct' needs values that are not 0; the series 'a'"):
        one(bad, transform="pct")


def test_a_pair_of_frames_is_monthly_and_quarterly():
    quarterly = pd.DataFrame({"q": [1.0, 3.0]}, index=pd.PeriodIndex(["2001Q1", "2001Q2"], freq="Q"))
    panel = read_panel((frame(), quarterly), transform={"q": "diff"})
    assert panel.quarterly.tolist() == [False, False, True]
    found = batch_panel(panel, *split_panel(panel)[0]).values[:, 2]
    np.testing.assert_array_equal(found, [np.nan] * 5 + [2.0])


@pytest.mark.parametrize(
    ("data", "options", "match"),
    [
        ("text", {}, "`data` must be an AnnData, DataFrame or ndarray"),
        (np.zeros((0, 2)), {}, "at least one time point and one series; got 0 x 2"),
        (frame().replace(40.0, np.inf), {}, r"finite or NaN; got 1 infinite values in 'b'"),
        (frame().assign(c="x"), {}, "Series of `data` must be numbers; 'c' is"),
        (pd.DataFrame(VALUES, columns=["a", "a"]), {}, "must have unique names; got 'a' more than once"),
        (frame(), {"columns": ["a", "z"]}, "`columns` must name series of `data`; got 'z'"),
        (frame(), {"columns": ["a", "a"]}, "`columns` must name each series once"),
        (frame(), {"transform": "sqrt"}, "`transform` must be one of none, diff, log, logdiff, pct; got 'sqrt'"),
        (frame(), {"transform": {"z": "log"}}, "`transform` must name series of `data`; got 'z'"),
        (frame(), {"transform": ["log"]}, r"one entry per series \(n_series = 2\); got 1"),
        (frame(), {"batch": "nope"}, "`batch` must be a column of `data` or one label per row; got 'nope'"),
        (frame(), {"batch": [1, 2]}, r"`batch` must have one label per time point \(n = 6\); got 2"),
        (frame(), {"batch": [1, 1, 1, None, 2, 2]}, "`batch` must not be missing; got 1 missing label"),
        (frame(), {"batch": [1, 1, 1, "1", "1", "1"]}, "`batch` labels must differ when written out; got '1'"),
        (frame(), {"time": [1, 1, 2, 3, 4, 5]}, "`time` must be unique within a batch; got '1'"),
        (anndata(difference=[True, True], logdiff=[False, True]), {}, "in `difference` or in `logdiff`, not in both"),
        (anndata(difference=["yes", "no"]), {}, "`difference` must hold True and False"),
        (anndata(frequency=["weekly", "monthly"]), {}, "`frequency` must be 'monthly' or 'quarterly'; got 'weekly'"),
    ],
)
def test_rules(data, options, match):
    with pytest.raises(InputError, match=match):
        one(data, **options)


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (MONTHS, ["2001-07-01", "2001-08-01"]),
        (pd.period_range("2001Q1", periods=3, freq="Q"), ["2001Q4", "2002Q1"]),
        (pd.Index([1, 2, 3]), ["4", "5"]),
        (pd.Index([1959.0, 1959.25]), ["1959.5", "1959.75"]),
        (pd.Index(["x", "y"]), ["+1", "+2"]),
    ],
)
def test_times_go_on(times, expected):
    assert list(time_text(future_times(times, 2))) == expected


NAMES = ("a", "b", "c", "d")
GROUPS = pd.DataFrame({"factor": ["F", "F", "G", "G"], "kind": ["u", "v", "v", None]}, index=NAMES)


@pytest.mark.parametrize(
    ("factors", "options", "labels", "blocks"),
    [
        ("factor", {}, ("Global", "F", "G"), ["Global", "F", "G"]),
        ("factor", {"global_factors": 2}, ("Global.1", "Global.2", "F", "G"), ["Global", "F", "G"]),
        ("factor", {"global_factors": 0, "factor_multiplicities": {"F": 2}}, ("F.1", "F.2", "G"), ["F", "G"]),
        ("kind", {}, ("Global", "v", "u"), ["Global", "v", "u"]),
        (2, {}, ("Global.1", "Global.2"), ["Global"]),
        ({"a": "X", "b": "X"}, {}, ("Global", "X"), ["Global", "X"]),
        ({n: ["All"] for n in NAMES}, {"factor_multiplicities": 2}, ("All.1", "All.2"), ["All"]),
        ("factor", {"factor_orders": {("F", "G"): 2}}, ("Global", "F", "G"), ["Global", "F+G"]),
    ],
)
def test_layouts(factors, options, labels, blocks):
    layout = read_layout(factors, NAMES, GROUPS, **options)
    assert layout.factors == labels
    assert [block.name for block in layout.blocks] == blocks
    assert layout.loads.any(axis=1).all()


@pytest.mark.parametrize(
    ("factors", "options", "match"),
    [
        ("none", {}, "`factors` must be a column about the series, a dict or a number; got 'none'"),
        (0, {}, "`factors` must be a whole number, 1 or more; got 0"),
        (5, {}, r"at most as many factors as there are series \(4\); got 5"),
        (None, {}, "`factors` must be the name of a column about the series"),
        ({"z": "F"}, {}, "`factors` must name series of `data`; got 'z'"),
        ({"a": ["F"]}, {}, "`factors` must give every series a factor; got none for 'b', 'c', 'd'"),
        ("factor", {"global_factors": -1}, "`global_factors` must be a whole number, 0 or more; got -1"),
        ("factor", {"factor_orders": 0}, "`factor_orders` must be a whole number, 1 or more; got 0"),
        ("factor", {"factor_orders": {"H": 1}}, "`factor_orders` must name factors of the model; got 'H'"),
        ("factor", {"factor_orders": {"F": 1, ("F", "G"): 1}}, "`factor_orders` must name each factor once; got 'F'"),
        ("factor", {"factor_multiplicities": {"H": 2}}, "`factor_multiplicities` must name factors of the model"),
    ],
)
def test_layout_rules(factors, options, match):
    with pytest.raises(InputError, match=match):
        read_layout(factors, NAMES, GROUPS, **options)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"idiosyncratic": "ar2"}, "`idiosyncratic` must be 'ar1' or 'iid'; got 'ar2'"),
        ({"initial": "diffuse"}, "`initial` must be 'stationary' or 'known'; got 'diffuse'"),
        ({"engine": "dfms"}, "`engine` must be 'isthmus' or 'statsmodels'; got 'dfms'"),
        ({"transform": 3}, "`transform` must be text, a dict series -> transform, or one per series; got int"),
        ({"standardize": "no"}, "`standardize` must be True or False; got 'no'"),
        ({"accelerate": 1}, "`accelerate` must be True or False; got 1"),
        ({"tol": True}, "`tol` must be a positive number; got True"),
        ({"seed": "x"}, "`seed` must be a whole number, 0 or more; got 'x'"),
        ({"max_iter": 0}, "`max_iter` must be a whole number, 1 or more; got 0"),
        ({"tol": 0}, "`tol` must be a positive number; got 0"),
        ({"n_workers": 0}, "`n_workers` must be a whole number, 1 or more; got 0"),
        ({"columns": ["a"]}, "`idiosyncratic` 'ar1' needs two series or more"),
        ({}, "`data` must have at least 5 time points for these orders; got 4"),
    ],
)
def test_fit_rules(options, match):
    values = frame().iloc[:4] if not options else frame()
    with pytest.raises(InputError, match=match):
        isthmus.fit_factors(values, **({"factors": 1} | options))


def test_complex_numbers_are_refused():
    with pytest.raises(InputError, match="Series of `data` must be numbers; 'a' is complex128"):
        isthmus.fit_factors(frame() + 0j, factors=1)
    with pytest.raises(InputError, match="`data` must hold numbers; got complex numbers"):
        isthmus.fit_factors(frame().to_numpy() + 0j, factors=1)


def test_a_quarter_twice_is_an_error():
    index = pd.period_range("2000-01", periods=12, freq="M")
    monthly = pd.DataFrame({"m": np.arange(12.0)}, index=index)
    with pytest.raises(InputError, match="the quarterly frame must have one row for each quarter; got '2000-03'"):
        isthmus.fit_factors((monthly, monthly.rename(columns={"m": "q"})), factors=1)


def test_more_factors_than_the_kernel_holds():
    with pytest.raises(InputError, match="`factors` must ask for at most 64 factors; got 65"):
        isthmus.fit_factors(np.random.default_rng(0).normal(size=(90, 70)), factors=65)


@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_units_of_any_size(size):
    values = np.random.default_rng(1).normal(size=(40, 3))
    plain = isthmus.fit_factors(values, factors=1).log_likelihood
    np.testing.assert_allclose(isthmus.fit_factors(values * size, factors=1).log_likelihood, plain, rtol=1e-9)


def test_a_missing_group_is_none():
    names = list("abc")
    data = pd.DataFrame(np.random.default_rng(1).normal(size=(40, 3)), columns=names)
    fit = isthmus.fit_factors(data, factors={"a": "g", "b": "g", "c": np.nan})
    assert fit.layout.factors == ("Global", "g")
    assert fit.layout.loads.tolist() == [[True, True], [True, True], [True, False]]
