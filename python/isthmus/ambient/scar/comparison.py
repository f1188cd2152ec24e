"""Differential expression and abundance between groups of cells, from draws of the latent posterior."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln, logsumexp

from isthmus.ambient.scar.evidence import log_normal
from isthmus.ambient.scar.model import Posterior, decode

_EPS = 1e-8
_LOCAL = 4  # times the target: how probable it may be that a called gene is false
_RARE, _QUANTILE = 0.01, 0.9  # mean count of a gene that counts as absent; of its expression, for the pseudocount
_REDUCED = 1e-3  # of the pseudocount, for the reported fold change


@dataclass(frozen=True, eq=False)
class Draws:
    """``(n_samples, n_genes)`` native frequencies of cells of a group, and the mean observed count of each gene."""

    p: np.ndarray
    mean_count: np.ndarray


Weigh = Callable[[Posterior, np.ndarray], np.ndarray]


def draw_cells(
    posterior: Posterior, n_samples: int, generator: np.random.Generator, weigh: Weigh | None = None
) -> np.ndarray:
    """p of single cells: a cell at random, then z from its q(z | x). With `weigh` draws are kept in proportion."""
    cells = generator.permutation(np.resize(np.arange(posterior.n_cells), n_samples))
    z = posterior.draw(generator, cells)
    if weigh is not None:
        z = z[generator.choice(n_samples, n_samples, p=tempered(weigh(posterior, z)))]
    step = max(1, (1 << 22) // posterior.n_genes)
    return np.concatenate([decode(posterior.model, z[i : i + step]).p for i in range(0, n_samples, step)])


def tempered(weights: np.ndarray, least: float = 0.2) -> np.ndarray:
    """Weights raised to the largest power up to 1 at which their effective number is `least` of the draws.

    With thousands of counts a cell a single draw can take all the weight, and groups would differ by chance alone.
    """
    logs = np.log(np.maximum(weights, 1e-300))
    low, high = (1.0, 1.0) if _effective(logs) >= least * len(logs) else (0.0, 1.0)
    while high - low > 1e-6:
        power = (low + high) / 2
        low, high = (power, high) if _effective(power * logs) >= least * len(logs) else (low, power)
    kept = np.exp(low * logs - logsumexp(low * logs))
    return np.asarray(kept / kept.sum())


def _effective(logs: np.ndarray) -> float:
    """(sum w)^2 / sum w^2."""
    return float(np.exp(2 * logsumexp(logs) - logsumexp(2 * logs)))


def vanilla(first: np.ndarray, second: np.ndarray) -> dict[str, np.ndarray]:
    """P(p of the first group > that of the second), and the Bayes factor (Lopez et al. 2018, Nat. Methods 15:1053)."""
    more = np.mean(first > second, axis=0)
    return {
        "proba_m1": more,
        "proba_m2": 1 - more,
        "bayes_factor": np.log(more + _EPS) - np.log(1 - more + _EPS),
        "scale1": first.mean(axis=0),
        "scale2": second.mean(axis=0),
    }


def change(first: Draws, second: Draws, delta: float, fdr: float) -> dict[str, np.ndarray]:
    """P(|log2 fold change| > delta), up or down, and the genes that it calls (Boyeau et al. 2019, bioRxiv 794289).

    Called are the genes with the largest probabilities, as many as keep the expected share of false ones at `fdr`.
    """
    offset = pseudocount(first, second)
    fold = np.log2(first.p + offset) - np.log2(second.p + offset)
    changed = np.maximum((fold >= delta).mean(axis=0), (fold < -delta).mean(axis=0))
    shown = np.log2(first.p + _REDUCED * offset) - np.log2(second.p + _REDUCED * offset)
    return {
        "proba_de": changed,
        "proba_not_de": 1 - changed,
        "bayes_factor": np.log(changed + _EPS) - np.log(1 - changed + _EPS),
        "scale1": first.p.mean(axis=0),
        "scale2": second.p.mean(axis=0),
        "lfc_mean": shown.mean(axis=0),
        "lfc_median": np.median(shown, axis=0),
        "lfc_std": shown.std(axis=0),
        "is_de": called(changed, fdr),
    }


def pseudocount(first: Draws, second: Draws) -> float:
    """Added to p before the logarithm: the 0.9 quantile of p over the genes that one group lacks; at least 1e-10."""
    found = [
        np.quantile(group.p[:, group.mean_count < _RARE].mean(axis=0), _QUANTILE)
        for group in (first, second)
        if (group.mean_count < _RARE).any()
    ]
    return max(float(max(found)) if found else 0.0, 1e-10)


def called(probability: np.ndarray, fdr: float) -> np.ndarray:
    """The largest set of most probable genes whose mean probability of being false is at most `fdr`.

    None of them may be false with a probability above 4 `fdr`. Without that, certain genes make room for others that
    are little better than a guess: two cells drawn at random differ in most genes.
    """
    order = np.argsort(-probability, kind="stable")
    false = 1 - probability[order]
    expected = np.cumsum(false) / np.arange(1, len(order) + 1)
    out = np.zeros(len(order), dtype=bool)
    out[order[: int(((expected <= fdr) & (false <= _LOCAL * fdr)).sum())]] = True
    return out


def aggregated_log_density(posterior: Posterior, z: np.ndarray, dof: float | None) -> np.ndarray:
    """Log density at `z` of the mixture of the cells' q(z | x): normals, or Student's t with `dof` degrees."""
    out, scale = np.empty(len(z)), np.sqrt(posterior.variance.astype(float))
    mean = posterior.mean.astype(float)
    for i, at in enumerate(z.astype(float)):
        if dof is None:
            each = log_normal(at, mean, scale**2)
        else:
            squared = ((at - mean) / scale) ** 2
            constant = gammaln((dof + 1) / 2) - gammaln(dof / 2) - 0.5 * np.log(dof * np.pi)
            each = (constant - np.log(scale) - (dof + 1) / 2 * np.log1p(squared / dof)).sum(axis=1)
        out[i] = logsumexp(each) - np.log(len(mean))
    return out


def usual_cells(mean: np.ndarray, share: float = 0.1) -> np.ndarray:
    """Cells of a group that are no outliers of its latent space: all but the `share` farthest by Mahalanobis distance.

    The covariance is that of the nearer half, found twice (a short form of the minimum covariance determinant,
    Rousseeuw & Van Driessen 1999, Technometrics 41:212).
    """
    if len(mean) < 4 * mean.shape[1]:
        return np.ones(len(mean), dtype=bool)
    kept = np.ones(len(mean), dtype=bool)
    for _ in range(3):
        centre = mean[kept].mean(axis=0)
        inverse = np.linalg.pinv(np.cov(mean[kept], rowvar=False).reshape(mean.shape[1], -1))
        distance = np.einsum("ij,jk,ik->i", mean - centre, inverse, mean - centre)
        kept = distance <= np.quantile(distance, 0.5)
    return np.asarray(distance <= np.quantile(distance, 1 - share))
