"""The GLM beside glmGamPoi for four kinds of design: CPU seconds, log-likelihood, path. Writes results/glm_designs.md.

    python benchmarks/glm_designs.py                      # about twenty minutes
    python benchmarks/glm_designs.py --runs 1 --only B    # a quick look (writes nothing)

Rules. Both packages fit the same counts with the same design and size factors in alternating runs, each a process of
its own with one thread; medians of CPU seconds (user + system) of the fit are compared. Ours fits all 2,000 genes from
the CSR matrix and makes standard errors. glmGamPoi (`overdispersion_shrinkage = FALSE, do_cox_reid_adjustment = FALSE`)
gets some genes, evenly spread, as a dense matrix ready made; its time is scaled to 2,000 genes. It is linear in genes.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import glm

HERE = Path(__file__).resolve().parent
PEER_GENES = {"B": 300, "C": 60}
JOBS = [("B", "dense", 40), ("B", "D1", 90), ("C", "D1", 90), ("B", "D2", 250), ("C", "D2", 400), ("B", "D3", 100)]
WHAT = {
    "dense": "1 + 5 continuous columns",
    "D1": "1 + condition + 2 batches + 2 continuous",
    "D2": "1 + condition + 2 batches",
    "D3": "12 donors",
}


def problem(size: str) -> tuple:
    """Counts, size factors and the designs, with a dense one beside those of the shared data."""
    import numpy as np

    sys.path.insert(0, str(glm.SHARED / "checks"))
    import bench_data

    counts, size_factors, designs = bench_data.glm_counts(size)
    one = np.ones((len(size_factors), 1))
    designs["dense"] = np.hstack([one, np.random.default_rng(0).standard_normal((len(size_factors), 5))])
    return counts, size_factors, designs


def write(folder: Path, size: str) -> None:
    import numpy as np

    counts, size_factors, designs = problem(size)
    chosen = np.linspace(0, counts.shape[1] - 1, PEER_GENES[size]).astype(int)
    for name, array in {"data": counts.data, "indices": counts.indices, "indptr": counts.indptr}.items():
        np.save(folder / f"{name}.npy", array)
    np.save(folder / "size_factors.npy", size_factors)
    np.save(folder / "chosen.npy", chosen)
    counts[:, chosen].toarray().ravel().tofile(folder / "y.bin")  # a row of cells x genes is a column of genes x cells
    size_factors.tofile(folder / "size_factors.bin")
    for name, design in designs.items():
        np.save(folder / f"{name}.npy", design)
        design.ravel("F").tofile(folder / f"{name}.bin")


def load(folder: Path, design: str) -> tuple:
    import numpy as np
    import scipy.sparse as sp

    arrays = {name: np.load(folder / f"{name}.npy") for name in ("data", "indices", "indptr", "size_factors")}
    counts = sp.csr_matrix((arrays["data"], arrays["indices"], arrays["indptr"]))
    return counts, arrays["size_factors"], np.load(folder / f"{design}.npy")


def job(folder: Path, design: str) -> dict:
    """Fit and standard errors of all genes, after a warm-up on a few."""
    import numpy as np

    import isthmus

    counts, size_factors, x = load(folder, design)

    def call(counts):
        fit = isthmus.fit_glm(counts, x, size_factors=size_factors, n_threads=1, progress=False)
        fit.covariance()
        return fit

    call(counts[:, np.argsort(counts.getnnz(axis=0))[:8]])
    start = glm.cpu_seconds()
    fit = call(counts)
    cpu = glm.cpu_seconds() - start
    np.savez(folder / f"ours_{design}.npz", coef=fit.mean_model.coef, alpha=fit.dispersion)
    return {"cpu": cpu, "path": fit.path}


def peer(folder: Path, size: str, design: str) -> dict:
    counts, _, x = load(folder, design)
    script, n = str(HERE / "glm_designs.R"), PEER_GENES[size]
    command = ["Rscript", script, str(folder), design, *map(str, (counts.shape[0], x.shape[1], n))]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=glm.os.environ | glm.ONE_THREAD)
    return json.loads(done.stdout.strip().splitlines()[-1])


def ours(folder: Path, design: str) -> dict:
    command = [sys.executable, str(Path(__file__).resolve()), "--job", design, "--folder", str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=glm.os.environ | glm.ONE_THREAD)
    return json.loads(done.stdout.strip().splitlines()[-1])


def shortfall(folder: Path, design: str) -> float:
    """How far the log-likelihood of a gene lies below glmGamPoi's at most, by the plain formula of `_reference`."""
    import numpy as np

    from isthmus._reference.nb import negative_binomial_terms, poisson_terms

    counts, size_factors, x = load(folder, design)
    chosen, fit = np.load(folder / "chosen.npy"), np.load(folder / f"ours_{design}.npz")
    theirs = np.fromfile(folder / f"peer_{design}_beta.bin").reshape(x.shape[1], -1)
    their_alpha, columns, worst = np.fromfile(folder / f"peer_{design}_alpha.bin"), counts.tocsc(), 0.0
    for k, gene in enumerate(chosen):
        y, values = columns[:, [gene]].toarray().ravel(), []
        for coef, alpha in ((fit["coef"][:, gene], fit["alpha"][gene]), (theirs[:, k], their_alpha[k])):
            eta = x @ coef + np.log(size_factors)
            disperse = alpha > 0
            terms = (
                negative_binomial_terms(y, eta, np.full(len(y), np.log(alpha))) if disperse else poisson_terms(y, eta)
            )
            values.append(terms.value.sum())
        if np.isfinite(values).all():
            worst = max(worst, values[1] - values[0])
    return worst


