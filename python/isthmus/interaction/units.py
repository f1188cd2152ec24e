"""What is flipped or shuffled as one: spatial blocks, whole samples, or donors with several samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from isthmus.data.wording import did_you_mean, plural, some
from isthmus.errors import InputError

if TYPE_CHECKING:
    from isthmus.interaction.result import InteractionFit


def sample_labels(fit: InteractionFit, given: Any, argument: str) -> np.ndarray:
    """``(n_samples,)`` a label for each sample of the fit.

    Parameters
    ----------
    given
        "sample": each sample's own name. A mapping or Series sample -> label. One label per cell (a Series of cells
        goes by their names), alike within each sample.
    argument
        For messages.

    Raises
    ------
    InputError
        Samples or cells without a label, an unknown text, a label that changes within a sample.
    """
    if isinstance(given, str):
        if given != "sample":
            msg = (
                f"`{argument}` must be 'sample', a mapping from sample to label, or one label per cell; got {given!r}. "
                + did_you_mean(given, ["sample"])
            )
            raise InputError(msg)
        return np.array(fit.samples, dtype=object)
    if isinstance(given, dict):
        given = pd.Series(given, dtype=object)
    if isinstance(given, pd.Series) and not set(map(str, given.index)) >= set(fit.cells):
        return _of_samples(fit, given, argument)
    return _of_cells(fit, given, argument)


def _of_samples(fit: InteractionFit, given: pd.Series, argument: str) -> np.ndarray:
    labels = {str(name): value for name, value in given.items() if not pd.isna(value)}
    lacking = [name for name in fit.samples if name not in labels]
    if lacking:
        msg = (
            f"`{argument}` must name a label for every sample (or every cell) of the fit; it lacks {some(lacking)}. "
            "Give a mapping from sample to label."
        )
        raise InputError(msg)
    return np.array([labels[name] for name in fit.samples], dtype=object)


def _of_cells(fit: InteractionFit, given: Any, argument: str) -> np.ndarray:
    if isinstance(given, pd.Series):
        values = given.set_axis(given.index.map(str)).reindex(list(fit.cells)).to_numpy(dtype=object)
    else:
        values = np.asarray(given, dtype=object)
    if values.shape != (fit.n_cells,):
        msg = (
            f"`{argument}` must be 'sample', a mapping from sample to label, or one label per cell (n_cells = "
            f"{fit.n_cells}); got {len(values) if values.ndim else 'a single value'}."
        )
        raise InputError(msg)
    if pd.isna(values).any():
        msg = f"`{argument}` must not be missing; got {plural(int(pd.isna(values).sum()), 'cell')} without. Label them."
        raise InputError(msg)
    labels = np.empty(len(fit.samples), dtype=object)
    for code, sample in enumerate(fit.samples):
        inside = pd.unique(values[fit.sample_codes == code])
        if len(inside) > 1:
            msg = (
                f"`{argument}` must be the same for all cells of a sample; sample '{sample}' has "
                f"{some(inside)}. Fit with samples that do not mix them."
            )
            raise InputError(msg)
        labels[code] = inside[0]
    return labels


def unit_of_block(fit: InteractionFit, unit: Any) -> tuple[np.ndarray, str]:
    """``(n_blocks,)`` code of the unit that each block belongs to, and "block" or "sample" for messages.

    Raises
    ------
    InputError
        As `sample_labels`.
    """
    if isinstance(unit, str) and unit == "block":
        return np.arange(fit.folds.n_blocks), "block"
    of_sample, _ = pd.factorize(sample_labels(fit, unit, "unit"))
    sample_of_block = np.zeros(fit.folds.n_blocks, dtype=np.int64)
    sample_of_block[fit.folds.block] = fit.sample_codes
    return np.asarray(of_sample)[sample_of_block], "sample"
