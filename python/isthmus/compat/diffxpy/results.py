"""What a test returns under diffxpy's names: p-values, fold changes, and a summary with filters."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from isthmus.errors import InputError
from isthmus.glm.multiplicity import benjamini_hochberg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from isthmus.compat.diffxpy.estimator import Estimator

_LN2, _LN10 = np.log(2.0), np.log(10.0)


class Tested:
    """One test in every gene.

    Attributes
    ----------
    gene_ids
        Names of the genes.
    pval, qval
        p-values, and Benjamini-Hochberg's adjustment over the genes that have one.
    mean
        Mean count of each gene over the cells that were tested.
    """

    def __init__(self, genes: np.ndarray, pval: np.ndarray, log_fold_change: np.ndarray, mean: np.ndarray) -> None:
        self.gene_ids = np.asarray(genes)
        self.pval, self.mean = np.asarray(pval, dtype=float), np.asarray(mean, dtype=float)
        self.qval = benjamini_hochberg(self.pval)
        self._log_fold_change = np.asarray(log_fold_change, dtype=float)

    def log_fold_change(self, base: float = math.e) -> np.ndarray:
        """Log fold change to any base."""
        return self._log_fold_change / np.log(base)

    def log2_fold_change(self) -> np.ndarray:
        """Log fold change to base 2."""
        return self._log_fold_change / _LN2

    def log10_fold_change(self) -> np.ndarray:
        """Log fold change to base 10."""
        return self._log_fold_change / _LN10

    def log10_pval_clean(self, log10_threshold: float = -30) -> np.ndarray:
        """Log10 of the p-values, no smaller than a threshold, 0 where there is none."""
        return _log10(self.pval, log10_threshold)

    def log10_qval_clean(self, log10_threshold: float = -30) -> np.ndarray:
        """Log10 of the adjusted p-values, no smaller than a threshold, 0 where there is none."""
        return _log10(self.qval, log10_threshold)

    def _columns(self) -> dict[str, np.ndarray]:
        return {
            "gene": self.gene_ids,
            "pval": self.pval,
            "qval": self.qval,
            "log2fc": self.log2_fold_change(),
            "mean": self.mean,
            "zero_mean": self.mean == 0,
        }

    def summary(
        self,
        qval_thres: float | None = None,
        fc_upper_thres: float | None = None,
        fc_lower_thres: float | None = None,
        mean_thres: float | None = None,
    ) -> pd.DataFrame:
        """One row a gene.

        Parameters
        ----------
        qval_thres
            Keep genes with ``qval`` at most this.
        fc_upper_thres, fc_lower_thres
            Keep genes with a fold change (not its log) of at least the upper or at most the lower one.
        mean_thres
            Keep genes with at least this mean.
        """
        table = pd.DataFrame(self._columns())
        keep = np.ones(len(table), dtype=bool)
        if qval_thres is not None:
            keep &= table["qval"].to_numpy() <= qval_thres
        fold = np.exp2(table["log2fc"].to_numpy())
        if fc_upper_thres is not None or fc_lower_thres is not None:
            above = fold >= (np.inf if fc_upper_thres is None else fc_upper_thres)
            keep &= above | (fold <= (-np.inf if fc_lower_thres is None else fc_lower_thres))
        if mean_thres is not None:
            keep &= table["mean"].to_numpy() >= mean_thres
        return table[keep]

    def plot_volcano(self, *, alpha: float = 0.05, ax: Axes | None = None) -> Axes:
        """Log2 fold changes against -log10 p-values."""
        from isthmus.plotting import volcano

        table = pd.DataFrame(self._columns()).rename(columns={"qval": "padj"})
        table = table.assign(contrast="", estimate_penalized=np.nan)
        return volcano(table, fdr=alpha, ax=ax)


def _log10(values: np.ndarray, threshold: float) -> np.ndarray:
    with np.errstate(divide="ignore"):
        logs = np.log10(values)
    return np.where(np.isnan(logs), 0.0, np.maximum(logs, threshold))


class ModelTested(Tested):
    """A test of a fitted model.

    Attributes
    ----------
    model_estim
        The fitted model.
    log_likelihood
        Of the full model, one per gene.
    table
        The table of :func:`isthmus.test_glm`: statistic, standard error, interval, status.
    """

    def __init__(self, estimator: Estimator, table: pd.DataFrame, log_fold_change: np.ndarray) -> None:
        super().__init__(table["gene"].to_numpy(), table["pval"].to_numpy(), log_fold_change, estimator.fit.mean)
        self.model_estim, self.table = estimator, table
        self.log_likelihood = estimator.log_likelihood

    @property
    def full_estim(self) -> Any:
        """The fitted model."""
        return self.model_estim

    def _columns(self) -> dict[str, np.ndarray]:
        score = np.abs(self.model_estim.jacobian).sum(axis=1) / self.model_estim.fit.n_cells
        columns = super()._columns() | {"zero_mean": self.model_estim.fit.feature_allzero, "grad": score}
        if not self.table["estimate"].isna().all():
            columns |= {"coef_mle": self.table["estimate"].to_numpy(), "coef_sd": self.table["se"].to_numpy()}
        return columns | {"ll": self.log_likelihood}


class TwoSampleTested(Tested):
    """Welch's t-test or the rank-sum test."""

    def __init__(
        self, genes: np.ndarray, pval: np.ndarray, fold: np.ndarray, mean: np.ndarray, constant: np.ndarray
    ) -> None:
        super().__init__(genes, pval, fold, mean)
        self.zero_variance = constant

    def _columns(self) -> dict[str, np.ndarray]:
        return super()._columns() | {"zero_variance": self.zero_variance}


