"""The names, argument forms and files of dfmdash 1.0.0 (``dfmdash.dfm``, ``.processing``, ``.io``, ``.results``).

With ``engine="statsmodels"`` (the default here) numbers are dfmdash's: differences, then log(x + 1) differences, then
zeros where a value is missing, constant columns dropped, minimum and maximum to 0 and 1, DynamicFactorMQ with AR(1)
idiosyncratic terms, filtered factors. What it did wrong around them is mended: the caller's AnnData stays as it is,
every step of a batch is isolated, output folders may be nested, files appear complete or not at all, batch labels may
be of any type and hold any character, ``run`` can be called twice, and run-info.yaml can be read by a safe loader. New
work should use :func:`isthmus.fit_factors`, which keeps missing values missing.
"""

from __future__ import annotations

import io
import os
import re
import tempfile
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from isthmus.data.wording import did_you_mean, some
from isthmus.errors import InputError
from isthmus.messages import tell

if TYPE_CHECKING:
    from anndata import AnnData

_FAILURES = (ValueError, ArithmeticError, np.linalg.LinAlgError)


def process_factors(factors: pd.DataFrame, raw: pd.DataFrame, obs: pd.DataFrame) -> pd.DataFrame:
    """Factors beside the raw series, every column with the prefix ``Factor_``, and the columns of `obs`.

    The layout of dfmdash's factors.csv; rows are matched by position, and the arguments stay as they are.
    """
    out = pd.concat([factors.set_axis(raw.index), raw], axis=1)
    out.columns = [f"Factor_{name}" for name in out.columns]
    if obs.empty:
        return out
    return pd.concat([out, obs.loc[~obs.index.duplicated()].reindex(out.index)], axis=1)


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
        _write(out / "raw.csv", self.raw.to_csv())
        _write(out / "df.csv", self.df.to_csv())
        info = {
            "diff_cols": self.diff_cols,
            "factor_map": {name: list(own) for name, own in self.factors.items()},
            "global_multiplier": self.global_multiplier,
            "logdiff_cols": self.logdiff_cols,
            "maxiter": self.maxiter,
            "non_stationary_cols": self.non_stationary_cols,
        }
        _write(out / "run-info.yaml", to_yaml(info))

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


@dataclass
class Result:
    """One batch's fit: its label, the engine's results and model, and the frame of factors.csv."""

    name: Any
    result: Any
    model: Any
    factors: pd.DataFrame

    def write(self, outdir: str | os.PathLike[str]) -> None:
        """Write model.csv, results.csv and factors.csv into the batch's folder."""
        out = batch_folder(Path(outdir), self.name)
        out.mkdir(parents=True, exist_ok=True)
        if hasattr(self.result, "llf"):
            _write(out / "model.csv", self.model.summary().as_csv())
            _write(out / "results.csv", self.result.summary().as_csv())
        else:
            _write(out / "model.csv", self.result.table("loadings").to_csv(index=False))
            _write(out / "results.csv", self.result.table("stats").to_csv(index=False))
        _write(out / "factors.csv", self.factors.to_csv())


