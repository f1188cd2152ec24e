# Cell-cell interactions in a minute: 3,029 cells of a stained tissue section, five cell types, and what its neighbours
# tell about a cell. Writes tables and plots to demo-output/. Run: make demo-all.
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

stopifnot("the engine and torch must be there" = isthmus_available("torch"))

type_of <- function(phenotype) {
  type <- rep("other", length(phenotype))
  type[grepl("^Tumor", phenotype)] <- "tumour"
  type[grepl("ASMA", phenotype)] <- "ASMA+"
  type[grepl("Macrophages|Dendritic|Granulocytes|Myeloid", phenotype)] <- "myeloid"
  type[grepl("T cells|B cells|NK cells", phenotype)] <- "lymphoid"
  type
}

# Each cell's mean is taken off: what all its markers share is how strongly it was stained.
read_section <- function() {
  folder <- system.file("extdata", "scimap_example", package = "isthmus", mustWork = TRUE)
  cells <- utils::read.csv(file.path(folder, "cells.csv.gz"), row.names = 1)
  intensity <- t(as.matrix(utils::read.csv(file.path(folder, "intensities.csv.gz"), row.names = 1)))
  cells$type <- type_of(cells$phenotype)
  SingleCellExperiment(
    list(intensity = intensity, centred = sweep(intensity, 2, colMeans(intensity))),
    colData = cells
  )
}

sce <- step("Reading a section with 33 markers (scimap, MIT licence)", read_section())
cat(sprintf(
  "%s cells: %s.\n", format(ncol(sce), big.mark = ","),
  paste(names(table(sce$type)), table(sce$type), sep = ": ", collapse = ", ")
))

fit <- step("Fitting five networks, each without one fifth of the section", {
  fit_interactions(sce, labels = "type", coordinates = c("x", "y"), assay = "centred", n_neighbors = 15)
})
print(fit)

explained <- step("How much do the neighbours explain, in cells that were held out?", explained_variance(fit))
shown <- explained[explained$head == "all", c("receiver", "r2", "pval", "padj", "n_cells")]
print(data.frame(lapply(shown, function(x) if (is.numeric(x)) signif(x, 3) else x)), row.names = FALSE)

effects <- step("Who moves which markers of whom?", neighbor_effects(fit))
genes <- effects[!is.na(effects$gene) & !is.na(effects$padj) & effects$padj < 0.05, ]
top <- utils::head(genes[order(-abs(genes$effect)), c("sender", "receiver", "gene", "effect", "padj")], 8)
print(data.frame(lapply(top, function(x) if (is.numeric(x)) signif(x, 3) else x)), row.names = FALSE)
own <- effects[effects$gene %in% "ASMA" & effects$sender == "ASMA+" & effects$receiver != "ASMA+", ]
cat(sprintf(
  "Next to ASMA+ cells, %d of %d other types show more ASMA: the stain of a neighbour spills over.\n",
  sum(own$effect > 0 & own$padj < 0.05), nrow(own)
))

step("Writing tables and plots", {
  tables <- list(explained_variance = explained, effects = effects, length_scales = length_scales(fit, n_boot = 50))
  for (name in names(tables)) {
    utils::write.csv(tables[[name]], file.path(output, paste0("interactions_", name, ".csv")), row.names = FALSE)
  }
  plots <- list(
    explained = plot(explained, heads = c("all", "none")), matrix = plot(interaction_matrix(effects)),
    distance = plot(attention_by_distance(fit), heads = "all"),
    asma = plot(contributions(fit, sender = "ASMA+", gene = "ASMA"))
  )
  for (name in names(plots)) {
    file <- file.path(output, paste0("interactions_", name, ".png"))
    ggplot2::ggsave(file, plots[[name]], width = 7, height = 5, dpi = 150, bg = "white")
  }
})
cat(paste0(file.path(output, list.files(output, "^interactions_")), collapse = "\n"), "\n")
