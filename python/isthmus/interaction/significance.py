"""Tests of what parts of the neighbourhood add to held-out predictions, under any of the nulls.

A test is a contrast of variants: "all" is everything against nothing, a head is itself against nothing, a sender type
is everything against everything but it. With Delta the contrast's difference of predictions, the statistic is

    T = sum_i w 2 (e_i - mean) (Delta_i - mean)

over genes too where one number is asked for, w the factors that training gave the genes' errors, means over sample,
fold and receiver type (so that neither offsets of samples nor of folds count as interaction). `nulls` says why.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.errors import InputError
from isthmus.interaction import forward, permute
from isthmus.interaction.ablations import BlockMoments, Variants, block_moments, stratum_codes, variant_shifts
from isthmus.interaction.dependence import variance_factors
from isthmus.interaction.heads import head_orders
from isthmus.interaction.nulls import (
    CHEAP_DRAWS,
    MIN_BLOCKS,
    MIN_UNITS,
    Tested,
    centring_factor,
    draws_needed,
    sign_flips,
    sum_over_units,
    too_few_units,
    untested,
)
from isthmus.interaction.units import unit_of_block
from isthmus.messages import tell

if TYPE_CHECKING:
    from collections.abc import Iterator

    from isthmus.interaction.forward import FoldModel
    from isthmus.interaction.result import InteractionFit

NULLS = ("block", "within_type", "shift", "none")
_CHUNK_VALUES = 1 << 24  # entries of cells x genes at once: 128 MB


@dataclass(frozen=True, eq=False)
class Plan:
    """How to test.

    Attributes
    ----------
    contrasts
        ``(n_tests, n_variants)``.
    by_gene
        One test a gene and contrast, or one a contrast.
    null
        See `NULLS`.
    unit
        What keeps or changes its sign as one.
    n_draws
        B.
    generator
        Where draws come from.
    """

    contrasts: np.ndarray
    by_gene: bool
    null: str
    unit: Any
    n_draws: int
    generator: np.random.Generator


def draws(null: str, n_tests: int, n_permutations: int | None) -> int:
    """B: see `nulls.draws_needed`; at least 9,999 where signs are flipped."""
    return draws_needed(n_tests, n_permutations, CHEAP_DRAWS if null == "block" else 199)


def check_choice(value: Any, allowed: tuple[str, ...], argument: str) -> str:
    """`value`, or an InputError that lists what is allowed."""
    if value not in allowed:
        msg = f"`{argument}` must be one of {', '.join(map(repr, allowed))}; got {value!r}."
        raise InputError(msg)
    return str(value)


def everything_and_heads(variants: Variants) -> np.ndarray:
    """``(1 + n_heads, n_variants)`` contrasts: all, then each head alone."""
    out = np.zeros((1 + variants.n_heads, len(variants)))
    out[np.arange(len(out)), np.arange(len(out))] = 1.0
    return out


def each_sender(variants: Variants) -> np.ndarray:
    """``(n_types, n_variants)`` contrasts: everything against everything but the sender type."""
    out = np.zeros((variants.n_types, len(variants)))
    out[:, variants.everything] = 1.0
    for sender in range(variants.n_types):
        out[sender, variants.without(sender)] = -1.0
    return out


def run(fit: InteractionFit, plan: Plan) -> dict[int, Tested]:
    """Receiver code -> tests, each array ``(n_tests,)`` or ``(n_tests, n_genes)``; receivers without cells lack."""
    if plan.null == "none":
        return {m.receiver: _shaped(untested(_n_tests(fit, plan)), fit, plan) for m in block_moments(fit)}
    found = _flip(fit, plan) if plan.null == "block" else _permute(fit, plan)
    for moments in block_moments(fit):
        if plan.by_gene and moments.receiver in found:
            for values in vars(found[moments.receiver]).values():
                values[:, ~moments.varies] = np.nan
    return found


def _factors(fit: InteractionFit, plan: Plan) -> np.ndarray:
    """``(n_types, n_tests)`` variance factors; a contrast's serves all its genes."""
    factors = variance_factors(fit, plan.contrasts)
    return np.repeat(factors, fit.n_genes, axis=1) if plan.by_gene else factors


def _n_tests(fit: InteractionFit, plan: Plan) -> int:
    return len(plan.contrasts) * (fit.n_genes if plan.by_gene else 1)


def _shaped(tested: Tested, fit: InteractionFit, plan: Plan) -> Tested:
    if not plan.by_gene:
        return tested
    shape = (len(plan.contrasts), fit.n_genes)
    return Tested(*(values.reshape(shape) for values in vars(tested).values()))


# ---- signs of units -----------------------------------------------------------------------------------------------


