"""The fitted factor models of all batches, and what can be derived from them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from isthmus.data.panel import time_text
from isthmus.errors import InputError
from isthmus.results import State, pick_table

if TYPE_CHECKING:
    from collections.abc import Callable

    from isthmus.factors.blocks import Layout
    from isthmus.factors.fitted import BatchFit, Fitted

DEFAULT_HORIZON = 12  # steps of table("forecast")


@dataclass(frozen=True, eq=False)
class FactorFit:
    """Dynamic factor models, one for each batch.

    Attributes
    ----------
    batches
        One BatchFit for each batch, in order of appearance, fitted or not. Fits keep the standardised panel: forecasts,
        news and residuals start from it.
    series
        All series that were asked for.
    layout
        Factors, blocks, and which series load on which factors.
    settings
        The options, transforms, version and id of the fit.
    """

    batches: tuple[BatchFit, ...]
    series: tuple[str, ...]
    layout: Layout
    settings: dict[str, Any]
    _tables: dict[str, pd.DataFrame] = field(default_factory=dict, repr=False)

    # ---- tables ---------------------------------------------------------------------------------------------------

    def table(self, name: str) -> pd.DataFrame:
        """A tidy table: factors, loadings, stats, transition, path, forecast (12 steps) or decomposition."""
        maker: Callable[[], pd.DataFrame] = pick_table(name, self._makers())
        if name not in self._tables:
            self._tables[name] = maker()
        return self._tables[name].copy()

    def _makers(self) -> dict[str, Callable[[], pd.DataFrame]]:
        from isthmus.factors import tables
        from isthmus.factors.forecast import forecast_factors

        return {
            "factors": lambda: tables.factors(self),
            "loadings": lambda: tables.loadings(self),
            "stats": lambda: tables.stats(self),
            "transition": lambda: tables.transition(self),
            "path": lambda: tables.path(self),
            "forecast": lambda: forecast_factors(self, DEFAULT_HORIZON),
            "decomposition": lambda: tables.decomposition(self),
        }

    # ---- batches --------------------------------------------------------------------------------------------------

    @property
    def labels(self) -> list[Any]:
        """Labels of the batches as they came; None for the only one."""
        return [batch.label for batch in self.batches]

    @property
    def failures(self) -> dict[Any, str]:
        """Label -> message of each batch that could not be fitted."""
        return {batch.label: batch.message for batch in self.batches if batch.status == "failed"}

    def one(self, batch: Any = None) -> Fitted:
        """The fit of one batch by its label or the label's text; None: the only one."""
        if batch is None and len(self.batches) > 1:
            msg = f"`batch` must name one of the {len(self.batches)} batches; got None. See `fit.labels`."
            raise InputError(msg)
        found = [b for b in self.batches if batch is None or b.label == batch or b.text == str(batch)]
        if not found:
            known = ", ".join(f"`{one.text}`" for one in self.batches[:8])
            msg = f"`batch` must be a batch of the fit; got {batch!r}. There are: {known}."
            raise InputError(msg)
        if found[0].fitted is None:
            msg = f"`batch` {found[0].text!r} was not fitted: {found[0].message}"
            raise InputError(msg)
        return found[0].fitted

    @property
    def log_likelihood(self) -> np.ndarray:
        """``(n_batches,)`` of the standardised panels, with every constant; NaN where a batch failed."""
        return np.array([np.nan if b.fitted is None else b.fitted.estimate.log_likelihood for b in self.batches])

    @property
    def kernel(self) -> str:
        """Which kernel ran: "avx2", "baseline", "reference" or "statsmodels"; "" if no batch was fitted."""
        return next((b.fitted.estimate.kernel for b in self.batches if b.fitted is not None), "")

    # ---- frames of one batch --------------------------------------------------------------------------------------

    def predict(self, h: int = DEFAULT_HORIZON, *, level: float = 0.95) -> pd.DataFrame:
        """`forecast_factors`."""
        from isthmus.factors.forecast import forecast_factors

        return forecast_factors(self, h, level=level)

    def fitted(self, batch: Any = None) -> pd.DataFrame:
        """Common component of each series, time x series, in the units of the transformed series."""
        from isthmus.factors.decomposition import common_component

        one = self.one(batch)
        return _frame(one, one.mean + one.sd * common_component(one))

    def observed(self, batch: Any = None) -> pd.DataFrame:
        """The transformed panel that was fitted, time x series."""
        one = self.one(batch)
        return _frame(one, one.mean + one.sd * one.y)

    def residuals(self, batch: Any = None, type: str = "innovations") -> pd.DataFrame:
        """Time x series, NaN where nothing was observed.

        Parameters
        ----------
        type
            "innovations": one-step forecast errors divided by their standard deviations, standard normal and white if
            the model holds. "common": observed minus the common component, in units of the transformed series.
        """
        from isthmus.factors.diagnostics import standardised_innovations

        if type not in ("innovations", "common"):  # a tuple: lists are no members of a set
            msg = f"`type` must be 'innovations' or 'common'; got {type!r}."
            raise InputError(msg)
        if type == "common":
            return self.observed(batch) - self.fitted(batch)
        one = self.one(batch)
        return _frame(one, standardised_innovations(one))

    def diagnostics(self, lags: int = 4) -> pd.DataFrame:
        """`isthmus.factors.diagnostics`."""
        from isthmus.factors.diagnostics import diagnostics

        return diagnostics(self, lags)

    # ---- text -----------------------------------------------------------------------------------------------------

    def summary(self) -> str:
        """A few lines: size, factors, how the batches ended."""
        stats = self.table("stats")
        counts = stats["status"].value_counts()
        lines = [
            f"Dynamic factor model of {len(self.series)} series"
            + (f" in {len(self.batches)} batches" if self.settings["batched"] else f" at {stats['n_time'][0]} times"),
            "  factors           "
            + "; ".join(f"{block.name} ({len(block.factors)}, order {block.order})" for block in self.layout.blocks),
            f"  idiosyncratic     {self.settings['idiosyncratic']}; first state {self.settings['initial']}",
            "  fits              " + ", ".join(f"{n} {status}" for status, n in counts.items()),
        ]
        if len(self.batches) == 1 and self.batches[0].fitted is not None:
            row = stats.iloc[0]
            lines.append(f"  log-likelihood    {row['log_likelihood']:.3f} after {row['n_iter']} iterations")
        lines += [f"  {b.text}: {b.message}" for b in self.batches if b.message][:5]
        lines.append(f"  engine: {self.settings['engine']}; kernel: {self.kernel}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return self.summary()

    # ---- kept and restored ----------------------------------------------------------------------------------------

    def state(self) -> State:
        """The fit as a flat dict of arrays, and JSON in ``meta``."""
        from isthmus.factors import state as codec

        return codec.encode(self)

    @classmethod
    def from_state(cls, state: State) -> FactorFit:
        """Rebuild a fit from `state`; forgiving of what R does to arrays on the way."""
        from isthmus.factors import state as codec

        return codec.decode(state)


def _frame(one: Fitted, values: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(values, index=pd.Index(time_text(one.times), name="time"), columns=list(one.names))
