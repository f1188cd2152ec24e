"""The compiled factor kernel against the plain state space, against DynamicFactorMQ, and against differences."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from factor_cases import from_statsmodels, panel, quarterly_panel, simple_spec, statsmodels_model, to_statsmodels

from isthmus import _core
from isthmus._reference import dfm
from isthmus.errors import InputError
from isthmus.factors import kernel
from isthmus.factors.coordinates import Coordinates
from isthmus.factors.params import Block, Params, Spec, n_params, pack, slices, spectral_radius, unpack
from isthmus.factors.start import start_params


def gaps_panel() -> np.ndarray:
    """A long interior gap, a short one, a late start and an early end."""
    y = panel(60, 8, 2, seed=5)
    y[10:40, 2], y[20:23, 4], y[:5, 3], y[-7:, 5] = np.nan, np.nan, np.nan, np.nan
    return y


def block_spec(idiosyncratic: str, initial: str = "stationary", n_series: int = 8) -> Spec:
    """A global VAR(2) of two factors, a group of order 1 for the first half, white noise for the rest."""
    loads = np.ones((n_series, 4), bool)
    loads[n_series // 2 :, 2] = False
    loads[: n_series // 2, 3] = False
    blocks = (Block("global", (0, 1), 2), Block("a", (2,), 1), Block("b", (3,), 0))
    return Spec(loads, blocks, idiosyncratic, initial, np.zeros(n_series, bool))


CASES = {
    "iid": lambda: (panel(60, 6, 1), simple_spec(6, 1, 1, "iid")),
    "iid gaps": lambda: (panel(60, 6, 2, missing=0.1), simple_spec(6, 2, 2, "iid")),
    "ar1": lambda: (panel(60, 6, 2), simple_spec(6, 2, 2, "ar1")),
    "ar1 gaps": lambda: (panel(60, 6, 2, missing=0.15), simple_spec(6, 2, 2, "ar1")),
    "ar1 long gap": lambda: (gaps_panel(), simple_spec(8, 2, 1, "ar1")),
    "quarterly iid": lambda: (quarterly_panel(60, 5, 1, 2), simple_spec(6, 2, 1, "iid", n_quarterly=1)),
    "quarterly ar1": lambda: (quarterly_panel(60, 4, 2, 1), simple_spec(6, 1, 1, "ar1", n_quarterly=2)),
    "blocks iid": lambda: (panel(60, 8, 2, missing=0.1), block_spec("iid")),
    "blocks ar1": lambda: (panel(60, 8, 2, missing=0.1), block_spec("ar1")),
}
# Panels of the size and the missing share that the acceptance figures name; 26 % is that of BM14.
EM_PANELS = [(120, 8, 1, 1, 0.0), (120, 8, 2, 2, 0.0), (80, 12, 3, 1, 0.0), (120, 8, 1, 1, 0.1), (120, 8, 2, 2, 0.1)]
EM_PANELS += [(120, 10, 2, 1, 0.26)]


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[np.ndarray, Spec, Params]:
    y, spec = CASES[request.param]()
    return y, spec, start_params(y, spec)


def test_parameters_survive_packing(case: tuple[np.ndarray, Spec, Params]) -> None:
    _, spec, params = case
    x = pack(spec, params)
    assert len(x) == n_params(spec) == max(part.stop for part in slices(spec).values())
    np.testing.assert_allclose(pack(spec, unpack(spec, x)), x, rtol=0, atol=0)
    coordinates = Coordinates(spec)
    np.testing.assert_allclose(pack(spec, coordinates.back(coordinates.to(params), params)), x, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("build", _core.factor_kernels)
def test_likelihood_equals_the_plain_state_space(case: tuple[np.ndarray, Spec, Params], build: str) -> None:
    y, spec, params = case
    assert kernel.CompiledPanel(y, spec, build).loglike(params) == pytest.approx(dfm.loglike(y, spec, params), abs=1e-9)


def test_states_equal_those_of_the_plain_state_space(
    case: tuple[np.ndarray, Spec, Params], monkeypatch: pytest.MonkeyPatch
) -> None:
    y, spec, params = case
    ours = kernel.states(y, spec, params)
    monkeypatch.setenv("ISTHMUS_KERNEL", "reference")
    twin = kernel.states(y, spec, params)
    for name in ("filtered", "filtered_cov", "smoothed", "smoothed_cov", "innovations", "innovation_var"):
        np.testing.assert_allclose(getattr(ours, name), getattr(twin, name), rtol=1e-8, atol=1e-9, err_msg=name)
    np.testing.assert_allclose(ours.idiosyncratic, twin.idiosyncratic, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(ours.next_factors, twin.next_factors, atol=1e-10)
    np.testing.assert_allclose(ours.next_factors_cov, twin.next_factors_cov, atol=1e-10)


def test_forecasts_equal_those_of_the_plain_state_space(
    case: tuple[np.ndarray, Spec, Params], monkeypatch: pytest.MonkeyPatch
) -> None:
    y, spec, params = case
    ours = kernel.forecast(y, spec, params, 5)
    monkeypatch.setenv("ISTHMUS_KERNEL", "reference")
    twin = kernel.forecast(y, spec, params, 5)
    for name in ("factors", "factors_cov", "series", "series_var"):
        np.testing.assert_allclose(getattr(ours, name), getattr(twin, name), rtol=1e-8, atol=1e-9, err_msg=name)


def test_score_equals_differences(case: tuple[np.ndarray, Spec, Params]) -> None:
    y, spec, params = case
    x, score = pack(spec, params), kernel.score(y, spec, params)
    for k in range(len(x)):
        step = 3e-4 * max(0.03, abs(x[k])) * (np.arange(len(x)) == k)
        far, near = (
            (dfm.loglike(y, spec, unpack(spec, x + n * step)) - dfm.loglike(y, spec, unpack(spec, x - n * step)))
            for n in (2, 1)
        )
        assert score[k] == pytest.approx((8 * near - far) / (12 * step.sum()), rel=1e-6, abs=1e-5)


def test_ecm_climbs(case: tuple[np.ndarray, Spec, Params]) -> None:
    y, spec, params = case
    path = []
    for _ in range(60):
        params, value = kernel.em_step(y, spec, params)
        path.append(value)
    assert path[-1] > path[0] + 1
    assert np.diff(path).min() > -1e-9


def test_fit_reaches_an_optimum(case: tuple[np.ndarray, Spec, Params]) -> None:
    y, spec, params = case
    fit = kernel.fit_panel(y, spec, start=params, tol=1e-6)
    assert fit.converged
    assert fit.gain < 1e-6
    assert fit.scaled_score < 1e-2
    assert fit.kernel == _core.factor_kernels[-1]
    # Some of these small panels have near-Heywood optima, where sums of squares over sigma2 lose digits.
    assert np.diff(fit.path).min() > -1e-5
    assert fit.log_likelihood == pytest.approx(fit.path[-1], abs=1e-9)
    assert fit.log_likelihood == pytest.approx(dfm.loglike(y, spec, fit.params), abs=1e-5)
    assert spectral_radius(spec, fit.params) < 1
    x = Coordinates(spec).to(fit.params)
    for k in np.linspace(0, len(x) - 1, 12).astype(int):  # no coordinate offers a gain
        for sign in (-1, 1):
            moved = Coordinates(spec).back(x + 0.02 * sign * (np.arange(len(x)) == k), fit.params)
            assert kernel.loglike(y, spec, moved) < fit.log_likelihood + 1e-4


def test_acceleration_leads_where_em_leads() -> None:
    y, spec = CASES["ar1"]()
    start = start_params(y, spec)
    fast = kernel.fit_panel(y, spec, start=start, tol=1e-7)
    slow = kernel.fit_panel(y, spec, start=start, tol=1e-7, accelerate=False)
    assert slow.converged
    assert fast.n_iter < slow.n_iter
    assert fast.log_likelihood >= slow.log_likelihood - 1e-3


@pytest.mark.parametrize("shape", EM_PANELS, ids=str)
def test_em_path_is_that_of_statsmodels(shape: tuple[int, int, int, int, float]) -> None:
    n_time, n_series, n_factors, order, missing = shape
    y = panel(n_time, n_series, n_factors, seed=1, missing=missing)
    spec = simple_spec(n_series, n_factors, order, "iid", "known")
    model = statsmodels_model(y, spec)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that it has not converged: 12 iterations were asked for
        theirs = model.fit_em(maxiter=12, tolerance=0, disp=False).mle_retvals["llf"][:12]
    params, path, twin = from_statsmodels(model, model.start_params, spec), [], []
    plain = params
    for _ in range(12):
        params, value = kernel.em_step(y, spec, params)
        plain, plain_value = dfm.em_step_iid(y, spec, plain)
        path.append(value)
        twin.append(plain_value)
    np.testing.assert_allclose(path, theirs, rtol=0, atol=1e-8)
    np.testing.assert_allclose(twin, theirs, rtol=0, atol=1e-8)


@pytest.mark.parametrize(
    "name", ["iid", "iid gaps", "ar1", "ar1 gaps", "ar1 long gap", "quarterly iid", "quarterly ar1"]
)
def test_likelihood_equals_statsmodels(name: str) -> None:
    y, spec = CASES[name]()
    model = statsmodels_model(y, spec)
    params = start_params(y, spec)
    x = to_statsmodels(model, params, spec)
    assert kernel.loglike(y, spec, params) == pytest.approx(model.loglike(x), abs=1e-6)
    np.testing.assert_allclose(pack(spec, from_statsmodels(model, x, spec)), pack(spec, params), atol=1e-12)
    smoothed = model.smooth(x).smoothed_state[: spec.n_factors].T
    np.testing.assert_allclose(kernel.states(y, spec, params).smoothed, smoothed, atol=1e-7)


def test_one_white_series_is_an_arma_model() -> None:
    """y = f + e with an AR(1) factor: statsmodels' SARIMAX(1, 0, 0) with measurement error."""
    from statsmodels.tsa.statespace.sarimax import SARIMAX

    y = panel(80, 1, 1, seed=3)
    y[30:34] = np.nan
    spec = simple_spec(1, 1, 1, "iid")
    params = Params(np.ones((1, 1)), (np.full((1, 1, 1), 0.7),), (np.full((1, 1), 0.5),), np.zeros(1), np.full(1, 0.3))
    theirs = SARIMAX(y[:, 0], order=(1, 0, 0), measurement_error=True).loglike([0.7, 0.3, 0.5])
    assert kernel.loglike(y, spec, params) == pytest.approx(theirs, abs=1e-9)


