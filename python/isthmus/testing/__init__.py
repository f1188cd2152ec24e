"""Simulators with known truth, shared by tests, docs and benchmarks."""

from isthmus.testing.ambient import simulate_ambient
from isthmus.testing.counts import simulate_counts
from isthmus.testing.panel import simulate_panel

__all__ = ["simulate_ambient", "simulate_counts", "simulate_panel"]
