"""The mixture: its optimum, the direction that the likelihood leaves free, and the rule that fixes it."""

from pathlib import Path

import ambient_cases as cases
import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

import isthmus
from isthmus.ambient.anchored import AnchorRule
from isthmus.ambient.clusters import find_clusters
from isthmus.ambient.em import TOL, Mixture, em_step, log_likelihood, maximise, normalised
from isthmus.ambient.level import anchor_level
from isthmus.ambient.share import Shares, estimate_shares, overdispersion, shrunken

REFERENCE = Path(__file__).parents[1] / "reference" / "ambient"


def mixture(counts, cluster, ambient, batch=None):
    x = sparse.csr_matrix(counts, dtype=np.float32)
    batch = np.zeros(x.shape[0], dtype=int) if batch is None else batch
    umi = np.asarray(x.sum(axis=1), dtype=float).ravel()
    return Mixture(x, np.asarray(cluster), batch, np.atleast_2d(ambient), umi, int(np.max(cluster)) + 1)


def small(seed, n_cells=20, n_genes=9):
    rng = np.random.default_rng(seed)
    native, ambient = rng.dirichlet(np.ones(n_genes), 2), rng.dirichlet(np.ones(n_genes) * 3)
    cluster, rho = np.arange(n_cells) % 2, rng.uniform(0.05, 0.4, n_cells)
    mean = (1 - rho)[:, None] * native[cluster] + rho[:, None] * ambient
    return mixture(np.stack([rng.multinomial(400, m) for m in mean]), cluster, ambient), native, rho


def test_em_reaches_the_optimum_of_a_general_optimiser():
    table = pd.read_csv(REFERENCE / "counts.csv")
    ambient = pd.read_csv(REFERENCE / "profile.csv")["ambient"].to_numpy()
    best = float(pd.read_csv(REFERENCE / "optimum.csv")["log_likelihood"].iloc[0])
    data = mixture(table.drop(columns="label"), table["label"].to_numpy(), ambient)
    sums = np.stack([np.asarray(data.matrix[data.cluster == k].sum(axis=0)).ravel() for k in range(2)])
    native, rho, history, converged = maximise(
        data, normalised(sums), np.full(len(table), 0.2), max_iter=20_000, tol=1e-10
    )
    assert converged
    # EM climbs the end of a flat ridge slowly: within 0.05 of 20,000, far below what a cell can tell
    assert best - 0.05 <= log_likelihood(data, native, rho) <= best + 1e-3
    assert history[-1] == pytest.approx(best, abs=0.1)


@given(seed=st.integers(0, 10_000), share=st.floats(0.01, 0.9))
@settings(max_examples=30, deadline=None)
def test_the_likelihood_does_not_know_the_level(seed, share):
    """p -> (p - c a) / (1 - c), rho -> rho + c (1 - rho): the same mixtures, to rounding."""
    data, native, rho = small(seed)
    c = share * (native / data.ambient[0]).min(axis=1)
    c = np.minimum(c, 0.95)
    moved = (native - c[:, None] * data.ambient[0]) / (1 - c[:, None])
    assert (moved >= -1e-15).all()
    other = rho + c[data.cluster] * (1 - rho)
    assert log_likelihood(data, moved, other) == pytest.approx(log_likelihood(data, native, rho), rel=1e-12)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_each_step_climbs(seed):
    data, native, rho = small(seed)
    values, rho = [log_likelihood(data, native, np.full_like(rho, 0.1))], np.full_like(rho, 0.1)
    for _ in range(5):
        native, rho, _value = em_step(data, native, rho)
        values.append(log_likelihood(data, native, rho))
    assert (np.diff(values) >= -1e-4).all()  # single precision in the step


def test_a_step_is_the_plain_formula():
    data, native, rho = small(1)
    x = data.matrix.toarray()
    better, shares, _ = em_step(data, native, rho)
    own = (1 - shares)[:, None] * native[data.cluster]
    expected = x * own / (own + shares[:, None] * data.ambient[0])
    by_hand = normalised(np.stack([expected[data.cluster == k].sum(axis=0) for k in range(2)]))
    assert better == pytest.approx(by_hand, rel=1e-5, abs=1e-7)


