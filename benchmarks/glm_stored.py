"""Counts larger than memory should hold: 200,000 cells x 2,000 genes fitted from disk. Writes results/glm_stored.md.

    python benchmarks/glm_stored.py                   # about eight minutes, and 1.5 GB of disk for a while
    python benchmarks/glm_stored.py --cells 20000     # a quick look (writes nothing)

Every store is fitted in a process of its own; what is reported is the highest resident memory that the kernel of the
system saw for it (VmHWM), with Python, its packages and the results, and CPU seconds and wall seconds of `fit_glm`.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

HERE = Path(__file__).resolve().parent
STORES = ("h5ad csr", "h5ad csc", "h5ad dense gzip", "zarr csr", "dask csr")
TESTS = {
    "lrt": {"method": "lrt"},
    "score": {"method": "score"},
    "qlf": {"method": "qlf"},
    "CR2": {"replicate": "donor"},
}
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def blocks(n_cells: int, n_genes: int, step: int = 5_000):
    """Counts in blocks of rows, about 10 % of them positive, and what the model needs to know of the cells."""
    import numpy as np
    import scipy.sparse as sp

    for first in range(0, n_cells, step):
        rng = np.random.default_rng([7, first])
        n = min(step, n_cells - first)
        gene = np.random.default_rng(7)
        base, alpha = np.exp(gene.normal(-3.0, 1.6, n_genes)), np.exp(gene.normal(-0.7, 0.5, n_genes))
        effect = np.where(gene.random(n_genes) < 0.15, gene.normal(0, 0.8, n_genes), 0.0)
        cond, age, sf = rng.integers(0, 2, n), rng.standard_normal(n), np.exp(rng.normal(0, 0.45, n))
        mean = sf[:, None] * base * np.exp(effect * cond[:, None])
        y = rng.poisson(rng.gamma(1 / alpha, mean * alpha)).astype("f4")
        yield sp.csr_matrix(y), cond, age, sf


def write(folder: Path, n_cells: int, n_genes: int) -> None:
    """The same counts as CSR, CSC and dense in h5ad, and CSR in zarr."""
    import anndata as ad
    import h5py
    import numpy as np
    import pandas as pd
    import scipy.sparse as sp
    import zarr

    parts, cells = [], []
    with h5py.File(folder / "dense.h5", "w") as file:
        dense = file.create_dataset("X", (n_cells, n_genes), "f4", chunks=(1_000, 100), compression="gzip")
        for part, *columns in blocks(n_cells, n_genes):
            first = sum(p.shape[0] for p in parts)
            dense[first : first + part.shape[0]] = part.toarray()
            parts.append(part)
            cells.append(np.column_stack(columns))
    table = pd.DataFrame(np.concatenate(cells), columns=["cond", "age", "size_factors"])
    table.index = table.index.astype(str)
    counts = sp.vstack(parts, format="csr")
    ad.AnnData(counts, obs=table).write_h5ad(folder / "csr.h5ad")
    ad.AnnData(counts.tocsc(), obs=table).write_h5ad(folder / "csc.h5ad")
    warnings.filterwarnings("ignore", "zarr v3 autosharding", UserWarning)
    ad.io.write_elem(zarr.open_group(folder / "csr.zarr", mode="w"), "X", counts)
    table.to_pickle(folder / "obs.pkl")


def opened(store: str, folder: Path):
    import anndata as ad
    import pandas as pd

    where, how = store.split()[:2]
    if where == "h5ad" and how != "dense":
        return ad.read_h5ad(folder / f"{how}.h5ad", backed="r")
    obs = pd.read_pickle(folder / "obs.pkl")
    if where == "h5ad":
        import h5py

        return ad.AnnData(h5py.File(folder / "dense.h5")["X"], obs=obs)
    import zarr

    group = zarr.open_group(folder / "csr.zarr", mode="r")
    if where == "zarr":
        return ad.AnnData(ad.io.sparse_dataset(group["X"]), obs=obs)
    return ad.AnnData(
        ad.experimental.read_elem_lazy(group["X"], chunks=(10_000, group["X"].attrs["shape"][1])), obs=obs
    )


def job(store: str, folder: Path) -> dict:
    import resource

    import numpy as np

    import isthmus

    def status(field: str) -> float:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(field)).split()[1]) / 1024

    if store == "memory":
        import anndata as ad

        data = ad.read_h5ad(folder / "csr.h5ad")
    else:
        data = opened(store, folder)
    usage, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    fit = isthmus.fit_glm(data, "~ cond + age", n_threads=1, progress=False)
    wall, used = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    table = fit.table("coefficients")
    np.save(folder / f"{store.replace(' ', '_')}.npy", table["estimate"].to_numpy(float))
    cpu = used.ru_utime + used.ru_stime - usage.ru_utime - usage.ru_stime
    return {"store": store, "peak_mb": status("VmHWM"), "wall": wall, "cpu": cpu}


def test_job(name: str, store: str, folder: Path) -> dict:
    """One test of a coefficient of the fit, in a process that fits first: the peak is that of both."""
    import resource

    import numpy as np

    import isthmus

    data = opened(store, folder)
    fit = isthmus.fit_glm(data, "~ cond + age", n_threads=1, progress=False)
    options = dict(TESTS[name])
    if options.get("replicate"):
        options["replicate"] = np.resize([f"d{i}" for i in range(24)], fit.n_cells)
    usage, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    table = isthmus.test_glm(fit, "cond", **options, data=data, n_threads=1)
    wall, used = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    cpu = used.ru_utime + used.ru_stime - usage.ru_utime - usage.ru_stime
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
    return {"test": name, "peak_mb": peak, "wall": wall, "cpu": cpu, "tested": int(table["pval"].notna().sum())}


def run(store: str, folder: Path, test: str = "") -> dict:
    command = [sys.executable, str(Path(__file__).resolve()), "--job", store, "--folder", str(folder), "--test", test]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | ONE_THREAD)
    return json.loads(done.stdout.strip().splitlines()[-1])


def report(runs: list[dict], folder: Path, shape: tuple[int, int], tests: list[dict]) -> str:
    import h5py
    import numpy as np

    with h5py.File(folder / "csr.h5ad") as file:
        n_stored = int(file["X/indptr"][-1])
    wanted = np.load(folder / "memory.npy")
    rows = []
    for one in runs:
        got = np.load(folder / f"{one['store'].replace(' ', '_')}.npy")
        same = "to the bit" if np.array_equal(got, wanted, equal_nan=True) else f"{np.nanmax(abs(got - wanted)):.1e}"
        rows.append(f"| {one['store']} | {one['peak_mb']:.0f} | {one['cpu']:.1f} | {one['wall']:.1f} | {same} |")
    table = "\n".join(rows)
    tested = "\n".join(
        f"| {one['test']} | {one['peak_mb']:.0f} | {one['cpu']:.1f} | {one['wall']:.1f} | {one['tested']:,} |"
        for one in tests
    )
    return f"""# GLM from disk

