"""Independent fits, one a batch, in this process or in several; a batch that fails says why and stops no other."""

from __future__ import annotations

import multiprocessing
import signal
import time
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.data.panel import BatchPanel, Panel, batch_panel
from isthmus.data.wording import some
from isthmus.errors import InputError
from isthmus.factors import kernel, statsmodels_engine
from isthmus.factors.align import aligning_map, normalising_map, transform_params, transform_states, with_zeros
from isthmus.factors.decomposition import least_new
from isthmus.factors.fitted import BatchFit, Estimate, Fitted
from isthmus.factors.params import Block, Spec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from isthmus.factors.blocks import Layout

# What a batch's data can do to a fit: our own sentences, a matrix that is not positive definite, a division.
FAILURES = (ValueError, ArithmeticError, np.linalg.LinAlgError)
_NOTHING_NEW = 1e-3  # share of new variance, below which the scale of a factor in units of its shocks says little
_SECONDS_TO_END = 5.0  # for a worker that was told to
_CONSTANT = 1e-10  # standard deviation relative to the size of the values


@dataclass(frozen=True)
class Options:
    """The options of `fit_factors` that a batch needs."""

    idiosyncratic: str = "ar1"
    initial: str = "stationary"
    standardize: bool = True
    accelerate: bool = True
    engine: str = "isthmus"
    max_iter: int = 10_000
    tol: float = 1e-4
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Task:
    """One batch's rows of the panel, and what to do with them."""

    panel: Panel
    label: Any
    text: str
    layout: Layout
    options: Options


