"""`engine="statsmodels"`: DynamicFactorMQ's EM behind the tables of this package, for comparison and reproduction.

Its results keep their own signs, rotation and scale, and its own stopping rule (a relative gain of 1e-6). With AR(1)
idiosyncratic terms its EM leaves the loadings where they start: the benchmarks of this package show by how much the
likelihood can then still be raised.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from isthmus.factors.fitted import Estimate
from isthmus.factors.params import Params, Spec

if TYPE_CHECKING:
    from isthmus.factors.blocks import Layout

TOLERANCE = 1e-6  # of DynamicFactorMQ.fit
HEYWOOD = 1e-3


def estimate(y: np.ndarray, spec: Spec, layout: Layout, *, max_iter: int, tol: float = TOLERANCE) -> Estimate:
    """Fit with DynamicFactorMQ.

    Parameters
    ----------
    y
        ``(T, N)`` standardised, NaN where missing.
    spec, layout
        What is estimated; ``spec.initial`` must be "known", which is how DynamicFactorMQ's EM treats the first state.
    tol
        Relative gain of the log-likelihood at which EM stops.
    """
    order = np.argsort(spec.quarterly, kind="stable")  # monthly series first
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # statsmodels' remarks on the index; what matters is reported as `converged`
        model = _model(y[:, order], spec, layout, order)
        result = model.fit(maxiter=max_iter, tolerance=tol, disp=False)
    params = params_of(model, spec, order)
    path = np.asarray(result.mle_retvals.llf, dtype=np.float64)
    start = result.filter_results
    initial = reordered(np.asarray(start.initial_state), np.asarray(start.initial_state_cov), model, spec, order)
    now = model._s["factors_L1"]
    filtered, smoothed = result.filter_results, result.smoother_results
    gain = float(path[-1] - path[-2]) if len(path) > 1 else np.inf
    idio = params.idio_var / np.maximum(1 - params.idio_ar1**2, 1e-12)
    return Estimate(
        params=params,
        log_likelihood=float(result.llf),
        path=path,
        n_iter=int(result.mle_retvals.iter),
        converged=bool(result.mle_retvals.iter < max_iter),
        gain=gain,
        scaled_score=np.nan,
        heywood=idio / np.nanmean(y**2, axis=0) < HEYWOOD,
        held=np.zeros(y.shape[1], dtype=bool),
        kernel="statsmodels",
        filtered=filtered.filtered_state[now].T.copy(),
        filtered_cov=np.moveaxis(filtered.filtered_state_cov[now][:, now], 2, 0).copy(),
        smoothed=smoothed.smoothed_state[now].T.copy(),
        smoothed_cov=np.moveaxis(smoothed.smoothed_state_cov[now][:, now], 2, 0).copy(),
        initial=initial,
    )


def _model(y: np.ndarray, spec: Spec, layout: Layout, order: np.ndarray) -> Any:
    from statsmodels.tsa.statespace.dynamic_factor_mq import DynamicFactorMQ

    names = [f"y{i}" for i in order]
    labels = [f"f{j}" for j in range(spec.n_factors)]
    factors = {name: [labels[j] for j in np.flatnonzero(spec.loads[i])] for name, i in zip(names, order, strict=True)}
    orders = {tuple(labels[j] for j in block.factors): block.order for block in spec.blocks}
    return DynamicFactorMQ(
        pd.DataFrame(y, columns=names),
        k_endog_monthly=int((~spec.quarterly).sum()) if spec.quarterly.any() else None,
        factors=factors,
        factor_orders=orders,
        idiosyncratic_ar1=spec.idiosyncratic == "ar1",
        standardize=False,
    )


def params_of(model: Any, spec: Spec, order: np.ndarray) -> Params:
    """Our parameters from the matrices that the model holds after its last smoothing."""
    s, n = model._s, spec.n_series
    back = np.argsort(order)
    design, state_transition = model["design"], model["transition"]
    noise = model["state_cov"]
    loadings = design[:, s["factors_L1"]][back]  # quarterly weights start with 1
    transition, covs, at = [], [], 0
    for block, theirs in zip(spec.blocks, s.factor_blocks, strict=True):
        k = len(block.factors)
        wide = state_transition[theirs["factors_L1"], theirs["factors_ar"]]
        transition.append(wide.reshape(k, block.order, k).transpose(1, 0, 2).copy())
        covs.append(noise[at : at + k, at : at + k].copy())
        at += k
    idio = np.diag(noise)[at:]
    n_monthly = int((~spec.quarterly).sum())
    if spec.idiosyncratic == "ar1":
        phi, var = np.diag(state_transition)[s["idio_ar_L1"]], idio
    else:
        phi = np.zeros(n)
        var = np.r_[np.diag(model["obs_cov"])[:n_monthly], idio]
    return Params(
        loadings=np.where(spec.loads, loadings, 0.0),
        transition=tuple(transition),
        innovation_cov=tuple(covs),
        idio_ar1=phi[back].copy(),
        idio_var=var[back].copy(),
    )


def reordered(
    mean: np.ndarray, cov: np.ndarray, model: Any, spec: Spec, order: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of DynamicFactorMQ's state in the order of `statespace.build`."""
    theirs = _positions(model, spec, order)
    there = theirs >= 0
    first, first_cov = np.zeros(len(theirs)), np.zeros((len(theirs), len(theirs)))
    first[there] = mean[theirs[there]]
    first_cov[np.ix_(there, there)] = cov[np.ix_(theirs[there], theirs[there])]
    return first, first_cov


def _positions(model: Any, spec: Spec, order: np.ndarray) -> np.ndarray:
    """Where each of our states is in theirs; -1 for lags that they do not keep, which nothing depends on."""
    s, r = model._s, spec.n_factors
    factors = np.full((spec.initial_lags, r), -1)
    for block, theirs in zip(spec.blocks, s.factor_blocks, strict=True):
        places = theirs["factors_ix"]  # factor x lag
        lags = min(spec.initial_lags, places.shape[1])
        factors[:lags, list(block.factors)] = places.T[:lags]
    monthly = s["idio_ar_M"].start if spec.idiosyncratic == "ar1" else None
    rank = {int(series): i for i, series in enumerate(order)}
    n_monthly = int((~spec.quarterly).sum())
    idio: list[int] = []
    for series in range(spec.n_series):
        if spec.quarterly[series]:
            idio += [int(i) for i in s["idio_ar_Q_ix"][rank[series] - n_monthly]]
        elif monthly is not None:
            idio.append(int(monthly) + rank[series])
    return np.r_[factors.ravel(), np.array(idio, dtype=np.int64)]
