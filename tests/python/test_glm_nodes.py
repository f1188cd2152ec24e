"""Nodes in place of cells: the optimum of the direct sums where their error bound holds, and no nodes elsewhere."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from glm_cases import awkward_counts, nb_counts, nb_log_likelihood
from hypothesis import given, settings
from hypothesis import strategies as st

import isthmus
from isthmus import _core
from isthmus._reference import nodes
from isthmus.glm import kernel

COMPILED = tuple(_core.kernels)  # those that this processor runs


def problem(n_cells: int = 2_000, sd: float = 0.45, seed: int = 0):
    """Two factors, genes from rare to abundant, from Poisson to very dispersed."""
    rng = np.random.default_rng(seed)
    cells = pd.DataFrame({"group": rng.choice(["a", "b"], n_cells), "batch": rng.choice(["x", "y", "z"], n_cells)})
    factors = np.exp(rng.normal(0, sd, n_cells))
    means, alphas = np.exp(np.linspace(np.log(0.005), np.log(500), 40)), np.tile([1e-4, 0.1, 0.6, 3.0], 10)
    effect = rng.normal(0, 0.5, 40)
    mu = factors[:, None] * means * np.exp(effect * (cells["group"] == "b").to_numpy()[:, None])
    return sp.csr_matrix(nb_counts(rng, mu, alphas)), cells, factors


def both(monkeypatch, counts, design, **options):
    monkeypatch.setenv("ISTHMUS_NODES", "1")
    by_nodes = isthmus.fit_glm(counts, design, **options)
    monkeypatch.setenv("ISTHMUS_NODES", "0")
    return by_nodes, isthmus.fit_glm(counts, design, **options)


def assert_same_optimum(by_nodes, direct, tolerance: float = 1e-7) -> None:
    np.testing.assert_array_equal(by_nodes.status, direct.status)
    np.testing.assert_allclose(by_nodes.log_likelihood, direct.log_likelihood, rtol=1e-10, atol=1e-6)
    ok = np.isin(direct.status, ["ok", "poisson_limit"])
    for model in ("mean_model", "dispersion_model"):
        a, b = getattr(by_nodes, model).coef[:, ok], getattr(direct, model).coef[:, ok]
        np.testing.assert_allclose(a, b, atol=tolerance, rtol=tolerance)
    for name in ("expected_info", "neg_hessian"):
        a, b = getattr(by_nodes, name)[ok], getattr(direct, name)[ok]
        scale = np.nanmax(np.abs(b), axis=(1, 2), keepdims=True)
        np.testing.assert_allclose(a / scale, b / scale, atol=tolerance)


@pytest.mark.parametrize("kernel_name", COMPILED)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"dispersion_design": "~ group"},
        {"noise_model": "poisson"},
        {"dispersion": "cox_reid"},
        {"dispersion": "moments"},
        {"constraints": "batch[T.y] = 0.2"},
    ],
    ids=lambda o: "-".join(f"{k}" for k in o) or "plain",
)
def test_nodes_and_cells_have_the_same_optimum(options, kernel_name, monkeypatch):
    monkeypatch.setenv("ISTHMUS_KERNEL", kernel_name)
    counts, cells, factors = problem()
    fits = both(monkeypatch, counts, "~ group + batch", cell_data=cells, size_factors=factors, **options)
    assert fits[0].path.endswith("nodes a stratum")
    assert fits[1].path == "cells"
    assert_same_optimum(*fits)
    tests = [isthmus.test_glm(fit, "group[T.b]") for fit in fits]
    np.testing.assert_allclose(tests[0]["pval"], tests[1]["pval"], atol=1e-8, rtol=1e-6)


def test_awkward_genes(monkeypatch):
    y, cells, names = awkward_counts(1_000)
    by_nodes, direct = both(monkeypatch, y, "~ group", cell_data=cells, size_factors=None, gene_names=names)
    assert by_nodes.path == "16 nodes a stratum"
    np.testing.assert_array_equal(by_nodes.status, direct.status)
    np.testing.assert_allclose(by_nodes.log_likelihood, direct.log_likelihood, rtol=1e-10, atol=1e-6)


def test_equal_exposures_and_fractions(monkeypatch):
    counts, cells, _ = problem(600)
    counts.data += 0.25 * (np.arange(counts.nnz) % 3)
    fits = both(monkeypatch, counts, "~ group", cell_data=cells, size_factors=None)
    assert fits[0].path == "16 nodes a stratum"
    assert_same_optimum(*fits)


def test_they_are_left_alone_where_the_bound_does_not_hold(monkeypatch):
    counts, cells, factors = problem()
    wide = factors.copy()
    wide[:2] = factors.min() * np.exp([-6.0, 14.0])
    assert nodes.error_bound(np.log(wide), 40) > nodes.TOLERANCE
    fits = both(monkeypatch, counts, "~ group", cell_data=cells, size_factors=wide)
    assert fits[0].path == "cells"
    np.testing.assert_array_equal(fits[0].log_likelihood, fits[1].log_likelihood)


def test_they_are_left_alone_where_they_do_not_apply(monkeypatch):
    counts, cells, factors = problem()
    age = np.random.default_rng(1).standard_normal(len(cells))
    shared = {"size_factors": factors, "cell_data": cells.assign(age=age)}
    assert isthmus.fit_glm(counts, "~ group + age", **shared).path == "cells"
    assert isthmus.fit_glm(counts, "~ group", dispersion_design="~ age", **shared).path == "cells"
    offset = np.random.default_rng(1).normal(0, 0.1, counts.shape)
    assert isthmus.fit_glm(counts, "~ group", offset=offset, **shared).path == "cells"
    few = isthmus.fit_glm(counts[:100], "~ group", cell_data=cells[:100], size_factors=factors[:100])
    assert few.path == "cells", "100 cells in two strata"
    monkeypatch.setenv("ISTHMUS_KERNEL", "reference")
    assert isthmus.fit_glm(counts[:200, :1], "~ 1", size_factors=None).path == "cells"


def test_the_order_of_cells_and_threads_do_not_matter():
    counts, cells, factors = problem()
    options = {"cell_data": cells, "size_factors": factors}
    one = isthmus.fit_glm(counts, "~ group", n_threads=1, **options)
    two = isthmus.fit_glm(counts, "~ group", n_threads=2, **options)
    np.testing.assert_array_equal(one.log_likelihood, two.log_likelihood)
    order = np.random.default_rng(3).permutation(len(cells))
    options = {"cell_data": cells.iloc[order].reset_index(drop=True), "size_factors": factors[order]}
    other = isthmus.fit_glm(counts[order], "~ group", **options)
    np.testing.assert_allclose(one.log_likelihood, other.log_likelihood, rtol=1e-11)
    np.testing.assert_allclose(one.mean_model.coef, other.mean_model.coef, atol=1e-6)


def test_a_reduced_model_is_refitted_over_nodes(monkeypatch):
    counts, cells, factors = problem()
    fits = both(monkeypatch, counts, "~ group + batch", cell_data=cells, size_factors=factors)
    tests = []
    for fit, word in zip(fits, "10", strict=True):
        monkeypatch.setenv("ISTHMUS_NODES", word)
        tests.append(isthmus.test_glm(fit, "group[T.b]", method="lrt"))
    np.testing.assert_allclose(tests[0]["stat"], tests[1]["stat"], atol=1e-6)


@pytest.mark.parametrize("kernel_name", COMPILED)
def test_refits_of_one_layout_keep_what_they_need_of_the_counts(kernel_name, monkeypatch):
    """Whatever was fitted before, what the same layout gives anew, bit by bit but for Poisson's log-likelihood."""
    monkeypatch.setenv("ISTHMUS_KERNEL", kernel_name)
    counts, cells, factors = problem()
    large = sp.csr_matrix(np.random.default_rng(5).poisson(30_000, (counts.shape[0], 1)))  # summed to the last digit
    counts = sp.hstack([counts, large, counts[:, :1] * 0]).tocsr()
    group, batch = (cells["group"] == "b").to_numpy(), cells["batch"].to_numpy()
    x = np.column_stack([np.ones(len(cells)), group, batch == "y", batch == "z"]).astype(float)
    z, by_group, none = x[:, :1], x[:, :2], x[:, :0]
    offset, some = np.log(factors), np.array([40, 3, 17, 41, 30])
    held = {"start_dispersion": np.full((1, 42), -1.0), "fix_dispersion": True}
    laid_out, everything = kernel.lay_out(counts, x, z), np.arange(42)
    jobs = [
        (x, z, offset, everything, {}),
        (x[:, :3], z, offset, everything, {}),  # the first that finds something kept
        (x, z, offset, some, {}),
        (x, z, offset, everything, held),
        (x[:, :1], none, offset, everything, {}),  # Poisson: uses what is there
        (x[:, :2], z, offset, everything, {}),
        (x, by_group, offset, everything, {}),  # other levels of dispersion: begins anew
        (x, none, offset + 0.1 * group, everything, {}),  # Poisson with other offsets: keeps nothing
        (x[:, :3], by_group, offset, some, {}),
        (x, z, offset + 0.1 * group, everything, {}),
        (x[:, :3], z, offset + 0.1 * group, everything, {}),
    ]
    for design, dispersion, own_offset, genes, options in jobs:
        arguments = counts, design, dispersion, own_offset
        ours = kernel.fit_genes(*arguments, laid_out=laid_out, chosen=genes, n_threads=2, **options)
        anew = kernel.fit_genes(*arguments, laid_out=kernel.lay_out(counts, x, z), chosen=genes, **options)
        assert (ours.n_nodes > 0).all()
        for name in ("mean_coef", "neg_hessian", "expected_info", "code", "n_iter"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(anew, name))
        rounded = 0 if dispersion.shape[1] else 1e-12
        np.testing.assert_allclose(ours.log_likelihood, anew.log_likelihood, rtol=rounded)
    twice = kernel.fit_genes(counts, x, z, offset, laid_out=laid_out, chosen=np.array([7, 7]), n_threads=2)
    np.testing.assert_array_equal(twice.log_likelihood[0], twice.log_likelihood[1])


