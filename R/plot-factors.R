#' Plots of factor models
#'
#' @param x A fit of [fit_factors()], or the result of [forecast_factors()],
#'   [factor_news()] or [select_n_factors()].
#' @param y Not used.
#' @param type What of the fit: `"factors"` (smoothed factors with their bands, a
#'   panel for each factor, a colour for each batch), `"loadings"` (a heat map),
#'   `"fitted"` (fitted against observed series) or `"path"` (the log-likelihood by
#'   iteration).
#' @param names Factors or series to show; `NULL`: all (of `"fitted"` and of
#'   forecasts: the first six).
#' @param level Level of the bands.
#' @param ... Not used.
#' @return A ggplot object, to which layers and themes can be added.
#' @name isthmus-factor-plots
#' @examples
#' if (isthmus_available() && requireNamespace("ggplot2", quietly = TRUE)) {
#'   panel <- log(Seatbelts[, c("DriversKilled", "front", "rear", "VanKilled")])
#'   fit <- fit_factors(panel, factors = 1)
#'   plot(fit)
#'   plot(fit, type = "loadings")
#'   plot(forecast_factors(fit, h = 6))
#'   plot(select_n_factors(panel, max_factors = 2))
#' }
NULL

#' @rdname isthmus-factor-plots
#' @method plot isthmus_factors
#' @export
plot.isthmus_factors <- function(x, y, type = "factors", names = NULL, level = 0.95, ...) {
  refuse_dots()
  call <- rlang::current_env()
  need_package("ggplot2", "`plot`", call)
  if (!missing(y)) abort_input("`y` is not used; what is plotted is named, as in plot(fit, type = \"loadings\").", call)
  types <- list(factors = plot_factors, loadings = plot_loadings, fitted = plot_fitted_series, path = plot_path)
  if (!is.character(type) || length(type) != 1L || !type %in% base::names(types)) {
    known <- paste(sprintf("'%s'", base::names(types)), collapse = ", ")
    text <- sprintf("`type` must be one of %s; got %s.", known, paste(format(type), collapse = ", "))
    abort_input(text, call)
  }
  check_level(level, call)
  types[[type]](x, names, level, call)
}

plot_factors <- function(fit, names, level, call) {
  shown <- shown_rows(as.data.frame(fit, table = "factors"), "factor", names, Inf, call)
  shown$at <- time_axis(shown$time)
  width <- stats::qnorm((1 + level) / 2) * shown$smoothed_sd
  shown$low <- shown$smoothed - width
  shown$high <- shown$smoothed + width
  plot <- ggplot2::ggplot(
    shown, ggplot2::aes(x = .data$at, y = .data$smoothed, colour = .data$batch, fill = .data$batch, group = .data$batch)
  ) +
    ggplot2::geom_ribbon(ggplot2::aes(ymin = .data$low, ymax = .data$high), alpha = 0.25, colour = NA) +
    ggplot2::geom_line() +
    ggplot2::facet_wrap(~factor, scales = "free_y", ncol = 1L) +
    ggplot2::labs(x = NULL, y = "smoothed factor", colour = "batch", fill = "batch") +
    ggplot2::theme_minimal()
  if (length(unique(shown$batch)) == 1L) plot + ggplot2::theme(legend.position = "none") else plot
}

plot_loadings <- function(fit, names, level, call) {
  shown <- shown_rows(as.data.frame(fit, table = "loadings"), "series", names, Inf, call)
  shown$series <- factor(shown$series, rev(unique(shown$series)))
  shown$factor <- factor(shown$factor, unique(shown$factor))
  plot <- ggplot2::ggplot(shown, ggplot2::aes(x = .data$factor, y = .data$series, fill = .data$loading)) +
    ggplot2::geom_tile() +
    ggplot2::scale_fill_gradient2(low = "#2166ac", mid = "white", high = "#b2182b", na.value = "grey90") +
    ggplot2::labs(x = NULL, y = NULL, fill = "loading") +
    ggplot2::theme_minimal()
  if (length(unique(shown$batch)) > 1L) plot + ggplot2::facet_wrap(~batch) else plot
}

plot_fitted_series <- function(fit, names, level, call) {
  values <- unwire_table(call_engine("fitted_series", engine_fit(fit, call), .call = call))
  shown <- shown_rows(values, "series", names, 6L, call)
  shown$at <- time_axis(shown$time)
  plot <- ggplot2::ggplot(shown, ggplot2::aes(x = .data$at, group = .data$batch)) +
    ggplot2::geom_line(ggplot2::aes(y = .data$observed), colour = "grey60", na.rm = TRUE) +
    ggplot2::geom_line(ggplot2::aes(y = .data$fitted, colour = .data$batch)) +
    ggplot2::facet_wrap(~series, scales = "free_y") +
    ggplot2::labs(x = NULL, y = "grey: observed; colour: fitted", colour = "batch") +
    ggplot2::theme_minimal()
  if (length(unique(shown$batch)) == 1L) plot + ggplot2::theme(legend.position = "none") else plot
}

