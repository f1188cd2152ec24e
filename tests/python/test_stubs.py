"""The committed stub of the compiled module is what pybind11-stubgen writes, and mypy finds it true."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

import isthmus

ROOT = Path(__file__).parents[2]


def test_core_stub_is_what_stubgen_writes() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "stubs.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"python/isthmus/_core.pyi is stale. Run `make stubs`.\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("module", ["isthmus"])
def test_wrappers_agree_with_their_types(module: str) -> None:
    """stubtest imports each module and compares its functions with what a type checker reads."""
    command = [sys.executable, "-m", "mypy.stubtest", module, "--mypy-config-file", "pyproject.toml"]
    command += ["--allowlist", "tools/stubtest-allowlist.txt", "--ignore-unused-allowlist"]
    environment = {**os.environ, "MYPYPATH": str(ROOT / "python")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def is_function_or_result(name: str) -> bool:
    value = getattr(isthmus, name)
    return callable(value) and not (inspect.isclass(value) and issubclass(value, Exception))


@pytest.mark.parametrize("name", [*filter(is_function_or_result, isthmus.__all__)])
def test_public_functions_have_signatures(name: str) -> None:
    """reticulate reads signatures for R's help and completion; a bare pybind11 function has none."""
    value = getattr(isthmus, name)
    assert inspect.signature(value).parameters
    assert (inspect.getdoc(value) or "").strip()
