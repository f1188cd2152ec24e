"""Do the interaction tests find what was planted, and only that? Writes results/interactions_calibration.md.

    python benchmarks/interactions_calibration.py            # about 15 minutes of one core
    python benchmarks/interactions_calibration.py --quick    # 2 data sets of each kind

1. Planted: `bench_data.tissue`, seeds 0-4, 15 genes of A cells within 8 units of a B cell times exp(1.5).
2. Null, same settings in the same run: 40 tissues without interaction, and 40 whose cells carry a smooth random field
   for each type and gene (`simulate_interactions`), with a range of twice the reach of a neighbourhood. Reach: median
   distance of the 30th neighbour. Range: where the correlation of the field is 0.05.
3. misty_synthetic 1-5 as they are, and with every type's expression profiles shuffled among its cells.

Fits are kept in --cache (a folder), where given, so that a run can go on where one stopped.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

import isthmus
from isthmus.interaction import explained_variance, fit_interactions, neighbor_effects
from isthmus.interaction.neighbors import find_neighbors, typical_reach
from isthmus.testing import simulate_interactions

HERE = Path(__file__).resolve().parent
SHARED = HERE.parent.parent / "shared"
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
FIELD_SD = 0.5
MISTY = {"gene_scale": "sd", "n_neighbors": 20, "max_epochs": 25}  # a grid of cells: 20 neighbours are two rings
KINDS = {"none": "no interaction", "field": "smooth random fields"}


def bench_data():
    sys.path.insert(0, str(SHARED / "checks"))
    import bench_data

    return bench_data


def reach(data) -> float:
    """Median distance of the 30th neighbour of another type."""
    codes = data.obs["cell_type"].cat.codes.to_numpy()
    return typical_reach(find_neighbors(data.obsm["spatial"], codes, np.zeros(len(codes), int), n_neighbors=30))


def fit_once(data, name: str, cache: Path | None, **options):
    """The fit, from the cache if it is there; CPU seconds."""
    where = None if cache is None else cache / name
    if where is not None and where.exists():
        return isthmus.load_fit(where), np.nan
    start = time.process_time()
    fit = fit_interactions(data, labels="cell_type", **options)
    seconds = time.process_time() - start
    if where is not None:
        isthmus.save_fit(fit, where)
    return fit, seconds


def holm(pval: np.ndarray) -> np.ndarray:
    """Adjusted p-values; NaN counts as 1."""
    p = np.nan_to_num(pval, nan=1.0)
    order = np.argsort(p)
    adjusted = np.maximum.accumulate(np.minimum(1, p[order] * np.arange(len(p), 0, -1)))
    return adjusted[np.argsort(order)]


# --- planted ----------------------------------------------------------------------------------------------------------


def planted_row(seed: int, cache: Path | None) -> dict[str, object]:
    data = bench_data().tissue(seed=seed)
    fit, seconds = fit_once(data, f"planted{seed}", cache, seed=seed)
    effects = neighbor_effects(fit)
    pairs = effects[effects["gene"].isna()].reset_index(drop=True)
    pairs["holm"] = holm(pairs["pval"].to_numpy())
    found = [f"{row.sender}->{row.receiver}" for row in pairs[pairs["holm"] < 0.05].itertuples()]
    own = effects[(effects["receiver"] == "A") & (effects["sender"] == "B") & effects["gene"].notna()]
    planted = set(data.var_names[data.var["planted"]])
    leading = own.sort_values("effect", ascending=False)["gene"].iloc[: len(planted)]
    significant = own[own["padj"] < 0.05]
    up = significant[significant["effect"] > 0]
    return {
        "seed": seed,
        "seconds": seconds,
        "r2 A": explained_variance(fit, null="none").query("receiver == 'A' and head == 'all'")["r2"].iloc[0],
        "pairs, Holm < 0.05": ", ".join(found),
        "planted among the 15 largest": sum(gene in planted for gene in leading),
        "found up": sum(gene in planted for gene in up["gene"]),
        "FDP up": np.mean([gene not in planted for gene in up["gene"]]) if len(up) else 0.0,
        "FDP both signs": np.mean([gene not in planted for gene in significant["gene"]]) if len(significant) else 0.0,
        "FDP share that the data confirm": confirmed(data, significant, planted),
    }


def confirmed(data, significant: pd.DataFrame, planted: set[str]) -> float:
    """Of the significant genes that were not planted, the share that differs in the data between A near B and A far
    from B, in the direction of the effect (t > 2): what the normalisation to a cell's total does to them."""
    receivers = data[data.obs["cell_type"] == "A"]
    near = receivers.obs["near_B"].to_numpy()
    x = np.asarray(receivers.X)
    spread = x[near].var(0, ddof=1) / near.sum() + x[~near].var(0, ddof=1) / (~near).sum()
    with np.errstate(invalid="ignore", divide="ignore"):
        t = pd.Series((x[near].mean(0) - x[~near].mean(0)) / np.sqrt(spread), index=data.var_names)
    others = significant[~significant["gene"].isin(planted)]
    agree = np.sign(others["effect"].to_numpy()) * t[others["gene"]].to_numpy() > 2
    return float(agree.mean()) if len(others) else np.nan


# --- null -------------------------------------------------------------------------------------------------------------


def null_data(kind: str, seed: int):
    if kind == "none":
        return bench_data().tissue(seed=seed, null=True)
    wide = 2 * reach(bench_data().tissue(seed=seed, null=True))
    return simulate_interactions(interactions=(), field_range=wide, field_sd=FIELD_SD, seed=10_000 + seed)


