"""
Compiled kernels of isthmus. Call them through the typed wrappers in isthmus.glm.kernel.
"""

from __future__ import annotations
import collections.abc
import numpy
import numpy.typing
import typing

__all__: list[str] = [
    "FactorEngine",
    "LaidOut",
    "column_sums",
    "factor_kernels",
    "fit_genes",
    "kernels",
    "quasi_deviances",
    "row_sums",
    "spin",
    "survey_columns",
    "survey_values",
]

class LaidOut:
    """
    Counts gene by gene, in strata of cells; see isthmus.glm.kernel.lay_out.
    """
    def __init__(
        self,
        *,
        indptr: numpy.ndarray,
        indices: numpy.ndarray,
        data: numpy.ndarray,
        first_gene: typing.SupportsInt | typing.SupportsIndex,
        last_gene: typing.SupportsInt | typing.SupportsIndex,
        x: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
        z: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
        dispersion_offset: typing.Annotated[numpy.typing.ArrayLike, numpy.float64] | None,
        n_threads: typing.SupportsInt | typing.SupportsIndex,
    ) -> None: ...
    @property
    def n_genes(self) -> int: ...

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

@typing.overload
def column_sums(
    indptr: numpy.typing.NDArray[numpy.int32],
    indices: numpy.typing.NDArray[numpy.int32],
    values: numpy.typing.NDArray[numpy.float32],
    rows: numpy.typing.NDArray[numpy.uint8],
    n_columns: typing.SupportsInt | typing.SupportsIndex,
) -> numpy.typing.NDArray[numpy.float64]: ...
@typing.overload
def column_sums(
    indptr: numpy.typing.NDArray[numpy.int64],
    indices: numpy.typing.NDArray[numpy.int64],
    values: numpy.typing.NDArray[numpy.float32],
    rows: numpy.typing.NDArray[numpy.uint8],
    n_columns: typing.SupportsInt | typing.SupportsIndex,
) -> numpy.typing.NDArray[numpy.float64]: ...
@typing.overload
def column_sums(
    indptr: numpy.typing.NDArray[numpy.int32],
    indices: numpy.typing.NDArray[numpy.int32],
    values: numpy.typing.NDArray[numpy.float64],
    rows: numpy.typing.NDArray[numpy.uint8],
    n_columns: typing.SupportsInt | typing.SupportsIndex,
) -> numpy.typing.NDArray[numpy.float64]: ...
@typing.overload
def column_sums(
    indptr: numpy.typing.NDArray[numpy.int64],
    indices: numpy.typing.NDArray[numpy.int64],
    values: numpy.typing.NDArray[numpy.float64],
    rows: numpy.typing.NDArray[numpy.uint8],
    n_columns: typing.SupportsInt | typing.SupportsIndex,
) -> numpy.typing.NDArray[numpy.float64]: ...
@typing.overload
def column_sums(
    indptr: numpy.typing.NDArray[numpy.int32],
    indices: numpy.typing.NDArray[numpy.int32],
    values: numpy.typing.NDArray[numpy.int32],
    rows: numpy.typing.NDArray[numpy.uint8],
    n_columns: typing.SupportsInt | typing.SupportsIndex,
) -> numpy.typing.NDArray[numpy.float64]: ...
@typing.overload
def column_sums(
    indptr: numpy.typing.NDArray[numpy.int64],
    indices: numpy.typing.NDArray[numpy.int64],
    values: numpy.typing.NDArray[numpy.int32],
    rows: numpy.typing.NDArray[numpy.uint8],
    n_columns: typing.SupportsInt | typing.SupportsIndex,
) -> numpy.typing.NDArray[numpy.float64]: ...
@typing.overload
def column_sums(
    indptr: numpy.typing.NDArray[numpy.int32],
    indices: numpy.typing.NDArray[numpy.int32],
    values: numpy.typing.NDArray[numpy.int64],
    rows: numpy.typing.NDArray[numpy.uint8],
    n_columns: typing.SupportsInt | typing.SupportsIndex,
) -> numpy.typing.NDArray[numpy.float64]: ...
@typing.overload
def column_sums(
    indptr: numpy.typing.NDArray[numpy.int64],
    indices: numpy.typing.NDArray[numpy.int64],
    values: numpy.typing.NDArray[numpy.int64],
    rows: numpy.typing.NDArray[numpy.uint8],
    n_columns: typing.SupportsInt | typing.SupportsIndex,
) -> numpy.typing.NDArray[numpy.float64]: ...
def fit_genes(
    *,
    laid_out: LaidOut,
    genes: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
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
    keep_moments: bool,
    progress: typing.Any,
) -> dict:
    """
    Fit chosen genes; see isthmus.glm.kernel.fit_genes.
    """