def run(tasks: Sequence[Task], n_workers: int, progress: Callable[[int], None]) -> list[BatchFit]:
    """Fit all batches, in order. With `n_workers` > 1 in processes started afresh ("spawn"), each with one thread."""
    if n_workers == 1 or len(tasks) == 1:
        out = []
        for done, task in enumerate(tasks):
            out.append(fit_batch(task))
            progress(done + 1)
        return out
    context, others = multiprocessing.get_context("spawn"), set(multiprocessing.active_children())
    with ProcessPoolExecutor(min(n_workers, len(tasks)), mp_context=context, initializer=_leave_interrupts) as pool:
        try:
            futures = [pool.submit(fit_batch, task) for task in tasks]  # starts the workers: inside of what ends them
            waiting = set(futures)
            while waiting:
                _, waiting = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
                progress(len(futures) - len(waiting))
            return [future.result() for future in futures]
        except BrokenProcessPool as error:
            msg = (
                f"`n_workers` {n_workers}: a worker process died. In a script, the call must stand under "
                "`if __name__ == '__main__':`, as workers import the script; short of memory, use fewer. n_workers=1 "
                "needs no process."
            )
            raise InputError(msg) from error
        except BaseException:  # Ctrl-C: nobody would read what the workers still do
            workers = set(multiprocessing.active_children()) - others
            for worker in workers:
                worker.terminate()
            for worker in workers:
                worker.join(_SECONDS_TO_END)
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _leave_interrupts() -> None:
    """Ctrl-C reaches the whole process group: the calling process decides, workers print no tracebacks of their own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def fit_batch(task: Task) -> BatchFit:
    """Fit one batch; what is wrong with its data becomes its message."""
    start = time.perf_counter()
    values = task.panel.values
    failed = BatchFit(
        label=task.label,
        text=task.text,
        status="failed",
        message="",
        n_time=len(values),
        n_series=values.shape[1],
        n_missing=int(np.isnan(values).sum()),
        seconds=0.0,
        fitted=None,
    )
    try:
        panel = batch_panel(task.panel, task.label, task.text, np.arange(len(values)))
        fitted, message = fit_panel(panel, task)
    except FAILURES as error:
        seconds = time.perf_counter() - start
        return replace(failed, message=str(error) or type(error).__name__, seconds=seconds)
    return BatchFit(
        label=task.label,
        text=task.text,
        status=_status(fitted.estimate),
        message=_message(fitted, message, task.options),
        n_time=len(fitted.y),
        n_series=len(fitted.names),
        n_missing=int(np.isnan(fitted.y).sum()),
        seconds=time.perf_counter() - start,
        fitted=fitted,
    )


def fit_panel(panel: BatchPanel, task: Task) -> tuple[Fitted, str]:
    """Standardise, leave out what is constant, fit, normalise. The text says what was left out."""
    names, options = task.panel.names, task.options
    usable = _usable(panel.values)
    message = ""
    if not usable.all():
        dropped = [name for name, good in zip(names, usable, strict=True) if not good]
        message = f"Left out, constant or empty: {', '.join(dropped)}."
    layout = task.layout.restrict(usable) if usable.any() else task.layout
    _check_size(panel.values, usable, layout, options)
    values = panel.values[:, usable]
    mean, sd = np.zeros(values.shape[1]), np.ones(values.shape[1])
    if options.standardize:
        mean, sd = _moments(values)
    y = np.ascontiguousarray((values - mean) / sd)
    spec = make_spec(layout, options, task.panel.quarterly[usable])
    estimate = estimate_panel(y, spec, layout, options)
    used = tuple(name for name, good in zip(names, usable, strict=True) if good)
    return Fitted(panel.times, used, mean, sd, y, spec, layout, estimate), message


def estimate_panel(y: np.ndarray, spec: Spec, layout: Layout, options: Options) -> Estimate:
    """Estimates by the chosen engine; ours in the normalisation of `align.normalising_map`."""
    if options.engine == "statsmodels":
        return statsmodels_engine.estimate(y, spec, layout, max_iter=options.max_iter)
    found = kernel.fit_panel(y, spec, accelerate=options.accelerate, max_iter=options.max_iter, tol=options.tol)
    m, anchors = normalising_map(found.params, spec, layout)
    params = with_zeros(transform_params(found.params, spec, m), layout, anchors)
    states = kernel.states(y, spec, params)
    return Estimate(
        params=params,
        log_likelihood=float(found.log_likelihood),
        path=np.asarray(found.path, dtype=np.float64),
        n_iter=int(found.n_iter),
        converged=bool(found.converged),
        gain=float(found.gain),
        scaled_score=float(found.scaled_score),
        heywood=np.asarray(found.heywood, dtype=bool),
        held=np.asarray(found.held, dtype=bool),
        kernel=found.kernel,
        filtered=states.filtered,
        filtered_cov=states.filtered_cov,
        smoothed=states.smoothed,
        smoothed_cov=states.smoothed_cov,
    )


def make_spec(layout: Layout, options: Options, quarterly: np.ndarray) -> Spec:
    """The kernel's specification."""
    return Spec(
        loads=layout.loads,
        blocks=tuple(Block(block.name, block.factors, block.order) for block in layout.blocks),
        idiosyncratic=options.idiosyncratic,
        initial="known" if options.engine == "statsmodels" else options.initial,
        quarterly=quarterly,
    )


def align(batches: list[BatchFit]) -> list[BatchFit]:
    """Bring every batch's factors as close as possible to those of the first fitted one, by orthogonal maps within
    groups: loadings, transition and states together."""
    reference = next((batch.fitted for batch in batches if batch.fitted is not None), None)
    return [
        batch
        if batch.fitted is None or reference is None or batch.fitted is reference
        else replace(batch, fitted=_aligned(batch.fitted, reference))
        for batch in batches
    ]


def _aligned(fitted: Fitted, reference: Fitted) -> Fitted:
    theirs = {factor: j for j, factor in enumerate(reference.layout.factors)}
    shared = [name for name in fitted.names if name in reference.names]
    rows = [fitted.names.index(name) for name in shared]
    target = np.zeros((len(shared), fitted.spec.n_factors))
    own = fitted.estimate.params.loadings[rows]
    at = [reference.names.index(name) for name in shared]
    for j, factor in enumerate(fitted.layout.factors):
        target[:, j] = reference.estimate.params.loadings[at, theirs[factor]] if factor in theirs else own[:, j]
    return replace(fitted, estimate=rotated(fitted.estimate, fitted.spec, aligning_map(own, target, fitted.layout)))


