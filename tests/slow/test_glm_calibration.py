"""Calibration of Wald tests and intervals on simulated cells: 20,000 genes, about a minute. Each test prints its table
(-s).

The bars are those of the tables' top rows. Below them normal approximations end: with 200 cells a group and a mean of
0.05 a group holds ten counts. The tables show what happens there; nothing is asserted about it.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import isthmus

ALPHAS = (0.1, 0.5, 2.0, 10.0)
GENES_PER_ALPHA, CELLS_PER_GROUP = 2_500, 200


@pytest.fixture(scope="module")
def cells():
    return pd.DataFrame({"group": np.repeat(["a", "b"], CELLS_PER_GROUP)})


def draw_means(rng) -> np.ndarray:
    return np.exp(rng.uniform(np.log(0.02), np.log(20), len(ALPHAS) * GENES_PER_ALPHA))


def draw_counts(rng, mu: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return rng.poisson(rng.gamma(1 / alpha, alpha * mu)).astype(float)


def share_table(values: pd.Series, mean: np.ndarray, alpha: np.ndarray, edges: list[float]) -> pd.DataFrame:
    """Percentage by class of the mean (rows) and by alpha (columns), over genes that have a value."""
    classes = pd.cut(mean, edges, right=False)
    frame = pd.DataFrame({"value": values.to_numpy(float) * 100, "mean": classes, "alpha": alpha})
    table = frame.pivot_table(index="mean", columns="alpha", values="value", observed=False)
    table["all"] = frame.groupby("mean", observed=False)["value"].mean()
    table["genes"] = frame.groupby("mean", observed=False)["value"].count()
    table["no value"] = frame["value"].isna().groupby(frame["mean"], observed=False).sum()
    return table


def test_wald_size_under_the_null(cells):
    rng = np.random.default_rng(2026)
    mean, alpha = draw_means(rng), np.repeat(ALPHAS, GENES_PER_ALPHA)
    counts = draw_counts(rng, np.tile(mean, (2 * CELLS_PER_GROUP, 1)), alpha)
    fit = isthmus.fit_glm(counts, "~ group", cell_data=cells, size_factors=None, n_threads=2)
    pval = isthmus.test_glm(fit, "group[T.b]")["pval"]
    rejected = pval.lt(0.05).where(pval.notna())
    table = share_table(rejected, mean, alpha, [0.02, 0.2, 2.0, 20.0])
    print("\nWald at 0.05 on null genes, % rejected\n" + table.round(2).to_string())
    held = table[[*ALPHAS, "all"]].iloc[1:]  # in each decade, for each dispersion
    assert ((held >= 3.5) & (held <= 7.0)).all(axis=None), table


def test_intervals_cover(cells):
    rng = np.random.default_rng(2027)
    mean, alpha = draw_means(rng), np.repeat(ALPHAS, GENES_PER_ALPHA)
    change, dispersion_change = rng.normal(0, 1, len(mean)), rng.normal(0, 0.5, len(mean))
    size_factors = np.exp(rng.normal(0, 0.45, 2 * CELLS_PER_GROUP))
    in_b = (cells["group"] == "b").to_numpy(float)[:, None]
    mu = size_factors[:, None] * np.exp(np.log(mean) + in_b * change)
    counts = draw_counts(rng, mu, np.exp(np.log(alpha) + in_b * dispersion_change))
    fit = isthmus.fit_glm(
        counts, "~ group", dispersion_design="~ group", cell_data=cells, size_factors=size_factors, n_threads=2
    )
    edges, average = [0.0, 0.1, 0.5, 2.0, np.inf], mu.mean(0)
    truth = {
        ("mean", "group[T.b]"): (change, 0.5),
        ("dispersion", "Intercept"): (np.log(alpha), 2.0),
        ("dispersion", "group[T.b]"): (dispersion_change, 2.0),
    }
    covered = {}
    for (model, term), (value, _) in truth.items():
        test = isthmus.test_glm(fit, term, model=model)
        inside = (test["ci_low"] <= value) & (value <= test["ci_high"])
        covered[model, term] = inside.where(test["se"].notna())
        table = share_table(covered[model, term], average, alpha, edges)
        print(f"\n95 % intervals of {term} ({model}), % that cover\n" + table.round(2).to_string())
    for key, (_, lowest) in truth.items():
        share = 100 * covered[key][average >= lowest].dropna().astype(float).mean()
        print(f"{key}, mean >= {lowest}: {share:.2f} %")
        assert 93 <= share <= 97, key


def test_p_values_are_uniform_under_the_null(cells):
    """The whole distribution, where the normal approximation should hold: the Kolmogorov distance of 5,000 p-values."""
    rng = np.random.default_rng(2028)
    n_genes = 5_000
    counts = draw_counts(rng, np.full((2 * CELLS_PER_GROUP, n_genes), 8.0), np.full(n_genes, 0.3))
    fit = isthmus.fit_glm(counts, "~ group", cell_data=cells, size_factors=None, n_threads=2)
    pval = np.sort(isthmus.test_glm(fit, "group[T.b]")["pval"])
    distance = np.abs(pval - (np.arange(n_genes) + 0.5) / n_genes).max()
    print(f"\nKolmogorov distance {distance:.4f}")
    # 1.63 / sqrt(5000) = 0.023 is passed by one run in a hundred of exactly uniform p-values.
    assert distance < 0.03
