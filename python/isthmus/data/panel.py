"""Panels in any of the forms users hold them in, read into one: time x series, with names, batches and transforms.

Missing values stay missing. The rules (orientation, names, what is no number) are checked here once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from isthmus.data.transforms import apply_transforms, read_transforms
from isthmus.data.wording import did_you_mean, plural, some
from isthmus.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

_ACCEPTED = "an AnnData, DataFrame or ndarray, time x series, or a pair of monthly and quarterly DataFrames"
_MONTHLY, _QUARTERLY = ("monthly", "month", "m"), ("quarterly", "quarter", "q")
ONE_BATCH = "all"  # the batch's name in tables where there is only one


@dataclass(frozen=True, eq=False)
class Panel:
    """A panel that has passed every check, before transforms.

    Attributes
    ----------
    values
        ``(n_rows, n_series)`` float64 with NaN where missing; rows of all batches, in the order of the input.
    names
        Series, unique.
    times
        One label per row, as they came (dates, periods, numbers, text).
    batches
        One label per row, or None.
    transforms
        One per series.
    quarterly
        ``(n_series,)`` bool: observed every third month, as a Mariano-Murasawa average of months.
    var
        Columns about the series, or None.
    """

    values: np.ndarray
    names: tuple[str, ...]
    times: pd.Index
    batches: np.ndarray | None
    transforms: tuple[str, ...]
    quarterly: np.ndarray
    var: pd.DataFrame | None


@dataclass(frozen=True, eq=False)
class BatchPanel:
    """The transformed panel of one batch, sorted in time.

    Attributes
    ----------
    label
        The batch's label as it came; None where there is only one.
    text
        The label in tables.
    values
        ``(n_time, n_series)``, transformed, not standardised.
    times
        Labels of the rows.
    """

    label: Any
    text: str
    values: np.ndarray
    times: pd.Index


def read_panel(
    data: Any, *, batch: Any = None, time: Any = None, transform: Any = None, columns: Sequence[str] | None = None
) -> Panel:
    """Read a panel, time x series, and check it.

    Parameters
    ----------
    data
        AnnData (obs = time points, var = series), DataFrame or ndarray (time x series), or a pair of DataFrames,
        monthly and quarterly, with dates or periods as their index.
    batch
        One label per row, or the name of a column of ``obs`` or of the DataFrame. None: one batch.
    time
        One label per row, or the name of a column. None: the index, in the order it has.
    transform
        See `read_transforms`.
    columns
        The series to use. None: all.

    Raises
    ------
    InputError
        Another type; no rows or series; values that are no numbers or infinite; duplicated series; unknown columns.

    Notes
    -----
    Quarterly series in a monthly panel: ``var["frequency"]`` (or ``DataFrame.attrs["frequency"]``, a dict) says
    "quarterly", and the values stand in the last month of their quarter.
    """
    values, names, index, obs, var = _take_apart(data)
    batches, used = _column(batch, obs, values, names, "batch")
    times, also = _column(time, obs, values, names, "time")
    values, names, var = _select(values, names, var, columns, {used, also} - {None})
    numbers = _numbers(values, names)
    labels = index if times is None else pd.Index(times)
    if times is not None or not isinstance(labels, (pd.DatetimeIndex, pd.PeriodIndex)):
        labels = _as_dates(labels)
    return Panel(
        values=numbers,
        names=tuple(names),
        times=labels,
        batches=batches,
        transforms=read_transforms(transform, names, var),
        quarterly=_quarterly(names, var),
        var=var,
    )


def split_panel(panel: Panel) -> list[tuple[Any, str, np.ndarray]]:
    """Label, text and rows of each batch, in order of appearance."""
    if panel.batches is None:
        return [(None, ONE_BATCH, np.arange(len(panel.values)))]
    codes, labels = pd.factorize(pd.Series(panel.batches, dtype=object), use_na_sentinel=True)
    if (codes < 0).any():
        msg = f"`batch` must not be missing; got {plural(int((codes < 0).sum()), 'missing label')}. Drop those rows."
        raise InputError(msg)
    texts = [str(label) for label in labels]
    if len(set(texts)) < len(texts):
        twice = [text for text in set(texts) if texts.count(text) > 1]
        msg = f"`batch` labels must differ when written out; got {some(twice)} more than once. Rename them."
        raise InputError(msg)
    return [(label, texts[i], np.flatnonzero(codes == i)) for i, label in enumerate(labels)]


def batch_panel(panel: Panel, label: Any, text: str, rows: np.ndarray) -> BatchPanel:
    """One batch, sorted in time and transformed; a first row that differencing emptied is dropped.

    Raises
    ------
    InputError
        Times twice or missing; undefined logarithms.
    """
    times = panel.times[rows]
    if times.hasnans:
        msg = f"`time` must not be missing; got {plural(int(times.isna().sum()), 'missing time')}. Drop those rows."
        raise InputError(msg)
    if times.has_duplicates:
        twice = time_text(times[times.duplicated()])
        msg = (
            f"`time` must be unique within a batch; got {some(twice)} more than once. Say `batch=` if the panel holds "
            "several."
        )
        raise InputError(msg)
    if not times.is_monotonic_increasing:
        order = np.argsort(times.to_numpy(), kind="stable") if _sortable(times) else np.arange(len(times))
        rows, times = rows[order], times[order]
    steps = np.where(panel.quarterly, 3, 1)
    values = apply_transforms(
        panel.values[rows], panel.transforms, steps=steps, names=panel.names, times=list(time_text(times))
    )
    emptied = len(values) and np.isnan(values[0]).all() and not np.isnan(panel.values[rows[0]]).all()
    start = 1 if emptied else 0
    return BatchPanel(label, text, values[start:], times[start:])


def time_text(times: pd.Index) -> np.ndarray:
    """Labels of times as text: dates as ISO 8601 without an empty time of day."""
    if isinstance(times, pd.DatetimeIndex):
        plain = bool((times == times.normalize()).all())
        return np.array([t.strftime("%Y-%m-%d") if plain else t.isoformat() for t in times], dtype=object)
    return np.array([str(t) for t in times], dtype=object)


def future_times(times: pd.Index, h: int) -> pd.Index:
    """The `h` labels that follow: the frequency goes on; numbers go on by their step; other labels become ``+1``."""
    if isinstance(times, pd.PeriodIndex):
        return pd.period_range(times[-1] + 1, periods=h, freq=times.freq)
    if isinstance(times, pd.DatetimeIndex) and len(times) > 2:
        frequency = times.freq or pd.infer_freq(times)
        if frequency is not None:
            return pd.date_range(times[-1], periods=h + 1, freq=frequency)[1:]
        return times[-1] + pd.TimedeltaIndex([(times[-1] - times[0]) / (len(times) - 1) * i for i in range(1, h + 1)])
    if pd.api.types.is_numeric_dtype(times) and len(times) > 1:
        step = times[-1] - times[-2]
        return pd.Index([times[-1] + step * (i + 1) for i in range(h)])
    return pd.Index([f"+{i + 1}" for i in range(h)])


# --- reading --------------------------------------------------------------------------------------------------------


def _take_apart(data: Any) -> tuple[Any, list[str], pd.Index, pd.DataFrame | None, pd.DataFrame | None]:
    """Values, series names, row labels, columns about rows, columns about series."""
    if isinstance(data, tuple) and len(data) == 2 and all(isinstance(part, pd.DataFrame) for part in data):
        data = _join_frequencies(*data)
    if isinstance(data, pd.DataFrame):
        names = _names(data.columns)
        frequency = data.attrs.get("frequency")
        var = None if frequency is None else pd.DataFrame({"frequency": [frequency.get(n, "monthly") for n in names]})
        return data, names, data.index, None, var
    if hasattr(data, "obs") and hasattr(data, "var") and hasattr(data, "X"):
        x = data.X
        x = x[:] if hasattr(x, "to_memory") else x
        dense = x.toarray() if hasattr(x, "toarray") else np.asarray(x)
        return dense, _names(data.var_names), data.obs_names, data.obs, data.var
    if isinstance(data, np.ndarray) and data.ndim in {1, 2}:
        array = data if data.ndim == 2 else data[:, None]
        return array, [f"series{i + 1}" for i in range(array.shape[1])], pd.RangeIndex(1, len(array) + 1), None, None
    if isinstance(data, pd.Series):
        return _take_apart(data.to_frame())
    msg = f"`data` must be {_ACCEPTED}; got {type(data).__module__}.{type(data).__name__}."
    raise InputError(msg)


def _join_frequencies(monthly: pd.DataFrame, quarterly: pd.DataFrame) -> pd.DataFrame:
    """One monthly frame; a quarter's value stands in its last month."""
    months = _as_dates(monthly.index)
    quarters = _as_dates(quarterly.index)
    if not all(isinstance(index, (pd.DatetimeIndex, pd.PeriodIndex)) for index in (months, quarters)):
        msg = "`data`: a pair of monthly and quarterly frames needs dates or periods as index; got other labels."
        raise InputError(msg)
    months = months if isinstance(months, pd.PeriodIndex) else months.to_period("M")
    quarters = quarters.asfreq("Q") if isinstance(quarters, pd.PeriodIndex) else quarters.to_period("Q")
    last = quarters.asfreq("M", how="end")
    full = pd.period_range(min(months.min(), last.min()), max(months.max(), last.max()), freq="M")
    for name, index in (("monthly", months), ("quarterly", last)):
        if index.has_duplicates:
            twice = time_text(index[index.duplicated()])
            msg = (
                f"`data`: the {name} frame must have one row for each {name.removesuffix('ly')}; "
                f"got {some(twice)} more than once. Aggregate it first."
            )
            raise InputError(msg)
    joined = pd.concat([monthly.set_axis(months).reindex(full), quarterly.set_axis(last).reindex(full)], axis=1)
    joined.attrs["frequency"] = {str(name): "quarterly" for name in quarterly.columns}
    return joined


