"""simulate_ambient: the truth it hands out is the truth of its counts."""

import numpy as np
import pytest

from isthmus import InputError
from isthmus.testing import simulate_ambient


def test_ambient_counts_are_what_is_above_native():
    cells, droplets = simulate_ambient(60, 50, 200, n_types=3, n_batches=2, seed=1)
    ambient = (cells.X - cells.layers["native"]).toarray()
    assert ambient.min() >= 0
    np.testing.assert_allclose(ambient.sum(axis=1) / cells.X.toarray().sum(axis=1), cells.obs["rho"])
    np.testing.assert_allclose(cells.varm["ambient"].sum(axis=0), 1)
    assert list(droplets.obs_names[:60]) == list(cells.obs_names)
    assert (droplets.X[:60] != cells.X).nnz == 0
    assert set(droplets.obs["batch"]) == {"batch1", "batch2"}


def test_markers_are_silent_in_the_other_types():
    cells, _ = simulate_ambient(60, 50, 10, n_types=3, seed=2)
    native = cells.layers["native"].toarray()
    markers = cells.var["marker"].to_numpy()
    assert {"type1", "type2", "type3"} <= set(markers)
    for kind in ("type1", "type2", "type3"):
        assert native[np.ix_(cells.obs["type"] != kind, markers == kind)].sum() == 0


def test_empties_follow_the_profile():
    cells, droplets = simulate_ambient(10, 50, 5_000, seed=3)
    counts = np.asarray(droplets.X[10:].sum(axis=0)).ravel()
    profile = cells.varm["ambient"][:, 0]
    z = (counts - counts.sum() * profile) / np.sqrt(counts.sum() * profile)
    assert np.abs(z).max() < 4.5


def test_same_seed_same_droplets():
    one, two = (simulate_ambient(20, 20, 50, seed=4) for _ in range(2))
    assert (one[0].X != two[0].X).nnz == 0
    assert (one[1].X != two[1].X).nnz == 0


@pytest.mark.parametrize(
    ("sizes", "match"),
    [({"n_genes": 19}, r"`n_genes` must be at least 10 times `n_types` \(20\); got 19"), ({"n_cells": 0}, "`n_cells`")],
)
def test_sizes_are_checked(sizes, match):
    with pytest.raises(InputError, match=match):
        simulate_ambient(**sizes)