def test_exclusive_genes_give_the_share_exactly():
    """Where p and a have no gene in common, rho is the ambient share of the counts."""
    counts = np.array([[30, 10, 8, 2], [10, 0, 30, 10], [50, 50, 0, 0]])
    native, ambient = np.array([[0.6, 0.4, 0, 0]]), np.array([0, 0, 0.7, 0.3])
    data = mixture(counts, [0, 0, 0], ambient)
    shares = estimate_shares(data, native, np.full(3, 0.3))
    assert shares.rho[:2] == pytest.approx([0.2, 0.8], abs=0.03)
    assert shares.rho[2] < 1e-3


def test_standard_errors_are_those_of_repeated_samples():
    rng = np.random.default_rng(0)
    native, ambient = rng.dirichlet(np.ones(200), 1), rng.dirichlet(np.ones(200))
    rho, n = 0.15, 1_500
    mean = (1 - rho) * native[0] * rng.gamma(4, 0.25, (800, 200)) + rho * ambient
    counts = rng.poisson(n * mean)
    data = mixture(counts, np.zeros(800, dtype=int), ambient)
    shares = estimate_shares(data, native, np.full(800, 0.1))
    assert shares.rho.mean() == pytest.approx(rho, abs=0.01)
    assert shares.se.mean() == pytest.approx(shares.rho.std(), rel=0.15)
    assert overdispersion(data, native, shares.rho)[0] == pytest.approx(0.25, rel=0.25)  # 1 / shape


@pytest.mark.parametrize("level", [0.02, 0.1, 0.4])
@pytest.mark.parametrize("absent", [0.1, 0.5])
def test_the_anchor_rule_finds_the_level(level, absent):
    """Whatever the share of absent genes: a fixed quantile would move with it."""
    rng = np.random.default_rng(7)
    values = []
    for _ in range(20):
        native, ambient = rng.lognormal(0, 1.2, 1_000), rng.lognormal(0, 1.2, 1_000)
        native[rng.random(1_000) < absent] = 0
        native, ambient = native / native.sum(), ambient / ambient.sum()
        counts = rng.poisson(2_000_000 * ((1 - level) * native + level * ambient)).astype(float)
        values.append(anchor_level(counts, counts.sum(), ambient, 1e7, rng))
    found, se = np.array([v.value for v in values]), np.array([v.se for v in values])
    assert found.mean() == pytest.approx(level, rel=0.05)
    assert (np.abs(found - level) < 3 * se + 0.002).mean() >= 0.9


def test_few_anchor_genes_leave_the_level_unidentified():
    found = anchor_level(np.full(15, 100.0), 1_500.0, np.full(15, 1 / 15), np.inf, np.random.default_rng(0))
    assert found.n_anchors < 20
    assert np.isnan(found.se)


def test_clusters_are_the_types_and_not_the_contamination():
    cells, _ = cases.problem()
    umi = np.asarray(cells.X.sum(axis=1)).ravel()
    valleys = find_clusters(cells.X.tocsr(), umi, "auto", 0)
    found = find_clusters(cells.X.tocsr(), umi, "auto", 0, anchor_rule(cells.X, cells.varm["ambient"][:, 0]))
    # types may be cut (two halves of a type find the same profile), but no cluster mixes them
    for labels, n in ((valleys, 2), (found, 12)):
        table = pd.crosstab(labels, cells.obs["type"])
        assert table.shape == (n, 2)
        assert table.max(axis=1).sum() >= 0.99 * cells.n_obs
    assert len(np.unique(find_clusters(cells.X.tocsr(), umi, 5, 0))) == 5
    assert set(find_clusters(cells.X.tocsr(), umi, 1, 0)) == {0}