def _names(columns: pd.Index) -> list[str]:
    names = [str(name) for name in columns]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        msg = f"Series of `data` must have unique names; got {some(twice)} more than once. Rename or drop them."
        raise InputError(msg)
    return names


def _column(
    given: Any, obs: pd.DataFrame | None, values: Any, names: list[str], argument: str
) -> tuple[np.ndarray | None, str | None]:
    """A vector with one entry per row, and the name of the series it was taken from, if it was one."""
    n = len(values)
    if given is None:
        return None, None
    if isinstance(given, str):
        if obs is not None and given in obs.columns:
            return obs[given].to_numpy(), None
        if isinstance(values, pd.DataFrame) and given in names:
            return values.iloc[:, names.index(given)].to_numpy(), given
        there = list(obs.columns) if obs is not None else names
        msg = f"`{argument}` must be a column of `data` or one label per row; got {given!r}. " + did_you_mean(
            given, [str(name) for name in there]
        )
        raise InputError(msg)
    vector = np.asarray(given, dtype=None if isinstance(given, (np.ndarray, pd.Index, pd.Series)) else object)
    if isinstance(given, pd.Categorical | pd.Series):
        vector = np.asarray(given)
    if vector.ndim != 1 or len(vector) != n:
        msg = f"`{argument}` must have one label per time point (n = {n}); got {len(vector)}."
        raise InputError(msg)
    return vector, None


