"""The ambient profile: how probable each gene is among the counts that do not come from the droplet's cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from isthmus import schema
from isthmus.ambient import empties
from isthmus.ambient.reading import positions_of, read_batches, read_whole_counts
from isthmus.data.sums import column_sums
from isthmus.data.wording import plural, some
from isthmus.errors import InputError
from isthmus.messages import tell

if TYPE_CHECKING:
    from isthmus.data.counts import Counts


def ambient_profile(
    cells: Any,
    droplets: Any,
    *,
    lower: float | None = None,
    exclude_cells: bool = True,
    batch: Any = None,
    layer: str | None = None,
    rule: Literal["umi", "multinomial"] = "umi",
    prob: float = 0.995,
    min_raw_counts: int = 2,
    iterations: int = 3,
    sample: int = 50_000,
    seed: int = 0,
) -> pd.DataFrame:
    """Estimate the ambient profile from the empty droplets of the raw matrix.

    1. Empty are the droplets that carry no cell's name and have from 1 to `lower` UMI (rule "umi").
    2. Their counts are summed, gene by gene, and divided by the total: the maximum-likelihood profile.
    3. Genes are matched by name to those of `cells`, and the probabilities are over these.

    Parameters
    ----------
    cells
        The called cells, cells x genes: AnnData, DataFrame or a matrix. They give the genes and their order.
    droplets
        The raw matrix, droplets x genes. Its genes may come in another order and number.
    lower
        Largest UMI of an empty droplet. None: the steepest place of the barcode-rank curve.
    exclude_cells
        Leave out droplets that carry the name of a cell.
    batch
        A column that both have, or ``{"cells": labels, "droplets": labels}``. Each batch gets a profile of its own.
    layer
        AnnData layer with the counts (read from `droplets` too where it has one of that name).
    rule
        "umi", or "multinomial": SCAR's, droplets with log P(counts | profile) >= n_genes log(prob).
    prob, min_raw_counts, iterations, sample, seed
        For "multinomial": larger `prob` keeps fewer droplets; droplets with fewer counts than `min_raw_counts` are left
        out; rounds of estimation; droplets drawn at most (per batch), and the seed of the draw.

    Returns
    -------
    DataFrame
        ``profile`` table: gene, batch, prob, count, n_empty; genes of `cells`, in its order, batch by batch.
        ``attrs["empties"]``: for each batch the number of empty droplets and their range of UMI.

    Raises
    ------
    InputError
        Fractional counts, duplicated or disjoint genes, a filtered matrix given as raw, too few empty droplets, a batch
        without droplets, an argument out of its range.

    References
    ----------
    Lun et al. 2019, Genome Biology 20:63 (empty droplets); Sheng et al. 2022, bioRxiv 2022.01.14.476312 (SCAR).

    Examples
    --------
    >>> import isthmus
    >>> from isthmus.testing import simulate_ambient
    >>> cells, droplets = simulate_ambient(200, 50, n_empty=500, seed=1)
    >>> profile = isthmus.ambient_profile(cells, droplets)
    >>> bool(abs(profile["prob"].sum() - 1) < 1e-12)
    True
    """
    _check_options(
        lower, rule, prob, {"min_raw_counts": min_raw_counts, "iterations": iterations, "sample": sample}, seed
    )
    own = read_whole_counts(cells, "cells", layer)
    raw = read_whole_counts(droplets, "droplets", layer)
    of_cells, of_droplets = read_batches(batch, own, raw)
    assert of_droplets is not None
    multinomial = empties.Multinomial(prob, min_raw_counts, iterations, sample, seed) if rule == "multinomial" else None
    return profile_of(own, raw, of_cells, of_droplets, lower, exclude_cells=exclude_cells, multinomial=multinomial)


def profile_of(
    cells: Counts,
    droplets: Counts,
    of_cells: np.ndarray,
    of_droplets: np.ndarray,
    lower: float | None = None,
    *,
    exclude_cells: bool = True,
    multinomial: empties.Multinomial | None = None,
) -> pd.DataFrame:
    """The profile table from counts that have been read."""
    called = empties.called_cells(cells, droplets)
    empties.refuse_filtered(cells, droplets, called)
    _refuse_nameless(cells, droplets)
    place = positions_of(cells.gene_names, droplets.gene_names, "droplets")
    _refuse_batches(of_cells, of_droplets)
    umi = empties.umi_of(droplets)
    excluded = called if exclude_cells else np.zeros_like(called)
    remedy = "Lower `prob`." if multinomial else "Raise `lower`, or pass the unfiltered counts."
    parts, report = [], {}
    for level in pd.unique(of_cells):
        here = of_droplets == level
        if multinomial:
            used = empties.empties_by_multinomial(droplets.matrix, umi, here & ~excluded, multinomial)
        else:
            used = here.copy()
            used[here] = empties.empties_by_umi(umi[here], excluded[here], called[here], lower)
        empties.check_enough(used, umi, str(level), remedy)
        parts.append(_table(cells.gene_names, str(level), column_sums(droplets.matrix, used), place, int(used.sum())))
        report[str(level)] = _range(used, umi, here)
    if exclude_cells and cells.cells_named and droplets.cells_named and not called.any():
        tell(
            f"`droplets` has no droplet with the name of a cell (such as '{cells.cell_names[0]}'): cells and empty "
            "droplets are told apart by their UMI alone."
        )
    _tell_range(report, exclude_cells=exclude_cells)
    table = pd.concat(parts, ignore_index=True)
    table.attrs["empties"] = report
    return table


def _table(genes: np.ndarray, level: str, counts: np.ndarray, place: np.ndarray, n_empty: int) -> pd.DataFrame:
    matched = np.where(place >= 0, counts[np.maximum(place, 0)], 0.0)
    if matched.sum() == 0:
        msg = "`droplets` must hold counts of the genes of `cells`; its empty droplets have none. Check the gene names."
        raise InputError(msg)
    values = {
        "gene": genes,
        "batch": np.full(len(genes), level, dtype=object),
        "prob": matched / matched.sum(),
        "count": matched,
        "n_empty": np.full(len(genes), n_empty),
    }
    return schema.frame(schema.AMBIENT_PROFILE, values)


def _range(used: np.ndarray, umi: np.ndarray, here: np.ndarray) -> dict[str, float]:
    own = umi[used]
    return {
        "n_droplets": int(here.sum()),
        "n_empty": int(used.sum()),
        "min_umi": float(own.min()),
        "max_umi": float(own.max()),
        "total_umi": float(own.sum()),
    }


def _tell_range(report: dict[str, dict[str, float]], *, exclude_cells: bool) -> None:
    for level, found in report.items():
        where = "" if level == "all" else f" of batch '{level}'"
        tell(
            f"`droplets`: {found['n_empty']:,} of {found['n_droplets']:,}{where} taken as empty, with "
            f"{found['min_umi']:,.0f} to {found['max_umi']:,.0f} UMI{'' if exclude_cells else ', cells included'}."
        )


def _refuse_nameless(cells: Counts, droplets: Counts) -> None:
    """Without names on a side, genes can be matched by position alone: their number must agree, and no side have names
    that the other lacks."""
    if cells.genes_named and droplets.genes_named:
        return
    alike = not cells.genes_named and not droplets.genes_named and cells.n_genes == droplets.n_genes
    if not alike:
        lacking = "droplets" if cells.genes_named else "cells"
        msg = (
            f"`{lacking}` must name its genes, so that they can be matched; got no names, and {cells.n_genes:,} genes "
            f"in `cells`, {droplets.n_genes:,} in `droplets`. Name the genes of both."
        )
        raise InputError(msg)


def _refuse_batches(of_cells: np.ndarray, of_droplets: np.ndarray) -> None:
    lacking = sorted(set(pd.unique(of_cells)) - set(pd.unique(of_droplets)))
    if lacking:
        msg = (
            f"`droplets` must hold droplets of every batch of `cells`; got none of {plural(len(lacking), 'batch')} "
            f"({some(lacking)}). Add them, or correct that batch on its own."
        ).replace("batchs", "batches")
        raise InputError(msg)


def _check_options(lower: float | None, rule: str, prob: float, numbers: dict[str, int], seed: int) -> None:
    if rule not in ("umi", "multinomial"):
        msg = f"`rule` must be 'umi' or 'multinomial'; got {rule!r}."
        raise InputError(msg)
    if lower is not None and not (is_number(lower) and lower >= 1):
        msg = f"`lower` must be a number of at least 1 (UMI), or None; got {lower!r}."
        raise InputError(msg)
    if not (is_number(prob) and 0 < prob < 1):
        msg = f"`prob` must lie between 0 and 1; got {prob!r}."
        raise InputError(msg)
    for name, value in (numbers | {"seed": seed}).items():
        least = 0 if name == "seed" else 1
        if not is_number(value) or value != int(value) or value < least:
            msg = f"`{name}` must be a whole number of at least {least}; got {value!r}."
            raise InputError(msg)


def is_number(value: Any) -> bool:
    """A real, finite number that is not a bool."""
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool) and bool(np.isfinite(value))
