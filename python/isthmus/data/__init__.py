"""Reading what users hand in: counts and designs. Nothing here knows a model."""

from isthmus.data.counts import Counts, read_counts
from isthmus.data.design import Design, apply_design, design_matrix, read_design

__all__ = ["Counts", "Design", "apply_design", "design_matrix", "read_counts", "read_design"]
