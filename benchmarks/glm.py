"""The GLM beside glmGamPoi: CPU time, log-likelihood, threads, memory, and what R and the import add. Writes
results/glm.md.

    python benchmarks/glm.py                    # `make bench`; about six minutes
    python benchmarks/glm.py --pairs 1 --genes 200    # a quick look

Rules. Runs of the two packages alternate in one session and medians are compared. CPU seconds are user + system of the
fit call alone, one thread each, so that a busy machine favours nobody; ours includes the standard errors, glmGamPoi's
does not, and glmGamPoi gets its dense matrix ready made. Every job is a process of its own. Log-likelihoods of both are
evaluated by one routine, the plain NumPy formula of `isthmus._reference`, from the coefficients that each returned.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
SHARED = HERE.parent.parent / "shared"
COLUMNS = ["Intercept", "cond", "batch1", "batch2", "age", "score"]
# One BLAS thread for everybody: a spinning BLAS pool would be counted as CPU time of the fit.
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


# --- jobs: each runs in its own process and prints one JSON line ------------------------------------------------------


def load(folder: Path):
    """The problem that `write_problem` left: CSR counts, size factors, design as a frame."""
    import numpy as np
    import pandas as pd
    import scipy.sparse as sp

    arrays = {name: np.load(folder / f"{name}.npy") for name in ("data", "indices", "indptr", "size_factors", "design")}
    shape = (len(arrays["indptr"]) - 1, json.loads((folder / "shape.json").read_text())["n_genes"])
    counts = sp.csr_matrix((arrays["data"], arrays["indices"], arrays["indptr"]), shape=shape)
    return counts, arrays["size_factors"], pd.DataFrame(arrays["design"], columns=COLUMNS)


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def job_fit(folder: Path, dispersion_columns: list[str], n_threads: int, save: Path | None) -> dict:
    """Fit and standard errors; the package is warmed up on a few genes first."""
    import numpy as np

    import isthmus

    counts, size_factors, design = load(folder)
    dispersion = design[["Intercept", *dispersion_columns]]

    def call(counts):
        return isthmus.fit_glm(
            counts, design, dispersion_design=dispersion, size_factors=size_factors, n_threads=n_threads, progress=False
        )

    sparsest = np.argsort(counts.getnnz(axis=0))[:8]  # they take every path of the code, with its imports
    call(counts[:, sparsest]).covariance()
    cpu, wall = cpu_seconds(), time.perf_counter()
    fit = call(counts)
    fitted = time.perf_counter()
    fit.covariance()
    out = {
        "cpu": cpu_seconds() - cpu,
        "fit_wall": fitted - wall,
        "wall": time.perf_counter() - wall,
        "kernel": fit.kernel,
    }
    if save is not None:
        alpha = np.exp(-np.asarray(fit.par_link_scale, float))
        np.savez(
            save,
            coef=np.asarray(fit.par_link_loc, float),
            alpha=np.nan_to_num(alpha),
            status=fit.table("genes")["status"].to_numpy(str),
        )
    return out


def job_memory(folder: Path) -> dict:
    """Highest resident memory during the fit above what was resident before it (`clear_refs` resets the mark)."""
    import isthmus

    counts, size_factors, design = load(folder)
    isthmus.fit_glm(counts[:, :8], design, size_factors=size_factors, n_threads=1, progress=False)
    Path("/proc/self/clear_refs").write_text("5")
    before = _status_mb("VmRSS")
    isthmus.fit_glm(counts, design, size_factors=size_factors, n_threads=1, progress=False)
    csr = sum(a.nbytes for a in (counts.data, counts.indices, counts.indptr)) / 2**20
    return {"extra_mb": _status_mb("VmHWM") - before, "csr_mb": csr, "limit_mb": 1.5 * csr + 50}


def _status_mb(field: str) -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def job_python_call(folder: Path, repeats: int) -> dict:
    """AnnData in, table out: the Python side of the comparison with R."""
    import anndata as ad

    import isthmus

    counts, size_factors, design = load(folder)
    obs = design.drop(columns="Intercept").set_index(design.index.astype(str))
    adata = ad.AnnData(counts, obs=obs.assign(size_factors=size_factors))
    formula = "~ " + " + ".join(obs.columns)

    def call(adata):
        return isthmus.test_glm(isthmus.fit_glm(adata, formula, n_threads=1, progress=False), "cond")

    call(adata[:, :8].copy())
    walls = []
    for _ in range(repeats):
        start = time.perf_counter()
        call(adata)
        walls.append(time.perf_counter() - start)
    return {"wall": walls}


def job_import(what: str) -> dict:
    start = time.perf_counter()
    for name in what.split(","):
        __import__(name)
    return {"wall": time.perf_counter() - start}


def machine_scaling() -> float:
    """Wall time of two busy processes over that of one: 1 where two cores are free, 2 where there is only one."""
    command = [sys.executable, "-c", "sum(i * i for i in range(8_000_000))"]

    def wall(n: int) -> float:
        start = time.perf_counter()
        for process in [subprocess.Popen(command) for _ in range(n)]:
            process.wait()
        return time.perf_counter() - start

    return wall(2) / wall(1)


# --- the run ----------------------------------------------------------------------------------------------------------


def write_problem(folder: Path, n_genes: int | None) -> None:
    """Problem B, design D1 of the shared benchmark data, as arrays that both languages read without a parser."""
    import numpy as np

    sys.path.insert(0, str(SHARED / "checks"))
    import bench_data

    counts, size_factors, designs = bench_data.glm_counts("B")
    counts = counts[:, :n_genes].tocsr() if n_genes else counts
    arrays = {"data": counts.data, "indices": counts.indices, "indptr": counts.indptr}
    arrays |= {"size_factors": size_factors, "design": designs["D1"]}
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
        array.astype("<i4" if array.dtype.kind == "i" else "<f8").ravel("F").tofile(folder / f"{name}.bin")
    shape = {"n_cells": counts.shape[0], "n_genes": counts.shape[1], "nnz": int(counts.nnz)}
    (folder / "shape.json").write_text(json.dumps(shape))


def python_job(name: str, folder: Path, *arguments: str) -> dict:
    command = [sys.executable, str(Path(__file__).resolve()), "--job", name, "--folder", str(folder), *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | ONE_THREAD)
    return json.loads(done.stdout.strip().splitlines()[-1])


def r_job(script: str, folder: Path, *arguments: str) -> dict:
    command = ["Rscript", str(HERE / script), str(folder), *arguments]
    environment = os.environ | ONE_THREAD | {"RETICULATE_PYTHON": sys.executable}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return json.loads(done.stdout.strip().splitlines()[-1])


def log_likelihoods(folder: Path, coef, alpha):
    """Log-likelihood of each gene under coefficients (p x genes) and dispersions (1 x genes), dense and plain."""
    import numpy as np

    from isthmus._reference.nb import negative_binomial_terms, poisson_terms

    counts, size_factors, design = load(folder)
    columns, out = counts.tocsc(), np.empty(counts.shape[1])
    for k in range(counts.shape[1]):
        y = columns[:, [k]].toarray().ravel()
        eta = design.to_numpy() @ coef[:, k] + np.log(size_factors)
        dispersed = alpha[0, k] > 0
        terms = (
            negative_binomial_terms(y, eta, np.full(len(y), np.log(alpha[0, k])))
            if dispersed
            else poisson_terms(y, eta)
        )
        out[k] = terms.value.sum()
    return out


def compare_fits(folder: Path) -> dict:
    import numpy as np

    ours, shape = np.load(folder / "ours.npz"), json.loads((folder / "shape.json").read_text())
    theirs = np.fromfile(folder / "glmgampoi_beta.bin").reshape(len(COLUMNS), shape["n_genes"], order="C")
    their_alpha = np.fromfile(folder / "glmgampoi_alpha.bin")[None]
    gap = log_likelihoods(folder, ours["coef"], ours["alpha"]) - log_likelihoods(folder, theirs, their_alpha)
    gap = gap[np.isfinite(gap)]
    return {
        "genes": len(gap),
        "shortfall": float(max(0.0, -gap.min())),
        "below": int((gap < -1e-3).sum()),
        "above": int((gap > 1e-3).sum()),
        "largest": float(gap.max()),
        "status": {str(k): int(n) for k, n in zip(*np.unique(ours["status"], return_counts=True), strict=True)},
    }


def measure(folder: Path, pairs: int, repeats: int) -> dict:
    """All figures; the peers alternate inside each pair."""
    ours, theirs = [], []
    for _ in range(pairs):
        ours.append(python_job("fit", folder, "--save", str(folder / "ours.npz")))
        theirs.append(r_job("glm_glmgampoi.R", folder))
    figures = {"ours": ours, "glmgampoi": theirs, "fits": compare_fits(folder)}
    for name, columns in (("two_group", "cond"), ("continuous", "age")):
        figures[name] = [python_job("fit", folder, "--dispersion", columns) for _ in range(pairs)]
    figures["threads"] = [[python_job("fit", folder, "--threads", str(n)) for n in (1, 2)] for _ in range(repeats)]
    figures["machine"] = [machine_scaling() for _ in range(repeats)]
    figures["memory"] = python_job("memory", folder)
    figures["python_call"], figures["r_call"] = [], []
    for _ in range(2):
        figures["python_call"] += python_job("python_call", folder, "--repeats", str(repeats))["wall"]
        figures["r_call"] += r_job("glm_from_r.R", folder, str(repeats))["wall"]
    stack = "numpy,scipy,pandas,anndata"
    figures["imports"] = [
        [python_job("import", folder, "--what", w)["wall"] for w in ("isthmus", stack)] for _ in range(7)
    ]
    return figures


def report(figures: dict, shape: dict) -> str:
    median = statistics.median
    cpu, r_cpu = (median(run["cpu"] for run in figures[name]) for name in ("ours", "glmgampoi"))
    fits, memory = figures["fits"], figures["memory"]
    one, two = (median(pair[k]["fit_wall"] for pair in figures["threads"]) for k in (0, 1))
    one_all, two_all = (median(pair[k]["wall"] for pair in figures["threads"]) for k in (0, 1))
    py_call, r_call = median(figures["python_call"]), median(figures["r_call"])
    own_import, stack_import = (median(pair[k] for pair in figures["imports"]) for k in (0, 1))
    others = {name: median(run["cpu"] for run in figures[name]) for name in ("two_group", "continuous")}
    rows = [
        ("fit + standard errors, CPU s, 1 thread", f"{cpu:.3f}", ""),
        ("glmGamPoi ML fit, CPU s, 1 thread", f"{r_cpu:.2f}", ""),
        ("**ratio**", f"**{r_cpu / cpu:.1f} x**", ">= 30 (50) x"),
        (
            "ratio in each pair",
            ", ".join(f"{t['cpu'] / o['cpu']:.1f}" for o, t in zip(figures["ours"], figures["glmgampoi"], strict=True)),
            "",
        ),
        ("genes more than 1e-3 below glmGamPoi's log-likelihood", f"{fits['below']} of {fits['genes']}", "0"),
        ("largest shortfall (log-likelihood units)", f"{fits['shortfall']:.1e}", "<= 1e-3"),
        ("genes more than 1e-3 above; largest gain", f"{fits['above']}; {fits['largest']:.3g}", ""),
        ("two-group dispersion design, CPU s", f"{others['two_group']:.3f}", ""),
        ("continuous dispersion design, CPU s", f"{others['continuous']:.3f}", ""),
        ("fit, wall s, 1 thread; 2 threads", f"{one:.3f}; {two:.3f}", ""),
        ("**2 threads / 1 thread**", f"**{two / one:.2f}**", "<= 0.6"),
        (
            "what the machine allowed meanwhile: two busy processes / one, halved",
            f"{median(figures['machine']) / 2:.2f}",
            "0.5 = two free cores",
        ),
        ("the same with standard errors (made in NumPy)", f"{two_all / one_all:.2f}", ""),
        (
            "extra peak memory, MB (CSR " + f"{memory['csr_mb']:.1f} MB)",
            f"{memory['extra_mb']:.1f}",
            f"<= {memory['limit_mb']:.1f}",
        ),
        ("whole call from Python; from R, wall s", f"{py_call:.3f}; {r_call:.3f}", ""),
        ("**R / Python**", f"**{r_call / py_call:.2f}**", "<= 1.3"),
        ("import isthmus; numpy + scipy + pandas + anndata, s", f"{own_import:.3f}; {stack_import:.3f}", ""),
        ("**import ratio**", f"**{own_import / stack_import:.2f}**", "<= 1.3"),
    ]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    status = ", ".join(f"{name} {n}" for name, n in fits["status"].items())
    return f"""# GLM benchmark

