# Factor models in a minute: nine quarterly series of the United States, a global and two group factors, a forecast, and
# a fit for each of two eras. Writes tables and plots to demo-output/. Run: make demo-all.
suppressPackageStartupMessages({
  library(SummarizedExperiment)
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

read_macrodata <- function() {
  folder <- dirname(reticulate::import("statsmodels.datasets.macrodata")$`__file__`)
  macro <- utils::read.csv(file.path(folder, "macrodata.csv"))
  series <- c("realgdp", "realcons", "realinv", "realgovt", "realdpi", "cpi", "m1", "tbilrate", "unemp")
  SummarizedExperiment(
    list(values = t(as.matrix(macro[series]))),
    rowData = DataFrame(
      factor = ifelse(series %in% c("cpi", "m1", "tbilrate"), "Nominal", "Real"),
      transform = ifelse(series %in% c("tbilrate", "unemp"), "diff", "logdiff")
    ),
    colData = DataFrame(
      date = as.Date(sprintf("%d-%02d-01", macro$year, 3 * macro$quarter - 2)),
      era = ifelse(macro$year < 1984, "1959-1983", "1984-2009")
    )
  )
}

se <- step("Reading macrodata from statsmodels (public domain)", read_macrodata())
cat(sprintf("%d series at %d quarters, a SummarizedExperiment.\n", nrow(se), ncol(se)))

fit <- step("Fitting one global factor, and one for real and one for nominal series", fit_factors(se, time = "date"))
print(fit)
shares <- as.data.frame(fit, table = "decomposition")
cat("\nWhat moves each series (shares of its variance):\n")
print(round(stats::xtabs(share ~ series + source, shares), 2))

ahead <- step("Forecasting four quarters", predict(fit, h = 4))
print(ahead[ahead$name %in% c("realgdp", "unemp"), c("time", "name", "mean", "lower", "upper")], row.names = FALSE)

eras <- step("Fitting each era by itself", fit_factors(se, factors = 1, batch = "era", time = "date"))
stats <- as.data.frame(eras, table = "stats")
print(stats[c("batch", "n_time", "log_likelihood", "n_iter", "status")], row.names = FALSE)

step("Writing tables and plots", {
  for (name in c("factors", "loadings", "stats")) {
    file <- file.path(output, paste0("factors_", name, ".csv"))
    utils::write.csv(as.data.frame(fit, table = name), file, row.names = FALSE)
  }
  plots <- list(factors = plot(fit), eras = plot(eras, type = "loadings"), forecast = plot(ahead))
  for (name in names(plots)) {
    file <- file.path(output, paste0("plot_", name, ".png"))
    ggplot2::ggsave(file, plots[[name]], width = 7, height = 5, dpi = 150, bg = "white")
  }
})
cat(paste0(file.path(output, list.files(output, "^(factors|plot)_")), collapse = "\n"), "\n")
