# From a SingleCellExperiment to a data.frame of Wald tests, or the same by a peer: CPU seconds of the whole.
#     Rscript benchmarks/glm_deliverable.R FOLDER WHO      # called by benchmarks/glm_deliverable.py
# WHO: isthmus (all genes), glmGamPoi, edgeR, DESeq2 (those genes that FOLDER/WHO.bin names).
source(file.path(dirname(sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE)[1L])), "glm_problem.R"))
suppressPackageStartupMessages(library(SingleCellExperiment))
arguments <- commandArgs(trailingOnly = TRUE)
folder <- arguments[1L]
who <- arguments[2L]
suppressPackageStartupMessages(library(who, character.only = TRUE))
problem <- read_problem(folder)
cells <- S4Vectors::DataFrame(problem$design[, -1L], row.names = colnames(problem$counts))
as_sce <- function(counts) {
  sce <- SingleCellExperiment(list(counts = counts), colData = cells)
  sizeFactors(sce) <- problem$size_factors
  sce
}
genes <- readBin(file.path(folder, paste0(who, ".bin")), "integer", 1e5L, size = 4L, endian = "little")
formula <- ~ cond + batch1 + batch2 + age + score

by_isthmus <- function(counts) {
  options(isthmus.progress = FALSE)
  suppressMessages(test_glm(fit_glm(as_sce(counts), formula, n_threads = 1L), "cond"))
}
by_glmgampoi <- function(counts) {
  fit <- glm_gp(counts, design = formula, col_data = cells, size_factors = problem$size_factors, on_disk = FALSE)
  test_de(fit, reduced_design = ~ batch1 + batch2 + age + score)
}
by_edger <- function(counts) {
  y <- DGEList(counts, lib.size = problem$size_factors * 1e4, norm.factors = rep(1, ncol(counts)))
  y <- estimateDisp(y, problem$design)
  as.data.frame(topTags(glmLRT(glmFit(y, problem$design), coef = "cond"), n = Inf))
}
by_deseq2 <- function(counts) {
  mode(counts) <- "integer"
  dds <- DESeqDataSetFromMatrix(counts, cells, formula)
  sizeFactors(dds) <- problem$size_factors
  as.data.frame(results(DESeq(dds, minReplicatesForReplace = Inf, quiet = TRUE), name = "cond"))
}
call <- list(isthmus = by_isthmus, glmGamPoi = by_glmgampoi, edgeR = by_edger, DESeq2 = by_deseq2)[[who]]
counts <- problem$counts[genes + 1L, ]
if (who == "isthmus") invisible(call(counts[seq_len(8L), ])) else counts <- as.matrix(counts) # starts Python
time <- proc.time()
table <- suppressWarnings(suppressMessages(call(counts)))
time <- proc.time() - time
stopifnot(is.data.frame(table), nrow(table) == length(genes))
versions <- paste(who, utils::packageVersion(who))
cat(jsonlite::toJSON(list(cpu = sum(time[c(1L, 2L)]), versions = versions), auto_unbox = TRUE, digits = 6), "\n")
