"""A fit and its counts in ranges of genes: what lies in memory as one, what stays stored range by range."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.data.stored import StoredMatrix
from isthmus.glm.source import Evidence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from isthmus.glm.result import GlmFit

_BY_GENE = (
    "gene_names",
    "log_likelihood",
    "status",
    "n_iter",
    "converged",
    "mean",
    "dispersion",
    "expected_info",
    "neg_hessian",
    "gradient",
)


@dataclass(frozen=True, eq=False)
class Range:
    """Some genes of a fit as a fit of its own, with their counts in memory (None where nobody asked for them).

    Attributes
    ----------
    genes
        ``(n,)`` positions in the whole fit.
    """

    genes: np.ndarray
    fit: GlmFit
    evidence: Evidence | None


def is_stored(evidence: Evidence | None) -> bool:
    """Do the counts lie in a file, to be read in ranges?"""
    return evidence is not None and isinstance(evidence.counts.matrix, StoredMatrix)


def ranges(
    fit: GlmFit, evidence: Evidence, genes: np.ndarray, needed: Callable[[GlmFit], bool] | None = None
) -> Iterator[Range]:
    """The genes at `genes`, ascending, in ranges; each range of a file is read once.

    `needed` says of a range whether its counts are wanted at all.
    """
    matrix: Any = evidence.counts.matrix
    if not isinstance(matrix, StoredMatrix):
        yield Range(np.arange(fit.n_genes), fit, evidence)
        return
    for first, last in matrix.gene_ranges(None):
        own = genes[(genes >= first) & (genes < last)]
        if not own.size:
            continue
        part = genes_of(fit, own)
        read = needed is None or needed(part)
        yield Range(own, part, _in_memory(evidence, matrix, first, last, own) if read else None)


def genes_of(fit: GlmFit, genes: np.ndarray) -> GlmFit:
    """Some genes of a fit, ascending, as a fit."""
    place = {int(gene): at for at, gene in enumerate(genes)}
    separations = tuple(replace(s, gene=place[s.gene]) for s in fit.separations if s.gene in place)
    own: dict[str, Any] = {name: getattr(fit, name)[genes] for name in _BY_GENE}
    for name in ("mean_model", "dispersion_model"):
        model = getattr(fit, name)
        own[name] = replace(model, free_coef=model.free_coef[:, genes])
    return replace(fit, separations=separations, _tables={}, _estimates={}, **own)


def _in_memory(evidence: Evidence, matrix: StoredMatrix, first: int, last: int, genes: np.ndarray) -> Evidence:
    columns = matrix.columns(first, last)
    columns = columns if len(genes) == last - first else columns[:, genes - first]
    counts = replace(evidence.counts, matrix=columns, gene_names=evidence.counts.gene_names[genes])
    offset, weights = evidence.gene_offset, evidence.weights
    return Evidence(
        counts,
        None if offset is None else offset[:, genes],
        None if weights is None else weights[:, genes],
        evidence.designs,
        evidence.several,
    )
