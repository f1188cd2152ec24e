"""Dynamic factor models beside statsmodels' DynamicFactorMQ: time of an EM iteration, of whole fits, of 50 batches.

Writes results/factors.md.

    python benchmarks/factors.py              # `make bench`; about twenty minutes
    python benchmarks/factors.py --quick      # no batches, statsmodels for a second a row

Rules. Both packages run in one process and session, one BLAS thread; CPU seconds (process_time). An EM iteration is one
E and one M step from the same starting values, "known" first state, as DynamicFactorMQ has it; the median of repeated
blocks counts. Whole fits: each package from its own start to its own rule, and both results judged by one likelihood
(stationary first state). Panels: `../shared/checks/bench_data.py`; BM14 of `../shared/data`; the batches are dfmdash's
covid panel, processed as dfmdash does.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import resource
import statistics
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from isthmus import fit_factors
from isthmus.compat.dfmdash import DataProcessor
from isthmus.factors import kernel, statsmodels_engine
from isthmus.factors.blocks import read_layout
from isthmus.factors.params import Block, Params, Spec
from isthmus.factors.start import start_params

HERE = Path(__file__).resolve().parent
SHARED = HERE.parent.parent / "shared"
GOALS = {  # floor and goal of the ratio statsmodels / ours
    "400 x 50, i.i.d.": (35, 60),
    "600 x 120, 4 factors, i.i.d.": (120, 250),
    "BM14 356 x 92, 26 % missing, i.i.d.": (60, 120),
    "200 x 10, i.i.d.": (5, 10),
    "200 x 10, AR(1)": (5, 10),
    "400 x 50, AR(1)": (60, 120),
    "400 x 100, AR(1)": (250, 500),
}


# Read when numpy is imported, and inherited by the workers: `main` starts itself again where they are not set.
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def bench_data():
    sys.path.insert(0, str(SHARED / "checks"))
    import bench_data

    return bench_data


def standardise(values: np.ndarray) -> np.ndarray:
    return (values - np.nanmean(values, axis=0)) / np.nanstd(values, axis=0, ddof=1)


def bm14() -> np.ndarray:
    """BM14's months, logs where its table says so, differenced: 356 x 92."""
    folder = SHARED / "data" / "bm14_dfms"
    values, about = pd.read_csv(folder / "BM14_M.csv.gz", index_col=0), pd.read_csv(folder / "BM14_Models.csv.gz")
    logs = set(about.loc[about["log_trans"].astype(bool), "series"])
    values = pd.DataFrame({name: np.log(v) if name in logs else v for name, v in values.items()})
    return values.diff().iloc[1:].to_numpy()


def panels() -> dict[str, tuple[np.ndarray, int, str, np.ndarray | None]]:
    """Name -> panel, number of factors, idiosyncratic terms, quarterly series."""
    b = bench_data()
    mixed = b.factor_panel(400, 50, 2)
    quarterly = np.arange(50) >= 45
    mixed[np.ix_(np.arange(400) % 3 != 2, quarterly)] = np.nan
    return {
        "200 x 10, i.i.d.": (b.factor_panel(200, 10, 1), 1, "iid", None),
        "400 x 50, i.i.d.": (b.factor_panel(400, 50, 2), 2, "iid", None),
        "400 x 50, 10 % missing, i.i.d.": (b.factor_panel(400, 50, 2, missing=0.1), 2, "iid", None),
        "600 x 120, 4 factors, i.i.d.": (b.factor_panel(600, 120, 4), 4, "iid", None),
        "BM14 356 x 92, 26 % missing, i.i.d.": (bm14(), 2, "iid", None),
        "200 x 10, AR(1)": (b.factor_panel(200, 10, 1), 1, "ar1", None),
        "400 x 50, AR(1)": (b.factor_panel(400, 50, 2), 2, "ar1", None),
        "400 x 50, interior gaps (10 % missing), AR(1)": (b.factor_panel(400, 50, 2, missing=0.1), 2, "ar1", None),
        "400 x 50, 5 of them quarterly, AR(1)": (mixed, 2, "ar1", quarterly),
        "400 x 100, AR(1)": (b.factor_panel(400, 100, 4), 4, "ar1", None),
    }


