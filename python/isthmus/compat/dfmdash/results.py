"""``dfmdash.results``: the files of one run or several as frames."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from isthmus.errors import InputError
from isthmus.messages import tell

if TYPE_CHECKING:
    import os

_COLUMNS = ("Log Likelihood", "AIC", "EM Iterations")


def parse_results(file_path: str | os.PathLike[str]) -> pd.DataFrame:
    """Log-likelihood, AIC and EM iterations of one results.csv: one row."""
    text = Path(file_path).read_text(encoding="utf-8")
    found = {}
    for label in _COLUMNS:
        hit = re.search(rf"{label}\s*,\s*([-+\d.eE]+)", text)
        if hit is None:
            msg = f"`file_path` must be a results.csv of DynamicFactorMQ; '{file_path}' has no '{label}'."
            raise InputError(msg)
        found[label] = [float(hit.group(1))]
    out = pd.DataFrame(found)
    out["EM Iterations"] = out["EM Iterations"].astype(int)
    return out


def parse_run_results(directory: str | os.PathLike[str]) -> pd.DataFrame:
    """`parse_results` of every batch folder, with the column Batch; batches without results are named and left out."""
    rows, lacking = [], []
    for path in _folders(directory):
        if (path / "results.csv").exists():
            rows.append(parse_results(path / "results.csv").assign(Batch=path.name))
        else:
            lacking.append(path.name)
    if lacking:
        tell(f"No results.csv in {', '.join(lacking)}.")
    return pd.concat(rows, axis=0) if rows else pd.DataFrame(columns=[*_COLUMNS, "Batch"])


def parse_multiple_runs(directory: str | os.PathLike[str]) -> pd.DataFrame:
    """`parse_run_results` of every run's folder, with the column Run."""
    runs = [parse_run_results(path).assign(Run=path.name) for path in _folders(directory)]
    return pd.concat(runs, axis=0) if runs else pd.DataFrame(columns=[*_COLUMNS, "Batch", "Run"])


def _folders(directory: str | os.PathLike[str]) -> list[Path]:
    if not Path(directory).is_dir():
        msg = f"`directory` must be a folder of results; '{directory}' is none."
        raise InputError(msg)
    return sorted(path for path in Path(directory).iterdir() if path.is_dir())
