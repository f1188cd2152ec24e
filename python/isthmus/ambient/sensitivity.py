"""How much the answer depends on the sampling of the profile."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from isthmus.ambient.profile import is_number
from isthmus.errors import IdentifiabilityWarning, InputError

if TYPE_CHECKING:
    from isthmus.ambient.result import AmbientFit


def sensitivity(fit: AmbientFit, cells: Any, *, n: int = 10, seed: int = 0, **options: Any) -> pd.DataFrame:
    """Fit again with profiles drawn anew from their counts (parametric bootstrap).

    Parameters
    ----------
    fit
        A fit whose profile came with counts (from droplets).
    cells
        The counts of the fit, passed again.
    n
        Fits to make.
    seed
        Of the profiles drawn.
    **options
        Further arguments of `remove_ambient`, as in the fit (``batch``, ``layer``, ``rho``...). Clusters are those of
        the fit.

    Returns
    -------
    DataFrame
        cell, rho, rho_sd (over the fits), removed, removed_sd (expected ambient counts), one row per cell.

    Raises
    ------
    InputError
        A profile without counts; `n` under 2.

    Examples
    --------
    >>> import isthmus
    >>> from isthmus.testing import simulate_ambient
    >>> cells, droplets = simulate_ambient(200, 80, seed=1)
    >>> fit = isthmus.remove_ambient(cells, droplets=droplets, labels="type")
    >>> spread = isthmus.ambient.sensitivity(fit, cells, n=3)
    >>> bool((spread["rho_sd"] < 0.05).all())
    True
    """
    from isthmus.ambient.remove import remove_ambient

    if not is_number(n) or n != int(n) or n < 2:
        msg = f"`n` must be a whole number of at least 2; got {n!r}."
        raise InputError(msg)
    if not np.isfinite(fit.ambient_count).all():
        msg = "`fit` must hold the counts of its profile; got a profile given without counts. Fit with `droplets`."
        raise InputError(msg)
    generator, shares, removed = np.random.default_rng(seed), [], []
    for _ in range(int(n)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", IdentifiabilityWarning)  # the fit itself has warned
            again = remove_ambient(cells, profile=_drawn(fit, generator), labels=fit.clusters, **options)
        table = again.table("cells")
        shares.append(table["rho"].to_numpy())
        removed.append(table["ambient_umi"].to_numpy())
    first = fit.table("cells")
    return pd.DataFrame(
        {
            "cell": first["cell"],
            "rho": first["rho"],
            "rho_sd": np.std(shares, axis=0, ddof=1),
            "removed": first["ambient_umi"],
            "removed_sd": np.std(removed, axis=0, ddof=1),
        }
    )


def _drawn(fit: AmbientFit, generator: np.random.Generator) -> pd.DataFrame:
    """The profile table with multinomial counts drawn anew, batch by batch."""
    table = fit.table("profile")
    for level, own in table.groupby("batch", sort=False).groups.items():
        del level
        counts = generator.multinomial(round(table.loc[own, "count"].sum()), table.loc[own, "prob"])
        table.loc[own, "count"] = counts.astype(float)
        table.loc[own, "prob"] = counts / counts.sum()
    return table
