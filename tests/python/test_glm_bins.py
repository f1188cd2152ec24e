"""Bins of cells, with which the iteration starts: the optimum over all cells stays what it is, in fewer steps."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from glm_cases import nb_counts

import isthmus
from isthmus import _core


def problem(n_cells: int = 3_000, seed: int = 0):
    """A factor, two covariates, genes from rare to abundant and from Poisson to very dispersed; three awkward ones."""
    rng = np.random.default_rng(seed)
    cells = pd.DataFrame({"group": rng.choice(["a", "b"], n_cells), "age": rng.normal(size=n_cells)})
    cells["score"] = 0.5 * cells["age"] + rng.gamma(2.0, size=n_cells)
    factors = np.exp(rng.normal(0, 0.5, n_cells))
    means, alphas = np.exp(np.linspace(np.log(0.005), np.log(100), 36)), np.tile([1e-4, 0.1, 0.6, 3.0], 9)
    eta = np.outer(cells["group"] == "b", rng.normal(0, 0.5, 36)) + np.outer(cells["age"], rng.normal(0, 0.4, 36))
    y = nb_counts(
        rng, factors[:, None] * means * np.exp(eta + np.outer(cells["score"], rng.normal(0, 0.2, 36))), alphas
    )
    awkward = np.zeros((n_cells, 3))
    awkward[7, 0] = 1.0  # one count; the second gene has none at all
    awkward[:, 2] = rng.poisson(1.0, n_cells) * (cells["group"] == "a")  # separated
    y[5, 20] = 10_000.0  # an outlier
    return sp.csr_matrix(np.hstack([y, awkward])), cells, factors


def both(monkeypatch, counts, design, **options):
    monkeypatch.setenv("ISTHMUS_NODES", "1")
    started = isthmus.fit_glm(counts, design, **options)
    monkeypatch.setenv("ISTHMUS_NODES", "0")
    return started, isthmus.fit_glm(counts, design, **options)


def standard_errors(fit, genes):
    blocks = fit.covariance()[genes]
    return np.sqrt(np.einsum("gii->gi", blocks))


@pytest.mark.parametrize("kernel", _core.kernels)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"dispersion_design": "~ group"},
        {"noise_model": "poisson"},
        {"dispersion": "cox_reid"},
        {"dispersion": "moments"},
        {"constraints": "age = 0.2"},
        {"design": "~ age"},
        {"design": "~ group + age + score + I(age**2)"},
    ],
    ids=str,
)
def test_the_optimum_is_that_of_the_direct_sums(monkeypatch, kernel, options):
    monkeypatch.setenv("ISTHMUS_KERNEL", kernel)
    counts, cells, factors = problem()
    options = {"design": "~ group + age + score", "cell_data": cells, "size_factors": factors} | options
    started, direct = both(monkeypatch, counts, **options)
    assert started.path == direct.path == "cells", "what is reported is summed over every cell"
    np.testing.assert_array_equal(started.status, direct.status)
    ok = np.isin(direct.status, ["ok", "poisson_limit"])
    # The adjusted likelihood of a separated gene has no maximum: where it is stopped depends on the way there.
    same = ok if options.get("dispersion") == "cox_reid" else np.ones(len(ok), dtype=bool)
    value, other = started.log_likelihood[same], direct.log_likelihood[same]
    np.testing.assert_allclose(value, other, rtol=1e-10, atol=1e-6)
    np.testing.assert_allclose(started.mean_model.coef[:, ok], direct.mean_model.coef[:, ok], atol=1e-6)
    np.testing.assert_allclose(standard_errors(started, ok), standard_errors(direct, ok), rtol=2e-5)
    alpha = direct.dispersion[ok]
    np.testing.assert_allclose(started.dispersion[ok], alpha, rtol=1e-4, atol=1e-6)


def test_they_save_steps(monkeypatch):
    counts, cells, factors = problem()
    fits = both(monkeypatch, counts, "~ group + age", cell_data=cells, size_factors=factors)
    assert np.median(fits[0].n_iter) < np.median(fits[1].n_iter)
    started = isthmus.fit_glm(
        counts, "~ group + age", cell_data=cells, size_factors=factors, init=np.nan_to_num(fits[1].mean_model.coef)
    )
    np.testing.assert_allclose(started.log_likelihood, fits[1].log_likelihood, rtol=1e-10, atol=1e-6)


def test_threads_and_chunks_do_not_matter():
    counts, cells, factors = problem()
    options = {"cell_data": cells, "size_factors": factors}
    one = isthmus.fit_glm(counts, "~ group + age", n_threads=1, **options)
    two = isthmus.fit_glm(counts, "~ group + age", n_threads=2, chunk_genes=11, **options)
    np.testing.assert_array_equal(one.log_likelihood, two.log_likelihood)
    np.testing.assert_array_equal(one.mean_model.coef, two.mean_model.coef)


@pytest.mark.parametrize(
    "options",
    [
        {"dispersion_design": "~ age"},
        {"weights": True},
        {"offset": True},
        {"cells": 1_500},
    ],
    ids=str,
)
def test_they_are_left_alone_where_they_do_not_apply(monkeypatch, options):
    counts, cells, factors = problem()
    n = options.pop("cells", len(cells))
    counts, cells, factors = counts[:n, 8:24], cells[:n], factors[:n]
    options = {name: np.full(counts.shape, 0.5) if value is True else value for name, value in options.items()}
    fits = both(monkeypatch, counts, "~ group + age", cell_data=cells, size_factors=factors, **options)
    np.testing.assert_array_equal(fits[0].log_likelihood, fits[1].log_likelihood)


def test_tests_say_the_same(monkeypatch):
    counts, cells, factors = problem()
    fits = both(monkeypatch, counts, "~ group + age", cell_data=cells, size_factors=factors)
    for method in ("wald", "lrt", "score"):
        tables = [isthmus.test_glm(fit, "age", method=method, data=counts) for fit in fits]
        np.testing.assert_allclose(tables[0]["stat"], tables[1]["stat"], rtol=1e-5, atol=1e-5)
