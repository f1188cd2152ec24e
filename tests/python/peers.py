"""Counts and numbers of DESeq2, edgeR and glmGamPoi that folders of tests/reference hold."""

from __future__ import annotations

import pandas as pd
from glm_cases import REFERENCE


def peer_problem(folder: str = "peers") -> tuple[pd.DataFrame, pd.DataFrame]:
    """Counts (samples x genes) and the samples' columns, size factors included."""
    counts = pd.read_csv(REFERENCE / folder / "counts.csv", index_col=0).T.astype(float)
    return counts, pd.read_csv(REFERENCE / folder / "cells.csv", index_col=0)


def peer(name: str, folder: str = "peers") -> pd.DataFrame:
    """What a package found, one row a gene."""
    return pd.read_csv(REFERENCE / folder / f"{name}.csv", index_col=0)


def same_calls(pval: pd.Series, other: pd.Series, fdr: float = 0.05) -> tuple[float, float]:
    """Spearman correlation of two sets of p-values, and the share of genes with the same call at an FDR."""
    from statsmodels.stats.multitest import multipletests

    both = pval.notna() & other.notna()
    calls = [multipletests(p[both], alpha=fdr, method="fdr_bh")[0] for p in (pval, other)]
    return float(pval[both].corr(other[both], method="spearman")), float((calls[0] == calls[1]).mean())
