# Dispersions, fold changes and p-values of DESeq2, edgeR and glmGamPoi for simulated counts of a small bulk experiment:
# 2 conditions x 6 samples in 2 batches. Each package in its own setting; DESeq2 twice, as its default holds the means of
# a linear model and keeps them above 0.5 counts. Run in this folder: Rscript make_peers.R
suppressMessages({
  library(DESeq2)
  library(edgeR)
  library(glmGamPoi)
})
set.seed(1)
n_genes <- 500
cells <- data.frame(
  condition = rep(c("a", "b"), each = 6), batch = rep(c("x", "y"), 6), row.names = paste0("s", 1:12)
)
mean <- exp(rnorm(n_genes, 4.5, 1.5))
alpha <- (0.05 + 2 / mean) * exp(rnorm(n_genes, 0, 0.5))
effect <- ifelse(runif(n_genes) < 0.25, rnorm(n_genes, 0, 1), 0)
size_factors <- exp(rnorm(12, 0, 0.3))
mu <- mean * exp(outer(effect, cells$condition == "b") + outer(rnorm(n_genes, 0, 0.2), cells$batch == "y"))
mu <- mu * rep(size_factors, each = n_genes)
counts <- matrix(rnbinom(n_genes * 12, size = 1 / alpha, mu = mu), n_genes)
counts <- counts[rowSums(counts > 0) > 2, ]
dimnames(counts) <- list(paste0("g", seq_len(nrow(counts))), rownames(cells))
size_factors <- signif(size_factors, 6)
design <- model.matrix(~ condition + batch, cells)

deseq <- function(...) {
  dds <- DESeqDataSetFromMatrix(counts, cells, ~ batch + condition)
  sizeFactors(dds) <- size_factors
  dds <- estimateDispersionsGeneEst(dds, quiet = TRUE, ...)
  dds <- estimateDispersionsFit(dds, quiet = TRUE)
  dds <- estimateDispersionsMAP(dds, quiet = TRUE)
  few <- if (length(list(...))) 1e-6 else 0.5
  dds <- nbinomWaldTest(dds, quiet = TRUE, minmu = few)
  found <- results(dds, independentFiltering = FALSE, cooksCutoff = FALSE)
  full <- nbinomLRT(dds, reduced = ~batch, quiet = TRUE, minmu = few)
  ratio <- results(full, independentFiltering = FALSE, cooksCutoff = FALSE)
  data.frame(
    genewise = mcols(dds)$dispGeneEst, trend = mcols(dds)$dispFit, map = dispersions(dds),
    log2fc = found$log2FoldChange, se = found$lfcSE, pval = found$pvalue, pval_lrt = ratio$pvalue,
    filtered = results(dds, cooksCutoff = FALSE)$padj, cooks = mcols(dds)$maxCooks
  )
}
plain <- deseq()
exact <- deseq(linearMu = FALSE, niter = 20, minmu = 1e-6)

d <- DGEList(counts)
d$offset <- matrix(log(size_factors), nrow(counts), 12, byrow = TRUE)
d <- estimateDisp(d, design)
fit <- glmQLFit(d, design)
ql <- glmQLFTest(fit, coef = 2)$table
given <- glmFit(counts, design, dispersion = 0.1, offset = log(size_factors), prior.count = 0)
edger <- data.frame(
  trend = d$trended.dispersion, tagwise = d$tagwise.dispersion, log2fc = ql$logFC, f = ql$F, pval = ql$PValue,
  lr_at_0.1 = glmLRT(given, coef = 2)$table$LR, log2fc_at_0.1 = given$coefficients[, 2] / log(2),
  kept = filterByExpr(DGEList(counts, lib.size = size_factors * 1e4), design)
)
gamma <- glm_gp(
  counts, design, size_factors = size_factors, overdispersion_shrinkage = FALSE, do_cox_reid_adjustment = FALSE
)
adjusted <- glm_gp(counts, design, size_factors = size_factors)
tested <- test_de(adjusted, "conditionb", sort_by = NULL)
glmgampoi <- data.frame(
  alpha_ml = gamma$overdispersions, log2fc_ml = gamma$Beta[, 2] / log(2), alpha_cox_reid = adjusted$overdispersions,
  pval = tested$pval, f = tested$f_statistic, log2fc = tested$lfc
)
write_csv <- function(x, file) write.csv(x, file, quote = FALSE, row.names = is.matrix(x))
write_csv(counts, "counts.csv")
write_csv(cbind(sample = rownames(cells), cells, size_factor = size_factors), "cells.csv")
tables <- list(deseq2 = plain, deseq2_exact = exact, edger = edger, glmgampoi = glmgampoi)
for (name in names(tables)) {
  rounded <- lapply(tables[[name]], function(x) if (is.numeric(x)) signif(x, 8) else x)
  write_csv(data.frame(gene = rownames(counts), rounded), paste0(name, ".csv"))
}
versions <- vapply(c("DESeq2", "edgeR", "glmGamPoi"), function(p) as.character(packageVersion(p)), "")
writeLines(c(R.version.string, paste(names(versions), versions)), "versions.txt")
