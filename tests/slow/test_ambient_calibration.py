"""Calibration of the shares: simulate, refit, count how often the intervals hold the truth."""

import numpy as np

import isthmus
from isthmus.testing import simulate_ambient


def test_intervals_of_rho_cover_and_levels_are_unbiased() -> None:
    covered, errors = [], []
    for seed in range(20):
        cells, droplets = simulate_ambient(800, 900, seed=seed)
        fit = isthmus.remove_ambient(cells, droplets=droplets)
        truth = cells.obs["rho"].to_numpy()
        covered.append((np.abs(fit.rho - truth) <= 1.96 * fit.rho_se).mean())
        errors.append(np.average(fit.rho - truth, weights=fit.observed_umi))
    assert np.mean(covered) >= 0.9
    assert min(covered) >= 0.8
    assert abs(np.mean(errors)) < 0.006
