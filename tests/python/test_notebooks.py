"""The notebook of inst/notebooks with cells of both languages, executed by nbconvert."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "inst" / "notebooks" / "python-with-r.ipynb"


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What each code cell has printed or shown."""
    folder = tmp_path_factory.mktemp("notebook")
    command = [sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute", "--output-dir", folder, NOTEBOOK]
    command += ["--ExecutePreprocessor.timeout=120"]
    # A kernel of its own folder: the user's settings and other kernels named python3 play no part.
    environment = {**os.environ, "JUPYTER_CONFIG_DIR": str(folder), "JUPYTER_DATA_DIR": str(folder)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    cells = nbformat.read(folder / NOTEBOOK.name, as_version=4).cells
    return ["".join(map(shown, cell.outputs)) for cell in cells if cell.cell_type == "code"]


def shown(output: Any) -> str:
    return output["text"] if output["output_type"] == "stream" else output["data"]["text/plain"]


def test_r_gets_an_experiment_and_python_an_anndata(executed: list[str]) -> None:
    _, _, in_r, in_python, *_ = executed
    assert re.sub(r"\s+", " ", in_r).startswith("class: SingleCellExperiment dim: 100 299 ")
    assert re.search(r"assays\(2\):\s+counts\s+logcounts", in_r)
    assert re.match("AnnData object with n_obs . n_vars = 299 . 100", in_python)
    assert "'condition', 'sum', 'detected', 'total', 'size_factors'" in in_python
    assert "layers: 'logcounts'" in in_python


def test_the_model_finds_the_genes_that_respond(executed: list[str]) -> None:
    model, table = executed[-2:]
    assert "`size_factors`: those of the object are used." in model
    assert "299 cells, 10 genes found: " + ", ".join(f"gene{i}" for i in range(1, 11)) + "\n" in model
    fold_change = float(re.search(r"of the ten:\s+([\d.]+)\s+\(truth:\s+1\.58", table)[1])
    assert abs(fold_change - 1.58) < 0.1


def test_the_notebook_is_kept_without_outputs() -> None:
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    assert not [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")]
