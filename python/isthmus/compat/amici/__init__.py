"""The names and argument forms of the AMICI package over our neighbour cross-attention model.

``import isthmus.compat.amici as amici``: `AMICI` and its four interpretation modules. The model and its tests are ours,
so numbers differ from the package's, on purpose:

* Explained variance, ablations and p-values use predictions for cells that the model did not train on (folds of
  spatial blocks), and the null of the tests flips the signs of whole blocks. In the package, cells that trained the
  model are tested too, and on data without any interaction most heads are significant.
* Heads are matched across folds; one that is not found again in other folds has no p-value.
* Nothing is written into the AnnData, and no loader of other models is changed. Cells go by name.
* Sections: ``setup_anndata(..., sample_key=)`` keeps neighbours within one section.

What has no counterpart (wandb, circos plots, attention masks, leaving out single neighbour cells) says so. New work
should use :func:`isthmus.fit_interactions`. The method is described in the preprint doi 10.1101/2025.09.22.677860; a
provisional patent application (US 63/884,704) covers the subject of that manuscript.
"""

from isthmus.compat.amici.ablation import AMICIAblationModule
from isthmus.compat.amici.attention import AMICIAttentionModule
from isthmus.compat.amici.counterfactual import AMICICounterfactualAttentionModule
from isthmus.compat.amici.explained_variance import AMICIExplainedVarianceModule
from isthmus.compat.amici.model import AMICI, AttentionPenaltyMonitor

__all__ = [
    "AMICI",
    "AMICIAblationModule",
    "AMICIAttentionModule",
    "AMICICounterfactualAttentionModule",
    "AMICIExplainedVarianceModule",
    "AttentionPenaltyMonitor",
]