def _flip(fit: InteractionFit, plan: Plan) -> dict[int, Tested]:
    unit_of, unit = unit_of_block(fit, plan.unit)
    least = MIN_BLOCKS if unit == "block" else MIN_UNITS
    found, n_units = {}, []
    factors = _factors(fit, plan)
    for moments in block_moments(fit):
        units = unit_of[moments.blocks]
        sums = sum_over_units(_block_sums(fit, moments, plan), units)
        n_units.append(len(sums))
        if len(sums) < least:
            tested = untested(sums.shape[1])
        else:
            tested = sign_flips(
                sums,
                plan.n_draws,
                plan.generator,
                variance_factor=factors[moments.receiver],
                unit_factor=centring_factor(moments.strata, units),
            )
        found[moments.receiver] = _shaped(tested, fit, plan)
    complaint = too_few_units(n_units, unit)
    if complaint:
        tell(complaint)
    return found


def contrast_cross(fit: InteractionFit, moments: BlockMoments, contrasts: np.ndarray) -> np.ndarray:
    """``(n_tests, n_blocks, n_genes)`` 2 w times the centred sum of e Delta."""
    fold = moments.strata % fit.folds.n_folds
    out = np.zeros((len(contrasts), len(moments.blocks), fit.n_genes))
    for variant in np.flatnonzero(contrasts.any(axis=0)):
        cross = 2 * fit.gene_weights[fold] * moments.centred_cross(variant)
        out += contrasts[:, variant, None, None] * cross
    return out


def _block_sums(fit: InteractionFit, moments: BlockMoments, plan: Plan) -> np.ndarray:
    """``(n_blocks, n_tests)``."""
    cross = contrast_cross(fit, moments, plan.contrasts)
    if plan.by_gene:
        return np.moveaxis(cross, 1, 0).reshape(len(moments.blocks), -1)
    return cross.sum(axis=2).T


# ---- permutations and shifts --------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Factors:
    """One receiver type's low-rank form: Delta = left W_f' and right = 2 w e W_f, both centred within stratum.

    Attributes
    ----------
    cells, folds, strata
        ``(n,)``.
    left
        ``(n_tests, n, d)``.
    right
        ``(n, d)``.
    """

    cells: np.ndarray
    folds: np.ndarray
    strata: np.ndarray
    left: np.ndarray
    right: np.ndarray


def receiver_factors(fit: InteractionFit, contrasts: np.ndarray) -> dict[int, Factors]:
    """Receiver code -> factors, from one forward pass: memory is cells x tests x d, never cells x genes."""
    models, orders = forward.fold_models(fit), head_orders(fit)
    used = np.flatnonzero(contrasts.any(axis=0))
    width = models[0].output.shape[1]
    left = np.zeros((len(contrasts), fit.n_cells, width), dtype=np.float32)
    right = np.zeros((fit.n_cells, width), dtype=np.float32)
    seen = np.zeros(fit.n_cells, dtype=bool)
    for parts in forward.held_out_parts(fit):
        model = models[parts.fold]
        shifts = variant_shifts(parts, model, orders[parts.fold])[used]
        left[:, parts.cells] = np.einsum("tv,vnd->tnd", contrasts[:, used], shifts)
        error = _error(fit, model, parts.cells, parts.query)
        right[parts.cells] = 2 * (error * fit.gene_weights[parts.fold]) @ model.output
        seen[parts.cells] = True
    strata = stratum_codes(fit)
    out = {}
    for receiver in range(fit.n_types):
        cells = np.flatnonzero(seen & (fit.type_codes == receiver))
        if len(cells):
            codes = strata[cells]
            centred = [_centre(part[cells], codes) for part in left]
            out[receiver] = Factors(
                cells, fit.folds.fold[cells], codes, np.array(centred), _centre(right[cells], codes)
            )
    return out


def _error(fit: InteractionFit, model: FoldModel, cells: np.ndarray, query: np.ndarray) -> np.ndarray:
    """``(n, n_genes)`` float64 observed minus predicted without neighbours."""
    observed = fit.expression[cells].toarray().astype(np.float64)
    return np.asarray(observed - model.means[fit.type_codes[cells]] - model.residual(query))


def _centre(values: np.ndarray, strata: np.ndarray) -> np.ndarray:
    out = values.astype(np.float64)
    for _, rows in permute.strata_rows(strata):
        out[rows] -= out[rows].mean(axis=0)
    return out


def _permute(fit: InteractionFit, plan: Plan) -> dict[int, Tested]:
    judge = _judge_genes if plan.by_gene else _judge_contrasts
    stretch = _factors(fit, plan)
    return {
        receiver: _shaped(judge(fit, plan, factors, stretch[receiver]), fit, plan)
        for receiver, factors in receiver_factors(fit, plan.contrasts).items()
    }


def _judge_contrasts(fit: InteractionFit, plan: Plan, factors: Factors, stretch: np.ndarray) -> Tested:
    observed = np.einsum("tnd,nd->t", factors.left, factors.right)
    if plan.null == "within_type":
        drawn = permute.permutation_statistics(
            factors.left, factors.right, factors.strata, plan.n_draws, plan.generator
        )
        moments = [permute.exact_moments(left, factors.right, factors.strata) for left in factors.left]
        sd, skewness = np.array(moments).T
    else:
        drawn = _shifted(fit, plan, factors)
        sd, skewness = _sample_moments(drawn)
    return permute.judge_permutations(observed, drawn, skewness, sd, variance_factor=stretch)


