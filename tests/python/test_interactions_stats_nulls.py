"""The null distributions of the interaction tests against enumeration and recomputation."""

from itertools import permutations, product

import numpy as np
import pytest
from scipy import stats

from isthmus.errors import InputError
from isthmus.interaction import nulls, permute
from isthmus.interaction.heads import match_heads


@pytest.fixture
def rng():
    return np.random.default_rng(0)


# ---- signs --------------------------------------------------------------------------------------------------------


def test_sign_flips_agree_with_all_flips(rng):
    sums = rng.normal(0.4, 1, (10, 5))
    tested = nulls.sign_flips(sums, 40_000, rng, variance_factor=np.full(5, 1.5), unit_factor=1.2)
    signs = np.array(list(product([-1, 1], repeat=10)))
    every = signs @ sums * np.sqrt(1.8)
    exact = (every >= sums.sum(0) - 1e-9).mean(axis=0)
    # Monte Carlo error of 40,000 draws (or of 50 draws that reached it: a seventh of p); four standard errors
    assert tested.pval == pytest.approx(exact, rel=0.6, abs=4 * np.sqrt(0.25 / 40_000))
    assert tested.statistic == pytest.approx(sums.sum(0) / every.std(axis=0))
    # the beta tail of ten units is near the discrete law
    assert tested.pval_approx == pytest.approx(exact, abs=0.02)


def test_sign_flips_of_nothing_are_undefined(rng):
    tested = nulls.sign_flips(np.column_stack([np.zeros(25), np.ones(25)]), 500, rng)
    assert np.isnan([tested.statistic[0], tested.pval[0], tested.pval_approx[0]]).all()
    assert tested.pval[1] == pytest.approx(1 / 501)  # every unit positive: no flip reaches it


def test_symmetric_sums_are_rejected_at_the_level(rng):
    sums = rng.standard_t(4, (25, 4_000))
    pval = nulls.sign_flips(sums, 999, rng).pval
    for level in (0.01, 0.05, 0.2):  # four binomial standard errors
        assert (pval < level).mean() == pytest.approx(level, abs=4 * np.sqrt(level * (1 - level) / 4_000))


def test_a_p_value_is_never_zero_and_stops_early(rng):
    pval = nulls.sign_flips(rng.normal(1, 1, (40, 3)), 1_000, rng).pval
    assert (pval >= 1 / 1_001).all()
    undecided = nulls.sign_flips(rng.normal(0, 1, (40, 200)), 100_000, rng).pval
    assert stats.kstest(undecided, "uniform").pvalue > 1e-4


def test_pearson_tails():
    z = np.array([-2.0, 0.0, 1.0, 2.5])
    assert nulls.pearson_ii_tail(z, np.full(4, -1e-9)) == pytest.approx(stats.norm.sf(z), abs=1e-4)
    # uniform on +-sqrt(3)
    assert nulls.pearson_ii_tail(z[:3], np.full(3, -1.2)) == pytest.approx([1.0, 0.5, (np.sqrt(3) - 1) / np.sqrt(12)])
    assert nulls.pearson_iii_tail(z, np.zeros(4)) == pytest.approx(stats.norm.sf(z))
    shifted = stats.gamma.sf(z + 2, 4, scale=0.5)  # skewness 2 / sqrt(4), mean 2, variance 1
    assert nulls.pearson_iii_tail(z, np.ones(4)) == pytest.approx(shifted)


def test_number_of_draws():
    assert nulls.draws_needed(9, None) == 199
    assert nulls.draws_needed(900, None) == 18_000
    assert nulls.draws_needed(9, None, 9_999) == 9_999
    assert nulls.draws_needed(900, 50, 9_999) == 50


@pytest.mark.parametrize("wrong", [0, -1, 2.5, True, "many"])
def test_number_of_draws_is_checked(wrong):
    with pytest.raises(InputError, match="`n_permutations` must be a whole number, 1 or more, or None; got"):
        nulls.draws_needed(3, wrong)


def test_centring_takes_one_degree_of_freedom_from_a_stratum():
    strata, units = np.array([0, 0, 0, 0, 1, 1, 2]), np.arange(7)
    assert nulls.centring_factor(strata, units) == pytest.approx([4 / 3] * 4 + [2, 2, 1])
    # whole strata as units: nothing between them was centred away
    assert nulls.centring_factor(strata, strata) == pytest.approx([1, 1, 1])


def test_centring_factor_restores_the_variance(rng):
    """Sums u_b v_b of block effects, centred in strata of 5: the corrected squares have the variance of the total."""
    u, v = rng.normal(size=(2, 20_000, 4, 5))
    centred = (u - u.mean(-1, keepdims=True)) * (v - v.mean(-1, keepdims=True))
    factor = nulls.centring_factor(np.repeat(np.arange(4), 5), np.arange(20))
    shown = (factor * centred.reshape(-1, 20) ** 2).sum(1).mean()
    assert shown == pytest.approx(centred.sum((1, 2)).var(), rel=0.03)  # 0.8 without


# ---- permutations -------------------------------------------------------------------------------------------------