def _select(
    values: Any, names: list[str], var: pd.DataFrame | None, columns: Sequence[str] | None, used: set[str | None]
) -> tuple[Any, list[str], pd.DataFrame | None]:
    """The series that are asked for; columns that hold batches or times are no series."""
    if columns is None:
        wanted = [name for name in names if name not in used]
    else:
        wanted = [columns] if isinstance(columns, str) else [str(name) for name in columns]
        unknown = [name for name in wanted if name not in names]
        if unknown:
            msg = f"`columns` must name series of `data`; got {some(unknown)}. " + did_you_mean(unknown[0], names)
            raise InputError(msg)
        if len(set(wanted)) < len(wanted):
            msg = f"`columns` must name each series once; got {some([n for n in wanted if wanted.count(n) > 1])} twice."
            raise InputError(msg)
    where = [names.index(name) for name in wanted]
    if names and not wanted:
        msg = "`columns` must name one series or more; got none. Leave it out for all."
        raise InputError(msg)
    if not where or not len(values):
        msg = f"`data` must have at least one time point and one series; got {len(values)} x {len(where)}."
        raise InputError(msg)
    picked = values.iloc[:, where] if isinstance(values, pd.DataFrame) else values[:, where]
    return picked, wanted, None if var is None else var.iloc[where]


