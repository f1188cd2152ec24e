#' Fit a dynamic factor model
#'
#' Each series is a sum of factors that many series share and a term of its own:
#' \deqn{y_{it} = \lambda_i' f_t + u_{it}, \quad f_t = A_1 f_{t-1} + \dots + A_p f_{t-p} + \eta_t, \quad
#'   u_{it} = \phi_i u_{i,t-1} + \epsilon_{it}.}
#' All parameters, the loadings and \eqn{\phi_i} among them, are those of the
#' largest likelihood. Missing values stay missing: panels may have gaps and
#' ragged ends. Each batch gets a fit of its own.
#'
#' @param data A panel: a `SummarizedExperiment` or `SingleCellExperiment` (rows =
#'   series, columns = time points); a matrix, **series x time**; a `ts`, `mts`,
#'   `zoo` or data.frame, **time x series**; or an AnnData held by reticulate (obs =
#'   time points). Monthly and quarterly series together: a list with two of these,
#'   `monthly` and `quarterly`, or a column `frequency` of `rowData(data)`.
#' @param factors Which series share factors: a column of `rowData(data)` that names
#'   each series' group; a named vector or list, series -> group, or series -> all
#'   its factors (`list(gdp = c("Global", "Real"))`: then nothing is added); or a
#'   number of factors on which all series load. The default without a column
#'   `factor`: global factors alone.
#' @param global_factors Number of factors on which all series load, added to the
#'   groups.
#' @param factor_multiplicities Number of factors of each group: a number, or a
#'   named vector.
#' @param factor_orders Order of the factors' autoregressions: a number, or a named
#'   vector. A name such as `"Global+Real"` gives these groups one joint vector
#'   autoregression.
#' @param idiosyncratic `"ar1"`, or `"iid"` (\eqn{\phi_i = 0}).
#' @param batch A column of `colData(data)` or of the data.frame, or one label per
#'   time point: each batch is fitted by itself. A batch that cannot be fitted is a
#'   row of the table `"stats"` with its message; the others go on.
#' @param time A column, or one label per time point (dates, numbers, text);
#'   `NULL`: the names of the columns, or the times of a `ts`.
#' @param transform What is done to each series first: `"none"`, `"diff"`, `"log"`,
#'   `"logdiff"` or `"pct"`; one for all, a named vector, or a column of
#'   `rowData(data)`. `NULL`: the column `transform` if there is one.
#' @param standardize Bring each series to mean 0 and variance 1 first; results of
#'   series are in the units of the transformed series again.
#' @param initial `"stationary"`: the first state has the distribution that the
#'   autoregression implies. `"known"`: it is estimated, as DynamicFactorMQ does.
#' @param columns Names of the series to use; `NULL`: all.
#' @param accelerate Accelerate EM (SQUAREM) and finish with a quasi-Newton method.
#' @param engine `"isthmus"`, or `"statsmodels"`: its DynamicFactorMQ behind the
#'   same tables, for comparison.
#' @param max_iter Largest number of EM iterations.
#' @param tol Gain of the log-likelihood in one iteration at which a fit is done; the
#'   scaled score must be below 1e-2 as well. Where the likelihood has no maximum
#'   (near-duplicate series), a variance falls to its bound, 1e-8 of the series' mean
#'   square; it is held there, the rest converges, and `message` in the table
#'   `"stats"` names the series.
#' @param n_workers Processes for the batches; `NULL`: no further process, one batch
#'   after the other.
#' @param seed Seed of whatever is random.
#' @param progress `TRUE`, `FALSE`, or `NULL`: only in interactive sessions.
#' @param assay Name or number of the assay, for the experiments.
#' @param BPPARAM A BiocParallel parameter object; its number of workers becomes
#'   `n_workers`.
#' @return A fit of class `isthmus_factors`: plain R, so [saveRDS()] and worker
#'   processes can have it. See [isthmus_factors-methods] for tables and plots,
#'   [forecast_factors()], [factor_news()] and [add_results()].
#' @section Errors:
#' `isthmus_input_error` for everything the caller can mend; the text says what
#' came and what to do. `isthmus_missing_dependency` where there is no engine.
#' @section Python:
#' `isthmus.fit_factors`
#' @export
#' @examples
#' if (isthmus_available()) {
#'   panel <- log(Seatbelts[, c("DriversKilled", "front", "rear", "VanKilled")])
#'   fit <- fit_factors(panel, factors = 1)
#'   fit
#'   as.data.frame(fit, table = "loadings")
#' }
fit_factors <- function(data, factors = "factor", global_factors = 1L, factor_multiplicities = NULL,
                        factor_orders = 1L, idiosyncratic = "ar1", batch = NULL, time = NULL, transform = NULL,
                        standardize = TRUE, initial = "stationary", columns = NULL, accelerate = TRUE,
                        engine = "isthmus", max_iter = 10000L, tol = 1e-4, n_workers = NULL, seed = 0L,
                        progress = NULL, assay = 1L, BPPARAM = NULL) {
  call <- rlang::current_env()
  refuse_rpy2(call)
  refuse_na(list(
    factors = factors, global_factors = global_factors, factor_multiplicities = factor_multiplicities,
    factor_orders = factor_orders, idiosyncratic = idiosyncratic, batch = batch, time = time, transform = transform,
    standardize = standardize, initial = initial, columns = columns, accelerate = accelerate, engine = engine,
    max_iter = max_iter, tol = tol, n_workers = n_workers, seed = seed, progress = progress, assay = assay
  ), call)
  fitted <- call_engine(
    "fit_factors", wire_panel(with_labels(data, batch), assay, call),
    batch = wire_labels(batch, "batch", call), time = wire_labels(time, "time", call),
    factors = wire_dict(factors), global_factors = wire_number(global_factors),
    factor_multiplicities = wire_dict(factor_multiplicities), factor_orders = wire_dict(factor_orders),
    idiosyncratic = idiosyncratic, transform = wire_dict(transform), standardize = standardize, initial = initial,
    columns = if (!is.null(columns)) as.list(columns), accelerate = accelerate, engine = engine,
    max_iter = wire_number(max_iter), tol = tol, n_workers = wire_number(workers(n_workers, BPPARAM, call)),
    seed = wire_number(seed), progress = show_progress(progress), .call = call
  )
  new_factor_fit(fitted, list(batch = kept_labels(batch), time = kept_labels(time)), match.call())
}

