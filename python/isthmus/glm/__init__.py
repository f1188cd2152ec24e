"""Per-gene negative-binomial models."""

from isthmus.glm import kernel
from isthmus.glm.constraints import constraint_matrix
from isthmus.glm.cooks import cooks_distance, flag_outliers
from isthmus.glm.curves import curve_extremes
from isthmus.glm.filtering import expressed_genes, filter_by_mean
from isthmus.glm.fit import fit_glm
from isthmus.glm.group_tests import compare_groups
from isthmus.glm.inference import test_glm
from isthmus.glm.pseudobulk import pseudobulk
from isthmus.glm.result import GlmFit
from isthmus.glm.shrink import shrink_glm
from isthmus.glm.strata import GlmFits

__all__ = [
    "GlmFit",
    "GlmFits",
    "compare_groups",
    "constraint_matrix",
    "cooks_distance",
    "curve_extremes",
    "expressed_genes",
    "filter_by_mean",
    "fit_glm",
    "flag_outliers",
    "kernel",
    "pseudobulk",
    "shrink_glm",
    "test_glm",
]