def test_one_kind_of_cell_may_be_cut_and_loses_little_by_it():
    """No valley in it: the further cuts come all the same, and cost a few per cent."""
    rng = np.random.default_rng(0)
    profile, ambient = rng.dirichlet(np.ones(300)), rng.dirichlet(np.ones(300))
    native = rng.poisson(rng.lognormal(7, 0.5, 500)[:, None] * profile)
    x = sparse.csr_matrix(native + rng.poisson(400 * ambient, (500, 300)).astype(float))
    fit = isthmus.remove_ambient(x, profile=ambient)
    assert 1 < len(fit.cluster_names) <= 12
    assert np.bincount(fit.cluster).min() >= 10
    cut, whole = fit.denoised_mean, isthmus.remove_ambient(x, profile=ambient, n_clusters=1).denoised_mean
    assert cases.rmse(cut, native) <= 1.1 * cases.rmse(whole, native)
    assert cases.rmse(cut, native) < 0.5 * cases.rmse(x, native)


def test_many_similar_types_are_corrected_for_the_better():
    """Clusters parted by valleys alone mix the types, and a correction with those is worse than none."""
    rng, n_types, n_genes = np.random.default_rng(0), 12, 600
    types = rng.lognormal(0, 1.2, n_genes) * np.exp(rng.normal(0, 1, (n_types, n_genes)))
    types /= types.sum(axis=1, keepdims=True)
    native = rng.poisson(rng.lognormal(np.log(2_000), 0.4, (240, 1)) * types[np.arange(240) % n_types])
    ambient = types.mean(axis=0) * np.exp(rng.normal(0, 0.3, n_genes))
    ambient /= ambient.sum()
    x = (native + rng.poisson(rng.lognormal(np.log(250), 0.5, (240, 1)) * ambient)).astype(float)
    coarse = find_clusters(sparse.csr_matrix(x), x.sum(axis=1), "auto", 0)
    assert len(np.unique(coarse)) < 0.5 * n_types
    found, mixed = (
        isthmus.remove_ambient(x, profile=ambient, labels=labels).denoised_mean for labels in (None, coarse.astype(str))
    )
    uncorrected = cases.rmse(x, native)
    assert cases.rmse(mixed, native) > uncorrected
    assert cases.rmse(found, native) < 0.9 * uncorrected


@pytest.mark.parametrize(("others", "how", "bar"), [(2, {}, 0.55), (0, {"rho": 0.12}, 0.8)])
def test_cells_between_two_types(others, how, bar):
    """Well corrected where other cells lack genes of the ambient profile, or where the mean share is known."""
    rng, n_genes = np.random.default_rng(1), 600
    types = rng.lognormal(0, 1.2, n_genes) * np.exp(rng.normal(0, 0.8, (2 + others, n_genes)))
    types[rng.random(types.shape) < 0.3] = 0
    types /= types.sum(axis=1, keepdims=True)
    along, between = rng.uniform(size=400), np.arange(400) < (200 if others else 400)
    weights = np.eye(2 + others)[2 + np.arange(400) % others] if others else np.zeros((400, 2))
    weights[between] = np.stack([along, 1 - along, *np.zeros((others, 400))], axis=1)[between]
    mean = weights @ types
    native = rng.poisson(rng.lognormal(np.log(3_000), 0.4, (400, 1)) * mean)
    ambient, rho = mean.mean(axis=0), rng.beta(3, 22, (400, 1))
    x = (native + rng.poisson(native.sum(axis=1, keepdims=True) * rho / (1 - rho) * ambient)).astype(float)
    fit = isthmus.remove_ambient(x, profile=ambient, **how)
    for part in (between, ~between) if others else (between,):
        assert cases.rmse(fit.denoised_mean[part], native[part]) < bar * cases.rmse(x[part], native[part])


def anchor_rule(x, ambient, batch=None):
    batch = np.zeros(x.shape[0], dtype=int) if batch is None else batch
    ambient = np.atleast_2d(ambient)
    return AnchorRule(sparse.csr_matrix(x), batch, ambient, np.full(len(ambient), np.inf))


