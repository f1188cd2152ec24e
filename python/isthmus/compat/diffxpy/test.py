"""``de.test``: Wald and likelihood-ratio tests, Welch's t-test and the rank-sum test, of groups, pairs and parts.

A fold change is the second group (in sorted order of the labels) against the first, or a group against the rest.
Options of the model (`formula_scale`, `dmat_loc`, `constraints_loc`, `size_factors`, ...) are those of
:func:`isthmus.compat.diffxpy.fit.model`.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from isthmus.compat.diffxpy import two_groups
from isthmus.compat.diffxpy.continuous import continuous_1d
from isthmus.compat.diffxpy.estimator import Estimator
from isthmus.compat.diffxpy.fit import group_rows, read_data, take_cells
from isthmus.compat.diffxpy.hypotheses import (
    dropped_rows,
    fit_options,
    largest_change,
    rows_to_test,
    tested_contrast,
    tested_rows,
)
from isthmus.compat.diffxpy.results import GroupsTested, ManyTested, ModelTested, PairsTested, Tested, TwoSampleTested
from isthmus.data.counts import Counts
from isthmus.errors import InputError
from isthmus.glm.inference import test_glm

_GROUP_TESTS = {"t-test": two_groups.welch, "t_test": two_groups.welch, "rank": two_groups.rank_sum}
_MODEL_TESTS = ("wald", "lrt", "z-test", "z_test")
_COLUMN = "grouping"
__all__ = [
    "continuous_1d",
    "lrt",
    "pairwise",
    "partition",
    "rank_test",
    "t_test",
    "two_sample",
    "versus_rest",
    "wald",
    "wald_repeated",
]


def wald(
    data: Any,
    factor_loc_totest: str | list[str] | None = None,
    coef_to_test: str | list[str] | None = None,
    **model_options: Any,
) -> ModelTested:
    """Fit a model and test a factor or coefficients of its location by Wald's test.

    Parameters
    ----------
    data
        As for ``de.fit.model``.
    factor_loc_totest
        Terms of the location formula; all their coefficients are tested together.
    coef_to_test
        Names of coefficients; constrained ones too.
    **model_options
        As for ``de.fit.model``; `backend` and `train_args` have no effect and say so.
    """
    estimator = fit_options(data, model_options)
    return wald_repeated(estimator, factor_loc_totest, coef_to_test)


def wald_repeated(
    det: ModelTested | Estimator,
    factor_loc_totest: str | list[str] | None = None,
    coef_to_test: str | list[str] | None = None,
) -> ModelTested:
    """Test other coefficients of a model that has been fitted."""
    estimator = det.model_estim if isinstance(det, ModelTested) else det
    if not isinstance(estimator, Estimator):
        msg = f"`det` must be what `de.test.wald` or `de.fit.model` returned; got {type(det).__name__}."
        raise InputError(msg)
    rows = rows_to_test(estimator, factor_loc_totest, coef_to_test)
    return ModelTested(estimator, tested_rows(estimator, rows), largest_change(estimator, rows))


def lrt(
    data: Any,
    full_formula_loc: str,
    reduced_formula_loc: str,
    full_formula_scale: str = "~1",
    reduced_formula_scale: str = "~1",
    **model_options: Any,
) -> ModelTested:
    """Compare two nested models by their likelihoods; both are fitted to the maximum.

    Parameters
    ----------
    data
        As for ``de.fit.model``.
    full_formula_loc, reduced_formula_loc
        The location models. The reduced one must be nested in the full one.
    full_formula_scale, reduced_formula_scale
        The scale models; here they must be the same.
    **model_options
        As for ``de.fit.model``.
    """
    if full_formula_scale.replace(" ", "") != reduced_formula_scale.replace(" ", ""):
        msg = (
            "`reduced_formula_scale` must equal `full_formula_scale`; test the scale model with "
            'isthmus.test_glm(fit, reduced=..., model="dispersion", method="lrt").'
        )
        raise InputError(msg)
    full = {"formula_loc": full_formula_loc, "formula_scale": full_formula_scale}
    estimator = fit_options(data, model_options | full)
    table = test_glm(estimator.fit, reduced=reduced_formula_loc, method="lrt", data=estimator.counts)
    return ModelTested(estimator, table, largest_change(estimator, dropped_rows(estimator, reduced_formula_loc)))


def t_test(
    data: Any,
    grouping: Any,
    gene_names: Any = None,
    sample_description: pd.DataFrame | None = None,
    is_logged: bool = False,  # noqa: FBT001, FBT002
    is_sig_zerovar: bool = True,  # noqa: FBT001, FBT002
) -> TwoSampleTested:
    """Welch's t-test of two groups of cells.

    Parameters
    ----------
    data
        As for ``de.fit.model``.
    grouping
        A column of the cell data, or one label per cell; two groups.
    is_logged
        Are the values logarithms? Then the fold change is the difference of means, else the log of their ratio.
    is_sig_zerovar
        p = 0 (True) or NaN for a gene without variance in both groups and with different means.
    """
    return _two_groups("t-test", read_data(data, gene_names, sample_description), grouping, is_logged, is_sig_zerovar)


def rank_test(
    data: Any,
    grouping: Any,
    gene_names: Any = None,
    sample_description: pd.DataFrame | None = None,
    is_logged: bool = False,  # noqa: FBT001, FBT002
    is_sig_zerovar: bool = True,  # noqa: FBT001, FBT002
) -> TwoSampleTested:
    """The rank-sum test (Mann & Whitney 1947) of two groups of cells; arguments as `t_test`."""
    return _two_groups("rank", read_data(data, gene_names, sample_description), grouping, is_logged, is_sig_zerovar)


def two_sample(
    data: Any,
    grouping: Any,
    test: str = "t-test",
    gene_names: Any = None,
    sample_description: pd.DataFrame | None = None,
    is_logged: bool = False,  # noqa: FBT001, FBT002
    is_sig_zerovar: bool = True,  # noqa: FBT001, FBT002
    **model_options: Any,
) -> Tested:
    """Two groups of cells by "t-test", "rank", "wald" or "lrt"; models are ``~ 1 + grouping`` with one dispersion."""
    counts = read_data(data, gene_names, sample_description)
    if test in _GROUP_TESTS:
        _refuse_model_options(test, model_options)
        return _two_groups(test, counts, grouping, is_logged, is_sig_zerovar)
    _check_test(test)
    groups = group_rows(counts, grouping, "grouping")
    _two_labels(groups)
    grouped = _with_groups(counts, groups)
    if test == "lrt":
        return lrt(grouped, f"~ {_COLUMN}", "~ 1", **model_options)
    return wald(grouped, factor_loc_totest=_COLUMN, formula_loc=f"~ {_COLUMN}", **model_options)


def pairwise(
    data: Any,
    grouping: Any,
    test: str = "z-test",
    lazy: bool = False,  # noqa: FBT001, FBT002
    gene_names: Any = None,
    sample_description: pd.DataFrame | None = None,
    pval_correction: str = "global",
    is_logged: bool = False,  # noqa: FBT001, FBT002
    is_sig_zerovar: bool = True,  # noqa: FBT001, FBT002
    keep_full_test_objs: bool = False,  # noqa: FBT001, FBT002
    **model_options: Any,
) -> PairsTested:
    """All pairs of groups. "z-test" and "wald" are one model ``~ 0 + grouping`` and its contrasts.

    Parameters
    ----------
    data, grouping, gene_names, sample_description, is_logged, is_sig_zerovar
        As for `t_test`.
    test
        "z-test", "wald", "lrt" (one fit of the two groups a pair), "t-test" or "rank".
    lazy, keep_full_test_objs
        Without effect: every pair is tested, at the cost of a contrast, and kept.
    pval_correction
        "global" (over all pairs and genes) or "by_test".
    **model_options
        As for ``de.fit.model``.
    """
    del lazy, keep_full_test_objs
    counts = read_data(data, gene_names, sample_description)
    groups = _several(group_rows(counts, grouping, "grouping"))
    pairs = list(combinations(groups, 2))
    tests: list[Tested]
    if test in _GROUP_TESTS:
        _refuse_model_options(test, model_options)
        tests = [_compare(test, counts, groups[a], groups[b], is_logged, is_sig_zerovar) for a, b in pairs]
    elif test == "lrt":
        tests = [_two_by_lrt(counts, groups, pair, model_options) for pair in pairs]
    else:
        _check_test(test)
        estimator = fit_options(_with_groups(counts, groups), model_options | {"formula_loc": f"~ 0 + {_COLUMN}"})
        labels = list(groups)
        tests = [tested_contrast(estimator, {labels.index(b): 1.0, labels.index(a): -1.0}) for a, b in pairs]
    both = [*pairs, *((b, a) for a, b in pairs)]
    return PairsTested(both, [*tests, *map(_turned, tests)], pval_correction)


def versus_rest(
    data: Any,
    grouping: Any,
    test: str = "wald",
    gene_names: Any = None,
    sample_description: pd.DataFrame | None = None,
    pval_correction: str = "global",
    is_logged: bool = False,  # noqa: FBT001, FBT002
    is_sig_zerovar: bool = True,  # noqa: FBT001, FBT002
    keep_full_test_objs: bool = False,  # noqa: FBT001, FBT002
    **model_options: Any,
) -> GroupsTested:
    """Each group against the rest; arguments as `pairwise`.

    "wald": one model ``~ 0 + grouping``; a group minus the mean of the other groups' coefficients, each group counting
    the same. "t-test", "rank": against all other cells.
    """
    del keep_full_test_objs
    counts = read_data(data, gene_names, sample_description)
    groups = _several(group_rows(counts, grouping, "grouping"))
    tests: list[Tested]
    if test in _GROUP_TESTS:
        _refuse_model_options(test, model_options)
        everyone = np.arange(counts.n_cells)
        tests = [
            _compare(test, counts, np.setdiff1d(everyone, rows), rows, is_logged, is_sig_zerovar)
            for rows in groups.values()
        ]
    else:
        _check_test(test, "lrt")
        estimator = fit_options(_with_groups(counts, groups), model_options | {"formula_loc": f"~ 0 + {_COLUMN}"})
        shares = dict.fromkeys(range(len(groups)), -1.0 / (len(groups) - 1))
        tests = [tested_contrast(estimator, shares | {i: 1.0}) for i in range(len(groups))]
    return GroupsTested(list(groups), tests, pval_correction)


class partition:
    """Tests of groups of cells: ``de.test.partition(data, parts="celltype").two_sample(grouping="condition")``.

    Parameters
    ----------
    data, gene_names, sample_description
        As for `t_test`.
    parts
        A column of the cell data, or one label per cell.
    """

    def __init__(
        self, data: Any, parts: Any, gene_names: Any = None, sample_description: pd.DataFrame | None = None
    ) -> None:
        self._counts = read_data(data, gene_names, sample_description)
        self._rows = group_rows(self._counts, parts, "parts")

    def _each(self, test: Any, grouping: Any, given: dict[str, Any]) -> ManyTested:
        tests = []
        for rows in self._rows.values():
            own = {} if grouping is None else {"grouping": _of_cells(grouping, rows)}
            chosen = {name: _of_cells(value, rows) for name, value in given.items() if name == "size_factors"}
            tests.append(test(take_cells(self._counts, rows), **own, **(given | chosen)))
        return ManyTested(list(self._rows), tests)

    def two_sample(self, grouping: Any, **given: Any) -> ManyTested:
        """`two_sample` in each part."""
        return self._each(two_sample, grouping, given)

    def t_test(self, grouping: Any, **given: Any) -> ManyTested:
        """`t_test` in each part."""
        return self._each(t_test, grouping, given)

    def rank_test(self, grouping: Any, **given: Any) -> ManyTested:
        """`rank_test` in each part."""
        return self._each(rank_test, grouping, given)

    def wald(self, **given: Any) -> ManyTested:
        """`wald` in each part."""
        return self._each(wald, None, given)

    def lrt(self, **given: Any) -> ManyTested:
        """`lrt` in each part."""
        return self._each(lrt, None, given)


def _of_cells(value: Any, rows: np.ndarray) -> Any:
    return value if value is None or isinstance(value, str) else np.asarray(value)[rows]


def _turned(test: Tested) -> Tested:
    """The same test with the groups in the other order."""
    return Tested(test.gene_ids, test.pval, -test.log_fold_change(), test.mean)


def _two_by_lrt(
    counts: Counts, groups: dict[str, np.ndarray], pair: tuple[str, str], given: dict[str, Any]
) -> ModelTested:
    rows = np.concatenate([groups[label] for label in pair])
    sizes = [len(groups[label]) for label in pair]
    both = {pair[0]: np.arange(sizes[0]), pair[1]: np.arange(sizes[0], sum(sizes))}
    chosen = {name: _of_cells(value, rows) if name == "size_factors" else value for name, value in given.items()}
    return lrt(_with_groups(take_cells(counts, rows), both), f"~ {_COLUMN}", "~ 1", **chosen)


def _with_groups(counts: Counts, groups: dict[str, np.ndarray]) -> Counts:
    """The counts with a factor of the groups beside their cell data."""
    labels = np.empty(counts.n_cells, dtype=object)
    for label, rows in groups.items():
        labels[rows] = label
    factor = pd.Categorical(labels, categories=list(groups))
    frame = pd.DataFrame(index=pd.Index(counts.cell_names)) if counts.cell_data is None else counts.cell_data
    return replace(counts, cell_data=frame.assign(**{_COLUMN: factor}))


def _two_groups(
    test: str,
    counts: Counts,
    grouping: Any,
    is_logged: bool,  # noqa: FBT001
    is_sig_zerovar: bool,  # noqa: FBT001
) -> TwoSampleTested:
    first, second = _two_labels(group_rows(counts, grouping, "grouping"))
    return _compare(test, counts, first, second, is_logged, is_sig_zerovar)


def _compare(
    test: str,
    counts: Counts,
    first: np.ndarray,
    second: np.ndarray,
    is_logged: bool,  # noqa: FBT001
    is_sig_zerovar: bool,  # noqa: FBT001
) -> TwoSampleTested:
    return _GROUP_TESTS[test](counts, first, second, is_logged=is_logged, zero_variance_is_sure=is_sig_zerovar)


def _two_labels(groups: dict[str, np.ndarray]) -> list[np.ndarray]:
    if len(groups) != 2:
        msg = f"`grouping` must have two groups; got {len(groups)}: {', '.join(list(groups)[:10])}."
        raise InputError(msg)
    return list(groups.values())


def _several(groups: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    if len(groups) < 2:
        msg = f"`grouping` must have two groups or more; got {len(groups)}."
        raise InputError(msg)
    return groups


def _check_test(test: str, *refused: str) -> None:
    known = [name for name in (*_GROUP_TESTS, *_MODEL_TESTS) if name not in refused]
    if test not in known:
        msg = f"`test` must be one of {', '.join(map(repr, known))}; got {test!r}."
        raise InputError(msg)


def _refuse_model_options(test: str, given: dict[str, Any]) -> None:
    if given:
        msg = f"`{next(iter(given))}` is an option of a model, and `test` = {test!r} fits none. Leave it out."
        raise InputError(msg)
