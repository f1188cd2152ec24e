"""Every column of every table: type, unit, meaning, and when it is missing.

Read by the docs, the tables and both test suites.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Mapping


class Column(NamedTuple):
    """One column: numpy dtype name ("str" for text), unit ("" for none), meaning, and when it is NaN or missing."""

    dtype: str
    unit: str
    meaning: str
    missing: str = "never"


_GENE = Column("str", "", "gene name")
_STATUS = Column("str", "", "first that applies: all_zero, separated, not_converged, poisson_limit, ok")
_MODEL = Column("str", "", '"mean" (log mu) or "dispersion" (log alpha)')

GLM_COEFFICIENTS = {
    "gene": _GENE,
    "model": _MODEL,
    "term": Column("str", "", "name of the parameter"),
    "estimate": Column(
        "float64",
        "natural log",
        "maximum-likelihood estimate; -Inf or Inf where the likelihood rises for ever",
        "all_zero; dispersion at the Poisson limit; infinite in no definite direction",
    ),
    "se": Column(
        "float64", "natural log", "standard error from the expected information", "as estimate; infinite estimates"
    ),
    "dependent": Column("bool", "", "follows from the other parameters through a constraint"),
}

GLM_GENES = {
    "gene": _GENE,
    "status": _STATUS,
    "mean": Column("float64", "counts", "mean over cells of count / size factor", "all_zero"),
    "dispersion": Column(
        "float64", "", "alpha of Var = mu + alpha mu^2, averaged over cells; 0 at the Poisson limit", "all_zero"
    ),
    "log_likelihood": Column("float64", "natural log", "log-likelihood with every constant", "all_zero"),
    "n_iter": Column("int32", "", "Newton steps"),
}

TEST_GLM = {
    "gene": _GENE,
    "contrast": Column("str", "", "what is tested"),
    "method": Column("str", "", "test that gave the p-value"),
    "mean": Column("float64", "counts", "mean over cells of count / size factor", "all_zero"),
    "estimate": Column(
        "float64",
        "natural log",
        "value of the contrast",
        "several rows tested at once; all_zero; poisson_limit in the dispersion model",
    ),
    "log2fc": Column("float64", "log2", "estimate / ln 2", "as estimate"),
    "se": Column("float64", "natural log", "standard error of the estimate", "as estimate; separated"),
    "ci_low": Column("float64", "natural log", "lower end of the 95 % interval", "as se"),
    "ci_high": Column("float64", "natural log", "upper end of the 95 % interval", "as se"),
    "stat": Column("float64", "", "z or t for one row; chi-square or F for several", "no p-value"),
    "df": Column("float64", "", "rank of the contrast", "no p-value"),
    "df_resid": Column("float64", "", "cells minus free mean parameters; Inf for the normal reference", "no p-value"),
    "pval": Column(
        "float64", "", "p-value", "status all_zero, separated or not_converged; poisson_limit in the dispersion model"
    ),
    "padj": Column("float64", "", "Benjamini-Hochberg over the rows with a p-value", "as pval"),
    "log_likelihood": Column("float64", "natural log", "log-likelihood of the fit, with every constant", "all_zero"),
    "status": Column("str", "", "as in the genes table, decided for this contrast"),
}

_CELL = Column("str", "", "cell name")
_BATCH = Column("str", "", 'batch; "all" where none was named')

AMBIENT_CELLS = {
    "cell": _CELL,
    "batch": _BATCH,
    "rho": Column("float64", "", "share of the cell's counts that is ambient", "no_counts"),
    "rho_se": Column(
        "float64",
        "",
        "standard error: Fisher information x overdispersion, joined with that of the level",
        "no_counts; level_unidentified; `rho` given per cell",
    ),
    "observed_umi": Column("float64", "counts", "counts of the cell"),
    "ambient_umi": Column("float64", "counts", "expected ambient counts: observed - denoised_mean"),
    "denoised_umi": Column("float64", "counts", "counts of the cell in `denoised`"),
    "flag": Column("str", "", "first that applies: no_counts, level_unidentified, at_bound, ok"),
}

AMBIENT_GENES = {
    "gene": _GENE,
    "batch": _BATCH,
    "ambient_prob": Column("float64", "", "probability of the gene in the ambient profile; sums to 1 over genes"),
    "observed": Column("float64", "counts", "counts in the cells of the batch"),
    "removed": Column("float64", "counts", "of these, expected ambient: observed - denoised_mean"),
    "ambient_share": Column("float64", "", "removed / observed", "no counts observed"),
}

AMBIENT_PROFILE = {
    "gene": _GENE,
    "batch": _BATCH,
    "prob": Column("float64", "", "probability of the gene in an ambient count; sums to 1 over genes in each batch"),
    "count": Column(
        "float64",
        "counts",
        "counts in the droplets used; expected ones where a profile was given",
        "given without counts",
    ),
    "n_empty": Column("int32", "", "droplets used; 0 where the profile was given or is the average of the cells"),
}

AMBIENT_HISTORY = {
    "iteration": Column("int32", "", "EM step; 0 is the start"),
    "log_likelihood": Column("float64", "natural log", "multinomial log-likelihood without its constant"),
}

TABLES = {
    "coefficients": GLM_COEFFICIENTS,
    "genes": GLM_GENES,
    "test_glm": TEST_GLM,
    "ambient_cells": AMBIENT_CELLS,
    "ambient_genes": AMBIENT_GENES,
    "ambient_profile": AMBIENT_PROFILE,
    "ambient_history": AMBIENT_HISTORY,
}


def frame(columns: Mapping[str, Column], values: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """A table with just these columns, in this order and of these types."""
    assert list(values) == list(columns), f"columns {list(values)} do not follow the schema {list(columns)}"
    typed = {
        name: np.asarray(values[name], dtype=object if column.dtype == "str" else column.dtype)
        for name, column in columns.items()
    }
    return pd.DataFrame(typed, copy=False)
