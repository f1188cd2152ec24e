"""Smaller models to test against: a formula, a design, or coefficients set to zero, as rows of a contrast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from isthmus.data import formulas
from isthmus.data.design import Design, read_design
from isthmus.data.wording import did_you_mean, some
from isthmus.errors import InputError

if TYPE_CHECKING:
    from isthmus.glm.result import Submodel

_NESTED = 1e-7
_INTERCEPTS = ("Intercept", "(Intercept)")


@dataclass(frozen=True)
class KeptTerms:
    """A reduced formula as R reads it: the labels of its terms, and its text."""

    labels: tuple[str, ...]
    text: str


def reduced_rows(reduced: Any, submodel: Submodel, model: str) -> tuple[np.ndarray, np.ndarray, str]:
    """Rows and right-hand sides that turn the model into the reduced one, and a label.

    Parameters
    ----------
    reduced
        * a formula, ``"~ batch"``: its terms are kept, the others are set to zero. One that is not part of the fit's
          formula term by term is evaluated on the fit's columns;
        * a matrix with one row per cell whose columns the fit's design can express;
        * names of coefficients to set to zero, in a list.
    submodel
        The mean or the dispersion model.

    Raises
    ------
    InputError
        Not nested in the model of the fit, or not smaller.
    """
    if isinstance(reduced, KeptTerms):
        return _drop_terms(reduced, submodel.design)
    if isinstance(reduced, str) and "~" in reduced:
        kept = KeptTerms(tuple(_label(term) for term in formulas.parse(reduced, argument="reduced")), reduced)
        if _part_of(kept.labels, submodel.design):
            return _drop_terms(kept, submodel.design)
        if submodel.design.language == "r" or submodel.design.frame is None:
            raise InputError(_not_by_terms(kept, submodel.design))
        smaller = read_design(reduced, submodel.design.n_cells, submodel.design.frame, argument="reduced")
        return _nested(smaller.matrix, submodel, reduced)
    if _is_names(reduced):
        return _zeroed([reduced] if isinstance(reduced, str) else [str(name) for name in reduced], submodel, model)
    smaller = read_design(reduced, submodel.design.n_cells, None, argument="reduced")
    return _nested(smaller.matrix, submodel, "reduced design")


def _is_names(reduced: Any) -> bool:
    if isinstance(reduced, str):
        return True
    return (
        isinstance(reduced, (list, tuple, pd.Index)) and len(reduced) > 0 and all(isinstance(n, str) for n in reduced)
    )


def _label(term: Any) -> str:
    return "Intercept" if str(term) == "1" else str(term)


def _canonical(label: str) -> frozenset[str]:
    """``a:b`` and ``b:a`` are one term; the intercept has no variables."""
    return frozenset() if label in _INTERCEPTS else frozenset(label.split(":"))


def _part_of(labels: tuple[str, ...], design: Design) -> bool:
    """Are all terms kept as they are? Not where a term loses a margin: the others would be coded anew."""
    kept, full = {_canonical(label) for label in labels}, {_canonical(label) for label in design.terms}
    return kept <= full and not any(gone < left for gone in full - kept for left in kept)


def _drop_terms(kept: KeptTerms, design: Design) -> tuple[np.ndarray, np.ndarray, str]:
    if design.formula is None or not _part_of(kept.labels, design):
        raise InputError(_not_by_terms(kept, design))
    stay = {_canonical(label) for label in kept.labels}
    columns = [c for label, at in design.terms.items() if _canonical(label) not in stay for c in at]
    if not columns:
        msg = f"`reduced` must be smaller than the model of the fit ({design.formula}); got {kept.text}."
        raise InputError(msg)
    return np.eye(len(design.names))[sorted(columns)], np.zeros(len(columns)), f"{design.formula} / {kept.text}"


def _not_by_terms(kept: KeptTerms, design: Design) -> str:
    if design.formula is None:
        return (
            f"`reduced` must be a matrix or names of coefficients where the fit's design is a matrix; got {kept.text}."
        )
    return (
        f"`reduced` must keep some terms of the fit's formula ({design.formula}) and the margins of each; got "
        f"{kept.text}. Pass the smaller design as a matrix, or the names of the coefficients to set to zero."
    )


def _zeroed(names: list[str], submodel: Submodel, model: str) -> tuple[np.ndarray, np.ndarray, str]:
    known = list(submodel.names)
    for name in names:
        if name not in known:
            msg = (
                f"`reduced` must be a formula, a matrix or names of coefficients of the {model} model to set to zero; "
                f"got '{name}'. {did_you_mean(name, known)}"
            )
            raise InputError(msg)
    columns = [known.index(name) for name in dict.fromkeys(names)]
    return np.eye(len(known))[columns], np.zeros(len(columns)), " = ".join([*dict.fromkeys(names), "0"])


def _nested(smaller: np.ndarray, submodel: Submodel, label: str) -> tuple[np.ndarray, np.ndarray, str]:
    """Rows whose null space, in the free parameters, spans the smaller design."""
    x = submodel.free_design
    inner = np.linalg.lstsq(x, smaller, rcond=None)[0]
    gap = np.abs(x @ inner - smaller).max(axis=0) > _NESTED * np.maximum(np.abs(smaller).max(axis=0), 1)
    if gap.any():
        msg = (
            "`reduced` must be nested in the model of the fit: the fit's design must be able to express each of its "
            f"columns; it cannot express column {some([int(c) + 1 for c in np.flatnonzero(gap)])}."
        )
        raise InputError(msg)
    u, size, _ = np.linalg.svd(inner, full_matrices=True)
    rank = int((size > 1e-9 * size.max(initial=0)).sum())
    if rank == x.shape[1]:
        msg = f"`reduced` must be smaller than the model of the fit; {label} has all of its {rank} free parameters."
        raise InputError(msg)
    free = u[:, rank:].T
    free[np.abs(free) < 1e-12] = 0
    rows = free @ np.linalg.pinv(submodel.constraint.free)
    return rows, rows @ submodel.constraint.particular, label