def rotated(estimate: Estimate, spec: Spec, m: np.ndarray) -> Estimate:
    """The estimate after the map `m` of the factors."""
    filtered, filtered_cov = transform_states(estimate.filtered, estimate.filtered_cov, m)
    smoothed, smoothed_cov = transform_states(estimate.smoothed, estimate.smoothed_cov, m)
    return replace(
        estimate,
        params=transform_params(estimate.params, spec, m),
        filtered=filtered,
        filtered_cov=filtered_cov,
        smoothed=smoothed,
        smoothed_cov=smoothed_cov,
    )


def _moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each series; squares of numbers beyond 1e154 or below 1e-154 would be lost."""
    size = np.fmax.reduce(np.abs(values), axis=0)
    scaled = values / size
    return np.nanmean(scaled, axis=0) * size, np.nanstd(scaled, axis=0, ddof=1) * size


def _usable(values: np.ndarray) -> np.ndarray:
    """Series with three observations or more that are not all alike."""
    seen = (~np.isnan(values)).sum(axis=0) >= 3
    low, high = np.fmin.reduce(values, axis=0), np.fmax.reduce(values, axis=0)
    with np.errstate(invalid="ignore"):
        spread = high - low > _CONSTANT * np.maximum(np.abs(high), np.abs(low))
    return seen & spread


def _check_size(values: np.ndarray, usable: np.ndarray, layout: Layout, options: Options) -> None:
    n = int(usable.sum())
    if n == 0:
        msg = f"`data` must have series that vary; all {len(usable)} series are constant or have fewer than 3 values."
        raise InputError(msg)
    if n == 1 and options.idiosyncratic == "ar1":
        msg = (
            "`idiosyncratic` 'ar1' needs two series or more: with one, its factor and its own AR(1) term cannot be "
            "told apart; got 1 series. Use idiosyncratic='iid'."
        )
        raise InputError(msg)
    least = max(block.order for block in layout.blocks) + 4
    if len(values) < least:
        msg = f"`data` must have at least {least} time points for these orders; got {len(values)}."
        raise InputError(msg)
    if len(layout.factors) > n:
        msg = (
            f"`factors` must ask for at most as many factors as series that vary ({n}); got {len(layout.factors)} "
            f"({some(layout.factors)})."
        )
        raise InputError(msg)


def _status(estimate: Estimate) -> str:
    if not estimate.converged:
        return "not_converged"
    return "near_heywood" if estimate.heywood.any() else "ok"


def _message(fitted: Fitted, message: str, options: Options) -> str:
    parts = [message] if message else []
    estimate = fitted.estimate
    if not estimate.converged:
        score = f", scaled score {estimate.scaled_score:.3g}" if np.isfinite(estimate.scaled_score) else ""
        parts.append(
            f"Not converged after {estimate.n_iter} iterations: last gain {estimate.gain:.3g}{score}. "
            f"Raise `max_iter` ({options.max_iter})."
        )
    if estimate.heywood.any():
        near = [name for name, flag in zip(fitted.names, estimate.heywood, strict=True) if flag]
        parts.append(
            f"Almost no idiosyncratic variance (near a Heywood case): {', '.join(near)}. Look for near-duplicates."
        )
    for block, share in zip(fitted.layout.blocks, least_new(fitted.spec, estimate.params), strict=True):
        if share < _NOTHING_NEW:
            names = ", ".join(fitted.layout.factors[position] for position in block.factors)
            parts.append(
                f"A combination of the factors {names} follows almost wholly from their past (new share of its "
                f"variance {share:.1g}): they may be one factor and its lag. Try fewer factors, or a higher order."
            )
    if estimate.held.any():
        held = [name for name, flag in zip(fitted.names, estimate.held, strict=True) if flag]
        parts.append(
            f"Held at the least idiosyncratic variance, as the likelihood has no maximum above it: {', '.join(held)}."
        )
    return " ".join(parts)
