"""How much the blocks of a cross-fitted statistic depend on each other through the models.

Blocks b and b' in different folds enter T = sum_b D_b twice: b is predicted by a model that trained on b', and b' by
one that trained on b. To first order in the training residuals, D_b holds e_b' K_f e_b' and D_b' holds e_b' K_g e_b,
with the kernels K_f, K_g by which the two models respond to what they are trained on. If these are alike, the two terms
are the same number, and T has twice the variance that the sum of the D_b^2 shows; if they are unrelated, it has just
that.

Under the null the models' contributions Delta_f, Delta_g to the same cells are correlated by rho x (share of f's
training cells that g trained on, too) = rho (F - 2) / (F - 1) for F folds, rho being the correlation of the kernels. So
the variance factor 1 + rho, between 1 and 2, can be read off the fit. Where there is an interaction the models agree on
it, and the factor is too large: the price is power, at most as if half the tissue were there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from isthmus.interaction import forward
from isthmus.interaction.ablations import variant_shifts
from isthmus.interaction.heads import fixed_cells, head_orders

if TYPE_CHECKING:
    from isthmus.interaction.result import InteractionFit


def variance_factors(fit: InteractionFit, contrasts: np.ndarray) -> np.ndarray:
    """``(n_types, n_tests)`` variance of T over the sum of squares of its blocks, under the null: 1 to 2.

    Parameters
    ----------
    contrasts
        ``(n_tests, n_variants)``, see `significance`.
    """
    shape = (fit.n_types, len(contrasts))
    if fit.n_folds == 1:
        return np.ones(shape)
    if fit.n_folds == 2:  # no training cells in common: the correlation says nothing
        return np.full(shape, 2.0)
    share = (fit.n_folds - 2) / (fit.n_folds - 1)
    return 1 + np.clip(fold_agreement(fit, contrasts) / share, 0, 1)


def fold_agreement(fit: InteractionFit, contrasts: np.ndarray) -> np.ndarray:
    """``(n_types, n_tests)`` correlation between two folds' contributions to the cells that one of them held out.

    Over cells of the type and genes, centred over cells; mean over pairs of folds. Cells that both trained on would
    make the models look alike, because either follows the cell's own noise.
    """
    cells = fixed_cells(fit)
    models = forward.fold_models(fit)
    shifts = np.stack([_shifts(fit, model, contrasts, cells) for model in models])
    outputs = [model.output.astype(np.float64) for model in models]
    total, number = np.zeros((fit.n_types, len(contrasts))), 0
    for f in range(fit.n_folds):
        for g in range(fit.n_folds):
            if f == g:
                continue
            number += 1
            for kind in range(fit.n_types):
                mine = np.flatnonzero((fit.folds.fold[cells] == f) & (fit.type_codes[cells] == kind))
                for test in range(len(contrasts)):
                    a, b = shifts[f, test, mine], shifts[g, test, mine]
                    total[kind, test] += _correlation(a, b, outputs[f], outputs[g])
    return total / number


def _shifts(fit: InteractionFit, model: forward.FoldModel, contrasts: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """``(n_tests, n_cells, d)``."""
    place = np.full(fit.n_cells, -1)
    place[cells] = np.arange(len(cells))
    order = head_orders(fit)[model.fold]
    out = np.zeros((len(contrasts), len(cells), model.output.shape[1]), dtype=np.float32)
    for parts in forward.fold_parts(fit, model.fold, cells):
        out[:, place[parts.cells]] = np.einsum("tv,vnd->tnd", contrasts, variant_shifts(parts, model, order))
    return out


def _correlation(a: np.ndarray, b: np.ndarray, a_output: np.ndarray, b_output: np.ndarray) -> float:
    """Of A W_a' and B W_b', columns centred; 0 where either is constant."""
    if len(a) < 2:
        return 0.0
    a, b = (part.astype(np.float64) - part.mean(axis=0) for part in (a, b))
    cross = ((a.T @ b) * (a_output.T @ b_output)).sum()
    sizes = ((a.T @ a) * (a_output.T @ a_output)).sum() * ((b.T @ b) * (b_output.T @ b_output)).sum()
    return float(cross / np.sqrt(sizes)) if sizes > 0 else 0.0
