"""Plots of cell-cell interactions, from their tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.data.wording import did_you_mean
from isthmus.errors import InputError
from isthmus.plotting._axes import axes_or_new

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.axes import Axes


def explained_variance_bars(
    table: pd.DataFrame, *, heads: Sequence[str] | None = None, fdr: float = 0.05, ax: Axes | None = None
) -> Axes:
    """r2 of each receiver, a bar for each head; a star where the adjusted p-value is below `fdr`.

    Parameters
    ----------
    table
        `isthmus.explained_variance(fit)`.
    heads
        Which ("all", "none", "1", ...); None: all of them.

    Examples
    --------
    >>> import pandas as pd
    >>> rows = {"receiver": ["A", "A"], "head": ["all", "none"], "r2": [0.2, 0.0], "padj": [0.01, float("nan")]}
    >>> explained_variance_bars(pd.DataFrame(rows)).get_ylabel()
    'variance explained'
    """
    axes = axes_or_new(ax)
    heads = list(table["head"].unique()) if heads is None else list(heads)
    receivers = list(table["receiver"].unique())
    width = 0.8 / len(heads)
    for number, head in enumerate(heads):
        rows = table[table["head"] == head].set_index("receiver").reindex(receivers)
        place = np.arange(len(receivers)) + (number - (len(heads) - 1) / 2) * width
        axes.bar(place, rows["r2"], width, label=head)
        for x, height in zip(place[rows["padj"] < fdr], rows["r2"][rows["padj"] < fdr], strict=True):
            axes.annotate("*", (x, height), ha="center", va="bottom")
    axes.axhline(0, color="0.3", lw=0.8)
    axes.set_xticks(range(len(receivers)), receivers, rotation=45, ha="right")
    axes.set_ylabel("variance explained")
    axes.legend(title="head", frameon=False)
    return axes


def gene_head_heatmap(
    table: pd.DataFrame, receiver: str | None = None, *, n_genes: int = 20, ax: Axes | None = None
) -> Axes:
    """r2 of the genes of one receiver, a column for each head; the `n_genes` with the largest r2 of all heads.

    Parameters
    ----------
    table
        `isthmus.explained_variance(fit, by="gene")`.
    receiver
        None: the first.

    Examples
    --------
    >>> import pandas as pd
    >>> rows = {"receiver": ["A", "A"], "head": ["all", "all"], "gene": ["g1", "g2"], "r2": [0.1, 0.3]}
    >>> [label.get_text() for label in gene_head_heatmap(pd.DataFrame(rows)).get_yticklabels()]
    ['g2', 'g1']
    """
    axes = axes_or_new(ax)
    receiver = _one_of(table["receiver"], receiver, "receiver")
    rows = table[(table["receiver"] == receiver) & (table["head"] != "none")]
    wide = rows.pivot(index="gene", columns="head", values="r2")[list(rows["head"].unique())]
    by = wide["all"] if "all" in wide else wide.max(axis=1)
    wide = wide.loc[by.sort_values(ascending=False, na_position="last", kind="stable").index[:n_genes]]
    top = _top(wide.to_numpy())
    image = axes.imshow(wide, cmap="RdBu_r", vmin=-top, vmax=top, aspect="auto", interpolation="nearest")
    axes.set_xticks(range(wide.shape[1]), wide.columns)
    axes.set_yticks(range(wide.shape[0]), wide.index, fontsize=7)
    axes.set_xlabel("head")
    axes.set_title(f"receiver {receiver}")
    axes.figure.colorbar(image, ax=axes, label="variance explained")
    return axes


def sender_receiver_tiles(matrix: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """How many genes of each receiver (column) each sender (row) moves.

    Parameters
    ----------
    matrix
        `isthmus.interaction.interaction_matrix(fit)`.

    Examples
    --------
    >>> import pandas as pd
    >>> rows = {"receiver": ["A", "B"], "sender": ["B", "A"], "n_genes": [7, 0]}
    >>> sender_receiver_tiles(pd.DataFrame(rows)).get_xlabel()
    'receiver'
    """
    axes = axes_or_new(ax)
    names = _types(matrix)
    wide = matrix.pivot(index="sender", columns="receiver", values="n_genes").reindex(index=names, columns=names)
    values = wide.to_numpy(dtype=float)
    image = axes.imshow(values, cmap="Blues", vmin=0, vmax=_top(values), interpolation="nearest")
    for row, column in np.argwhere(~np.isnan(values)):
        dark = values[row, column] > 0.6 * _top(values)
        axes.annotate(f"{values[row, column]:.0f}", (column, row), ha="center", va="center", color="w" if dark else "k")
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("receiver")
    axes.set_ylabel("sender")
    axes.figure.colorbar(image, ax=axes, label="genes")
    return axes


def interaction_graph(matrix: pd.DataFrame, *, min_genes: int = 1, ax: Axes | None = None) -> Axes:
    """Cell types on a circle, an arrow from each sender to each receiver of which it moves `min_genes` genes or more;
    the wider, the more genes.

    Parameters
    ----------
    matrix
        `isthmus.interaction.interaction_matrix(fit)`.

    Examples
    --------
    >>> import pandas as pd
    >>> rows = {"receiver": ["A", "B"], "sender": ["B", "A"], "n_genes": [7, 0]}
    >>> len(interaction_graph(pd.DataFrame(rows)).patches)
    1
    """
    from matplotlib.patches import FancyArrowPatch

    axes = axes_or_new(ax)
    names = _types(matrix)
    angle = np.pi / 2 - 2 * np.pi * np.arange(len(names)) / len(names)
    place = {name: (np.cos(a), np.sin(a)) for name, a in zip(names, angle, strict=True)}
    shown = matrix[matrix["n_genes"] >= max(min_genes, 1)]
    most = shown["n_genes"].max() if len(shown) else 1
    for row in shown.itertuples():
        loop = row.sender == row.receiver
        start, end = np.array(place[row.sender]), np.array(place[row.receiver])
        bend = "arc3,rad=0.15"
        if loop:  # away from the circle and back
            start, end, bend = 1.08 * start + _aside(start), 1.08 * start - _aside(start), "arc3,rad=-2.4"
        axes.add_patch(
            FancyArrowPatch(
                tuple(start),
                tuple(end),
                connectionstyle=bend,
                arrowstyle="-|>",
                mutation_scale=14,
                lw=0.8 + 4 * row.n_genes / most,
                shrinkA=0 if loop else 14,
                shrinkB=0 if loop else 14,
                color="steelblue",
                alpha=0.8,
            )
        )
    loops = set(shown["sender"][shown["sender"] == shown["receiver"]])
    for name, (x, y) in place.items():
        axes.plot(x, y, "o", ms=12, color="0.85", mec="0.4", zorder=3)
        away = 1.6 if name in loops else 1.22
        axes.annotate(name, (away * x, away * y), ha="center", va="center")
    axes.set(xlim=(-2, 2), ylim=(-1.8, 1.8), aspect="equal")
    axes.set_axis_off()
    return axes


def attention_distance(
    table: pd.DataFrame, receiver: str | None = None, *, head: str | None = None, ax: Axes | None = None
) -> Axes:
    """Mean attention of one receiver against the distance of the neighbour, a line for each sender.

    Parameters
    ----------
    table
        `isthmus.interaction.attention_by_distance(fit)`, or `counterfactual_attention(fit, distances)`.
    receiver, head
        None: the first.

    Examples
    --------
    >>> import pandas as pd
    >>> rows = {"receiver": "A", "sender": "B", "head": "all", "distance": [1.0, 2.0], "weight": [0.3, 0.1]}
    >>> attention_distance(pd.DataFrame(rows)).get_title()
    'receiver A, head all'
    """
    axes = axes_or_new(ax)
    receiver = _one_of(table["receiver"], receiver, "receiver")
    rows = table[table["receiver"] == receiver]
    head = _one_of(rows["head"], head, "head")
    for sender, line in rows[rows["head"] == head].groupby("sender", sort=False):
        axes.plot(line["distance"], line["weight"], marker=".", lw=1, label=str(sender))
    axes.set_xlabel("distance")
    axes.set_ylabel("attention")
    axes.set_ylim(bottom=0)
    axes.set_title(f"receiver {receiver}, head {head}")
    axes.legend(title="sender", frameon=False)
    return axes


def length_scale_intervals(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Median length scale and its interval, a line for each sender, receiver and head that has one.

    Parameters
    ----------
    table
        `isthmus.length_scales(fit)`.

    Examples
    --------
    >>> import pandas as pd
    >>> rows = {"receiver": ["A"], "sender": ["B"], "head": ["1"], "median": [9.0], "lower": [7.0], "upper": [12.0]}
    >>> [label.get_text() for label in length_scale_intervals(pd.DataFrame(rows)).get_yticklabels()]
    ['B -> A (1)']
    """
    axes = axes_or_new(ax)
    shown = table[table["median"].notna()].iloc[::-1].reset_index(drop=True)
    labels = [f"{row.sender} -> {row.receiver} ({row.head})" for row in shown.itertuples()]
    axes.hlines(range(len(shown)), shown["lower"], shown["upper"], color="0.6")
    axes.plot(shown["median"], range(len(shown)), "o", color="firebrick", ms=5)
    axes.set_yticks(range(len(shown)), labels, fontsize=7)
    axes.set_xlabel("length scale (unit of the coordinates)")
    return axes


