"""Genes in chunks: as many at once as memory should hold, from a matrix in memory or from one that stays stored."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from isthmus.data.stored import StoredMatrix

if TYPE_CHECKING:
    from collections.abc import Iterator

    from isthmus.glm.estimate import Job


@dataclass(frozen=True, eq=False)
class Chunk:
    """The genes ``[first, last)`` of a job, as a job of its own with their counts in memory."""

    first: int
    last: int
    job: Job


def gene_chunks(job: Job, chunk_genes: int | None) -> Iterator[Chunk]:
    """The genes of a job, chunk by chunk.

    In memory there is one chunk by default, the job itself: a gene-major copy takes 4 bytes a count, at most half of
    what the matrix itself takes. A stored matrix comes in ranges of genes that hold some six million counts each; every
    range reads the file once if it is stored by cells, and its own part if it is stored by genes.
    """
    matrix, n_genes = job.counts.matrix, job.counts.n_genes
    if isinstance(matrix, StoredMatrix):
        ranges = matrix.gene_ranges(None if chunk_genes is None else int(chunk_genes))
        for first, last in ranges:
            yield _part(job, first, last, matrix.columns(first, last))
        return
    size = n_genes if chunk_genes is None else int(chunk_genes)
    if size >= n_genes:
        yield Chunk(0, n_genes, job)
        return
    for first in range(0, n_genes, size):
        last = min(first + size, n_genes)
        yield _part(job, first, last, matrix[:, first:last])


def _part(job: Job, first: int, last: int, matrix: object) -> Chunk:
    counts = replace(job.counts, matrix=matrix, gene_names=job.counts.gene_names[first:last])
    offset = None if job.gene_offset is None else job.gene_offset[:, first:last]
    weights = None if job.weights is None else job.weights[:, first:last]
    return Chunk(first, last, replace(job, counts=counts, gene_offset=offset, weights=weights))
