"""How good our optima are, beside DynamicFactorMQ's and beside the truth: part of the report of factors.py."""

from __future__ import annotations

import sys
import warnings

import numpy as np
import pandas as pd
from factors import HERE, judged, specification, standardise

from isthmus import fit_factors
from isthmus.factors import kernel, statsmodels_engine
from isthmus.factors.blocks import read_layout
from isthmus.factors.params import Params
from isthmus.testing import simulate_panel

N_PANELS = 20


def _tested_panels():
    sys.path.insert(0, str(HERE.parent / "tests" / "python"))
    from test_factors_optimum import euro_area, macro

    return macro(), euro_area()


def from_their_start(frame: pd.DataFrame, r: int) -> float:
    """Our maximum on the way up from DynamicFactorMQ's own starting values, without the exchange of factors."""
    y = standardise(frame.to_numpy())
    spec = specification(y, r, "ar1", None, "stationary")
    model = statsmodels_engine._model(y, spec, read_layout(r, list(frame), None), np.arange(y.shape[1]))
    model.smooth(model.start_params)
    start = statsmodels_engine.params_of(model, spec, np.arange(y.shape[1]))
    return kernel.fit_panel(y, spec, start=start).log_likelihood


def without_twins(frame: pd.DataFrame) -> pd.DataFrame:
    """One of each pair of series whose correlation is beyond 0.98."""
    near = frame.corr().abs().to_numpy() - np.eye(frame.shape[1])
    return frame.loc[:, [not (near[i, :i] > 0.98).any() for i in range(frame.shape[1])]]


def gains_table() -> list[str]:
    macro, euro = _tested_panels()
    cases = {"macrodata 202 x 9, 1 factor": (macro, 1, ">= 9"), "BM14 200 x 72, 2 factors": (euro, 2, ">= 390")}
    kept = without_twins(euro)
    cases[f"the same without near-duplicates, {kept.shape[1]} series"] = (kept, 2, "")
    lines = [
        "| panel, AR(1) | DynamicFactorMQ | ours | gain | bar | ours from its start | gain | status |",
        "|---|" + "---|" * 7,
    ]
    for name, (frame, r, bar) in cases.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fit = fit_factors(frame, factors=r)
            ours, theirs = judged(fit.one()), judged(fit_factors(frame, factors=r, engine="statsmodels").one())
        again, status = from_their_start(frame, r), fit.table("stats")["status"][0]
        lines.append(
            f"| {name} | {theirs:.2f} | {ours:.2f} | {ours - theirs:+.2f} | {bar} | {again:.2f} | "
            f"{again - theirs:+.2f} | {status} |"
        )
        print(lines[-1], flush=True)
    return lines


def canonical(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    qx, qy = (np.linalg.qr(v - v.mean(0))[0] for v in (x, y))
    return np.linalg.svd(qx.T @ qy, compute_uv=False)


def recovery_table() -> list[str]:
    """The issue's design: r = 2, factor AR 0.7, R2 = 0.5, N = 50, T = 400; smoothed by ours and by the truth."""
    rows = []
    for seed in range(N_PANELS):
        panel = simulate_panel(400, 50, n_factors=2, seed=seed)
        one = fit_factors(panel, factors=2).one()
        truth = Params(
            loadings=panel.varm["loadings"] / one.sd[:, None],
            transition=(0.7 * np.eye(2)[None],),
            innovation_cov=(0.51 * np.eye(2),),
            idio_ar1=panel.var["idio_ar1"].to_numpy(),
            idio_var=panel.var["idio_var"].to_numpy() / one.sd**2,
        )
        known = kernel.states(np.asarray(panel.X) / one.sd, one.spec, truth).smoothed
        rows.append([canonical(f, panel.obsm["factors"]) for f in (one.estimate.smoothed, known)])
    found = np.array(rows)  # panel, whose, canonical correlation
    lines = ["| smoothed with | mean | worse factor, mean | worse factor, least | panels with both >= 0.98 |"]
    lines += ["|---|---|---|---|---|"]
    for i, name in enumerate(["our estimates", "the true parameters"]):
        c = found[:, i]
        lines.append(
            f"| {name} | {c.mean():.4f} | {c[:, 1].mean():.4f} | {c[:, 1].min():.4f} | "
            f"{int((c[:, 1] >= 0.98).sum())} of {N_PANELS} |"
        )
        print(lines[-1], flush=True)
    return lines
