"""AMICIExplainedVarianceModule: how much single heads explain, over `isthmus.explained_variance`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.compat.amici.module import InterpretationModule, chosen, computed, finished, refuse, trained_fit

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from isthmus.compat.amici.model import AMICI


class AMICIExplainedVarianceModule(InterpretationModule):
    """Held-out variance that each head explains, by receiver type and gene.

    ``df`` has a row for each head (from 0), type and gene: head, ct_name, gene, expl_var_head_gene, expl_var_head, and,
    where tests were run, p_value_head and p_value_adj_head (Benjamini-Hochberg over heads and types).
    """

    @computed
    def compute(
        self: Any,
        model: AMICI,
        adata: Any = None,
        alpha: float = 0.05,
        run_permutation_test: bool = True,  # noqa: FBT001, FBT002
        n_permutations: int | None = None,
        *,
        seed: int = 0,
    ) -> None:
        """Fill the table.

        Parameters
        ----------
        model
            A trained `AMICI`.
        adata
            None, or the cells it was trained on.
        alpha
            Level: a star in the bar plot, and n_permutations = ceil(heads x types / alpha) where None.
        run_permutation_test
            False: no p-values. The null flips the signs of spatial blocks.
        n_permutations, seed
            Draws, and their seed.
        """
        from isthmus.interaction import explained_variance

        fit = trained_fit(model, adata)
        draws = n_permutations or int(np.ceil(fit.n_heads * fit.n_types / alpha))
        genes = explained_variance(fit, by="gene", null="none")
        heads = explained_variance(
            fit, null="block" if run_permutation_test else "none", n_permutations=draws, seed=seed
        )
        columns = {"receiver": "ct_name", "r2": "expl_var_head", "pval": "p_value_head", "padj": "p_value_adj_head"}
        table = _single_heads(genes).rename(columns={"receiver": "ct_name", "r2": "expl_var_head_gene"})
        table = table[["head", "ct_name", "gene", "expl_var_head_gene"]]
        by_head = _single_heads(heads).rename(columns=columns)[["head", *columns.values()]]
        if not run_permutation_test:
            by_head = by_head.drop(columns=["p_value_head", "p_value_adj_head"])
        table = table.merge(by_head, on=["head", "ct_name"], how="left", validate="many_to_one")
        self._df, self.fit, self.alpha = table, fit, alpha

    def by_head(self) -> pd.DataFrame:
        """One row for each head and type, without the genes."""
        return self.df.drop(columns=["gene", "expl_var_head_gene"]).drop_duplicates(ignore_index=True)

    def compute_max_explained_variance_head(self, cell_type: str) -> int:
        """The head (from 0) that explains most of a type's variance over all genes.

        Raises
        ------
        InputError
            No such type.
        """
        rows = self.by_head()
        chosen(cell_type, list(rows["ct_name"].unique()), "cell_type")
        rows = rows[rows["ct_name"] == cell_type]
        return int(rows.loc[rows["expl_var_head"].idxmax(), "head"])

    def plot_explained_variance_barplot(
        self,
        palette: Any = None,
        save_png: bool = False,  # noqa: FBT001, FBT002
        save_svg: bool = False,  # noqa: FBT001, FBT002
        save_dir: Any = None,
        wandb_log: bool = False,  # noqa: FBT001, FBT002
        *,
        ax: Axes | None = None,
    ) -> Axes:
        """Bars of explained variance by type and head; a star where the adjusted p-value is below alpha.

        `palette`, where given, maps heads (from 0) to colours.
        """
        from isthmus.plotting import explained_variance_bars

        refuse(wandb_log=wandb_log)
        rows = self.by_head()
        padj = rows.get("p_value_adj_head", np.nan)
        table = rows.rename(columns={"ct_name": "receiver", "expl_var_head": "r2"}).assign(
            head=rows["head"].astype(str), padj=padj
        )
        axes = explained_variance_bars(table, fdr=getattr(self, "alpha", 0.05), ax=ax)
        if palette is not None:
            n = table["receiver"].nunique()
            for number, bar in enumerate(axes.patches):
                bar.set_color(palette[number // n])
        return finished(axes, "explained_variance_barplot", save_dir, save_png=save_png, save_svg=save_svg)

    def plot_featurewise_explained_variance_heatmap(
        self,
        cell_type: str | None = None,
        n_top_genes: int = 20,
        save_png: bool = False,  # noqa: FBT001, FBT002
        save_svg: bool = False,  # noqa: FBT001, FBT002
        save_dir: Any = None,
        wandb_log: bool = False,  # noqa: FBT001, FBT002
        *,
        ax: Axes | None = None,
    ) -> Axes:
        """Explained variance of the leading genes of one type (None: the first), a column for each head."""
        from isthmus.plotting import gene_head_heatmap

        refuse(wandb_log=wandb_log)
        table = self.df.rename(columns={"ct_name": "receiver", "expl_var_head_gene": "r2"})
        axes = gene_head_heatmap(table.assign(head=table["head"].astype(str)), cell_type, n_genes=n_top_genes, ax=ax)
        return finished(axes, "featurewise_explained_variance", save_dir, save_png=save_png, save_svg=save_svg)


def _single_heads(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of single heads, counted from 0."""
    rows = table[~table["head"].isin(["all", "none"])].reset_index(drop=True)
    return rows.assign(head=rows["head"].astype(int) - 1)
