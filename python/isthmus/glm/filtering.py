"""Which genes are worth testing: before the fit by their counts, after the test by their mean."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from isthmus.data.counts import Counts, read_counts
from isthmus.data.design import read_design
from isthmus.errors import InputError
from isthmus.glm.multiplicity import benjamini_hochberg

_LARGE_GROUP, _SHARE = 10, 0.7  # beyond so many samples, this share of them is asked for
_QUANTILES = 50
_FEW_REJECTED = 10


def expressed_genes(
    data: Any,
    design: Any = "~ 1",
    *,
    min_count: float = 10,
    min_total: float = 15,
    layer: str | None = None,
    cell_data: pd.DataFrame | None = None,
) -> pd.Series:
    """Genes with enough counts in enough samples, as edgeR's filterByExpr (Chen, Lun & Smyth 2016, F1000Res. 5:1438).

    1. The smallest group is taken to have 1 / (largest leverage of the design) samples; beyond ten, 70 % of the rest.
    2. A gene stays if that many samples reach `min_count` counts per median library, and its total is `min_total`.

    Parameters
    ----------
    data, design, layer, cell_data
        As in `fit_glm`.
    min_count, min_total
        Larger values keep fewer genes.

    Returns
    -------
    Series
        bool, by gene.

    Raises
    ------
    InputError
        A negative bound; counts and designs that `fit_glm` refuses.

    Examples
    --------
    >>> expressed_genes(np.array([[0, 30], [1, 25], [0, 40]])).tolist()
    [False, True]
    """
    for name, value in (("min_count", min_count), ("min_total", min_total)):
        if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not value >= 0:
            msg = f"`{name}` must be a number of at least 0; got {value!r}."
            raise InputError(msg)
    counts = data if isinstance(data, Counts) else read_counts(data, layer=layer, cell_data=cell_data)
    x = read_design(design, counts, counts.cell_data, argument="design").matrix
    q = np.linalg.qr(x)[0]
    smallest = 1 / float((q**2).sum(axis=1).max())
    if smallest > _LARGE_GROUP:
        smallest = _LARGE_GROUP + (smallest - _LARGE_GROUP) * _SHARE
    library = np.asarray(counts.matrix.sum(axis=1), dtype=float).reshape(-1)
    cutoff = min_count / np.median(library) * library  # counts of each sample that make min_count per median library
    enough = counts.matrix.tocoo()
    reaches = enough.data >= cutoff[enough.row] * (1 - 1e-12)
    if min_count == 0:
        n_samples = np.full(counts.n_genes, counts.n_cells)
    else:
        n_samples = np.bincount(enough.col[reaches], minlength=counts.n_genes)
    total = np.asarray(counts.matrix.sum(axis=0), dtype=float).reshape(-1)
    kept = (n_samples >= smallest - 1e-10) & (total >= min_total - 1e-10)
    return pd.Series(kept, index=pd.Index(counts.gene_names), name="expressed")


def filter_by_mean(test: pd.DataFrame, *, fdr: float = 0.1) -> pd.DataFrame:
    """Independent filtering: adjust the p-values of genes above a mean that leaves most of them significant.

    The mean does not depend on the p-value of a true null, so genes that hardly can be significant may be left out
    before the adjustment (Bourgon, Gentleman & Huber 2010, PNAS 107:9546). The cutoff follows DESeq2: numbers of
    rejections at 50 quantiles of the mean are smoothed by lowess; the lowest quantile within one residual standard
    deviation of the maximum is taken, and none where at most 10 genes are rejected.

    Parameters
    ----------
    test
        A table of `test_glm`; several contrasts or levels are filtered one by one.
    fdr
        The level that the cutoff is chosen for.

    Returns
    -------
    DataFrame
        The table with another ``padj``, NaN for the genes below the cutoff.

    Examples
    --------
    >>> table = pd.DataFrame({"contrast": "b", "mean": [1.0, 2.0], "pval": [0.2, 0.01], "padj": [0.2, 0.02]})
    >>> filter_by_mean(table)["padj"].tolist()
    [0.2, 0.02]
    """
    lacking = [name for name in ("contrast", "mean", "pval", "padj") if name not in getattr(test, "columns", ())]
    if lacking:
        msg = f"`test` must be a table of test_glm(); it has no column '{lacking[0]}'."
        raise InputError(msg)
    if isinstance(fdr, bool) or not isinstance(fdr, (int, float, np.number)) or not 0 < fdr < 1:
        msg = f"`fdr` must be a number between 0 and 1; got {fdr!r}."
        raise InputError(msg)
    out = test.copy()
    columns = list(test.columns)
    strata = columns[: columns.index("gene")] if "gene" in columns else []  # of fits `by` level
    for _, rows in test.groupby([*strata, "contrast"], sort=False, observed=True).groups.items():
        place = test.index.get_indexer(rows)
        means, pval = (test[name].to_numpy(dtype=float)[place] for name in ("mean", "pval"))
        out.iloc[place, out.columns.get_loc("padj")] = filtered_padj(pval, means, float(fdr))
    return out


def filtered_padj(pval: np.ndarray, means: np.ndarray, fdr: float) -> np.ndarray:
    """Adjusted p-values of the genes above the cutoff, NaN for the others."""
    means = np.nan_to_num(means)  # all-zero genes
    lowest = float(np.mean(means == 0))
    theta = np.linspace(lowest, 0.95 if lowest < 0.95 else 1.0, _QUANTILES)
    adjusted = []
    for cutoff in np.quantile(means, theta):
        adjusted.append(benjamini_hochberg(np.where(means >= cutoff, pval, np.nan)))
    rejected = np.array([float(np.nansum(padj < fdr)) for padj in adjusted])
    if rejected.max() <= _FEW_REJECTED:
        return adjusted[0]
    smooth = lowess(theta, rejected, share=0.2)
    some = rejected > 0
    spread = float(np.sqrt(np.mean((rejected[some] - smooth[some]) ** 2)))
    good = np.flatnonzero(rejected > smooth.max() - spread)
    return adjusted[int(good[0]) if good.size else 0]


def lowess(x: np.ndarray, y: np.ndarray, *, share: float, n_robust: int = 3) -> np.ndarray:
    """Cleveland's (1979, J. Am. Stat. Assoc. 74:829) locally linear smoother with robustness weights, at each x."""
    n = len(x)
    k = max(int(share * n + 1e-7), 2)
    robust = np.ones(n)
    for _ in range(n_robust + 1):
        fitted = np.array([_local_line(x, y, robust, x[i], k) for i in range(n)])
        residual = np.abs(y - fitted)
        scale = 6 * np.median(residual)
        if scale <= 1e-7 * residual.mean():
            break
        robust = np.where(residual < scale, (1 - (residual / scale) ** 2) ** 2, 0.0)
    return fitted


def _local_line(x: np.ndarray, y: np.ndarray, robust: np.ndarray, at: float, k: int) -> float:
    distance = np.abs(x - at)
    reach = np.sort(distance)[k - 1]
    weight = np.where(distance < reach, (1 - (distance / max(reach, 1e-300)) ** 3) ** 3, 0.0) * robust
    weight[distance == 0] = np.maximum(weight[distance == 0], robust[distance == 0])
    total = weight.sum()
    if total <= 0:
        return float(y[np.argmin(distance)])
    center = (weight @ x) / total
    spread = weight @ (x - center) ** 2
    level = (weight @ y) / total
    if spread < 1e-12 * (x.max() - x.min()) ** 2 * total:
        return float(level)
    return float(level + (at - center) * (weight @ ((x - center) * y)) / spread)
