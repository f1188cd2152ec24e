# NAMESPACE and man/ are what roxygen2 writes from R/ now. Ends with status 1 and the names of stale files otherwise.
work <- tempfile("isthmus")
dir.create(work)
invisible(file.copy(c("DESCRIPTION", "NAMESPACE", "LICENSE", "R", "man"), work, recursive = TRUE))
written <- function() {
  files <- c(file.path(work, "NAMESPACE"), list.files(file.path(work, "man"), full.names = TRUE))
  sums <- tools::md5sum(files)
  stats::setNames(sums, basename(files))
}
before <- written()
invisible(suppressMessages(capture.output(roxygen2::roxygenise(work, load_code = "source"))))
after <- written()
files <- union(names(before), names(after))
stale <- files[!mapply(identical, before[files], after[files])]
if (length(stale)) {
  cat("Written before the last change of R/:", stale, "Run `make document`.\n")
  quit(status = 1)
}
cat("NAMESPACE and", length(after) - 1, "help pages are up to date\n")
