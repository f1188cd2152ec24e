"""Why a forecast changed: what revisions, new data and new parameters each contributed (Banbura & Modugno 2014)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from isthmus import schema
from isthmus.data.panel import BatchPanel, batch_panel, future_times, read_panel, split_panel, time_text
from isthmus.data.wording import did_you_mean
from isthmus.errors import InputError
from isthmus.factors.fitted import Fitted
from isthmus.factors.forecast import check_fit
from isthmus.factors.statespace import StateSpace, build, smoother

if TYPE_CHECKING:
    from isthmus.factors.result import FactorFit


@dataclass(frozen=True, eq=False)
class _Vintages:
    """Old and new values on one axis of times, both standardised as the old fit was."""

    times: pd.Index
    old: np.ndarray
    new: np.ndarray
    target: tuple[int, int]  # time, series


def factor_news(
    old_fit: FactorFit,
    new_data: Any,
    *,
    series: str | None = None,
    time: Any = None,
    batch: Any = None,
    refit: bool = False,
) -> pd.DataFrame:
    """Decompose the change of one expectation between the old fit's data and `new_data`.

    The expectation of the target given data is linear in the data: E = c + sum_j w_j y_j, with weights that follow from
    the parameters and from which values are missing. With the old fit's parameters, and its means and standard
    deviations, held:

    * revision: w_j (revised - old), with the weights of the old pattern, for each value that changed (a value that was
      withdrawn is replaced by its expectation);
    * news: w_j (value - its expectation from the revised old data), with the weights of the new pattern, for each value
      that is new;
    * reestimation: what refitting to `new_data` adds; 0 without `refit`.

    Rows sum to the change of the expectation (to rounding error).

    Parameters
    ----------
    old_fit
        What `fit_factors` returned for the older data.
    new_data
        The newer panel, in a form that `fit_factors` takes, with the same series and untransformed.
    series, time
        The target. None: the first quarterly series, else the first series; the last time of `new_data`. A later time
        is allowed where times can be continued.
    batch
        Which batch's fit, where there are several; `new_data` then has the same column of batches, or holds this one
        alone.
    refit
        Fit `new_data` with the old fit's options, for the reestimation row.

    Returns
    -------
    DataFrame
        time, series, kind, impact (units of the transformed target series). ``attrs``: series, time, before, after.

    Raises
    ------
    InputError
        `new_data` lacks series or times of the old data; an unknown series, time or batch; `refit` is no bool.
    """
    check_fit(old_fit, "old_fit")
    if not isinstance(refit, (bool, np.bool_)):
        msg = f"`refit` must be True or False; got {refit!r}."
        raise InputError(msg)
    one = old_fit.one(batch)
    fresh = _read_new(new_data, old_fit, one)
    vintages = _on_one_axis(one, fresh, series, time)
    model = build(one.estimate.params, one.spec, noise_in_state=True, initial=_initial(one))
    revisions, news = _impacts(vintages, model)
    scale = one.sd[vintages.target[1]]
    level = one.mean[vintages.target[1]]
    before, after = (level + scale * _expect(y, model, vintages.target) for y in (vintages.old, vintages.new))
    again = _refitted(old_fit, one, new_data, vintages) - after if refit else 0.0
    table = _table(vintages, one, revisions * scale, news * scale, again)
    table.attrs = {
        "series": one.names[vintages.target[1]],
        "time": str(time_text(vintages.times)[vintages.target[0]]),
        "before": float(before),
        "after": float(after + again),
    }
    return table


def _initial(one: Fitted) -> tuple[np.ndarray, np.ndarray] | None:
    """statsmodels' own first state, where white noise is not moved into the state."""
    return one.estimate.initial if one.spec.idiosyncratic == "ar1" else None


# --- the two vintages -------------------------------------------------------------------------------------------------


def _read_new(new_data: Any, fit: FactorFit, one: Fitted) -> BatchPanel:
    """The new values of the fit's series, transformed as they were; of the fit's batch, where `new_data` names it."""
    columns = _label_columns(new_data, fit)
    lacking = [name for name in one.names if name not in read_panel(new_data, transform="none", **columns).names]
    if lacking:
        msg = f"`new_data` must have every series of the fit; it lacks {', '.join(lacking[:5])}."
        raise InputError(msg)
    transforms = {name: fit.settings["transforms"][name] for name in one.names}
    panel = read_panel(new_data, columns=one.names, transform=transforms, **columns)
    parts = {text: (label, text, rows) for label, text, rows in split_panel(panel)}
    own = next(batch.text for batch in fit.batches if batch.fitted is one)
    if len(parts) > 1 and own not in parts:
        msg = f"`new_data` must hold the batch '{own}'; got {', '.join(list(parts)[:5])}."
        raise InputError(msg)
    label, text, rows = parts[own] if own in parts else next(iter(parts.values()))
    return batch_panel(
        replace(panel, values=panel.values[rows], times=panel.times[rows]), label, text, np.arange(len(rows))
    )


