# Weighted negative-binomial fits of single genes by MASS::glm.nb (joint maximum likelihood), and of a small experiment by
# DESeq2 with a weight for every count. Run in this folder: Rscript make_weights.R
suppressMessages({
  library(MASS)
  library(DESeq2)
})
set.seed(3)
n <- 24
n_genes <- 60
cells <- data.frame(condition = rep(c("a", "b"), each = n / 2), age = round(rnorm(n), 3), row.names = paste0("s", 1:n))
mean <- exp(rnorm(n_genes, 4, 0.8))
effect <- rnorm(n_genes, 0, 0.7)
mu <- mean * exp(outer(effect, cells$condition == "b") + outer(rnorm(n_genes, 0, 0.2), cells$age))
counts <- matrix(rnbinom(n_genes * n, size = 4, mu = mu), n_genes, dimnames = list(paste0("g", 1:n_genes), rownames(cells)))
weights <- matrix(round(runif(n_genes * n, 0.2, 1), 2), n_genes, dimnames = dimnames(counts))
weights[cbind(1:n_genes, sample(n, n_genes, replace = TRUE))] <- 0
weights <- weights / apply(weights, 1, max)  # as DESeq2 does by itself
weights <- signif(weights, 6)

one <- function(g) {
  cells$y <- counts[g, ]
  cells$w <- weights[g, ]
  fit <- glm.nb(y ~ condition + age, cells, weights = w, control = glm.control(epsilon = 1e-12, maxit = 200))
  found <- coef(summary(fit))
  c(estimate = found[2, 1], se = found[2, 2], alpha = 1 / fit$theta)
}
mass <- t(vapply(seq_len(n_genes), one, numeric(3)))

dds <- DESeqDataSetFromMatrix(counts, cells, ~ age + condition)
sizeFactors(dds) <- rep(1, n)
assays(dds)[["weights"]] <- weights
dds <- estimateDispersionsGeneEst(dds, quiet = TRUE, linearMu = FALSE, niter = 20, minmu = 1e-6)
dispersions(dds) <- mcols(dds)$dispGeneEst
dds <- nbinomWaldTest(dds, quiet = TRUE, minmu = 1e-6)
found <- results(dds, independentFiltering = FALSE, cooksCutoff = FALSE)
deseq2 <- data.frame(genewise = mcols(dds)$dispGeneEst, log2fc = found$log2FoldChange, se = found$lfcSE, pval = found$pvalue)

write_csv <- function(x, file) write.csv(x, file, quote = FALSE)
write_csv(counts, "counts.csv")
write_csv(weights, "weights.csv")
write_csv(cells, "cells.csv")
rownames(mass) <- rownames(deseq2) <- rownames(counts)
write_csv(signif(mass, 9), "mass.csv")
write_csv(signif(deseq2, 9), "deseq2.csv")
versions <- vapply(c("MASS", "DESeq2"), function(p) as.character(packageVersion(p)), "")
writeLines(c(R.version.string, paste(names(versions), versions)), "versions.txt")
