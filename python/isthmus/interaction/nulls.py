"""Null distributions by flipping signs: which units, how many draws, and the p-values that follow.

The statistic of every test here is a sum over units (spatial blocks, samples, donors) of

    D_b = sum over the unit's receivers i and genes g of 2 e_ig Delta_ig,

e being the held-out residual about the prediction without neighbours and Delta what the neighbours add to the
prediction, both centred within sample, fold and receiver type. It is the reduction of the squared error less its
expectation where expression does not depend on the neighbours (the term -|Delta|^2, which makes every estimated
prediction look worse than none: Clark & West 2007, J. Econometrics 138:291). Under that null D_b is symmetric about 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from isthmus.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

LEVEL = 0.05
MIN_BLOCKS, MIN_UNITS = 20, 6  # 2**-6 < 0.05: fewer units could never reject
CHEAP_DRAWS = 9_999  # of signs: a matrix product
_CHUNK = 2_000  # draws in one go
_DECIDED = 50  # draws as large as the observed sum after which a test needs no more (Besag & Clifford 1991)
_MOST_DRAWS = 1_000_000


@dataclass(frozen=True, eq=False)
class Tested:
    """One entry a test: standardised statistic, Monte Carlo p-value, p-value of the fitted moments."""

    statistic: np.ndarray
    pval: np.ndarray
    pval_approx: np.ndarray


def untested(n_tests: int) -> Tested:
    """NaN for all."""
    nothing = np.full(n_tests, np.nan)
    return Tested(nothing, nothing.copy(), nothing.copy())


def draws_needed(n_tests: int, n_permutations: int | None, least: int = 199) -> int:
    """Draws B with 1 / (1 + B) < 0.05 / n_tests, so that Bonferroni could reject, `least` or more; or what was asked
    for.

    Raises
    ------
    InputError
        `n_permutations` is not a whole number above 0.

    Examples
    --------
    >>> draws_needed(12, None), draws_needed(12, 99)
    (240, 99)
    """
    if n_permutations is None:
        return min(max(least, int(np.ceil(n_tests / LEVEL))), _MOST_DRAWS)
    whole = isinstance(n_permutations, (int, np.integer)) and not isinstance(n_permutations, bool)
    if not whole or n_permutations < 1:
        msg = f"`n_permutations` must be a whole number, 1 or more, or None; got {n_permutations!r}."
        raise InputError(msg)
    return int(n_permutations)


def sign_flips(
    sums: np.ndarray,
    n_draws: int,
    generator: np.random.Generator,
    *,
    variance_factor: np.ndarray | float = 1.0,
    unit_factor: np.ndarray | float = 1.0,
) -> Tested:
    """Test that units' sums are symmetric about 0, against a positive sum, by flipping their signs.

    T = sum_b D_b is compared with T* = sum_b s_b sqrt(c u_b) D_b, s_b = -1 or 1 with equal chance, c and u_b factors of
    the variance; p = (1 + #{T* >= T}) / (1 + B). A test leaves once 50 draws reached it; its B is then what was drawn.

    Parameters
    ----------
    sums
        ``(n_units, n_tests)`` D.
    n_draws
        B, at most.
    generator
        Where the signs come from; the same signs serve all tests.
    variance_factor
        c, one for all tests or ``(n_tests,)``: see `dependence`. 1 where nothing links the units.
    unit_factor
        u, one for all units or ``(n_units,)``: see `centring_factor`.

    Returns
    -------
    Tested
        ``statistic`` T / sqrt(c sum_b u_b D_b^2). ``pval_approx``: the tail of a symmetric beta distribution with the
        variance and kurtosis of T* (Pearson II). NaN where every D is 0.
    """
    total = sums.sum(axis=0)
    flipped = sums * np.sqrt(np.broadcast_to(unit_factor, len(sums)))[:, None] * np.sqrt(variance_factor)
    scale = np.sqrt((flipped**2).sum(axis=0))
    defined = scale > 0
    result = untested(sums.shape[1])
    result.statistic[defined] = total[defined] / scale[defined]
    flipped = flipped[:, defined] / scale[defined]
    kurtosis = -2 * (flipped**4).sum(axis=0)
    result.pval_approx[defined] = pearson_ii_tail(result.statistic[defined], kurtosis)
    result.pval[defined] = _count_flips(flipped, result.statistic[defined], n_draws, generator)
    return result


def centring_factor(strata: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Factor n / (n - 1) of the squares of sums that were centred over the n units of their stratum.

    Centring takes one degree of freedom from the units of a stratum, as in the CR1 variance for clusters (Cameron &
    Miller 2015, J. Human Resources 50:317). Where all of a stratum lies in one unit, centring costs nothing between
    units: 1.

    Parameters
    ----------
    strata, units
        ``(n_blocks,)`` codes of each block.

    Returns
    -------
    ndarray
        ``(n_units,)`` in the order of the sorted codes; mean over the unit's strata.

    Examples
    --------
    >>> centring_factor(np.array([0, 0, 1]), np.array([3, 5, 7]))
    array([2., 2., 1.])
    """
    pairs = np.unique(np.column_stack([strata, units]), axis=0)
    _, stratum, counts = np.unique(pairs[:, 0], return_inverse=True, return_counts=True)
    n = counts[stratum]
    factor = np.where(n > 1, n / np.maximum(n - 1, 1), 1.0)
    _, position = np.unique(pairs[:, 1], return_inverse=True)
    return np.asarray(np.bincount(position, weights=factor) / np.bincount(position))


def _count_flips(sums: np.ndarray, observed: np.ndarray, n_draws: int, generator: np.random.Generator) -> np.ndarray:
    """(1 + count) / (1 + draws) for each test, sequentially."""
    count, used = np.zeros(len(observed), dtype=np.int64), np.zeros(len(observed), dtype=np.int64)
    running, done = np.arange(len(observed)), 0
    while done < n_draws and len(running):
        n = min(_CHUNK, n_draws - done)
        signs = generator.integers(0, 2, size=(n, len(sums)), dtype=np.int8) * 2.0 - 1.0
        # a flip that leaves every sign (or gives the same sum) must count, whatever the rounding
        count[running] += (signs @ sums[:, running] >= observed[running] - 1e-9).sum(axis=0)
        done += n
        used[running] = done
        running = running[count[running] < _DECIDED]
    return (1 + count) / (1 + used)


def pearson_ii_tail(z: np.ndarray, kurtosis: np.ndarray) -> np.ndarray:
    """P(Z >= z) for a symmetric beta variable with mean 0, variance 1 and this excess kurtosis (below 0).

    On [-a, a] it has a Beta(m, m) law with kurtosis -6 / (2 m + 3) and a^2 = 2 m + 1.

    Examples
    --------
    >>> pearson_ii_tail(np.array([0.0]), np.array([-1.2]))  # uniform
    array([0.5])
    """
    m = np.maximum((6 / np.maximum(-kurtosis, 1e-12) - 3) / 2, 1e-3)  # -2, two points, is m = 0
    a = np.sqrt(2 * m + 1)
    return stats.beta.sf((np.clip(z / a, -1, 1) + 1) / 2, m, m)


def pearson_iii_tail(z: np.ndarray, skewness: np.ndarray) -> np.ndarray:
    """P(Z >= z) for a shifted gamma variable with mean 0, variance 1 and this skewness.

    Examples
    --------
    >>> pearson_iii_tail(np.array([1.6448536, 0.0]), np.array([0.0, 2.0])).round(4)  # normal; exponential - 1
    array([0.05  , 0.3679])
    """
    normal = np.abs(skewness) < 1e-6
    return np.where(normal, stats.norm.sf(z), stats.pearson3.sf(z, np.where(normal, 1.0, skewness)))


def sum_over_units(values: np.ndarray, unit_of: np.ndarray) -> np.ndarray:
    """Sum the rows of ``(n_blocks, ...)`` values that belong to one unit.

    Examples
    --------
    >>> sum_over_units(np.array([[1.0], [2.0], [5.0]]), np.array([7, 3, 7]))
    array([[2.],
           [6.]])
    """
    _, position = np.unique(unit_of, return_inverse=True)
    out = np.zeros((position.max() + 1 if len(position) else 0, *values.shape[1:]))
    np.add.at(out, position, values)
    return out


def too_few_units(n_units: Sequence[int], unit: str) -> str:
    """What to tell the user where a test has too few units to flip; "" where none has."""
    least = MIN_BLOCKS if unit == "block" else MIN_UNITS
    if all(n >= least for n in n_units):
        return ""
    noun = "spatial blocks" if unit == "block" else "units"
    advice = " Fit again with a smaller `block_size`, or use more sections." if unit == "block" else ""
    return (
        f'`null="block"` needs {least} or more {noun} with cells of the receiver type; got {min(n_units)}: NaN.{advice}'
    )
