"""How much the answer depends on the sampling of the profile."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus import schema
from isthmus.ambient.exclusivity import refuse_other_counts
from isthmus.ambient.profile import is_number
from isthmus.ambient.reading import read_whole_counts
from isthmus.errors import IdentifiabilityWarning, InputError

if TYPE_CHECKING:
    import pandas as pd

    from isthmus.ambient.result import AmbientFit
    from isthmus.data.counts import Counts


def sensitivity(
    fit: AmbientFit, cells: Any, *, n: int = 10, seed: int = 0, markers: Any = None, rho: Any = None, layer: Any = None
) -> pd.DataFrame:
    """Fit again with profiles drawn anew from their counts (parametric bootstrap).

    Batches, clusters and `fpr` are those of the fit.

    Parameters
    ----------
    fit
        A fit of method "em" whose profile came with counts (from droplets).
    cells
        The counts of the fit, passed again.
    n
        Fits to make: more give steadier standard deviations.
    seed
        Of the profiles drawn.
    markers, rho
        As in the fit, where they fixed its level.
    layer
        AnnData layer with the counts.

    Returns
    -------
    DataFrame
        cell, rho, rho_sd (over the fits), removed, removed_sd (expected ambient counts), one row per cell.

    Raises
    ------
    InputError
        Another method; a profile without counts; other cells than the fit's; `n` under 2; `markers` or `rho` left out
        where they fixed the level.

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

    counts = read_whole_counts(cells, "cells", layer)
    _check(fit, counts, n, seed, markers, rho)
    generator, shares, removed = np.random.default_rng(seed), [], []
    as_before = {"batch": fit.batch_names[fit.batch], "labels": fit.clusters, "fpr": fit.settings["fpr"]}
    for _ in range(int(n)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", IdentifiabilityWarning)  # the fit itself has warned
            again = remove_ambient(counts, profile=_drawn(fit, generator), markers=markers, rho=rho, **as_before)
        table = again.table("cells")
        shares.append(table["rho"].to_numpy())
        removed.append(table["ambient_umi"].to_numpy())
    first = fit.table("cells")
    values = {
        "cell": first["cell"],
        "rho": first["rho"],
        "rho_sd": np.std(shares, axis=0, ddof=1),
        "removed": first["ambient_umi"],
        "removed_sd": np.std(removed, axis=0, ddof=1),
    }
    return schema.frame(schema.SENSITIVITY, values)


def _check(fit: AmbientFit, counts: Counts, n: Any, seed: Any, markers: Any, rho: Any) -> None:
    for name, value, least in (("n", n, 2), ("seed", seed, 0)):
        if not is_number(value) or value != int(value) or value < least:
            msg = f"`{name}` must be a whole number of at least {least}; got {value!r}."
            raise InputError(msg)
    if fit.settings["method"] != "em":
        msg = f'`fit` must be of method "em", which is fitted in seconds; got "{fit.settings["method"]}".'
        raise InputError(msg)
    if not np.isfinite(fit.ambient_count).all():
        msg = "`fit` must hold the counts of its profile; got a profile given without counts. Fit with `droplets`."
        raise InputError(msg)
    refuse_other_counts(fit, counts)
    argument = {"markers": "markers", "given": "rho"}.get(fit.settings["level"])
    if argument is not None and markers is None and rho is None:
        msg = f"`{argument}` fixed the level of the fit. Pass the same `{argument}` again."
        raise InputError(msg)


def _drawn(fit: AmbientFit, generator: np.random.Generator) -> pd.DataFrame:
    """The profile table with multinomial counts drawn anew, batch by batch."""
    table = fit.table("profile")
    for own in table.groupby("batch", sort=False).groups.values():
        counts = generator.multinomial(round(table.loc[own, "count"].sum()), table.loc[own, "prob"])
        table.loc[own, "count"] = counts.astype(float)
        table.loc[own, "prob"] = counts / counts.sum()
    return table
