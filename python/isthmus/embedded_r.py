"""SingleCellExperiment <-> AnnData in a Python that hosts R through rpy2.

The R package of the same name takes the object apart and puts it together, as it does for reticulate; what crosses
here are views of R's memory, so a conversion from R copies no matrix. Nothing of rpy2 is imported before a call.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from isthmus.data.convert import from_anndata, to_anndata
from isthmus.errors import ConversionWarning, InputError, MissingDependencyError
from isthmus.messages import tell

if TYPE_CHECKING:
    from anndata import AnnData

OnLoss = Literal["warn", "error", "ignore"]

# What R sends as a number or a flag; everything else of length one is a vector.
_SCALARS = frozenset({"n", "x_index", "named", "ordered", "scalar", "layers_only"})

_MANY_STRINGS = 1000
_SEPARATORS = ("\n", "\x1f", "\x1e", "\x1d")
_APART = """function(bytes, separator) {
  text <- rawToChar(bytes)
  Encoding(text) <- "UTF-8"
  pieces <- strsplit(text, separator, fixed = TRUE)[[1L]]
  pieces[-length(pieces)]
}"""
_TOGETHER = "function(x, separator) paste(enc2utf8(x), collapse = separator)"


def as_anndata(x: Any, *, on_loss: OnLoss = "warn") -> AnnData:
    """Make an AnnData of a SingleCellExperiment that lives in an R hosted by rpy2.

    Parameters
    ----------
    x
        A SingleCellExperiment, or another SummarizedExperiment, as rpy2 holds it (``ro.r["sce"]``, ``%%R -o sce``).
        An AnnData (anndata2ri makes one) is returned as it is.
    on_loss
        What to do where something cannot be carried: "warn" (one `ConversionWarning` that names everything), "error"
        or "ignore".

    Returns
    -------
    AnnData
        ``(n_cells, n_genes)``. Its matrices are views of R's memory and read-only: ``adata.copy()`` may be written to.

    Raises
    ------
    InputError
        Another type; with ``on_loss="error"`` when something cannot be carried.
    MissingDependencyError
        rpy2 or the R package isthmus is missing.

    Notes
    -----
    The mapping is that of `isthmus.data.convert`: the p, i and x of a genes x cells ``dgCMatrix`` are the cells x genes
    CSR. `as_sce` gives back what it was.

    Examples
    --------
    >>> import anndata as ad, numpy as np
    >>> as_anndata(ad.AnnData(np.ones((2, 3)))).shape
    (2, 3)
    """
    from anndata import AnnData

    _check_on_loss(on_loss)
    if isinstance(x, AnnData):
        return x
    r = _r()
    if not isinstance(x, r.rinterface.Sexp):
        msg = f"`x` must be a SingleCellExperiment that rpy2 holds, or an AnnData; got {type(x).__name__}."
        raise InputError(msg)
    parts = r.call("parts_for_python", x)
    unreadable = _python(parts["unreadable"])
    if unreadable and on_loss != "ignore":
        tell(f"`as_anndata()`: Python cannot read {', '.join(unreadable)}. `as_sce()` puts it back.")
    _report(_python(parts["lost"]), on_loss, "as_anndata")
    return to_anndata(_python(parts["wire"]))


def as_sce(adata: AnnData, *, on_loss: OnLoss = "warn") -> Any:
    """Make a SingleCellExperiment of an AnnData, in the R that rpy2 hosts.

    Parameters
    ----------
    adata
        The AnnData, ``(n_cells, n_genes)``.
    on_loss
        As in `as_anndata`.

    Returns
    -------
    rpy2.robjects.methods.RS4
        A SingleCellExperiment, or the class that `adata` was made from; R has its own copy of the numbers.

    Raises
    ------
    InputError
        Another type; with ``on_loss="error"`` when something cannot be carried.
    MissingDependencyError
        rpy2 or the R package isthmus is missing.

    Examples
    --------
    >>> as_sce([1, 2])
    Traceback (most recent call last):
        ...
    isthmus.errors.InputError: `adata` must be an AnnData; got list.
    """
    from anndata import AnnData

    _check_on_loss(on_loss)
    if not isinstance(adata, AnnData):
        msg = f"`adata` must be an AnnData; got {type(adata).__name__}."
        raise InputError(msg)
    r = _r()
    wire, lost = from_anndata(adata)
    made = r.call("made_for_python", r.of_python(wire))
    _report(lost + _python(made["lost"]), on_loss, "as_sce")
    return r.robjects.default_converter.rpy2py(made["x"])


def converter() -> Any:
    """A converter for ``%%R -i adata -o sce`` and ``localconverter``: AnnData become SingleCellExperiments on their way
    to R, and the other way round.

    Returns
    -------
    rpy2.robjects.conversion.Converter
        To be added to another: ``rpy2.robjects.default_converter + isthmus.embedded_r.converter()``.

    Raises
    ------
    MissingDependencyError
        rpy2 or the R package isthmus is missing.
    """
    from anndata import AnnData

    r = _r()
    made = r.robjects.conversion.Converter("isthmus")

    def of_r(x: Any) -> Any:
        experiment = r.is_experiment(x)
        return as_anndata(x) if experiment else r.robjects.default_converter.rpy2py(x)

    made.py2rpy.register(AnnData, as_sce)
    made.rpy2py.register(r.rinterface.SexpS4, of_r)
    return made


def _check_on_loss(on_loss: str) -> None:
    if on_loss not in ("warn", "error", "ignore"):
        msg = f"`on_loss` must be one of 'warn', 'error', 'ignore'; got {on_loss!r}."
        raise InputError(msg)


def _report(lost: list[str], on_loss: OnLoss, name: str) -> None:
    if not lost or on_loss == "ignore":
        return
    text = f"`{name}()` could not carry: {'; '.join(lost)}. The R package's known_issues.yaml says why."
    if on_loss == "error":
        msg = f'{text} Use `on_loss="warn"` to convert what can be.'
        raise InputError(msg)
    warnings.warn(text, ConversionWarning, stacklevel=3)


# --- R ----------------------------------------------------------------------------------------------------------------


class _HostedR:
    """The R that rpy2 hosts, with the R package loaded."""

    def __init__(self) -> None:
        try:
            from rpy2 import rinterface, robjects
        except ImportError as error:
            msg = "R objects in Python need rpy2, which is not installed. Run: pip install 'isthmus[rpy2]'"
            raise MissingDependencyError(msg) from error
        self.rinterface, self.robjects = rinterface, robjects
        self._evaluate = rinterface.baseenv["eval"]
        self._parse = rinterface.baseenv["parse"]
        self._apart, self._together = self._run(_APART), self._run(_TOGETHER)
        if not self._run('requireNamespace("isthmus", quietly = TRUE)')[0]:
            msg = (
                "R objects in Python need the R package isthmus, which this R does not have. Run in R: "
                'install.packages("BiocManager"); BiocManager::install("isthmus"), or in a clone: R CMD INSTALL .'
            )
            raise MissingDependencyError(msg)

    def _run(self, code: str) -> Any:
        return self._evaluate(self._parse(text=self.rinterface.StrSexpVector([code])))

    def call(self, name: str, *arguments: Any) -> dict[str, Any]:
        """Call a function of the R package that answers with a value or with the text of an error."""
        answer = _named(self._run(f"isthmus:::{name}")(*arguments))
        if "error" in answer:
            raise InputError(answer["error"][0])
        return _named(answer["value"])

    def is_experiment(self, x: Any) -> bool:
        return bool(self._run('function(x) methods::is(x, "SummarizedExperiment")')(x)[0])

    def of_python(self, value: Any) -> Any:
        """A transport dict as an R list; arrays are copied once, since R must own its memory."""
        ri = self.rinterface
        if value is None:
            return ri.NULL
        if isinstance(value, Mapping):
            return self._named_list(value)
        if isinstance(value, (bytes, bytearray)):
            return ri.ByteSexpVector(bytes(value))
        if isinstance(value, list):
            if all(isinstance(item, str) for item in value):
                return self._strings(value)
            return ri.ListSexpVector([self.of_python(item) for item in value])
        return self._vector(value)

    def _strings(self, value: list[str]) -> Any:
        """Many names cross as one text that R takes apart: rpy2 alone takes longer for 50,000 than for 57 MiB."""
        ri = self.rinterface
        if len(value) < _MANY_STRINGS:
            return ri.StrSexpVector(value)
        for separator in _SEPARATORS:
            text = separator.join(value)
            if text.count(separator) == len(value) - 1:
                # R's strsplit() drops an empty last piece, so the last one is ours
                return self._apart(ri.ByteSexpVector(f"{text}{separator}.".encode()), ri.StrSexpVector([separator]))
        return ri.StrSexpVector(value)

    def strings_of(self, vector: Any) -> list[str]:
        """The strings of R's vector, "NA" for a missing one; many cross as one text, as in `_strings`."""
        for separator in _SEPARATORS if len(vector) >= _MANY_STRINGS else ():
            whole = self._together(vector, self.rinterface.StrSexpVector([separator]))
            pieces = str(whole[0]).split(separator)
            if len(pieces) == len(vector):
                return pieces
        return [item if isinstance(item, str) else "NA" for item in vector]

    def _named_list(self, value: Mapping[str, Any]) -> Any:
        made = self.rinterface.ListSexpVector([self.of_python(item) for item in value.values()])
        made.names = self.rinterface.StrSexpVector(list(value))
        return made

    def _vector(self, value: Any) -> Any:
        ri = self.rinterface
        if isinstance(value, str):
            return ri.StrSexpVector([value])
        array = np.atleast_1d(value)
        kinds = {"b": ri.BoolSexpVector, "i": ri.IntSexpVector, "f": ri.FloatSexpVector, "c": ri.ComplexSexpVector}
        vector = kinds[array.dtype.kind]
        if array.dtype.kind in "if" and len(array):
            dtype = np.int32 if array.dtype.kind == "i" else np.float64
            return vector.from_memoryview(np.ascontiguousarray(array, dtype=dtype).data)
        return vector(array.tolist())


