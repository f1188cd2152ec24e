"""Filters of genes: the choices of edgeR's filterByExpr and of DESeq2's independent filtering."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from glm_cases import REFERENCE
from peers import peer, peer_problem

from isthmus.errors import InputError
from isthmus.glm import expressed_genes, filter_by_mean
from isthmus.glm.filtering import lowess


def read(name: str) -> pd.DataFrame:
    return pd.read_csv(REFERENCE / "filter" / f"{name}.csv", index_col=0)


@pytest.mark.parametrize(
    ("column", "design", "bounds"),
    [
        ("group", "~ group", {}),
        ("both", "~ group + batch", {}),
        ("none", "~ 1", {}),
        ("age", "~ age", {}),
        ("strict", "~ group", {"min_count": 25, "min_total": 300}),
    ],
)
def test_expressed_genes_are_edgers(column, design, bounds):
    kept = expressed_genes(read("counts").T.astype(float), design, cell_data=read("cells"), **bounds)
    theirs = read("edger")[column].astype(bool)
    np.testing.assert_array_equal(kept, theirs)
    assert 20 < theirs.sum() < len(theirs) - 20


def test_large_groups_ask_for_a_share():
    rng = np.random.default_rng(0)
    counts = np.column_stack(
        [np.full(40, 50.0), np.where(np.arange(40) < 31, 50.0, 0), np.where(np.arange(40) < 30, 50.0, 0)]
    )
    counts = np.column_stack([counts, rng.poisson(1000, 40)])
    # 40 samples: 10 + 0.7 x 30 = 31 of them
    assert expressed_genes(counts).tolist() == [True, True, False, True]


def test_filtered_genes_are_deseq2s():
    theirs = peer("deseq2")
    counts, cells = peer_problem()
    means = (counts.to_numpy() / cells["size_factor"].to_numpy()[:, None]).mean(axis=0)
    test = pd.DataFrame({"contrast": "b", "mean": means, "pval": theirs["pval"].to_numpy(), "padj": np.nan})
    padj = filter_by_mean(test)["padj"].to_numpy()
    np.testing.assert_array_equal(np.isnan(padj), theirs["filtered"].isna())
    np.testing.assert_allclose(padj, theirs["filtered"], rtol=1e-6)


def test_contrasts_are_filtered_one_by_one():
    rng = np.random.default_rng(1)
    parts = []
    for name, shift in (("a", 0.0), ("b", 3.0)):
        mean = np.exp(rng.normal(2, 2, 500))
        z = rng.normal(0, 1, 500) + shift * (mean > 10)
        parts.append(pd.DataFrame({"contrast": name, "mean": mean, "pval": np.exp(-(z**2)), "padj": np.nan}))
    both = filter_by_mean(pd.concat(parts, ignore_index=True))
    for part in parts:
        alone = filter_by_mean(part)["padj"].to_numpy()
        np.testing.assert_array_equal(both.loc[both["contrast"] == part["contrast"][0], "padj"].to_numpy(), alone)


def test_lowess_is_rs():
    """R 4.2.2: x <- seq(0, 1, length = 40); y <- sin(6*x) + sin(77*(1:40))/5; y[21] <- 8; lowess(x, y, f = 0.3)."""
    x = np.linspace(0, 1, 40)
    y = np.sin(6 * x) + np.sin(77 * np.arange(1, 41)) / 5
    y[20] = 8
    expected = [0.09585806, 0.915868, 0.17276, 0.0317194, -0.1099703, -0.8083405, -0.3219475]
    np.testing.assert_allclose(lowess(x, y, share=0.3)[[0, 9, 19, 20, 21, 34, 39]], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: expressed_genes(np.ones((3, 2)), min_count=-1), "`min_count` must be a number of at least 0; got -1"),
        (lambda: filter_by_mean(pd.DataFrame({"pval": [1.0]})), "`test` must be a table of test_glm.*'contrast'"),
        (
            lambda: filter_by_mean(
                pd.DataFrame({"contrast": ["a"], "mean": [1.0], "pval": [1.0], "padj": [1.0]}), fdr=2
            ),
            "`fdr` must be a number between 0 and 1; got 2",
        ),
    ],
)
def test_rules(call, match):
    with pytest.raises(InputError, match=match):
        call()
