"""Contrasts in every form they are written in."""

import numpy as np
import pandas as pd
import pytest

from isthmus.errors import InputError
from isthmus.glm.contrasts import contrast_matrix

NAMES = ["(Intercept)", "conditionB", "conditionC", "conditionB:dose"]


@pytest.mark.parametrize(
    ("spec", "rows", "values", "label"),
    [
        ("conditionB", [[0, 1, 0, 0]], [0], "conditionB"),
        ("conditionB:dose", [[0, 0, 0, 1]], [0], "conditionB:dose"),
        ("conditionC - conditionB", [[0, -1, 1, 0]], [0], "conditionC - conditionB"),
        ("conditionC = conditionB", [[0, -1, 1, 0]], [0], "conditionC = conditionB"),
        ("2*conditionC - (Intercept)/4 = 0.5", [[-0.25, 0, 2, 0]], [0.5], "2*conditionC - (Intercept)/4 = 0.5"),
        ("conditionB + 1 = 1.5", [[0, 1, 0, 0]], [0.5], "conditionB + 1 = 1.5"),
        (["conditionB", "conditionC = 1"], [[0, 1, 0, 0], [0, 0, 1, 0]], [0, 1], "conditionB; conditionC = 1"),
        ("conditionB = conditionC = 0", [[0, 1, -1, 0], [0, 0, 1, 0]], [0, 0], "conditionB = conditionC = 0"),
        ([0, 1, -1, 0], [[0, 1, -1, 0]], [0], "conditionB - conditionC"),
        ((0, 0.5, -2, 0), [[0, 0.5, -2, 0]], [0], "0.5*conditionB - 2*conditionC"),
        (np.array([[0, -1, 0, 0], [0, 0, 1, 0]]), [[0, -1, 0, 0], [0, 0, 1, 0]], [0, 0], "-conditionB; conditionC"),
        ({"conditionC": 1, "conditionB": -1}, [[0, -1, 1, 0]], [0], "-conditionB + conditionC"),
        (pd.Series({"conditionB": 2.0}), [[0, 2, 0, 0]], [0], "2*conditionB"),
        (pd.Series([0, 0, 1, 0]), [[0, 0, 1, 0]], [0], "conditionC"),
        (
            pd.DataFrame({"conditionC": [1, 0], "conditionB": [0, 1]}),
            [[0, 0, 1, 0], [0, 1, 0, 0]],
            [0, 0],
            "conditionC; conditionB",
        ),
        (pd.DataFrame([[0, 0, 1, 0]]), [[0, 0, 1, 0]], [0], "conditionC"),
    ],
)
def test_forms(spec, rows, values, label):
    found = contrast_matrix(spec, NAMES)
    np.testing.assert_allclose(found[0], rows)
    np.testing.assert_allclose(found[1], values)
    assert found[2] == label


def test_a_name_that_reads_as_an_expression_is_a_name():
    rows, values, label = contrast_matrix("a - b", ["a", "b", "a - b"])
    assert (rows.tolist(), values.tolist(), label) == ([[0, 0, 1]], [0], "a - b")


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (
            "conditionD",
            r"`contrast` must use the names of the parameters; got 'conditionD'.*Did you mean `condition[BC]`\?",
        ),
        ({"conditionD": 1}, r"`contrast` must use the names of the parameters; got 'conditionD'"),
        (
            [1, 0],
            r"must have one coefficient per parameter; got 2 for 4 parameters \(\(Intercept\), conditionB, conditionC",
        ),
        (1.0, r"must have one coefficient per parameter; got 1 for 4 parameters"),
        (np.zeros((1, 1, 4)), r"must have one coefficient per parameter"),
        ([0, 0, 0, 0], r"must involve a parameter; got only zeros in it"),
        ([[1, 0, 0, 0], [0, 0, 0, 0]], r"got only zeros in row 2"),
        ("1 = 0", r"must involve a parameter"),
        ([], r"`contrast` must"),
        ([0, np.nan, 0, 0], r"must be finite; got missing or infinite coefficients"),
        ("conditionB * conditionC", r"`contrast` must be linear in the parameters"),
        (object(), r"must be a name, an expression, a vector or a matrix of numbers; got object"),
    ],
)
def test_what_is_no_contrast(spec, text):
    with pytest.raises(InputError, match=text):
        contrast_matrix(spec, NAMES)
