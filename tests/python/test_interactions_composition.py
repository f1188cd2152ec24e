"""Size factors that the genes an interaction moves do not enter."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from isthmus.errors import InputError
from isthmus.interaction import stable_size_factors
from isthmus.messages import collected


def tissue(seed, *, n=1200, n_genes=80, n_moved=8, overdispersion=0.0, rise=4.5):
    """Two types; a third of the cells of type a has the first genes raised. Depths are known."""
    rng = np.random.default_rng(seed)
    kinds = np.repeat(["a", "b"], n // 2)
    rates = rng.gamma(2.0, 1.0, (2, n_genes))[(kinds == "b").astype(int)]
    depth = rng.lognormal(0, 0.25, n)
    near = (kinds == "a") & (rng.uniform(size=n) < 1 / 3)
    rates[np.ix_(near, np.arange(n_moved))] *= rise
    means = rates * depth[:, None]
    if overdispersion:
        means = means * rng.gamma(1 / overdispersion, overdispersion, means.shape)
    return rng.poisson(means), kinds, depth, near


def relative(sizes, depth, near):
    """Mean log of size over depth, of the cells with raised genes less the others of their type."""
    ratio = np.log(np.asarray(sizes) / depth)
    own = np.arange(len(depth)) < len(depth) // 2
    return ratio[near].mean() - ratio[own & ~near].mean()


@pytest.mark.parametrize("overdispersion", [0.0, 0.3])
@pytest.mark.parametrize("seed", range(3))
def test_raised_genes_do_not_enter_the_sizes(seed, overdispersion):
    counts, kinds, depth, near = tissue(seed, overdispersion=overdispersion)
    total = counts.sum(axis=1)
    assert relative(total, depth, near) > 0.15  # what the cells' totals are wrong by
    sizes = stable_size_factors(counts, labels=kinds)
    assert abs(relative(sizes, depth, near)) < 0.03
    assert sizes.mean() == pytest.approx(1)


@pytest.mark.parametrize("seed", range(3))
def test_a_quarter_of_the_genes_may_be_raised(seed):
    """The totals then go with the raised genes, and both kinds vary alike about them."""
    counts, kinds, depth, near = tissue(seed, n_genes=60, n_moved=15)
    assert relative(counts.sum(axis=1), depth, near) > 0.4
    assert abs(relative(stable_size_factors(counts, labels=kinds), depth, near)) < 0.03


def test_without_interaction_sizes_are_nearly_the_totals():
    counts, kinds, depth, _ = tissue(5, rise=1.0)
    total = counts.sum(axis=1)
    sizes = stable_size_factors(counts, labels=kinds)
    assert np.corrcoef(sizes, total)[0, 1] > 0.99
    assert np.std(np.log(sizes / depth)) < 1.1 * np.std(np.log(total / depth))


def left_out(counts, labels):
    frame = pd.DataFrame(counts, columns=[f"g{i}" for i in range(counts.shape[1])])
    with collected() as messages:
        stable_size_factors(frame, labels=labels)
    return messages[-1] if messages else ""


def test_genes_left_out_are_named():
    counts, kinds, _, _ = tissue(1)
    said = left_out(counts, kinds)
    assert "8 genes of 80 left out of the size factors, for varying within cell types: 'g0', 'g1', 'g2'" in said


def test_markers_of_a_type_stay():
    """They differ between types, but not within one."""
    rng = np.random.default_rng(0)
    rates = np.full((1000, 50), 2.0)
    rates[:500, :5] = 10.0
    counts = rng.poisson(rates)
    assert left_out(counts, ["a"] * 500 + ["b"] * 500) == ""
    assert "5 genes of 50" in left_out(counts, ["one"] * 1000)


def test_sparse_layers_and_order_do_not_matter():
    counts, kinds, _, _ = tissue(2, n=300)
    sizes = stable_size_factors(counts, labels=kinds)
    assert sizes.equals(stable_size_factors(sparse.csr_matrix(counts), labels=kinds))
    turn = np.random.default_rng(0).permutation(len(kinds))
    turned = stable_size_factors(counts[turn], labels=kinds[turn])
    np.testing.assert_allclose(turned, sizes.to_numpy()[turn], rtol=1e-12)
    rare = np.where(np.arange(len(kinds)) < 3, "rare", kinds)  # too few counts of most genes to tell a variance
    assert np.isfinite(stable_size_factors(counts, labels=rare)).all()


def test_cells_that_are_all_alike_are_of_one_size():
    assert (stable_size_factors(np.full((50, 20), 3), labels=["a"] * 50) == 1).all()


def test_what_cannot_be_done_is_refused():
    counts, kinds, _, _ = tissue(3, n=100)
    with pytest.raises(InputError, match="`labels` must be a column of the cells' data or have one value per cell"):
        stable_size_factors(counts, labels=kinds[:-1])
    with pytest.raises(InputError, match="`data` must have 10 genes or more that do not vary within cell types; got 5"):
        stable_size_factors(counts[:, 20:25], labels=kinds)
    empty = counts.copy()
    empty[4] = 0
    with pytest.raises(InputError, match=r"must have counts of the genes that stay; got .*cell5.* without"):
        stable_size_factors(empty, labels=kinds)
    with pytest.raises(InputError, match="negative"):
        stable_size_factors(-counts, labels=kinds)
