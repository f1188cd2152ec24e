"""The model with everything in the state: factors with their lags, and idiosyncratic terms.

The kernel that fits works in the factors' dimension. Forecasts, news and residuals need the joint moments of factors
and idiosyncratic terms, once and not in every EM step: here the full state is worth its size. The state at t holds the
factors at t, t-1, ... lag by lag and then the idiosyncratic terms (with four lags for quarterly series, whose
observation is the Mariano-Murasawa (2003) sum with weights 1, 2, 3, 2, 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.factors.params import QUARTERLY_WEIGHTS, companion, dense_transition, stationary_cov

if TYPE_CHECKING:
    from isthmus.factors.params import Params, Spec

WEIGHTS = np.array(QUARTERLY_WEIGHTS)


@dataclass(frozen=True, eq=False)
class StateSpace:
    """y_t = Z a_t + e_t, a_{t+1} = T a_t + R n_t, e ~ N(0, diag(h)), n ~ N(0, Q), a_1 ~ N(a1, P1).

    Attributes
    ----------
    design, transition, selection, state_cov, obs_var
        Z ``(N, m)``, T ``(m, m)``, R ``(m, q)``, Q ``(q, q)``, h ``(N,)``.
    initial_state, initial_cov
        a1 ``(m,)`` and P1 ``(m, m)``.
    n_factors
        The present factors are the first so many states.
    common
        ``(N, m)``: Z without the idiosyncratic terms.
    """

    design: np.ndarray
    transition: np.ndarray
    selection: np.ndarray
    state_cov: np.ndarray
    obs_var: np.ndarray
    initial_state: np.ndarray
    initial_cov: np.ndarray
    n_factors: int
    common: np.ndarray


def build(
    params: Params,
    spec: Spec,
    *,
    noise_in_state: bool = False,
    initial: tuple[np.ndarray, np.ndarray] | None = None,
) -> StateSpace:
    """The full state space at `params`.

    Parameters
    ----------
    noise_in_state
        Keep white idiosyncratic terms as states too (AR(1) with coefficient 0): a forecast of a series is then a
        function of the state alone.
    initial
        Mean and covariance of the first state in place of the model's own (statsmodels estimates those of the
        idiosyncratic terms too).
    """
    lags, cov = dense_transition(spec, params)
    r, n_factor_states = spec.n_factors, spec.n_factors * spec.initial_lags
    sizes = np.where(spec.quarterly, 5, 1 if spec.idiosyncratic == "ar1" or noise_in_state else 0)
    n_states = n_factor_states + int(sizes.sum())
    transition, noise = np.zeros((n_states, n_states)), np.zeros((n_states, n_states))
    transition[:n_factor_states, :n_factor_states] = companion(lags, spec.initial_lags)
    noise[:r, :r] = cov
    common = np.zeros((spec.n_series, n_states))
    common[:, :r] = params.loadings
    for lag in range(5 if spec.quarterly.any() else 0):
        common[spec.quarterly, lag * r : (lag + 1) * r] = WEIGHTS[lag] * params.loadings[spec.quarterly]
    design, first = common.copy(), np.zeros(n_states)
    first_cov = np.zeros((n_states, n_states))
    factor_part = slice(0, n_factor_states)
    if spec.initial == "known" and params.initial_state is not None:
        first[factor_part], first_cov[factor_part, factor_part] = params.initial_state, params.initial_cov
    else:
        first_cov[factor_part, factor_part] = stationary_cov(lags, cov, spec.initial_lags)
    obs_var = _add_idio(params, sizes, n_factor_states, design, transition, noise, first_cov)
    if initial is not None and len(initial[0]) == n_states:
        first, first_cov = initial
    driven = np.flatnonzero(np.diag(noise) > 0)
    return StateSpace(
        design=design,
        transition=transition,
        selection=np.eye(n_states)[:, driven],
        state_cov=noise[np.ix_(driven, driven)],
        obs_var=obs_var,
        initial_state=first,
        initial_cov=first_cov,
        n_factors=r,
        common=common,
    )


def _add_idio(
    params: Params,
    sizes: np.ndarray,
    start: int,
    design: np.ndarray,
    transition: np.ndarray,
    noise: np.ndarray,
    first_cov: np.ndarray,
) -> np.ndarray:
    """Put the idiosyncratic terms into the matrices; the variances of those that are no states come back."""
    obs_var = np.zeros(len(sizes))
    for series, size in enumerate(sizes):
        phi, variance = params.idio_ar1[series], params.idio_var[series]
        if size == 0:
            obs_var[series] = variance
            continue
        own = slice(start, start + size)
        design[series, own] = WEIGHTS if size == 5 else 1.0
        transition[own, own] = np.eye(size, k=-1)
        transition[start, start], noise[start, start] = phi, variance
        distance = np.abs(np.subtract.outer(np.arange(size), np.arange(size)))
        first_cov[own, own] = variance * phi**distance / (1 - phi**2)
        start += size
    return obs_var


def smoother(y: np.ndarray, model: StateSpace) -> Any:
    """statsmodels' Kalman filter and smoother over the full state, observations taken one by one (Koopman & Durbin
    2000): exact with missing values and without measurement noise.

    Parameters
    ----------
    y
        ``(T, N)`` standardised, NaN where missing.

    Returns
    -------
    A statsmodels ``KalmanSmoother`` that is ready to ``filter()`` or ``smooth()``.
    """
    from statsmodels.tsa.statespace.kalman_smoother import KalmanSmoother

    n_states = len(model.transition)
    kalman = KalmanSmoother(k_endog=y.shape[1], k_states=n_states, k_posdef=model.state_cov.shape[0])
    kalman.bind(np.ascontiguousarray(y, dtype=np.float64))
    kalman.filter_univariate = True
    kalman.tolerance = 0.0  # the steady state of Cython's filter is judged by a bound that is too loose for 1e-8
    kalman["design"], kalman["transition"] = model.design, model.transition
    kalman["selection"], kalman["state_cov"] = model.selection, model.state_cov
    kalman["obs_cov"] = np.diag(model.obs_var)
    kalman.initialize_known(model.initial_state, model.initial_cov)
    return kalman


def expected_observations(y: np.ndarray, model: StateSpace) -> np.ndarray:
    """``(T, N)``: E(y_t | all observations), for missing and observed values alike; needs the noise in the state."""
    return smoother(y, model).smooth().smoothed_state.T @ model.design.T


def forecast_moments(y: np.ndarray, model: StateSpace, h: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Means and variances of the series ``(h, N)`` and of the factors ``(h, r)``, 1 to `h` steps after the last row."""
    longer = np.vstack([y, np.full((h, y.shape[1]), np.nan)])
    found = smoother(longer, model).filter()
    state = found.filtered_state[:, len(y) :].T
    cov = np.moveaxis(found.filtered_state_cov[:, :, len(y) :], 2, 0)
    mean = state @ model.design.T
    variance = np.einsum("im,hmn,in->hi", model.design, cov, model.design) + model.obs_var
    now = slice(0, model.n_factors)
    return mean, variance, state[:, now], np.einsum("hff->hf", cov[:, now, now])


def innovations(y: np.ndarray, model: StateSpace) -> np.ndarray:
    """``(T, N)``: one-step forecast errors divided by their standard deviations; NaN where nothing was observed.

    NaN too where an estimated first state says a value exactly (its covariance shrinks to 0 along EM): 0 / 0 there.
    """
    found = smoother(y, model).filter()
    state = found.predicted_state[:, :-1].T
    cov = np.moveaxis(found.predicted_state_cov[:, :, :-1], 2, 0)
    variance = np.einsum("im,tmn,in->ti", model.design, cov, model.design) + model.obs_var
    return (y - state @ model.design.T) / np.sqrt(np.where(variance > 0, variance, np.nan))