def test_gram_low_rank_and_recomputed_errors_agree(rng):
    n, genes, rank = 60, 20, 4
    left, weights, y = rng.normal(size=(n, rank)), rng.normal(size=(genes, rank)), rng.normal(size=(n, genes))
    right, drawn = y @ weights, np.zeros((30, 1))
    permute._add_gram(drawn, [left], [right], np.random.default_rng(5))
    again = np.zeros((30, 1))
    permute._add_low_rank(again, [left], [right], np.random.default_rng(5))
    assert drawn == pytest.approx(again, rel=1e-9)
    orders = next(iter(permute._permutations(n, 30, np.random.default_rng(5))))[1]
    p = left @ weights.T
    errors = [((p[order] - y) ** 2).mean() for order in orders]
    assert ((p**2).sum() + (y**2).sum() - 2 * drawn[:, 0]) / (n * genes) == pytest.approx(errors)


def test_permutations_stay_within_strata(rng):
    strata = np.array([1, 0, 1, 0, 2])
    left = np.eye(5)
    reached = permute.permutation_statistics(left, strata[:, None] * np.ones((5, 5)), strata, 50, rng)
    # <e_pi(i), s_i> = s_i whatever pi, and pi only joins equals: with the indicator of a stratum nothing else comes out
    assert reached == pytest.approx(np.full(50, strata.sum()))
    indicator = (strata[:, None] == np.arange(3)).astype(float)
    assert permute.permutation_statistics(indicator, indicator, strata, 20, rng) == pytest.approx(np.full(20, 5.0))


def test_large_strata_take_the_low_rank_form(rng, monkeypatch):
    left, right, strata = rng.normal(size=(40, 3)), rng.normal(size=(40, 3)), np.repeat([0, 1], 20)
    small = permute.permutation_statistics(left, right, strata, 25, np.random.default_rng(1))
    monkeypatch.setattr(permute, "_LARGEST_GRAM", 10)
    assert permute.permutation_statistics(left, right, strata, 25, np.random.default_rng(1)) == pytest.approx(small)


def test_exact_moments_are_those_of_all_permutations(rng):
    left, right, strata = rng.normal(size=(7, 2)), rng.normal(size=(7, 2)) ** 2, np.array([0, 0, 0, 1, 1, 1, 1])
    for code in (0, 1):
        left[strata == code] -= left[strata == code].mean(0)
        right[strata == code] -= right[strata == code].mean(0)
    first, second = (
        [sum(left[rows[p]] @ right[rows[i]] for i, p in enumerate(order)) for order in permutations(range(len(rows)))]
        for rows in (np.arange(3), np.arange(3, 7))
    )
    every = np.add.outer(first, second).ravel()
    sd, skewness = permute.exact_moments(left, right, strata)
    assert sd == pytest.approx(every.std())
    assert skewness == pytest.approx(stats.skew(every))


def test_compression_keeps_products(rng):
    left = rng.normal(size=(50, 3)) @ rng.normal(size=(3, 12))
    right = rng.normal(size=(50, 12))
    e, f = permute.compress(left, right)
    assert e.shape == (50, 3)
    assert e @ f.T == pytest.approx(left @ right.T)


def test_judged_permutations(rng):
    drawn = rng.normal(size=(999, 3))
    judged = permute.judge_permutations(
        np.array([0.0, 5.0, 1.0]), drawn, np.zeros(3), np.array([1.0, 1.0, 0.0]), variance_factor=np.full(3, 2.0)
    )
    assert judged.pval[0] == pytest.approx(0.5, abs=0.06)
    assert judged.pval[1] == pytest.approx(1 / 1_000, abs=1e-3)
    assert judged.pval_approx[:2] == pytest.approx(stats.norm.sf([0, 5 / np.sqrt(2)]))
    assert np.isnan([judged.pval[2], judged.statistic[2]]).all()


def test_shifts_move_predictions_within_samples(rng):
    places = np.concatenate([rng.uniform(0, 10, (30, 2)), rng.uniform(100, 130, (20, 2))])
    samples = np.repeat([0, 1], [30, 20])
    for matched in permute.shifted_rows(places, samples, rng, 5):
        assert (samples[matched] == samples).all()
        assert (matched != np.arange(50)).mean() > 0.5
    # cells in a row: a shift is a rotation, up to the nearest cell
    row = np.column_stack([np.arange(20.0), np.zeros(20)])
    matched = next(iter(permute.shifted_rows(row, np.zeros(20, int), np.random.default_rng(3), 1)))
    step = np.diff(matched) % 20
    assert (np.isin(step, [0, 1, 2])).all()
    assert len(np.unique(matched)) >= 18


# ---- heads --------------------------------------------------------------------------------------------------------


def test_heads_are_matched_across_folds(rng):
    """Four heads that do different things, in another order in each fold, with noise."""
    truth, orders = rng.normal(size=(4, 300)), [rng.permutation(4) for _ in range(5)]
    folds = np.array([truth[order] + 0.5 * rng.normal(size=(4, 300)) for order in orders])
    flat = folds / np.linalg.norm(folds, axis=2, keepdims=True)
    found, stability = match_heads(np.einsum("fhx,gix->fhgi", flat, flat), np.ones((5, 4)))
    for label in range(4):
        assert len({int(orders[f][found[f, label]]) for f in range(5)}) == 1
    assert stability == pytest.approx(np.full((5, 4), 0.8), abs=0.12)  # 1 / (1 + 0.25)


def test_one_fold_has_no_stability():
    orders, stability = match_heads(np.eye(3)[None, :, None], np.array([[1.0, 3.0, 2.0]]))
    assert orders.tolist() == [[1, 2, 0]]
    assert np.isnan(stability).all()
