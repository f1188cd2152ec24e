# Which genes edgeR::filterByExpr keeps: counts at the edge of its rules, in four experiments. Run in this folder:
# Rscript make_filter.R
suppressMessages(library(edgeR))
set.seed(11)
n <- 36
counts <- matrix(rnbinom(200 * n, size = 2, mu = exp(runif(200, -2, 4))), 200)
library_size <- exp(rnorm(n, 0, 0.4))
counts <- rbind(counts, matrix(rpois(20 * n, 400), 20))
counts <- round(counts * rep(library_size, each = nrow(counts)))
dimnames(counts) <- list(paste0("g", seq_len(nrow(counts))), paste0("s", seq_len(n)))
cells <- data.frame(
  group = rep(c("a", "b", "c"), c(4, 8, 24)), batch = rep(c("x", "y"), n / 2), age = round(rnorm(n), 3),
  row.names = colnames(counts)
)
kept <- data.frame(
  group = filterByExpr(counts, model.matrix(~group, cells)),
  both = filterByExpr(counts, model.matrix(~ group + batch, cells)),
  none = filterByExpr(counts, matrix(1, n, 1)), # 36 samples: a share of them is asked for
  age = filterByExpr(counts, model.matrix(~age, cells)),
  strict = filterByExpr(counts, model.matrix(~group, cells), min.count = 25, min.total.count = 300),
  row.names = rownames(counts)
)
print(colSums(kept))
write.csv(counts, "counts.csv", quote = FALSE)
write.csv(cells, "cells.csv", quote = FALSE)
write.csv(kept + 0, "edger.csv", quote = FALSE)
writeLines(c(R.version.string, paste("edgeR", packageVersion("edgeR"))), "versions.txt")