def _numbers(values: Any, names: list[str]) -> np.ndarray:
    if isinstance(values, pd.DataFrame):
        for name, dtype in zip(names, values.dtypes, strict=True):
            if pd.api.types.is_complex_dtype(dtype) or not (
                pd.api.types.is_numeric_dtype(dtype) or _all_numbers(values.iloc[:, names.index(name)])
            ):
                msg = (
                    f"Series of `data` must be numbers; '{name}' is {dtype}. Leave it out with `columns=`, or name it "
                    "in `batch=` or `time=`."
                )
                raise InputError(msg)
        values = values.to_numpy(dtype=np.float64, na_value=np.nan)
    try:
        if np.iscomplexobj(values):
            msg = "complex numbers"
            raise TypeError(msg)
        numbers = np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        msg = f"`data` must hold numbers; got {error}."
        raise InputError(msg) from error
    infinite = np.isinf(numbers)
    if infinite.any():
        bad = [names[i] for i in np.flatnonzero(infinite.any(axis=0))]
        msg = f"`data` must be finite or NaN; got {int(infinite.sum())} infinite values in {some(bad)}."
        raise InputError(msg)
    return numbers


def _all_numbers(column: pd.Series) -> bool:
    return all(value is None or value is pd.NA or isinstance(value, (int, float, np.number)) for value in column)


def _quarterly(names: Sequence[str], var: pd.DataFrame | None) -> np.ndarray:
    if var is None or "frequency" not in var.columns:
        return np.zeros(len(names), dtype=bool)
    found = [str(value).lower() for value in var["frequency"]]
    unknown = [value for value in found if value not in (*_MONTHLY, *_QUARTERLY)]
    if unknown:
        msg = f"`frequency` must be 'monthly' or 'quarterly'; got {some(unknown)}."
        raise InputError(msg)
    return np.array([value in _QUARTERLY for value in found])


def _as_dates(index: pd.Index) -> pd.Index:
    """Text and objects that are all dates become dates; everything else stays."""
    if isinstance(index, (pd.DatetimeIndex, pd.PeriodIndex)) or pd.api.types.is_numeric_dtype(index):
        return index
    index = pd.Index(index)
    if isinstance(index.dtype, pd.CategoricalDtype):
        index = pd.Index(np.asarray(index))
    texts = [str(value) for value in index[:1]]
    if not texts or len(texts[0]) < 6 or not texts[0][:4].isdigit():
        return index
    try:
        return pd.DatetimeIndex(pd.to_datetime(index, format="ISO8601"))
    except (ValueError, TypeError):
        return index


def _sortable(times: pd.Index) -> bool:
    return isinstance(times, (pd.DatetimeIndex, pd.PeriodIndex)) or pd.api.types.is_numeric_dtype(times)


def as_mapping(value: Any) -> Mapping[str, Any] | None:
    """`value` with text keys if it is a mapping, else None."""
    return {str(key): item for key, item in value.items()} if isinstance(value, Mapping) else None
