"""Ambient RNA by method="em": quality against the oracle, time and memory. Writes results/ambient.md.

    python benchmarks/ambient.py                 # `make bench`; about four minutes
    python benchmarks/ambient.py --no-large      # without the 50,000 x 20,000 problem

Rules. Each problem is a process of its own with one BLAS thread. The oracle splits the same counts with the true
shares, the true ambient profile and the true mean profile of each type. CPU seconds are user + system of the one call.
DropletUtils (`make setup-bench`) gets the true types, ours finds clusters; where it is not installed its rows say so.
The network, ours and scvi-tools', is in benchmarks/scar.py.
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
    peer = droplet_utils(cells, droplets) if batch is None else None
    out = {
        "peer": None if peer is None else peer | {"rmse": rmse(peer.pop("counts"))},
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


def droplet_utils(cells, droplets) -> dict | None:
    """removeAmbience on the same counts in an R process of its own, or None where it is not installed."""
    import tempfile

    from scipy import io, sparse

    known = "quit(status = !requireNamespace('DropletUtils', quietly = TRUE))"
    if subprocess.run(["Rscript", "-e", known], check=False, capture_output=True).returncode:
        return None
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder)
        for name, adata in (("cells", cells), ("droplets", droplets)):
            io.mmwrite(where / f"{name}.mtx", sparse.coo_matrix(adata.X.T.astype(int)))
        (where / "type.txt").write_text("\n".join(cells.obs["type"].astype(str)) + "\n")
        script = str(HERE / "droplet_utils.R")
        done = subprocess.run(["Rscript", script, folder], check=True, capture_output=True, text=True)
        figures = json.loads(done.stdout.strip().splitlines()[-1])
        return figures | {"counts": sparse.csr_matrix(io.mmread(where / "corrected.mtx").T)}


def job_profile() -> dict:
    """ambient_profile on 100,000 droplets x 10,000 genes: CPU time, and peak memory above the loaded data."""
    import numpy as np
    import pandas as pd
    from anndata import AnnData
    from scipy import sparse

    import isthmus

    rng = np.random.default_rng(0)
    raw = sparse.random(100_000, 10_000, 0.01, "csr", dtype=np.float32, random_state=rng)
    raw.data[:] = rng.integers(1, 4, raw.nnz)
    genes = pd.DataFrame(index=[f"g{i}" for i in range(10_000)])
    droplets = AnnData(raw, obs=pd.DataFrame(index=[f"d{i}" for i in range(100_000)]), var=genes)
    cells = droplets[:2_000].copy()
    isthmus.ambient_profile(cells[:20].copy(), droplets[:100].copy(), lower=1_000)  # imports
    size = (raw.data.nbytes + raw.indices.nbytes + raw.indptr.nbytes) / 2**20
    Path("/proc/self/clear_refs").write_text("5")
    before, cpu = _status_mb("VmRSS"), cpu_seconds()
    isthmus.ambient_profile(cells, droplets, lower=1_000)
    return {"cpu": cpu_seconds() - cpu, "matrix_mb": size, "extra_mb": _status_mb("VmHWM") - before}


def job_real() -> dict:
    """Real droplets without a truth: what is removed, and that no count rises."""
    import anndata as ad
    import numpy as np
    import pandas as pd
    from scipy import io, sparse

    import isthmus

    def ten_x(kind):
        where = next((SHARED / "data" / "soupx_toy" / f"{kind}_gene_bc_matrices").rglob("matrix.mtx")).parent
        genes, names = (pd.read_csv(where / f"{n}.tsv", sep="\t", header=None) for n in ("genes", "barcodes"))
        counts = sparse.csr_matrix(io.mmread(where / "matrix.mtx").T.astype(np.float32))
        return ad.AnnData(counts, obs=pd.DataFrame(index=list(names[0])), var=pd.DataFrame(index=list(genes[1])))

    brain = ad.read_h5ad(SHARED / "data" / "mbrain_raw_sccb2" / "mbrain_raw.h5ad")
    problems = {"soupx_toy": (ten_x("filtered"), ten_x("raw")), "mbrain_raw": (brain[brain.obs["n_umi"] >= 500], brain)}
    out = {}
    for name, (cells, droplets) in problems.items():
        cells = cells.copy()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", isthmus.IdentifiabilityWarning)
            fit = isthmus.remove_ambient(cells, droplets=droplets)
        genes = fit.table("genes").sort_values("removed", ascending=False)
        flags = fit.table("cells")["flag"].value_counts()
        out[name] = {
            "cells": fit.n_cells,
            "droplets": droplets.n_obs,
            "empty": int(fit.n_empty[0]),
            "clusters": len(fit.cluster_names),
            "rho": np.quantile(fit.rho, [0.05, 0.5, 0.95]).tolist(),
            "removed": float(1 - fit.denoised_mean.sum() / fit.observed_umi.sum()),
            "above": int((fit.denoised > cells.X).nnz),
            "flags": ", ".join(f"{n} {flag}" for flag, n in flags.items()),
            "genes": genes["gene"].head(4).tolist(),
        }
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


def job_clusters() -> dict:
    """Clusters found where types are many, similar, or none: RMSE and rho, for three seeds each."""
    import ambient_cells
    import numpy as np

    import isthmus

    problems = {
        "200 real PBMCs": ambient_cells.pbmc,
        "between two types, 3 more": lambda seed: ambient_cells.continuum(seed, 3),
        "between two types, 1 more": lambda seed: ambient_cells.continuum(seed, 1),
        "between two types only": lambda seed: ambient_cells.continuum(seed, 0),
    }
    out = {}
    for name, make in problems.items():
        rows = []
        for seed in range(3):
            observed, native, ambient, rho = make(seed)
            found = isthmus.remove_ambient(observed, profile=ambient)
            known = isthmus.remove_ambient(observed, profile=ambient, rho=float(rho.mean()))

            def rmse(matrix, native=native):
                return float(np.sqrt((matrix - native).power(2).mean()))

            after = [rmse(fit.denoised_mean) / rmse(observed) for fit in (found, known)]
            rows.append((rmse(observed), *after, float(found.rho.mean()), float(rho.mean()), len(found.cluster_names)))
        out[name] = [list(column) for column in zip(*rows, strict=True)]
    return out


JOBS = {"large": job_large, "profile": job_profile, "real": job_real, "clusters": job_clusters}
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
    ("DropletUtils::removeAmbience, RMSE (true types)", lambda f: peer_of(f, "rmse"), ""),
    ("clusters found; EM steps", lambda f: f"{f['clusters']}; {f['steps']}", ""),
    ("remove_ambient, CPU s; wall s", lambda f: f"{f['cpu']:.2f}; {f['wall']:.2f}", ""),
    ("... and CPU s of DropletUtils::removeAmbience", lambda f: peer_of(f, "cpu"), "ours not slower"),
    ("ambient_profile, CPU s", lambda f: f"{f['profile_cpu']:.3f}", ""),
    ("... and CPU s of DropletUtils::ambientProfileEmpty", lambda f: peer_of(f, "profile_cpu"), ""),
)


def peer_of(figures: dict, name: str) -> str:
    peer = figures["peer"]
    return "" if peer is None else f"{peer[name]:.3f}"


def real_table(real: dict) -> str:
    lines = [
        "| real data | cells | empty of droplets | clusters | rho 5, 50, 95 % | removed | above the observed | "
        "most removed | flags |",
        "|---" * 9 + "|",
    ]
    for name, f in real.items():
        rho = ", ".join(f"{value:.3f}" for value in f["rho"])
        lines.append(
            f"| {name} | {f['cells']} | {f['empty']:,} of {f['droplets']:,} | {f['clusters']} | {rho} | "
            f"{f['removed']:.1%} | {f['above']} | {', '.join(f['genes'])} | {f['flags']} |"
        )
    return "\n".join(lines)


def clusters_table(clusters: dict) -> str:
    lines = [
        "| clusters found, seeds 0, 1, 2 | RMSE uncorrected | RMSE / uncorrected | ... with the mean of rho given | "
        "mean rho found (true) | clusters |",
        "|---" * 6 + "|",
    ]
    for name, (before, after, known, rho, truth, n) in clusters.items():
        shown = [", ".join(f"{value:.2f}" for value in values) for values in (before, after, known)]
        shares = ", ".join(f"{found:.2f} ({true:.2f})" for found, true in zip(rho, truth, strict=True))
        lines.append(f"| {name} | {' | '.join(shown)} | {shares} | {', '.join(map(str, n))} |")
    return "\n".join(lines)


def report(figures: dict, profile: dict, real: dict, clusters: dict, large: dict | None) -> str:
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
    text += (
        f"ambient_profile on 100,000 droplets x 10,000 genes ({profile['matrix_mb']:.0f} MB): {profile['cpu']:.2f} CPU "
        f"s, peak {profile['extra_mb']:.0f} MB above the data: {1 + profile['extra_mb'] / profile['matrix_mb']:.2f} x "
        f"the raw matrix (bar 1.3 x).\n\n{real_table(real)}\n\n"
        f"{clusters_table(clusters)}\n\n"
    )
    peer = figures["7"]["peer"]
    text += f"DropletUtils {peer['version']}.\n\n" if peer else "DropletUtils is not installed: not run.\n\n"
    cpu = next(
        (x.split(":")[1].strip() for x in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in x), "?"
    )
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return text + f"Machine: {cpu}, {os.cpu_count()} cores, {platform.platform()}; load average at the end {load}.\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--no-large", action="store_true", help="leave out the 50,000 x 20,000 problem")
    parser.add_argument("--job", choices=[*PROBLEMS, *JOBS], help=argparse.SUPPRESS)
    options, _ = parser.parse_known_args()
    if options.job:
        print(json.dumps(JOBS[options.job]() if options.job in JOBS else job_quality(options.job)))
        return
    if not SHARED.exists():
        sys.exit(f"The benchmark problems are made by {SHARED}/checks/bench_data.py, which is not here.")
    figures = {name: job("--job", name) for name in PROBLEMS}
    large = None if options.no_large else job("--job", "large")
    text = report(figures, *(job("--job", name) for name in ("profile", "real", "clusters")), large)
    print(text)
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "ambient.md").write_text(text)


if __name__ == "__main__":
    main()
