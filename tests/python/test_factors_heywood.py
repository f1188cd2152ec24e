"""Series with next to no noise of their own: accuracy beside tiny variances, and likelihoods without a maximum."""

from __future__ import annotations

import mpmath
import numpy as np
import pandas as pd
import pytest
from factor_cases import panel, simple_spec, statsmodels_model, to_statsmodels

import isthmus
from isthmus.factors import kernel
from isthmus.factors.coordinates import Coordinates
from isthmus.factors.params import Params, Spec, dense_transition, slices
from isthmus.factors.start import start_params


def exact_loglike(y: np.ndarray, spec: Spec, params: Params) -> float:
    """The joint normal density of everything observed, with 60 digits."""
    n_time = len(y)
    lags, cov = dense_transition(spec, params)
    with mpmath.workdps(60):
        a, q = mpmath.matrix(lags[0].tolist()), mpmath.matrix(cov.tolist())
        first, power = q, a
        for _ in range(16):  # Q + A Q A' + A^2 Q A'^2 + ..., by doubling
            first, power = first + power * first * power.T, power * power
        autocov = [first]
        for _ in range(n_time - 1):
            autocov.append(a * autocov[-1])
        load = mpmath.matrix(params.loadings.tolist())
        common = [load * g * load.T for g in autocov]  # E y_t+h y_t'
        at = [(t, i) for t in range(n_time) for i in range(y.shape[1]) if not np.isnan(y[t, i])]
        sigma = mpmath.zeros(len(at))
        for m, (t, i) in enumerate(at):
            for n, (s, j) in enumerate(at):
                sigma[m, n] = common[t - s][i, j] if t >= s else common[s - t][j, i]
                if i == j:
                    phi = mpmath.mpf(params.idio_ar1[i])
                    sigma[m, n] += mpmath.mpf(params.idio_var[i]) * phi ** abs(t - s) / (1 - phi**2)
        root = mpmath.cholesky(sigma)
        z = mpmath.lu_solve(root, mpmath.matrix([y[t, i] for t, i in at]))
        log_det = 2 * sum(mpmath.log(root[m, m]) for m in range(len(at)))
        return float(-(len(at) * mpmath.log(2 * mpmath.pi) + log_det + (z.T * z)[0]) / 2)


def tiny(idiosyncratic: str, variance: float, missing: float, n_time: int = 8) -> tuple[np.ndarray, Spec, Params]:
    """Two of five series are the first factor, and keep next to nothing of their own."""
    y = panel(n_time, 5, 2, seed=3, missing=missing)
    y[:, 2] = 1.5 * y[:, 0]
    y[1::4, 2] = np.nan if missing else y[1::4, 2]
    spec = simple_spec(5, 2, 1, idiosyncratic)
    params = start_params(y, spec)
    loadings = params.loadings.copy()
    loadings[[0, 2]] = [[0.8, 0.3], [1.2, 0.45]]
    return y, spec, params.replace(loadings=loadings, idio_var=np.r_[variance, 0.3, 2 * variance, 0.4, 0.5])


@pytest.mark.parametrize("build", ["baseline", "avx2"])
@pytest.mark.parametrize(("idiosyncratic", "missing"), [("iid", 0.0), ("ar1", 0.0), ("ar1", 0.25), ("iid", 0.25)])
@pytest.mark.parametrize("variance", [1e-3, 1e-5, 1e-8])
def test_tiny_variances_cost_no_digits(idiosyncratic: str, missing: float, variance: float, build: str) -> None:
    y, spec, params = tiny(idiosyncratic, variance, missing)
    value = kernel.CompiledPanel(y, spec, build).loglike(params)
    assert value == pytest.approx(exact_loglike(y, spec, params), abs=1e-7, rel=0)


# At 1e-8 statsmodels, which inverts the observations' covariance, is itself 1e-6 off (against 80-bit arithmetic).
@pytest.mark.parametrize("variance", [1e-5, 1e-7])
@pytest.mark.parametrize("idiosyncratic", ["iid", "ar1"])
def test_tiny_variances_agree_with_statsmodels(idiosyncratic: str, variance: float) -> None:
    y, spec, params = tiny(idiosyncratic, variance, 0.0, n_time=120)
    model = statsmodels_model(y, spec)
    theirs = model.loglike(to_statsmodels(model, params, spec))
    assert kernel.CompiledPanel(y, spec, "baseline").loglike(params) == pytest.approx(theirs, abs=1e-6, rel=0)