def quasi_deviances(
    *,
    indptr: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
    indices: typing.Annotated[numpy.typing.ArrayLike, numpy.int32],
    counts: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    x: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    offset: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    coef: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    alpha: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    inverse: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    low: typing.SupportsFloat | typing.SupportsIndex,
    step: typing.SupportsFloat | typing.SupportsIndex,
    pieces: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    gene_offset: typing.Annotated[numpy.typing.ArrayLike, numpy.float64] | None,
    weights: typing.Annotated[numpy.typing.ArrayLike, numpy.float64] | None,
    kernel: str,
    n_threads: typing.SupportsInt | typing.SupportsIndex,
) -> tuple:
    """
    Residual deviances and their degrees of freedom; see isthmus.glm.quasi_deviance.
    """

@typing.overload
def row_sums(
    indptr: numpy.typing.NDArray[numpy.int32], values: numpy.typing.NDArray[numpy.float32]
) -> numpy.typing.NDArray[numpy.float64]: ...
@typing.overload
def row_sums(
    indptr: numpy.typing.NDArray[numpy.int64], values: numpy.typing.NDArray[numpy.float32]
) -> numpy.typing.NDArray[numpy.float64]: ...
@typing.overload
def row_sums(
    indptr: numpy.typing.NDArray[numpy.int32], values: numpy.typing.NDArray[numpy.float64]
) -> numpy.typing.NDArray[numpy.float64]: ...
@typing.overload
def row_sums(
    indptr: numpy.typing.NDArray[numpy.int64], values: numpy.typing.NDArray[numpy.float64]
) -> numpy.typing.NDArray[numpy.float64]: ...
@typing.overload
def row_sums(
    indptr: numpy.typing.NDArray[numpy.int32], values: numpy.typing.NDArray[numpy.int32]
) -> numpy.typing.NDArray[numpy.float64]: ...
@typing.overload
def row_sums(
    indptr: numpy.typing.NDArray[numpy.int64], values: numpy.typing.NDArray[numpy.int32]
) -> numpy.typing.NDArray[numpy.float64]: ...
@typing.overload
def row_sums(
    indptr: numpy.typing.NDArray[numpy.int32], values: numpy.typing.NDArray[numpy.int64]
) -> numpy.typing.NDArray[numpy.float64]: ...
@typing.overload
def row_sums(
    indptr: numpy.typing.NDArray[numpy.int64], values: numpy.typing.NDArray[numpy.int64]
) -> numpy.typing.NDArray[numpy.float64]: ...
def spin(seconds: typing.SupportsFloat | typing.SupportsIndex) -> None:
    """
    Wait in compiled threads until the time is over or Ctrl-C is pressed.
    """

@typing.overload
def survey_columns(
    indptr: numpy.typing.NDArray[numpy.int32],
    indices: numpy.typing.NDArray[numpy.int32],
    n_columns: typing.SupportsInt | typing.SupportsIndex,
) -> tuple: ...
@typing.overload
def survey_columns(
    indptr: numpy.typing.NDArray[numpy.int64],
    indices: numpy.typing.NDArray[numpy.int64],
    n_columns: typing.SupportsInt | typing.SupportsIndex,
) -> tuple: ...
@typing.overload
def survey_values(
    values: numpy.typing.NDArray[numpy.float32], largest: typing.SupportsFloat | typing.SupportsIndex
) -> tuple: ...
@typing.overload
def survey_values(
    values: numpy.typing.NDArray[numpy.float64], largest: typing.SupportsFloat | typing.SupportsIndex
) -> tuple: ...
@typing.overload
def survey_values(
    values: numpy.typing.NDArray[numpy.int32], largest: typing.SupportsFloat | typing.SupportsIndex
) -> tuple: ...
@typing.overload
def survey_values(
    values: numpy.typing.NDArray[numpy.int64], largest: typing.SupportsFloat | typing.SupportsIndex
) -> tuple: ...

factor_kernels: tuple
kernels: tuple
