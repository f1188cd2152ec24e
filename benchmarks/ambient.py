"""Ambient RNA by method="em": quality against the oracle, time and memory. Writes results/ambient.md.

    python benchmarks/ambient.py                 # `make bench`; about three minutes
    python benchmarks/ambient.py --no-large      # without the 50,000 x 20,000 problem

Rules. Each problem is a process of its own with one BLAS thread. The oracle splits the same counts with the true
shares, the true ambient profile and the true mean profile of each type. CPU seconds are user + system of the one call.
Peers that are not installed (DropletUtils, scvi-tools) are named as missing, never guessed.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import resource
import subprocess
import sys
import time
import warnings
from pathlib import Path

HERE = Path(__file__).resolve().parent
SHARED = HERE.parent.parent / "shared"
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
PROBLEMS = {"7": ("ambient", 7), "1": ("ambient", 1), "2": ("ambient", 2), "hard": ("ambient_hard", 11)}


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def oracle_shares(cells, ambient):
    """Posterior native share of each stored count under the truth; `ambient` is batches x genes."""
    import numpy as np

    observed, native, label = cells.X, cells.layers["native"], cells.obs["type"].cat.codes.to_numpy()
    batch = cells.obs["batch"].cat.codes.to_numpy() if len(ambient) > 1 else np.zeros(cells.n_obs, int)
    profile = np.stack([np.asarray(native[label == k].sum(axis=0)).ravel() for k in range(label.max() + 1)])
    profile /= profile.sum(axis=1, keepdims=True)
    row = np.repeat(np.arange(cells.n_obs), np.diff(observed.indptr))
    rho = cells.obs["rho"].to_numpy()[row]
    own = (1 - rho) * profile[label[row], observed.indices]
    soup = rho * ambient[batch[row], observed.indices]
    return own / np.maximum(own + soup, 1e-30)


def true_profiles(cells, droplets):
    """The simulator's profile where it is kept, else that of the empty droplets (ambient_hard keeps none)."""
    import numpy as np

    if "ambient" in cells.var:
        return cells.var["ambient"].to_numpy()[None]
    empty, batch = droplets.X[cells.n_obs :], droplets.obs["batch"].cat.codes.to_numpy()[cells.n_obs :]
    sums = np.stack([np.asarray(empty[batch == b].sum(axis=0)).ravel() for b in range(batch.max() + 1)])
    return sums / sums.sum(axis=1, keepdims=True)


def job_quality(name: str) -> dict:
    """Fit one problem with clusters found; every figure of issue 4, section 4."""
    import numpy as np
    from scipy import sparse

    import isthmus

    sys.path.insert(0, str(SHARED / "checks"))
    import bench_data

    problem, seed = PROBLEMS[name]
    cells, droplets = getattr(bench_data, problem)(seed=seed)
    batch = "batch" if "batch" in cells.obs else None
    isthmus.remove_ambient(cells[:200, :50].copy(), profile=np.ones(50), rho=0.1)  # imports
    cpu, wall = cpu_seconds(), time.perf_counter()
    fit = isthmus.remove_ambient(cells, droplets=droplets, batch=batch)
    cpu, wall = cpu_seconds() - cpu, time.perf_counter() - wall
    profile_cpu = cpu_seconds()
    table = isthmus.ambient_profile(cells, droplets, batch=batch)
    profile_cpu = cpu_seconds() - profile_cpu
    observed, native = cells.X, cells.layers["native"]
    share = oracle_shares(cells, true_profiles(cells, droplets))
    drawn = np.random.default_rng(0).binomial(observed.data.astype(int), share)

    def rmse(matrix):
        return float(np.sqrt(sparse.csr_matrix(matrix - native).power(2).sum() / np.prod(native.shape)))

    def of(values):
        return sparse.csr_matrix((values, observed.indices, observed.indptr), observed.shape)

    truth, kept = cells.obs["rho"].to_numpy(), fit.denoised_mean.minimum(native).sum() / native.sum()
    out = {
        "none": rmse(observed),
        "mean": rmse(fit.denoised_mean),
        "drawn": rmse(fit.denoised),
        "oracle": rmse(of(observed.data * share)),
        "oracle_drawn": rmse(of(drawn)),
        "r": float(np.corrcoef(fit.rho, truth)[0, 1]),
        "mae": float(np.abs(fit.rho - truth).mean()),
        "cover": float((np.abs(fit.rho - truth) <= 1.96 * fit.rho_se).mean()),
        "kept": float(kept),
        "kept_drawn": float(fit.denoised.minimum(native).sum() / native.sum()),
        "added": int((fit.denoised > observed).nnz),
        "clusters": len(fit.cluster_names),
        "steps": fit.n_iter,
        "cpu": cpu,
        "wall": wall,
        "profile_cpu": profile_cpu,
    }
    if batch is None:
        total, p = table["count"].sum(), cells.var["ambient"].to_numpy()
        expected = float(np.sqrt(2 / np.pi) * np.sqrt(p * (1 - p) / total).sum())
        out["l1"] = float(np.abs(table["prob"] - p).sum()) / expected
    return out