def _label_columns(new_data: Any, fit: FactorFit) -> dict[str, Any]:
    """The columns of batches and times that the old fit was given, where `new_data` has them."""
    there = {
        str(name) for name in [*getattr(new_data, "columns", ()), *getattr(new_data, "obs", pd.DataFrame()).columns]
    }
    return {key: name for key, name in fit.settings["columns"].items() if name in there}


def _on_one_axis(one: Fitted, fresh: BatchPanel, series: str | None, time: Any) -> _Vintages:
    old_times, new_times = time_text(one.times), time_text(fresh.times)
    lacking = [t for t in old_times if t not in set(new_times)]
    if lacking:
        msg = f"`new_data` must have every time of the old data; it lacks {len(lacking)} (the first {lacking[0]})."
        raise InputError(msg)
    start = int(np.flatnonzero(new_times == old_times[0])[0])
    times = fresh.times[start:]
    new = (fresh.values[start:] - one.mean) / one.sd
    old = np.full_like(new, np.nan)
    at = {t: i for i, t in enumerate(new_times[start:])}
    old[[at[t] for t in old_times]] = one.y
    chosen = _series(one, series)
    when, ahead = _when(times, time)
    if ahead:
        times = times.append(future_times(times, ahead))
        old, new = (np.vstack([y, np.full((ahead, y.shape[1]), np.nan)]) for y in (old, new))
    return _Vintages(times, old, new, (when, chosen))


def _series(one: Fitted, series: str | None) -> int:
    if series is None:
        quarterly = np.flatnonzero(one.spec.quarterly)
        return int(quarterly[0]) if len(quarterly) else 0
    if series not in one.names:
        msg = f"`series` must be a series of the fit; got {series!r}. " + did_you_mean(str(series), one.names)
        raise InputError(msg)
    return one.names.index(series)


def _when(times: pd.Index, time: Any) -> tuple[int, int]:
    """Position of the target's time, and how many times lie beyond the data."""
    if time is None:
        return len(times) - 1, 0
    far = 60
    everything = times.append(future_times(times, far))
    texts = time_text(everything)
    found = np.flatnonzero(texts == _time_as_text(time, times))
    if not len(found):
        msg = f"`time` must be a time of `new_data` or one of the {far} that follow; got {time!r}."
        raise InputError(msg)
    position = int(found[0])
    return position, max(0, position - len(times) + 1)


def _time_as_text(time: Any, times: pd.Index) -> str:
    """As the times of the data are written; what is no date is returned as it is, and is none of them."""
    if isinstance(times, pd.DatetimeIndex):
        try:
            return str(time_text(pd.DatetimeIndex([pd.Timestamp(time)]))[0])
        except (ValueError, TypeError, OverflowError):
            pass
    return str(time)


# --- weights ----------------------------------------------------------------------------------------------------------


def _impacts(vintages: _Vintages, model: StateSpace) -> tuple[np.ndarray, np.ndarray]:
    """``(T, N)`` impacts of revisions and of news, in standardised units of the target; 0 where there is none."""
    old, new, target = vintages.old, vintages.new, vintages.target
    was, now = ~np.isnan(old), ~np.isnan(new)
    revised = np.where(was & now, new, np.nan)
    expected = _smoothed_observations(revised, model)
    change = np.where(was, np.where(now, new, expected) - old, 0.0)
    surprise = np.where(now & ~was, new - expected, 0.0)
    revisions, news = np.zeros_like(old), np.zeros_like(old)
    if (change != 0).any():
        revisions = _weights(was, model, target) * change
    if (now & ~was).any():
        news = _weights(now, model, target) * surprise
    return revisions, news


def _smoothed_observations(y: np.ndarray, model: StateSpace) -> np.ndarray:
    return smoother(y, model).smooth().smoothed_state.T @ model.design.T


def _expect(y: np.ndarray, model: StateSpace, target: tuple[int, int]) -> float:
    return float(_smoothed_observations(y, model)[target])


