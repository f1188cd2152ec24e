"""Differential expression between groups of the cells of a fit.

What one can ask of a fit of ``remove_ambient(method="scar")``; none of it needs torch, scvi-tools or the input data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from isthmus import schema
from isthmus.ambient.scar.asking import check_between, counts_of, groups_of, level_of, posterior_of, whole
from isthmus.data.wording import some
from isthmus.errors import InputError

if TYPE_CHECKING:
    from scipy import sparse

    from isthmus.ambient.result import AmbientFit
    from isthmus.ambient.scar.model import Posterior


def differential_expression(
    fit: AmbientFit,
    groupby: Any = "cluster",
    group1: str | None = None,
    group2: str | None = None,
    *,
    mode: Literal["change", "vanilla"] = "change",
    delta: float = 0.25,
    fdr_target: float = 0.05,
    n_samples: int = 5_000,
    cells: Any = None,
    layer: str | None = None,
    filter_outlier_cells: bool = False,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare native expression between groups of cells.

    1. A cell of each group is drawn, z from its q(z | x), and decoded to frequencies p; `n_samples` times.
    2. "vanilla": the probability that the first group's p is larger. "change": the probability that the log2 fold
       change exceeds `delta` either way; called are as many genes as keep the expected false share at `fdr_target`,
       and of these the ones that are false with a probability of at most 4 `fdr_target` each.

    Parameters
    ----------
    fit
        A fit of ``remove_ambient(method="scar")``.
    groupby
        One label per cell, or "cluster" (the `labels` of the fit) or "batch".
    group1, group2
        Groups to compare; without `group2` with all other cells; without `group1` every group with all others.
    mode
        "change" or "vanilla".
    delta
        Smallest log2 fold change that matters.
    fdr_target
        Expected share of false genes among those called.
    n_samples
        Draws.
    cells
        The counts of the fit: draws are then weighted by importance (Boyeau et al. 2019). None: uniform.
    layer
        AnnData layer with the counts.
    filter_outlier_cells
        Leave out the tenth of each group that lies farthest out in the latent space.
    seed
        Of the draws.

    Returns
    -------
    DataFrame
        Table ``scar_change`` or ``scar_vanilla`` of `isthmus.schema`: one row per comparison and gene, in the order of
        the genes.

    Raises
    ------
    InputError
        Unknown groups, a group without cells, numbers out of their range.
    """
    from isthmus.ambient.scar import comparison

    posterior, groups = posterior_of(fit), groups_of(fit, groupby)
    if mode not in ("change", "vanilla"):
        msg = f"`mode` must be 'change' or 'vanilla'; got {mode!r}."
        raise InputError(msg)
    check_between("fdr_target", fdr_target, 0, 1)
    check_between("delta", delta, 0, np.inf, low_included=True)
    n, counts = whole("n_samples", n_samples, 2), None if cells is None else counts_of(fit, cells, layer)
    parts = []
    for one, other in _pairs(groups, group1, group2):
        generator = np.random.default_rng([seed, 10])
        sides = []
        for members in (groups == one, groups != one if other is None else groups == other):
            own = np.flatnonzero(members & (fit.observed_umi > 0))
            if filter_outlier_cells:
                own = own[comparison.usual_cells(posterior.mean[own].astype(float))]
            sides.append(_drawn(fit, posterior, own, n, generator, counts))
        first, second = sides
        found = (
            comparison.vanilla(first.p, second.p)
            if mode == "vanilla"
            else comparison.change(first, second, float(delta), float(fdr_target))
        )
        named: dict[str, Any] = {
            "gene": fit.gene_names,
            "group1": [one] * fit.n_genes,
            "group2": [other or "rest"] * fit.n_genes,
        }
        columns = schema.SCAR_VANILLA if mode == "vanilla" else schema.SCAR_CHANGE
        parts.append(schema.frame(columns, named | found))
    return pd.concat(parts, ignore_index=True)


def _pairs(groups: np.ndarray, group1: Any, group2: Any) -> list[tuple[str, str | None]]:
    if group1 is None and group2 is not None:
        msg = "`group2` needs `group1`: the group that it is compared with. Give both, or `group1` alone."
        raise InputError(msg)
    levels = sorted(set(groups.tolist()))
    if len(levels) < 2:
        msg = f"`groupby` must tell at least two groups apart; got one ({some(levels)})."
        raise InputError(msg)
    if group1 is None:
        return [(level, None) for level in levels]
    one = level_of("group1", group1, groups)
    other = None if group2 is None else level_of("group2", group2, groups)
    if one == other:
        msg = f"`group1` and `group2` must differ; got {one!r} twice."
        raise InputError(msg)
    return [(one, other)]


def _drawn(
    fit: AmbientFit,
    posterior: Posterior,
    own: np.ndarray,
    n: int,
    generator: np.random.Generator,
    counts: sparse.csr_matrix | None,
) -> Any:
    from isthmus.ambient.scar import comparison
    from isthmus.ambient.scar.evidence import importance_weights

    weights = None
    if counts is not None:
        some_seed = int(generator.integers(2**31))

        def weights(part: Posterior, z: np.ndarray) -> np.ndarray:
            return importance_weights(
                part, counts[own], z, max_cells=128, n_mc_samples=50, truncation=False, seed=some_seed
            )

    p = comparison.draw_cells(posterior.of(own), n, generator, weights)
    # The fit keeps expected native counts, not the observed ones: a gene without them is absent all the same.
    return comparison.Draws(p, np.asarray(fit.denoised_mean[own].mean(axis=0)).ravel())
