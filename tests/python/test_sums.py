"""Sums and checks of stored values by compiled code, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from isthmus import _core
from isthmus.data.sums import column_sums, row_sums, survey_columns, survey_values

DTYPES = ["f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"]
LARGEST = 2.0**31


def counts(dtype: str, index: str = "i4") -> sparse.csr_matrix:
    rng = np.random.default_rng(3)
    dense = rng.poisson(0.6, (150, 41)) * rng.integers(0, 50, (150, 41))
    dense[[0, 40, 149]] = 0
    matrix = sparse.csr_matrix(np.minimum(dense, 120).astype(dtype))
    matrix.indptr, matrix.indices = matrix.indptr.astype(index), matrix.indices.astype(index)
    return matrix


@pytest.mark.parametrize("index", ["i4", "i8"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_are_exact(dtype, index):
    matrix = counts(dtype, index)
    dense = matrix.toarray().astype(float)
    marked = np.arange(150) % 3 == 0
    np.testing.assert_array_equal(row_sums(matrix), dense.sum(axis=1))
    np.testing.assert_array_equal(column_sums(matrix, marked), dense[marked].sum(axis=0))
    assert survey_values(matrix.data, LARGEST) == (True, 0, -1)


@pytest.mark.parametrize("index", ["i4", "i8"])
@pytest.mark.parametrize(
    ("columns", "inside", "rising"),
    [
        ([0, 3, 1, 2, 4], True, True),
        ([0, 3, 1, 2, 5], False, True),
        ([-1, 3, 1, 2, 4], False, True),
        ([3, 0, 1, 2, 4], True, False),
        ([0, 3, 1, 1, 4], True, False),
    ],
)
def test_columns_inside_and_rising(index, columns, inside, rising):
    """Two columns in the first row, none in the second, three in the third."""
    indptr, indices = np.array([0, 2, 2, 5], dtype=index), np.array(columns, dtype=index)
    assert survey_columns(indptr, indices, 5) == (inside, rising)


def test_sums_are_in_double_precision():
    matrix = sparse.csr_matrix(np.full((1, 5), 2.0**24 - 1, dtype="f4") + np.array([[0, 0, 0, 0, 1]], dtype="f4"))
    assert row_sums(matrix)[0] == 5 * (2**24 - 1) + 1


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_fractions_are_counted_and_placed(dtype):
    values = np.random.default_rng(1).poisson(3, 5000).astype(dtype)
    places = [1023, 1024, 2500, 4999]
    values[places] = np.array([0.5, 7.25, 1e-30, 2.0**21 + 0.5], dtype=dtype)
    assert survey_values(values, LARGEST) == (True, 4, 1023)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("whole", [2.0**22 + 1, 2.0**23 - 1, 2.0**23 + 1, 2.0**24 - 1, 2.0**30])
def test_large_counts_are_whole(dtype, whole):
    assert survey_values(np.array([whole], dtype=dtype), LARGEST) == (True, 0, -1)


@pytest.mark.parametrize("largest_half", [2.0**51 + 0.5, 2.0**52 - 0.5])
def test_halves_of_large_numbers_are_fractions(largest_half):
    assert survey_values(np.array([largest_half]), 2.0**60) == (True, 1, 0)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, -1.0, LARGEST])
@pytest.mark.parametrize("place", [0, 1500, 2999])
def test_what_is_no_count_is_seen(wrong, place):
    values = np.ones(3000, dtype="f4")
    values[place] = wrong
    assert not survey_values(values, LARGEST)[0]


def test_integers_may_be_too_large_or_negative():
    assert not survey_values(np.array([-1], dtype="i4"), LARGEST)[0]
    assert not survey_values(np.array([2**31], dtype="i8"), LARGEST)[0]
    assert survey_values(np.array([2**31 - 1], dtype="i4"), LARGEST)[0]


def test_nothing_stored():
    empty = sparse.csr_matrix((3, 4))
    np.testing.assert_array_equal(row_sums(empty), np.zeros(3))
    np.testing.assert_array_equal(column_sums(empty, np.ones(3, dtype=bool)), np.zeros(4))
    assert survey_values(empty.data, LARGEST) == (True, 0, -1)


def test_broken_matrices_are_refused():
    """The compiled code reads no memory that is not the matrix's."""
    indptr, values = np.array([0, 2], dtype="i4"), np.ones(2)
    with pytest.raises(ValueError, match="`indices` must be columns of the matrix"):
        _core.column_sums(indptr, np.array([0, 9], dtype="i4"), values, np.ones(1, dtype=np.uint8), 3)
    with pytest.raises(ValueError, match="`indices` must be one per stored value"):
        _core.column_sums(indptr, np.array([0], dtype="i4"), values, np.ones(1, dtype=np.uint8), 3)
    with pytest.raises(ValueError, match="`indptr` must rise"):
        _core.row_sums(np.array([0, 5], dtype="i4"), values)
