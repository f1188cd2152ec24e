"""How much of the receivers' held-out expression their neighbours explain, and whether it is more than chance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from isthmus import schema, seeds
from isthmus.interaction import checks, significance
from isthmus.interaction.ablations import BlockMoments, block_moments
from isthmus.interaction.heads import STABLE, head_stability
from isthmus.interaction.nulls import untested
from isthmus.multiplicity import within_families

if TYPE_CHECKING:
    import pandas as pd

    from isthmus.interaction.nulls import Tested
    from isthmus.interaction.result import InteractionFit


def explained_variance(
    fit: InteractionFit,
    *,
    by: Literal["receiver", "gene"] = "receiver",
    null: Literal["block", "within_type", "shift", "none"] = "block",
    n_permutations: int | None = None,
    unit: Any = "block",
    seed: int = 0,
) -> pd.DataFrame:
    """Variance that the neighbours explain in cells which the model did not see, with tests.

    r2 = 1 - SSE / SSE(mean of the type in the same training cells), over held-out cells. Rows of head "all" are the
    answer, and what they are compared with is 0, the mean of the type. Single heads are matched across folds and
    exploratory: they have no p-value where their stability (table "heads") is below 0.5.

    "none" is the prediction with all attention taken away. Without covariates that is one constant for each type and
    fold, mean + W LN(query), and no constant beats the mean but by chance, so its r2 is 0 or less. It is far below 0
    where the network has left to the neighbours what all receivers share: in training none was without neighbours.

    The statistic is the reduction of the squared error by the neighbours less its expectation where expression does not
    depend on them, T = sum_i 2 (e_i - mean) (Delta_i - mean): e_i the residual about the prediction without neighbours,
    Delta_i what the neighbours add, means over sample, fold and type. An estimated prediction looks worse than none
    under the null, by |Delta_i|^2, and leaving that term out makes the test one of level alpha (Clark & West 2007,
    doi 10.1016/j.jeconom.2006.05.023). So a row can have r2 below 0 and a small p-value: there is signal, but the
    predictions are too noisy to beat the mean. Folds predict
    each other, so that T varies more than its blocks show; the null distributions are stretched by the factor that the
    agreement of the folds' models implies (`dependence`).

    Parameters
    ----------
    fit
        What `fit_interactions` returned.
    by
        "receiver": a row for each type and head. "gene": for each gene too.
    null
        "block": signs of the units' sums are flipped, which respects all dependence within a unit. "within_type":
        predictions are permuted among cells of one sample, fold and type; assumes that expression within a type is not
        autocorrelated in space, and rejects too often where it is. "shift": predictions are moved by a toroidal shift
        of each sample, to the nearest cell of the type; approximate. "none": no test.
    n_permutations
        Draws B. None: just above (tests in the largest family) / 0.05, at least 199 (9,999 for "block").
        p = (1 + #{T* >= T}) / (1 + B);
        with null="block" a test stops after 50 draws that reach it.
    unit
        Of null="block": "block", spatial blocks, 20 or more with cells of the type; "sample", or a mapping from sample
        to donor, 6 or more.
    seed
        Of the draws. None: fresh.

    Returns
    -------
    DataFrame
        receiver, head, (gene,) r2, statistic, pval, pval_approx, padj, n_cells, set: see `schema.py`. Adjusted
        (Benjamini-Hochberg) within: rows "all"; rows of heads.

    Raises
    ------
    InputError
        Unknown choices; units that are not constant within samples.

    Examples
    --------
    >>> from isthmus.interaction import fit_interactions
    >>> from isthmus.testing import simulate_interactions
    >>> tissue = simulate_interactions(300, 20, seed=0)
    >>> fit = fit_interactions(tissue, labels="cell_type", n_neighbors=10, n_heads=2, max_epochs=2)
    >>> explained_variance(fit, null="none").query("head == 'none'").shape
    (3, 9)
    """
    checks.check_fit(fit)
    significance.check_choice(by, ("receiver", "gene"), "by")
    significance.check_choice(null, significance.NULLS, "null")
    by_gene = by == "gene"
    n_tests = fit.n_types * fit.n_heads * (fit.n_genes if by_gene else 1)
    moments = {one.receiver: one for one in block_moments(fit)}
    contrasts = significance.everything_and_heads(next(iter(moments.values())).variants)
    plan = significance.Plan(
        contrasts, by_gene, null, unit, significance.draws(null, n_tests, n_permutations), seeds.generator(seed)
    )
    tested = significance.run(fit, plan)
    rows = [_receiver_rows(fit, moments.get(r), tested.get(r), r, by_gene=by_gene) for r in range(fit.n_types)]
    values = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    values["padj"] = within_families(values["pval"], values["head"] == "all")
    columns = schema.EXPLAINED_VARIANCE_GENES if by_gene else schema.EXPLAINED_VARIANCE
    return schema.frame(columns, {name: values[name] for name in columns})


def _receiver_rows(
    fit: InteractionFit, moments: BlockMoments | None, tested: Tested | None, receiver: int, *, by_gene: bool
) -> dict[str, np.ndarray]:
    """Columns of one receiver: rows all, none, heads; genes within."""
    n_genes, n_heads = (fit.n_genes if by_gene else 1), fit.n_heads
    heads = ["all", "none", *(str(h + 1) for h in range(n_heads))]
    if moments is None or tested is None:
        r2, nothing = np.full((len(heads), n_genes), np.nan), untested((1 + n_heads) * n_genes)
    else:
        r2, nothing = _r2(fit, moments, by_gene=by_gene), tested
    n = len(heads) * n_genes
    out = {
        "receiver": np.repeat(fit.types[receiver], n).astype(object),
        "head": np.repeat(np.array(heads, dtype=object), n_genes),
        "r2": r2.ravel(),
        "n_cells": np.repeat(0 if moments is None else int(moments.n.sum()), n),
        "set": np.repeat(fit.set, n).astype(object),
    }
    if by_gene:
        out["gene"] = np.tile(np.array(fit.genes, dtype=object), len(heads))
    unstable = np.concatenate([[False], ~(head_stability(fit) >= STABLE)])
    for name, values in vars(nothing).items():
        kept = values.reshape(1 + n_heads, n_genes).copy()
        if name != "statistic":
            kept[unstable] = np.nan
        out[name] = np.insert(kept, 1, np.nan, axis=0).ravel()  # "none" has no test
    return out


def _r2(fit: InteractionFit, moments: BlockMoments, *, by_gene: bool) -> np.ndarray:
    """``(2 + n_heads, n_genes or 1)``: all, none, heads."""
    weight = fit.gene_weights[moments.strata % fit.folds.n_folds] * moments.varies
    v = moments.variants
    errors = [
        moments.squared_error(v.everything),
        moments.error_squared,
        *(moments.squared_error(v.head(h)) for h in range(v.n_heads)),
    ]
    sums = np.array([(weight * error).sum(axis=0) for error in errors])
    around_mean = (weight * moments.around_mean).sum(axis=0)
    if not by_gene:
        sums, around_mean = sums.sum(axis=1, keepdims=True), around_mean.sum(keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        r2 = 1 - sums / around_mean
    return np.where(around_mean > 0, r2, np.nan)
