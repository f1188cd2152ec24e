"""Cell-cell interactions in space: a neighbour cross-attention model."""

from isthmus.interaction.fit import fit_interactions
from isthmus.interaction.result import InteractionFit

__all__ = ["InteractionFit", "fit_interactions"]
