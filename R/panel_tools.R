#' Simulate a panel with known truth
#'
#' Factors are AR(1) with variance 1, loadings are normal, and each series has an
#' AR(1) term of its own.
#'
#' @param n_time,n_series,n_factors Size; `n_time` of each batch.
#' @param factor_ar Coefficient of every factor.
#' @param idio_ar The coefficients of the series' own terms are uniform between
#'   these two.
#' @param r2 Share of each series' variance that is due to the factors.
#' @param missing Share of the values that are missing, at random.
#' @param n_batches Batches with the same loadings and factors of their own.
#' @param seed A number, or `NULL`: drawn from R's random numbers, so that
#'   [set.seed()] governs. With a number R's random numbers are left alone.
#' @return A `SummarizedExperiment`, series x time, with the assays `values` and
#'   `common` (the part that is due to the factors). `colData()` has `time`, `batch`
#'   and the matrix `factors`; `rowData()` has `idio_ar1`, `idio_var` and the matrix
#'   `loadings`.
#' @section Python:
#' `isthmus.testing.simulate_panel`
#' @export
#' @examples
#' if (isthmus_available()) {
#'   se <- simulate_panel(n_time = 60, n_series = 5, seed = 1)
#'   fit_factors(se, factors = 1, time = "time")
#' }
simulate_panel <- function(n_time = 200L, n_series = 20L, n_factors = 1L, factor_ar = 0.7, idio_ar = c(-0.5, 0.5),
                           r2 = 0.5, missing = 0, n_batches = 1L, seed = NULL) {
  call <- rlang::current_env()
  refuse_na(list(
    n_time = n_time, n_series = n_series, n_factors = n_factors, factor_ar = factor_ar, r2 = r2, missing = missing,
    n_batches = n_batches, seed = seed
  ), call)
  if (!is.numeric(idio_ar) || length(idio_ar) != 2L) {
    abort_input(sprintf("`idio_ar` must be two numbers, lowest and highest; got %d.", length(idio_ar)), call)
  }
  if (is.null(seed)) seed <- sample.int(.Machine$integer.max, 1L)
  simulated <- call_engine(
    "simulate_panel", wire_number(n_time), wire_number(n_series),
    n_factors = wire_number(n_factors), factor_ar = factor_ar, idio_ar = as.list(as.double(idio_ar)), r2 = r2,
    missing = missing, n_batches = wire_number(n_batches), seed = wire_number(seed), .call = call
  )
  columns <- S4Vectors::DataFrame(time = as.Date(simulated$time), batch = as.character(simulated$batch))
  columns$factors <- simulated$factors
  rows <- S4Vectors::DataFrame(unwire_table(simulated$var), row.names = as.character(simulated$series))
  rows$loadings <- simulated$loadings
  SummarizedExperiment::SummarizedExperiment(
    list(values = simulated$values, common = simulated$common),
    rowData = rows, colData = columns
  )
}

#' Tests of a factor model's one-step errors
#'
#' If the model holds, the one-step forecast errors of each series, divided by
#' their standard deviations, are white and standard normal. Ljung-Box tests their
#' autocorrelations (Ljung & Box 1978), Jarque-Bera their skewness and kurtosis
#' (Jarque & Bera 1980). That parameters were estimated is not allowed for.
#'
#' @param fit A fit of [fit_factors()].
#' @param lags How many autocorrelations Ljung-Box sums; of a quarterly series,
#'   over quarters.
#' @return A data.frame: `batch`, `series`, `n` (errors), `mean`, `sd`, `ljung_box`,
#'   `ljung_box_pval`, `jarque_bera`, `jarque_bera_pval`. The errors themselves:
#'   `residuals(fit)`.
#' @section Python:
#' `isthmus.factors.diagnostics`
#' @export
#' @examples
#' if (isthmus_available()) {
#'   fit <- fit_factors(log(Seatbelts[, c("DriversKilled", "front", "rear")]), factors = 1)
#'   diagnostics(fit)
#' }
diagnostics <- function(fit, lags = 4L) {
  call <- rlang::current_env()
  check_factor_fit(fit, "fit", call)
  refuse_na(list(lags = lags), call)
  unwire_table(call_engine("diagnostics", engine_fit(fit, call), wire_number(lags), .call = call))
}

#' Forecasts of earlier vintages against what came true
#'
#' Every vintage but the last is fitted and forecast; the last one holds the truth.
#' An AR(1) of each series is the rival.
#'
#' @param vintages A list of panels, oldest first, each in a form that
#'   [fit_factors()] takes.
#' @param h Steps ahead: one number or several.
#' @param series Names of the series to judge; `NULL`: all.
#' @param transform,columns,time As in [fit_factors()].
#' @param assay Name or number of the assay, for the experiments.
#' @param ... Further options of [fit_factors()].
#' @return A data.frame: `series`, `h`, `n`, `rmse`, `rmse_ar1`, `ratio` (below 1:
#'   better than the AR(1)), in units of the transformed series.
#' @section Python:
#' `isthmus.factors.evaluate_forecasts`
#' @export
#' @examples
#' if (isthmus_available()) {
#'   panel <- log(Seatbelts[, c("DriversKilled", "front", "rear")])
#'   vintages <- lapply(c(9, 10, 11, 12), function(month) window(panel, end = c(1983, month)))
#'   evaluate_forecasts(vintages, factors = 1)
#' }
evaluate_forecasts <- function(vintages, h = 1L, series = NULL, transform = NULL, columns = NULL, time = NULL,
                               assay = 1L, ...) {
  call <- rlang::current_env()
  if (!is.list(vintages) || is.data.frame(vintages)) {
    abort_input(sprintf("`vintages` must be a list of panels, oldest first; got %s.", class(vintages)[[1L]]), call)
  }
  refuse_na(list(h = h, series = series, transform = transform, columns = columns, time = time, assay = assay), call)
  table <- call_engine(
    "evaluate_forecasts", lapply(unname(vintages), wire_panel, assay = assay, call = call),
    h = lapply(h, wire_number), series = if (!is.null(series)) as.list(series), transform = wire_dict(transform),
    columns = if (!is.null(columns)) as.list(columns), time = wire_labels(time, "time", call),
    options = lapply(list(...), wire_dict), .call = call
  )
  unwire_table(table)
}
