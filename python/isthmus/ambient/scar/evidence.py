"""How well the model explains counts: reconstruction, evidence lower bound, marginal likelihood, importance weights.

    ELBO = E_q[log p(x | z)] - KL(q(z | x), p(z)) <= log p(x) = log E_q[p(x | z) p(z) / q(z | x)]

z is the normal variable also for "ln", where the decoder takes its softmax: both densities are those of the normal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import logsumexp

from isthmus.ambient.scar.likelihoods import log_likelihood
from isthmus.ambient.scar.model import Posterior, decode

if TYPE_CHECKING:
    from scipy import sparse

_LOG_2PI = float(np.log(2 * np.pi))


def reconstruction(posterior: Posterior, counts: sparse.csr_matrix, n_samples: int, seed: int) -> np.ndarray:
    """``(n_cells,)``: E_q[-log p(x | z)] over `n_samples` draws."""
    return -np.mean(log_terms(posterior, counts, n_samples, seed).data, axis=0)


def elbo(posterior: Posterior, counts: sparse.csr_matrix, n_samples: int, seed: int) -> np.ndarray:
    """``(n_cells,)``: the evidence lower bound, natural log; the divergence is exact."""
    return -reconstruction(posterior, counts, n_samples, seed) - divergence(posterior)


def divergence(posterior: Posterior) -> np.ndarray:
    """``(n_cells,)``: KL(q(z | x), Normal(0, 1))."""
    mean, variance = posterior.mean.astype(float), posterior.variance.astype(float)
    return np.asarray(0.5 * (mean**2 + variance - np.log(variance) - 1).sum(axis=1))


def marginal(posterior: Posterior, counts: sparse.csr_matrix, n_samples: int, seed: int) -> np.ndarray:
    """``(n_cells,)``: log p(x) by importance sampling from q; biased downwards, less so with more samples."""
    terms = log_terms(posterior, counts, n_samples, seed)
    return np.asarray(logsumexp(terms.data + terms.prior - terms.proposal, axis=0) - np.log(n_samples))


@dataclass(frozen=True, eq=False)
class Terms:
    """``(n_samples, n_cells)``: log p(x | z), log p(z), log q(z | x)."""

    data: np.ndarray
    prior: np.ndarray
    proposal: np.ndarray


def log_terms(posterior: Posterior, counts: sparse.csr_matrix, n_samples: int, seed: int) -> Terms:
    """The three log densities at draws of z."""
    generator, model = np.random.default_rng([seed, 7]), posterior.model
    out = np.empty((3, n_samples, posterior.n_cells))
    for rows in posterior.blocks():
        x, part = counts[rows].toarray(), posterior.of(rows)
        for s in range(n_samples):
            z = part.draw(generator)
            decoded = decode(model, z)
            out[0, s, rows] = log_likelihood(
                model.options.likelihood,
                x,
                part.mixed(decoded),
                part.library,
                model.inverse_dispersion,
                decoded.dropout,
            )
            out[1, s, rows] = log_normal(z, 0.0, 1.0)
            out[2, s, rows] = log_normal(z, part.mean, part.variance)
    return Terms(*out)


def log_normal(z: np.ndarray, mean: np.ndarray | float, variance: np.ndarray | float) -> np.ndarray:
    """Log density of independent normals, summed over the last axis."""
    z = np.asarray(z, dtype=float)
    return np.asarray(-0.5 * ((z - mean) ** 2 / variance + np.log(variance) + _LOG_2PI).sum(axis=-1))


def importance_weights(
    posterior: Posterior,
    counts: sparse.csr_matrix,
    z: np.ndarray,
    *,
    max_cells: int,
    n_mc_samples: int,
    truncation: bool,
    seed: int,
) -> np.ndarray:
    r"""Weights of samples `z` ``(n, n_latent)`` of a group of cells; they sum to 1.

    Boyeau et al. 2019, bioRxiv 794289: log w_i = logsumexp_a [log p(z_i) + log p(x_a | z_i) - log p(x_a)
    - logsumexp_b log q(z_i | x_b)], with a and b over anchor cells of the group, at most `max_cells` of them.
    `truncation` caps weights at sqrt(n) times their mean (Ionides 2008, J. Comput. Graph. Stat. 17:295).
    """
    generator = np.random.default_rng([seed, 8])
    n = posterior.n_cells
    anchors = np.sort(generator.choice(n, max_cells, replace=False)) if n > max_cells else np.arange(n)
    part, x = posterior.of(anchors), counts[anchors]
    evidence = marginal(part, x, n_mc_samples, seed)
    given = np.stack([_log_given(part.of([a]), x[[a]].toarray(), z) for a in range(len(anchors))], axis=1)
    proposal = np.stack([log_normal(z, m, v) for m, v in zip(part.mean, part.variance, strict=True)], axis=1)
    weight = logsumexp(given - evidence, axis=1) + log_normal(z, 0.0, 1.0) - logsumexp(proposal, axis=1)
    if truncation:
        weight = np.minimum(weight, logsumexp(weight) - 0.5 * np.log(len(weight)))
    return np.asarray(np.exp(weight - logsumexp(weight)))


def _log_given(anchor: Posterior, x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """log p(x | z) of one anchor's counts at every z."""
    model, decoded = anchor.model, decode(anchor.model, z)
    mixed = (1 - decoded.rho[:, None]) * decoded.p + decoded.rho[:, None] * anchor.ambient[anchor.batch]
    return log_likelihood(model.options.likelihood, x, mixed, anchor.library, model.inverse_dispersion, decoded.dropout)
