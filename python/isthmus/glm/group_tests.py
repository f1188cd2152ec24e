"""Tests of groups of cells without a model, in the table of `test_glm`: for comparison."""

from __future__ import annotations

from itertools import combinations
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import stats

from isthmus import schema
from isthmus.data.counts import Counts, read_counts
from isthmus.errors import InputError
from isthmus.glm.estimate import mean_counts
from isthmus.glm.multiplicity import benjamini_hochberg
from isthmus.glm.size_factors import size_factors as read_size_factors
from isthmus.glm.strata import read_labels

_AT_ONCE = 4_000_000  # cells x genes held as dense numbers


def compare_groups(
    data: Any,
    groups: Any,
    *,
    test: Literal["welch", "rank"] = "welch",
    transform: Literal["log1p", "none"] = "log1p",
    size_factors: Any = "auto",
    cell_data: pd.DataFrame | None = None,
    gene_names: Any = None,
    layer: str | None = None,
) -> pd.DataFrame:
    """Welch's t-test or the rank-sum test between every pair of groups of cells.

    They know neither covariates nor donors, nor that a count of 0 says less in a shallow cell: use `fit_glm` and
    `test_glm` where it matters.

    Parameters
    ----------
    data, size_factors, cell_data, gene_names, layer
        As in `fit_glm`.
    groups
        A column name, or one label per cell.
    test
        "welch": t with Welch's degrees of freedom (Welch 1947, Biometrika 34:28). "rank": Mann and Whitney's U with
        ties, normal approximation with continuity correction.
    transform
        What of count / size factor is compared: "log1p" (natural log of 1 + it) or "none".

    Returns
    -------
    DataFrame
        Columns of `isthmus.schema.TEST_GLM`, one block of rows a pair ``b - a``, each adjusted by itself. ``estimate``
        is the natural log of the ratio of the mean counts / size factor (infinite where one is 0), without a standard
        error; ``stat`` t or U of the second group; ``log_likelihood`` is missing.

    Raises
    ------
    InputError
        Unknown choices; fewer than two groups or fewer than two cells in one; what `fit_glm` refuses.

    Examples
    --------
    >>> counts = np.array([[3.0], [4], [2], [30], [41], [25]])
    >>> found = compare_groups(counts, ["a", "a", "a", "b", "b", "b"], size_factors=None)
    >>> bool(found["pval"][0] < 0.01)
    True
    """
    for name, value, allowed in (("test", test, ("welch", "rank")), ("transform", transform, ("log1p", "none"))):
        if value not in allowed:
            msg = f"`{name}` must be one of {', '.join(allowed)}; got {value!r}."
            raise InputError(msg)
    counts = (
        data if isinstance(data, Counts) else read_counts(data, layer=layer, cell_data=cell_data, gene_names=gene_names)
    )
    _, labels, levels = read_labels(groups, counts, argument="groups")
    cells = {level: np.flatnonzero(labels == level) for level in levels}
    few = [level for level in levels if len(cells[level]) < 2]
    if len(levels) < 2 or few:
        what = f"'{few[0]}' has one" if few else f"there is one group, '{levels[0]}'"
        msg = f"`groups` must be two or more, of two or more cells each; {what}."
        raise InputError(msg)
    factors = read_size_factors(size_factors, counts)
    tables = [_pair(counts, factors, cells, pair, test, transform) for pair in combinations(levels, 2)]
    return pd.concat(tables, ignore_index=True)


def _pair(
    counts: Counts,
    factors: np.ndarray,
    cells: dict[str, np.ndarray],
    pair: tuple[str, str],
    test: str,
    transform: str,
) -> pd.DataFrame:
    rows = [cells[level] for level in pair]
    means = [mean_counts(counts.matrix[at], factors[at]) for at in rows]
    n_genes = counts.n_genes
    stat, df, pval = (np.full(n_genes, np.nan) for _ in range(3))
    columns = [counts.matrix[at].tocsc() for at in rows]
    step = max(1, _AT_ONCE // counts.n_cells)
    for first in range(0, n_genes, step):
        part = slice(first, min(first + step, n_genes))
        a, b = (c[:, part].toarray() / factors[at][:, None] for c, at in zip(columns, rows, strict=True))
        if transform == "log1p":
            a, b = np.log1p(a), np.log1p(b)
        stat[part], df[part], pval[part] = (_welch if test == "welch" else _rank)(a, b)
    with np.errstate(divide="ignore", invalid="ignore"):
        estimate = np.log(means[1]) - np.log(means[0])
    empty = (means[0] == 0) & (means[1] == 0)
    known = ~np.isnan(pval)
    nothing = np.full(n_genes, np.nan)
    table = {
        "gene": counts.gene_names,
        "contrast": np.full(n_genes, f"{pair[1]} - {pair[0]}", dtype=object),
        "method": np.full(n_genes, test, dtype=object),
        "mean": np.where(empty, np.nan, mean_counts(counts.matrix, factors)),
        "estimate": estimate,
        "log2fc": estimate / np.log(2),
        **dict.fromkeys(("se", "ci_low", "ci_high", "log_likelihood", "estimate_penalized"), nothing),
        "stat": np.where(known, stat, np.nan),
        "df": np.where(known, 1.0, np.nan),
        "df_resid": np.where(known, df, np.nan),
        "pval": pval,
        "padj": benjamini_hochberg(pval),
        "status": np.where(empty, "all_zero", "ok").astype(object),
    }
    return schema.frame(schema.TEST_GLM, {name: table[name] for name in schema.TEST_GLM})


def _welch(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """t, its degrees of freedom and p-values; none where neither group varies."""
    varies = (np.ptp(a, axis=0) > 0) | (np.ptp(b, axis=0) > 0)
    out = np.full((3, a.shape[1]), np.nan)
    if varies.any():
        found = stats.ttest_ind(b[:, varies], a[:, varies], equal_var=False)
        out[:, varies] = found.statistic, found.df, found.pvalue
    return out[0], out[1], out[2]


def _rank(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """U, infinity and p-values; none where all values are equal."""
    varies = np.ptp(np.vstack([a, b]), axis=0) > 0
    stat, pval = np.full((2, a.shape[1]), np.nan)
    if varies.any():
        found = stats.mannwhitneyu(b[:, varies], a[:, varies], alternative="two-sided", method="asymptotic")
        stat[varies], pval[varies] = found.statistic, found.pvalue
    return stat, np.full(a.shape[1], np.inf), pval
