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
# What no bridge can leave out: names through reticulate, and what AnnData's own constructor does with them.
reticulate::py_run_string("
import time
import anndata, numpy, pandas
def constructor(x, genes, cells):
    obs, var = (pandas.DataFrame(index=pandas.Index(numpy.array(n, dtype=object))) for n in (cells, genes))
    start = time.process_time()
    anndata.AnnData(x.X, obs=obs, var=var)
    return time.process_time() - start
")
constructor <- reticulate::import_main()$constructor
rounds <- lapply(1:5, function(round) {
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
  names <- measured(reticulate::r_to_py(list(rownames(sce), colnames(sce))))
  bare <- constructor(forward$value, rownames(sce), colnames(sce))
  list(
    copy = copy$cpu, forward = forward$cpu, back = back$cpu, forward_mib = forward$mib, back_mib = back$mib,
    names = names$cpu, constructor = bare, same = identical(back$value, sce)
  )
})
cat(jsonlite::toJSON(rounds, auto_unbox = TRUE, digits = 6), "\n")
