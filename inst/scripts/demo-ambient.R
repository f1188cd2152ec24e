# Ambient RNA in a minute: simulated droplets of two samples with known contamination, the correction, and
# how near it comes to the truth. Writes tables and plots to demo-output/. Run: make demo-all.
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

stopifnot("the engine must be there" = isthmus_available())

sample <- step("Simulating 800 cells and 6,000 empty droplets of two batches", simulate_ambient(
  n_cells = 800, n_genes = 500, n_empty = 6000, n_types = 3, n_batches = 2, seed = 1
))
cells <- sample$cells

profile <- step("Profiles from the empty droplets", ambient_profile(cells, sample$droplets, batch = "batch"))
print(utils::head(profile[order(-profile$prob), ], 4), row.names = FALSE)

fit <- step("Removing ambient RNA, clusters found", remove_ambient(cells, profile = profile, batch = cells$batch))
print(fit)

rho <- as.data.frame(fit)$rho
rmse <- function(counts) sqrt(mean((as.matrix(counts) - as.matrix(assay(cells, "native")))^2))
error <- mean(abs(rho - cells$rho))
cat(sprintf("\nShares: correlation with the truth %.3f, mean error %.3f\n", cor(rho, cells$rho), error))
cat(sprintf("RMSE to the native counts: %.3f before, %.3f after\n", rmse(counts(cells)), rmse(fit$denoised_mean)))

sets <- split(rownames(cells), rowData(cells)$marker)[c("type1", "type2", "type3")]
cat("\nShare of each type's markers that lies in other cells:\n")
print(marker_exclusivity(fit, cells, sets), row.names = FALSE)

step("Writing tables and plots", {
  for (name in c("cells", "genes", "levels")) {
    file <- file.path(output, paste0("ambient_", name, ".csv"))
    utils::write.csv(as.data.frame(fit, table = name), file, row.names = FALSE)
  }
  plots <- list(
    knee = plot(profile, sample$droplets), rho = plot(fit), native = plot(fit, type = "native"),
    genes = plot(fit, type = "genes"), loss = plot(fit, type = "loss")
  )
  for (name in names(plots)) {
    file <- file.path(output, paste0("ambient_", name, ".png"))
    ggplot2::ggsave(file, plots[[name]], width = 7, height = 5, dpi = 150, bg = "white")
  }
})
print(add_results(cells, fit))
cat(paste0(file.path(output, list.files(output, "^ambient_")), collapse = "\n"), "\n")
