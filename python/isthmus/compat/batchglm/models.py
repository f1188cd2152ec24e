"""``glm.models``: the negative-binomial GLM."""

from isthmus.compat.batchglm import nb_glm

__all__ = ["nb_glm"]
