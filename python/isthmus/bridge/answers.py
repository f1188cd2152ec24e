"""Our own errors, warnings and messages as values, in the words of an R user."""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from isthmus import messages
from isthmus.bridge.interrupts import own_interrupts
from isthmus.errors import (
    ConvergenceWarning,
    IdentifiabilityWarning,
    InputError,
    MissingDependencyError,
    ReplicateWarning,
)

Answer = dict[str, Any]

# Phrases of the engine's texts that name a Python thing, as an R user has it.
IN_R = (
    (re.compile(r"`adata\.var_names_make_unique\(\)`"), "`make.unique(rownames(data))`"),
    (re.compile(r"`adata\.obs_names_make_unique\(\)`"), "`make.unique(colnames(data))`"),
    (re.compile(r"Run: pip install 'isthmus\[(\w+)\]'"), r'Run: isthmus::install_isthmus(extras = "\1")'),
    (re.compile(r"same_type_neighbors=True"), "same_type_neighbors = TRUE"),
    (
        re.compile(r"The row names of (`size_factors`|`offset`)(.*)`\.reset_index\(drop=True\)`"),
        r"The names of \1\2`unname()`",
    ),
    (re.compile(r"`\.reset_index\(drop=True\)`"), "`rownames(cell_data) <- NULL`"),
    (re.compile(r"`as_categorical=\['([^']*)'\]`"), r'`as_categorical = "\1"`'),
    (re.compile(r"`data\.T`"), "`t(data)`"),
    (re.compile(r"\ba DataFrame\b"), "a data.frame"),
    (
        re.compile(r"per cell and gene \((\d+) x (\d+)\); got (\d+) x (\d+)"),
        r"per gene and cell (\2 x \1); got \4 x \3",
    ),
    (re.compile(r"per cell and gene \((\d+) x (\d+)\)"), r"per gene and cell (\2 x \1)"),
    (re.compile(r"\(nan in cell"), "(NA in cell"),
    (re.compile(r"\(inf in cell"), "(Inf in cell"),
    (re.compile(r"`name` must be one of the fit's tables"), "`table` must be one of the fit's tables"),
    (re.compile(r"\ba dict\b"), "a named list"),
    (re.compile(r"' is object\."), "' is text."),
    (re.compile(r"idiosyncratic='iid'"), '`idiosyncratic = "iid"`'),
    (re.compile(r"pip install 'isthmus\[deep\]'"), '`install_isthmus(extras = "deep")`'),
    (re.compile(r"`layer`"), "`assay`"),
    (re.compile(r"overwrite=True"), "overwrite = TRUE"),
    (
        re.compile(r"coefficients x genes \((\d+) x (\d+)\)(.*; got) (\d+) x (\d+)"),
        r"genes x coefficients (\2 x \1)\3 \5 x \4",
    ),
    (re.compile(r"see `fit\.failures`"), 'see the column `message` of the table "stats"'),
    (re.compile(r"See `fit\.labels`"), "See `names(logLik(fit))`"),
    (re.compile(r"\bTrue or False\b"), "TRUE or FALSE"),
    (re.compile(r"\bTrue, False or None\b"), "TRUE, FALSE or NULL"),
    (re.compile(r"(?<=; got )True(?=\.)"), "TRUE"),
    (re.compile(r"(?<=; got )False(?=\.)"), "FALSE"),
    (re.compile(r"(?<!['\w])None(?!['\w])"), "NULL"),
)


# A matrix of R is genes x cells. The engine, which sees it the other way round, counts rows and columns so.
TRANSPOSED_IN_R = (
    (re.compile(r"cells x genes; got ([\d,]+) rows x ([\d,]+) columns"), r"genes x cells; got \2 rows x \1 columns"),
    (
        re.compile(r"the row names of `cell_data` are the column names"),
        "the row names of `cell_data` are the row names",
    ),
)


_WARNINGS: dict[type[Warning], str] = {
    ConvergenceWarning: "isthmus_convergence_warning",
    IdentifiabilityWarning: "isthmus_identifiability_warning",
    ReplicateWarning: "isthmus_replicate_warning",
}
_LARGEST_INTEGER = 2**31 - 1
_LARGEST_EXACT = 2**53
_R_CLASSES = {InputError: "isthmus_input_error", MissingDependencyError: "isthmus_missing_dependency"}


def answers(function: Callable[..., Any]) -> Callable[..., Answer]:
    """Turn our own errors, warnings and messages of a function into values that R can raise again."""

    @functools.wraps(function)
    def answered(*args: Any, **kwargs: Any) -> Answer:
        answer: Answer = {}
        with messages.collected() as told, warnings.catch_warnings(record=True) as caught:
            for category in _WARNINGS:
                warnings.simplefilter("always", category)
            try:
                with own_interrupts():
                    given = {name: whole_number(value) for name, value in kwargs.items()}
                    answer["value"] = function(*map(whole_number, args), **given)
            except KeyboardInterrupt:
                answer["interrupted"] = True
            except (InputError, MissingDependencyError) as error:
                kind = InputError if isinstance(error, InputError) else MissingDependencyError
                answer["error"] = {"class": _R_CLASSES[kind], "message": reworded(str(error), IN_R)}
        answer |= {"warnings": [], "warning_classes": []}
        for warning in caught:
            known = next((name for kind, name in _WARNINGS.items() if issubclass(warning.category, kind)), None)
            if known is None:
                warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
            else:
                answer["warnings"].append(reworded(str(warning.message), IN_R))
                answer["warning_classes"].append(known)
        return answer | {"messages": [reworded(text, IN_R) for text in told]}

    return answered


def whole_number(value: Any) -> Any:
    """R has no integers above 2**31 - 1: ``seed = 2^40`` comes as a double, and is meant as a whole number."""
    large = isinstance(value, float) and _LARGEST_INTEGER < abs(value) <= _LARGEST_EXACT
    return int(value) if large and value.is_integer() else value


def reworded(text: str, phrases: Iterable[tuple[re.Pattern[str], str]]) -> str:
    for pattern, phrase in phrases:
        text = pattern.sub(phrase, text)
    return text


@contextmanager
def orientation_of_r() -> Iterator[None]:
    """Errors about a matrix of R speak of genes x cells."""
    try:
        yield
    except InputError as error:
        raise InputError(reworded(str(error), TRANSPOSED_IN_R)) from error