def specification(y: np.ndarray, r: int, idiosyncratic: str, quarterly: np.ndarray | None, initial: str) -> Spec:
    n = y.shape[1]
    none = np.zeros(n, dtype=bool)
    block = Block("Global", tuple(range(r)), 1)
    return Spec(np.ones((n, r), dtype=bool), (block,), idiosyncratic, initial, none if quarterly is None else quarterly)


# --- one EM iteration -------------------------------------------------------------------------------------------------


def time_ours(y: np.ndarray, spec: Spec) -> float:
    """Milliseconds of one iteration: the median of 7 blocks."""
    panel = kernel.open_panel(y, spec)
    params = start_params(y, spec)
    for _ in range(3):
        params, _ = panel.em(params)
    blocks = []
    for _ in range(7):
        start, n = time.process_time(), 0
        while time.process_time() - start < 0.1 or n < 3:
            params, _ = panel.em(params)
            n += 1
        blocks.append((time.process_time() - start) / n)
    return 1000 * statistics.median(blocks)


def time_statsmodels(y: np.ndarray, spec: Spec, seconds: float) -> float:
    """Milliseconds of one iteration: the median over at least 3 and about `seconds` of them."""
    layout = read_layout(spec.n_factors, [f"y{i}" for i in range(y.shape[1])], None)
    model = statsmodels_engine._model(y, spec, layout, np.argsort(spec.quarterly, kind="stable"))
    values, init, times = model.start_params, None, []
    begin = time.process_time()
    while len(times) < 4 or time.process_time() - begin < seconds:
        start = time.process_time()
        result, values = model._em_iteration(values, init=init)
        init = _next_init(model, result)
        times.append(time.process_time() - start)
    return 1000 * statistics.median(times[1:])


def _next_init(model, result):
    from statsmodels.tsa.statespace.initialization import Initialization

    return Initialization(
        model.k_states,
        "known",
        constant=result.smoothed_state[..., 0],
        stationary_cov=result.smoothed_state_cov[..., 0],
    )


def em_table(seconds: float) -> list[str]:
    lines = ["| panel | ours, ms | statsmodels, ms | ratio | floor (goal) |", "|---|---|---|---|---|"]
    for name, (values, r, idiosyncratic, quarterly) in panels().items():
        y = standardise(values)
        spec = specification(y, r, idiosyncratic, quarterly, "known")
        ours, theirs = time_ours(y, spec), time_statsmodels(y, spec, seconds)
        goal = "{} ({})".format(*GOALS[name]) if name in GOALS else ""
        lines.append(f"| {name} | {ours:.3f} | {theirs:.1f} | {theirs / ours:.0f} x | {goal} |")
        print(lines[-1], flush=True)
    return lines


# --- whole fits -------------------------------------------------------------------------------------------------------


def fits_table(names: list[str]) -> list[str]:
    head = "| panel | ours: s | log-likelihood | iterations | statsmodels: s | log-likelihood | iterations | gain |"
    lines = [head, "|---|" + "---|" * 7]
    for name in names:
        values, r, idiosyncratic, quarterly = panels()[name]
        frame = pd.DataFrame(values, columns=[f"y{i}" for i in range(values.shape[1])])
        if quarterly is not None:
            frame.attrs["frequency"] = {f"y{i}": "quarterly" for i in np.flatnonzero(quarterly)}
        row = []
        for engine in ("isthmus", "statsmodels"):
            start = time.process_time()
            fit = fit_factors(frame, factors=r, idiosyncratic=idiosyncratic, engine=engine)
            row.append((time.process_time() - start, judged(fit.one()), fit.one().estimate.n_iter))
        (s, value, n), (s2, value2, n2) = row
        gain = value - value2
        lines.append(f"| {name} | {s:.2f} | {value:.2f} | {n} | {s2:.2f} | {value2:.2f} | {n2} | {gain:+.2f} |")
        print(lines[-1], flush=True)
    return lines


