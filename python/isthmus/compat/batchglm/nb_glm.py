"""``glm.models.nb_glm``: simulate, describe and estimate a negative-binomial GLM for every feature."""

from isthmus.compat.batchglm.estimator import Estimator
from isthmus.compat.batchglm.input_data import InputData
from isthmus.compat.batchglm.simulator import Simulator

__all__ = ["Estimator", "InputData", "Simulator"]
