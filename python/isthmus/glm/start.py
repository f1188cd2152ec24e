"""Where the iteration starts, when the user says, and dispersions by the method of moments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.errors import InputError
from isthmus.glm import kernel

if TYPE_CHECKING:
    import scipy.sparse as sp

WORDS = ("auto", "standard", "closed_form", "zero")
_MOST_GROUPS = 500  # batchglm's bound for closed forms
_LEAST, _MOST = 1e-8, 1e4  # alpha of a moment estimate that is to be fitted
_FARTHEST = {"init": 15.0, "dispersion_init": 10.0}  # starts from 20 and from 15 on were seen to get stuck
_MANY = 100  # residual degrees of freedom; below it moments and likelihood may disagree on whether alpha is 0
_CHUNK = 64  # genes whose means are held for all cells at once


def starting_values(spec: Any, design: np.ndarray, n_genes: int, argument: str) -> np.ndarray | str:
    """Check `init` / `dispersion_init`: one of the words, or an array (free parameters, n_genes)."""
    if isinstance(spec, str):
        if spec not in WORDS:
            msg = f"`{argument}` must be one of {', '.join(WORDS)} or an array; got {spec!r}."
            raise InputError(msg)
        return spec
    values = np.asarray(spec, dtype=float)
    shape = (design.shape[1], n_genes)
    if values.shape != shape:
        got = " x ".join(map(str, values.shape)) or "a single number"
        msg = f"`{argument}` must be free parameters x genes ({shape[0]} x {shape[1]}); got {got}."
        raise InputError(msg)
    if not np.isfinite(values).all():
        msg = f"`{argument}` must be finite; got {int((~np.isfinite(values)).sum())} values that are not."
        raise InputError(msg)
    return _within_reach(values, design, _FARTHEST[argument])


def _within_reach(values: np.ndarray, design: np.ndarray, bound: float) -> np.ndarray:
    """Starts drawn towards zero until no predictor exceeds the bound: beyond it the likelihood is flat in double
    precision and no step finds the way back."""
    largest = np.abs(design @ values).max(axis=0)
    return values * (bound / np.maximum(largest, bound))


def mean_start(word: np.ndarray | str, counts: sp.csr_matrix, x: np.ndarray, offset: np.ndarray) -> np.ndarray | None:
    """Free mean parameters to start from, ``(f, n_genes)``, or None to let the kernel choose.

    "standard": every cell at the gene's mean; "closed_form": least squares of the log means of the groups of equal
    design rows.
    """
    if not isinstance(word, str):
        return word
    if word == "auto":
        return None
    if word == "zero":
        return np.zeros((x.shape[1], counts.shape[1]))
    if word == "standard":
        groups, rows = np.zeros(len(x), dtype=int), x
        log_mean = _group_log_means(counts, groups, offset)[0]
        return np.linalg.lstsq(rows, np.broadcast_to(log_mean, (len(rows), len(log_mean))), rcond=None)[0]
    rows, groups = _distinct_rows(x, "init")
    return np.linalg.lstsq(rows, _group_log_means(counts, groups, offset), rcond=None)[0]


def dispersion_start(
    word: np.ndarray | str,
    counts: sp.csr_matrix,
    z: np.ndarray,
    zeta_offset: np.ndarray,
    x: np.ndarray,
    offset: np.ndarray,
) -> np.ndarray | None:
    """Free dispersion parameters (log alpha) to start from; words as in `mean_start`, moments in place of means."""
    if not isinstance(word, str):
        return word
    if word == "auto":
        return None
    if word == "zero":
        return np.zeros((z.shape[1], counts.shape[1]))
    if word == "standard":
        rows, groups = z, np.zeros(len(z), dtype=int)
    else:
        rows, groups = _distinct_rows(z, "dispersion_init")
    means = kernel.fit_genes(counts, x, np.empty((len(x), 0)), offset).mean_coef
    alpha = group_moments(counts, x, offset, None, means, groups)
    log_alpha = np.log(np.clip(np.nan_to_num(alpha, nan=0.1), 1e-3, 1e2))
    if word == "standard":
        target = log_alpha[0] - zeta_offset[:, None]
    else:
        target = log_alpha - _first_of_each(zeta_offset, groups)[:, None]
    return np.linalg.lstsq(rows, target, rcond=None)[0]


def moment_dispersion(
    counts: sp.csr_matrix,
    x: np.ndarray,
    z: np.ndarray,
    offset: np.ndarray,
    zeta_offset: np.ndarray,
    mean_coef: np.ndarray,
    *,
    gene_offset: np.ndarray | None,
    weights: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Dispersions by moments at given means: ``(g, n_genes)`` free parameters of log alpha, and which genes are at the
    Poisson limit.

    alpha = sum((y - mu)^2 - y) / sum(mu^2) in each group of equal rows of the dispersion design, then least squares of
    its logarithm. Groups must hold two cells on average: one cell has no variance. A gene whose estimate is not
    positive in any group is at the Poisson limit; single groups are held at 1e-8.
    """
    rows, groups = _distinct_rows(z, "dispersion_design", 'with dispersion="moments"', at_most=len(z) // 2)
    alpha = group_moments(counts, x, offset, gene_offset, mean_coef, groups, weights)
    limit = ~(alpha > 0).any(axis=0)
    log_alpha = np.log(np.clip(np.nan_to_num(alpha, nan=_LEAST), _LEAST, _MOST))
    target = log_alpha - _first_of_each(zeta_offset, groups)[:, None]
    return np.linalg.lstsq(rows, target, rcond=None)[0], limit


def group_moments(
    counts: sp.csr_matrix,
    x: np.ndarray,
    offset: np.ndarray,
    gene_offset: np.ndarray | None,
    mean_coef: np.ndarray,
    groups: np.ndarray,
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """Moment estimates of alpha, ``(n_groups, n_genes)``."""
    n_groups, n_genes = int(groups.max()) + 1, counts.shape[1]
    indicator = (groups[None, :] == np.arange(n_groups)[:, None]).astype(float)
    alpha = np.full((n_groups, n_genes), np.nan)
    columns = counts.tocsc()
    for first in range(0, n_genes, _CHUNK):
        chunk = slice(first, min(first + _CHUNK, n_genes))
        eta = x @ mean_coef[:, chunk] + offset[:, None]
        eta = eta if gene_offset is None else eta + gene_offset[:, chunk]
        mu = np.exp(np.clip(eta, -700, 50))
        y = np.asarray(columns[:, chunk].toarray(), dtype=float)
        with np.errstate(invalid="ignore", divide="ignore"):
            w = 1.0 if weights is None else weights[:, chunk]
            alpha[:, chunk] = (indicator @ (w * ((y - mu) ** 2 - y))) / (indicator @ (w * mu**2))
    return alpha


def shows_dispersion(
    counts: sp.csr_matrix,
    x: np.ndarray,
    offset: np.ndarray,
    mean_coef: np.ndarray,
    *,
    gene_offset: np.ndarray | None = None,
    weights: np.ndarray | None = None,
) -> np.ndarray:
    r"""Genes whose moments leave room for a dispersion, ``(n_genes,)``.

    Of counts over size factors, both :math:`\sum ((y - \mu)^2 - \mu) / \mu^2` around the fitted means, which are taken
    to be one count at least (or the gene's mean, if that is less), and the variance over what Poisson counts would have
    are above 0. DESeq2 starts at the smaller of the two and does not get away from 0: such genes have no part in its
    trend, which without this rule is up to 15 % off (3 + 3 samples). From 100 residual degrees of freedom on the
    estimates themselves say it well enough, and all genes take part.
    """
    out = np.zeros(counts.shape[1], dtype=bool)
    if len(x) - x.shape[1] >= _MANY:
        return ~out
    columns = counts.tocsc()
    for first in range(0, len(out), _CHUNK):
        chunk = slice(first, min(first + _CHUNK, len(out)))
        y = np.asarray(columns[:, chunk].toarray(), dtype=float)
        size = offset[:, None] if gene_offset is None else offset[:, None] + gene_offset[:, chunk]
        level = size.mean(axis=0)  # so that size factors are around 1, whatever they are counted in
        fitted = np.exp(np.clip(x @ np.nan_to_num(mean_coef[:, chunk]) + level, -700, 50))
        out[chunk] = _overdispersed(y, fitted, np.exp(size - level), 1.0 if weights is None else weights[:, chunk])
    return out


def _overdispersed(y: np.ndarray, mu: np.ndarray, size: np.ndarray, weights: np.ndarray | float) -> np.ndarray:
    """The two moments of `shows_dispersion`, of dense counts ``(n_cells, n)``."""
    w = np.broadcast_to(weights, y.shape)
    w = w / w.sum(axis=0)
    y, per_count = y / size, (w / size).sum(axis=0)
    mean = (w * y).sum(axis=0)
    mu = np.maximum(mu, np.minimum(1.0, mean))
    with np.errstate(invalid="ignore", divide="ignore"):
        around = (w * ((y - mu) ** 2 - mu) / mu**2).sum(axis=0)
        variance = (w * (y - mean) ** 2).sum(axis=0) / (1 - (w**2).sum(axis=0))
    return np.asarray((around > 0) & (variance > per_count * mean))


def _distinct_rows(
    design: np.ndarray, argument: str, when: str = "", at_most: int = _MOST_GROUPS
) -> tuple[np.ndarray, np.ndarray]:
    rows, groups = np.unique(design, axis=0, return_inverse=True)
    at_most = min(at_most, _MOST_GROUPS)
    if len(rows) > at_most:
        what = f"`{argument}` {when}" if when else f'`{argument}` = "closed_form"'
        msg = (
            f"{what} needs groups of cells with equal design rows, at most {at_most}; the design has {len(rows)} "
            "distinct rows. Continuous columns are not for it."
        )
        raise InputError(msg)
    return rows, groups.reshape(-1)


def _first_of_each(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    first = np.unique(groups, return_index=True)[1]
    return values[first]


def _group_log_means(counts: sp.csr_matrix, groups: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """log(sum of counts / sum of exp(offset)) of each group; one without counts is taken to hold a tenth of one."""
    n_groups = int(groups.max()) + 1
    indicator = (groups[None, :] == np.arange(n_groups)[:, None]).astype(float)
    totals = np.maximum(indicator @ counts, 0.1)
    return np.log(np.asarray(totals)) - np.log(indicator @ np.exp(offset))[:, None]
