"""One offset per cell and gene: the same as fitting each gene with its own column, and asked for again where needed."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import isthmus


@pytest.fixture(scope="module")
def problem() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = np.column_stack([np.ones(300), rng.integers(0, 2, 300), rng.normal(size=300)])
    offset = rng.normal(0, 0.4, (300, 5))
    mean = np.exp(0.5 + 0.4 * x[:, 1:2] + offset)
    return rng.poisson(rng.gamma(2, mean / 2)).astype(float), x, offset


def test_each_gene_is_fitted_with_its_own_column(problem: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    counts, x, offset = problem
    together = isthmus.fit_glm(counts, x, size_factors=None, offset=offset)
    for gene in range(counts.shape[1]):
        alone = isthmus.fit_glm(counts[:, [gene]], x, size_factors=None, offset=offset[:, gene])
        np.testing.assert_allclose(alone.coef().iloc[:, 0], together.coef().iloc[:, gene], rtol=1e-8, atol=1e-10)


def test_chunks_threads_and_memory_order_change_nothing(problem: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    counts, x, offset = problem
    once = isthmus.fit_glm(counts, x, size_factors=None, offset=offset)
    again = isthmus.fit_glm(counts, x, size_factors=None, offset=np.asfortranarray(offset), chunk_genes=2, n_threads=2)
    np.testing.assert_array_equal(once.log_likelihood, again.log_likelihood)
    np.testing.assert_array_equal(once.coef(), again.coef())


def test_predictions_need_the_offset_again(problem: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    counts, x, offset = problem
    fit = isthmus.fit_glm(counts, x, size_factors=None, offset=offset)
    expected = np.exp(x @ fit.coef().to_numpy() + offset)
    np.testing.assert_allclose(fit.predict(offset=offset), expected, rtol=1e-12)
    with pytest.raises(isthmus.InputError, match=r"`offset` must be passed again"):
        fit.predict()
    assert fit.predict(type="dispersion").shape == counts.shape


def test_residuals_take_the_offset(problem: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    counts, x, offset = problem
    fit = isthmus.fit_glm(counts, x, size_factors=None, offset=offset)
    spread = fit.residuals(counts, "quantile", offset=offset).to_numpy().std(axis=0)
    np.testing.assert_allclose(spread, 1, atol=0.1)


def test_an_offset_with_names_is_matched_by_cells_and_genes(problem: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    counts, x, offset = problem
    data = pd.DataFrame(counts, index=[f"c{i}" for i in range(300)], columns=list("abcde"))
    named = pd.DataFrame(offset, index=data.index, columns=data.columns)
    expected = isthmus.fit_glm(data, x, size_factors=None, offset=offset).coef()
    turned = named.iloc[::-1, ::-1]
    for given in (named, turned, sp.csr_matrix(offset), named.set_axis(range(5), axis=1)):
        pd.testing.assert_frame_equal(isthmus.fit_glm(data, x, size_factors=None, offset=given).coef(), expected)
    for bare in (counts, ad.AnnData(counts)):  # without names there is nothing to match
        fit = isthmus.fit_glm(bare, x, size_factors=None, offset=named)
        np.testing.assert_array_equal(fit.coef().to_numpy(), expected.to_numpy())
    with pytest.raises(isthmus.InputError, match=r"genes of `offset`.*got 1 gene not found \('a'\)"):
        isthmus.fit_glm(data, x, size_factors=None, offset=named.rename(columns={"a": "z"}))
    with pytest.raises(isthmus.InputError, match=r"row names of `offset`.*1 cell of `data` not found \('c7'\)"):
        isthmus.fit_glm(data, x, size_factors=None, offset=named.rename(index={"c7": "z"}))


def test_an_offset_column_must_hold_numbers() -> None:
    cells = pd.DataFrame({"batch": ["a", "b"] * 30, "depth": pd.array([0.5, 0.1] * 30, dtype="Float64")})
    counts = np.random.default_rng(1).poisson(3.0, (60, 2))
    fit = isthmus.fit_glm(counts, cell_data=cells, size_factors=None, offset="depth")
    np.testing.assert_array_equal(fit.offset, [0.5, 0.1] * 30)
    with pytest.raises(isthmus.InputError, match=r"`offset` must be numbers.*got values such as 'a'"):
        isthmus.fit_glm(counts, cell_data=cells, size_factors=None, offset="batch")
    with pytest.raises(isthmus.InputError, match=r"no column 'dept'. Did you mean `depth`\?"):
        isthmus.fit_glm(counts, cell_data=cells, size_factors=None, offset="dept")
