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


def shares(tissue, genes):
    """log(1 + 200 x share) of the counts of some genes."""
    counts = tissue.layers["counts"].toarray()
    return np.log1p(200 * counts / np.maximum(counts[:, genes].sum(axis=1, keepdims=True), 1)).astype(np.float32)


@pytest.mark.parametrize("seed", [0, 1])
def test_genes_that_were_not_planted_move_only_where_they_are_shares_of_a_moved_total(seed):
    """Where planted genes rise, the shares of all others fall: found as such, and gone with another total."""
    tissue = simulate_interactions(3_000, 100, seed=seed)
    planted = tissue.var["planted"].to_numpy()
    receivers = tissue.obs["cell_type"] == "A"
    near = tissue.obsm["response"][receivers, 0] > 0
    change = tissue.X[receivers][near].mean(axis=0) - tissue.X[receivers][~near].mean(axis=0)
    for total, others_fall in ((np.ones(100, dtype=bool), True), (~planted, False)):
        tissue.X = shares(tissue, total)
        effects = neighbor_effects(fit_interactions(tissue, labels="cell_type", seed=seed))
        own = effects.query("receiver == 'A' and sender == 'B'").dropna(subset=["gene"])
        found = (own["padj"] < 0.05).to_numpy()
        effect = own["effect"].to_numpy()
        assert (found & planted & (effect > 0)).sum() >= 14
        others = found & ~planted
        if others_fall:
            assert (effect[others] < 0).all()
            assert (change[others] < 0).all()
        else:
            assert others.sum() / found.sum() <= 0.15