def test_the_compiled_sums_are_those_of_the_plain_twin(monkeypatch):
    """One stratum: the kernel's log-likelihood at its optimum, by the twin's nodes and cell by cell."""
    counts, _, factors = problem()
    fit = isthmus.fit_glm(counts, "~ 1", size_factors=factors)
    u = np.log(factors)
    n = nodes.choose([u])
    assert fit.path == f"{n} nodes a stratum"
    at = nodes.stratum(u, n)
    for k in np.flatnonzero(fit.status == "ok"):
        y, c, alpha = counts[:, [k]].toarray().ravel(), fit.mean_model.coef[0, k], fit.dispersion[k]
        direct = nb_log_likelihood(y, np.exp(c + u), alpha)
        assert nodes.log_likelihood(y, at, u, c, alpha) == pytest.approx(direct, rel=1e-9, abs=1e-6)
        assert fit.log_likelihood[k] == pytest.approx(direct, rel=1e-9, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    spread=st.floats(0.01, 1.2),
    c=st.floats(-12, 8),
    log_alpha=st.floats(-12, 5),
    n=st.sampled_from(nodes.STEPS),
)
def test_the_error_stays_below_its_bound(seed, spread, c, log_alpha, n):
    """For each of the functions that are summed, relative to the sum of means."""
    u = np.random.default_rng(seed).normal(0, spread, 300)
    at, bound = nodes.stratum(u, n), nodes.error_bound(u, n)
    alpha = np.exp(log_alpha)
    weight = at.basis.sum(axis=0)

    def functions(where):
        mu = np.exp(c + where)
        v = 1 / (1 + alpha * mu)
        return np.log1p(alpha * mu) / alpha, mu * v, mu * v**2

    for over_nodes, over_cells in zip(functions(at.u), functions(u), strict=True):
        error = abs(weight @ over_nodes - over_cells.sum())
        assert error <= (bound + 1e-13) * np.exp(c + u).sum()
