"""The seam between the model and the code that iterates: arrays in, arrays out, compiled or plain NumPy.

``ISTHMUS_KERNEL`` = ``reference``, ``baseline``, ``avx2`` or ``avx512`` forces one implementation; otherwise the
fastest build that the processor runs is used. A missing extension is an error, never a silent fall-back to the slow
twin.

``ISTHMUS_NODES=0`` keeps the compiled kernels from summing over nodes in place of cells and from starting over bins of
them (see cpp/include/isthmus/nodes.hpp and bins.hpp).
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    import scipy.sparse as sp

    from isthmus._core import LaidOut

OK, POISSON_LIMIT, NOT_CONVERGED, ALL_ZERO = 0, 1, 2, 3

_NAMES = ("reference", "baseline", "avx2", "avx512")
_NATIVE_DTYPES = (np.float64, np.float32, np.int32, np.int64)


@dataclass(frozen=True, eq=False)
class GeneFits:
    """What a kernel returns for G genes, f free mean and g free dispersion parameters.

    Attributes
    ----------
    mean_coef, dispersion_coef
        ``(f, G)`` natural log of the mean, ``(g, G)`` natural log of alpha (NaN at the Poisson limit).
    log_likelihood
        ``(G,)``, with every constant.
    expected_info
        ``(G, f, f)``: X' diag(mu / (1 + alpha mu)) X, the Fisher information of the mean model.
    neg_hessian
        ``(G, f + g, f + g)``: minus the Hessian of the joint log-likelihood; NaN in the dispersion's rows at the
        Poisson limit.
    gradient
        ``(G, f + g)``: score of the joint log-likelihood.
    decrement
        ``(G,)``: log-likelihood that one more Newton step would gain.
    min_mu, min_alpha, max_alpha, mean_alpha
        ``(G,)``, over cells.
    n_iter, code
        ``(G,)`` int32; code is 0 ok, 1 poisson_limit, 2 not_converged, 3 all_zero.
    n_nodes
        ``(G,)`` int32: nodes that stood for the cells of each stratum, or 0 where every cell was summed over.
    """

    mean_coef: np.ndarray
    dispersion_coef: np.ndarray
    log_likelihood: np.ndarray
    expected_info: np.ndarray
    neg_hessian: np.ndarray
    gradient: np.ndarray
    decrement: np.ndarray
    min_mu: np.ndarray
    min_alpha: np.ndarray
    max_alpha: np.ndarray
    mean_alpha: np.ndarray
    n_iter: np.ndarray
    code: np.ndarray
    n_nodes: np.ndarray


def kernel_name() -> str:
    """Which kernel fits will use: "avx512", "avx2", "baseline" or "reference"."""
    asked = os.environ.get("ISTHMUS_KERNEL", "")
    if asked and asked not in _NAMES:
        msg = f"`ISTHMUS_KERNEL` must be one of {', '.join(_NAMES)} or unset; got '{asked}'."
        raise InputError(msg)
    if asked == "reference":
        return asked
    from isthmus import _core

    if asked and asked not in _core.kernels:
        msg = (
            f"`ISTHMUS_KERNEL` asks for '{asked}', which this processor or build does "
            f"not have; it has {', '.join(_core.kernels)}."
        )
        raise InputError(msg)
    return asked or _core.kernels[-1]


def fit_genes(
    counts: sp.csr_matrix,
    x: np.ndarray,
    z: np.ndarray,
    offset: np.ndarray,
    *,
    dispersion_offset: np.ndarray | None = None,
    gene_offset: np.ndarray | None = None,
    weights: np.ndarray | None = None,
    start_mean: np.ndarray | None = None,
    start_dispersion: np.ndarray | None = None,
    fix_dispersion: bool = False,
    genes: tuple[int, int] | None = None,
    laid_out: LaidOut | None = None,
    chosen: np.ndarray | None = None,
    max_iter: int = 100,
    tol: float = 1e-8,
    n_threads: int = 1,
    progress: Callable[[int], object] | None = None,
) -> GeneFits:
    """Maximise the joint likelihood of every gene: log mu = x a + offset, log alpha = z b + dispersion_offset.

    Parameters
    ----------
    counts
        ``(n_cells, n_genes)`` CSR; never modified, never made dense.
    x, z
        ``(n_cells, f)`` and ``(n_cells, g)`` of full column rank; g = 0 fits the Poisson model.
    offset, dispersion_offset
        ``(n_cells,)``, natural log.
    gene_offset
        ``(n_cells, n_genes in range)``, natural log, added to `offset`.
    weights
        ``(n_cells, n_genes in range)``, at least 0: each observation's log-likelihood is multiplied by its weight.
    start_mean, start_dispersion
        ``(f, G)`` and ``(g, G)``; None lets the kernel choose.
    fix_dispersion
        Keep `start_dispersion` and fit the mean only.
    genes
        Columns ``[first, last)`` to fit; all by default.
    laid_out, chosen
        What `lay_out` made of `counts`, which are not laid out again then, and which of its genes to fit; "in range"
        above means these. Where nodes stand for the cells, fits with the same offset and levels of dispersion share
        what they need of the counts.
    max_iter, tol
        Newton steps at most; stop when a step promises less log-likelihood than `tol` (or than rounding can show).
    n_threads
        Threads over genes. Results do not depend on it.
    progress
        Called now and then with the number of finished genes.
    """
    name = kernel_name()
    first, last = genes or (0, counts.shape[1])
    if name == "reference":
        from isthmus._reference import nb

        return nb.fit_genes(
            counts[:, first:last] if chosen is None else counts[:, chosen],
            x,
            z,
            offset,
            dispersion_offset=dispersion_offset,
            gene_offset=gene_offset,
            weights=weights,
            start_mean=start_mean,
            start_dispersion=start_dispersion,
            fix_dispersion=fix_dispersion,
            max_iter=max_iter,
            tol=tol,
        )
    from isthmus import _core

    others_follow = laid_out is not None
    if laid_out is None:
        laid_out = lay_out(counts, x, z, dispersion_offset=dispersion_offset, genes=(first, last), n_threads=n_threads)
    found = _core.fit_genes(
        laid_out=laid_out,
        genes=np.arange(last - first) if chosen is None else np.asarray(chosen, dtype=np.int64),
        x=np.asarray(x, dtype=np.float64),
        z=np.asarray(z, dtype=np.float64),
        offset=np.ascontiguousarray(offset, dtype=np.float64),
        dispersion_offset=dispersion_offset,
        gene_offset=gene_offset,
        weights=weights,
        start_mean=_by_gene(start_mean),
        start_dispersion=_by_gene(start_dispersion),
        fix_dispersion=fix_dispersion,
        max_iter=max_iter,
        tol=tol,
        n_threads=n_threads,
        kernel=name,
        use_nodes=os.environ.get("ISTHMUS_NODES", "1") != "0",
        keep_moments=others_follow,
        progress=progress,
    )
    return _gene_fits(found, x.shape[1])


def lay_out(
    counts: sp.csr_matrix,
    x: np.ndarray,
    z: np.ndarray,
    *,
    dispersion_offset: np.ndarray | None = None,
    genes: tuple[int, int] | None = None,
    n_threads: int = 1,
) -> LaidOut:
    """Counts gene by gene, cells in the strata of these designs, for several calls of `fit_genes`.

    Any design may then be fitted. It is fast where its categorical columns follow from those of `x` and `z`, as those
    of a model with more constraints do.
    """
    from isthmus import _core

    first, last = genes or (0, counts.shape[1])
    return _core.LaidOut(
        **_csr_arrays(counts),
        first_gene=first,
        last_gene=last,
        x=np.asarray(x, dtype=np.float64),
        z=np.asarray(z, dtype=np.float64),
        dispersion_offset=dispersion_offset,
        n_threads=n_threads,
    )


def join(parts: list[GeneFits]) -> GeneFits:
    """One result for chunks of genes fitted one after the other."""
    if len(parts) == 1:
        return parts[0]
    axis = {"mean_coef": 1, "dispersion_coef": 1}
    names = [field.name for field in fields(GeneFits)]
    return GeneFits(
        **{name: np.concatenate([getattr(p, name) for p in parts], axis=axis.get(name, 0)) for name in names}
    )


def take(fits: GeneFits, order: np.ndarray) -> GeneFits:
    """Some genes of a result, in this order."""
    by_column = ("mean_coef", "dispersion_coef")
    taken = {
        field.name: getattr(fits, field.name)[:, order] if field.name in by_column else getattr(fits, field.name)[order]
        for field in fields(fits)
    }
    return type(fits)(**taken)


def spin(seconds: float, where: str = "cpp") -> None:
    """Be busy for a while, in compiled threads or in Python: for tests of Ctrl-C."""
    if where == "cpp":
        from isthmus import _core

        _core.spin(float(seconds))
        return
    end = time.monotonic() + float(seconds)
    while time.monotonic() < end:
        sum(range(1000))


def _csr_arrays(counts: sp.csr_matrix) -> dict[str, np.ndarray]:
    """The three arrays in types that the kernel reads; shared with the matrix where they are that already."""
    data = counts.data
    if data.dtype not in _NATIVE_DTYPES:
        data = data.astype(np.float64)
    index = counts.indices.dtype if counts.indices.dtype in (np.int32, np.int64) else np.dtype(np.int64)
    return {
        "indptr": np.ascontiguousarray(counts.indptr, dtype=index),
        "indices": np.ascontiguousarray(counts.indices, dtype=index),
        "data": np.ascontiguousarray(data),
    }


def _by_gene(start: np.ndarray | None) -> np.ndarray | None:
    return None if start is None else np.ascontiguousarray(start.T, dtype=np.float64)


def _gene_fits(found: dict[str, Any], n_mean: int) -> GeneFits:
    found["mean_coef"] = np.ascontiguousarray(found["mean_coef"].T)
    found["dispersion_coef"] = np.ascontiguousarray(found["dispersion_coef"].T)
    found["n_nodes"] = np.full(len(found["code"]), found["n_nodes"], dtype=np.int32)
    limit = found["code"] == POISSON_LIMIT
    found["neg_hessian"][limit, n_mean:, :] = np.nan
    found["neg_hessian"][limit, :, n_mean:] = np.nan
    return GeneFits(**{field.name: found[field.name] for field in fields(GeneFits)})
