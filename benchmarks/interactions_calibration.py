"""Do the interaction tests find what was planted, and only that? Writes results/interactions_calibration.md.

    python benchmarks/interactions_calibration.py             # about 20 minutes of one core
    python benchmarks/interactions_calibration.py --quick     # 2 data sets of each kind
    python benchmarks/interactions_calibration.py --cache DIR --parts null --seeds 0:20   # a share of the null data

1. Planted: `bench_data.tissue`, seeds 0-4, 15 genes of A cells within 8 units of a B cell times exp(1.5). Three times:
   X as it comes, log(1 + 200 x share of the cell's counts); log(1 + counts / `stable_size_factors`), which know nothing
   of what was planted; and with shares of the counts of the genes that were not planted, which the interaction leaves
   as they are.
2. Null, same settings in the same run: 40 tissues without interaction, and 40 whose cells carry a smooth random field
   for each type and gene (`simulate_interactions`), with a range of twice the reach of a neighbourhood. Reach: median
   distance of the 30th neighbour. Range: where the correlation of the field is 0.05.
3. misty_synthetic 1-5 as they are, and with every type's expression profiles shuffled among its cells.

What each data set gave is kept in --cache (a folder), where given, so that a run can go on where one stopped and shares
of it can run side by side.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from isthmus.interaction import explained_variance, fit_interactions, neighbor_effects, stable_size_factors
from isthmus.interaction.neighbors import find_neighbors, typical_reach
from isthmus.testing import simulate_interactions

HERE = Path(__file__).resolve().parent
SHARED = HERE.parent.parent / "shared"
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
FIELD_SD = 0.5
IN_SAMPLE = 10  # data sets of each kind that are fitted with folds=1, too
MISTY = {"gene_scale": "sd", "n_neighbors": 20, "max_epochs": 25}  # a grid of cells: 20 neighbours are two rings
KINDS = {"none": "no interaction", "field": "smooth random fields"}
PLANTED_NOTES = [
    "X of the data set holds shares of a cell's counts. Where 15 genes rise 4.5 times, a cell's total rises by a",
    "quarter to a half, and the share of every other gene falls: the exact expectation (`expected_change`) is negative",
    "for each of the other genes that have counts. 'of which X truly changes so' counts the significant genes that",
    "were not planted whose effect has the sign of that expectation; the false discovery proportion counts the rest.",
    "With sizes from stable genes, or shares of the counts of the genes that were not planted, nothing but the planted",
    "genes changes, so any other gene is false. C->A is composition of another kind: a neighbourhood full of C holds",
    "few B, so C's places tell where B is not.",
]
NULL_NOTES = [
    "Smooth fields: each type and gene has its own Gaussian random field, sd 0.5 on the log rate, correlation 0.05 at",
    "twice the reach of a neighbourhood. 999 permutations. folds=1: tested on the cells that the model trained on.",
]


def bench_data():
    sys.path.insert(0, str(SHARED / "checks"))
    import bench_data

    return bench_data


def reach(data) -> float:
    """Median distance of the 30th neighbour of another type."""
    codes = data.obs["cell_type"].cat.codes.to_numpy()
    return typical_reach(find_neighbors(data.obsm["spatial"], codes, np.zeros(len(codes), int), n_neighbors=30))


def cached(name: str, cache: Path | None, rows) -> list[dict[str, object]]:
    """What `rows()` gives, from the cache if it is there."""
    if cache is None:
        return rows()
    where = cache / f"{name}.json"
    if not where.exists():
        where.write_text(json.dumps(rows(), default=float))
    return json.loads(where.read_text())


def fit_once(data, **options):
    """The fit and its CPU seconds."""
    start = time.process_time()
    fit = fit_interactions(data, labels="cell_type", **options)
    return fit, time.process_time() - start


def holm(pval: np.ndarray) -> np.ndarray:
    """Adjusted p-values; NaN counts as 1."""
    p = np.nan_to_num(pval, nan=1.0)
    order = np.argsort(p)
    adjusted = np.maximum.accumulate(np.minimum(1, p[order] * np.arange(len(p), 0, -1)))
    return adjusted[np.argsort(order)]


# --- planted ----------------------------------------------------------------------------------------------------------


def planted_rows(seed: int) -> list[dict[str, object]]:
    data = bench_data().tissue(seed=seed)
    rows = [planted_row(seed, "all", data)]
    counts, unmoved = data.layers["counts"].toarray(), ~data.var["planted"].to_numpy()
    sizes = stable_size_factors(data, labels="cell_type", layer="counts").to_numpy()
    data.X = np.log1p(counts / sizes[:, None]).astype(np.float32)
    rows.append(planted_row(seed, "stable genes", data))
    data.X = np.log1p(200 * counts / np.maximum(counts[:, unmoved].sum(axis=1, keepdims=True), 1)).astype(np.float32)
    return [*rows, planted_row(seed, "not planted", data)]


def planted_row(seed: int, shares_of: str, data) -> dict[str, object]:
    fit, seconds = fit_once(data, seed=seed)
    effects = neighbor_effects(fit)
    pairs = effects[effects["gene"].isna()].reset_index(drop=True)
    pairs["holm"] = holm(pairs["pval"].to_numpy())
    found = [f"{row.sender}->{row.receiver}" for row in pairs[pairs["holm"] < 0.05].itertuples()]
    own = effects[(effects["receiver"] == "A") & (effects["sender"] == "B") & effects["gene"].notna()]
    planted = set(data.var_names[data.var["planted"]])
    leading = own.sort_values("effect", ascending=False)["gene"].iloc[: len(planted)]
    significant = own[own["padj"] < 0.05]
    up = significant[significant["effect"] > 0]
    others = significant[~significant["gene"].isin(planted)]
    truth = expected_change(data, seed) if shares_of == "all" else pd.Series(0.0, index=data.var_names)
    real = np.sign(others["effect"].to_numpy()) * truth[others["gene"]].to_numpy() > 0
    return {
        "seed": seed,
        "shares of the counts of": shares_of,
        "CPU s": seconds,
        "r2 A": explained_variance(fit, null="none").query("receiver == 'A' and head == 'all'")["r2"].iloc[0],
        "pairs, Holm < 0.05": ", ".join(found),
        "planted among the 15 largest": sum(gene in planted for gene in leading),
        "planted found": sum(gene in planted for gene in up["gene"]),
        "not planted, up": int((~up["gene"].isin(planted)).sum()),
        "not planted, down": int((others["effect"] < 0).sum()),
        "share not planted": len(others) / max(1, len(significant)),
        "of which X truly changes so": f"{real.sum()} of {len(others)}",
        "false discovery proportion": float((~real).sum()) / max(1, len(significant)),
    }


def expected_change(data, seed: int) -> pd.Series:
    """E[X | A, B within reach] - E[X | A, none] of every gene, exactly: counts are Poisson given a log-normal depth, so
    a cell's total N is Poisson too, and a gene's count binomial given N.

    The rates are those that `bench_data.tissue` draws first, from the same stream; the planted genes tell that they
    are.
    """
    n, n_genes = data.shape
    rng = np.random.default_rng(seed)
    rng.uniform(size=(n, 2))
    rng.choice(3, n, p=[0.4, 0.3, 0.3])
    base = rng.gamma(0.6, 1.0, (3, n_genes))
    for kind in range(3):
        base[kind, rng.choice(n_genes, 12, replace=False)] *= 4
    planted = rng.choice(n_genes - 1, 15, replace=False)
    if set(planted) != set(np.flatnonzero(data.var["planted"])):
        msg = "bench_data.tissue draws its rates in another way than expected_change() assumes"
        raise RuntimeError(msg)
    far = base[0].copy()
    far[planted] = np.maximum(far[planted], 0.5)
    far[-1] = 0  # the constant gene
    near = far.copy()
    near[planted] *= np.exp(1.5)
    return pd.Series(expected_x(near) - expected_x(far), index=data.var_names)


def expected_x(rate: np.ndarray) -> np.ndarray:
    """E log(1 + 200 c / N): Gauss-Hermite over the depth (log sd 0.25), sums over N and c."""
    node, weight = np.polynomial.hermite_e.hermegauss(15)
    totals = np.arange(1, 800)
    means = rate.sum() * np.exp(0.25 * node)
    chance = (weight / weight.sum()) @ stats.poisson.pmf(totals, means[:, None])
    out = np.zeros(len(rate))
    for total, p in zip(totals, chance, strict=True):
        if p > 1e-9:
            count = np.arange(min(total, 200) + 1)
            out += p * (stats.binom.pmf(count, total, (rate / rate.sum())[:, None]) @ np.log1p(200 * count / total))
    return out


# --- null -------------------------------------------------------------------------------------------------------------


def null_data(kind: str, seed: int):
    if kind == "none":
        return bench_data().tissue(seed=seed, null=True)
    wide = 2 * reach(bench_data().tissue(seed=seed, null=True))
    return simulate_interactions(interactions=(), field_range=wide, field_sd=FIELD_SD, seed=10_000 + seed)


def null_rows(kind: str, seed: int) -> list[dict[str, object]]:
    fit, _ = fit_once(null_data(kind, seed), seed=seed)
    rows = [row for null in ("block", "within_type") for row in receiver_rows(kind, seed, null, fit, null)]
    pairs = neighbor_effects(fit, n_permutations=999)
    pairs = pairs[pairs["gene"].isna() & pairs["pval"].notna()]
    return rows + [{"kind": kind, "seed": seed, "test": "block", "row": "pair", "pval": p} for p in pairs["pval"]]


def in_sample_rows(kind: str, seed: int) -> list[dict[str, object]]:
    """What the test says of cells that the model was trained on."""
    fit, _ = fit_once(null_data(kind, seed), seed=seed, folds=1)
    return receiver_rows(kind, seed, "block, folds=1 (in-sample)", fit, "block")


def receiver_rows(kind: str, seed: int, test: str, fit, null: str) -> list[dict[str, object]]:
    table = explained_variance(fit, null=null, n_permutations=999).query("head == 'all'")
    return [{"kind": kind, "seed": seed, "test": test, "row": "receiver", "pval": p} for p in table["pval"]]


def null_table(rows: pd.DataFrame) -> list[str]:
    lines = [
        "| data | test | rows | data sets | tests | rejected at 0.05 (95 % interval, tests as independent) | at 0.10 |",
        "|---|" + "---|" * 6,
    ]
    for (kind, test, row), part in rows.groupby(["kind", "test", "row"], sort=False):
        count, n = int((part["pval"] < 0.05).sum()), len(part)
        low, high = stats.binomtest(count, n).proportion_ci(method="exact")
        first = f"{count / n:.1%} ({low:.1%} to {high:.1%})"
        more = f"{(part['pval'] < 0.10).mean():.1%}"
        lines.append(f"| {KINDS[kind]} | {test} | {row} | {part['seed'].nunique()} | {n} | {first} | {more} |")
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


def misty_rows(layout: int) -> list[dict[str, object]]:
    rows = []
    for shuffled in (False, True):
        fit, _ = fit_once(misty(layout, shuffled=shuffled), **MISTY)
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
    parser.add_argument("--parts", default="planted,misty,null,in-sample")
    parser.add_argument("--seeds", default="0:40", help="which null data sets, first:end")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "interactions_calibration.md")
    options = parser.parse_args()
    if options.cache is not None:
        options.cache.mkdir(exist_ok=True, parents=True)
    first, last = (int(part) for part in options.seeds.split(":"))
    few, parts, wanted = options.quick, [], options.parts.split(",")
    if "planted" in wanted:
        rows = []
        for seed in range(2 if few else 5):
            rows += cached(f"planted{seed}", options.cache, lambda s=seed: planted_rows(s))
        parts += ["", "## Planted: B -> A, 15 genes", "", *markdown(rows), "", *PLANTED_NOTES]
        write(options.out, parts)
    if "misty" in wanted:
        rows = []
        for layout in range(1, 3 if few else 6):
            rows += cached(f"misty{layout}", options.cache, lambda i=layout: misty_rows(i))
        parts += ["", '## misty_synthetic (20 neighbours, 25 epochs, gene_scale="sd")', "", *markdown(rows)]
        write(options.out, parts)
    rows = []
    for seed in range(first, min(last, first + 2) if few else last):
        for kind in KINDS:
            if "null" in wanted:
                rows += cached(f"null-{kind}{seed}", options.cache, lambda k=kind, s=seed: null_rows(k, s))
            if "in-sample" in wanted and seed < IN_SAMPLE:
                rows += cached(f"in-sample-{kind}{seed}", options.cache, lambda k=kind, s=seed: in_sample_rows(k, s))
        # after every seed, so that what is done is not lost
        if rows:
            write(options.out, [*parts, "", "## Null", "", *NULL_NOTES, "", *null_table(pd.DataFrame(rows))])


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