@pytest.mark.parametrize("idiosyncratic", ["iid", "ar1"])
@pytest.mark.parametrize("missing", [0.0, 0.25])
def test_states_beside_tiny_variances(idiosyncratic: str, missing: float, monkeypatch: pytest.MonkeyPatch) -> None:
    y, spec, params = tiny(idiosyncratic, 1e-7, missing, n_time=60)
    ours = kernel.states(y, spec, params)
    monkeypatch.setenv("ISTHMUS_KERNEL", "reference")
    twin = kernel.states(y, spec, params)
    for name in ("filtered", "filtered_cov", "smoothed", "smoothed_cov", "innovations", "innovation_var"):
        np.testing.assert_allclose(getattr(ours, name), getattr(twin, name), rtol=1e-6, atol=1e-9, err_msg=name)


def duplicates(n_time: int = 120) -> tuple[np.ndarray, Spec]:
    """Eight series, the last the same as the first."""
    y = panel(n_time, 8, 1, seed=4)
    y[:, 7] = y[:, 0]
    return y, simple_spec(8, 1, 1, "ar1")


def test_a_likelihood_without_maximum_converges_at_the_bound() -> None:
    """One factor follows the pair; their variances stop at the bound, and all else is where it is best there."""
    y, spec = duplicates()
    start = start_params(y, spec)
    start.loadings[:] = [[1.0]] + [[0.3]] * 6 + [[1.0]]
    start.idio_var[[0, 7]] = 1e-3
    fit = kernel.fit_panel(y, spec, start=start)
    assert list(np.flatnonzero(fit.held)) == [0, 7]
    np.testing.assert_allclose(fit.params.idio_var[[0, 7]] / (y[:, [0, 7]] ** 2).mean(0), 1e-8, rtol=1e-6)
    assert fit.converged
    assert fit.gain < 1e-4
    assert fit.scaled_score < 1e-2
    assert np.diff(fit.path).min() > -1e-6
    lower = fit.params.replace(idio_var=fit.params.idio_var * np.r_[0.25, np.ones(6), 0.25])
    assert kernel.loglike(y, spec, lower) > fit.log_likelihood + 50  # no maximum below the bound
    x = Coordinates(spec).to(fit.params)
    where = slices(spec)["idio_var", 0].start
    for k in set(range(len(x))) - {where, where + 7}:
        for sign in (-1, 1):
            moved = Coordinates(spec).back(x + 0.01 * sign * (np.arange(len(x)) == k), fit.params)
            assert kernel.loglike(y, spec, moved) < fit.log_likelihood + 1e-3


def test_plain_em_stops_at_the_bound_too() -> None:
    y, spec = duplicates()
    start = start_params(y, spec)
    start.loadings[:] = [[1.0]] + [[0.3]] * 6 + [[1.0]]
    start.idio_var[[0, 7]] = 1e-7
    fit = kernel.fit_panel(y, spec, start=start, accelerate=False, max_iter=60)
    assert list(np.flatnonzero(fit.held)) == [0, 7]
    assert np.diff(fit.path).min() > -1e-6


def test_held_variances_are_named() -> None:
    """Two series that are one: the fit converges, and says which variances have no best value."""
    values = pd.DataFrame(panel(100, 4, 1, seed=8), columns=list("abcd"))
    values["a2"] = values["a"]
    fit = isthmus.fit_factors(values, factors=1)
    row = fit.table("stats").iloc[0]
    assert row["converged"]
    assert row["status"] == "near_heywood"
    assert (
        "Held at the least idiosyncratic variance, as the likelihood has no maximum above it: a, a2." in row["message"]
    )
    assert isthmus.factors.FactorFit.from_state(fit.state()).one().estimate.held.tolist() == [
        True,
        False,
        False,
        False,
        True,
    ]


def test_a_hard_panel_needs_the_hessian() -> None:
    """Where L-BFGS crawls: a stiff pair beside a factor near a unit root."""
    rng = np.random.default_rng(5)
    y = np.cumsum(rng.normal(size=(130, 12)), axis=0) * 0.3 + np.cumsum(rng.normal(size=(130, 1)), axis=0)
    y[:, 3] = y[:, 2] + 1e-3 * rng.normal(size=130)
    y = (y - y.mean(0)) / y.std(0)
    fit = kernel.fit_panel(y, simple_spec(12, 3, 1, "ar1"), start=start_params(y, simple_spec(12, 3, 1, "ar1")))
    assert fit.converged
    assert np.diff(fit.path).min() > -1e-6
