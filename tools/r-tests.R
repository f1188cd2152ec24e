# Runs tests/testthat against the installed package. A failure, a warning, and a snapshot that is new, changed or gone
# make it fail: testthat alone writes a new snapshot and goes on.
snapshots <- function() {
  files <- list.files("tests/testthat/_snaps", recursive = TRUE, full.names = TRUE)
  tools::md5sum(files)
}
before <- snapshots()
args <- commandArgs(trailingOnly = TRUE)
testthat::test_dir(
  "tests/testthat",
  package = "isthmus", load_package = "installed", filter = if (length(args)) args,
  reporter = "summary", stop_on_failure = TRUE, stop_on_warning = TRUE
)
if (!length(args) && !identical(before, snapshots())) {
  stop("the snapshots in tests/testthat/_snaps are not the committed ones: look at `git diff tests/testthat/_snaps`")
}
