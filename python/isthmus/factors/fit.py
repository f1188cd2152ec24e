"""`fit_factors`: a dynamic factor model of a panel, or one of each batch."""

from __future__ import annotations

import os
import time as clock
import uuid
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from isthmus.data.panel import Panel, read_panel, split_panel
from isthmus.data.wording import did_you_mean
from isthmus.errors import ConvergenceWarning, InputError
from isthmus.factors import batches as runs
from isthmus.factors.blocks import Layout, read_layout, whole
from isthmus.factors.result import FactorFit
from isthmus.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from isthmus.factors.fitted import BatchFit

_CHOICES = {
    "idiosyncratic": ("ar1", "iid"),
    "initial": ("stationary", "known"),
    "engine": ("isthmus", "statsmodels"),
}


def fit_factors(
    data: Any,
    *,
    factors: str | int | Mapping[str, Any] = "factor",
    global_factors: int = 1,
    factor_multiplicities: int | Mapping[str, int] | None = None,
    factor_orders: int | Mapping[Any, int] = 1,
    idiosyncratic: Literal["ar1", "iid"] = "ar1",
    batch: Any = None,
    time: Any = None,
    transform: Any = None,
    standardize: bool = True,
    initial: Literal["stationary", "known"] = "stationary",
    columns: Sequence[str] | None = None,
    accelerate: bool = True,
    engine: Literal["isthmus", "statsmodels"] = "isthmus",
    max_iter: int = 10_000,
    tol: float = 1e-4,
    n_workers: int | None = None,
    seed: int = 0,
    progress: bool | None = None,
) -> FactorFit:
    """Fit a dynamic factor model by maximum likelihood, one for each batch.

    For series i (transformed, then standardised) and time t::

        y_it = lambda_i' f_t + e_it,    e_it = phi_i e_i,t-1 + eps_it,    eps_it ~ N(0, sigma2_i)
        f_t = A_1 f_t-1 + ... + A_p f_t-p + u_t,    u_t ~ N(0, Q)    (block by block)

    Missing values and ragged ends stay missing: the likelihood is that of what was observed. A quarterly series in a
    monthly panel is y_t = x_t + 2 x_t-1 + 3 x_t-2 + 2 x_t-3 + x_t-4 of its monthly x (Mariano & Murasawa 2003).

    Parameters
    ----------
    data
        AnnData (obs = time points, var = series), DataFrame or array (time x series), or a pair of monthly and
        quarterly DataFrames. ``var["frequency"]`` marks quarterly series.
    factors
        The column of ``var`` that names each series' group (with the default, and without that column, there are only
        global factors); a dict series -> group, or series -> list of all its factors, as in DynamicFactorMQ; or the
        number of factors of one block on which all series load.
    global_factors
        Number of factors on which all series load, beside the groups. 0: none. Not used where `factors` is a number or
        lists all factors.
    factor_multiplicities
        Number of factors in each group; a dict for some of them.
    factor_orders
        Order of the vector autoregressions; a dict for some of them, where a tuple of names makes one block with a
        joint VAR.
    idiosyncratic
        "ar1": e_it is an AR(1). "iid": phi_i = 0.
    batch
        Column of ``obs`` (or of a DataFrame) or one label per row: one independent fit for each label.
    time
        Column or one label per row; rows are sorted by it within each batch. None: the index.
    transform
        none, diff, log, logdiff or pct: one for all, a dict, a column of ``var``, or one per series. None: the column
        ``var["transform"]`` or dfmdash's boolean columns ``difference`` and ``logdiff``, if they are there.
    standardize
        Subtract the mean and divide by the standard deviation (n - 1) of each series. The model has no intercept:
        without it the series should have mean zero.
    initial
        "stationary": the first state has the stationary distribution. "known": its moments are estimated (statsmodels).
    columns
        The series to use.
    accelerate
        SQUAREM steps between EM steps, and a quasi-Newton finish. False: plain EM.
    engine
        "isthmus", or "statsmodels": DynamicFactorMQ, with its stopping rule, signs and rotation.
    max_iter, tol
        `converged` means: the last gain of the log-likelihood is below `tol`, and the scaled score (score over the
        root of the complete-data information, its largest entry) below 1e-2. Where the likelihood has no maximum, as
        with near-duplicate series, a variance falls to its bound, 1e-8 of the series' mean square; it is held there,
        the rest converges, and `message` names the series.
    n_workers
        Processes for the batches, started afresh: a script needs its ``if __name__ == "__main__":``. None: no further
        process, one batch after the other in this one.
    seed
        For further starts, where the engine draws any.
    progress
        None: shown in terminals and notebooks.

    Returns
    -------
    FactorFit
        ``table("factors")``, ``"loadings"``, ``"stats"``, ``"transition"``, ``"path"``, ``"forecast"``,
        ``"decomposition"``. In each group of factors the innovation covariance is I, and the loadings are lower
        triangular with positive diagonal in the group's first series. With several batches the others are then rotated
        towards the first, within groups. Loadings speak of standardised series. Their standard errors are NaN where
        no such scheme identifies the loadings (groups within groups in one joint block) and with engine "statsmodels".

    Raises
    ------
    InputError
        Rules above that are broken. With `batch`, what is wrong with one batch's data is its `message` in ``stats``.

    Warns
    -----
    ConvergenceWarning
        Some batches did not converge, or failed.

    Examples
    --------
    >>> from isthmus.testing import simulate_panel
    >>> fit = fit_factors(simulate_panel(80, 6, seed=1), factors=1)
    >>> fit.table("factors").columns.tolist()[:4]
    ['batch', 'time', 'factor', 'filtered']
    """
    _check_switches(standardize=standardize, accelerate=accelerate)
    options = _options(
        idiosyncratic=idiosyncratic,
        initial=initial,
        standardize=bool(standardize),
        accelerate=bool(accelerate),
        engine=engine,
        max_iter=max_iter,
        tol=tol,
        seed=whole(seed, "seed", 0),
    )
    panel = read_panel(data, batch=batch, time=time, transform=transform, columns=columns)
    layout = read_layout(
        factors,
        panel.names,
        panel.var,
        global_factors=global_factors,
        factor_multiplicities=factor_multiplicities,
        factor_orders=factor_orders,
    )
    _refuse_single(panel, options)
    fits = _run(panel, layout, options, n_workers=_workers(n_workers), progress=progress)
    if panel.batches is None and fits[0].status == "failed":
        raise InputError(fits[0].message)
    if options.engine == "isthmus":
        fits = runs.align(fits)
    _warn(fits)
    named = {name: value if isinstance(value, str) else None for name, value in (("batch", batch), ("time", time))}
    return FactorFit(tuple(fits), panel.names, layout, _settings(options, panel, layout) | {"columns": named})


