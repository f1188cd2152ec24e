"""Neighbours, blocks, folds and guard bands, against plain loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.errors import InputError
from isthmus.interaction.folds import beyond_reach, make_folds
from isthmus.interaction.neighbors import find_neighbors, typical_gap, typical_reach


@pytest.fixture(scope="module")
def cells():
    rng = np.random.default_rng(0)
    n = 200
    return rng.uniform(0, 50, (n, 2)), rng.integers(0, 3, n).astype(np.int32), rng.integers(0, 2, n).astype(np.int32)


def by_loop(places, types, samples, k, *, radius=np.inf, same_type=False):
    """The rule, written out: all others of the sample (of another type) within the radius, nearest first."""
    index, distance = np.full((len(places), k), -1), np.full((len(places), k), np.inf)
    for i, place in enumerate(places):
        allowed = (samples == samples[i]) & (np.arange(len(places)) != i)
        allowed &= same_type | (types != types[i])
        apart = np.where(allowed, np.linalg.norm(places - place, axis=1), np.inf)
        order = [j for j in np.argsort(apart, kind="stable")[:k] if apart[j] <= radius and allowed[j]]
        index[i, : len(order)], distance[i, : len(order)] = order, apart[order]
    return index, distance


@pytest.mark.parametrize("same_type", [False, True])
@pytest.mark.parametrize("radius", [None, 7.0])
def test_neighbors_are_those_of_a_plain_loop(cells, same_type, radius):
    found = find_neighbors(*cells, n_neighbors=8, radius=radius, same_type=same_type)
    index, distance = by_loop(*cells, 8, radius=radius or np.inf, same_type=same_type)
    np.testing.assert_array_equal(found.index, index)
    np.testing.assert_allclose(found.distance, distance, rtol=1e-6)


def test_a_neighbor_at_exactly_the_radius_counts():
    places = np.array([[0.0, 0.0], [3.0, 4.0], [3.0, 4.001]])
    found = find_neighbors(places, np.array([0, 1, 1]), np.zeros(3, int), n_neighbors=2, radius=5.0)
    assert found.index[0].tolist() == [1, -1]


def test_fewer_cells_than_neighbors_leave_empty_places():
    places = np.array([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
    found = find_neighbors(places, np.array([0, 1, 1]), np.zeros(3, int), n_neighbors=5)
    assert found.index.tolist() == [[1, 2, -1, -1, -1], [0, -1, -1, -1, -1], [0, -1, -1, -1, -1]]
    assert np.isinf(found.distance[~found.present]).all()


def test_cells_in_one_place_are_neighbors_of_each_other_not_of_themselves():
    found = find_neighbors(np.zeros((6, 2)), np.zeros(6, int), np.zeros(6, int), n_neighbors=3, same_type=True)
    assert not (found.index == np.arange(6)[:, None]).any()
    assert (found.index >= 0).all()
    assert (found.distance == 0).all()


def test_samples_with_the_same_coordinates_share_no_neighbor(cells):
    places, types, _ = cells
    twice = find_neighbors(
        np.vstack([places, places]), np.r_[types, types], np.repeat([0, 1], len(places)), n_neighbors=8
    )
    once = find_neighbors(places, types, np.zeros(len(places), int), n_neighbors=8)
    np.testing.assert_array_equal(twice.index[: len(places)], once.index)
    np.testing.assert_array_equal(twice.index[len(places) :], once.index + len(places))


def test_radii_shorten_distances_and_leave_the_neighbors(cells):
    radii = np.linspace(0, 2, len(cells[0]))
    plain, rounded = (find_neighbors(*cells, n_neighbors=5, radii=r) for r in (None, radii))
    np.testing.assert_array_equal(plain.index, rounded.index)
    expected = np.maximum(plain.distance - radii[:, None] - radii[plain.index], 0)
    np.testing.assert_allclose(rounded.distance[plain.present], expected[plain.present], atol=1e-5)


def test_typical_distances_are_medians():
    places = np.array([[0.0, 0.0], [1.0, 0.0], [5.0, 0.0]])
    found = find_neighbors(places, np.array([0, 1, 1]), np.zeros(3, int), n_neighbors=2)
    assert typical_reach(found) == pytest.approx(5.0)  # farthest: 5, 1, 5
    assert typical_gap(found) == pytest.approx(1.0)  # nearest: 1, 1, 5


# ---- folds ----------------------------------------------------------------------------------------------------------


def test_folds_are_whole_blocks_of_about_equal_size(cells):
    places, types, samples = cells
    found = find_neighbors(places, types, samples, n_neighbors=5)
    folds = make_folds(places, samples, found, n_folds=4, block_size=10.0)
    for block in range(folds.n_blocks):
        inside = folds.block == block
        assert len(np.unique(folds.fold[inside])) == len(np.unique(samples[inside])) == 1
        assert (np.ptp(places[inside], axis=0) <= 50 / 5 * 1.001).all()
    sizes = np.bincount(folds.fold, minlength=4)
    assert sizes.sum() == len(places)
    assert sizes.min() > 0.6 * len(places) / 4


def test_training_cells_have_no_held_out_neighbor_and_no_other_cell_is_dropped(cells):
    places, types, samples = cells
    found = find_neighbors(places, types, samples, n_neighbors=5)
    folds = make_folds(places, samples, found, n_folds=4, block_size=10.0)
    for fold in range(4):
        training = folds.training(fold, found)
        for i in range(len(places)):
            touches = any(folds.fold[j] == fold for j in found.index[i] if j >= 0)
            assert training[i] == (folds.fold[i] != fold and not touches)


def test_the_band_is_two_reaches_wide_within_samples_only():
    places = np.column_stack([np.tile(np.arange(100.0), 2), np.zeros(200)])
    samples = np.repeat([0, 1], 100)
    held_out = (samples == 0) & (places[:, 0] < 10)  # up to x = 9
    wanted = ~held_out & (places[:, 0] != 50)
    kept = beyond_reach(places, samples, held_out, wanted, 4.0)
    np.testing.assert_array_equal(kept, wanted & ((samples == 1) | (places[:, 0] > 17)))


def test_the_band_is_narrowed_where_it_would_take_more_than_half_of_the_cells():
    places = np.column_stack([np.arange(100.0), np.zeros(100)])
    held_out = places[:, 0] < 20  # up to x = 19; 80 wanted, at least 40 must stay: x > 59
    kept = beyond_reach(places, np.zeros(100, int), held_out, ~held_out, 22.0)
    np.testing.assert_array_equal(kept, places[:, 0] > 19 + 1.75 * 22)
    assert beyond_reach(places, np.zeros(100, int), held_out, ~held_out, 20.0).sum() == 40
    assert beyond_reach(places, np.zeros(100, int), held_out, ~held_out, 1e6).sum() == 80


def test_auto_blocks_are_twenty_or_more_and_longer_than_a_neighborhood():
    rng = np.random.default_rng(1)
    places = rng.uniform(0, 600, (3000, 2))
    found = find_neighbors(places, rng.integers(0, 3, 3000), np.zeros(3000, int), n_neighbors=30)
    folds = make_folds(places, np.zeros(3000, int), found, n_folds=5)
    assert folds.n_blocks >= 20
    assert folds.block_size >= typical_reach(found)


def test_small_samples_are_single_blocks_spread_over_the_folds():
    rng = np.random.default_rng(2)
    samples = np.repeat(np.arange(30), 40)
    places = rng.uniform(0, 20, (1200, 2))
    found = find_neighbors(places, rng.integers(0, 2, 1200), samples, n_neighbors=10)
    folds = make_folds(places, samples, found, n_folds=5, block_size=30.0)
    assert folds.n_blocks == 30
    assert np.bincount(folds.fold).tolist() == [240] * 5
    assert all(folds.training(f, found).sum() == 960 for f in range(5))  # whole samples out: nobody is near them


def test_more_folds_than_blocks_is_an_error(cells):
    found = find_neighbors(*cells, n_neighbors=5)
    with pytest.raises(InputError, match=r"`folds` must not exceed.*got 5 folds and 2 blocks of side 1000"):
        make_folds(cells[0], cells[2], found, n_folds=5, block_size=1000.0)


def test_one_fold_trains_on_everything(cells):
    found = find_neighbors(*cells, n_neighbors=5)
    folds = make_folds(cells[0], cells[2], found, n_folds=1)
    assert folds.training(0, found).all()


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(2, 60),
    k=st.integers(1, 8),
    n_types=st.integers(1, 3),
    n_samples=st.integers(1, 3),
    same_type=st.booleans(),
    dimensions=st.sampled_from([2, 3]),
    seed=st.integers(0, 2**31),
)
def test_properties_of_neighbors_and_folds(n, k, n_types, n_samples, same_type, dimensions, seed):
    """Places on a coarse grid, so that many coincide."""
    rng = np.random.default_rng(seed)
    places = rng.integers(0, 6, (n, dimensions)).astype(float)
    types, samples = rng.integers(0, n_types, n), rng.integers(0, n_samples, n)
    found = find_neighbors(places, types, samples, n_neighbors=k, same_type=same_type)
    index, distance = by_loop(places, types, samples, k, same_type=same_type)
    np.testing.assert_allclose(found.distance, distance, rtol=1e-6)  # with ties the cells may differ, distances not
    assert ((found.index >= 0) == (index >= 0)).all()
    for i, row in enumerate(found.index):
        there = row[row >= 0]
        assert len(set(there)) == len(there)
        assert i not in there
        assert (samples[there] == samples[i]).all()
        assert same_type or (types[there] != types[i]).all()
    folds = make_folds(places, samples, found, n_folds=2, fill_all=False)
    assert sorted(np.unique(folds.block)) == list(range(folds.n_blocks))
    for fold in range(2):
        training = folds.training(fold, found)
        assert not training[folds.fold == fold].any()
        reached = found.index[training]
        assert not (folds.fold[reached[reached >= 0]] == fold).any()