def test_ar1_fit_beats_statsmodels_own() -> None:
    """Its EM keeps the loadings of an AR(1) model at their starting values; ours moves them."""
    y, spec = panel(150, 8, 1, seed=2), simple_spec(8, 1, 1, "ar1")
    model = statsmodels_model(y, spec)
    theirs = model.fit(disp=False)
    fit = kernel.fit_panel(y, spec, start=from_statsmodels(model, model.start_params, spec))
    gain = model.loglike(to_statsmodels(model, fit.params, spec)) - model.loglike(theirs.params)
    assert gain > 0.5


def test_a_factor_of_near_duplicates_is_found_and_flagged() -> None:
    rng = np.random.default_rng(0)
    y = panel(150, 12, 1, seed=4)
    y[:, 11] = y[:, 10] + 0.02 * rng.normal(size=150)
    y = (y - y.mean(axis=0)) / y.std(axis=0)
    spec = simple_spec(12, 2, 1, "ar1")
    fit = kernel.fit_panel(y, spec)
    from_components = kernel.fit_panel(y, spec, start=start_params(y, spec))
    assert fit.log_likelihood >= from_components.log_likelihood
    assert fit.heywood[[10, 11]].any()
    assert not fit.heywood[:10].any()


def test_builds_agree() -> None:
    y, spec = CASES["ar1 gaps"]()
    params = start_params(y, spec)
    found = [kernel.CompiledPanel(y, spec, build).em(params) for build in _core.factor_kernels]
    for other, value in found[1:]:
        assert value == pytest.approx(found[0][1], rel=1e-12)
        np.testing.assert_allclose(pack(spec, other), pack(spec, found[0][0]), rtol=1e-9, atol=1e-11)


