"""How well a fit explains its counts: these functions take the counts again, which a fit does not hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from isthmus.ambient.scar.asking import counts_of, mask_of, posterior_of, whole

if TYPE_CHECKING:
    from isthmus.ambient.result import AmbientFit


def elbo(fit: AmbientFit, cells: Any, *, n_samples: int = 1, layer: str | None = None, seed: int = 0) -> pd.Series:
    """Evidence lower bound of each cell, natural log, all constants included: larger is better.

    Parameters
    ----------
    fit
        A fit of ``remove_ambient(method="scar")``.
    cells
        The counts of the fit.
    n_samples, seed
        Draws of z for the reconstruction term, and their seed; the divergence is exact.
    layer
        AnnData layer with the counts.

    Returns
    -------
    Series
        By cell.
    """
    from isthmus.ambient.scar import evidence

    values = evidence.elbo(posterior_of(fit), counts_of(fit, cells, layer), whole("n_samples", n_samples), seed)
    return pd.Series(values, index=fit.cell_names, name="elbo")


def reconstruction_error(
    fit: AmbientFit, cells: Any, *, n_samples: int = 1, layer: str | None = None, seed: int = 0
) -> pd.Series:
    """-log p(x | z) of each cell, mean over draws of z: smaller is better. Arguments as in `elbo`."""
    from isthmus.ambient.scar import evidence

    values = evidence.reconstruction(
        posterior_of(fit), counts_of(fit, cells, layer), whole("n_samples", n_samples), seed
    )
    return pd.Series(values, index=fit.cell_names, name="reconstruction_error")


def marginal_ll(
    fit: AmbientFit, cells: Any, *, n_samples: int = 100, layer: str | None = None, seed: int = 0
) -> pd.Series:
    """Marginal log-likelihood log p(x) of each cell by importance sampling from q(z | x): larger is better.

    Biased downwards, less so with more `n_samples`; at least the ELBO but for Monte Carlo error. Arguments as
    in `elbo`.
    """
    from isthmus.ambient.scar import evidence

    values = evidence.marginal(posterior_of(fit), counts_of(fit, cells, layer), whole("n_samples", n_samples), seed)
    return pd.Series(values, index=fit.cell_names, name="marginal_ll")


def importance_weights(
    fit: AmbientFit,
    cells: Any,
    *,
    group: Any = None,
    max_cells: int = 1_024,
    n_mc_samples: int = 500,
    truncation: bool = False,
    layer: str | None = None,
    seed: int = 0,
) -> pd.Series:
    """Weights of one draw of z per cell, larger where it explains many cells of the group; they sum to 1.

    Parameters
    ----------
    fit
        A fit of ``remove_ambient(method="scar")``.
    cells
        The counts of the fit.
    group
        True for each cell of the group; None: all.
    max_cells
        Cells that the weights are judged by, at most.
    n_mc_samples
        Draws for their marginal likelihood.
    truncation
        Cap weights at sqrt(n) times their mean, which lowers the variance (Ionides 2008).
    layer
        AnnData layer with the counts.
    seed
        Of all draws.

    Returns
    -------
    Series
        By cell of the group.
    """
    from isthmus.ambient.scar import evidence

    chosen = np.arange(fit.n_cells) if group is None else np.flatnonzero(mask_of(fit, group))
    part, counts = posterior_of(fit).of(chosen), counts_of(fit, cells, layer)[chosen]
    values = evidence.importance_weights(
        part,
        counts,
        part.draw(np.random.default_rng([seed, 11])),
        max_cells=whole("max_cells", max_cells),
        n_mc_samples=whole("n_mc_samples", n_mc_samples),
        truncation=bool(truncation),
        seed=seed,
    )
    return pd.Series(values, index=fit.cell_names[chosen], name="weight")
