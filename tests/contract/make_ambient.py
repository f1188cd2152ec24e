"""Write ambient.json: a small sample of droplets, and corrections that Python and R must both reach.

    python tests/contract/make_ambient.py

The numbers come from the Python surface. Before they are written the split of each count is compared with the plain
formula, x (1 - rho) p / ((1 - rho) p + rho a), written out densely.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd

import isthmus
from isthmus.testing import simulate_ambient

HERE = Path(__file__).parent
SEED, N_CELLS, N_GENES, N_EMPTY = 4, 60, 40, 120
FITS = {
    "labels": {"labels": "type"},
    "found": {"n_clusters": 2},
    "one_level": {"labels": "type", "rho": 0.08},
    "markers": {"labels": "type", "markers": "type"},
    "fpr": {"labels": "type", "fpr": 0.01},
}


def sparse_rows(matrix) -> list:
    """Genes and counts of each cell or droplet: [[0, 3], [7, 1], ...] as two flat lists."""
    rows = matrix.tocsr()
    return [
        [rows.indices[a:b].tolist(), rows.data[a:b].astype(int).tolist()]
        for a, b in zip(rows.indptr[:-1], rows.indptr[1:], strict=True)
    ]


def plain_split(fit: isthmus.AmbientFit, observed: np.ndarray) -> np.ndarray:
    """The posterior mean, formula by formula."""
    rho = fit.rho[:, None]
    own, soup = (1 - rho) * fit.native[fit.cluster], rho * fit.ambient[fit.batch]
    return observed * own / np.where(own + soup > 0, own + soup, 1)


def numbers(fit: isthmus.AmbientFit) -> dict:
    cells, levels = fit.table("cells"), fit.table("levels")
    return {
        "rho": np.round(cells["rho"], 9).tolist(),
        "rho_se": np.round(cells["rho_se"], 9).tolist(),
        "denoised_umi": cells["denoised_umi"].astype(int).tolist(),
        "ambient_umi": np.round(cells["ambient_umi"], 4).tolist(),
        "removed": np.round(fit.table("genes")["removed"], 4).tolist(),
        "level": np.round(levels["level"], 9).tolist(),
        "log_likelihood": round(float(fit.log_likelihood[-1]), 4),
    }


def main() -> None:
    cells, droplets = simulate_ambient(N_CELLS, N_GENES, N_EMPTY, seed=SEED)
    sets = {name: list(cells.var_names[cells.var["marker"] == name]) for name in pd.unique(cells.obs["type"])}
    profile = isthmus.ambient_profile(cells, droplets)
    fits = {}
    for name, options in FITS.items():
        given = options | ({"markers": sets} if "markers" in options else {})
        fit = isthmus.remove_ambient(cells, droplets=droplets, **given)
        if "fpr" not in options:
            assert abs(fit.denoised_mean.toarray() - plain_split(fit, cells.X.toarray())).max() < 1e-3, name
        fits[name] = {"options": options} | numbers(fit)
    contract = {
        "about": "Corrections that Python and R must both reach; written by make_ambient.py.",
        "n_cells": N_CELLS,
        "n_genes": N_GENES,
        "type": list(cells.obs["type"]),
        "markers": sets,
        "droplets": sparse_rows(droplets.X),
        "profile": {"prob": np.round(profile["prob"], 12).tolist(), "n_empty": int(profile["n_empty"][0])},
        "fits": fits,
    }
    text = json.dumps(contract, separators=(",", ":"))
    for key in ('"droplets"', '"profile"', '"fits"', *(f'"{name}":{{"options' for name in FITS)):
        text = text.replace(key, "\n" + key)
    (HERE / "ambient.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
