# isthmus in two minutes: RNA-seq counts of 85 people, a negative-binomial GLM of every gene, and a design that cannot
# be estimated until one says how. Writes tables and a plot to demo-output/. Run: make demo.
suppressPackageStartupMessages({
  library(SingleCellExperiment)
  library(isthmus)
})

output <- "demo-output"
dir.create(output, showWarnings = FALSE)

# Say what is done, do it, say how long it took.
step <- function(what, expression) {
  start <- proc.time()[["elapsed"]]
  value <- force(expression)
  cat(sprintf("\n== %s (%.1f s)\n", what, proc.time()[["elapsed"]] - start))
  invisible(value)
}

# Genes on the Y chromosome, which women do not have: the answer that the data must give.
y_linked <- c(
  ENSG00000129824 = "RPS4Y1", ENSG00000114374 = "USP9Y", ENSG00000067646 = "ZFY", ENSG00000198692 = "EIF1AY",
  ENSG00000183878 = "UTY", ENSG00000012817 = "KDM5D", ENSG00000067048 = "DDX3Y", ENSG00000165246 = "NLGN4Y"
)
symbol_of <- function(genes) ifelse(genes %in% names(y_linked), y_linked[genes], genes)

read_people <- function() {
  folder <- system.file("extdata", "human_gender", package = "isthmus", mustWork = TRUE)
  counts <- as.matrix(utils::read.csv(file.path(folder, "counts.csv.gz"), row.names = 1))
  people <- utils::read.csv(file.path(folder, "samples.csv"), row.names = 1, stringsAsFactors = TRUE)
  SingleCellExperiment(list(counts = counts), colData = people)
}

# A p-value below the smallest double is 0 in the table
small <- function(p) ifelse(p == 0, "< 1e-307", sprintf("%.1e", p))

# The best genes, with fold changes and p-values as one reads them
show_top <- function(test, n = 10L) {
  top <- utils::head(test[order(test$pval, -abs(test$stat)), ], n)
  print(data.frame(
    gene = symbol_of(top$gene), mean = round(top$mean, 1), log2fc = round(top$log2fc, 2),
    ci_95 = sprintf("[%.2f, %.2f]", top$ci_low / log(2), top$ci_high / log(2)),
    p = small(top$pval), padj = small(top$padj), status = top$status
  ), row.names = FALSE)
}

print(step("Starting the engine", isthmus_info()))

sce <- step("Reading RNA-seq counts of lymphoblastoid cell lines (DEGreport, MIT licence)", read_people())
cat(sprintf(
  "%s genes in %d people (%s), a SingleCellExperiment.\n", format(nrow(sce), big.mark = ","), ncol(sce),
  paste(levels(sce$group), table(sce$group), sep = ": ", collapse = ", ")
))

fit <- step("Fitting each gene: counts ~ group, negative binomial", {
  fit_glm(sce, ~group, size_factors = "sizeFactor")
})
print(fit)

test <- step("Testing men against women", test_glm(fit, "groupMale"))
show_top(test)
leaders <- test$gene[order(test$pval, -abs(test$stat))][1:8]
cat(sprintf(
  "%d genes differ at an adjusted p below 0.05; %d of the first 8 lie on the Y chromosome.\n",
  sum(test$padj < 0.05, na.rm = TRUE), sum(leaders %in% names(y_linked))
))

step("Writing the tables and the volcano plot", {
  utils::write.csv(test, file.path(output, "test_group.csv"), row.names = FALSE)
  utils::write.csv(as.data.frame(fit), file.path(output, "coefficients.csv"), row.names = FALSE)
  utils::write.csv(as.data.frame(fit, table = "genes"), file.path(output, "genes.csv"), row.names = FALSE)
  named <- test
  named$gene <- symbol_of(test$gene)
  volcano <- plot(named, n_labels = 8) +
    ggplot2::labs(title = "Men against women, 85 people", x = "log2 fold change (men / women)")
  ggplot2::ggsave(file.path(output, "volcano.png"), volcano, width = 7, height = 5, dpi = 150, bg = "white")
})
cat(paste0(file.path(output, list.files(output)), collapse = "\n"), "\n")

# A design that fails: suppose that two plates held the women's samples only, and two the men's.
turn <- ave(seq_len(ncol(sce)), sce$group, FUN = seq_along) %% 2
sce$plate <- paste0("p", ifelse(sce$group == "Female", 2, 4) - turn)
cat("\nSuppose the samples had been processed on four plates, each with one sex only:\n")
print(table(sce$group, sce$plate))

problem <- step("Fitting counts ~ group + plate must fail", tryCatch(
  fit_glm(sce, ~ group + plate, size_factors = "sizeFactor"),
  isthmus_input_error = conditionMessage
))
cat(strwrap(problem, 110), sep = "\n")

constrained <- step("Fitting it with the constraint: the plates of each sex average to zero", {
  fit_glm(sce, ~ group + plate, constraints = list(plate = "group"), size_factors = "sizeFactor")
})
print(constrained)
constrained_test <- test_glm(constrained, "groupMale")
show_top(constrained_test, 8L)
utils::write.csv(constrained_test, file.path(output, "test_group_given_plates.csv"), row.names = FALSE)
plate_effects <- coef(constrained)[, paste0("platep", 1:4)]
cat(sprintf(
  "In every gene the plates' effects cancel within each sex (largest sum %.0e): estimated, not ignored.\n",
  max(abs(rowSums(plate_effects[, 1:2])), abs(rowSums(plate_effects[, 3:4])), na.rm = TRUE)
))