@pytest.mark.parametrize("seed", range(3))
def test_no_cut_costs_a_level(seed):
    """Few ambient counts: the cells as a whole have the 20 anchor genes, clusters of 15 of them would not."""
    cells, droplets = cases.problem(n_cells=150, n_genes=400, seed=seed)
    thin = np.random.default_rng(seed).binomial(cells.X.toarray().astype(int), 0.2).astype(float)
    few = ad.AnnData(thin, obs=cells.obs, var=cells.var)
    fit = isthmus.remove_ambient(few, droplets=droplets)
    assert set(fit.flag) == {"ok"}
    assert fit.n_anchors.min() >= 20
    with pytest.warns(isthmus.IdentifiabilityWarning, match="fewer than 20 genes"):
        finer = isthmus.remove_ambient(few, droplets=droplets, n_clusters=8)
    assert (finer.flag == "level_unidentified").any()
    assert len(fit.cluster_names) < 8


def test_the_rule_for_cuts_sees_the_levels_of_the_fit():
    """Counts without a level and counts called ambient, cluster by cluster and batch by batch."""
    cells, droplets = cases.problem(n_batches=2)
    labels = np.where(np.arange(cells.n_obs) < 2, "few", cells.obs["type"])
    with pytest.warns(isthmus.IdentifiabilityWarning, match=r"1 cluster \('few'\)"):
        fit = isthmus.remove_ambient(cells, droplets=droplets, labels=labels, batch="batch")
    rule = AnchorRule(cells.X, fit.batch, fit.ambient, fit.ambient_count.sum(axis=1))
    for k, name in enumerate(fit.cluster_names):
        members = fit.cluster == k
        found = rule(np.flatnonzero(members))
        assert found.total == fit.observed_umi[members].sum()
        assert found.unidentified == (found.total if name == "few" else 0)
        totals = [fit.observed_umi[members & (fit.batch == b)].sum() for b in range(2)]
        assert found.ambient == pytest.approx(0 if name == "few" else fit.level[k] @ totals, rel=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_the_stated_tolerance_is_reached(seed):
    """What a run with a thousandth of the tolerance still gains is of the order of the tolerance."""
    cells, _ = cases.problem(seed=seed)
    label = np.unique(cells.obs["type"], return_inverse=True)[1]
    sums = np.stack([np.asarray(cells.X[label == k].sum(axis=0)).ravel() for k in range(2)])
    data = mixture(cells.X, label, cells.varm["ambient"][:, 0])
    reached, best = (
        maximise(data, normalised(sums), np.full(cells.n_obs, 0.1), tol=tol, max_iter=2_000) for tol in (TOL, TOL / 1e3)
    )
    gap = log_likelihood(data, *best[:2]) - log_likelihood(data, *reached[:2])
    assert gap < 10 * TOL * data.umi.sum()
    assert len(reached[2]) < len(best[2])


@pytest.mark.parametrize("seed", range(3))
def test_the_long_step_pays(seed):
    data, native, rho = small(seed, n_cells=60, n_genes=30)
    start = np.full_like(native, 1 / native.shape[1])
    plain, shares = start, rho
    for _ in range(22):
        plain, shares, _value = em_step(data, plain, shares)
    accelerated = log_likelihood(data, *maximise(data, start, rho, max_iter=21, tol=0)[:2])
    best = log_likelihood(data, *maximise(data, start, rho, max_iter=5_000, tol=1e-12)[:2])
    assert best - accelerated < 0.7 * (best - log_likelihood(data, plain, shares))


def test_shares_that_spread_too_far_are_the_clusters_fault():
    """Droplets of one sample have similar shares; cells unlike their cluster get the level, and a wide interval."""
    level, group = np.full(100, 0.05), np.zeros(100, dtype=int)
    alike = Shares(np.linspace(0.01, 0.09, 100), np.full(100, 0.01), np.zeros(1))
    kept = shrunken(alike, level, group)
    assert np.abs(kept.rho - alike.rho).max() < 0.01
    apart = Shares(np.where(np.arange(100) < 10, 0.6, 0.0), np.full(100, 0.01), np.zeros(1))
    pulled = shrunken(apart, level, group)
    assert pulled.rho.max() < 0.15
    assert pulled.rho.min() > 0.03
    assert pulled.se.min() > 0.05