def _weights(seen: np.ndarray, model: StateSpace, target: tuple[int, int]) -> np.ndarray:
    """``(T, N)``: dE(target | data)/d y_tj for this pattern of observed values.

    The filter, one observation after the other, updates the state by a <- a + k (y - z'a). From the target's time on
    the state carries the target along, z0'a at that time, as one more element. The derivative of its last filtered
    value goes backwards through the same steps: with g the derivative with respect to the updated state, the weight of
    y is g'k, and g <- g - (g'k) z.
    """
    gains = _gains(seen, model, target)
    m = len(model.transition)
    weights = np.zeros(seen.shape)
    g = np.zeros(m + 1)
    g[m] = 1.0
    for t in range(len(seen) - 1, -1, -1):
        for series, k in reversed(gains[t]):
            w = g @ k
            weights[t, series] = w
            g[:m] -= w * model.design[series]
        if t == target[0]:
            g[:m] += g[m] * model.design[target[1]]
            g[m] = 0.0
        g[:m] = model.transition.T @ g[:m]
    return weights


def _gains(seen: np.ndarray, model: StateSpace, target: tuple[int, int]) -> list[list[tuple[int, np.ndarray]]]:
    """Gain of the state (and of the carried target, last) for every observation, time by time."""
    m = len(model.transition)
    noise = model.selection @ model.state_cov @ model.selection.T
    p, cross, out = model.initial_cov.copy(), np.zeros(m), []
    carrying = False
    for t, row in enumerate(seen):
        if t:
            p = model.transition @ p @ model.transition.T + noise
            cross = model.transition @ cross
        if t == target[0]:
            cross, carrying = p @ model.design[target[1]], True
        steps = []
        for series in np.flatnonzero(row):
            z = model.design[series]
            pz = p @ z
            variance = z @ pz + model.obs_var[series]
            own = cross @ z if carrying else 0.0
            k = np.append(pz, own) / variance
            steps.append((int(series), k))
            p = p - np.outer(pz, pz) / variance
            cross = cross - pz * own / variance
        out.append(steps)
    return out


# --- the table --------------------------------------------------------------------------------------------------------


def _refitted(old_fit: FactorFit, old: Fitted, new_data: Any, vintages: _Vintages) -> float:
    """The target's expectation from a fit of the new data with the old options."""
    from isthmus.factors.fit import fit_factors

    settings = old_fit.settings
    names = list(settings["factors"])
    multiplicities = {group.name: len(group.factors) for group in old_fit.layout.groups}
    groups = {
        name: [g.name for g in old_fit.layout.groups if old_fit.layout.loads[i, g.factors[0]]]
        for i, name in enumerate(names)
    }
    orders = {tuple(group.name for group in block.groups): block.order for block in old_fit.layout.blocks}
    kept = ("idiosyncratic", "standardize", "initial", "accelerate", "engine", "max_iter", "tol", "seed")
    new_fit = fit_factors(
        new_data,
        factors=groups,
        factor_multiplicities=multiplicities,
        factor_orders=orders,
        transform=settings["transforms"],
        columns=names,
        **{name: settings[name] for name in kept},
        **_label_columns(new_data, old_fit),
    )
    text = next(batch.text for batch in old_fit.batches if batch.fitted is old)
    one = new_fit.one(text if len(new_fit.batches) > 1 else None)
    model = build(one.estimate.params, one.spec, noise_in_state=True, initial=_initial(one))
    texts = list(time_text(vintages.times))
    ahead = len(texts) - 1 - texts.index(time_text(one.times)[-1])
    y = np.vstack([one.y, np.full((ahead, one.y.shape[1]), np.nan)])
    position = len(y) - len(texts) + vintages.target[0]
    series = one.names.index(old.names[vintages.target[1]])
    return float(one.mean[series] + one.sd[series] * _expect(y, model, (position, series)))


def _table(vintages: _Vintages, one: Fitted, revisions: np.ndarray, news: np.ndarray, again: float) -> pd.DataFrame:
    texts, names = time_text(vintages.times), np.array(one.names, dtype=object)
    was, now = ~np.isnan(vintages.old), ~np.isnan(vintages.new)
    changed = was & (~now | (vintages.new != vintages.old))
    changed &= ~np.isclose(vintages.new, vintages.old, rtol=1e-13, atol=1e-13)
    columns: dict[str, list[Any]] = {name: [] for name in schema.NEWS}
    for kind, where, impact in (("revision", changed, revisions), ("news", now & ~was, news)):
        t, i = np.nonzero(where)
        columns["time"] += list(texts[t])
        columns["series"] += list(names[i])
        columns["kind"] += [kind] * len(t)
        columns["impact"] += list(impact[t, i])
    columns["time"].append(None)
    columns["series"].append(None)
    columns["kind"].append("reestimation")
    columns["impact"].append(again)
    return schema.frame(schema.NEWS, {name: _column(values) for name, values in columns.items()})


def _column(values: list[Any]) -> np.ndarray:
    out = np.empty(len(values), dtype=object)
    out[:] = values
    return out
