"""Cell-cell interactions in a minute: 3,029 cells of a stained tissue section, five cell types, and what its neighbours
tell about a cell. Writes tables and plots to demo-output/. Run: make demo-all."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from anndata import AnnData

import isthmus.plotting
from isthmus.interaction import attention_by_distance, contributions, interaction_matrix

mpl.use("Agg")
OUTPUT = Path("demo-output")
SECTION = Path(__file__).resolve().parent.parent / "extdata" / "scimap_example"
# the first that fits a phenotype's name counts
TYPES = {
    "T cells|B cells|NK cells": "lymphoid",
    "Macrophages|Dendritic|Granulocytes|Myeloid": "myeloid",
    "ASMA": "ASMA+",
    "^Tumor": "tumour",
}


@contextmanager
def step(what: str) -> Iterator[None]:
    """Say what was done and how long it took."""
    start = time.perf_counter()
    yield
    print(f"\n== {what} ({time.perf_counter() - start:.1f} s)")


def read_section() -> AnnData:
    """Each cell's mean is taken off: what all its markers share is how strongly it was stained."""
    cells = pd.read_csv(SECTION / "cells.csv.gz", index_col=0)
    intensity = pd.read_csv(SECTION / "intensities.csv.gz", index_col=0)
    fits = [cells["phenotype"].str.contains(pattern) for pattern in TYPES]
    cells["type"] = np.select(fits, list(TYPES.values()), "other")
    adata = AnnData(intensity.sub(intensity.mean(axis=1), axis=0), obs=cells)
    adata.obsm["spatial"] = cells[["x", "y"]].to_numpy()
    return adata


def main() -> None:
    OUTPUT.mkdir(exist_ok=True)
    with step("Reading a section with 33 markers (scimap, MIT licence)"):
        adata = read_section()
    counts = adata.obs["type"].value_counts(sort=False).sort_index()
    print(f"{adata.n_obs:,} cells: " + ", ".join(f"{kind}: {n}" for kind, n in counts.items()) + ".")

    with step("Fitting five networks, each without one fifth of the section"):
        fit = isthmus.fit_interactions(adata, labels="type", n_neighbors=15)
    print(fit.summary())

    with step("How much do the neighbours explain, in cells that were held out?"):
        explained = isthmus.explained_variance(fit)
    shown = explained.loc[explained["head"] == "all", ["receiver", "r2", "pval", "padj", "n_cells"]]
    print(shown.to_string(index=False, float_format="{:.3g}".format))

    with step("Who moves which markers of whom?"):
        effects = isthmus.neighbor_effects(fit)
    genes = effects[effects["gene"].notna() & (effects["padj"] < 0.05)]
    top = genes.sort_values("effect", key=abs, ascending=False).head(8)
    print(top[["sender", "receiver", "gene", "effect", "padj"]].to_string(index=False, float_format="{:.3g}".format))
    own = effects.query("gene == 'ASMA' and sender == 'ASMA+' and receiver != 'ASMA+'")
    more = ((own["effect"] > 0) & (own["padj"] < 0.05)).sum()
    print(f"Next to ASMA+ cells, {more} of {len(own)} other types show more ASMA: a neighbour's stain spills over.")

    with step("Writing tables and plots"):
        tables = {
            "explained_variance": explained,
            "effects": effects,
            "length_scales": isthmus.length_scales(fit, n_boot=50),
        }
        for name, table in tables.items():
            table.to_csv(OUTPUT / f"interactions_{name}.csv", index=False)
        plots = {
            "explained": isthmus.plotting.explained_variance_bars(explained, heads=["all", "none"]),
            "matrix": isthmus.plotting.sender_receiver_tiles(interaction_matrix(effects)),
            "distance": isthmus.plotting.attention_distance(attention_by_distance(fit)),
            "asma": isthmus.plotting.contribution_map(contributions(fit, sender="ASMA+", gene="ASMA")),
        }
        for name, axes in plots.items():
            axes.figure.savefig(OUTPUT / f"interactions_{name}.png", dpi=150)
    print("\n".join(str(path) for path in sorted(OUTPUT.glob("interactions_*"))))


if __name__ == "__main__":
    main()
