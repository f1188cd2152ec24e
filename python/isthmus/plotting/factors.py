"""Plots of dynamic factor models, from their tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from isthmus.plotting._axes import axes_or_new

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from isthmus.factors.result import FactorFit

_BAND = 1.96  # standard deviations: 95 %


def factor_ribbons(
    fit: FactorFit, factor: str | None = None, *, which: str = "smoothed", ax: Axes | None = None
) -> Axes:
    """One factor over time, a line and a 95 % band for each batch. Parameters are taken as known.

    Parameters
    ----------
    factor
        None: the first.
    which
        "smoothed" or "filtered".

    Examples
    --------
    >>> import isthmus
    >>> from isthmus.testing import simulate_panel
    >>> fit = isthmus.fit_factors(simulate_panel(60, 5, seed=1), factors=1)
    >>> factor_ribbons(fit).get_ylabel()
    'Global (smoothed)'
    """
    axes = axes_or_new(ax)
    table = fit.table("factors")
    factor = factor or fit.layout.factors[0]
    for batch, rows in table[table["factor"] == factor].groupby("batch", sort=False):
        when, mean, sd = _as_time(rows["time"]), rows[which].to_numpy(), rows[f"{which}_sd"].to_numpy()
        line = axes.plot(when, mean, lw=1, label=str(batch))[0]
        axes.fill_between(when, mean - _BAND * sd, mean + _BAND * sd, color=line.get_color(), alpha=0.2, lw=0)
    axes.set_xlabel("time")
    axes.set_ylabel(f"{factor} ({which})")
    if len(fit.batches) > 1:
        axes.legend(frameon=False, fontsize=7)
    return axes


def loading_heatmap(fit: FactorFit, batch: Any = None, *, ax: Axes | None = None) -> Axes:
    """Loadings of one batch, series x factors, blue below zero and red above; white where a series does not load.

    Examples
    --------
    >>> import isthmus
    >>> from isthmus.testing import simulate_panel
    >>> fit = isthmus.fit_factors(simulate_panel(60, 5, seed=1), factors=1)
    >>> [label.get_text() for label in loading_heatmap(fit).get_xticklabels()]
    ['Global']
    """
    axes = axes_or_new(ax)
    one = fit.one(batch)
    values = np.where(one.spec.loads, one.estimate.params.loadings, np.nan)
    top = np.nanmax(np.abs(values))
    image = axes.imshow(values, cmap="RdBu_r", vmin=-top, vmax=top, aspect="auto", interpolation="nearest")
    axes.set_xticks(range(len(one.layout.factors)), one.layout.factors, rotation=45, ha="right")
    axes.set_yticks(range(len(one.names)), one.names, fontsize=7)
    axes.figure.colorbar(image, ax=axes, label="loading")
    return axes


def scree(
    selection: pd.DataFrame, criteria: tuple[str, ...] = ("IC1", "IC2", "IC3"), *, ax: Axes | None = None
) -> Axes:
    """Criteria of `select_n_factors` against the number of factors; a dot marks the selected number.

    Examples
    --------
    >>> import isthmus
    >>> from isthmus.testing import simulate_panel
    >>> scree(isthmus.select_n_factors(simulate_panel(100, 10, seed=1), max_factors=4)).get_xlabel()
    'number of factors'
    """
    axes = axes_or_new(ax)
    for criterion in criteria:
        rows = selection[selection["criterion"] == criterion]
        line = axes.plot(rows["n_factors"], rows["value"], lw=1, label=criterion)[0]
        best = rows[rows["selected"]]
        axes.plot(best["n_factors"], best["value"], "o", color=line.get_color())
    axes.set_xlabel("number of factors")
    axes.set_ylabel("criterion")
    axes.legend(frameon=False)
    return axes


def fitted_observed(fit: FactorFit, series: str | None = None, batch: Any = None, *, ax: Axes | None = None) -> Axes:
    """Observed values of a series (points) and its common component (line), in units of the transformed series.

    Examples
    --------
    >>> import isthmus
    >>> from isthmus.testing import simulate_panel
    >>> fit = isthmus.fit_factors(simulate_panel(60, 5, seed=1), factors=1)
    >>> fitted_observed(fit, "y2").get_ylabel()
    'y2'
    """
    axes = axes_or_new(ax)
    observed, fitted = fit.observed(batch), fit.fitted(batch)
    series = series or str(observed.columns[0])
    when = _as_time(observed.index)
    axes.plot(when, observed[series], ".", color="0.5", ms=4, label="observed")
    axes.plot(when, fitted[series], color="firebrick", lw=1, label="common component")
    axes.set_xlabel("time")
    axes.set_ylabel(series)
    axes.legend(frameon=False)
    return axes


def news_bars(news: pd.DataFrame, *, n: int = 12, ax: Axes | None = None) -> Axes:
    """The `n` largest impacts of `factor_news`, summed by series and kind; the rest together.

    Examples
    --------
    >>> import isthmus
    >>> from isthmus.testing import simulate_panel
    >>> panel = simulate_panel(60, 5, seed=1).to_df()
    >>> fit = isthmus.fit_factors(panel.iloc[:-1], factors=1)
    >>> news_bars(isthmus.factor_news(fit, panel)).get_xlabel()
    'impact'
    """
    axes = axes_or_new(ax)
    label = np.where(news["series"].isna(), news["kind"], news["series"].astype(str) + " (" + news["kind"] + ")")
    total = news["impact"].groupby(label).sum()
    order = total.abs().sort_values(ascending=False).index
    shown = total[order[:n]]
    if len(order) > n:
        shown = pd.concat([shown, pd.Series({f"{len(order) - n} others": total[order[n:]].sum()})])
    shown = shown.iloc[::-1]
    axes.barh(shown.index, shown.to_numpy(), color=np.where(shown < 0, "steelblue", "firebrick"))
    axes.axvline(0, color="0.3", lw=0.8)
    axes.set_xlabel("impact")
    target = news.attrs.get("series")
    if target:
        axes.set_title(f"{target}, {news.attrs['time']}: {news.attrs['before']:.3g} to {news.attrs['after']:.3g}")
    return axes


def _as_time(labels: Any) -> np.ndarray:
    """Dates where the labels are dates, numbers where they are numbers, else positions."""
    texts = [str(label) for label in labels]
    for reader in (lambda: np.array(texts, dtype=float), lambda: np.array(texts, dtype="datetime64[ns]")):
        try:
            return reader()
        except ValueError:
            continue
    return np.arange(len(texts))
