# The same call from R: a SingleCellExperiment in, a data.frame out. Wall seconds of each repeat.
#     Rscript benchmarks/glm_from_r.R FOLDER REPEATS        # called by benchmarks/glm.py
source(file.path(dirname(sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE)[1L])), "glm_problem.R"))
suppressPackageStartupMessages({
  library(SingleCellExperiment)
  library(isthmus)
})
arguments <- commandArgs(trailingOnly = TRUE)
problem <- read_problem(arguments[1L])
cells <- S4Vectors::DataFrame(problem$design[, -1L], row.names = colnames(problem$counts))
sce <- SingleCellExperiment(list(counts = problem$counts), colData = cells)
sizeFactors(sce) <- problem$size_factors
options(isthmus.progress = FALSE)
call_isthmus <- function(sce) {
  suppressMessages(test_glm(fit_glm(sce, ~ cond + batch1 + batch2 + age + score, n_threads = 1L), "cond"))
}
invisible(call_isthmus(sce[seq_len(min(8L, nrow(sce))), ])) # starts Python
walls <- vapply(seq_len(as.integer(arguments[2L])), function(i) system.time(call_isthmus(sce))[[3L]], numeric(1L))
cat(jsonlite::toJSON(list(wall = walls), digits = 6), "\n")
