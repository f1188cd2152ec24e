"""Write factors.json: a small monthly panel with gaps, and fits that Python and R must both reach.

    python tests/contract/make_factors.py

The numbers come from the Python surface at a tight tolerance; the log-likelihoods are compared with statsmodels' at the
same parameters before they are written.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from statsmodels.tsa.statespace.dynamic_factor_mq import DynamicFactorMQ

import isthmus

HERE = Path(__file__).parent
GROUPS = {"s1": "a", "s2": "a", "s3": "a", "s4": "b", "s5": "b", "s6": "b"}
FITS = {
    "one_factor": {"factors": 1, "idiosyncratic": "iid"},
    "ar1": {"factors": 1},
}


def panel(n_time: int = 60, seed: int = 3) -> pd.DataFrame:
    """One factor, six series, three gaps and a ragged end; three digits, so that the file is exact."""
    rng = np.random.default_rng(seed)
    factor = np.zeros(n_time)
    for t in range(1, n_time):
        factor[t] = 0.7 * factor[t - 1] + rng.standard_normal()
    values = np.round(np.outer(factor, rng.uniform(0.5, 1.5, 6)) + rng.standard_normal((n_time, 6)) + 3, 3)
    values[[10, 25, 26], [0, 3, 3]] = np.nan
    values[-2:, 5] = np.nan
    index = pd.period_range("2001-01", periods=n_time, freq="M")
    return pd.DataFrame(values, index=index, columns=list(GROUPS))


def statsmodels_loglike(fit: isthmus.FactorFit, data: pd.DataFrame) -> float:
    """The log-likelihood of DynamicFactorMQ with a stationary first state at our parameters."""
    one = fit.one()
    params = one.estimate.params
    ar1 = fit.settings["idiosyncratic"] == "ar1"
    model = DynamicFactorMQ(
        (data - data.mean()) / data.std(), factors=1, factor_orders=1, idiosyncratic_ar1=ar1, standardize=False
    )
    values = [*params.loadings[:, 0], params.transition[0][0, 0, 0], params.innovation_cov[0][0, 0]]
    values += [*params.idio_ar1] * ar1 + [*params.idio_var]
    return model.loglike(np.array(values))


def numbers(fit: isthmus.FactorFit) -> dict:
    stats, loadings = fit.table("stats"), fit.table("loadings")
    ahead = isthmus.forecast_factors(fit, 2)
    return {
        "log_likelihood": float(stats["log_likelihood"][0]),
        "aic": float(stats["aic"][0]),
        "series": loadings["series"].tolist(),
        "loading": np.round(loadings["loading"], 8).tolist(),
        "smoothed": np.round(fit.table("factors")["smoothed"][:20], 8).tolist(),
        "forecast": {
            "time": ahead["time"][:2].tolist(),
            "mean": np.round(ahead["mean"], 8).tolist(),
            "sd": np.round(ahead["sd"], 8).tolist(),
        },
    }


def main() -> None:
    data = panel()
    fits = {}
    for name, options in FITS.items():
        fit = isthmus.fit_factors(data, **options, tol=1e-8)
        theirs = statsmodels_loglike(fit, data)
        assert abs(fit.log_likelihood[0] - theirs) < 1e-5, (name, fit.log_likelihood[0], theirs)
        fits[name] = {"options": options} | numbers(fit)
    contract = {
        "about": "Factor models that Python and R must both reach; written by make_factors.py.",
        "panel": {name: [None if np.isnan(x) else x for x in data[name]] for name in data},
        "groups": GROUPS,
        "fits": fits,
    }
    text = json.dumps(contract, separators=(",", ":"))
    for key in ('"groups"', '"fits"', '"one_factor"', '"ar1":{'):
        text = text.replace(key, "\n" + key)
    (HERE / "factors.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
