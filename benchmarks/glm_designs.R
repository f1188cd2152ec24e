# glmGamPoi's maximum likelihood fit of some genes of a problem that benchmarks/glm_designs.py wrote: CPU seconds of the
# fit alone, coefficients back as binary files.
#     Rscript benchmarks/glm_designs.R FOLDER DESIGN CELLS COLUMNS GENES
suppressPackageStartupMessages(library(glmGamPoi))
arguments <- commandArgs(trailingOnly = TRUE)
folder <- arguments[1L]
name <- arguments[2L]
n_cells <- as.integer(arguments[3L])
n_columns <- as.integer(arguments[4L])
n_genes <- as.integer(arguments[5L])
numbers <- function(file, n) readBin(file.path(folder, paste0(file, ".bin")), "double", n, endian = "little")
counts <- matrix(numbers("y", n_cells * n_genes), nrow = n_genes)
design <- matrix(numbers(name, n_cells * n_columns), nrow = n_cells)
size_factors <- numbers("size_factors", n_cells)
ml_fit <- function(counts) {
  glm_gp(counts, design = design, size_factors = size_factors, overdispersion = TRUE, overdispersion_shrinkage = FALSE,
         do_cox_reid_adjustment = FALSE, on_disk = FALSE)
}
invisible(ml_fit(counts[seq_len(8L), ]))
time <- proc.time()
fit <- ml_fit(counts)
time <- proc.time() - time
writeBin(as.vector(fit$Beta), file.path(folder, paste0("peer_", name, "_beta.bin"))) # term by term, genes within
writeBin(as.vector(fit$overdispersions), file.path(folder, paste0("peer_", name, "_alpha.bin")))
versions <- paste0(R.version.string, ", glmGamPoi ", packageVersion("glmGamPoi"))
cat(jsonlite::toJSON(list(cpu = sum(time[c(1L, 2L)]), versions = versions), auto_unbox = TRUE, digits = 6), "\n")
