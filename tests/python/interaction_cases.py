"""Small tissues that the tests of the interaction model share."""

import numpy as np
import pandas as pd
from anndata import AnnData


def tissue(n=400, n_genes=12, *, types="abc", samples=1, effect=1.5, reach=8.0, seed=0):
    """Cells of several types, evenly in a square per sample; gene 0 of cells of the first type rises by `effect` where
    a cell of the second lies within `reach`. About 0.01 cells per square unit. `obs["near"]` holds who does."""
    rng = np.random.default_rng(seed)
    places = rng.uniform(0, 10 * np.sqrt(n / samples), (n, 2))
    kinds = rng.choice(list(types), n)
    section = np.arange(n) % samples
    x = rng.normal(rng.normal(0, 1, (len(types), n_genes))[np.searchsorted(sorted(types), kinds)], 0.5)
    apart = np.linalg.norm(places[:, None] - places[None], axis=2) + np.where(section[:, None] == section, 0, np.inf)
    near = (kinds == types[0]) & (apart[:, kinds == types[1]].min(axis=1) < reach)
    x[near, 0] += effect
    obs = pd.DataFrame(
        {"kind": pd.Categorical(kinds), "section": section.astype(str), "near": near, "depth": rng.normal(size=n)},
        index=[f"cell-{i}" for i in range(n)],
    )
    adata = AnnData(x.astype(np.float32), obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(n_genes)]))
    adata.obsm["spatial"] = places
    return adata


QUICK = {"labels": "kind", "n_neighbors": 6, "folds": 3, "max_epochs": 2, "n_heads": 2, "head_size": 4}
