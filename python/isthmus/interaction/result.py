"""A fitted neighbour cross-attention model: one network a fold, and what is needed to test it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from isthmus import schema
from isthmus.data.wording import plural
from isthmus.results import State, pick_table

if TYPE_CHECKING:
    from collections.abc import Callable

    from scipy import sparse

    from isthmus.interaction.folds import Folds
    from isthmus.interaction.neighbors import Neighbors


@dataclass(frozen=True, eq=False)
class InteractionFit:
    """How neighbours shape the expression of cells, cross-fitted in space.

    The fit keeps the expression that it was made from (float32): every test compares predictions with it. Rows of all
    arrays are cells in the order of the data; names go with them.

    Attributes
    ----------
    cells, genes, types, samples
        Names, in order of the data; labels that the codes stand for.
    type_codes, sample_codes
        ``(n_cells,)`` int32.
    coordinates
        ``(n_cells, 2 or 3)``, the user's unit.
    expression
        ``(n_cells, n_genes)`` CSR float32.
    covariates
        ``(n_cells, n_covariates)`` float32, encoded.
    neighbors
        ``index`` ``(n_cells, k)``, rows of this fit's cells, -1 where there is none, and ``distance``.
    folds
        Block and fold of each cell.
    weights
        Name -> ``(n_folds, ...)`` float32: parameters of the networks.
    means
        ``(n_folds, n_types, n_genes)`` float64: type means of the cells outside each fold; NaN for a type of which none
        trained.
    gene_weights
        ``(n_folds, n_genes)`` float64: factors of squared errors in training.
    history
        ``(n, 4)``: fold (1, 2, ...), epoch, train loss, validation loss.
    guard_share
        ``(n_folds,)``: share of the cells outside a fold that did not train: the guard band around the held-out cells.
    settings
        Everything the fit was asked for, sizes, versions and the fit's id.
    """

    cells: tuple[str, ...]
    genes: tuple[str, ...]
    types: tuple[str, ...]
    samples: tuple[str, ...]
    type_codes: np.ndarray
    sample_codes: np.ndarray
    coordinates: np.ndarray
    expression: sparse.csr_matrix
    covariates: np.ndarray
    neighbors: Neighbors
    folds: Folds
    weights: dict[str, np.ndarray]
    means: np.ndarray
    gene_weights: np.ndarray
    history: np.ndarray
    guard_share: np.ndarray
    settings: dict[str, Any]
    _tables: dict[str, pd.DataFrame] = field(default_factory=dict, repr=False)

    # ---- size -----------------------------------------------------------------------------------------------------

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return len(self.cells)

    @property
    def n_genes(self) -> int:
        """Number of genes."""
        return len(self.genes)

    @property
    def n_types(self) -> int:
        """Number of cell types."""
        return len(self.types)

    @property
    def n_heads(self) -> int:
        """Number of attention heads."""
        return int(self.settings["n_heads"])

    @property
    def n_folds(self) -> int:
        """Number of networks."""
        return len(self.means)

    @property
    def set(self) -> str:
        """ "held-out": no cell is predicted by a model that trained on it. "train": every cell is."""
        return str(self.settings["set"])

    # ---- tables ---------------------------------------------------------------------------------------------------

    def table(self, name: str) -> pd.DataFrame:
        """A tidy table by name, computed with defaults: history, explained_variance, explained_variance_genes,
        neighbor_effects, interaction_matrix, attention, attention_by_distance, length_scales, communication_hubs or
        heads."""
        maker: Callable[[], pd.DataFrame] = pick_table(name, self._makers())
        if name not in self._tables:
            self._tables[name] = maker()
        return self._tables[name].copy()

    def _makers(self) -> dict[str, Callable[[], pd.DataFrame]]:
        from isthmus import interaction as of

        return {
            "history": self._history,
            "explained_variance": lambda: of.explained_variance(self),
            "explained_variance_genes": lambda: of.explained_variance(self, by="gene"),
            "neighbor_effects": lambda: of.neighbor_effects(self),
            "interaction_matrix": lambda: of.interaction_matrix(self),
            "attention": lambda: of.attention(self),
            "attention_by_distance": lambda: of.attention_by_distance(self),
            "length_scales": lambda: of.length_scales(self),
            "communication_hubs": lambda: of.communication_hubs(self),
            "heads": lambda: of.head_table(self),
        }

    def _history(self) -> pd.DataFrame:
        fold, epoch, train, validation = self.history.T
        values = {"fold": fold, "epoch": epoch, "train_loss": train, "validation_loss": validation}
        return schema.frame(schema.INTERACTION_HISTORY, values)

    # ---- predictions ----------------------------------------------------------------------------------------------

    def predict(self, *, neighbors: bool = True) -> pd.DataFrame:
        """Predicted expression, cells x genes; each cell by the model that held it out.

        Parameters
        ----------
        neighbors
            False: what is predicted for a cell without any neighbour.

        Returns
        -------
        DataFrame
            float32; NaN where a cell's type is missing from its fold's training cells.
        """
        from isthmus.interaction.forward import predictions

        values = predictions(self, neighbors=neighbors)
        return pd.DataFrame(values, index=list(self.cells), columns=list(self.genes))

    def transfer(self, data: Any, **about: Any) -> InteractionFit:
        """`isthmus.interaction.transfer`: these networks on cells that took no part in the fit."""
        from isthmus.interaction.transfer import transfer

        return transfer(self, data, **about)

    # ---- text -----------------------------------------------------------------------------------------------------

    def summary(self) -> str:
        """A few lines: size, folds, how training went."""
        s = self.settings
        epochs = [int(self.history[self.history[:, 0] == f + 1, 1].max()) for f in range(self.n_folds)]
        lines = [
            f"Neighbour cross-attention of {plural(self.n_cells, 'cell')} x {plural(self.n_genes, 'gene')}, "
            f"{plural(self.n_types, 'type')}, {plural(len(self.samples), 'sample')}",
            f"  neighbours        {s['n_neighbors']}"
            + (" of any type" if s["same_type_neighbors"] else " of other types")
            + ("" if s["radius"] is None else f", within {s['radius']:.4g}"),
            f"  network           {plural(self.n_heads, 'head')} of size {s['head_size']}",
            f"  folds             {self.n_folds} of {plural(self.folds.n_blocks, 'block')} of side "
            f"{self.folds.block_size:.4g}; "
            f"{100 * float(self.guard_share.mean()):.0f} % of the other cells in guard bands",
            f"  epochs            {', '.join(map(str, epochs))}",
            f"  predictions       {self.set}",
        ]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return self.summary()

    # ---- kept and restored ----------------------------------------------------------------------------------------

    def state(self) -> State:
        """The fit as a flat dict of arrays, and JSON in ``meta``."""
        from isthmus.interaction import state as codec

        return codec.encode(self)

    @classmethod
    def from_state(cls, state: State) -> InteractionFit:
        """Rebuild a fit from `state`; forgiving of what R does to arrays on the way."""
        from isthmus.interaction import state as codec

        return codec.decode(state)
