"""
Compiled kernels of isthmus. Call them through the typed wrappers in isthmus.glm.kernel.
"""

from __future__ import annotations
import numpy
import numpy.typing
import typing

__all__: list[str] = ["fit_genes", "kernels", "spin"]

def fit_genes(
    *,
    indptr: numpy.ndarray,
    indices: numpy.ndarray,
    data: numpy.ndarray,
    first_gene: typing.SupportsInt | typing.SupportsIndex,
    last_gene: typing.SupportsInt | typing.SupportsIndex,
    x: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    z: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    offset: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    dispersion_offset: typing.Annotated[numpy.typing.ArrayLike, numpy.float64] | None,
    gene_offset: typing.Annotated[numpy.typing.ArrayLike, numpy.float64] | None,
    start_mean: typing.Annotated[numpy.typing.ArrayLike, numpy.float64] | None,
    start_dispersion: typing.Annotated[numpy.typing.ArrayLike, numpy.float64] | None,
    fix_dispersion: bool,
    max_iter: typing.SupportsInt | typing.SupportsIndex,
    tol: typing.SupportsFloat | typing.SupportsIndex,
    n_threads: typing.SupportsInt | typing.SupportsIndex,
    kernel: str,
    progress: typing.Any,
) -> dict:
    """
    Fit every gene of a CSR matrix; see isthmus.glm.kernel.fit_genes.
    """

def spin(seconds: typing.SupportsFloat | typing.SupportsIndex) -> None:
    """
    Wait in compiled threads until the time is over or Ctrl-C is pressed.
    """

kernels: tuple
