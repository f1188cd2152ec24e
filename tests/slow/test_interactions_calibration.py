"""Do the interaction tests hold their level, and find what was planted?

Small tissues, so that a fit takes seconds: the figures for the acceptance bars come from
benchmarks/interactions_calibration.py.
"""

import numpy as np
import pytest
from scipy import stats

from isthmus.interaction import explained_variance, fit_interactions, neighbor_effects
from isthmus.testing import recovery, simulate_interactions

N_NULL = 30


def fit(tissue, seed, **options):
    return fit_interactions(tissue, labels="cell_type", n_neighbors=15, n_heads=2, batch_size=256, seed=seed, **options)


@pytest.fixture(scope="module")
def null_fits():
    return [fit(simulate_interactions(1_500, 60, interactions=(), seed=seed), seed) for seed in range(N_NULL)]


def pvalues(fits, null):
    tables = [explained_variance(one, null=null, n_permutations=999).query("head == 'all'") for one in fits]
    return np.concatenate([table["pval"].to_numpy() for table in tables])


@pytest.mark.parametrize("null", ["block", "within_type"])
def test_p_values_are_uniform_without_interaction(null_fits, null):
    """90 tests: at most 4 standard errors above the level, and no trend in the distribution."""
    pval = pvalues(null_fits, null)
    for level in (0.05, 0.2):
        assert (pval < level).mean() <= level + 4 * np.sqrt(level * (1 - level) / len(pval))
    assert stats.kstest(pval, "uniform").pvalue > 1e-3


def test_pairs_hold_their_level_without_interaction(null_fits):
    tables = [neighbor_effects(one, n_permutations=999) for one in null_fits]
    pval = np.concatenate([table["pval"][table["gene"].isna()].dropna() for table in tables])
    assert len(pval) == 6 * N_NULL
    assert (pval < 0.05).mean() <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / len(pval))


def test_genes_hold_their_false_discovery_rate_without_interaction(null_fits):
    """Any discovery is a false one: in 5 % of the data sets, if the level holds."""
    found = [(neighbor_effects(one)["padj"] < 0.05).any() for one in null_fits]
    assert np.mean(found) <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / N_NULL)


def test_predictions_of_training_cells_do_not_hold_the_level():
    """Why held-out cells: the same test on cells that the model trained on rejects the null often."""
    fits = [
        fit(simulate_interactions(1_500, 60, interactions=(), seed=seed), seed, folds=1, early_stopping=False)
        for seed in range(5)
    ]
    assert (pvalues(fits, "block") < 0.05).mean() > 0.5


def test_planted_interactions_are_recovered():
    for seed in range(3):
        tissue = simulate_interactions(3_000, 100, seed=seed)
        table = recovery(fit_interactions(tissue, labels="cell_type", seed=seed), tissue)
        planted = table.set_index(["receiver", "sender"]).loc[("A", "B")]
        assert planted["padj"] < 0.05
        assert planted["n_found"] >= 13
        assert planted["auc"] > 0.95
        # C is where B is not: it tells where B is, and no other pair does
        others = table[~table["planted"] & (table["receiver"] != "A")]
        assert (others["padj"].dropna() > 0.01).all()
