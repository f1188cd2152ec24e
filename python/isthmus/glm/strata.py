"""One fit for each level of a column: `fit_glm(by=)`, and the tests of such fits."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from isthmus import schema
from isthmus.data.counts import Counts, cell_order
from isthmus.data.stored import StoredMatrix
from isthmus.data.stored_cells import some_cells
from isthmus.data.wording import cells_where, did_you_mean, plural, some
from isthmus.errors import InputError
from isthmus.glm.source import Source, reader
from isthmus.messages import collected, tell
from isthmus.results import read_meta, read_text

if TYPE_CHECKING:
    from isthmus.glm.result import GlmFit
    from isthmus.results import State

_TABLES = (schema.FLAGGED, schema.GLM_COEFFICIENTS, schema.GLM_GENES, schema.SHRUNKEN)
_PER_CELL = ("design", "dispersion_design", "size_factors", "offset", "weights")
_UNNAMED = "stratum"  # the column of labels that came without a name


@dataclass(frozen=True, eq=False)
class GlmFits(Mapping[str, "GlmFit"]):
    """Fits by level, as a mapping: ``fits["T cells"]`` is a `GlmFit`. `test_glm` takes all of them at once.

    Attributes
    ----------
    by
        Name of the column of levels, which every table gains as its first.
    fits
        Level -> fit.
    cells
        Level -> positions of its cells in the data.
    cell_names
        All cells of the data.
    settings
        What a caller wants kept with the fits.
    """

    by: str
    fits: dict[str, GlmFit]
    cells: dict[str, np.ndarray]
    cell_names: np.ndarray
    source: Source = field(default_factory=Source, repr=False)
    settings: dict[str, Any] = field(default_factory=dict, repr=False)

    def __getitem__(self, level: str) -> GlmFit:
        if level not in self.fits:
            hint = did_you_mean(str(level), list(self.fits))
            msg = f"`{self.by}` has the levels {some(list(self.fits), len(self.fits))}; got '{level}'. {hint}"
            raise InputError(msg)
        return self.fits[level]

    def __iter__(self) -> Iterator[str]:
        return iter(self.fits)

    def __len__(self) -> int:
        return len(self.fits)

    def __contains__(self, level: object) -> bool:
        return level in self.fits

    def table(self, name: str) -> pd.DataFrame:
        """The tables of all fits, one below the other, with the level in the first column."""
        return self.stacked(lambda _, fit: fit.table(name))

    def stacked(self, of: Callable[[str, GlmFit], pd.DataFrame]) -> pd.DataFrame:
        """A table of every level, one below the other, with the level in the first column."""
        parts = []
        for level, fit in self.fits.items():
            part = of(level, fit)
            part.insert(0, self.by, np.full(len(part), level, dtype=object))
            parts.append(part)
        return pd.concat(parts, ignore_index=True)

    def state(self) -> State:
        """The states of all fits in one flat dict, each name after the number of its level."""
        state: State = {"cell_names": self.cell_names}
        metas = []
        for number, (level, fit) in enumerate(self.fits.items()):
            own = fit.state()
            metas.append(own.pop("meta"))
            state |= {f"{number}_{name}": value for name, value in own.items()}
            state[f"{number}_of_all"] = self.cells[level]
        meta = {"by": self.by, "levels": list(self.fits), "metas": metas, "settings": self.settings}
        return state | {"meta": json.dumps(meta)}

    @classmethod
    def from_state(cls, state: State) -> GlmFits:
        """The fits of a state."""
        from isthmus.glm.result import GlmFit

        meta = read_meta(state)
        fits, cells = {}, {}
        for number, (level, own_meta) in enumerate(zip(meta["levels"], meta["metas"], strict=True)):
            prefix = f"{number}_"
            own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
            cells[level] = np.asarray(own.pop("of_all")).reshape(-1).astype(np.int64)
            fits[level] = GlmFit.from_state(own | {"meta": own_meta})
        names = np.array(read_text(state["cell_names"]), dtype=object)
        return cls(meta["by"], fits, cells, names, settings=meta["settings"])

    def summary(self) -> str:
        """A few lines of text: the levels and how many genes ended how."""
        lines = [f"GLMs by '{self.by}':"]
        for level, fit in self.fits.items():
            counts = pd.Series(fit.status).value_counts()
            ended = ", ".join(f"{n} {status}" for status, n in counts.items())
            lines.append(f"  {level}: {plural(fit.n_genes, 'gene')} in {plural(fit.n_cells, 'cell')}; {ended}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return self.summary()


def check_one_fit(fit: Any) -> None:
    """Refuse what is no `GlmFit`."""
    from isthmus.glm.result import GlmFit

    if not isinstance(fit, GlmFit):
        hint = f" Take one level's, such as fit['{next(iter(fit))}']." if isinstance(fit, GlmFits) else ""
        msg = f"`fit` must be what fit_glm returned; got {type(fit).__name__}.{hint}"
        raise InputError(msg)


def fit_by(by: Any, counts: Counts, source: Source, options: dict[str, Any]) -> GlmFits:
    """`fit_glm` of the cells of each level, as if there were no others.

    Raises
    ------
    InputError
        Labels that are missing or not one a cell; a name that tables have already; what `fit_glm` refuses, with the
        level in front.
    """
    from isthmus.glm.fit import fit_glm

    name, labels, levels = _read_labels(by, counts)
    fits, cells = {}, {}
    with collected() as told:
        for level in levels:
            cells[level] = np.flatnonzero(labels == level)
            try:
                own = {key: _of_cells(value, counts, cells[level], key) for key, value in options.items()}
                fits[level] = fit_glm(cells_of(counts, cells[level]), **own)
            except InputError as error:
                msg = f"`by`: level '{level}' of '{name}' ({len(cells[level])} cells) cannot be fitted. {error}"
                raise InputError(msg) from error
    for text in dict.fromkeys(told):  # what holds of several levels is said once
        tell(text)
    return GlmFits(name, fits, cells, counts.cell_names, source)


def test_by(fits: GlmFits, test: Callable[..., pd.DataFrame], options: dict[str, Any]) -> pd.DataFrame:
    """`test_glm` of every fit; p-values are adjusted within each level."""
    counts = _counts_again(fits, options)
    everyone = Counts(np.empty((len(fits.cell_names), 0)), np.empty(0), fits.cell_names, None, None)  # type: ignore[arg-type]

    def one(level: str, fit: GlmFit) -> pd.DataFrame:
        cells = fits.cells[level]
        own = dict(options)
        for key in ("replicate", "offset", "weights", "reduced"):
            if not isinstance(own[key], list):  # a list names coefficients
                own[key] = _of_cells(own[key], everyone, cells, key)
        if isinstance(options["replicate"], list):
            own["replicate"] = _of_cells(np.asarray(options["replicate"], dtype=object), everyone, cells, "replicate")
        data = None if counts is None else cells_of(counts, cells)
        return test(fit, **own | {"data": data, "layer": None})

    return fits.stacked(one)


test_by.__test__ = False  # type: ignore[attr-defined]  # pytest collects what is called test_*


def _counts_again(fits: GlmFits, options: dict[str, Any]) -> Counts | None:
    """The counts of all cells: those handed in, or those of the fits where they are still around and of use."""
    if options["data"] is not None:
        data = options["data"]
        counts = data if isinstance(data, Counts) else _reader_of(fits)(data, layer=options["layer"])
        if counts.n_cells != len(fits.cell_names):
            msg = f"`data` must be the counts of the fits, {len(fits.cell_names)} cells; got {counts.n_cells}."
            raise InputError(msg)
        return counts
    asks = any(
        fit.settings["gene_offset"] or fit.settings.get("weights") == "observations" for fit in fits.fits.values()
    )
    needed = options["method"] != "wald" or options["replicate"] is not None
    needed = needed or (not asks and any(fit.separations for fit in fits.fits.values()))
    try:
        return fits.source.read(_reader_of(fits)) if needed else None
    except InputError:
        return None


def _reader_of(fits: GlmFits) -> Callable[..., Counts]:
    return reader(next(iter(fits.fits.values())), keep_stored=True)


def cells_of(counts: Counts, cells: np.ndarray) -> Counts:
    """The counts of some cells; levels of factors that none of them has are dropped."""
    table = counts.cell_data
    if table is not None:
        table = table.iloc[cells].copy()
        for name in table.columns:
            if isinstance(table[name].dtype, pd.CategoricalDtype):
                table[name] = table[name].cat.remove_unused_categories()
    stored, names = counts.stored_size_factors, counts.cell_names[cells]
    matrix: Any = some_cells(counts.matrix, cells)
    if isinstance(matrix, StoredMatrix):
        matrix.check(names, counts.gene_names)
    return replace(
        counts,
        matrix=matrix,
        cell_names=names,
        cell_data=table,
        stored_size_factors=None if stored is None else np.asarray(stored)[cells],
    )


def _read_labels(by: Any, counts: Counts) -> tuple[str, np.ndarray, list[str]]:
    """`read_labels` of a column that tables can gain."""
    name, labels, levels = read_labels(by, counts, argument="by")
    if any(name in table for table in _TABLES):
        msg = f"`by` must not have the name of a column of the tables; got '{name}'. Rename the column."
        raise InputError(msg)
    return name, labels, levels


def read_labels(by: Any, counts: Counts, *, argument: str) -> tuple[str, np.ndarray, list[str]]:
    """Name of the column, label of each cell, and the levels in their order."""
    if isinstance(by, str):
        known = [] if counts.cell_data is None else [str(column) for column in counts.cell_data.columns]
        if by not in known:
            msg = (
                f"`{argument}` must be a column of the cells' data or one label per cell; there is no column '{by}'. "
                f"{did_you_mean(by, known)}"
            )
            raise InputError(msg)
        assert counts.cell_data is not None
        values = counts.cell_data[by].reset_index(drop=True)
    else:
        if np.ndim(by) != 1 or len(by) != counts.n_cells:
            got = " x ".join(map(str, np.shape(by))) or repr(by)
            msg = (
                f"`{argument}` must be one column of the cells' data or one label per cell ({counts.n_cells}); got "
                f"{got}. Paste several columns into one."
            )
            raise InputError(msg)
        values = pd.Series(_rows_of(by, counts, np.arange(counts.n_cells), argument)).reset_index(drop=True)
    missing = values.isna().to_numpy()
    if missing.any():
        msg = f"`{argument}` must not be missing; got missing values in {cells_where(missing, counts.cell_names)}."
        raise InputError(msg)
    if isinstance(values.dtype, pd.CategoricalDtype):
        levels = [str(level) for level in values.cat.remove_unused_categories().cat.categories]
    else:
        levels = [str(level) for level in sorted(values.unique())]
    return by if isinstance(by, str) else _UNNAMED, values.astype(str).to_numpy(dtype=object), levels


def _of_cells(value: Any, counts: Counts, cells: np.ndarray, argument: str) -> Any:
    """What an argument says of some cells: rows of frames and arrays; words, formulas and None as they are."""
    if argument not in (*_PER_CELL, "replicate", "reduced") or value is None or isinstance(value, str):
        return value
    return _rows_of(value, counts, cells, argument)


def _rows_of(value: Any, counts: Counts, cells: np.ndarray, argument: str) -> Any:
    if isinstance(value, (pd.Series, pd.DataFrame)):
        _check_rows(len(value), counts, argument)
        order = np.arange(len(value))[cell_order(value.index, counts.cell_names, argument=argument)]
        return value.iloc[order[cells]]
    values = value if hasattr(value, "shape") else np.asarray(value)
    _check_rows(values.shape[0] if values.ndim else 1, counts, argument)
    return values.iloc[cells] if hasattr(values, "iloc") else values[cells]


def _check_rows(n: int, counts: Counts, argument: str) -> None:
    if n != counts.n_cells:
        msg = f"`{argument}` must have one row or value per cell ({counts.n_cells}), of all levels; got {n}."
        raise InputError(msg)
