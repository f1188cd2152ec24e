"""What the decoder says of cells: native frequencies, parameters of the likelihood, draws, correlations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse, special, stats

from isthmus.ambient.scar.model import Decoded, Posterior, decode

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST = 1e8  # of a Poisson rate that is drawn from


def over_draws(
    posterior: Posterior, what: Callable[[Decoded, slice], np.ndarray], n_samples: int | None, seed: int
) -> np.ndarray:
    """Mean over draws of z of a matrix cells x something; at the mean of z where `n_samples` is None."""
    generator, parts = np.random.default_rng([seed, 3]), []
    for rows in posterior.blocks():
        if n_samples is None:
            parts.append(what(decode(posterior.model, posterior.mean[rows]), rows))
            continue
        total = what(decode(posterior.model, posterior.draw(generator, rows)), rows).astype(float)
        for _ in range(n_samples - 1):
            total += what(decode(posterior.model, posterior.draw(generator, rows)), rows)
        parts.append((total / n_samples).astype(np.float32))
    return np.concatenate(parts)


def every_draw(
    posterior: Posterior, what: Callable[[Decoded, slice], np.ndarray], n_samples: int, seed: int
) -> np.ndarray:
    """``(n_samples, n_cells, ...)``: the same, draw by draw."""
    return np.stack([over_draws(posterior, what, 1, seed + 1_000_003 * s) for s in range(n_samples)])


def native(genes: np.ndarray | slice = slice(None)) -> Callable[[Decoded, slice], np.ndarray]:
    """p of some genes."""
    return lambda decoded, rows: decoded.p[:, genes]


def latent_mean(posterior: Posterior, n_samples: int, seed: int) -> np.ndarray:
    """``(n_cells, n_latent)``: mean of z; for "ln" that of its softmax, over draws."""
    if posterior.model.options.latent_distribution == "normal":
        return posterior.mean
    generator = np.random.default_rng([seed, 4])
    total = np.zeros(posterior.mean.shape)
    for _ in range(n_samples):
        total += special.softmax(posterior.draw(generator), axis=1)
    return (total / n_samples).astype(np.float32)


def parameters(posterior: Posterior, n_samples: int | None, seed: int) -> dict[str, np.ndarray]:
    """Parameters of p(x | z), cells x genes: `mean`, N (1 - rho) p, of the native counts; `ambient`, N rho a, of the
    others; `dispersions`, r, and `dropout`, the probability of a zero, for the likelihoods that have them."""
    library = posterior.library[:, None].astype(np.float32)

    def mean(decoded: Decoded, rows: slice) -> np.ndarray:
        return np.asarray(library[rows] * (1 - decoded.rho[:, None]) * decoded.p)

    def ambient(decoded: Decoded, rows: slice) -> np.ndarray:
        profile = posterior.ambient[posterior.batch[rows]].astype(np.float32)
        return np.asarray(library[rows] * decoded.rho[:, None] * profile)

    out = {name: over_draws(posterior, what, n_samples, seed) for name, what in (("mean", mean), ("ambient", ambient))}
    r = posterior.model.inverse_dispersion
    if r is not None:
        out["dispersions"] = np.tile(r.astype(np.float32), (posterior.n_cells, 1))
    if posterior.model.options.likelihood == "zinb":
        out["dropout"] = over_draws(posterior, lambda decoded, rows: special.expit(decoded.dropout), n_samples, seed)
    return out


def predictive(posterior: Posterior, n_samples: int, seed: int) -> list[sparse.csr_matrix]:
    """Native counts drawn from p(x | z) at draws of z, one CSR (float32) a sample."""
    generator = np.random.default_rng([seed, 5])
    return [
        sparse.vstack([_drawn(posterior, rows, generator) for rows in posterior.blocks()], format="csr")
        for _ in range(n_samples)
    ]


def _drawn(posterior: Posterior, rows: slice, generator: np.random.Generator) -> sparse.csr_matrix:
    model = posterior.model
    decoded = decode(model, posterior.draw(generator, rows))
    share = ((1 - decoded.rho[:, None]) * decoded.p).astype(float)
    library = posterior.library[rows].astype(float)[:, None]
    if model.options.likelihood == "binomial":
        counts = generator.binomial(np.round(library).astype(np.int64), np.clip(share, 0, 1))
        return sparse.csr_matrix(counts.astype(np.float32))
    rate, r = library * share, model.inverse_dispersion
    if r is not None:
        rate = generator.gamma(np.broadcast_to(r, rate.shape)) * rate / r
    counts = generator.poisson(np.minimum(rate, _MOST))
    if decoded.dropout is not None:
        counts[generator.random(counts.shape) < special.expit(decoded.dropout)] = 0
    return sparse.csr_matrix(counts.astype(np.float32))


def correlations(
    posterior: Posterior, genes: np.ndarray | slice, n_samples: int, size_factor: float, kind: str, seed: int
) -> np.ndarray:
    """``(n_genes, n_genes)`` correlation of native expression over cells and draws of z.

    For the negative binomials expression is drawn from their gamma distribution with mean `size_factor` p, as in
    scvi-tools; the binomial and the Poisson have none, and p itself is correlated.
    """
    generator, r, parts = np.random.default_rng([seed, 6]), posterior.model.inverse_dispersion, []
    for _ in range(n_samples):
        for rows in posterior.blocks():
            rate = size_factor * decode(posterior.model, posterior.draw(generator, rows)).p[:, genes].astype(float)
            parts.append(
                rate if r is None else generator.gamma(np.broadcast_to(r[genes], rate.shape)) * rate / r[genes]
            )
    values = np.concatenate(parts)
    if kind == "spearman":
        values = stats.rankdata(values, axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):  # a gene that does not vary has no correlation: NaN
        return np.atleast_2d(np.corrcoef(values, rowvar=False))
