"""False discovery rate of the GLM's tests: the rule that all models share."""

from isthmus.multiplicity import benjamini_hochberg

__all__ = ["benjamini_hochberg"]
