# Methods of an isthmus_factors. Facts and the table of the batches are in the fit; other tables come from the engine.

#' What one can ask of a factor fit
#'
#' Methods for the fits of [fit_factors()].
#'
#' @param object,x A fit of [fit_factors()].
#' @param h How many time points ahead.
#' @param level Level of the intervals.
#' @param batch Which batch, where there are several.
#' @param type `"innovations"`: one-step forecast errors divided by their standard
#'   deviations. `"common"`: observed minus fitted.
#' @param k Penalty per parameter.
#' @param row.names,optional As in [as.data.frame()].
#' @param table One of the tables below.
#' @param ... Not used.
#' @return
#' * `logLik`: log-likelihoods, named by batch, with attributes `df` (identified
#'   parameters) and `nobs`.
#' * `AIC`, `BIC`, `nobs` (time points): named by batch.
#' * `predict`: the table of [forecast_factors()].
#' * `fitted`, `residuals`: a matrix, series x time, of one batch. Fitted values are
#'   what the smoothed factors say, in units of the transformed series.
#' * `summary`: an object that prints the engine's summary.
#' * `as.data.frame`: a data.frame,
#'     * `"factors"`: `batch`, `time`, `factor`, `filtered`, `filtered_sd`,
#'       `smoothed`, `smoothed_sd`;
#'     * `"loadings"`: `batch`, `series`, `factor`, `loading`, `se`, `r2`,
#'       `idio_ar1`, `idio_var`;
#'     * `"stats"`: one row per batch, failed ones too: `batch`, `n_time`,
#'       `n_series`, `n_missing`, `n_factors`, `log_likelihood`, `aic`, `bic`,
#'       `n_iter`, `converged`, `seconds`, `status`, `message`;
#'     * `"transition"`: `batch`, `block`, `lag`, `to`, `from`, `value`;
#'     * `"path"`: `batch`, `iteration`, `log_likelihood`;
#'     * `"forecast"`: see [forecast_factors()];
#'     * `"decomposition"`: `batch`, `series`, `source` (`"global"`, `"group"`,
#'       `"idiosyncratic"`), `share`.
#' @section Python:
#' The methods of `isthmus.factors.FactorFit`.
#' @name isthmus_factors-methods
#' @examples
#' if (isthmus_available()) {
#'   fit <- fit_factors(log(Seatbelts[, c("DriversKilled", "front", "rear")]), factors = 1)
#'   logLik(fit)
#'   head(as.data.frame(fit, table = "factors"))
#'   as.data.frame(fit, table = "decomposition")
#'   predict(fit, h = 1)
#' }
NULL

#' @rdname isthmus_factors-methods
#' @method print isthmus_factors
#' @export
print.isthmus_factors <- function(x, ...) {
  stats <- x$facts$stats
  failed <- stats$status == "failed"
  batches <- if (nrow(stats) > 1L) sprintf(" in %d batches", nrow(stats)) else ""
  cat(sprintf("Dynamic factor model of %s%s\n", series_of(x), batches))
  cat(sprintf("  factors:        %s\n", paste(unlist(x$facts$factors), collapse = ", ")))
  cat(sprintf("  idiosyncratic:  %s\n", x$facts$idiosyncratic))
  lines <- sprintf("  %-15s %s", paste0(stats$batch, ":"), batch_lines(stats))
  # the failed ones all, of the others the first few
  shown <- failed | cumsum(!failed) <= 6L
  cat(lines[shown], sep = "\n")
  if (!all(shown)) cat(sprintf("  ... and %d more\n", sum(!shown)))
  invisible(x)
}

series_of <- function(fit) {
  n <- range(fit$facts$stats$n_series)
  if (n[1L] == n[2L]) paste(n[1L], "series") else sprintf("%d to %d series", n[1L], n[2L])
}

