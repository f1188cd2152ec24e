"""The whole deliverable from R beside other packages: SCE in, table of tests out. Writes results/glm_deliverable.md.

    python benchmarks/glm_deliverable.py             # about half an hour
    python benchmarks/glm_deliverable.py --runs 1 --size B --only isthmus,glmGamPoi   # a quick look (writes nothing)

Problem C (50,000 cells x 2,000 genes), design D1. Ours: SingleCellExperiment with a sparse assay to the data.frame of
`test_glm`, all genes. Peers, in their own default ways with the size factors given, get some of the genes, evenly
spread, as a dense matrix ready made; their CPU seconds are scaled to 2,000 genes (each gene costs them the same).
Alternating runs, each a process of its own with one thread. PyDESeq2 needs a venv of its own: `--pydeseq2 PYTHON`.
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
PEER_GENES = {"glmGamPoi": 100, "edgeR": 100, "DESeq2": 40, "PyDESeq2": 40}
N_GENES = 2_000
BAR = 60
WAYS = {
    "isthmus": "fit_glm + standard errors + Wald test_glm, SCE to data.frame",
    "glmGamPoi": "glm_gp with its defaults + test_de",
    "edgeR": "estimateDisp + glmFit + glmLRT",
    "DESeq2": "DESeq + results",
    "PyDESeq2": "deseq2 + DeseqStats",
}
PYDESEQ2 = """
import json, sys, time
from pathlib import Path
import numpy as np, pandas as pd, pydeseq2
from pydeseq2.dds import DeseqDataSet
from pydeseq2.default_inference import DefaultInference
from pydeseq2.ds import DeseqStats
folder, n_cells = Path(sys.argv[1]), int(sys.argv[2])
counts = np.fromfile(folder / "PyDESeq2_counts.bin").reshape(n_cells, -1).astype(int)
design = np.fromfile(folder / "design.bin").reshape(6, -1).T
names = ["cond", "batch1", "batch2", "age", "score"]
cells = pd.DataFrame(design[:, 1:], columns=names, index=[f"c{i}" for i in range(n_cells)])
start = time.process_time()
data = pd.DataFrame(counts, index=cells.index).add_prefix("g")
dds = DeseqDataSet(counts=data, metadata=cells, design="~ " + " + ".join(names), refit_cooks=False, quiet=True,
                   inference=DefaultInference(n_cpus=1))
def given(*a, **k):
    dds.obs["size_factors"] = np.fromfile(folder / "size_factors.bin")
    dds.layers["normed_counts"] = dds.X / dds.obs["size_factors"].to_numpy()[:, None]
    dds.var["_normed_means"] = dds.layers["normed_counts"].mean(axis=0)
dds.fit_size_factors = given
dds.deseq2()
stats = DeseqStats(dds, contrast=np.array([0, 1, 0, 0, 0, 0.0]), quiet=True, inference=DefaultInference(n_cpus=1))
stats.summary()
cpu = time.process_time() - start
assert len(stats.results_df) == counts.shape[1]
print(json.dumps({"cpu": cpu, "versions": "PyDESeq2 " + pydeseq2.__version__}))
"""


def write(folder: Path, size: str) -> int:
    import numpy as np

    sys.path.insert(0, str(glm.SHARED / "checks"))
    import bench_data

    counts, size_factors, designs = bench_data.glm_counts(size)
    counts.indices.astype("<i4").tofile(folder / "indices.bin")
    counts.indptr.astype("<i4").tofile(folder / "indptr.bin")
    counts.data.astype("<f8").tofile(folder / "data.bin")
    size_factors.astype("<f8").tofile(folder / "size_factors.bin")
    designs["D1"].astype("<f8").ravel("F").tofile(folder / "design.bin")
    shape = {"n_cells": counts.shape[0], "n_genes": counts.shape[1], "nnz": counts.nnz}
    (folder / "shape.json").write_text(json.dumps(shape))
    for who in WAYS:
        chosen = np.linspace(0, counts.shape[1] - 1, PEER_GENES.get(who, counts.shape[1])).astype("<i4")
        chosen.tofile(folder / f"{who}.bin")
        if who == "PyDESeq2":
            counts[:, chosen].toarray().astype("<f8").tofile(folder / "PyDESeq2_counts.bin")
    return int(counts.shape[0])


def run(folder: Path, who: str, n_cells: int, pydeseq2: str | None) -> dict[str, object]:
    if who == "PyDESeq2":
        command = [str(pydeseq2), "-c", PYDESEQ2, str(folder), str(n_cells)]
    else:
        command = ["Rscript", str(HERE / "glm_deliverable.R"), str(folder), who]
    environment = glm.os.environ | glm.ONE_THREAD | {"RETICULATE_PYTHON": sys.executable}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    if done.returncode:
        msg = f"{who}: {done.stderr[-2000:]}"
        raise SystemExit(msg)
    found = json.loads(done.stdout.strip().splitlines()[-1])
    print(who, found, file=sys.stderr, flush=True)
    return found | {"cpu": found["cpu"] * N_GENES / PEER_GENES.get(who, N_GENES)}


def report(found: dict[str, list[dict]], size: str, runs: int) -> str:
    median = {who: statistics.median(run["cpu"] for run in every) for who, every in found.items()}
    lines = []
    for who, every in found.items():
        if who == "isthmus":
            lines.append(f"| isthmus | {WAYS[who]} | all | {median[who]:.2f} | | |")
            continue
        ratios = [p["cpu"] / m["cpu"] for p, m in zip(every, found["isthmus"], strict=True)]
        spread, bar = f"{min(ratios):.0f} to {max(ratios):.0f}", f"{BAR} x" if who == "glmGamPoi" else ""
        ratio = f"**{median[who] / median['isthmus']:.0f} x** ({spread})"
        lines.append(f"| {who} | {WAYS[who]} | *{PEER_GENES[who]}* | {median[who]:.0f} | {ratio} | {bar} |")
    table = "\n".join(lines)
    versions = ", ".join(str(every[0]["versions"]) for every in found.values())
    return f"""# GLM from R, the whole deliverable

`python benchmarks/glm_deliverable.py`, {datetime.date.today()}. Problem {size}, design D1 (1 + condition + 2 batches +
2 continuous), one thread, CPU seconds, medians of {runs} alternating runs (ratios: of medians, and of single runs).
Times in rows with fewer genes are *extrapolated* to 2,000.

| package | what | genes | CPU s | ratio | bar |
|---|---|---|---|---|---|
{table}

{versions}. Load average at the end {glm.os.getloadavg()[0]:.1f} on {glm.os.cpu_count()} cores.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--size", default="C", choices=("B", "C"))
    parser.add_argument("--only", help="some of " + ", ".join(WAYS))
    parser.add_argument("--pydeseq2", help="a Python that has PyDESeq2")
    options = parser.parse_args()
    who = list(WAYS) if options.only is None else options.only.split(",")
    if options.pydeseq2 is None and "PyDESeq2" in who:
        who.remove("PyDESeq2")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        folder = Path(name)
        n_cells = write(folder, options.size)
        found: dict[str, list[dict]] = {each: [] for each in who}
        for _ in range(options.runs):
            for each in who:
                found[each].append(run(folder, each, n_cells, options.pydeseq2))
    text = report(found, options.size, options.runs)
    print(text)
    if options.only is None and options.size == "C":
        (HERE / "results" / "glm_deliverable.md").write_text(text)


if __name__ == "__main__":
    main()