# Plain R: the engine's state, where the labels of the rows came from, and the facts that print() needs.
new_factor_fit <- function(fitted, labels = NULL, call = NULL) {
  remember_fit(fitted$facts$id, fitted$fit)
  facts <- lapply(fitted$facts, unwire_fact)
  structure(
    list(id = facts$id, state = unwire_state(fitted$state), facts = facts, labels = labels, call = slim_call(call)),
    class = c("isthmus_factors", "isthmus_fit")
  )
}

# Facts are values, or whole tables.
unwire_fact <- function(fact) if (is.list(fact) && length(fact)) unwire_table(fact) else unwire_vector(fact)

kept_labels <- function(x) {
  x <- panel_column(x)
  if (is.factor(x)) as.character(x) else x
}

#' Forecasts, news and the number of factors
#'
#' `forecast_factors` gives forecasts of series and factors with intervals.
#' `factor_news` explains how new data change one estimate of the old fit (Banbura
#' and Modugno 2014): the parameters are held, and the parts sum to the whole
#' change. `select_n_factors` compares numbers of factors by the criteria IC1 to
#' IC3 of Bai and Ng (2002) and ER and GR of Ahn and Horenstein (2013).
#'
#' @param fit,old_fit A fit of [fit_factors()].
#' @param h How many time points ahead.
#' @param level Level of the intervals.
#' @param new_data The panel with more or revised values, in a form that
#'   [fit_factors()] takes. Where `batch` and `time` were columns, it has them too.
#' @param series,time The estimate that is explained: of which series (`NULL`: the
#'   first quarterly one, else the first), at what time (`NULL`: the last).
#' @param batch Which batch of the old fit, where it has several.
#' @param refit Fit the new data too, for the row of kind `"reestimation"`.
#' @param data A panel, in a form that [fit_factors()] takes.
#' @param max_factors The largest number of factors that is tried.
#' @param assay Name or number of the assay, for the experiments.
#' @return Data.frames.
#' * `forecast_factors` (class `isthmus_forecast`): `batch`, `time`, `name`, `kind`
#'   (`"series"` or `"factor"`), `mean`, `sd`, `lower`, `upper`. Series are in units
#'   of the transformed series. The uncertainty of the parameters is left out.
#' * `factor_news` (class `isthmus_news`): `time` and `series` of each datum, `kind`
#'   (`"revision"`, `"news"` or `"reestimation"`), `impact`. What is explained is in
#'   the attributes `series`, `time`, `before` and `after`.
#' * `select_n_factors` (class `isthmus_n_factors`): `n_factors`, `criterion`,
#'   `value`, `selected`.
#'
#' All have [plot()] methods, see [isthmus-factor-plots].
#' @section Python:
#' `isthmus.forecast_factors`, `isthmus.factor_news`, `isthmus.select_n_factors`
#' @export
#' @examples
#' if (isthmus_available()) {
#'   panel <- log(Seatbelts[, c("DriversKilled", "front", "rear", "VanKilled")])
#'   fit <- fit_factors(window(panel, end = c(1984, 10)), factors = 1)
#'   forecast_factors(fit, h = 2)
#'   head(factor_news(fit, panel))
#'   select_n_factors(panel, max_factors = 2)
#' }
forecast_factors <- function(fit, h, level = 0.95) {
  call <- rlang::current_env()
  check_factor_fit(fit, "fit", call)
  forecast(fit, h, level, call)
}