`python benchmarks/glm_stored.py`, {datetime.date.today()}: {shape[0]:,} cells x {shape[1]:,} genes, {n_stored:,} counts
({n_stored * 8 / 2**20:.0f} MB as float32 CSR), `~ cond + age`, size factors stored, one thread. Peak: highest resident
memory of the whole process (VmHWM); bar: below 1,000 MB from disk. Estimates beside those of the matrix in memory.

| store | peak, MB | CPU s | wall s | estimates |
|---|---|---|---|---|
{table}

Tests of `cond` from `h5ad csr`, read again in ranges of genes (CR2: 24 donors), after the fit in the same process:

| test | peak, MB | CPU s | wall s | genes with a p-value |
|---|---|---|---|---|
{tested}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=200_000)
    parser.add_argument("--job", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--test", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        one = test_job(options.test, options.job, options.folder) if options.test else job(options.job, options.folder)
        print(json.dumps(one))
        return
    shape = (options.cells, 2_000)
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as name:
        folder = Path(name)
        write(folder, *shape)
        runs = [run(store, folder) for store in ("memory", *STORES)]
        text = report(runs, folder, shape, [run("h5ad csr", folder, test) for test in TESTS])
    print(text)
    if shape[0] == 200_000:
        (HERE / "results" / "glm_stored.md").write_text(text)


if __name__ == "__main__":
    main()