def _shifted(fit: InteractionFit, plan: Plan, factors: Factors) -> np.ndarray:
    """``(B, n_tests)`` statistics under toroidal shifts: the prediction of the cell that lands there, by its own fold's
    model, against the error of the cell that is there."""
    error = _dense_error(fit, factors)
    models = forward.fold_models(fit)
    rights = np.zeros((fit.n_folds, *factors.right.shape))
    for model in models:
        projected = 2 * (error * fit.gene_weights[model.fold]) @ model.output
        rights[model.fold] = projected
    here = np.arange(len(factors.cells))
    places, samples = fit.coordinates[factors.cells], fit.sample_codes[factors.cells]
    drawn = np.empty((plan.n_draws, len(factors.left)))
    for row, matched in enumerate(permute.shifted_rows(places, samples, plan.generator, plan.n_draws)):
        against = rights[factors.folds[matched], here]
        drawn[row] = np.einsum("tnd,nd->t", factors.left[:, matched], against)
    return drawn


def _dense_error(fit: InteractionFit, factors: Factors) -> np.ndarray:
    """``(n, n_genes)`` centred within stratum."""
    error = np.zeros((len(factors.cells), fit.n_genes))
    place = np.full(fit.n_cells, -1)
    place[factors.cells] = np.arange(len(factors.cells))
    for model in forward.fold_models(fit):
        mine = factors.cells[factors.folds == model.fold]
        query = model.query[fit.type_codes[mine]] + fit.covariates[mine] @ fit.weights["covariate_weight"][model.fold]
        error[place[mine]] = _error(fit, model, mine, query)
    return _centre(error, factors.strata)


def _sample_moments(drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Standard deviation and skewness of the draws, about 0."""
    sd = np.sqrt((drawn**2).mean(axis=0))
    with np.errstate(invalid="ignore", divide="ignore"):
        return sd, np.nan_to_num((drawn**3).mean(axis=0) / sd**3)


def _judge_genes(fit: InteractionFit, plan: Plan, factors: Factors, stretch: np.ndarray) -> Tested:
    """Gene by gene, T_pi = sum_i Delta[pi(i), g] e[i, g]: one contrast at a time, cells x genes once."""
    error = 2 * _dense_error(fit, factors) * fit.gene_weights[factors.folds]
    results = []
    for left, own in zip(factors.left, stretch.reshape(len(factors.left), -1), strict=True):
        added = _added(fit, factors, left)
        drawn = np.array([(added[rows] * error).sum(axis=0) for rows in _orders(fit, plan, factors)])
        if plan.null == "within_type":
            sd, skewness = _gene_moments(added, error, factors.strata)
        else:
            sd, skewness = _sample_moments(drawn)
        observed = (added * error).sum(axis=0)
        results.append(permute.judge_permutations(observed, drawn, skewness, sd, variance_factor=own))
    return Tested(*(np.concatenate([getattr(r, name) for r in results]) for name in vars(results[0])))


def _added(fit: InteractionFit, factors: Factors, left: np.ndarray) -> np.ndarray:
    out = np.empty((len(left), fit.n_genes))
    for model in forward.fold_models(fit):
        mine = factors.folds == model.fold
        out[mine] = left[mine] @ model.output.T
    return out


def _orders(fit: InteractionFit, plan: Plan, factors: Factors) -> Iterator[np.ndarray]:
    """B reorderings of the receivers: within strata, or by shifts."""
    if plan.null == "shift":
        places, samples = fit.coordinates[factors.cells], fit.sample_codes[factors.cells]
        yield from permute.shifted_rows(places, samples, plan.generator, plan.n_draws)
        return
    strata = list(permute.strata_rows(factors.strata))
    for _ in range(plan.n_draws):
        order = np.empty(len(factors.cells), dtype=np.int64)
        for _, rows in strata:
            order[rows] = plan.generator.permutation(rows)
        yield order


def _gene_moments(added: np.ndarray, error: np.ndarray, strata: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Exact permutation moments of each gene: of a product of two centred columns."""
    variance, third = np.zeros(added.shape[1]), np.zeros(added.shape[1])
    for _, rows in permute.strata_rows(strata):
        n = len(rows)
        a, b = (part[rows] - part[rows].mean(axis=0) for part in (added, error))
        if n > 1:
            variance += (a**2).sum(axis=0) * (b**2).sum(axis=0) / (n - 1)
        if n > 2:
            third += n / ((n - 1) * (n - 2)) * (a**3).sum(axis=0) * (b**3).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.sqrt(variance), np.nan_to_num(third / variance**1.5)