`make bench`, {datetime.date.today()}: problem B, design D1 ({shape["n_cells"]:,} cells x {shape["n_genes"]:,} genes,
{shape["nnz"]:,} counts, 6 columns with 2 continuous covariates, size factors given). Medians of {len(figures["ours"])}
alternating pairs; each run is a process of its own. glmGamPoi: `overdispersion_shrinkage = FALSE,
do_cox_reid_adjustment = FALSE`, dense matrix ready made, the fit alone. Ours: from the CSR matrix, standard errors
included. Both are given one thread.

| what | measured | bar |
|---|---|---|
{table}

Status of the genes: {status}. Kernel: {figures["ours"][0]["kernel"]}.

{versions(figures)}
"""


def versions(figures: dict) -> str:
    from importlib.metadata import version

    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        "?",
    )
    packages = ", ".join(f"{name} {version(name)}" for name in ("isthmus", "numpy", "scipy", "pandas", "anndata"))
    load_average = ", ".join(f"{load:.1f}" for load in os.getloadavg())
    return (
        f"Machine: {cpu}, {os.cpu_count()} cores, {platform.platform()}; load average at the end {load_average}.\n"
        f"Python {platform.python_version()}, {packages}. {figures['glmgampoi'][0]['versions']}."
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=5, help="alternating runs of each package")
    parser.add_argument("--repeats", type=int, default=5, help="repeats of the wall-time comparisons")
    parser.add_argument("--genes", type=int, help="only the first genes, for a quick look (writes nothing)")
    parser.add_argument("--job", choices=["fit", "memory", "python_call", "import"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--dispersion", default="", help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--save", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--what", default="", help=argparse.SUPPRESS)
    return parser.parse_args()


def run_job(options: argparse.Namespace) -> dict:
    match options.job:
        case "fit":
            return job_fit(options.folder, options.dispersion.split(), options.threads, options.save)
        case "memory":
            return job_memory(options.folder)
        case "python_call":
            return job_python_call(options.folder, options.repeats)
        case _:
            return job_import(options.what)


def main() -> None:
    options = parse()
    if options.job:
        print(json.dumps(run_job(options)))
        return
    if not SHARED.exists():
        sys.exit(f"The benchmark problem is made by {SHARED}/checks/bench_data.py, which is not here.")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_problem(folder, options.genes)
        figures = measure(folder, options.pairs, options.repeats)
        text = report(figures, json.loads((folder / "shape.json").read_text()))
    print(text)
    if options.genes is None:
        (HERE / "results").mkdir(exist_ok=True)
        (HERE / "results" / "glm.md").write_text(text)


if __name__ == "__main__":
    main()
