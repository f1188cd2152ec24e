"""Series with next to no noise of their own: accuracy beside tiny variances, and likelihoods without a maximum."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from factor_cases import panel, simple_spec, statsmodels_model, to_statsmodels

from isthmus.factors import kernel
from isthmus.factors.params import Params, Spec, dense_transition
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
