"""Cell-cell interactions in space: a neighbour cross-attention model."""

from isthmus.interaction.attention import attention, attention_by_distance
from isthmus.interaction.compare import compare_interactions
from isthmus.interaction.composition import stable_size_factors
from isthmus.interaction.contributions import contributions
from isthmus.interaction.counterfactual import counterfactual_attention
from isthmus.interaction.effects import interaction_matrix, neighbor_effects
from isthmus.interaction.explained_variance import explained_variance
from isthmus.interaction.fit import fit_interactions
from isthmus.interaction.heads import head_table
from isthmus.interaction.hubs import communication_hubs
from isthmus.interaction.lengths import length_scales
from isthmus.interaction.result import InteractionFit
from isthmus.interaction.transfer import transfer

__all__ = [
    "InteractionFit",
    "attention",
    "attention_by_distance",
    "communication_hubs",
    "compare_interactions",
    "contributions",
    "counterfactual_attention",
    "explained_variance",
    "fit_interactions",
    "head_table",
    "interaction_matrix",
    "length_scales",
    "neighbor_effects",
    "stable_size_factors",
    "transfer",
]
