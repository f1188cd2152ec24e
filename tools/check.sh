#!/usr/bin/env bash
# R CMD check of the committed tree. Built from `git archive`, because R CMD build copies .venv and build/ before it
# drops what .Rbuildignore names. Fails on an ERROR or a WARNING; a NOTE passes.
set -euo pipefail
cd "$(dirname "$0")/.."
[ -z "$(git status --porcelain)" ] || echo "check: uncommitted changes are not part of this check"
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
mkdir "$work/isthmus"
git archive HEAD | tar x -C "$work/isthmus"
cd "$work"
R CMD build --no-manual isthmus
status=0
_R_CHECK_FORCE_SUGGESTS_=false R CMD check --no-manual isthmus_*.tar.gz || status=$?
log=isthmus.Rcheck/00check.log
if [ $status != 0 ] || grep -qE '(ERROR|WARNING)$' "$log"; then
  find isthmus.Rcheck -name '*.fail' -exec tail -n 60 {} + ; tail -n 5 "$log"
  echo "check: failed" >&2; exit 1
fi
tail -n 2 "$log"
