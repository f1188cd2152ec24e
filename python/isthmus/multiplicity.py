"""False discovery rate over the rows that have a p-value."""

from __future__ import annotations

import numpy as np


def benjamini_hochberg(pval: np.ndarray) -> np.ndarray:
    """Adjusted p-values (Benjamini & Hochberg 1995); NaN rows take no part and stay NaN.

    Examples
    --------
    >>> benjamini_hochberg(np.array([0.01, np.nan, 0.04, 0.02]))
    array([0.03, nan, 0.04, 0.03])
    """
    adjusted = np.full(len(pval), np.nan)
    tested = np.flatnonzero(~np.isnan(pval))
    order = tested[np.argsort(-pval[tested], kind="stable")]  # largest first
    rank = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.minimum.accumulate(pval[order] * len(order) / rank), 1.0)
    return adjusted


def within_families(pval: np.ndarray, family: np.ndarray) -> np.ndarray:
    """`benjamini_hochberg` in each family on its own.

    Examples
    --------
    >>> within_families(np.array([0.01, 0.04, 0.02]), np.array([0, 0, 1]))
    array([0.02, 0.04, 0.02])
    """
    adjusted = np.full(len(pval), np.nan)
    for label in np.unique(family):
        members = family == label
        adjusted[members] = benjamini_hochberg(pval[members])
    return adjusted