class ModelRunner:
    """Fit a dynamic factor model to each batch of an AnnData and write the results.

    Parameters
    ----------
    ad
        obs = time points, var = series. It is never changed.
    outdir
        Where to write; made with its parents.
    batch
        Column of ``obs``; None: one fit.
    engine
        "statsmodels": dfmdash's numbers. "isthmus": `isthmus.fit_factors` on the same processed panel; then ``model``
        of a result is None, and results.csv holds our table of statistics.

    Attributes
    ----------
    results
        A list of `Result`, one for each batch that was fitted in the last run.
    failures
        Label -> exception.
    """

    def __init__(
        self,
        ad: AnnData,
        outdir: str | os.PathLike[str] = Path("./output"),
        batch: str | None = None,
        *,
        engine: str = "statsmodels",
    ) -> None:
        if engine not in {"statsmodels", "isthmus"}:
            msg = f"`engine` must be 'statsmodels' or 'isthmus'; got {engine!r}."
            raise InputError(msg)
        if batch is not None and batch not in ad.obs.columns:
            msg = f"`batch` must be a column of `obs`; got {batch!r}. " + did_you_mean(
                str(batch), [str(name) for name in ad.obs.columns]
            )
            raise InputError(msg)
        self.ad = ad
        self.outdir = Path(outdir)
        self.batch = batch
        self.engine = engine
        self.batches: dict[Any, AnnData] = self.get_batches()
        self.results: list[Result] = []
        self.failures: dict[Any, Exception] = {}

    def __repr__(self) -> str:
        return f"ModelRunner(ad={self.ad}, outdir={self.outdir}, batch={self.batch})"

    def run(
        self, maxiter: int = 10_000, global_multiplier: int = 1, columns: Sequence[str] | None = None
    ) -> ModelRunner:
        """Fit and write every batch; failures are kept, and written to failed.txt. A second run replaces the first."""
        self.results, self.failures = [], {}
        self.outdir.mkdir(parents=True, exist_ok=True)
        for name, batch in self.batches.items():
            try:
                self.results.append(self._run_batch(name, batch, maxiter, global_multiplier, columns))
            except _FAILURES as error:
                self.failures[name] = error
        self.write_failures()
        tell(f"{len(self.results)} of {len(self.batches)} batches were fitted; files are in '{self.outdir}'.")
        return self

    def _run_batch(
        self, name: Any, batch: AnnData, maxiter: int, global_multiplier: int, columns: Sequence[str] | None
    ) -> Result:
        data = DataProcessor(batch, global_multiplier, maxiter).process(columns)
        data.write(batch_folder(self.outdir, name))
        data.df = _as_written(data.df)
        fit = _fit_statsmodels if self.engine == "statsmodels" else _fit_isthmus
        model, result, factors = fit(data)
        out = Result(name, result, model, process_factors(factors, data.raw, batch.obs))
        out.write(self.outdir)
        return out

    def write_failures(self) -> None:
        """Write failed.txt, a line of label, tab, message for each failure; without failures there is no such file."""
        path = self.outdir / "failed.txt"
        if self.failures:
            self.outdir.mkdir(parents=True, exist_ok=True)
            _write(path, "".join(f"{name}\t{failure}\n" for name, failure in self.failures.items()))
        else:
            path.unlink(missing_ok=True)

    def get_batches(self) -> dict[Any, AnnData]:
        """Label -> rows of the batch, in order of appearance; ``{None: ad}`` without a batch column."""
        if self.batch is None:
            return {None: self.ad}
        column = self.ad.obs[self.batch]
        return {label: self.ad[(column == label).to_numpy()] for label in column.unique()}


def _fit_statsmodels(data: DataProcessor) -> tuple[Any, Any, pd.DataFrame]:
    from statsmodels.tsa.statespace.dynamic_factor_mq import DynamicFactorMQ

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # statsmodels' remarks on text as an index of times
        model = DynamicFactorMQ(data.df, factors=data.factors, factor_multiplicities=data.multiplicities)
        result = model.fit(disp=False, maxiter=data.maxiter)
        return model, result, result.factors["filtered"]


def _fit_isthmus(data: DataProcessor) -> tuple[Any, Any, pd.DataFrame]:
    from isthmus.factors import fit_factors

    fit = fit_factors(
        data.df,
        factors={name: list(own) for name, own in data.factors.items()},
        factor_multiplicities={"Global": data.global_multiplier} if data.global_multiplier else None,
        max_iter=data.maxiter,
    )
    one = fit.one()
    return None, fit, pd.DataFrame(one.estimate.filtered, columns=list(one.layout.factors))


def _as_written(df: pd.DataFrame) -> pd.DataFrame:
    """The panel as a reader of df.csv gets it, so that the files reproduce the fit.

    The last bit can differ, and that can matter: of the published runs, New York's panel fits as df.csv has it and
    fails ("Matrix is not positive definite") with the last bits that the file lost.
    """
    return pd.read_csv(io.StringIO(df.to_csv()), index_col=0)


def batch_folder(outdir: Path, name: Any) -> Path:
    """The folder of a batch: its label, with characters that paths cannot hold written as %XX."""
    if name is None:
        return outdir
    safe = re.sub(r'[%/\\:*?"<>|\x00-\x1f]', lambda found: f"%{ord(found.group()):02X}", str(name))
    return outdir / (safe if safe.strip(". ") else "%" + "".join(f"{ord(c):02X}" for c in safe))


