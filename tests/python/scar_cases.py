"""What the tests of SCAR share: cells of two types with planted differences, and a fit of each likelihood."""

import functools

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

import isthmus

LIKELIHOODS = ("binomial", "nb", "zinb", "poisson")
N_CELLS, N_GENES, N_PLANTED = 400, 120, 20


@functools.cache
def planted():
    """Two types with 10 genes each that the other lacks, else alike; one ambient profile; 12 % ambient."""
    rng = np.random.default_rng(5)
    base = rng.lognormal(0, 1, N_GENES)
    marker = np.array(["A", "B", ""])[np.minimum(np.arange(N_GENES) // (N_PLANTED // 2), 2)]
    for own in "AB":  # equal sums: the other genes have the same frequency in both types
        base[marker == own] *= 0.2 * base[marker == ""].sum() / base[marker == own].sum()
    types = np.stack([np.where(np.isin(marker, ["", own]), base, 0) for own in "AB"])
    types /= types.sum(axis=1, keepdims=True)
    profile = types.mean(axis=0) * np.exp(rng.normal(0, 0.5, N_GENES))
    profile /= profile.sum()
    label = np.arange(N_CELLS) % 2
    native = rng.poisson(
        rng.lognormal(np.log(1500), 0.3, (N_CELLS, 1)) * types[label] * rng.gamma(4, 0.25, (N_CELLS, N_GENES))
    )
    ambient = rng.poisson(rng.lognormal(np.log(200), 0.4, (N_CELLS, 1)) * profile)
    obs = pd.DataFrame(
        {"type": pd.Categorical(np.array(["A", "B"])[label]), "rho": ambient.sum(1) / (native + ambient).sum(1)},
        index=[f"c{i}" for i in range(N_CELLS)],
    )
    var = pd.DataFrame({"marker": marker, "ambient": profile}, index=[f"g{i}" for i in range(N_GENES)])
    cells = ad.AnnData(sparse.csr_matrix((native + ambient).astype(np.float32)), obs=obs, var=var)
    cells.layers["native"] = sparse.csr_matrix(native.astype(np.float32))
    return cells


@functools.cache
def fitted(likelihood="binomial", **options):
    """A fit of enough epochs for the numbers that the tests ask about."""
    epochs = 150 if likelihood == "zinb" else 100  # its dropout explains zeros too: p and rho settle later
    options = {"max_epochs": epochs, "early_stopping": False, "n_hidden": 64, "n_latent": 6} | options
    return isthmus.remove_ambient(
        planted(), profile="ambient", labels="type", method="scar", likelihood=likelihood, **options
    )


def rmse(matrix):
    return float(np.sqrt(sparse.csr_matrix(matrix - planted().layers["native"]).power(2).mean()))