_hosted: _HostedR | None = None


def _r() -> _HostedR:
    global _hosted
    if _hosted is None:
        _hosted = _HostedR()
    return _hosted


class _RMemory:
    """The memory of an R vector, kept alive, as something that numpy may read but not write."""

    def __init__(self, vector: Any, view: memoryview) -> None:
        self._vector = vector
        pointer = np.frombuffer(view, dtype=np.uint8).ctypes.data
        self.__array_interface__ = {
            "version": 3,
            "shape": (len(vector),),
            "typestr": {"i": "<i4", "d": "<f8"}[view.format],
            "data": (pointer, True),
        }


def _named(value: Any) -> dict[str, Any]:
    return dict(zip(list(value.names), value, strict=True))


def _python(value: Any, key: str = "") -> Any:
    """A transport dict of R as Python reads it; vectors of numbers are views."""
    from rpy2 import rinterface as ri

    if isinstance(value, ri.NULLType) or value is ri.NULL:
        return None
    if isinstance(value, ri.ListSexpVector):
        if isinstance(value.names, ri.StrSexpVector):
            return {str(name): _python(item, str(name)) for name, item in _named(value).items()}
        return [_python(item) for item in value]
    if isinstance(value, ri.StrSexpVector):
        found = _r().strings_of(value)
        return found[0] if key in ("kind", "type", "zone", "recipe") and len(found) == 1 else found
    if isinstance(value, ri.ByteSexpVector):
        return bytes(value)
    if isinstance(value, ri.BoolSexpVector):
        flags = [bool(item) for item in value]
        return flags[0] if key in _SCALARS else np.array(flags)
    if key in _SCALARS:
        return int(value[0])
    if isinstance(value, ri.ComplexSexpVector):
        return np.array(list(value), dtype=complex)
    if len(value) == 0:
        return np.array([], dtype=np.int32 if isinstance(value, ri.IntSexpVector) else float)
    return np.asarray(_RMemory(value, value.memoryview()))
