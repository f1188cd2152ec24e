"""The bridge: bytes and CPU time of SingleCellExperiment -> AnnData -> SingleCellExperiment, beside anndata2ri. Writes
results/bridge.md.

    python benchmarks/bridge.py            # `make bench`; a few minutes, 6 GB
    python benchmarks/bridge.py --small    # the smaller problem alone

Rules. Memory is counted (VmHWM after a reset of the peak, minus what was there), as copies of the matrix's three slots.
CPU seconds are user + system; the yardstick is copying the three slots in R. Medians of five rounds in one process.
Whole objects cross: names of cells and genes too. anndata2ri runs in an R that Python hosts, ours in both ways.
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
from pathlib import Path

HERE = Path(__file__).resolve().parent
SMALL, LARGE = (2_000, 50_000, 0.05), (20_000, 100_000, 0.02)
ENVIRONMENT = {
    **os.environ,
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "RETICULATE_PYTHON": sys.executable,
    "ISTHMUS_BENCHMARKS": str(HERE),
}


def matrix_mib(size: tuple[int, int, float]) -> float:
    n_genes, n_cells, density = size
    return (12 * n_cells * round(n_genes * density) + 4 * (n_cells + 1)) / 2**20


def memory(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def measured(function):
    """The result, CPU seconds, and MiB above what was there."""
    import gc

    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    before, start = memory("VmRSS"), resource.getrusage(resource.RUSAGE_SELF)
    value = function()
    end = resource.getrusage(resource.RUSAGE_SELF)
    cpu = end.ru_utime - start.ru_utime + end.ru_stime - start.ru_stime
    return value, cpu, memory("VmHWM") - before


def job_hosted(package: str, size: tuple[int, int, float]) -> list[dict]:
    """In an R that this Python hosts: our functions, or anndata2ri's converter."""
    import rpy2.robjects as ro
    from rpy2.robjects.conversion import localconverter

    ro.r(f'suppressPackageStartupMessages(library(SingleCellExperiment)); source("{HERE / "bridge_problem.R"}")')
    if package == "anndata2ri":
        import anndata2ri

        converter = ro.default_converter + anndata2ri.converter

        def forward(sce):
            with localconverter(converter) as active:
                return active.rpy2py(sce)

        def back(adata):
            with localconverter(converter) as active:
                return active.py2rpy(adata)
    else:
        import isthmus

        forward, back = isthmus.as_anndata, isthmus.as_sce
    n_genes, n_cells, density = size
    sce = ro.r["bridge_problem"](n_genes, n_cells, density)
    back(forward(ro.r("function(s) s[, 1:10]")(sce)))
    rounds = []
    for _ in range(5):
        adata, cpu, mib = measured(lambda: forward(sce))
        again, back_cpu, back_mib = measured(lambda adata=adata: back(adata))
        same = bool(ro.r["identical"](again, sce)[0])
        rounds.append({"forward": cpu, "back": back_cpu, "forward_mib": mib, "back_mib": back_mib, "same": same})
        del adata, again
        ro.r("gc()")
    return rounds


def run(command: list[str]) -> list[dict]:
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stdout[-2000:] + done.stderr[-2000:])
    return json.loads(done.stdout.strip().splitlines()[-1])


def jobs(size: tuple[int, int, float]) -> dict[str, dict]:
    numbers = [str(number) for number in size]
    own = [sys.executable, str(Path(__file__)), "--size", *numbers, "--hosted"]
    found = {
        "isthmus, from R (reticulate)": run(["Rscript", "--no-environ", str(HERE / "bridge_from_r.R"), *numbers]),
        "isthmus, from Python (rpy2)": run([*own, "isthmus"]),
        "anndata2ri (rpy2)": run([*own, "anndata2ri"]),
    }
    return {
        name: {key: statistics.median(r[key] for r in rounds) for key in rounds[0]} for name, rounds in found.items()
    }


def table(size: tuple[int, int, float]) -> list[str]:
    found, mib = jobs(size), matrix_mib(size)
    copy = found["isthmus, from R (reticulate)"]["copy"]
    n_genes, n_cells, density = size
    lines = [
        f"## {n_genes:,} genes x {n_cells:,} cells, {100 * density:g} % stored: {mib:.0f} MiB",
        "",
        f"Copying the three slots in R: {copy:.3f} CPU s. Bars: CPU time 1.5 x and 3 x of it, 1.1 and 2.1 copies.",
        "",
        "| | R to Python, CPU s | x copying | copies | Python to R, CPU s | x copying | copies | same again |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in found.items():
        lines.append(
            f"| {name} | {row['forward']:.3f} | {row['forward'] / copy:.2f} | {row['forward_mib'] / mib:.2f} | "
            f"{row['back']:.3f} | {row['back'] / copy:.2f} | {row['back_mib'] / mib:.2f} | "
            f"{'yes' if row['same'] else 'no'} |"
        )
    own = found["isthmus, from R (reticulate)"]
    least = copy + own["names"] + own["constructor"]
    lines += [
        "",
        f"From R to Python no bridge over reticulate can do with less than {least:.3f} CPU s, {least / copy:.2f} x "
        f"copying: the copy, {own['names']:.3f} for names through reticulate, {own['constructor']:.3f} in AnnData's "
        "own constructor.",
    ]
    return [*lines, ""]


def versions() -> str:
    from importlib.metadata import version

    names = ("isthmus", "anndata", "anndata2ri", "rpy2", "numpy", "scipy")
    return ", ".join(f"{name} {version(name)}" for name in names)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--hosted")
    parser.add_argument("--size", nargs=3, type=float)
    given, _ = parser.parse_known_args()
    if given.hosted:
        size = (int(given.size[0]), int(given.size[1]), given.size[2])
        print(json.dumps(job_hosted(given.hosted, size)))
        return
    sizes = [SMALL] if given.small else [SMALL, LARGE]
    lines = [
        "# The bridge: bytes and CPU time",
        "",
        f"`python benchmarks/bridge.py`, {datetime.date.today()}, {platform.machine()}; {versions()}. Medians of five "
        "rounds; a whole SingleCellExperiment with names of genes and cells, there and back.",
        "",
    ]
    for size in sizes:
        lines += table(size)
    text = "\n".join(lines)
    (HERE / "results" / "bridge.md").write_text(text.rstrip() + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
