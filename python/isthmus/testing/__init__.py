"""Simulators with known truth, shared by tests, docs and benchmarks."""

from isthmus.testing.ambient import simulate_ambient
from isthmus.testing.counts import simulate_counts
from isthmus.testing.panel import simulate_panel
from isthmus.testing.tissue import recovery, simulate_interactions

__all__ = ["recovery", "simulate_ambient", "simulate_counts", "simulate_interactions", "simulate_panel"]