class ManyTested(Tested):
    """Several tests of every gene: pairs of groups, groups against the rest, or parts of the cells.

    Attributes
    ----------
    names
        What each test is about, in order.
    pvals, qvals, log_fold_changes
        ``(n_tests, n_genes)``; `qvals` adjusted over everything ("global") or within each test ("by_test").
    """

    def __init__(self, names: list[Any], tests: list[Tested], correction: str = "global") -> None:
        if correction not in ("global", "by_test"):
            msg = f"`pval_correction` must be 'global' or 'by_test'; got {correction!r}."
            raise InputError(msg)
        self.names, self._tests = names, tests
        self.pvals = np.array([test.pval for test in tests])
        self.log_fold_changes = np.array([test.log_fold_change() for test in tests])
        if correction == "global":
            self.qvals = benjamini_hochberg(self.pvals.ravel()).reshape(self.pvals.shape)
        else:
            self.qvals = np.array([test.qval for test in tests])
        mean = np.mean([test.mean for test in tests], axis=0)
        super().__init__(tests[0].gene_ids, _smallest(self.pvals), _largest_change(self.log_fold_changes), mean)
        self.qval = _smallest(self.qvals)

    def tests(self, name: Any) -> Tested:
        """The test of one part, pair or group."""
        if name not in self.names:
            msg = f"There is no test of {name!r}; there are: {', '.join(map(repr, self.names))}."
            raise InputError(msg)
        return self._tests[self.names.index(name)]

    def _one(self, name: Any) -> pd.DataFrame:
        test = self.tests(name)
        at = self.names.index(name)
        columns = {"gene": self.gene_ids, "pval": self.pvals[at], "qval": self.qvals[at]}
        return pd.DataFrame(columns | {"log2fc": test.log2_fold_change(), "mean": test.mean})


def _smallest(values: np.ndarray) -> np.ndarray:
    """The smallest number of each column, NaN where there is none."""
    lowest = np.where(np.isnan(values), np.inf, values).min(axis=0)
    return np.where(np.isinf(lowest), np.nan, lowest)


def _largest_change(changes: np.ndarray) -> np.ndarray:
    """The change with the largest absolute value of each column, with its sign."""
    at = np.where(np.isnan(changes), -1.0, np.abs(changes)).argmax(axis=0)
    return np.take_along_axis(changes, at[None], axis=0)[0]


class PairsTested(ManyTested):
    """All pairs of groups; the change of a pair is the second group against the first."""

    def summary_pairs(self, groups0: Any, groups1: Any) -> pd.DataFrame:
        """Smallest p-value and largest change over pairs of a group in `groups0` with one in `groups1`."""
        return _extremes([self._one(pair) for pair in _pairs(groups0, groups1)])

    def summary_pair(self, group0: Any, group1: Any) -> pd.DataFrame:
        """The test of one pair."""
        return self._one((str(group0), str(group1)))


def _pairs(groups0: Any, groups1: Any) -> list[tuple[str, str]]:
    first = [groups0] if np.ndim(groups0) == 0 else list(groups0)
    second = [groups1] if np.ndim(groups1) == 0 else list(groups1)
    return [(str(a), str(b)) for a in first for b in second if str(a) != str(b)]


def _extremes(tables: list[pd.DataFrame]) -> pd.DataFrame:
    if not tables:
        msg = "`groups0` and `groups1` must hold two different groups."
        raise InputError(msg)
    out = tables[0].copy()
    out["pval"] = _smallest(np.array([table["pval"] for table in tables]))
    out["qval"] = _smallest(np.array([table["qval"] for table in tables]))
    out["log2fc"] = _largest_change(np.array([table["log2fc"] for table in tables]))
    return out


class GroupsTested(ManyTested):
    """Each group against all other cells or groups."""

    def summary_group(self, group: Any) -> pd.DataFrame:
        """The test of one group."""
        return self._one(str(group))
