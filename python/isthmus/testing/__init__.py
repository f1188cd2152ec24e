"""Simulators with known truth, shared by tests, docs and benchmarks."""

from isthmus.testing.counts import simulate_counts
from isthmus.testing.droplets import simulate_droplets

__all__ = ["simulate_counts", "simulate_droplets"]