def null_rows(kind: str, seed: int, cache: Path | None) -> list[dict[str, object]]:
    data = null_data(kind, seed)
    fit, _ = fit_once(data, f"null-{kind}{seed}", cache, seed=seed)
    trained, _ = fit_once(data, f"train-{kind}{seed}", cache, seed=seed, folds=1) if seed < 10 else (None, 0)
    rows = []
    for name, one, null in (
        ("block", fit, "block"),
        ("within_type", fit, "within_type"),
        ("in-sample", trained, "block"),
    ):
        if one is None:
            continue
        table = explained_variance(one, null=null, n_permutations=999).query("head == 'all'")
        rows += [{"kind": kind, "seed": seed, "test": name, "row": "receiver", "pval": p} for p in table["pval"]]
        if null == "block" and one is fit:
            pairs = neighbor_effects(one, n_permutations=999)
            pairs = pairs[pairs["gene"].isna() & pairs["pval"].notna()]
            rows += [{"kind": kind, "seed": seed, "test": name, "row": "pair", "pval": p} for p in pairs["pval"]]
    return rows


def null_table(rows: pd.DataFrame) -> list[str]:
    lines = ["| data | test | rows | n | rejected at 0.05 | at 0.10 |", "|---|---|---|---|---|---|"]
    for (kind, test, row), part in rows.groupby(["kind", "test", "row"], sort=False):
        shares = [100 * (part["pval"] < level).mean() for level in (0.05, 0.10)]
        se = 100 * np.sqrt(0.05 * 0.95 / len(part))
        first = f"{shares[0]:.1f} % (se {se:.1f} under 5 %)"
        lines.append(f"| {KINDS[kind]} | {test} | {row} | {len(part)} | {first} | {shares[1]:.1f} % |")
    return lines


# --- misty ------------------------------------------------------------------------------------------------------------


def misty(layout: int, *, shuffled: bool):
    import anndata as ad

    cells = pd.read_csv(SHARED / "data" / "misty_synthetic" / "cells.csv.gz")
    cells = cells[cells["replicate"] == f"synthetic{layout}"].reset_index(drop=True)
    genes = [c for c in cells.columns if c not in ("replicate", "row", "col", "type")]
    x = cells[genes].to_numpy(dtype=np.float32)
    if shuffled:
        rng = np.random.default_rng(layout)
        for kind in cells["type"].unique():
            rows = np.flatnonzero(cells["type"] == kind)
            x[rows] = x[rng.permutation(rows)]
    obs = pd.DataFrame({"cell_type": pd.Categorical(cells["type"])}).set_index("c" + cells.index.astype(str))
    data = ad.AnnData(x, obs=obs, var=pd.DataFrame(index=genes))
    data.obsm["spatial"] = cells[["row", "col"]].to_numpy(dtype=float)
    return data


def misty_rows(layout: int, cache: Path | None) -> list[dict[str, object]]:
    rows = []
    for shuffled in (False, True):
        fit, _ = fit_once(misty(layout, shuffled=shuffled), f"misty{layout}{shuffled}", cache, **MISTY)
        table = explained_variance(fit)
        for receiver, part in table.groupby("receiver", sort=False):
            by_head = part.set_index("head")
            rows.append(
                {
                    "layout": layout,
                    "expression": "shuffled" if shuffled else "as it is",
                    "receiver": receiver,
                    "r2 all": by_head.loc["all", "r2"],
                    "r2 none": by_head.loc["none", "r2"],
                    "padj": by_head.loc["all", "padj"],
                }
            )
    return rows


# --- report -----------------------------------------------------------------------------------------------------------


def markdown(rows: list[dict[str, object]]) -> list[str]:
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    for row in rows:
        shown = [f"{v:.3g}" if isinstance(v, (float, np.floating)) else str(v) for v in row.values()]
        lines.append("| " + " | ".join(shown) + " |")
    return lines


def main() -> None:
    if any(os.environ.get(name) != value for name, value in ONE_THREAD.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | ONE_THREAD)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--parts", default="planted,null,misty")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "interactions_calibration.md")
    options = parser.parse_args()
    if options.cache is not None:
        options.cache.mkdir(exist_ok=True, parents=True)
    few, parts, wanted = options.quick, [], options.parts.split(",")
    if "planted" in wanted:
        rows = [planted_row(seed, options.cache) for seed in range(2 if few else 5)]
        parts += ["", "## Planted: B -> A, 15 genes", "", *markdown(rows)]
        write(options.out, parts)
    if "misty" in wanted:
        rows = [row for layout in range(1, 3 if few else 6) for row in misty_rows(layout, options.cache)]
        parts += ["", "## misty_synthetic", "", *markdown(rows)]
        write(options.out, parts)
    rows = []
    for seed in range(2 if few else 40) if "null" in wanted else ():
        for kind in KINDS:
            rows += null_rows(kind, seed, options.cache)
        # after every seed, so that what is done is not lost
        write(
            options.out,
            [*parts, "", f"## Null, {seed + 1} data sets of each kind", "", *null_table(pd.DataFrame(rows))],
        )


def write(out: Path, parts: list[str]) -> None:
    head = [
        "# Interaction tests: what was planted, and null data",
        "",
        f"{datetime.date.today()}, {platform.machine()}, {os.cpu_count()} cores, one thread; "
        "`python benchmarks/interactions_calibration.py`",
    ]
    out.parent.mkdir(exist_ok=True)
    out.write_text("\n".join([*head, *parts]) + "\n")
    print(out.read_text(), flush=True)


if __name__ == "__main__":
    main()
