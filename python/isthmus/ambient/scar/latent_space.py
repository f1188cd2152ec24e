"""The latent space of a fit: where its cells lie, and how samples differ there.

What one can ask of a fit of ``remove_ambient(method="scar")``; none of it needs torch, scvi-tools or the input data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from isthmus.ambient.profile import is_number
from isthmus.ambient.scar.asking import groups_of, mask_of, posterior_of, whole
from isthmus.errors import InputError

if TYPE_CHECKING:
    from isthmus.ambient.result import AmbientFit
    from isthmus.ambient.scar.model import Posterior


def latent(fit: AmbientFit, *, variance: bool = False, n_samples: int = 1_000, seed: int = 0) -> pd.DataFrame:
    """Mean of the latent posterior q(z | x) of each cell.

    Parameters
    ----------
    fit
        A fit of ``remove_ambient(method="scar")``.
    variance
        The variance of the (normal) posterior in place of its mean.
    n_samples, seed
        For latent_distribution "ln", whose mean has no closed form: draws that are averaged.

    Returns
    -------
    DataFrame
        Cells x latent dimensions (z1, z2, ...), float32.

    Raises
    ------
    InputError
        A fit of another method.

    Examples
    --------
    >>> import isthmus
    >>> from isthmus.testing import simulate_ambient
    >>> cells, droplets = simulate_ambient(60, 40, 300, seed=1)
    >>> fit = isthmus.remove_ambient(cells, droplets=droplets, method="scar", max_epochs=2, early_stopping=False)
    >>> isthmus.ambient.latent(fit).shape
    (60, 15)
    """
    from isthmus.ambient.scar.expression import latent_mean

    posterior = posterior_of(fit)
    values = posterior.variance if variance else latent_mean(posterior, whole("n_samples", n_samples), seed)
    return pd.DataFrame(values, index=fit.cell_names, columns=[f"z{i + 1}" for i in range(values.shape[1])])


def latent_library_size(fit: AmbientFit) -> pd.Series:
    """Library size N of each cell that the network works with: the observed counts.

    Returns
    -------
    Series
        Counts by cell.
    """
    return pd.Series(posterior_of(fit).library, index=fit.cell_names, name="library_size")


def aggregated_posterior(fit: AmbientFit, *, group: Any = None) -> pd.DataFrame:
    """The aggregated posterior of a group of cells: a mixture with one component per cell.

    Parameters
    ----------
    fit
        A fit of ``remove_ambient(method="scar")``.
    group
        True for each cell that takes part; None: all.

    Returns
    -------
    DataFrame
        One row per component: cell, weight, mean_z1, ..., sd_z1, ....
    """
    posterior = posterior_of(fit)
    chosen = np.arange(fit.n_cells) if group is None else np.flatnonzero(mask_of(fit, group))
    return component_table(posterior.of(chosen), fit.cell_names[chosen])


def component_table(part: Posterior, cells: np.ndarray) -> pd.DataFrame:
    """One row per cell: cell, weight, mean_z1, ..., sd_z1, ...."""
    columns: dict[str, Any] = {"cell": cells, "weight": np.full(len(cells), 1 / max(len(cells), 1))}
    columns |= {f"mean_z{i + 1}": column.astype(float) for i, column in enumerate(part.mean.T)}
    columns |= {f"sd_z{i + 1}": np.sqrt(column.astype(float)) for i, column in enumerate(part.variance.T)}
    return pd.DataFrame(columns)


def differential_abundance(fit: AmbientFit, sample: Any, *, dof: float | None = None) -> pd.DataFrame:
    """Log density of each sample's aggregated posterior at each cell: differences between samples say where in the
    latent space one has more cells (Boyeau et al. 2024, MrVI, uses the same).

    Parameters
    ----------
    fit
        A fit of ``remove_ambient(method="scar")``.
    sample
        One label per cell, or "batch" or "cluster".
    dof
        Degrees of freedom of Student's t components; None: normal ones.

    Returns
    -------
    DataFrame
        Cells x samples, natural log.
    """
    from isthmus.ambient.scar.comparison import aggregated_log_density

    posterior, samples = posterior_of(fit), groups_of(fit, sample, "sample")
    if dof is not None and not (is_number(dof) and dof > 0):
        msg = f"`dof` must be a number above 0, or None; got {dof!r}."
        raise InputError(msg)
    columns = {
        str(name): aggregated_log_density(posterior.of(np.flatnonzero(samples == name)), posterior.mean, dof)
        for name in pd.unique(samples)
    }
    return pd.DataFrame(columns, index=fit.cell_names)
