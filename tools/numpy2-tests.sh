#!/usr/bin/env bash
# The Python tests with the numpy 2 pins, in a virtual environment of their own: .venv follows reticulate, which may
# need numpy 1. The extension is the same file: pybind11 compiles against no numpy headers.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=.venv-numpy2
[ -x $venv/bin/python ] || "$(.venv/bin/python -c 'import sys; print(sys._base_executable)')" -m venv $venv
mapfile -t needs < <(.venv/bin/python - <<'PY'
import tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
extras = project["optional-dependencies"]
print(*project["dependencies"], *[need for need in extras["plot"] + extras["compat"] + extras["dev"] + extras["test"] if "isthmus" not in need], sep="\n")
PY
)
$venv/bin/pip install -q -c inst/constraints/current.txt "${needs[@]}"
export PYTHONPATH=$PWD/python ISTHMUS_REQUIRE_ENGINE=1
$venv/bin/python -c 'import numpy; assert numpy.__version__ >= "2", numpy.__version__'
# Not what is about the build, the archives, the README or rpy2: those belong to .venv.
skip=(); for name in packaging stubs symbols readme embedded_r; do skip+=(--ignore "tests/python/test_$name.py"); done
$venv/bin/python -m pytest "${skip[@]}"
