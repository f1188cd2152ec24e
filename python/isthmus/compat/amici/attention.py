"""AMICIAttentionModule: whom cells attend to, over `isthmus.attention`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from isthmus.compat.amici.module import InterpretationModule, computed, refuse, trained_fit
from isthmus.data.wording import did_you_mean
from isthmus.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from isthmus.compat.amici.model import AMICI

_FLAVORS = {
    "vanilla": "plain",
    "value-weighted": "value",
    "info-weighted": "information",
    "gene-weighted": "gene",
}


class AMICIAttentionModule(InterpretationModule):
    """Attention of each cell to its neighbours, nearest first.

    ``df`` has a row for each cell and head: neighbor_0, neighbor_1, ... (NaN where a cell has fewer neighbours), head
    (from 0), label (the cell's type), cell_idx (the cell's name). ``nn_idx`` (names of the neighbours) and ``nn_dist``
    have the same columns and a row for each cell.
    """

    @computed
    def compute(
        self: Any,
        model: AMICI,
        adata: Any = None,
        indices: Sequence[int] | None = None,
        batch_size: int | None = None,
        flavor: str = "vanilla",
        attention_mask: Any = None,
        prog_bar: bool = False,  # noqa: FBT001, FBT002
    ) -> None:
        """Fill the table.

        Parameters
        ----------
        model
            A trained `AMICI`.
        adata
            None, or the cells it was trained on.
        indices
            Rows of these cells only.
        flavor
            "vanilla", "value-weighted", "info-weighted" or "gene-weighted".
        batch_size, prog_bar
            Accepted.
        attention_mask
            Has no counterpart.
        """
        from isthmus.interaction import attention

        refuse(attention_mask=attention_mask)
        if flavor not in _FLAVORS:
            msg = f"`flavor` must be one of {', '.join(_FLAVORS)}; got {flavor!r}. " + did_you_mean(
                str(flavor), list(_FLAVORS)
            )
            raise InputError(msg)
        fit = trained_fit(model, adata)
        table = attention(fit, flavor=_FLAVORS[flavor])  # type: ignore[arg-type]
        table = table.assign(place=table.groupby(["cell", "head"], sort=False).cumcount())
        cells = pd.Index(fit.cells if indices is None else np.array(fit.cells, dtype=object)[np.asarray(indices)])
        wide = table.pivot(index=["cell", "head"], columns="place", values="weight")
        wide.columns = [f"neighbor_{place}" for place in wide.columns]
        heads = sorted(table["head"].unique(), key=int)
        wide = wide.reindex(pd.MultiIndex.from_product([cells, heads], names=["cell", "head"])).reset_index()
        kinds = pd.Series(np.array(fit.types, dtype=object)[fit.type_codes], index=list(fit.cells))
        self._df = wide.drop(columns=["cell", "head"]).assign(
            head=wide["head"].astype(int) - 1, label=kinds[wide["cell"]].to_numpy(), cell_idx=wide["cell"]
        )
        first = table[table["head"] == heads[0]]
        self.nn_idx, self.nn_dist = (
            first.pivot(index="cell", columns="place", values=name).reindex(cells).add_prefix("neighbor_")
            for name in ("neighbor", "distance")
        )
        self.fit = fit

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the table as CSV, and ``nn_idx`` and ``nn_dist`` beside it."""
        super().save(path)
        target = Path(path)
        for name in ("nn_idx", "nn_dist"):
            getattr(self, name).to_csv(target.with_name(f"{target.stem}_{name}.csv"), index_label="cell")

    def plot_attention_summary(
        self, cell_type: str | None = None, head_idx: int | None = None, n_bins: int = 20, *, ax: Axes | None = None
    ) -> Axes:
        """Mean attention against the distance of the neighbour, a line for each sender; None: all heads together."""
        from isthmus.interaction import attention_by_distance
        from isthmus.plotting import attention_distance

        assert self.fit is not None
        head = "all" if head_idx is None else str(head_idx + 1)
        return attention_distance(attention_by_distance(self.fit, n_bins=n_bins), cell_type, head=head, ax=ax)

    def compute_communication_hubs(
        self, n_clusters: int = 5, *, min_attention: float = 0.1, seed: int = 0
    ) -> pd.DataFrame:
        """`isthmus.interaction.communication_hubs` of the model."""
        from isthmus.interaction import communication_hubs

        assert self.fit is not None
        return communication_hubs(self.fit, n_hubs=n_clusters, min_attention=min_attention, seed=seed)
