"""Which neighbours move which genes of which receivers: effects by sender type, and their tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from isthmus import schema, seeds
from isthmus.errors import InputError
from isthmus.interaction import checks, significance
from isthmus.interaction.ablations import BlockMoments, block_moments
from isthmus.interaction.forward import predicted_cells
from isthmus.interaction.nulls import untested
from isthmus.multiplicity import within_families

if TYPE_CHECKING:
    from isthmus.interaction.nulls import Tested
    from isthmus.interaction.result import InteractionFit


def neighbor_effects(
    fit: InteractionFit,
    *,
    null: Literal["block", "within_type", "shift", "none"] = "block",
    n_permutations: int | None = None,
    unit: Any = "block",
    seed: int = 0,
) -> pd.DataFrame:
    """What each sender type adds to the expression of each receiver type, gene by gene, in held-out cells.

    A sender's contribution Delta_s is the prediction less the prediction with all its cells' attention left out (not
    shared out again). ``effect`` is its mean, ``delta_mse`` the change of the squared error when it is left out. The
    test is one of that change less its expectation where expression does not depend on neighbours, which is
    sum_i 2 (e_i - mean) (Delta_s,i - mean), e the residual about the prediction without any neighbour: see
    `explained_variance`.

    It asks whether the sender's part of the model tells something about the receivers, not whether the sender acts on
    them. Where B acts, a type whose cells stand where B's do not tells where B is, and so has an effect, too
    (composition): read the largest effects first. Values that are shares of a cell's counts bring composition of
    another kind: where some genes rise, the shares of all others fall, and small effects of one sign in many genes are
    just that (in `simulate_interactions`' default tissue by about a quarter). Size factors that the response does
    not move (`stable_size_factors`, control genes, the cell's area) take them away.

    Parameters
    ----------
    fit
        What `fit_interactions` returned.
    null, n_permutations, unit, seed
        As in `explained_variance`.

    Returns
    -------
    DataFrame
        receiver, sender, head ("all"), gene (missing: the pair as a whole), effect, delta_mse, n_receivers, statistic,
        pval, padj. First the pairs, then their genes. Adjusted (Benjamini-Hochberg) within: pairs; genes of all pairs.

    Examples
    --------
    >>> from isthmus.interaction import fit_interactions
    >>> from isthmus.testing import simulate_interactions
    >>> tissue = simulate_interactions(300, 20, seed=0)
    >>> fit = fit_interactions(tissue, labels="cell_type", n_neighbors=10, n_heads=2, max_epochs=2)
    >>> neighbor_effects(fit, null="none").shape  # 9 pairs with 20 genes each
    (189, 10)
    """
    checks.check_fit(fit)
    significance.check_choice(null, significance.NULLS, "null")
    generator = seeds.generator(seed)
    pairs = _rows(fit, _run(fit, null, unit, n_permutations, generator, by_gene=False), by_gene=False)
    genes = _rows(fit, _run(fit, null, unit, n_permutations, generator, by_gene=True), by_gene=True)
    values = {name: np.concatenate([pairs[name], genes[name]]) for name in pairs}
    family = np.repeat([0, 1], [len(pairs["receiver"]), len(genes["receiver"])])
    values["padj"] = within_families(values["pval"], family)
    return schema.frame(schema.NEIGHBOR_EFFECTS, {name: values[name] for name in schema.NEIGHBOR_EFFECTS})


def interaction_matrix(fit: InteractionFit | pd.DataFrame, *, fdr: float = 0.05) -> pd.DataFrame:
    """How many genes of each receiver respond to each sender.

    Parameters
    ----------
    fit
        A fit, or what `neighbor_effects` gave for it.
    fdr
        Genes count with padj below this.

    Returns
    -------
    DataFrame
        receiver, sender, n_genes, n_up, n_down, padj (of the pair).

    Raises
    ------
    InputError
        `fdr` outside of (0, 1).
    """
    fdr = checks.between_0_and_1(fdr, "fdr")
    effects = _effects_table(fit)
    pair = effects["gene"].isna()
    pairs, genes = effects[pair], effects[~pair & (effects["padj"] < fdr)]
    key = ["receiver", "sender"]
    counts = pd.DataFrame({"n_up": genes["effect"] > 0, "n_down": genes["effect"] < 0, "n_genes": True})
    sums = counts.groupby([genes["receiver"], genes["sender"]]).sum()
    found = sums.reindex(pd.MultiIndex.from_frame(pairs[key]), fill_value=0)
    values = {name: found[name].to_numpy() for name in ("n_genes", "n_up", "n_down")}
    values |= {name: pairs[name].to_numpy() for name in (*key, "padj")}
    return schema.frame(schema.INTERACTION_MATRIX, {name: values[name] for name in schema.INTERACTION_MATRIX})


def _effects_table(fit: InteractionFit | pd.DataFrame) -> pd.DataFrame:
    if not isinstance(fit, pd.DataFrame):
        checks.check_fit(fit)
        return fit.table("neighbor_effects")
    lacking = [name for name in ("receiver", "sender", "gene", "effect", "padj") if name not in fit]
    if lacking:
        msg = f"`fit` must be a fit or what neighbor_effects() gave; the table lacks {', '.join(map(repr, lacking))}."
        raise InputError(msg)
    return fit


def _run(
    fit: InteractionFit,
    null: str,
    unit: Any,
    n_permutations: int | None,
    generator: np.random.Generator,
    *,
    by_gene: bool,
) -> dict[int, Tested]:
    n_tests = fit.n_types**2 * (fit.n_genes if by_gene else 1)
    contrasts = significance.each_sender(block_moments(fit)[0].variants)
    draws = significance.draws(null, n_tests, n_permutations)
    return significance.run(fit, significance.Plan(contrasts, by_gene, null, unit, draws, generator))


def contacts(fit: InteractionFit) -> np.ndarray:
    """``(n_cells, n_types)`` bool: predicted cells that have a neighbour of the type."""
    present = fit.neighbors.present
    sender = np.where(present, fit.type_codes[np.where(present, fit.neighbors.index, 0)], -1)
    has = np.stack([(sender == kind).any(axis=1) for kind in range(fit.n_types)], axis=1)
    predicted = np.zeros(fit.n_cells, dtype=bool)
    for fold in range(fit.n_folds):
        predicted[predicted_cells(fit, fold)] = True
    return has & predicted[:, None]


def _rows(fit: InteractionFit, tested: dict[int, Tested], *, by_gene: bool) -> dict[str, np.ndarray]:
    """Columns of all receivers and senders; genes within pairs."""
    moments = {one.receiver: one for one in block_moments(fit)}
    has, n_genes = contacts(fit), fit.n_genes if by_gene else 1
    out: dict[str, list[np.ndarray]] = {name: [] for name in schema.NEIGHBOR_EFFECTS if name not in ("gene", "padj")}
    for receiver, kind in enumerate(fit.types):
        n = has[fit.type_codes == receiver].sum(axis=0)
        effect, change = _sizes(fit, moments.get(receiver), n, by_gene=by_gene)
        found = tested.get(receiver, untested(fit.n_types * n_genes))
        out["receiver"].append(np.repeat(kind, fit.n_types * n_genes).astype(object))
        out["sender"].append(np.repeat(np.array(fit.types, dtype=object), n_genes))
        out["head"].append(np.repeat("all", fit.n_types * n_genes).astype(object))
        out["effect"].append(effect.ravel())
        out["delta_mse"].append(change.ravel())
        out["n_receivers"].append(np.repeat(n, n_genes))
        out["statistic"].append(found.statistic.ravel())
        out["pval"].append(found.pval.ravel())
    values = {name: np.concatenate(parts) for name, parts in out.items()}
    genes = np.array(fit.genes if by_gene else [None], dtype=object)
    return values | {"gene": np.tile(genes, fit.n_types**2)}


def _sizes(
    fit: InteractionFit, moments: BlockMoments | None, n: np.ndarray, *, by_gene: bool
) -> tuple[np.ndarray, np.ndarray]:
    """``(n_senders, n_genes or 1)`` effect and delta_mse; NaN without receivers that have such neighbours."""
    if moments is None:
        nothing = np.full((fit.n_types, fit.n_genes if by_gene else 1), np.nan)
        return nothing, nothing.copy()
    v = moments.variants
    total_shift, total_error = moments.shift[v.everything].sum(axis=0), moments.squared_error(v.everything).sum(axis=0)
    shift = np.array([total_shift - moments.shift[v.without(s)].sum(axis=0) for s in range(fit.n_types)])
    change = np.array([moments.squared_error(v.without(s)).sum(axis=0) - total_error for s in range(fit.n_types)])
    with np.errstate(invalid="ignore", divide="ignore"):
        shift, change = (np.where(n[:, None] > 0, part / n[:, None], np.nan) for part in (shift, change))
    if by_gene:
        return shift, change
    return np.sqrt((shift**2).mean(axis=1, keepdims=True)), change.sum(axis=1, keepdims=True)
