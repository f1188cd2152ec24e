"""AMICICounterfactualAttentionModule: attention to a lone neighbour at other distances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from isthmus.compat.amici.module import InterpretationModule, chosen, computed, head_number, trained_fit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from isthmus.compat.amici.model import AMICI


class AMICICounterfactualAttentionModule(InterpretationModule):
    """How one receiver type scores the neighbours that its cells have.

    ``df`` has a row for each receiver's neighbour and head: query_label, neighbor_idx (the neighbour's name),
    neighbor_label, head_idx (from 0), base_attention_score (at distance 0), position_coefficient (its decay per
    ``distance_kernel_unit_scale``), dummy_attention_score (of attending to nobody), distance_kernel_unit_scale.
    """

    @computed
    def compute(
        self: Any,
        model: AMICI,
        cell_type: str,
        adata: Any = None,
        indices: Sequence[int] | None = None,
        head_idxs: Sequence[int] | None = None,
        batch_size: int | None = None,
    ) -> None:
        """Fill the table.

        Parameters
        ----------
        model
            A trained `AMICI`.
        cell_type
            The receiver.
        adata
            None, or the cells it was trained on.
        indices
            Receivers in these rows only.
        head_idxs
            Heads, counted from 0; None: all.
        batch_size
            Accepted.
        """
        from isthmus.interaction.attention import matched_attention

        fit = trained_fit(model, adata)
        receiver = fit.types.index(chosen(cell_type, fit.types, "cell_type")[0])
        heads = (
            range(fit.n_heads) if head_idxs is None else [head_number(h, fit.n_heads, "head_idxs") for h in head_idxs]
        )
        asked = np.ones(fit.n_cells, dtype=bool) if indices is None else np.isin(np.arange(fit.n_cells), indices)
        unit, nobody = float(fit.settings["unit"]), float(fit.settings["empty_score"])
        parts = []
        for chunk in matched_attention(fit):
            mine = asked[chunk.cells] & (chunk.types == receiver)
            row, place = np.nonzero((chunk.neighbors >= 0) & mine[:, None])
            neighbor = chunk.neighbors[row, place]
            for head in heads:
                parts.append(
                    pd.DataFrame(
                        {
                            "query_label": cell_type,
                            "neighbor_idx": np.array(fit.cells, dtype=object)[neighbor],
                            "neighbor_label": np.array(fit.types, dtype=object)[fit.type_codes[neighbor]],
                            "head_idx": head,
                            "base_attention_score": chunk.score[row, head, place].astype(float),
                            "position_coefficient": chunk.decay[row, head, place].astype(float) * unit,
                            "dummy_attention_score": nobody,
                            "distance_kernel_unit_scale": unit,
                        }
                    )
                )
        self._df, self.fit, self.cell_type = pd.concat(parts, ignore_index=True), fit, cell_type

    def calculate_counterfactual_attention_at_distances(
        self, head_idx: int, distances: Sequence[float]
    ) -> pd.DataFrame:
        """Attention to each neighbour if it were alone, at each distance.

        Returns
        -------
        DataFrame
            The rows of the head, for every distance: query_label, neighbor_idx, neighbor_label, head_idx, distance,
            attention.
        """
        from isthmus.interaction.counterfactual import lone_attention

        rows = self.df[self.df["head_idx"] == head_idx]
        excess = (rows["base_attention_score"] - rows["dummy_attention_score"]).to_numpy()
        decay = (rows["position_coefficient"] / rows["distance_kernel_unit_scale"]).to_numpy()
        keys = ["query_label", "neighbor_idx", "neighbor_label", "head_idx"]
        parts = [
            rows[keys].assign(distance=float(at), attention=lone_attention(excess, decay, float(at)))
            for at in distances
        ]
        return pd.concat(parts, ignore_index=True)

    def plot_counterfactual_attention_summary(
        self, head_idx: int, distances: Sequence[float], *, ax: Axes | None = None
    ) -> Axes:
        """Median attention against distance, a line for each neighbour type."""
        from isthmus.plotting import attention_distance

        table = self.calculate_counterfactual_attention_at_distances(head_idx, distances)
        median = table.groupby(["neighbor_label", "distance"], sort=False)["attention"].median().reset_index()
        median = median.rename(columns={"neighbor_label": "sender", "attention": "weight"})
        return attention_distance(median.assign(receiver=self.cell_type, head=str(head_idx)), ax=ax)

    def length_scales(self, attention_threshold: float = 0.1) -> pd.DataFrame:
        """Distance at which the attention to each neighbour falls to the threshold; NaN where it is below at 0.

        d* = unit / coefficient * (base - dummy - log(a / (1 - a))), a the threshold.
        """
        rows = self.df
        excess = rows["base_attention_score"] - rows["dummy_attention_score"]
        reach = excess - np.log(attention_threshold / (1 - attention_threshold))
        scale = rows["distance_kernel_unit_scale"] / rows["position_coefficient"] * reach
        return rows[["query_label", "neighbor_idx", "neighbor_label", "head_idx"]].assign(
            length_scale=scale.where(reach > 0)
        )

    def plot_length_scale_distribution(
        self, head_idx: int | None = None, attention_threshold: float = 0.1, *, ax: Axes | None = None
    ) -> Axes:
        """Box plots of length scales by neighbour type; None: heads together."""
        from isthmus.plotting._axes import axes_or_new

        axes = axes_or_new(ax)
        table = self.length_scales(attention_threshold)
        if head_idx is not None:
            table = table[table["head_idx"] == head_idx]
        groups = list(table[table["length_scale"].notna()].groupby("neighbor_label", sort=False)["length_scale"])
        axes.boxplot([values.to_numpy() for _, values in groups])
        axes.set_xticks(range(1, len(groups) + 1), [str(name) for name, _ in groups])
        axes.set_ylabel("length scale")
        axes.set_title(f"receiver {self.cell_type}")
        return axes
