"""The examples of the README run as they stand, in both languages."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def block(language: str) -> str:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert found
    return "\n".join(found)


@pytest.mark.parametrize(("language", "program"), [("python", [sys.executable]), ("r", ["Rscript", "--vanilla"])])
def test_readme_example_runs_and_prints_its_table(language: str, program: list[str], tmp_path: Path) -> None:
    script = tmp_path / f"readme.{language}"
    script.write_text(block(language), encoding="utf-8")
    environment = {**os.environ, "RETICULATE_PYTHON": sys.executable}
    done = subprocess.run(
        [*program, script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\blog2fc\b", done.stdout)
    assert re.search(r"\bgene\d+\b", done.stdout)
