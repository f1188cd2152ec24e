# DESeq2's shrunken fold changes with its normal prior, for the counts of ../peers. Gene-wise dispersions with refitted
# means (linearMu = FALSE, minmu = 1e-6). Run in this folder: Rscript make_shrink.R
suppressMessages(library(DESeq2))
counts <- as.matrix(read.csv("../peers/counts.csv", row.names = 1))
cells <- read.csv("../peers/cells.csv", row.names = 1, stringsAsFactors = TRUE)
dds <- DESeqDataSetFromMatrix(counts, cells, ~ batch + condition)
sizeFactors(dds) <- cells$size_factor
dds <- estimateDispersionsGeneEst(dds, quiet = TRUE, linearMu = FALSE, niter = 20, minmu = 1e-6)
dds <- estimateDispersionsFit(dds, quiet = TRUE)
dispersions(dds) <- mcols(dds)$dispGeneEst
dds <- nbinomWaldTest(dds, quiet = TRUE, minmu = 1e-6)
shrunken <- lfcShrink(dds, coef = "condition_b_vs_a", type = "normal", quiet = TRUE)
raw <- results(dds, independentFiltering = FALSE, cooksCutoff = FALSE)
variance <- priorInfo(shrunken)$betaPriorVar
table <- data.frame(
  dispersion = dispersions(dds), log2fc_ml = raw$log2FoldChange, log2fc = shrunken$log2FoldChange, se = shrunken$lfcSE
)
rownames(table) <- rownames(counts)
write.csv(signif(table, 9), "deseq2.csv", quote = FALSE)
variances <- data.frame(term = names(variance), variance = signif(variance, 9))
write.csv(variances, "prior.csv", quote = FALSE, row.names = FALSE)
writeLines(c(R.version.string, paste("DESeq2", packageVersion("DESeq2"))), "versions.txt")
