"""What one batch's fit leaves: estimates and states of one panel, or the reason why there are none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from isthmus.factors.blocks import Layout
    from isthmus.factors.params import Params, Spec

STATUSES = ("failed", "not_converged", "near_heywood", "ok")


@dataclass(frozen=True, eq=False)
class Estimate:
    """What an engine returns for one standardised panel: parameters, how they were reached, and moments of the factors.

    Attributes
    ----------
    heywood, held
        ``(N,)`` bool: almost no idiosyncratic variance; a variance at its bound. See `kernel.PanelFit`.
    initial
        Mean and covariance of the first full state, where the engine estimates more of it than the parameters hold.
    """

    params: Params
    log_likelihood: float
    path: np.ndarray
    n_iter: int
    converged: bool
    gain: float
    scaled_score: float
    heywood: np.ndarray
    held: np.ndarray
    kernel: str
    filtered: np.ndarray
    filtered_cov: np.ndarray
    smoothed: np.ndarray
    smoothed_cov: np.ndarray
    initial: tuple[np.ndarray, np.ndarray] | None = None


@dataclass(frozen=True, eq=False)
class Fitted:
    """A batch that was fitted.

    Attributes
    ----------
    times, names
        Labels of the rows and the series that took part.
    mean, sd
        ``(N,)``: what standardising took away; 0 and 1 without it.
    y
        ``(T, N)``: the standardised panel, NaN where missing. Forecasts, news and residuals need it.
    spec, layout
        The model.
    estimate
        Its parameters and states, in the normalisation of the tables.
    """

    times: pd.Index
    names: tuple[str, ...]
    mean: np.ndarray
    sd: np.ndarray
    y: np.ndarray
    spec: Spec
    layout: Layout
    estimate: Estimate


@dataclass(frozen=True, eq=False)
class BatchFit:
    """One row of the table `stats`, and the fit behind it if there is one."""

    label: Any
    text: str
    status: str
    message: str
    n_time: int
    n_series: int
    n_missing: int
    seconds: float
    fitted: Fitted | None
