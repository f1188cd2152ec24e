"""Negative binomial counts with known parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from isthmus import seeds
from isthmus.data.design import Design, read_design
from isthmus.errors import InputError

if TYPE_CHECKING:
    from anndata import AnnData

_DEFAULT_CELLS, _DEFAULT_GENES = 2_000, 100
_BLOCK = 1 << 22  # values drawn in one go: 32 MB a temporary
_LARGEST_MEAN = 1e9  # counts then stay below 2**31, the largest the models take


def simulate_counts(
    n_cells: int = _DEFAULT_CELLS,
    n_genes: int = _DEFAULT_GENES,
    *,
    design: Any = None,
    dispersion_design: Any = None,
    coef: Any = None,
    dispersion_coef: Any = None,
    size_factors: Any = None,
    seed: int | None = None,
) -> AnnData:
    """Draw counts from log mu = X a + log(size_factors), log alpha = Z b, Var = mu + alpha mu^2.

    Parameters
    ----------
    n_cells, n_genes
        Size. A design's rows and the coefficients' columns take their place where these are left at their defaults.
    design, dispersion_design
        X and Z: arrays or DataFrames with one row per cell. None: an intercept.
    coef
        a, ``(p, n_genes)`` or ``(p,)`` for all genes alike, natural log. None: batchglm's distributions, the first
        coefficient is log U(1, 10000), the others log U(0.5, 2).
    dispersion_coef
        b, ``(q, n_genes)`` or ``(q,)``, of log alpha (larger = more variable); -inf in an intercept gives Poisson
        counts. None: batchglm's distributions of log r = -log alpha,
        the first coefficient is log of U(1, 10) rounded, the others log U(0.5, 2).
    size_factors
        One positive number per cell. None: 1.
    seed
        None: fresh. The same seed gives the same counts; numpy's global state is neither read nor changed.

    Returns
    -------
    AnnData
        ``X``: CSR float64 (whole numbers up to 2**53 are exact). ``obs["size_factors"]``. Truth: ``varm["coef"]``
        (genes x p), ``varm["dispersion_coef"]`` (genes x q, log alpha),
        ``obsm["design"]``, ``obsm["dispersion_design"]``, and ``uns["simulate_counts"]`` with the names of their
        columns and the seed.

    Raises
    ------
    InputError
        Sizes that are not positive or do not fit each other, size factors <= 0, parameters that give means above 1e9.

    Examples
    --------
    >>> adata = simulate_counts(50, 3, seed=1)
    >>> adata.shape, adata.varm["coef"].shape
    ((50, 3), (3, 1))
    """
    from anndata import AnnData

    n_cells, n_genes = _whole(n_cells, "n_cells"), _whole(n_genes, "n_genes")
    n_cells = _settle_cells(n_cells, design, dispersion_design, size_factors)
    mean_design = _design(design, n_cells, "design")
    alpha_design = _design(dispersion_design, n_cells, "dispersion_design")
    n_genes = _settle_genes(n_genes, coef, dispersion_coef)
    generator = seeds.generator(seed)
    a = (
        _mean_coef(generator, len(mean_design.names), n_genes)
        if coef is None
        else _given(coef, mean_design, n_genes, "coef")
    )
    b = (
        _dispersion_coef(generator, len(alpha_design.names), n_genes)
        if dispersion_coef is None
        else _given(dispersion_coef, alpha_design, n_genes, "dispersion_coef")
    )
    factors = _size_factors(size_factors, n_cells)
    counts = _draw(generator, mean_design.matrix, alpha_design.matrix, a, b, factors)
    obs = pd.DataFrame({"size_factors": factors}, index=[f"cell{i + 1}" for i in range(n_cells)])
    adata = AnnData(X=counts, obs=obs, var=pd.DataFrame(index=[f"gene{i + 1}" for i in range(n_genes)]))
    adata.varm["coef"], adata.varm["dispersion_coef"] = a.T.copy(), b.T.copy()
    adata.obsm["design"], adata.obsm["dispersion_design"] = mean_design.matrix.copy(), alpha_design.matrix.copy()
    adata.uns["simulate_counts"] = {
        "mean_names": np.array(mean_design.names, dtype=object),
        "dispersion_names": np.array(alpha_design.names, dtype=object),
        "seed": "fresh" if seed is None else int(seed),
    }
    return adata


def _whole(n: Any, argument: str) -> int:
    if isinstance(n, bool) or not isinstance(n, (int, float, np.integer, np.floating)) or n != int(n) or n < 1:
        msg = f"`{argument}` must be a whole number, 1 or more; got {n!r}."
        raise InputError(msg)
    return int(n)


def _settle_cells(n_cells: int, *per_cell: Any) -> int:
    """The number of rows of what was given per cell, if the number of cells was left at its default."""
    lengths = [
        len(values)
        for values in per_cell
        if values is not None and not isinstance(values, str) and np.ndim(values) >= 1
    ]
    return lengths[0] if lengths and n_cells == _DEFAULT_CELLS else n_cells


def _settle_genes(n_genes: int, *coefficients: Any) -> int:
    widths = [np.shape(values)[1] for values in coefficients if values is not None and np.ndim(values) == 2]
    return widths[0] if widths and n_genes == _DEFAULT_GENES else n_genes


def _design(spec: Any, n_cells: int, argument: str) -> Design:
    if spec is None:
        return Design(np.ones((n_cells, 1)), ("Intercept",), {"Intercept": (0,)})
    if isinstance(spec, str) and spec.replace(" ", "") not in {"~1", "1"}:
        msg = (
            f"`{argument}` must be a matrix with one row per cell, or None; got '{spec}'. Make it with design_matrix()."
        )
        raise InputError(msg)
    return read_design(spec, n_cells, None, argument=argument)


def _mean_coef(generator: np.random.Generator, n_coef: int, n_genes: int) -> np.ndarray:
    first = np.log(generator.uniform(1, 10_000, size=(1, n_genes)))
    return np.vstack([first, np.log(generator.uniform(0.5, 2, size=(n_coef - 1, n_genes)))])


def _dispersion_coef(generator: np.random.Generator, n_coef: int, n_genes: int) -> np.ndarray:
    first = np.log(np.round(generator.uniform(1, 10, size=(1, n_genes))))
    return -np.vstack([first, np.log(generator.uniform(0.5, 2, size=(n_coef - 1, n_genes)))])


def _given(values: Any, design: Design, n_genes: int, argument: str) -> np.ndarray:
    coef = np.asarray(values, dtype=np.float64)
    n_coef = len(design.names)
    if coef.ndim == 1:
        coef = np.repeat(coef[:, None], n_genes, axis=1)
    if coef.shape != (n_coef, n_genes):
        msg = (
            f"`{argument}` must be coefficients x genes ({n_coef} x {n_genes}) or one number per coefficient; got "
            f"{' x '.join(map(str, np.shape(values))) or 'a single number'}."
        )
        raise InputError(msg)
    if np.isnan(coef).any():
        msg = f"`{argument}` must not be missing; got {int(np.isnan(coef).sum())} NaN."
        raise InputError(msg)
    return coef


def _size_factors(values: Any, n_cells: int) -> np.ndarray:
    factors = np.ones(n_cells) if values is None else np.asarray(values, dtype=np.float64)
    if factors.shape != (n_cells,) or not (np.isfinite(factors).all() and (factors > 0).all()):
        msg = (
            f"`size_factors` must be one finite positive number per cell (n_cells = {n_cells}); got "
            f"{' x '.join(map(str, factors.shape)) or 'a single number'}"
            + (f" with {int((~(factors > 0)).sum())} values <= 0 or missing." if factors.shape == (n_cells,) else ".")
        )
        raise InputError(msg)
    return factors


def _draw(
    generator: np.random.Generator, x: np.ndarray, z: np.ndarray, a: np.ndarray, b: np.ndarray, factors: np.ndarray
) -> sparse.csr_matrix:
    """Poisson counts whose rate is Gamma(1/alpha) with mean mu: in blocks of genes, so that memory stays small."""
    n_cells, n_genes = len(x), a.shape[1]
    step = max(1, _BLOCK // n_cells)
    blocks = []
    for start in range(0, n_genes, step):
        genes = slice(start, start + step)
        with np.errstate(over="ignore"):  # an infinite mean is refused with its sentence
            rate = np.exp(x @ a[:, genes]) * factors[:, None]
        if not (rate <= _LARGEST_MEAN).all():
            msg = (
                f"`coef` and `design` must give means up to {_LARGEST_MEAN:g}; got {rate.max():.3g}. Coefficients "
                "are on natural log scale."
            )
            raise InputError(msg)
        with np.errstate(invalid="ignore", over="ignore"):  # 0 * -inf for a Poisson gene with a zero in its design
            alpha = np.exp(z @ b[:, genes])
        if np.isnan(alpha).any() or np.isinf(alpha).any():
            msg = (
                "`dispersion_coef` and `dispersion_design` must give finite dispersions; got missing or infinite "
                "ones. -inf is for an intercept alone."
            )
            raise InputError(msg)
        noisy = alpha > 0
        rate[noisy] *= generator.gamma(1 / alpha[noisy]) * alpha[noisy]
        blocks.append(sparse.csc_matrix(generator.poisson(rate).astype(np.float64)))
    return sparse.csr_matrix(sparse.hstack(blocks))