batch_lines <- function(stats) {
  ended <- ifelse(stats$converged, "", "not converged in ")
  times <- vapply(stats$n_time, count_of, "", noun = "time point")
  lines <- sprintf("%s, log-likelihood %.2f, %s%d iterations", times, stats$log_likelihood, ended, stats$n_iter)
  ifelse(stats$status == "failed", paste("failed:", stats$message), lines)
}

#' @rdname isthmus_factors-methods
#' @method summary isthmus_factors
#' @export
summary.isthmus_factors <- function(object, ...) {
  refuse_dots()
  call <- rlang::current_env()
  text <- call_engine("summary", engine_fit(object, call), .call = call)
  structure(list(text = text), class = "summary.isthmus_factors")
}

#' @method print summary.isthmus_factors
#' @export
print.summary.isthmus_factors <- function(x, ...) {
  cat(x$text, "\n", sep = "")
  invisible(x)
}

#' @rdname isthmus_factors-methods
#' @method logLik isthmus_factors
#' @export
logLik.isthmus_factors <- function(object, ...) {
  refuse_dots()
  values <- by_batch(object, "log_likelihood")
  structure(values, df = unname(n_parameters(object)), nobs = unname(nobs.isthmus_factors(object)))
}

by_batch <- function(fit, column) stats::setNames(fit$facts$stats[[column]], fit$facts$stats$batch)

# Identified parameters, as AIC counts them
n_parameters <- function(fit) round((by_batch(fit, "aic") + 2 * by_batch(fit, "log_likelihood")) / 2)

#' @rdname isthmus_factors-methods
#' @method AIC isthmus_factors
#' @export
AIC.isthmus_factors <- function(object, ..., k = 2) {
  refuse_dots()
  check_penalty(k, rlang::current_env())
  -2 * by_batch(object, "log_likelihood") + k * n_parameters(object)
}

#' @rdname isthmus_factors-methods
#' @method BIC isthmus_factors
#' @export
BIC.isthmus_factors <- function(object, ...) {
  refuse_dots()
  by_batch(object, "bic")
}

#' @rdname isthmus_factors-methods
#' @method nobs isthmus_factors
#' @export
nobs.isthmus_factors <- function(object, ...) {
  refuse_dots()
  by_batch(object, "n_time")
}

#' @rdname isthmus_factors-methods
#' @method predict isthmus_factors
#' @export
predict.isthmus_factors <- function(object, h = 12L, level = 0.95, ...) {
  refuse_dots()
  call <- rlang::current_env()
  forecast(object, h, level, call)
}

#' @rdname isthmus_factors-methods
#' @importFrom stats fitted
#' @method fitted isthmus_factors
#' @export
fitted.isthmus_factors <- function(object, batch = NULL, ...) {
  refuse_dots()
  series_by_time(object, "fitted", batch, NULL, rlang::current_env())
}

#' @rdname isthmus_factors-methods
#' @method residuals isthmus_factors
#' @export
residuals.isthmus_factors <- function(object, batch = NULL, type = "innovations", ...) {
  refuse_dots()
  series_by_time(object, "residuals", batch, type, rlang::current_env())
}

series_by_time <- function(fit, what, batch, type, call) {
  refuse_na(list(batch = batch, type = type), call)
  found <- call_engine("series_values", engine_fit(fit, call), what, wire_one_batch(batch), type, .call = call)
  dimnames(found$values) <- list(as.character(found$series), as.character(found$time))
  found$values
}

#' @rdname isthmus_factors-methods
#' @method as.data.frame isthmus_factors
#' @export
as.data.frame.isthmus_factors <- function(x, row.names = NULL, optional = FALSE, ..., table = "factors") {
  refuse_dots()
  call <- rlang::current_env()
  refuse_na(list(table = table), call)
  if (is.character(row.names) && length(row.names) == 1L) {
    rule <- "`row.names` must have one name per row; got '%s'. Did you mean table = \"%s\"?"
    abort_input(sprintf(rule, row.names, row.names), call)
  }
  frame <- unwire_table(call_engine("table", engine_fit(x, call), table, .call = call))
  if (!is.null(row.names)) row.names(frame) <- row.names
  frame
}
