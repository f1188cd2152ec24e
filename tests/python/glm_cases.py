"""What the GLM tests share: where the reference numbers lie, tables as matrices, awkward counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy.optimize import brentq
from scipy.stats import nbinom

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "tests" / "reference"
SHARED = ROOT.parent / "shared"


def shared(*parts: str) -> Path:
    """A folder of `../shared`. Tests on it are extra: a clone without it has its numbers in `tests/reference`."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"{path} is not here: extra reference data that a plain clone does without")
    return path


def estimates(fit, model: str = "mean", column: str = "estimate") -> pd.DataFrame:
    """Genes x terms, in the fit's order, from the table of coefficients."""
    table = fit.table("coefficients")
    table = table[table["model"] == model]
    wide = table.pivot(index="gene", columns="term", values=column)
    return wide.loc[table["gene"].unique(), table["term"].unique()]


def genes(fit) -> pd.DataFrame:
    return fit.table("genes").set_index("gene")


def intercept_only_alpha(y: np.ndarray) -> float:
    """The ML dispersion of counts with one mean, by root finding on the derivative (a sum over j < y)."""
    mean = y.mean()
    js = [np.arange(count) for count in y[y > 0].astype(int)]

    def slope(log_alpha: float) -> float:
        alpha = np.exp(log_alpha)
        rising = sum((j * alpha / (1 + j * alpha)).sum() for j in js)
        w = alpha * mean
        return rising + (np.log1p(w) / alpha * len(y)) - ((y + 1 / alpha) * w / (1 + w)).sum()

    return float(np.exp(brentq(slope, -15, 15, xtol=1e-13)))


def nb_log_likelihood(y: np.ndarray, mu: np.ndarray | float, alpha: np.ndarray | float) -> float:
    return float(nbinom.logpmf(y, 1 / np.asarray(alpha), 1 / (1 + np.asarray(alpha) * mu)).sum())


def nb_counts(rng: np.random.Generator, mu: np.ndarray, alpha: np.ndarray | float) -> np.ndarray:
    return rng.poisson(rng.gamma(1 / np.asarray(alpha), np.asarray(alpha) * mu)).astype(float)


def awkward_counts(n_cells: int = 200) -> tuple[np.ndarray, pd.DataFrame, list[str]]:
    """Two groups of cells and one gene for each thing that goes wrong elsewhere (research/glm-performance.md, 4)."""
    rng = np.random.default_rng(11)
    half = n_cells // 2
    cells = pd.DataFrame({"group": np.repeat(["a", "b"], half)}, index=[f"cell{i}" for i in range(n_cells)])
    in_b = (cells["group"] == "b").to_numpy()
    columns = {
        "plain": nb_counts(rng, np.where(in_b, 3.0, 2.0), 0.5),
        "all_zero": np.zeros(n_cells),
        "separated": np.where(in_b, 0.0, nb_counts(rng, np.full(n_cells, 2.0), 0.4)),
        "one_count": np.eye(n_cells)[3],
        "poisson": np.tile([1.0, 2.0, 3.0, 2.0], n_cells // 4),
        "outlier": np.where(np.arange(n_cells) == 5, 1e6, rng.poisson(0.05, n_cells)),
        "huge_mean": nb_counts(rng, np.full(n_cells, 1e6), 0.1),
        "alpha_50": nb_counts(rng, np.full(n_cells, 20.0), 50.0),
        "constant": np.full(n_cells, 7.0),
    }
    return np.column_stack(list(columns.values())), cells, list(columns)


def random_problem(
    seed: int, n_cells: int = 120, n_genes: int = 8, *, lowest: float = -1.0
) -> tuple[sp.csr_matrix, pd.DataFrame, np.ndarray]:
    """Counts, cells (group, batch, age) and size factors, for properties that hold on any data.

    With `lowest` (log mean) at -1 some genes end at the Poisson limit or separated; from 0.5 on all have an inner
    optimum.
    """
    rng = np.random.default_rng(seed)
    cells = pd.DataFrame(
        {
            "group": rng.permutation(np.resize(["a", "b"], n_cells)),
            "batch": rng.permutation(np.resize(["x", "y", "z"], n_cells)),
            "age": rng.normal(size=n_cells),
        },
        index=[f"cell{i}" for i in range(n_cells)],
    )
    size_factors = np.exp(rng.normal(0, 0.4, n_cells))
    eta = rng.uniform(lowest, 2.5, n_genes) + np.outer(cells["group"] == "b", rng.normal(0, 0.6, n_genes))
    eta += np.outer(cells["age"], rng.normal(0, 0.2, n_genes))
    counts = nb_counts(rng, size_factors[:, None] * np.exp(eta), np.exp(rng.normal(-0.5, 0.5, n_genes)))
    return sp.csr_matrix(counts), cells, size_factors
