# Dispersions of DESeq2 in its default setting where two groups are all of the design (it then holds linear means) and
# many genes show no dispersion: 500 genes, 2 x 3 samples. Run in this folder: Rscript make_dispersion.R
suppressMessages(library(DESeq2))
set.seed(2)
n_genes <- 500
cells <- data.frame(condition = rep(c("a", "b"), 3), row.names = paste0("s", 1:6))
mean <- exp(rnorm(n_genes, 4.5, 1.5))
alpha <- (0.05 + 2 / mean) * exp(rnorm(n_genes, 0, 0.5))
effect <- ifelse(runif(n_genes) < 0.25, rnorm(n_genes), 0)
size_factors <- rnorm(6, 0, 0.3)
size_factors <- signif(exp(size_factors - mean(size_factors)), 6) # around 1, as those of estimateSizeFactors()
mu <- mean * exp(outer(effect, cells$condition == "b")) * rep(size_factors, each = n_genes)
counts <- matrix(rnbinom(n_genes * 6, size = 1 / alpha, mu = mu), n_genes)
counts <- counts[rowSums(counts > 0) > 2, ]
dimnames(counts) <- list(paste0("g", seq_len(nrow(counts))), rownames(cells))

dds <- DESeqDataSetFromMatrix(counts, cells, ~condition)
sizeFactors(dds) <- size_factors
dds <- estimateDispersions(dds, quiet = TRUE)
found <- data.frame(
  gene = rownames(counts), genewise = mcols(dds)$dispGeneEst, trend = mcols(dds)$dispFit, map = dispersions(dds)
)
found[-1] <- lapply(found[-1], signif, 8)
write.csv(counts, "counts.csv", quote = FALSE)
cells <- cbind(sample = rownames(cells), cells, size_factor = size_factors)
write.csv(cells, "cells.csv", quote = FALSE, row.names = FALSE)
write.csv(found, "deseq2.csv", quote = FALSE, row.names = FALSE)
writeLines(c(R.version.string, paste("DESeq2", packageVersion("DESeq2"))), "versions.txt")
