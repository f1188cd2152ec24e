"""The optimum is an optimum: never below DynamicFactorMQ's, above it with AR(1) terms, judged by its own likelihood."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from statsmodels.datasets import macrodata
from statsmodels.tsa.statespace.dynamic_factor_mq import DynamicFactorMQ

import isthmus
from isthmus.factors import kernel
from isthmus.factors.params import pack
from isthmus.testing import simulate_panel

BM14 = Path(__file__).parents[3] / "shared" / "data" / "bm14_dfms"


def macro():
    """Nine US series as growth rates or changes, 1959Q2 to 2009Q3."""
    data = macrodata.load_pandas().data
    logs = ["realgdp", "realcons", "realinv", "realgovt", "realdpi", "cpi", "m1"]
    changes = np.log(data[logs]).diff().assign(unemp=data["unemp"].diff(), tbilrate=data["tbilrate"].diff())
    return changes.iloc[1:].reset_index(drop=True)


def euro_area():
    """BM14's months without gaps: 200 x 72, logs where its table says so, differenced."""
    values, about = pd.read_csv(BM14 / "BM14_M.csv.gz", index_col=0), pd.read_csv(BM14 / "BM14_Models.csv.gz")
    logs = set(about.loc[about["log_trans"].astype(bool), "series"])
    values = pd.DataFrame({name: np.log(v) if name in logs else v for name, v in values.items()}).diff().iloc[1:]
    return values.iloc[-210:-10].dropna(axis=1).reset_index(drop=True)


def judged(fit):
    """DynamicFactorMQ's log-likelihood, stationary first state, at the fit's parameters (one block)."""
    one = fit.one()
    p, k = one.estimate.params, one.spec.n_factors
    model = DynamicFactorMQ(
        pd.DataFrame(one.y, columns=list(one.names)),
        factors=1,
        factor_multiplicities=k,
        factor_orders=one.spec.order,
        idiosyncratic_ar1=one.spec.idiosyncratic == "ar1",
        standardize=False,
    )
    root = np.linalg.cholesky(p.innovation_cov[0])
    lags = np.concatenate(list(p.transition[0]), axis=1)
    idio = [p.idio_ar1] if one.spec.idiosyncratic == "ar1" else []
    values = [p.loadings.ravel(), lags.ravel(), root[np.tril_indices(k)], *idio, p.idio_var]
    return model.loglike(np.concatenate(values))


def both(panel, **options):
    return [judged(isthmus.fit_factors(panel, **options, engine=engine)) for engine in ("isthmus", "statsmodels")]


def test_macrodata():
    """Frozen loadings cost DynamicFactorMQ 9 or more."""
    ours, theirs = both(macro(), factors=1)
    assert ours - theirs >= 9


@pytest.mark.skipif(not BM14.is_dir(), reason="needs ../shared, which a plain clone does not have")
def test_bm14_and_its_near_duplicates():
    panel = euro_area()
    assert panel.shape == (200, 72)
    fit = isthmus.fit_factors(panel, factors=2)
    theirs = isthmus.fit_factors(panel, factors=2, engine="statsmodels")
    assert judged(fit) - judged(theirs) >= 390
    row = fit.table("stats").iloc[0]
    assert row["status"] == "near_heywood"
    assert "near a Heywood case" in row["message"]
    near = panel.corr().abs().to_numpy() - np.eye(72)
    kept = panel.loc[:, [not (near[i, :i] > 0.98).any() for i in range(72)]]
    assert kept.shape[1] < 72
    ours, theirs = both(kept, factors=2)
    assert ours > theirs


@pytest.mark.parametrize("idiosyncratic", ["ar1", "iid"])
@pytest.mark.parametrize("missing", [0.0, 0.1])
@pytest.mark.parametrize("k", [1, 2])
def test_never_below(idiosyncratic, missing, k):
    panel = simulate_panel(150, 10, n_factors=k, missing=missing, seed=20 + k)
    ours, theirs = both(panel, factors=k, idiosyncratic=idiosyncratic)
    assert ours >= theirs - 1e-4
    assert ours > theirs or idiosyncratic == "iid"


@pytest.mark.parametrize("idiosyncratic", ["ar1", "iid"])
def test_gradient_by_differences_at_the_optimum(idiosyncratic):
    """Central differences of the log-likelihood, in units of the parameters' standard errors."""
    fit = isthmus.fit_factors(simulate_panel(120, 6, missing=0.05, seed=31), factors=1, idiosyncratic=idiosyncratic)
    one = fit.one()
    from isthmus.factors.params import unpack

    theta = pack(one.spec, one.estimate.params)
    for i in range(len(theta)):
        step = 1e-5 * max(abs(theta[i]), 0.1)
        ends = []
        for sign in (1, -1):
            moved = theta.copy()
            moved[i] += sign * step
            ends.append(kernel.loglike(one.y, one.spec, unpack(one.spec, moved)))
        curvature = (2 * one.estimate.log_likelihood - sum(ends)) / step**2
        assert abs(ends[0] - ends[1]) / (2 * step) / np.sqrt(max(curvature, 1.0)) < 0.02
