"""
Compiled kernels of isthmus. Call them through the typed wrappers in isthmus.glm.kernel.
"""

from __future__ import annotations
import collections.abc
import numpy
import numpy.typing
import typing

__all__: list[str] = ["FactorEngine", "fit_genes", "kernels", "spin"]

class FactorEngine:
    """
    A panel laid out for the factor kernel; see isthmus.factors.kernel.
    """
    def __init__(
        self,
        *,
        y: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
        loads: typing.Annotated[numpy.typing.ArrayLike, numpy.uint8],
        quarterly: typing.Annotated[numpy.typing.ArrayLike, numpy.uint8],
        blocks: collections.abc.Sequence[
            tuple[
                collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
                typing.SupportsInt | typing.SupportsIndex,
            ]
        ],
        ar1: bool,
        known: bool,
        min_lags: typing.SupportsInt | typing.SupportsIndex,
        kernel: str,
    ) -> None: ...
    def em(
        self,
        theta: tuple[
            typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
            typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
            typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
            typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
            typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
            typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
            typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
        ],
    ) -> tuple:
        """
        One EM iteration and the log-likelihood before it.
        """
    def loglike(
        self,
        theta: tuple[
            typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
            typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
            typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
            typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
            typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
            typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
            typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
        ],
    ) -> float:
        """
        Log-likelihood; -inf outside the model.
        """
    def score(
        self,
        theta: tuple[
            typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
            typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
            typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
            typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
            typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
            typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
            typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
        ],
    ) -> tuple[float, numpy.typing.NDArray[numpy.float64], numpy.typing.NDArray[numpy.float64]]:
        """
        Log-likelihood, score and complete-data information (its diagonal), in the flat order.
        """
    def smooth(
        self,
        theta: tuple[
            typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
            typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
            typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
            typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
            typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
            typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
            typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
        ],
    ) -> dict:
        """
        Moments of the states at every time.
        """
    @property
    def max_gap(self) -> int: ...
    @property
    def n_lags(self) -> int: ...
    @property
    def n_states(self) -> int: ...

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
    weights: typing.Annotated[numpy.typing.ArrayLike, numpy.float64] | None,
    start_mean: typing.Annotated[numpy.typing.ArrayLike, numpy.float64] | None,
    start_dispersion: typing.Annotated[numpy.typing.ArrayLike, numpy.float64] | None,
    fix_dispersion: bool,
    max_iter: typing.SupportsInt | typing.SupportsIndex,
    tol: typing.SupportsFloat | typing.SupportsIndex,
    n_threads: typing.SupportsInt | typing.SupportsIndex,
    kernel: str,
    use_nodes: bool,
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