def test_steady_state_is_exact_enough() -> None:
    """On a long balanced panel most times share their covariances; the twin computes each of them."""
    for idiosyncratic in ("iid", "ar1"):
        y, spec = panel(300, 5, 2, seed=6), simple_spec(5, 2, 1, idiosyncratic)
        params = start_params(y, spec)
        assert kernel.loglike(y, spec, params) == pytest.approx(dfm.loglike(y, spec, params), abs=1e-9)
        ours, twin = kernel.states(y, spec, params), dfm.smooth(y, spec, params)
        np.testing.assert_allclose(ours.smoothed_cov, twin["smoothed_cov"][:, :2, :2], rtol=1e-10, atol=1e-13)


def test_parameters_outside_the_model_have_no_likelihood() -> None:
    y, spec = CASES["iid"]()
    params = start_params(y, spec)
    unstable = params.replace(transition=(np.full((1, 1, 1), 1.01),))
    assert kernel.loglike(y, spec, unstable) == -np.inf
    assert not kernel.fit_panel(y, spec, start=unstable).converged


def test_the_reference_kernel_fits_too(monkeypatch: pytest.MonkeyPatch) -> None:
    y, spec = panel(30, 3, 1, seed=7), simple_spec(3, 1, 1, "ar1")
    ours = kernel.fit_panel(y, spec)
    monkeypatch.setenv("ISTHMUS_KERNEL", "reference")
    twin = kernel.fit_panel(y, spec, start=ours.params)
    assert twin.kernel == "reference"
    assert twin.log_likelihood == pytest.approx(ours.log_likelihood, abs=1e-3)


def test_input_rules() -> None:
    spec = simple_spec(3, 1, 1, "iid")
    with pytest.raises(InputError, match=r"`y` must be time x series with 3 series.*got shape \(10, 2\)"):
        kernel.open_panel(np.zeros((10, 2)), spec)
    with pytest.raises(InputError, match="`y` must be finite or NaN; got 1 infinite"):
        kernel.open_panel(np.where(np.eye(10, 3) * np.arange(3) == 2, np.inf, 1.0), spec)
    with pytest.raises(InputError, match="quarterly series must be observed every third month"):
        kernel.open_panel(np.zeros((10, 3)), simple_spec(3, 1, 1, "iid", n_quarterly=1))