def job_large() -> dict:
    """50,000 cells x 20,000 genes, 5 % stored: CPU time, and peak memory above the loaded data."""
    import numpy as np
    import pandas as pd
    from anndata import AnnData
    from scipy import sparse

    import isthmus

    rng, n, g, k = np.random.default_rng(0), 50_000, 20_000, 6
    types = rng.lognormal(0, 1.6, g) * np.exp(rng.normal(0, 0.8, (k, g)))
    types[rng.random((k, g)) < 0.2] = 0
    types /= types.sum(axis=1, keepdims=True)
    ambient = types.mean(axis=0) * np.exp(rng.normal(0, 0.3, g))
    ambient /= ambient.sum()
    label, rho, parts = rng.integers(k, size=n), rng.uniform(0.02, 0.25, n), []
    for start in range(0, n, 2_000):
        rows = np.arange(start, start + 2_000)
        drawn, depth = [], rng.poisson(1_650, len(rows))
        for i, size in zip(rows, depth, strict=True):
            drawn.append(np.searchsorted(cumulative(types, ambient, label[i], rho[i]), rng.random(size)))
        where = np.minimum(np.concatenate(drawn), g - 1)
        local = np.repeat(np.arange(len(rows)), depth)
        parts.append(sparse.coo_matrix((np.ones(len(where), np.float32), (local, where)), (len(rows), g)).tocsr())
    matrix = sparse.vstack(parts, format="csr")
    cells = AnnData(matrix, obs=pd.DataFrame(index=np.arange(n).astype(str)))
    del parts, drawn, where, local
    size = (matrix.data.nbytes + matrix.indices.nbytes + matrix.indptr.nbytes) / 2**20
    Path("/proc/self/clear_refs").write_text("5")
    before, cpu = _status_mb("VmRSS"), cpu_seconds()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = isthmus.remove_ambient(cells, profile=ambient, progress=False)
    return {
        "cpu": cpu_seconds() - cpu,
        "matrix_mb": size,
        "extra_mb": _status_mb("VmHWM") - before,
        "stored": matrix.nnz / (n * g),
        "clusters": len(fit.cluster_names),
        "steps": fit.n_iter,
        "r": float(np.corrcoef(fit.rho, rho)[0, 1]),
    }


_KEPT: dict = {}


def cumulative(types, ambient, k, rho):
    """Cumulative probabilities of a cell's genes; rho in steps of 0.01, so that few are needed."""
    import numpy as np

    key = (int(k), round(float(rho), 2))
    if key not in _KEPT:
        _KEPT[key] = np.cumsum((1 - key[1]) * types[k] + key[1] * ambient)
    return _KEPT[key]


def _status_mb(field: str) -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


# --- the run ----------------------------------------------------------------------------------------------------------


def job(*arguments: str) -> dict:
    command = [sys.executable, str(Path(__file__).resolve()), *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | ONE_THREAD)
    return json.loads(done.stdout.strip().splitlines()[-1])


