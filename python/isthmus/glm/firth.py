"""Penalised estimates where the likelihood has no finite maximum."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from isthmus.glm.refit import Model
    from isthmus.glm.source import Evidence

_MOST_STEPS = 100
_LONGEST = 5.0  # of a step, in a linear predictor


def firth_estimates(model: Model, evidence: Evidence, genes: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Firth's penalised maximum-likelihood estimates of the mean model, ``(f, len(genes))``; NaN if not reached.

    The log-likelihood plus half the log-determinant of the expected information (Jeffreys' prior; Firth 1993,
    Biometrika 80:27) is always finite at its maximum. With the log link and weights w = mu / (1 + alpha mu) its score
    is X' [(y - mu) + h / 2] / (1 + alpha mu), h being the leverages: as if each cell held h / 2 of a count more
    (Heinze & Schemper 2002, Stat. Med. 21:2409 for the logistic case). Weights multiply y - mu and w.

    Parameters
    ----------
    genes
        Positions of the genes.
    alpha
        ``(n_cells, len(genes))``, held.
    """
    columns = evidence.counts.matrix[:, genes].tocsc()
    out = np.full((model.x.shape[1], len(genes)), np.nan)
    for place, gene in enumerate(genes):
        y = np.asarray(columns[:, [place]].toarray(), dtype=float).reshape(-1)
        offset = model.offset if evidence.gene_offset is None else model.offset + evidence.gene_offset[:, gene]
        weight = np.ones(len(y)) if evidence.weights is None else evidence.weights[:, gene]
        out[:, place] = _one_gene(y, model.x, offset, alpha[:, place], weight)
    return out


def _one_gene(y: np.ndarray, x: np.ndarray, offset: np.ndarray, alpha: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Fisher scoring with step halving on the size of the score."""
    coef = np.linalg.lstsq(x, np.log((weight @ y + 0.5) / (weight @ np.exp(offset))) * np.ones(len(y)), rcond=None)[0]
    reach = np.abs(x).max(axis=0)
    value, step = _penalised(coef, y, x, offset, alpha, weight)
    for _ in range(_MOST_STEPS):
        if step is None:
            break
        if np.abs(step @ x.T).max() < 1e-8:
            return np.asarray(coef + step)
        step = step / max(1.0, float(np.abs(step) @ reach) / _LONGEST)
        for _ in range(30):
            trial, new_step = _penalised(coef + step, y, x, offset, alpha, weight)
            if trial >= value - 1e-10 * (1 + abs(value)):
                break
            step = step / 2
        coef, value, step = coef + step, trial, new_step
    return np.full(x.shape[1], np.nan)


def _penalised(
    coef: np.ndarray, y: np.ndarray, x: np.ndarray, offset: np.ndarray, alpha: np.ndarray, weight: np.ndarray
) -> tuple[float, np.ndarray | None]:
    """The penalised log-likelihood without constants, and the scoring step at a point; no step: singular."""
    eta = np.minimum(x @ coef + offset, 50.0)
    mu = np.exp(eta)
    excess = 1 + alpha * mu
    information = (x * (weight * mu / excess)[:, None]).T @ x
    sign, log_det = np.linalg.slogdet(information)
    if sign <= 0:
        return -np.inf, None
    spread = np.where(alpha > 1e-12, np.log1p(alpha * mu) / np.maximum(alpha, 1e-12), mu)
    value = float((weight * y) @ (eta - np.log(excess)) - weight @ spread + log_det / 2)
    inverse = np.linalg.inv(information)
    leverage = np.einsum("nf,nf->n", x @ inverse, x) * weight * mu / excess
    return value, inverse @ (x.T @ ((weight * (y - mu) + leverage / 2) / excess))