def measure(folder: Path, size: str, design: str, runs: int) -> dict:
    mine, theirs = [], []
    for _ in range(runs):
        mine.append(ours(folder, design))
        theirs.append(peer(folder, size, design))
    scale, median = 2_000 / PEER_GENES[size], statistics.median
    return {
        "cpu": median(run["cpu"] for run in mine),
        "peer": scale * median(run["cpu"] for run in theirs),
        "ratios": [scale * t["cpu"] / o["cpu"] for o, t in zip(mine, theirs, strict=True)],
        "path": mine[0]["path"],
        "shortfall": shortfall(folder, design),
        "versions": theirs[0]["versions"],
    }


def report(rows: list[tuple[str, str, int, dict]], runs: int) -> str:
    lines = []
    for size, design, bar, found in rows:
        ratios = f"{min(found['ratios']):.0f} to {max(found['ratios']):.0f}"
        short = f"{found['shortfall']:.0e}"
        lines.append(
            f"| {size}, {design} ({WHAT[design]}) | {found['cpu']:.3f} | {found['peer']:.1f} | "
            f"**{found['peer'] / found['cpu']:.0f} x** | {ratios} | {bar} x | {found['path']} | {short} |"
        )
    table = "\n".join(lines)
    return f"""# GLM by kind of design

`python benchmarks/glm_designs.py`, {datetime.date.today()}. B: 10,000 cells x 2,000 genes, C: 50,000 x 2,000, 89 %
zeros, size factors given. CPU seconds, one thread, medians of {runs} alternating runs; ours: fit from CSR with layout
and standard errors. glmGamPoi ML: *extrapolated* from {PEER_GENES["B"]} (B) and {PEER_GENES["C"]} (C) of the genes.
Shortfall: how far a gene's log-likelihood lies below glmGamPoi's at most (bar: 1e-3).

| problem, design | ours, s | glmGamPoi, s | ratio | of single runs | bar | path | shortfall |
|---|---|---|---|---|---|---|---|
{table}

{rows[0][3]["versions"]}. Load average at the end {glm.os.getloadavg()[0]:.1f} on {glm.os.cpu_count()} cores.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", help="one problem, B or C")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        print(json.dumps(job(options.folder, options.job)))
        return
    rows = []
    for size in ("B", "C") if options.only is None else (options.only,):
        with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
            folder = Path(name)
            write(folder, size)
            for s, design, bar in JOBS:
                if s == size:
                    rows.append((s, design, bar, measure(folder, s, design, options.runs)))
                    print(s, design, rows[-1][3], file=sys.stderr, flush=True)
    text = report(rows, options.runs)
    print(text)
    if options.only is None:
        (HERE / "results" / "glm_designs.md").write_text(text)


if __name__ == "__main__":
    main()
