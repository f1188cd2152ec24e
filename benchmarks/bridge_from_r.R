# One job of bridge.py: a SingleCellExperiment to Python and back, through reticulate. Prints one JSON line.
# usage: Rscript bridge_from_r.R GENES CELLS DENSITY
suppressPackageStartupMessages({
  library(isthmus)
  library(SingleCellExperiment)
})
size <- as.numeric(commandArgs(trailingOnly = TRUE))
source(file.path(Sys.getenv("ISTHMUS_BENCHMARKS"), "bridge_problem.R"))
sce <- bridge_problem(size[[1]], size[[2]], size[[3]])
invisible(as_sce(as_anndata(sce[, 1:10]))) # Python is running and everything is loaded

reset_peak <- function() {
  invisible(gc(full = TRUE))
  writeLines("5", "/proc/self/clear_refs")
  memory("VmRSS")
}
memory <- function(name) {
  line <- grep(name, readLines("/proc/self/status"), value = TRUE)
  as.numeric(gsub("[^0-9]", "", line)) / 1024
}
measured <- function(expression) {
  before <- reset_peak()
  time <- system.time(value <- expression, gcFirst = FALSE)
  list(value = value, cpu = sum(time[1:2]), mib = memory("VmHWM") - before)
}
rounds <- lapply(1:3, function(round) {
  matrix <- assay(sce, withDimnames = FALSE)
  copy <- measured({
    x <- matrix@x
    x[1] <- x[1]
    i <- matrix@i
    i[1] <- i[1]
    p <- matrix@p
    p[1] <- p[1]
    list(x, i, p)
  })
  copy$value <- NULL
  forward <- measured(as_anndata(sce))
  back <- measured(as_sce(forward$value))
  list(
    copy = copy$cpu, forward = forward$cpu, back = back$cpu, forward_mib = forward$mib, back_mib = back$mib,
    same = identical(back$value, sce)
  )
})
cat(jsonlite::toJSON(rounds, auto_unbox = TRUE, digits = 6), "\n")
