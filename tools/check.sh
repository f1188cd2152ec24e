#!/usr/bin/env bash
# R CMD check of the committed tree. Built from `git archive`, because R CMD build copies .venv and build/ before it
# drops what .Rbuildignore names. Fails on an ERROR or a WARNING; a NOTE passes.
# Debian has no SpatialExperiment, which gives the one NOTE that is left.
# usage: tools/check.sh [--as-cran | --bioc]
#   --as-cran  with CRAN's options. What asks CRAN itself gets an empty repository: this machine may have no network.
#   --bioc     BiocCheck of the tarball instead, without its checks that need the network.
set -euo pipefail
cd "$(dirname "$0")/.."
[ -z "$(git status --porcelain)" ] || echo "check: uncommitted changes are not part of this check"
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
mkdir "$work/isthmus"
git archive HEAD | tar x -C "$work/isthmus"
cd "$work"
R CMD build --no-manual isthmus
status=0
if [ "${1:-}" = --bioc ]; then
  Rscript --no-environ -e 'options <- c("deprecated", "bioc-help", "version-num", "CRAN", "remotes")' \
    -e 'options <- setNames(rep(list(TRUE), 5), paste0("no-check-", options))' \
    -e 'found <- do.call(BiocCheck::BiocCheck, c(list.files(".", "gz$"), options))' \
    -e 'quit(status = found$getNum("error") + found$getNum("warning") > 0)'
  exit
fi
if [ "${1:-}" = --as-cran ]; then
  mkdir -p cran/web/packages cran/src/contrib && : >cran/src/contrib/PACKAGES
  Rscript --vanilla -e 'columns <- c("Package", "Version", "Maintainer", "Repository", "License", "X-CRAN-Comment")' \
    -e 'saveRDS(matrix("", 0, 6, dimnames = list(NULL, columns)), "cran/web/packages/packages.rds")' \
    -e 'cat(sprintf("options(repos = c(CRAN = \"file://%s/cran\"))\n", getwd()), file = "cran/Rprofile")'
  export R_PROFILE_USER=$work/cran/Rprofile R_CRAN_WEB=file://$work/cran R_CRAN_SRC=file://$work/cran
  export _R_CHECK_CRAN_INCOMING_=false _R_CHECK_XREFS_USE_ALIASES_FROM_CRAN_=false _R_CHECK_SYSTEM_CLOCK_=false
  # torch makes a folder in /tmp when it is first imported, which the check would call detritus of ours
  export TORCHINDUCTOR_CACHE_DIR=$work/torch
fi
_R_CHECK_FORCE_SUGGESTS_=false R CMD check ${1:-} --no-manual isthmus_*.tar.gz || status=$?
log=isthmus.Rcheck/00check.log
if [ $status != 0 ] || grep -qE '(ERROR|WARNING)$' "$log"; then
  find isthmus.Rcheck -name '*.fail' -exec tail -n 60 {} + ; tail -n 5 "$log"
  echo "check: failed" >&2; exit 1
fi
tail -n 2 "$log"
