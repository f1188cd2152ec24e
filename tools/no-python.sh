#!/usr/bin/env bash
# The R package on a machine without any Python: it must load, explain what is missing, and skip.
# PATH gets every program but the Pythons, HOME is empty: reticulate finds nothing to start.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
mkdir "$work/bin" "$work/home"
find -L /usr/bin /bin /usr/local/bin -maxdepth 1 -type f -executable -not -iname '*python*' -not -name 'conda*' -not -name 'uv*' \
  -exec ln -sf -t "$work/bin" {} + 2>/dev/null || true
env -u RETICULATE_PYTHON -u ISTHMUS_REQUIRE_ENGINE -u VIRTUAL_ENV -u WORKON_HOME \
  PATH="$work/bin" HOME="$work/home" R_ENVIRON_USER=/dev/null NOT_CRAN=true Rscript --no-environ tools/no-python.R