forecast <- function(fit, h, level, call) {
  if (missing(h)) {
    abort_input("`h` must be the number of time points to forecast. Pass, for example, h = 4.", call)
  }
  refuse_na(list(h = h, level = level), call)
  columns <- call_engine("forecast_factors", engine_fit(fit, call), wire_number(h), level = level, .call = call)
  unwire_table(columns, class = "isthmus_forecast")
}

#' @rdname forecast_factors
#' @export
factor_news <- function(old_fit, new_data, series = NULL, time = NULL, batch = NULL, refit = FALSE, assay = 1L) {
  call <- rlang::current_env()
  check_factor_fit(old_fit, "old_fit", call)
  refuse_na(list(series = series, time = time, batch = batch, refit = refit, assay = assay), call)
  news <- call_engine(
    "factor_news", engine_fit(old_fit, call),
    wire_panel(with_labels(new_data, old_fit$labels$batch), assay, call, argument = "new_data"),
    series = series, time = wire_number(panel_column(time)), batch = wire_one_batch(batch), refit = refit,
    .call = call
  )
  table <- unwire_table(news$columns, class = "isthmus_news")
  for (name in names(news$about)) attr(table, name) <- news$about[[name]]
  table
}

#' @rdname forecast_factors
#' @export
select_n_factors <- function(data, max_factors = 8L, assay = 1L) {
  call <- rlang::current_env()
  refuse_na(list(max_factors = max_factors, assay = assay), call)
  columns <- call_engine(
    "select_n_factors", wire_panel(data, assay, call),
    max_factors = wire_number(max_factors), .call = call
  )
  unwire_table(columns, class = "isthmus_n_factors")
}

# One batch of a fit: its label as the tables have it.
wire_one_batch <- function(batch) {
  batch <- panel_column(batch)
  if (is.null(batch)) NULL else if (is.atomic(batch)) as.character(batch) else batch
}

check_factor_fit <- function(fit, argument, call) {
  if (!inherits(fit, "isthmus_factors")) {
    abort_input(sprintf("`%s` must be a fit of fit_factors(); got %s.", argument, class(fit)[[1L]]), call)
  }
}