ROWS = (
    ("posterior mean, RMSE / oracle's", lambda f: f"{f['mean'] / f['oracle']:.3f}", "<= 1.05 (hard 1.15)"),
    ("drawn counts, RMSE / oracle's drawn", lambda f: f"{f['drawn'] / f['oracle_drawn']:.3f}", "<= 1.03"),
    ("posterior mean, RMSE / uncorrected", lambda f: f"{f['mean'] / f['none']:.3f}", "<= 0.62"),
    ("RMSE: uncorrected, mean, drawn", lambda f: f"{f['none']:.3f}, {f['mean']:.3f}, {f['drawn']:.3f}", ""),
    ("rho: correlation", lambda f: f"{f['r']:.3f}", ">= 0.92 (mean 0.95)"),
    ("rho: mean absolute error", lambda f: f"{f['mae']:.4f}", "<= 0.021 (mean 0.017)"),
    ("rho: 95 % intervals cover", lambda f: f"{f['cover']:.3f}", ">= 0.88"),
    ("native kept, mean; drawn", lambda f: f"{f['kept']:.3f}; {f['kept_drawn']:.3f}", ">= 0.945"),
    ("entries above the observed count", lambda f: str(f["added"]), "0"),
    ("profile: L1 / its sampling error", lambda f: f"{f['l1']:.2f}" if "l1" in f else "", "<= 1.1"),
    ("clusters found; EM steps", lambda f: f"{f['clusters']}; {f['steps']}", ""),
    ("remove_ambient, CPU s; wall s", lambda f: f"{f['cpu']:.2f}; {f['wall']:.2f}", ""),
    ("ambient_profile, CPU s", lambda f: f"{f['profile_cpu']:.3f}", ""),
)


def report(figures: dict, large: dict | None) -> str:
    names = list(figures)
    heads = [f"ambient({PROBLEMS[n][1]})" if n != "hard" else "ambient_hard(11)" for n in names]
    lines = [f"| what | {' | '.join(heads)} | bar |", "|---" * (len(names) + 2) + "|"]
    for what, show, bar in ROWS:
        lines.append(f"| {what} | {' | '.join(show(figures[n]) for n in names)} | {bar} |")
    text = f"# Ambient RNA benchmark\n\n`python benchmarks/ambient.py`, {datetime.date.today()}, clusters found.\n\n"
    text += "\n".join(lines) + "\n\n"
    if large:
        ratio = large["extra_mb"] / large["matrix_mb"]
        text += (
            f"50,000 cells x 20,000 genes ({large['stored']:.1%} stored, {large['matrix_mb']:.0f} MB), profile given: "
            f"{large['cpu']:.0f} CPU s (bar 120, goal 60), peak {large['extra_mb']:.0f} MB above the data, "
            f"{ratio:.1f} x the matrix (bar 3 x); {large['clusters']} clusters, {large['steps']} steps, "
            f"rho correlation {large['r']:.3f}.\n\n"
        )
    text += "Not run here: stock SCAR (needs `isthmus[deep]`), DropletUtils::removeAmbience.\n\n"
    cpu = next(
        (x.split(":")[1].strip() for x in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in x), "?"
    )
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return text + f"Machine: {cpu}, {os.cpu_count()} cores, {platform.platform()}; load average at the end {load}.\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--no-large", action="store_true", help="leave out the 50,000 x 20,000 problem")
    parser.add_argument("--job", choices=[*PROBLEMS, "large"], help=argparse.SUPPRESS)
    options, _ = parser.parse_known_args()
    if options.job:
        print(json.dumps(job_large() if options.job == "large" else job_quality(options.job)))
        return
    if not SHARED.exists():
        sys.exit(f"The benchmark problems are made by {SHARED}/checks/bench_data.py, which is not here.")
    figures = {name: job("--job", name) for name in PROBLEMS}
    text = report(figures, None if options.no_large else job("--job", "large"))
    print(text)
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "ambient.md").write_text(text)


if __name__ == "__main__":
    main()
