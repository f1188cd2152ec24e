"""``dfmdash.dfm``: fit every batch and write its files."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from isthmus.compat.dfmdash.files import batch_folder, write_text
from isthmus.compat.dfmdash.processing import DataProcessor
from isthmus.data.wording import did_you_mean
from isthmus.errors import InputError
from isthmus.factors.batches import FAILURES
from isthmus.messages import tell

if TYPE_CHECKING:
    import os

    from anndata import AnnData


def process_factors(factors: pd.DataFrame, raw: pd.DataFrame, obs: pd.DataFrame) -> pd.DataFrame:
    """Factors beside the raw series, every column with the prefix ``Factor_``, and the columns of `obs`.

    The layout of dfmdash's factors.csv; rows are matched by position, and the arguments stay as they are.
    """
    out = pd.concat([factors.set_axis(raw.index), raw], axis=1)
    out.columns = [f"Factor_{name}" for name in out.columns]
    if obs.empty:
        return out
    return pd.concat([out, obs.loc[~obs.index.duplicated()].reindex(out.index)], axis=1)


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
            write_text(out / "model.csv", self.model.summary().as_csv())
            write_text(out / "results.csv", self.result.summary().as_csv())
        else:
            write_text(out / "model.csv", self.result.table("loadings").to_csv(index=False))
            write_text(out / "results.csv", self.result.table("stats").to_csv(index=False))
        write_text(out / "factors.csv", self.factors.to_csv())


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
            except FAILURES as error:
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
            write_text(path, "".join(f"{name}\t{failure}\n" for name, failure in self.failures.items()))
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