def contribution_map(
    table: pd.DataFrame, sender: str | None = None, *, sample: str | None = None, ax: Axes | None = None
) -> Axes:
    """Cells in their places, coloured by what neighbours add to their prediction; cells without one in grey.

    Parameters
    ----------
    table
        `isthmus.interaction.contributions(fit, gene=...)`: of one gene blue is lower and red is higher.
    sender, sample
        None: the first.

    Examples
    --------
    >>> import pandas as pd
    >>> rows = {"sample": "s", "sender": "B", "gene": "g", "x": [0.0, 1.0], "y": [0.0, 2.0], "contribution": [0.1, -1]}
    >>> contribution_map(pd.DataFrame(rows)).get_title()
    'g, sender B'
    """
    axes = axes_or_new(ax)
    sender = _one_of(table["sender"], sender, "sender")
    rows = table[table["sender"] == sender]
    sample = _one_of(rows["sample"], sample, "sample")
    rows = rows[rows["sample"] == sample]
    known = rows[rows["contribution"].notna()]
    axes.scatter(rows["x"], rows["y"], s=3, color="0.85", lw=0)
    signed = bool(known["gene"].notna().all())
    top = _top(known["contribution"].to_numpy())
    colours, low = ("RdBu_r", -top) if signed else ("viridis", 0.0)
    # the strongest on top
    known = known.iloc[np.argsort(known["contribution"].abs().to_numpy(), kind="stable")]
    dots = axes.scatter(known["x"], known["y"], c=known["contribution"], s=5, lw=0, cmap=colours, vmin=low, vmax=top)
    axes.set(aspect="equal", xlabel="x", ylabel="y")
    what = str(known["gene"].iloc[0]) if signed and len(known) else "all genes"
    axes.set_title(f"{what}, sender {sender}")
    axes.figure.colorbar(dots, ax=axes, label="contribution of neighbours")
    return axes


def _one_of(column: pd.Series, wanted: str | None, argument: str) -> Any:
    """The wanted value of a column, or its first."""
    known = list(column.unique())
    if wanted is None and known:
        return known[0]
    if wanted not in known:
        msg = f"`{argument}` must be in the table; got {wanted!r}. " + did_you_mean(
            str(wanted), [str(name) for name in known]
        )
        raise InputError(msg)
    return wanted


def _types(matrix: pd.DataFrame) -> list[str]:
    return sorted({*matrix["receiver"], *matrix["sender"]})


def _top(values: np.ndarray) -> float:
    """The largest absolute value, for a colour scale; 1 where there is none."""
    finite = np.abs(values[np.isfinite(values)])
    return float(finite.max()) if finite.size and finite.max() > 0 else 1.0


def _aside(place: np.ndarray) -> np.ndarray:
    """A small step along the circle."""
    return 0.1 * np.array([-place[1], place[0]])
