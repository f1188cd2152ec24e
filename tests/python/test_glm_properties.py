"""What holds for any data: order, chunks and threads change nothing; another parametrisation is the same model."""

from __future__ import annotations

import numpy as np
import pandas as pd
import scipy.sparse as sp
from glm_cases import estimates, genes, random_problem
from hypothesis import given, settings
from hypothesis import strategies as st

import isthmus

SEEDS = st.integers(0, 2**20)
FEW = settings(max_examples=10, deadline=None, derandomize=True)
# Two runs of Newton's method that sum cells in another order end within rounding of one optimum.
SAME_VALUE, SAME_ESTIMATE = {"rtol": 1e-9, "atol": 1e-8}, {"rtol": 1e-6, "atol": 1e-6}


def fit(counts, cells, size_factors, **options):
    options.setdefault("dispersion_design", "~ group")
    return isthmus.fit_glm(counts, "~ group + batch + age", cell_data=cells, size_factors=size_factors, **options)


def assert_same_optimum(first, second) -> None:
    """Where a gene has one optimum inside: a separated gene's or the Poisson limit's runaway parameters may differ."""
    pd.testing.assert_series_equal(genes(first)["status"], genes(second)["status"])
    inside = genes(first)["status"].eq("ok").to_numpy()
    np.testing.assert_allclose(genes(first)["log_likelihood"], genes(second)["log_likelihood"], **SAME_VALUE)
    for model in ("mean", "dispersion"):
        np.testing.assert_allclose(estimates(first, model)[inside], estimates(second, model)[inside], **SAME_ESTIMATE)


def assert_same_bits(first, second) -> None:
    for name in ("coefficients", "genes"):
        pd.testing.assert_frame_equal(first.table(name), second.table(name), check_exact=True)
    np.testing.assert_array_equal(first.covariance(), second.covariance())


@FEW
@given(seed=SEEDS)
def test_order_of_cells(seed):
    counts, cells, size_factors = random_problem(seed)
    order = np.random.default_rng(seed).permutation(len(cells))
    first = fit(counts, cells, size_factors)
    assert_same_optimum(first, fit(counts[order], cells.iloc[order], size_factors[order]))


@FEW
@given(seed=SEEDS)
def test_order_of_genes(seed):
    counts, cells, size_factors = random_problem(seed)
    order = np.random.default_rng(seed).permutation(counts.shape[1])
    names = np.array([f"g{k}" for k in range(counts.shape[1])])
    first = fit(counts, cells, size_factors, gene_names=names)
    second = fit(counts[:, order], cells, size_factors, gene_names=names[order])
    pd.testing.assert_frame_equal(genes(first).iloc[order], genes(second), check_exact=True)


@FEW
@given(seed=SEEDS, chunk=st.integers(1, 9))
def test_chunks_of_genes(seed, chunk):
    counts, cells, size_factors = random_problem(seed)
    assert_same_bits(fit(counts, cells, size_factors), fit(counts, cells, size_factors, chunk_genes=chunk))


@FEW
@given(seed=SEEDS)
def test_number_of_threads(seed):
    counts, cells, size_factors = random_problem(seed, n_genes=17)
    assert_same_bits(fit(counts, cells, size_factors, n_threads=1), fit(counts, cells, size_factors, n_threads=2))


@FEW
@given(seed=SEEDS)
def test_offset_is_the_log_of_size_factors(seed):
    counts, cells, size_factors = random_problem(seed)
    assert_same_optimum(fit(counts, cells, size_factors), fit(counts, cells, None, offset=np.log(size_factors)))


@FEW
@given(seed=SEEDS)
def test_offset_per_gene_that_is_the_same_for_each(seed):
    counts, cells, size_factors = random_problem(seed)
    per_gene = np.tile(np.log(size_factors)[:, None], (1, counts.shape[1]))
    assert_same_optimum(fit(counts, cells, size_factors), fit(counts, cells, None, offset=per_gene))


@FEW
@given(seed=SEEDS)
def test_another_parametrisation_is_the_same_model(seed):
    counts, cells, size_factors = random_problem(seed)
    rng = np.random.default_rng(seed)
    first = fit(counts, cells, size_factors, dispersion_design="~ 1")
    x = np.asarray(first.design_loc, float)
    mix = np.linalg.qr(rng.normal(size=(x.shape[1],) * 2))[0] @ np.diag(rng.uniform(0.5, 2, x.shape[1]))
    second = isthmus.fit_glm(counts, x @ mix, size_factors=size_factors, cell_data=cells)
    inside = genes(first)["status"].eq("ok").to_numpy()
    np.testing.assert_allclose(genes(first)["log_likelihood"], genes(second)["log_likelihood"], **SAME_VALUE)
    np.testing.assert_allclose(
        estimates(first)[inside], (mix @ estimates(second).to_numpy().T).T[inside], **SAME_ESTIMATE
    )


@FEW
@given(seed=SEEDS, scale=st.floats(1e-3, 1e3))
def test_units_of_a_covariate(seed, scale):
    counts, cells, size_factors = random_problem(seed)
    first = fit(counts, cells, size_factors)
    second = fit(counts, cells.assign(age=cells["age"] * scale), size_factors)
    inside = genes(first)["status"].eq("ok").to_numpy()
    np.testing.assert_allclose(genes(first)["log_likelihood"], genes(second)["log_likelihood"], **SAME_VALUE)
    np.testing.assert_allclose(
        estimates(first).loc[inside, "age"], estimates(second).loc[inside, "age"] * scale, **SAME_ESTIMATE
    )


@FEW
@given(seed=SEEDS)
def test_form_of_the_counts(seed):
    """One matrix in every form that is accepted: the same fit to the bit, and the input as it was."""
    counts, cells, size_factors = random_problem(seed)
    first = fit(counts, cells, size_factors)
    unsorted = counts.copy()
    for start, end in zip(unsorted.indptr[:-1], unsorted.indptr[1:], strict=True):
        unsorted.indices[start:end] = unsorted.indices[start:end][::-1].copy()
        unsorted.data[start:end] = unsorted.data[start:end][::-1].copy()
    unsorted.has_sorted_indices = False
    before = unsorted.indices.copy()
    forms = [
        counts.toarray(),
        counts.astype(np.float32),
        counts.astype(np.int64).tocsc(),
        sp.csr_array(counts),
        unsorted,
    ]
    for form in forms:
        assert_same_bits(first, fit(form, cells, size_factors))
    np.testing.assert_array_equal(unsorted.indices, before)


@FEW
@given(seed=SEEDS)
def test_dispersion_row_gradient_is_zero_at_the_fit(seed):
    """No nudge of any coefficient, up or down, raises the likelihood (checked with the plain formula)."""
    from isthmus._reference.nb import negative_binomial_terms

    counts, cells, size_factors = random_problem(seed)
    result = fit(counts, cells, size_factors)
    x, z = np.asarray(result.design_loc, float), np.asarray(result.design_scale, float)
    y = counts.toarray()
    for k in np.flatnonzero(genes(result)["status"].eq("ok")):
        a, b = estimates(result).to_numpy()[k], estimates(result, "dispersion").to_numpy()[k]
        terms = negative_binomial_terms(y[:, k], x @ a + np.log(size_factors), z @ b)
        errors = np.sqrt(np.diag(result.covariance(information="observed")[k]))
        gradient = np.concatenate([x.T @ terms.e, z.T @ terms.l])
        assert np.abs(gradient * errors).max() < 1e-3  # in standard errors: 1e-3 of one is no distance
        assert np.isclose(terms.value.sum(), genes(result)["log_likelihood"].iloc[k], rtol=1e-11)
