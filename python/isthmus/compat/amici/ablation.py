"""AMICIAblationModule: what is lost without the neighbours of one type, over `isthmus.neighbor_effects`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from isthmus.compat.amici.module import (
    InterpretationModule,
    chosen,
    computed,
    finished,
    head_number,
    refuse,
    trained_fit,
)
from isthmus.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from isthmus.compat.amici.model import AMICI
    from isthmus.interaction.result import InteractionFit


class AMICIAblationModule(InterpretationModule):
    """Held-out error and prediction of each gene with and without the neighbours of each type.

    ``df`` has a row for each receiver type and gene: index, for every sender ``{sender}_ablation`` (mean increase of
    the squared error without it, over receivers that have such a neighbour) and ``{sender}_diff`` (mean contribution),
    with `compute_z_value` also ``{sender}_z_value``, ``{sender}_nl10_pval`` and ``{sender}_nl10_pval_adj`` (-log10;
    adjusted over all pairs and genes), then gene_variance, gene, head_idx (missing: all heads) and cell_type.
    """

    @computed
    def compute(
        self: Any,
        model: AMICI,
        cell_type: str | None = None,
        head_idx: int | None = None,
        adata: Any = None,
        ablated_neighbor_ct_sub: Any = None,
        ablated_neighbor_indices: Any = None,
        compute_z_value: bool = True,  # noqa: FBT001, FBT002
        attention_mask: Any = None,
    ) -> None:
        """Fill the table.

        Parameters
        ----------
        model
            A trained `AMICI`.
        cell_type
            Receiver; None: all.
        head_idx
            One head, counted from 0: the others are left out of both predictions. None: all heads.
        adata
            None, or the cells it was trained on.
        ablated_neighbor_ct_sub
            Sender types; None: all.
        compute_z_value
            The test of `isthmus.neighbor_effects`, which is of all heads together: of one head there is none.
        ablated_neighbor_indices, attention_mask
            Have no counterpart.
        """
        refuse(ablated_neighbor_indices=ablated_neighbor_indices, attention_mask=attention_mask)
        fit = trained_fit(model, adata)
        receivers = chosen(cell_type, fit.types, "cell_type")
        senders = chosen(ablated_neighbor_ct_sub, fit.types, "ablated_neighbor_ct_sub")
        tested = head_idx is None and compute_z_value
        table = _effects(fit, tested=tested) if head_idx is None else _effects_of_head(fit, head_idx)
        self._df = pd.concat([_wide(fit, table, name, senders, head_idx) for name in receivers], ignore_index=True)
        self.fit, self.senders, self.cell_type, self.tested = fit, senders, cell_type, tested

    # ---- plots ----------------------------------------------------------------------------------------------------

    def plot_neighbor_ablation_scores(self, cell_type: str | None = None, *, ax: Axes | None = None) -> Axes:
        """Increase of the squared error over all genes of one receiver, a bar for each sender."""
        from isthmus.plotting._axes import axes_or_new

        axes, rows = axes_or_new(ax), self._receiver(cell_type)
        axes.bar(self.senders, [rows[f"{sender}_ablation"].sum() for sender in self.senders])
        axes.axhline(0, color="0.3", lw=0.8)
        axes.set_ylabel("increase of the squared error")
        axes.set_title(f"receiver {rows['cell_type'].iloc[0]}")
        return axes

    def plot_featurewise_ablation_heatmap(
        self, cell_type: str | None = None, n_top_genes: int = 20, **save: Any
    ) -> Axes:
        """Increase of the squared error, gene x sender, for the genes with the largest."""
        return self._heatmap("ablation", "increase of the squared error", cell_type, n_top_genes, **save)

    def plot_featurewise_contributions_heatmap(
        self, cell_type: str | None = None, n_top_genes: int = 20, **save: Any
    ) -> Axes:
        """Mean contribution, gene x sender, for the genes with the largest."""
        return self._heatmap("diff", "contribution", cell_type, n_top_genes, **save)

    def plot_featurewise_contributions_dotplot(
        self, cell_type: str | None = None, n_top_genes: int = 20, *, ax: Axes | None = None
    ) -> Axes:
        """Gene x sender: colour = mean contribution, size = -log10 of the adjusted p-value."""
        from isthmus.plotting._axes import axes_or_new

        self._need_tests()
        axes, rows = axes_or_new(ax), self._receiver(cell_type)
        shown = _leading(rows, self.senders, "diff", n_top_genes)
        top = float(np.nanmax(np.abs(shown[[f"{s}_diff" for s in self.senders]].to_numpy())))
        for place, sender in enumerate(self.senders):
            size = 10 + 25 * shown[f"{sender}_nl10_pval_adj"].fillna(0).clip(upper=10)
            dots = axes.scatter(
                np.full(len(shown), place),
                range(len(shown)),
                c=shown[f"{sender}_diff"],
                s=size,
                cmap="RdBu_r",
                vmin=-top,
                vmax=top,
            )
        axes.set_xticks(range(len(self.senders)), self.senders)
        axes.set_yticks(range(len(shown)), shown["gene"], fontsize=7)
        axes.invert_yaxis()
        axes.figure.colorbar(dots, ax=axes, label="contribution")
        return axes

    def _heatmap(
        self,
        what: str,
        label: str,
        cell_type: str | None,
        n_top_genes: int,
        *,
        save_png: bool = False,
        save_svg: bool = False,
        save_dir: Any = None,
        ax: Axes | None = None,
    ) -> Axes:
        from isthmus.plotting._axes import axes_or_new

        axes, rows = axes_or_new(ax), self._receiver(cell_type)
        shown = _leading(rows, self.senders, what, n_top_genes)
        values = shown[[f"{sender}_{what}" for sender in self.senders]].to_numpy()
        top = float(np.nanmax(np.abs(values))) or 1.0
        image = axes.imshow(values, cmap="RdBu_r", vmin=-top, vmax=top, aspect="auto")
        axes.set_xticks(range(len(self.senders)), self.senders)
        axes.set_yticks(range(len(shown)), shown["gene"], fontsize=7)
        axes.set_title(f"receiver {rows['cell_type'].iloc[0]}")
        axes.figure.colorbar(image, ax=axes, label=label)
        return finished(axes, f"featurewise_{what}", save_dir, save_png=save_png, save_svg=save_svg)

    # ---- pairs ----------------------------------------------------------------------------------------------------

    def get_interaction_weight_matrix(self, alpha: float = 0.05) -> pd.DataFrame:
        """Sender x receiver: genes with an adjusted p-value below `alpha` and a positive contribution.

        Raises
        ------
        InputError
            The table is of one receiver or one head, or has no tests.
        """
        self._need_tests()
        if self.cell_type is not None:
            msg = "`cell_type` must be None for a matrix of all pairs. Call compute(model) without it."
            raise InputError(msg)
        counts = {
            sender: ((self.df[f"{sender}_nl10_pval_adj"] > -np.log10(alpha)) & (self.df[f"{sender}_diff"] > 0))
            .groupby(self.df["cell_type"], sort=False)
            .sum()
            for sender in self.senders
        }
        return pd.DataFrame(counts).T.rename_axis("sender").rename_axis("receiver", axis="columns")

    _get_interaction_weight_matrix = get_interaction_weight_matrix

    def plot_interaction_weight_heatmap(self, *, ax: Axes | None = None) -> Axes:
        """`get_interaction_weight_matrix` as tiles."""
        from isthmus.plotting import sender_receiver_tiles

        return sender_receiver_tiles(self._long_matrix(), ax=ax)

    def plot_interaction_directed_graph(self, *, ax: Axes | None = None) -> Axes:
        """`get_interaction_weight_matrix` as arrows between types; pairs without a gene have none."""
        from isthmus.plotting import interaction_graph

        return interaction_graph(self._long_matrix(), ax=ax)

    def _long_matrix(self) -> pd.DataFrame:
        return self.get_interaction_weight_matrix().stack().rename("n_genes").reset_index()

    def _receiver(self, cell_type: str | None) -> pd.DataFrame:
        known = list(self.df["cell_type"].unique())
        name = known[0] if cell_type is None else chosen(cell_type, known, "cell_type")[0]
        return self.df[self.df["cell_type"] == name]

    def _need_tests(self) -> None:
        if not self.tested:
            msg = "This needs tests: call compute(model, compute_z_value=True) without `head_idx`."
            raise InputError(msg)


def _leading(rows: pd.DataFrame, senders: list[str], what: str, n: int) -> pd.DataFrame:
    size = rows[[f"{sender}_{what}" for sender in senders]].abs().max(axis=1)
    return rows.loc[size.sort_values(ascending=False, kind="stable").index[:n]]


def _effects(fit: InteractionFit, *, tested: bool) -> pd.DataFrame:
    from isthmus.interaction import neighbor_effects

    table = fit.table("neighbor_effects") if tested else neighbor_effects(fit, null="none")
    columns = ["receiver", "sender", "gene", "effect", "delta_mse"]
    genes = table[table["gene"].notna()]
    return genes[[*columns, "statistic", "pval", "padj"] if tested else columns]


def _effects_of_head(fit: InteractionFit, head_idx: int) -> pd.DataFrame:
    """effect and delta_mse with one head alone, for all receivers, senders and genes."""
    from isthmus.interaction import forward
    from isthmus.interaction.effects import contacts
    from isthmus.interaction.heads import head_orders

    head = head_number(head_idx, fit.n_heads)
    orders, models = head_orders(fit), forward.fold_models(fit)
    effect, change = (np.zeros((fit.n_types, fit.n_types, fit.n_genes)) for _ in range(2))
    for parts in forward.held_out_parts(fit):
        model, kept = models[parts.fold], parts.heads[:, orders[parts.fold][head]]
        inner = parts.query + kept.sum(axis=1)
        error = fit.expression[parts.cells].toarray() - model.means[parts.types] - model.residual(inner)
        for sender in range(fit.n_types):
            added = model.residual(inner) - model.residual(inner - kept[:, sender])
            np.add.at(effect[:, sender], parts.types, added)
            np.add.at(change[:, sender], parts.types, added * (2 * error + added))
    has = contacts(fit)
    n = np.array([has[fit.type_codes == receiver].sum(axis=0) for receiver in range(fit.n_types)])[..., None]
    with np.errstate(invalid="ignore"):
        effect, change = (np.where(n > 0, part / np.maximum(n, 1), np.nan) for part in (effect, change))
    index = pd.MultiIndex.from_product([fit.types, fit.types, fit.genes], names=["receiver", "sender", "gene"])
    return pd.DataFrame({"effect": effect.ravel(), "delta_mse": change.ravel()}, index=index).reset_index()


def _wide(
    fit: InteractionFit, table: pd.DataFrame, receiver: str, senders: list[str], head_idx: int | None
) -> pd.DataFrame:
    """The rows of one receiver, columns by sender."""
    mine = table[table["receiver"] == receiver]
    out = pd.DataFrame({"index": np.arange(fit.n_genes)})
    for sender in senders:
        rows = mine[mine["sender"] == sender].set_index("gene").reindex(list(fit.genes))
        out[f"{sender}_ablation"], out[f"{sender}_diff"] = rows["delta_mse"].to_numpy(), rows["effect"].to_numpy()
        if "statistic" in rows:
            out[f"{sender}_z_value"] = rows["statistic"].to_numpy()
            out[f"{sender}_nl10_pval"] = -np.log10(rows["pval"].to_numpy())
            out[f"{sender}_nl10_pval_adj"] = -np.log10(rows["padj"].to_numpy())
    cells = fit.expression[fit.type_codes == fit.types.index(receiver)].toarray()
    out["gene_variance"] = cells.var(axis=0, ddof=1) if len(cells) > 1 else np.nan
    out["gene"] = list(fit.genes)
    out["head_idx"] = pd.array([head_idx] * fit.n_genes, dtype="Int64")
    out["cell_type"] = receiver
    return out