def judged(one) -> float:
    """Log-likelihood with a stationary first state."""
    spec = Spec(one.spec.loads, one.spec.blocks, one.spec.idiosyncratic, "stationary", one.spec.quarterly)
    params: Params = one.estimate.params
    return kernel.loglike(one.y, spec, params.replace(initial_state=None, initial_cov=None))


# --- batches ----------------------------------------------------------------------------------------------------------


def covid(states: int | None = None) -> tuple[pd.DataFrame, dict[str, str]]:
    """dfmdash's panel after its own processing, with a column State; dropped columns are missing."""
    import anndata as ad

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = ad.read_h5ad(SHARED / "data" / "dfmdash_covid" / "data.h5ad")
        parts = []
        for state in list(data.obs["State"].unique())[:states]:
            part = data[data.obs["State"] == state].copy()
            logs = part.var["logdiff"].to_numpy().astype(bool)
            part.X[:, logs] = np.where(part.X[:, logs] <= -1, np.nan, part.X[:, logs])  # dfmdash makes these 0
            processed = DataProcessor(part).process().df
            parts.append(processed.assign(State=str(state)))
    frame = pd.concat(parts)
    groups = data.var["factor"].astype(str).to_dict()
    return frame, {name: group for name, group in groups.items() if name in frame}