plot_path <- function(fit, names, level, call) {
  ggplot2::ggplot(
    as.data.frame(fit, table = "path"),
    ggplot2::aes(x = .data$iteration, y = .data$log_likelihood, colour = .data$batch)
  ) +
    ggplot2::geom_line() +
    ggplot2::labs(x = "iteration", y = "log-likelihood", colour = "batch") +
    ggplot2::theme_minimal()
}

#' @rdname isthmus-factor-plots
#' @method plot isthmus_forecast
#' @export
plot.isthmus_forecast <- function(x, y, names = NULL, ...) {
  refuse_dots()
  call <- rlang::current_env()
  need_package("ggplot2", "`plot`", call)
  shown <- shown_rows(x[order(x$kind), ], "name", names, 6L, call)
  shown$at <- time_axis(shown$time)
  plot <- ggplot2::ggplot(
    shown, ggplot2::aes(x = .data$at, y = .data$mean, colour = .data$batch, fill = .data$batch, group = .data$batch)
  ) +
    ggplot2::geom_ribbon(ggplot2::aes(ymin = .data$lower, ymax = .data$upper), alpha = 0.25, colour = NA) +
    ggplot2::geom_line() +
    ggplot2::geom_point(size = 1) +
    ggplot2::facet_wrap(~name, scales = "free_y") +
    ggplot2::labs(x = NULL, y = "forecast", colour = "batch", fill = "batch") +
    ggplot2::theme_minimal()
  if (length(unique(shown$batch)) == 1L) plot + ggplot2::theme(legend.position = "none") else plot
}

#' @rdname isthmus-factor-plots
#' @method plot isthmus_news
#' @export
plot.isthmus_news <- function(x, y, names = NULL, ...) {
  refuse_dots()
  call <- rlang::current_env()
  need_package("ggplot2", "`plot`", call)
  table <- x[x$kind != "reestimation" | x$impact != 0, ]
  table$series[is.na(table$series)] <- "all parameters"
  shown <- shown_rows(table, "series", names, Inf, call)
  shown <- stats::aggregate(impact ~ series + kind, shown, sum)
  shown$series <- factor(shown$series, rev(levels(shown$series)))
  about <- attributes(x)
  change <- paste(format(c(about$before, about$after), digits = 3), collapse = " to ")
  ggplot2::ggplot(shown, ggplot2::aes(x = .data$impact, y = .data$series, fill = .data$kind)) +
    ggplot2::geom_col() +
    ggplot2::labs(
      x = "impact", y = NULL, fill = NULL, title = sprintf("%s at %s: from %s", about$series, about$time, change)
    ) +
    ggplot2::theme_minimal()
}

#' @rdname isthmus-factor-plots
#' @method plot isthmus_n_factors
#' @export
plot.isthmus_n_factors <- function(x, y, ...) {
  refuse_dots()
  need_package("ggplot2", "`plot`", rlang::current_env())
  shown <- x[!is.na(x$value), ]
  class(shown) <- "data.frame"
  shown$criterion <- factor(shown$criterion, unique(shown$criterion))
  ggplot2::ggplot(shown, ggplot2::aes(x = .data$n_factors, y = .data$value)) +
    ggplot2::geom_line(colour = "grey60") +
    ggplot2::geom_point(ggplot2::aes(colour = .data$selected), size = 2) +
    ggplot2::scale_colour_manual(values = c(`FALSE` = "grey60", `TRUE` = "#b2182b")) +
    ggplot2::facet_wrap(~criterion, scales = "free_y") +
    ggplot2::labs(x = "number of factors", y = NULL, colour = "selected") +
    ggplot2::theme_minimal()
}

# The rows of the names that are asked for, or of the first few; with the names in the order of the table.
shown_rows <- function(table, column, names, most, call) {
  class(table) <- "data.frame"
  known <- unique(table[[column]])
  refuse_na(list(names = names), call)
  if (!is.null(names) && !length(names)) abort_input("`names` must name one or more; got none.", call)
  unknown <- setdiff(as.character(names), known)
  if (length(unknown)) {
    some <- paste(sprintf("'%s'", utils::head(known, 8L)), collapse = ", ")
    abort_input(sprintf("`names` must be among %s; got '%s'.", some, unknown[[1L]]), call)
  }
  wanted <- if (is.null(names)) utils::head(known, most) else names
  table <- table[table[[column]] %in% wanted, ]
  table[[column]] <- factor(table[[column]], wanted)
  table
}

# Dates, months (1959-01), quarters (1959Q1) and numbers as such; other labels in their order.
time_axis <- function(time) {
  quarter <- grepl("^[0-9]{4}Q[1-4]$", time)
  iso <- ifelse(quarter, sprintf("%s-%02d-01", substr(time, 1L, 4L), 3L * match(substr(time, 6L, 6L), 1:4) - 2L), time)
  iso <- ifelse(grepl("^[0-9]{4}-[0-9]{2}$", iso), paste0(iso, "-01"), iso)
  if (all(grepl("^[0-9]{4}-[0-9]{2}-[0-9]{2}", iso))) {
    return(as.Date(substr(iso, 1L, 10L)))
  }
  number <- suppressWarnings(as.numeric(time))
  if (anyNA(number)) match(time, unique(time)) else number
}