def _run(
    panel: Panel, layout: Layout, options: runs.Options, *, n_workers: int, progress: bool | None
) -> list[BatchFit]:
    tasks = [
        runs.Task(
            replace(panel, values=panel.values[rows], times=panel.times[rows], batches=None, var=None),
            label,
            text,
            layout,
            options,
        )
        for label, text, rows in split_panel(panel)
    ]
    with Progress(len(tasks), progress, unit="batch", what="fit_factors") as bar:
        return runs.run(tasks, n_workers, bar)


def _check_switches(**given: Any) -> None:
    for argument, value in given.items():
        if not isinstance(value, (bool, np.bool_)):
            msg = f"`{argument}` must be True or False; got {value!r}."
            raise InputError(msg)


def _options(**given: Any) -> runs.Options:
    for argument, allowed in _CHOICES.items():
        if given[argument] not in allowed:
            msg = (
                f"`{argument}` must be {' or '.join(repr(a) for a in allowed)}; got {given[argument]!r}. "
                + did_you_mean(str(given[argument]), allowed)
            )
            raise InputError(msg)
    max_iter, tol = whole(given["max_iter"], "max_iter", 1), given["tol"]
    if isinstance(tol, bool) or not (isinstance(tol, (int, float)) and 0 < tol < np.inf):
        msg = f"`tol` must be a positive number; got {tol!r}."
        raise InputError(msg)
    if given["engine"] == "statsmodels":
        given["initial"] = "known"  # DynamicFactorMQ's EM has no other
    return runs.Options(**(given | {"max_iter": max_iter, "tol": float(tol)}))


def _refuse_single(panel: Panel, options: runs.Options) -> None:
    if len(panel.names) == 1 and options.idiosyncratic == "ar1":
        msg = (
            "`idiosyncratic` 'ar1' needs two series or more: with one, its factor and its own AR(1) term cannot be "
            f"told apart; got 1 series ('{panel.names[0]}'). Use idiosyncratic='iid'."
        )
        raise InputError(msg)


def _workers(n_workers: int | None) -> int:
    if n_workers is None:
        return 1
    return min(whole(n_workers, "n_workers", 1), os.cpu_count() or 1)


def _warn(fits: list[BatchFit]) -> None:
    failed = [fit.text for fit in fits if fit.status == "failed"]
    open_ended = [fit for fit in fits if fit.status == "not_converged"]
    if failed:
        msg = f"{len(failed)} of {len(fits)} batches could not be fitted ({', '.join(failed[:5])}): see `fit.failures`."
        warnings.warn(msg, ConvergenceWarning, stacklevel=3)
    if open_ended:
        msg = f"{len(open_ended)} of {len(fits)} fits did not converge. {open_ended[0].text}: {open_ended[0].message}"
        warnings.warn(msg, ConvergenceWarning, stacklevel=3)


def _settings(options: runs.Options, panel: Panel, layout: Layout) -> dict[str, Any]:
    from isthmus import __version__

    return {
        **options.__dict__,
        "batched": panel.batches is not None,
        "transforms": dict(zip(panel.names, panel.transforms, strict=True)),
        "factors": {
            name: [layout.factors[j] for j in np.flatnonzero(row)]
            for name, row in zip(panel.names, layout.loads, strict=True)
        },
        "version": __version__,
        "fitted": clock.strftime("%Y-%m-%dT%H:%M:%SZ", clock.gmtime()),
        "id": uuid.uuid4().hex,
    }