def dfmdash_way(frame: pd.DataFrame, groups: dict[str, str]) -> tuple[float, list[float]]:
    """One DynamicFactorMQ after the other: CPU seconds and log-likelihoods."""
    from statsmodels.tsa.statespace.dynamic_factor_mq import DynamicFactorMQ

    start, values = time.process_time(), []
    for _, rows in frame.groupby("State", sort=False):
        panel = rows.drop(columns="State").dropna(axis=1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                model = DynamicFactorMQ(panel, factors={name: ("Global", groups[name]) for name in panel})
                values.append(float(model.fit(disp=False, maxiter=10_000).llf))
            except (ValueError, np.linalg.LinAlgError) as error:
                values.append(np.nan)
                print("failed:", error)
    return time.process_time() - start, values


def cpu() -> float:
    """Seconds of this process and of its workers that have ended."""
    own, others = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime


def fit_states(frame: pd.DataFrame, groups: dict[str, str], workers: int):
    """The fit, wall seconds and CPU seconds."""
    start, begin = time.perf_counter(), cpu()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = fit_factors(frame, factors=groups, batch="State", n_workers=workers)
    print(workers, "workers:", time.perf_counter() - start, "s wall,", cpu() - begin, "s CPU", flush=True)
    return fit, time.perf_counter() - start, cpu() - begin


def batches_table(n_states: int, n_peers: int) -> list[str]:
    """Ours; dfmdash's way on the first states, scaled up."""
    frame, groups = covid(n_states)
    fit, wall, used = fit_states(frame, groups, 1)
    stats, some = fit.table("stats"), list(frame["State"].unique())[:n_peers]
    theirs, values = dfmdash_way(frame[frame["State"].isin(some)], groups)
    whole, ours = theirs * n_states / n_peers, stats.set_index("batch").loc[some, "seconds"].sum()
    lines = [
        f"| {n_states} states, 131 months, up to 50 series | CPU s |",
        "|---|---|",
        f"| ours, 1 worker ({wall:.0f} s wall) | {used:.1f} |",
        f"| dfmdash's way, {n_peers} states measured (ours: {ours:.1f} s wall for these) | {theirs:.0f} |",
        f"| dfmdash's way, {n_states} states, **extrapolated** | {whole:.0f} |",
        f"| **dfmdash's way / ours** (extrapolated) | {whole / used:.0f} x |",
    ]
    return [*lines, "", how_it_ended(fit, some, values)]


def how_it_ended(fit, some: list[str], theirs: list[float]) -> str:
    stats = fit.table("stats")
    fits = [fit.one(batch.label).estimate for batch in fit.batches if batch.fitted is not None]
    held = sum(bool(e.held.any()) for e in fits)
    ours = ", ".join(f"{judged(fit.one(state)):.1f}" for state in some)
    text = (
        f"How ours ended: {stats['status'].value_counts().to_dict()}, {int(stats['converged'].sum())} of {len(stats)} "
        f"converged, {held} with a variance held at its bound (no maximum). Wall seconds a state: median "
        f"{stats['seconds'].median():.2f}, largest {stats['seconds'].max():.2f}; iterations: median "
        f"{stats['n_iter'].median():.0f}, largest {stats['n_iter'].max()}. Log-likelihood of {', '.join(some)}: ours "
        f"{ours} (stationary first state), theirs {', '.join(f'{v:.1f}' for v in theirs)} (their own first state)."
    )
    print(text, flush=True)
    return text


def scaling_table(n_states: int, pairs: int) -> list[str]:
    """One worker and two, in turn."""
    frame, groups = covid(n_states)
    runs: dict[int, list[tuple[float, float]]] = {1: [], 2: []}
    for pair in range(pairs):
        for workers in (1, 2) if pair % 2 == 0 else (2, 1):
            runs[workers].append(fit_states(frame, groups, workers)[1:])
    lines = [f"| {n_states} states, medians of {pairs} runs in turn | wall s | CPU s |", "|---|---|---|"]
    for n, found in runs.items():
        wall, used = (statistics.median(column) for column in zip(*found, strict=True))
        lines.append(f"| {n} worker{'s'[: n - 1]} | {wall:.1f} | {used:.1f} |")
    ratios = ", ".join(f"{one[0] / two[0]:.2f}" for one, two in zip(runs[1], runs[2], strict=True))
    note = (
        f"Speed-up of each pair: {ratios}; load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores at the end."
    )
    print("\n".join([*lines, note]), flush=True)
    return [*lines, "", note]


OPTIMUM_NOTE = """Log-likelihoods are DynamicFactorMQ's objective with a stationary first state, at either package's
parameters. By default ours also tries to exchange each factor for what the fit leaves unexplained, and keeps what is
better; from DynamicFactorMQ's own starting values alone it climbs to the nearest maximum.
""".splitlines()
RECOVERY_NOTE = """Canonical correlations of smoothed and true factors, r = 2, N = 50, T = 400, R2 = 0.5. With the true
parameters themselves the worse factor of many panels is below 0.98: no estimator reaches 0.98 in every panel.
""".splitlines()


def main() -> None:
    if any(os.environ.get(name) != value for name, value in ONE_THREAD.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | ONE_THREAD)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--states", type=int, default=50, help="batches")
    parser.add_argument("--peers", type=int, default=2, help="states that dfmdash's way is timed on")
    parser.add_argument("--pairs", type=int, default=3, help="runs with one and with two workers")
    parser.add_argument("--scaling-states", type=int, default=12, help="batches of these runs")
    options = parser.parse_args()
    parts = ["## One EM iteration", "", *em_table(1.0 if options.quick else 4.0), "", "## Whole fits", ""]
    whole = ["200 x 10, AR(1)", "400 x 50, i.i.d.", "400 x 50, AR(1)", "BM14 356 x 92, 26 % missing, i.i.d."]
    parts += fits_table(whole)
    from factors_optimum import gains_table, recovery_table

    parts += ["", "## The optimum", "", *gains_table(), "", *OPTIMUM_NOTE, "", "## Recovery", "", *recovery_table()]
    parts += ["", *RECOVERY_NOTE]
    if not options.quick:
        parts += ["", "## Batches", "", *batches_table(options.states, options.peers)]
        parts += ["", *scaling_table(options.scaling_states, options.pairs)]
    head = [
        "# Dynamic factor models beside DynamicFactorMQ",
        "",
        f"{datetime.date.today()}, {platform.machine()}, {os.cpu_count()} cores; `python benchmarks/factors.py`",
        "",
    ]
    out = HERE / "results" / "factors.md"
    out.parent.mkdir(exist_ok=True)
    out.write_text("\n".join([*head, *parts]) + "\n")


if __name__ == "__main__":
    main()
