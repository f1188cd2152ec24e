"""log p(x | z) of the four likelihoods with every constant, in NumPy, float64."""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln

_TINY = 1e-8


def log_likelihood(
    kind: str,
    x: np.ndarray,
    mixed: np.ndarray,
    library: np.ndarray,
    inverse_dispersion: np.ndarray | None = None,
    dropout: np.ndarray | None = None,
) -> np.ndarray:
    """Sum over genes of log p(x | z), for each row.

    Parameters
    ----------
    kind
        "binomial": x ~ Binomial(N, q) with q = `mixed`; "poisson": Poisson(N q); "nb": negative binomial with mean N q
        and inverse dispersion r; "zinb": that with probability 1 - sigmoid(`dropout`), else 0.
    x
        ``(n, n_genes)`` counts, or ``(1, n_genes)``.
    mixed
        ``(n, n_genes)``: (1 - rho) p + rho a.
    library
        ``(n,)`` N, or ``(1,)``.
    inverse_dispersion, dropout
        ``(n_genes,)`` r; ``(n, n_genes)`` logits.
    """
    x, q, n = x.astype(float), mixed.astype(float), np.asarray(library, dtype=float)[:, None]
    if kind == "binomial":
        q = np.clip(q, _TINY, 1 - 1e-6)
        constant = gammaln(n + 1) - gammaln(x + 1) - gammaln(np.maximum(n - x, 0) + 1)
        return np.asarray((constant + x * np.log(q) + (n - x) * np.log1p(-q)).sum(axis=1))
    mu = n * q + _TINY
    if kind == "poisson":
        return np.asarray((x * np.log(mu) - mu - gammaln(x + 1)).sum(axis=1))
    assert inverse_dispersion is not None
    r = inverse_dispersion
    log_sum = np.log(r + mu)
    at_zero = r * (np.log(r) - log_sum)
    counts = at_zero + x * (np.log(mu) - log_sum) + gammaln(x + r) - gammaln(r) - gammaln(x + 1)
    if kind == "nb":
        return np.asarray(counts.sum(axis=1))
    assert dropout is not None
    log_kept, log_dropped = -np.logaddexp(0, dropout.astype(float)), -np.logaddexp(0, -dropout.astype(float))
    return np.asarray(np.where(x == 0, np.logaddexp(log_dropped, log_kept + at_zero), log_kept + counts).sum(axis=1))
