"""500 random objects from each side, to the other language and back."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from hypothesis import HealthCheck, given, settings

import isthmus

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS / "python"))

from random_anndata import anndatas, assert_same  # noqa: E402


@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(anndatas())
def test_anndata_to_an_r_object_and_back(adata):
    assert_same(isthmus.as_anndata(isthmus.as_sce(adata, on_loss="error"), on_loss="error"), adata)


def test_r_objects_to_anndata_and_back():
    """In testthat, through reticulate."""
    done = subprocess.run(
        ["Rscript", "tools/r-tests.R", "convert"],
        cwd=TESTS.parent,
        env={**os.environ, "ISTHMUS_RANDOM_OBJECTS": "500"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
