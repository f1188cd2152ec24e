"""Size factors: where they come from, their definitions computed the long way, and what they must be."""

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from isthmus.data import matrix as matrix_module
from isthmus.data import read_counts
from isthmus.errors import InputError
from isthmus.glm.size_factors import size_factors
from isthmus.messages import collected


@pytest.fixture
def dense() -> np.ndarray:
    rng = np.random.default_rng(3)
    depth = rng.uniform(0.3, 3, size=(40, 1))
    counts = rng.poisson(depth * rng.gamma(1.0, 6.0, size=(1, 25)))
    counts[:, 0] += 1  # one gene is positive in every cell
    return counts


def an_anndata(dense, **obs) -> anndata.AnnData:
    index = [f"c{i}" for i in range(len(dense))]
    return anndata.AnnData(sparse.csr_matrix(dense.astype("float32")), obs=pd.DataFrame(obs, index=index))


def median_of_ratios(dense: np.ndarray, log_means: np.ndarray, use: np.ndarray) -> np.ndarray:
    """DESeq2's estimateSizeFactorsForMatrix, cell by cell."""
    return np.array([np.exp(np.median(np.log(cell[use & (cell > 0)]) - log_means[use & (cell > 0)])) for cell in dense])


def test_auto_takes_those_of_the_object_and_says_so(dense):
    own = np.linspace(0.5, 2, 40)
    with collected() as texts:
        found = size_factors("auto", read_counts(an_anndata(dense, size_factors=own)))
    np.testing.assert_array_equal(found, own)
    assert texts == ["`size_factors`: those of the object are used."]


def test_auto_without_own_ones_takes_sums_and_says_so(dense):
    with collected() as texts:
        found = size_factors("auto", read_counts(dense))
    total = dense.sum(axis=1)
    np.testing.assert_allclose(found, total / total.mean(), rtol=1e-15)
    assert len(texts) == 1
    assert texts[0].startswith("`size_factors`: total counts per cell divided by their mean, as the object has none")


def test_the_other_kinds_say_nothing(dense):
    counts = read_counts(an_anndata(dense, size_factors=2.0, depth=np.arange(1.0, 41.0)))
    with collected() as texts:
        np.testing.assert_array_equal(size_factors(None, counts), np.ones(40))
        np.testing.assert_allclose(size_factors("sum", counts), dense.sum(axis=1) / dense.sum(axis=1).mean())
        np.testing.assert_array_equal(size_factors("depth", counts), np.arange(1.0, 41.0))
        np.testing.assert_array_equal(size_factors(np.arange(1, 41), counts), np.arange(1.0, 41.0))
        np.testing.assert_array_equal(size_factors(list(range(1, 41)), counts), np.arange(1.0, 41.0))
    assert texts == []


def test_a_series_is_matched_by_name(dense):
    counts = read_counts(an_anndata(dense))
    shuffled = pd.Series(np.arange(1.0, 41.0), index=counts.cell_names)[::-1]
    np.testing.assert_array_equal(size_factors(shuffled, counts), np.arange(1.0, 41.0))
    np.testing.assert_array_equal(size_factors(shuffled.reset_index(drop=True), counts), np.arange(40.0, 0.0, -1))
    np.testing.assert_array_equal(size_factors(shuffled, read_counts(dense)), np.arange(40.0, 0.0, -1))
    with pytest.raises(InputError, match="The row names of `size_factors` must be the names of the cells"):
        size_factors(shuffled.rename(index={"c3": "other"}), counts)


@pytest.mark.parametrize("block", [1 << 20, 60])
def test_ratio_is_the_median_of_ratios(dense, block, monkeypatch):
    monkeypatch.setattr(matrix_module, "_BLOCK", block)
    with np.errstate(divide="ignore"):
        log_means = np.log(dense).mean(axis=0)
    expected = median_of_ratios(dense, log_means, np.isfinite(log_means))
    for data in (dense, sparse.csc_matrix(dense), dense.astype("float32")):
        np.testing.assert_allclose(size_factors("ratio", read_counts(data)), expected, rtol=1e-12)


def test_poscounts_lets_zeros_count_as_one(dense, monkeypatch):
    dense[:, 0] -= 1
    dense[:, 3] = 0
    log_means = np.log(np.where(dense > 0, dense, 1)).mean(axis=0)
    expected = median_of_ratios(dense, log_means, (dense > 0).any(axis=0))
    expected /= np.exp(np.log(expected).mean())
    np.testing.assert_allclose(size_factors("poscounts", read_counts(dense)), expected, rtol=1e-12)
    stored_zeros = sparse.csr_matrix(dense + 1)
    stored_zeros.data = stored_zeros.data - 1
    np.testing.assert_allclose(size_factors("poscounts", read_counts(stored_zeros)), expected, rtol=1e-12)


def test_ratio_without_a_gene_in_all_cells_names_poscounts(dense):
    dense = np.where(np.arange(dense.size).reshape(dense.shape) % 7, dense + 1, 0)
    with pytest.raises(InputError, match=r"'ratio' needs a gene with counts in all cells; got none. Use 'poscounts'"):
        size_factors("ratio", read_counts(dense))


@pytest.mark.parametrize("kind", ["auto", "sum", "ratio", "poscounts"])
def test_cells_without_counts_are_named(dense, kind):
    dense[[4, 9]] = 0
    text = rf"`size_factors` = '{kind}' needs counts in every cell; got none in 2 cells \('c4', 'c9'\). Drop those"
    with collected(), pytest.raises(InputError, match=text):
        size_factors(kind, read_counts(an_anndata(dense)))
    np.testing.assert_array_equal(size_factors(None, read_counts(dense)), np.ones(40))


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (
            np.r_[0.0, -1.0, np.ones(38)],
            r"`size_factors` must be positive; got 2 values <= 0 in 2 cells \('c0', 'c1'\). Drop",
        ),
        (np.r_[np.nan, np.ones(39)], r"must be finite; got missing or infinite values in 1 cell \('c0'\)"),
        (np.r_[np.inf, np.ones(39)], r"must be finite"),
        (np.ones(39), r"must have one number per cell \(n_cells = 40\); got 39\."),
        (1.0, r"got a single number"),
        (np.ones((40, 1)), r"got 40 x 1"),
        (["a"] * 40, r"must be numbers; got values such as"),
        ("dept", r"must be 'auto', 'sum', 'ratio', 'poscounts', a column .*; got 'dept'. Did you mean `depth`\?"),
        ("bad", r"`size_factors` \(column 'bad'\) must be positive"),
        ("text", r"`size_factors` \(column 'text'\) must be numbers"),
    ],
)
def test_what_cannot_be_size_factors(dense, spec, text):
    counts = read_counts(an_anndata(dense, depth=1.0, bad=0.0, text="x"))
    with pytest.raises(InputError, match=text):
        size_factors(spec, counts)


def test_bad_ones_of_the_object_are_said_to_be_its_own(dense):
    with collected(), pytest.raises(InputError, match=r"`size_factors` of the object must be finite.*40 cells"):
        size_factors("auto", read_counts(an_anndata(dense, size_factors=np.nan)))


def test_single_precision_counts_are_summed_in_double():
    dense = np.full((2, 3), 2.0**24, dtype="float32")
    dense[0, 1:] = 1
    with collected():
        found = size_factors("sum", read_counts(dense))
    np.testing.assert_allclose(found[0] / found[1], (2**24 + 2) / (3 * 2**24), rtol=1e-15)
