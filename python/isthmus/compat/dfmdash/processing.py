"""``dfmdash.processing``: the panel of one batch as dfmdash fits it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from isthmus.compat.dfmdash.files import to_yaml, write_text
from isthmus.data.wording import did_you_mean, some
from isthmus.errors import InputError

if TYPE_CHECKING:
    import os

    from anndata import AnnData


def is_constant(column: pd.Series) -> bool:
    """Are all values of the column equal to the first?"""
    return bool((column == column.iloc[0]).all())


class DataProcessor:
    """Turn the AnnData of one batch into the panel that dfmdash fits.

    Parameters
    ----------
    ad
        obs = time points, var = series; ``var["factor"]``, and booleans ``var["difference"]``, ``var["logdiff"]``.
    global_multiplier
        Number of global factors; 0 for none.
    maxiter
        Largest number of EM iterations.

    Attributes
    ----------
    raw, df
        Untransformed and transformed values, time x series.
    factors
        Series -> tuple of its factors.
    stationary_columns
        Series that pass an augmented Dickey-Fuller test at 0.25; the others are in `non_stationary_cols`. (dfmdash
        called the latter by the former's name.)
    """

    def __init__(self, ad: AnnData, global_multiplier: int = 1, maxiter: int = 10_000) -> None:
        self.ad = ad
        self.global_multiplier = global_multiplier
        self.multiplicities = {"Global": global_multiplier}
        self.maxiter = maxiter
        self.non_stationary_cols: list[str] | None = None
        self.stationary_columns: list[str] | None = None
        self.raw: pd.DataFrame = pd.DataFrame()
        self.df: pd.DataFrame = pd.DataFrame()
        self.factors: dict[str, tuple[str, ...]] = {}
        self.diff_cols: list[str] = []
        self.logdiff_cols: list[str] = []

    def __repr__(self) -> str:
        return f"DataProcessor(ad={self.ad}, global_multiplier={self.global_multiplier}, maxiter={self.maxiter})"

    def process(self, columns: Sequence[str] | None = None) -> DataProcessor:
        """Select `columns`, difference, drop constant columns, normalise; the object itself comes back."""
        values = self.ad.to_df()
        if columns is not None:
            unknown = [name for name in columns if name not in values.columns]
            if unknown:
                msg = f"`columns` must name series of `ad`; got {some(unknown)}. " + did_you_mean(
                    str(unknown[0]), [str(name) for name in values.columns]
                )
                raise InputError(msg)
            values = values[list(columns)]
        self.raw = values
        self.df = values.copy()
        self.process_differences().drop_constant_cols().normalize()
        self.factors = {name: own for name, own in self.get_factors().items() if name in self.df.columns}
        return self

    def write(self, outdir: str | os.PathLike[str]) -> None:
        """Write raw.csv, df.csv and run-info.yaml; the folder is made where it is missing."""
        out = Path(outdir)
        out.mkdir(parents=True, exist_ok=True)
        write_text(out / "raw.csv", self.raw.to_csv())
        write_text(out / "df.csv", self.df.to_csv())
        info = {
            "diff_cols": self.diff_cols,
            "factor_map": {name: list(own) for name, own in self.factors.items()},
            "global_multiplier": self.global_multiplier,
            "logdiff_cols": self.logdiff_cols,
            "maxiter": self.maxiter,
            "non_stationary_cols": self.non_stationary_cols,
        }
        write_text(out / "run-info.yaml", to_yaml(info))

    def get_factors(self) -> dict[str, tuple[str, ...]]:
        """Series -> ("Global", its group), or (its group,) without global factors."""
        if "factor" not in self.ad.var.columns:
            msg = "`ad` must have a column `factor` in `var`; got " + (
                f"{some([str(c) for c in self.ad.var.columns])}. Add one."
                if len(self.ad.var.columns)
                else "no columns. Add one."
            )
            raise InputError(msg)
        groups = self.ad.var["factor"].astype(str).to_dict()
        if self.global_multiplier == 0:
            return {name: (group,) for name, group in groups.items()}
        return {name: ("Global", group) for name, group in groups.items()}

    def process_differences(self) -> DataProcessor:
        """Differences and log(x + 1) differences, without the first row, and 0 where a value is missing.

        An undefined logarithm (x < -1) is an error here; dfmdash made it 0.
        """
        self.diff_cols, self.logdiff_cols = self.get_diff_cols(), self.get_logdiff_cols()
        if self.diff_cols:
            self.diff_vars()
        if self.logdiff_cols:
            self.logdiff_vars()
        if self.diff_cols or self.logdiff_cols:
            self.df, self.raw = self.df.iloc[1:], self.raw.iloc[1:]
        self.df = self.df.fillna(0)
        return self

    def drop_constant_cols(self) -> DataProcessor:
        """Drop the columns in which every value is the same."""
        self.df = self.df.loc[:, [not is_constant(self.df[name]) for name in self.df.columns]]
        return self

    def get_diff_cols(self) -> list[str]:
        """Series flagged in ``var["difference"]``."""
        return self._get_cols("difference")

    def get_logdiff_cols(self) -> list[str]:
        """Series flagged in ``var["logdiff"]``."""
        return self._get_cols("logdiff")

    def _get_cols(self, colname: str) -> list[str]:
        if colname not in self.ad.var.columns:
            return []
        flagged = self.ad.var.index[self.ad.var[colname].to_numpy().astype(bool)]
        return [str(name) for name in flagged if name in self.df.columns]

    def diff_vars(self) -> DataProcessor:
        """First differences of `diff_cols`."""
        self.df[self.diff_cols] = self.df[self.diff_cols].diff()
        return self

    def logdiff_vars(self) -> DataProcessor:
        """Differences of log(x + 1) of `logdiff_cols`."""
        values = self.df[self.logdiff_cols]
        undefined = values <= -1
        if undefined.to_numpy().any():
            bad = [str(name) for name in values.columns[undefined.any()]]
            rows = [str(label) for label in values.index[undefined.any(axis=1)]]
            msg = f"`logdiff` needs values > -1, as it takes log(x + 1); {some(bad)} have others (times {some(rows)})."
            raise InputError(msg)
        self.df[self.logdiff_cols] = np.log(values + 1).diff()
        return self

    def get_nonstationary_columns(self) -> list[str]:
        """Series whose augmented Dickey-Fuller test has p > 0.25; both attributes are set. Not needed by the fit."""
        from statsmodels.tsa.stattools import adfuller

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # statsmodels 0.15: the type of the answer will change
            bad = [str(name) for name in self.df.columns if adfuller(self.df[name])[1] > 0.25]
        self.non_stationary_cols = bad
        self.stationary_columns = [str(name) for name in self.df.columns if name not in bad]
        return bad

    def normalize(self) -> DataProcessor:
        """Minimum 0 and maximum 1 in every column, as scikit-learn's MinMaxScaler computes it."""
        if self.df.shape[1] == 0:
            msg = "`ad` must have series that vary; got none after dropping constant columns."
            raise InputError(msg)
        values = np.array(self.df, dtype=np.float64)  # one block in C order, as scikit-learn leaves it
        low, high = values.min(axis=0), values.max(axis=0)
        scale = 1 / (high - low)
        self.df = pd.DataFrame(values * scale + (0 - low * scale), columns=self.df.columns, index=self.df.index)
        return self
