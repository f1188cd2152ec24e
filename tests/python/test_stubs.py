"""The committed stub of the compiled module is what pybind11-stubgen writes, and mypy finds it true."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

import isthmus
from isthmus.help_in_r import announce_all_arguments

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


def test_user_code_passes_mypy_strict_and_wrong_arguments_do_not() -> None:
    """The sample holds wrong calls too: an `ignore` that ignores nothing is an error in strict mode."""
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--follow-imports=silent"]
    environment = {**os.environ, "MYPYPATH": str(ROOT / "python")}
    sample = ROOT / "tests" / "python" / "user_code.py"
    done = subprocess.run([*command, sample], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_user_code_calls_every_function() -> None:
    sample = (ROOT / "tests" / "python" / "user_code.py").read_text(encoding="utf-8")
    functions = [name for name in isthmus.__all__ if inspect.isfunction(getattr(isthmus, name))]
    assert not [name for name in functions if f"isthmus.{name}(" not in sample]


@pytest.mark.parametrize("name", [name for name in isthmus.__all__ if inspect.isfunction(getattr(isthmus, name))])
def test_r_is_told_all_arguments_in_their_order(name: str) -> None:
    function = getattr(isthmus, name)
    before = inspect.signature(function)
    try:
        announce_all_arguments(function)
        named = [one for one, p in before.parameters.items() if p.kind is not p.VAR_KEYWORD]
        assert inspect.getfullargspec(function).args == named
    finally:
        del function.__signature__
    assert inspect.signature(function) == before