class DataLoader:
    """Read a panel, its factors and metadata from CSV files or an AnnData, and write them.

    Attributes
    ----------
    ad, data, var, obs
        The AnnData, and its parts as frames.
    """

    def __init__(
        self,
        ad: AnnData | None = None,
        data: pd.DataFrame | None = None,
        var: pd.DataFrame | None = None,
        obs: pd.DataFrame | None = None,
    ) -> None:
        self.ad, self.data, self.var, self.obs = ad, data, var, obs

    def load(
        self,
        data: str | os.PathLike[str],
        factors: str | os.PathLike[str],
        metadata: str | os.PathLike[str] | None = None,
    ) -> DataLoader:
        """Read data (time x series), factors (one row per series) and metadata (one row per time point)."""
        self.data = pd.read_csv(data)
        self.var = pd.read_csv(factors, index_col=0)
        self.obs = pd.read_csv(metadata, index_col=0) if metadata is not None else None
        self.ad = self.dfs_to_ad(self.data, self.var, self.obs)
        return self

    def convert(self, ad: AnnData) -> DataLoader:
        """Take an AnnData apart."""
        self.ad, self.data, self.var, self.obs = ad, ad.to_df(), ad.var, ad.obs
        return self

    def dfs_to_ad(self, data: pd.DataFrame, factors: pd.DataFrame, metadata: pd.DataFrame | None) -> AnnData:
        """An AnnData with the series in the order of `factors`."""
        from anndata import AnnData

        lacking = [str(name) for name in factors.index if name not in data.columns]
        if lacking:
            msg = f"`data` must have a column for every row of `factors`; it lacks {some(lacking)}."
            raise InputError(msg)
        values = data[list(factors.index)]
        labels = values.index.astype(str) if metadata is None else metadata.index.astype(str)
        obs = None if metadata is None else metadata.set_axis(labels, axis=0)
        return AnnData(X=values.set_axis(labels, axis=0).astype(float), obs=obs, var=factors)

    def write_csvs(self, outdir: str | os.PathLike[str]) -> DataLoader:
        """Write data.csv, factors.csv and, if there is any, metadata.csv."""
        out = Path(outdir)
        out.mkdir(parents=True, exist_ok=True)
        parts = {"data.csv": self.data, "factors.csv": self.var, "metadata.csv": self.obs}
        for name, frame in parts.items():
            if frame is not None:
                _write(out / name, frame.to_csv())
        return self

    def write_h5ad(self, outdir: str | os.PathLike[str]) -> DataLoader:
        """Write data.h5ad into the folder; a path that ends in .h5ad is the file itself."""
        if self.ad is None:
            msg = "`ad` must be loaded first: call load() or convert()."
            raise InputError(msg)
        out = Path(outdir)
        target = out if out.suffix == ".h5ad" else out / "data.h5ad"
        target.parent.mkdir(parents=True, exist_ok=True)
        self.ad.copy().write_h5ad(target)
        return self


def parse_results(file_path: str | os.PathLike[str]) -> pd.DataFrame:
    """Log-likelihood, AIC and EM iterations of one results.csv: one row."""
    text = Path(file_path).read_text(encoding="utf-8")
    found = {}
    for column, label in (("Log Likelihood", "Log Likelihood"), ("AIC", "AIC"), ("EM Iterations", "EM Iterations")):
        hit = re.search(rf"{label}\s*,\s*([-+\d.eE]+)", text)
        if hit is None:
            msg = f"`file_path` must be a results.csv of DynamicFactorMQ; '{file_path}' has no '{label}'."
            raise InputError(msg)
        found[column] = [float(hit.group(1))]
    out = pd.DataFrame(found)
    out["EM Iterations"] = out["EM Iterations"].astype(int)
    return out


def parse_run_results(directory: str | os.PathLike[str]) -> pd.DataFrame:
    """`parse_results` of every batch folder, with the column Batch; batches without results are named and left out."""
    rows, lacking = [], []
    for path in _folders(directory):
        if (path / "results.csv").exists():
            rows.append(parse_results(path / "results.csv").assign(Batch=path.name))
        else:
            lacking.append(path.name)
    if lacking:
        tell(f"No results.csv in {', '.join(lacking)}.")
    return (
        pd.concat(rows, axis=0) if rows else pd.DataFrame(columns=["Log Likelihood", "AIC", "EM Iterations", "Batch"])
    )


def parse_multiple_runs(directory: str | os.PathLike[str]) -> pd.DataFrame:
    """`parse_run_results` of every run's folder, with the column Run."""
    return pd.concat([parse_run_results(path).assign(Run=path.name) for path in _folders(directory)], axis=0)


def _folders(directory: str | os.PathLike[str]) -> list[Path]:
    return sorted(path for path in Path(directory).iterdir() if path.is_dir())


def to_yaml(info: dict[str, Any]) -> str:
    """Plain YAML of a mapping of scalars, lists of text, and one level of mappings: strings are quoted as in JSON."""
    import json

    lines: list[str] = []
    for key, value in info.items():
        if isinstance(value, dict):
            lines.append(f"{key}:" + ("" if value else " {}"))
            for name, items in value.items():
                lines.append(f"  {json.dumps(str(name))}:")
                lines += [f"  - {json.dumps(str(item))}" for item in items]
        elif isinstance(value, Iterable) and not isinstance(value, str):
            items = list(value)
            lines.append(f"{key}:" + ("" if items else " []"))
            lines += [f"- {json.dumps(str(item))}" for item in items]
        else:
            lines.append(f"{key}: {json.dumps(value)}")
    return "\n".join(lines) + "\n"


def _write(path: Path, text: str) -> None:
    """Write beside, then rename: a reader never sees half a file."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)
