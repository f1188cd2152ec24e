# Cook's distances and outlier flags of DESeq2 for simulated counts with spikes: 2 groups x 5 samples, and the same with a
# numeric covariate. Gene-wise dispersions, with refitted means (linearMu = FALSE, minmu = 1e-6). Run in this folder:
# Rscript make_cooks.R
suppressMessages(library(DESeq2))
set.seed(8)
n_genes <- 150
cells <- data.frame(group = factor(rep(c("a", "b"), each = 5)), age = round(rnorm(10), 2), row.names = paste0("s", 1:10))
mean <- exp(rnorm(n_genes, 4.5, 1.2))
mu <- mean * exp(outer(rnorm(n_genes, 0, 0.4), cells$group == "b"))
counts <- matrix(rnbinom(n_genes * 10, size = 1 / (0.05 + 1 / mean), mu = mu), n_genes)
spiked <- sample(n_genes, 25)
counts[cbind(spiked, sample(10, 25, replace = TRUE))] <- round(mean[spiked] * exp(runif(25, 1, 4)))
counts[3, ] <- c(0, 0, 1, 30, 0, 40, 45, 38, 60, 41)  # an outlier of its group, below three other counts
dimnames(counts) <- list(paste0("g", 1:n_genes), rownames(cells))

deseq <- function(design) {
  dds <- DESeqDataSetFromMatrix(counts, cells, design)
  sizeFactors(dds) <- rep(1, 10)
  dds <- estimateDispersionsGeneEst(dds, quiet = TRUE, linearMu = FALSE, niter = 20, minmu = 1e-6)
  dispersions(dds) <- mcols(dds)$dispGeneEst
  nbinomWaldTest(dds, quiet = TRUE, minmu = 1e-6)
}
dds <- deseq(~group)
found <- results(dds, independentFiltering = FALSE)
table <- data.frame(dispersion = dispersions(dds), max_cooks = mcols(dds)$maxCooks, pval = found$pvalue, padj = found$padj)
numeric <- deseq(~ age + group)
table$max_cooks_age <- mcols(numeric)$maxCooks
rownames(table) <- rownames(counts)
write_csv <- function(x, file) write.csv(x, file, quote = FALSE)
write_csv(counts, "counts.csv")
write_csv(cells, "cells.csv")
write_csv(signif(table, 8), "deseq2.csv")
write_csv(signif(assays(dds)[["cooks"]], 7), "cooks.csv")
write_csv(signif(assays(numeric)[["cooks"]], 7), "cooks_age.csv")
writeLines(c(R.version.string, paste("DESeq2", packageVersion("DESeq2"))), "versions.txt")
