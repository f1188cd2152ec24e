"""``glm.utils``: statistics that compare estimates with truth."""

from isthmus.compat.batchglm import stats

__all__ = ["stats"]
