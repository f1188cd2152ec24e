"""False positives between donors: how often each test rejects a true null at 0.05. Writes results/glm_replicates.md.

    python benchmarks/glm_replicates.py            # about three minutes
    python benchmarks/glm_replicates.py --genes 500    # a quick look

No gene of `donors_null` (../shared/checks/bench_data.py) differs between the two arms; each donor has a random effect
on each gene (sd 0.15 of the log mean). Equal: 500 cells a donor. Unequal: 900 and 100 in turn.
"""

from __future__ import annotations

import argparse
import datetime
import logging
import sys
import time
import warnings
from pathlib import Path

import anndata as ad
import numpy as np

import isthmus

HERE = Path(__file__).resolve().parent
SHARED = HERE.parent.parent / "shared"
AT_ONCE = 1000  # genes simulated at a time: whole counts are dense
TESTS = ["Wald, cells", "CR0", "CR1", "CR2 + Satterthwaite", "score, CR2", "pseudobulk + qlf"]


def problem(per_arm: int, *, equal: bool, n_genes: int, part: int) -> ad.AnnData:
    """Cells of the donors of both arms, in a few genes."""
    sys.path.insert(0, str(SHARED / "checks"))
    import bench_data

    cells = 500 if equal else 900
    counts, obs = bench_data.donors_null(per_arm, cells, n_genes, seed=1000 * per_arm + part)
    place = np.arange(len(obs)) % cells
    kept = np.ones(len(obs), dtype=bool) if equal else (obs["donor"].cat.codes.to_numpy() % 2 == 0) | (place < 100)
    data = ad.AnnData(counts[kept], obs=obs[kept].reset_index(drop=True).rename(index=str))
    data.var_names = [f"g{part}_{i}" for i in range(n_genes)]
    return data


def pvalues(data: ad.AnnData) -> dict[str, np.ndarray]:
    fit = isthmus.fit_glm(data, "~ arm", size_factors=None)
    found = {"Wald, cells": isthmus.test_glm(fit, "arm[T.b]")}
    for kind in ("CR0", "CR1", "CR2"):
        name = next(test for test in TESTS if test.startswith(kind))
        found[name] = isthmus.test_glm(fit, "arm[T.b]", replicate="donor", sandwich=kind, data=data)
    found["score, CR2"] = isthmus.test_glm(fit, "arm[T.b]", method="score", replicate="donor", data=data)
    sums = isthmus.pseudobulk(data, ["donor", "arm"])
    small = isthmus.fit_glm(sums, "~ arm")
    found["pseudobulk + qlf"] = isthmus.test_glm(small, "arm[T.b]", method="qlf", data=sums)
    return {name: table["pval"].to_numpy() for name, table in found.items()}


def rejected(per_arm: int, *, equal: bool, n_genes: int) -> dict[str, float]:
    """Per cent of genes with p < 0.05, by test."""
    size = min(AT_ONCE, n_genes)
    parts = [pvalues(problem(per_arm, equal=equal, n_genes=size, part=i)) for i in range(n_genes // size)]
    return {test: 100 * float(np.mean(np.concatenate([p[test] for p in parts]) < 0.05)) for test in TESTS}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--genes", type=int, default=5000)
    arguments, _ = parser.parse_known_args()
    warnings.simplefilter("ignore", isthmus.ReplicateWarning)
    logging.getLogger("isthmus").setLevel("WARNING")
    start, rows = time.process_time(), []
    for equal in (True, False):
        for per_arm in (2, 4, 8):
            rates = rejected(per_arm, equal=equal, n_genes=arguments.genes)
            label = f"{per_arm} | {'500 each' if equal else '900 and 100 in turn'}"
            rows.append(f"| {label} | " + " | ".join(f"{rates[test]:.1f}" for test in TESTS) + " |")
            print(rows[-1], flush=True)
    text = f"""# False positives between donors

`python benchmarks/glm_replicates.py`, {datetime.date.today():%Y-%m-%d}: `donors_null`, {arguments.genes:,} genes, donor
sd 0.15, no difference between the arms. Per cent of genes with p < 0.05; 5 is right.
{time.process_time() - start:.0f} CPU s.

| donors an arm | cells | {" | ".join(TESTS)} |
|---|---|{"---|" * len(TESTS)}
{chr(10).join(rows)}

Bars: pseudobulk + qlf 3 to 7 in every setting; CR2 + Satterthwaite 3 to 7 for equal sizes, shown for unequal ones.
The robust score test is conservative with few donors: the residuals of the null fit hold the effect.
"""
    (HERE / "results" / "glm_replicates.md").write_text(text)


if __name__ == "__main__":
    main()
