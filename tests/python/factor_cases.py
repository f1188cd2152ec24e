"""Panels and specifications that the factor tests share, and the way to statsmodels' DynamicFactorMQ and back."""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus.factors.params import Block, Params, Spec, with_initial


def panel(n_time: int, n_series: int, n_factors: int, seed: int = 0, missing: float = 0.0) -> np.ndarray:
    """AR(1) factors and AR(1) idiosyncratic terms; random gaps, a ragged start and a ragged end."""
    rng = np.random.default_rng(seed)
    f, e = np.zeros((n_time + 30, n_factors)), np.zeros((n_time + 30, n_series))
    rho = rng.uniform(-0.3, 0.6, n_series)
    for t in range(1, len(f)):
        f[t] = np.linspace(0.8, 0.4, n_factors) * f[t - 1] + rng.normal(size=n_factors)
        e[t] = rho * e[t - 1] + rng.normal(size=n_series)
    y = f[30:] @ rng.normal(size=(n_factors, n_series)) + 1.3 * e[30:]
    y = (y - y.mean(axis=0)) / y.std(axis=0)
    if missing:
        y[rng.random(y.shape) < missing] = np.nan
        y[: n_time // 6, ::3] = np.nan
        y[n_time - 2 :, 1::4] = np.nan
    return y


def quarterly_panel(n_time: int, n_monthly: int, n_quarterly: int, n_factors: int, seed: int = 0) -> np.ndarray:
    """The last columns are seen at the end of each quarter only, as Mariano-Murasawa aggregates."""
    y = panel(n_time + 4, n_monthly + n_quarterly, n_factors, seed)
    weights = (1.0, 2.0, 3.0, 2.0, 1.0)
    sums = sum(w * y[4 - lag : len(y) - lag, n_monthly:] for lag, w in enumerate(weights))
    out = y[4:].copy()
    out[:, n_monthly:] = sums / sums.std(axis=0)
    out[np.arange(n_time) % 3 != 2, n_monthly:] = np.nan
    return out


def simple_spec(
    n_series: int, n_factors: int, order: int, idiosyncratic: str, initial: str = "stationary", n_quarterly: int = 0
) -> Spec:
    """Every series loads on every factor, one block."""
    quarterly = np.arange(n_series) >= n_series - n_quarterly
    block = Block("f", tuple(range(n_factors)), order)
    return Spec(np.ones((n_series, n_factors), bool), (block,), idiosyncratic, initial, quarterly)


def statsmodels_model(y: np.ndarray, spec: Spec, **options: Any) -> Any:
    """DynamicFactorMQ of a :func:`simple_spec`."""
    from statsmodels.tsa.statespace.dynamic_factor_mq import DynamicFactorMQ

    options = {
        "factors": 1,
        "factor_multiplicities": spec.n_factors,
        "factor_orders": spec.blocks[0].order,
        **options,
    }
    return DynamicFactorMQ(
        y,
        k_endog_monthly=int((~spec.quarterly).sum()),
        idiosyncratic_ar1=spec.idiosyncratic == "ar1",
        standardize=False,
        **options,
    )


def from_statsmodels(model: Any, x: np.ndarray, spec: Spec) -> Params:
    """Read DynamicFactorMQ's vector."""
    where = model._p
    loadings = np.zeros(spec.loads.shape)
    loadings[spec.loads] = x[where["loadings"]]
    ar, cov = list(x[where["factor_ar"]]), list(x[where["factor_cov"]])
    transition, innovation_cov = [], []
    for block in spec.blocks:
        k, n = len(block.factors), len(block.factors) ** 2 * block.order
        transition.append(np.reshape(ar[:n], (k, block.order, k)).transpose(1, 0, 2))
        root = np.zeros((k, k))
        root[np.tril_indices(k)] = cov[: k * (k + 1) // 2]
        innovation_cov.append(root @ root.T)
        ar, cov = ar[n:], cov[k * (k + 1) // 2 :]
    ar1 = x[where["idiosyncratic_ar1"]] if spec.idiosyncratic == "ar1" else np.zeros(spec.n_series)
    var = x[where["idiosyncratic_var"]]
    return with_initial(spec, Params(loadings, tuple(transition), tuple(innovation_cov), ar1, var))


def to_statsmodels(model: Any, params: Params, spec: Spec) -> np.ndarray:
    """Write DynamicFactorMQ's vector."""
    x = np.zeros(model.k_params)
    where = model._p
    x[where["loadings"]] = params.loadings[spec.loads]
    x[where["factor_ar"]] = np.concatenate([a.transpose(1, 0, 2).ravel() for a in params.transition])
    roots = [np.linalg.cholesky(q)[np.tril_indices(len(q))] for q in params.innovation_cov]
    x[where["factor_cov"]] = np.concatenate(roots)
    if spec.idiosyncratic == "ar1":
        x[where["idiosyncratic_ar1"]] = params.idio_ar1
    x[where["idiosyncratic_var"]] = params.idio_var
    return x
