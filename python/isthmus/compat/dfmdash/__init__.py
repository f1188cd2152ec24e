"""The names, argument forms and files of dfmdash 1.0.0 (``dfmdash.dfm``, ``.processing``, ``.io``, ``.results``).

With ``engine="statsmodels"`` (the default here) numbers are dfmdash's: differences, then log(x + 1) differences, then
zeros where a value is missing, constant columns dropped, minimum and maximum to 0 and 1, DynamicFactorMQ with AR(1)
idiosyncratic terms, filtered factors. What it did wrong around them is mended: the caller's AnnData stays as it is,
every step of a batch is isolated, output folders may be nested, files appear complete or not at all, batch labels may
be of any type and hold any character, ``run`` can be called twice, and run-info.yaml can be read by a safe loader. New
work should use :func:`isthmus.fit_factors`, which keeps missing values missing.
"""

from __future__ import annotations

from isthmus.compat.dfmdash.dfm import ModelRunner, Result, process_factors
from isthmus.compat.dfmdash.io import DataLoader
from isthmus.compat.dfmdash.processing import DataProcessor, is_constant
from isthmus.compat.dfmdash.results import parse_multiple_runs, parse_results, parse_run_results

__all__ = [
    "DataLoader",
    "DataProcessor",
    "ModelRunner",
    "Result",
    "is_constant",
    "parse_multiple_runs",
    "parse_results",
    "parse_run_results",
    "process_factors",
]
