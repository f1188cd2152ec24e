"""Every pair of levels, and each level against the rest: the same numbers as single contrasts of the same fit."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from glm_cases import random_problem

import isthmus
from isthmus.errors import InputError


@pytest.fixture(scope="module")
def problem():
    return random_problem(41, n_cells=240, n_genes=12, lowest=0.8)


def fit_of(problem, design, **options):
    counts, cells, size_factors = problem
    return isthmus.fit_glm(counts, design, size_factors=size_factors, cell_data=cells, **options)


def test_pairs_are_contrasts(problem):
    fit = fit_of(problem, "~ batch + age")
    table = isthmus.test_glm(fit, pairwise="batch")
    assert list(dict.fromkeys(table["contrast"])) == ["y - x", "z - x", "z - y"]
    assert len(table) == 36
    written = {"y - x": "batch[T.y]", "z - x": "batch[T.z]", "z - y": "batch[T.z] - batch[T.y]"}
    for label, contrast in written.items():
        one = isthmus.test_glm(fit, contrast=contrast)
        block = table[table["contrast"] == label].reset_index(drop=True)
        pd.testing.assert_frame_equal(block.drop(columns="contrast"), one.drop(columns="contrast"))


@pytest.mark.parametrize("coding", ["~ age + batch", "~ 0 + batch + age", "constrained"])
def test_pairs_do_not_depend_on_the_coding(problem, coding):
    fit = (
        fit_of(problem, "~ age + batch", constraints={"batch": "1"})
        if coding == "constrained"
        else fit_of(problem, coding)
    )
    expected = isthmus.test_glm(fit_of(problem, "~ batch + age"), pairwise="batch")
    table = isthmus.test_glm(fit, pairwise="batch")
    np.testing.assert_allclose(table["estimate"], expected["estimate"], atol=1e-5)
    np.testing.assert_allclose(table["se"], expected["se"], rtol=1e-4)


def test_rest_is_the_mean_of_the_other_coefficients(problem):
    fit = fit_of(problem, "~ batch + age")
    table = isthmus.test_glm(fit, versus_rest="batch")
    assert list(dict.fromkeys(table["contrast"])) == ["x - rest", "y - rest", "z - rest"]
    rows = {"x - rest": {"batch[T.y]": -0.5, "batch[T.z]": -0.5}, "y - rest": {"batch[T.y]": 1, "batch[T.z]": -0.5}}
    for label, row in rows.items():
        one = isthmus.test_glm(fit, contrast=row)
        block = table[table["contrast"] == label].reset_index(drop=True)
        pd.testing.assert_frame_equal(block.drop(columns="contrast"), one.drop(columns="contrast"))


def test_pooled_rest_weighs_by_cells(problem):
    counts, cells, size_factors = problem
    kept = np.flatnonzero((cells["batch"] != "z").to_numpy() | (np.arange(240) % 4 == 0))
    few = (counts[kept], cells.iloc[kept], size_factors[kept])
    fit = fit_of(few, "~ batch")
    n = few[1]["batch"].value_counts()
    table = isthmus.test_glm(fit, versus_rest="batch", rest="pooled")
    share = n["z"] / (n["y"] + n["z"])
    one = isthmus.test_glm(fit, contrast={"batch[T.y]": -(1 - share), "batch[T.z]": -share})
    np.testing.assert_allclose(table["estimate"][:12], one["estimate"], rtol=1e-9)
    np.testing.assert_allclose(table["se"][:12], one["se"], rtol=1e-9)


@pytest.mark.parametrize("method", ["lrt", "score", "qlf"])
def test_every_method_takes_them(method):
    problem = random_problem(42, n_cells=120, n_genes=60, lowest=0.8)
    fit = fit_of(problem, "~ batch")
    table = isthmus.test_glm(fit, pairwise="batch", method=method, data=problem[0])
    one = isthmus.test_glm(fit, contrast="batch[T.z] - batch[T.y]", method=method, data=problem[0])
    np.testing.assert_allclose(table["pval"][120:], one["pval"], rtol=1e-9)
    assert (table["method"] == method).all()


@pytest.mark.parametrize(
    ("design", "options", "match"),
    [
        ("~ batch", {"pairwise": "group"}, r"`pairwise` must name a factor that is a term.*'group'"),
        ("~ age", {"versus_rest": "age"}, r"`versus_rest` must name a factor that is a term.*'age'"),
        (
            "~ group * batch",
            {"pairwise": "batch"},
            r"`pairwise` must name a factor without interactions.*'group:batch'",
        ),
        ("~ batch", {"pairwise": "batch", "coef": "batch[T.y]"}, r"`pairwise` makes contrasts of its own; got `coef`"),
        ("~ batch", {"versus_rest": "batch", "rest": "all"}, r"`rest` must be one of mean, pooled; got 'all'"),
    ],
)
def test_rules(problem, design, options, match):
    with pytest.raises(InputError, match=match):
        isthmus.test_glm(fit_of(problem, design), **options)


def test_a_matrix_has_no_levels(problem):
    fit = isthmus.fit_glm(problem[0], np.ones((240, 1)), size_factors=None)
    with pytest.raises(InputError, match="`pairwise` needs a formula as design, to take the levels from; got a matrix"):
        isthmus.test_glm(fit, pairwise="batch")


def test_refits_of_many_contrasts_share_a_layout(problem, monkeypatch):
    """With the numbers of refits that have one of their own."""
    from isthmus.glm import kernel

    fit = fit_of(problem, "~ batch + age")
    singles = [isthmus.test_glm(fit, contrast=c, method="lrt") for c in ("batch[T.y]", "batch[T.z]")]
    calls, lay_out = [], kernel.lay_out

    def counted(*arguments, **options):
        calls.append(1)
        return lay_out(*arguments, **options)

    monkeypatch.setattr(kernel, "lay_out", counted)
    table = isthmus.test_glm(fit, pairwise="batch", method="lrt")
    assert len(calls) == 1
    for label, one in zip(("y - x", "z - x"), singles, strict=True):
        np.testing.assert_allclose(table["stat"][table["contrast"] == label], one["stat"], rtol=1e-7, atol=1e-8)
