# Panels in every form, the numbers that Python gives too, and what R does with a fit.

small_panel <- function() {
  file <- contract("factors.json")
  vapply(file$panel, function(series) {
    vapply(series, function(x) if (is.null(x)) NA_real_ else as.double(x), 0)
  }, double(length(file$panel[[1L]])))
}

small_panel_se <- function(panel = small_panel()) {
  file <- contract("factors.json")
  SummarizedExperiment::SummarizedExperiment(
    list(values = t(panel)),
    rowData = S4Vectors::DataFrame(factor = unname(unlist(file$groups))),
    colData = S4Vectors::DataFrame(
      date = seq(as.Date("2001-01-01"), by = "month", length.out = nrow(panel)),
      half = rep(c("first", "second"), each = nrow(panel) / 2)
    )
  )
}

# A quarter's value in its last month
quarterly_in_months <- function(quarterly) {
  months <- rep(NA_real_, 60)
  months[3 * seq_along(quarterly)] <- quarterly
  months
}

as_sce_panel <- function(se) {
  SingleCellExperiment::SingleCellExperiment(
    SummarizedExperiment::assays(se),
    rowData = SummarizedExperiment::rowData(se), colData = SummarizedExperiment::colData(se)
  )
}

# `s1` as the engine takes its differences
differenced_panel <- function() {
  panel <- small_panel()
  panel[, "s1"] <- c(NA, diff(panel[, "s1"]))
  panel
}

fit_small <- function(...) fit_factors(small_panel_se(), ..., time = "date", progress = FALSE)

test_that("fits reach the numbers of the file", {
  skip_if_no_engine()
  file <- contract("factors.json")
  panel <- ts(small_panel(), start = c(2001, 1), frequency = 12)
  for (name in names(file$fits)) {
    model <- file$fits[[name]]
    options <- lapply(model$options, function(option) if (is.list(option)) lapply(option, unlist) else option)
    fit <- do.call(fit_factors, c(list(panel), options, list(tol = 1e-8)))
    expect_equal(unname(logLik(fit))[1L], model$log_likelihood, tolerance = 1e-6, info = name)
    expect_equal(unname(AIC(fit)), model$aic, tolerance = 1e-6, info = name)
    loadings <- as.data.frame(fit, table = "loadings")
    expect_equal(loadings$series, unlist(model$series), info = name)
    expect_equal(loadings$loading, unlist(model$loading), tolerance = 1e-3, info = name)
    factors <- as.data.frame(fit)
    expect_equal(factors$time[1:2], c("2001-01", "2001-02"))
    expect_equal(factors$smoothed[seq_along(model$smoothed)], unlist(model$smoothed), tolerance = 1e-3, info = name)
    ahead <- predict(fit, h = 2)
    expect_equal(ahead$time[1:2], unlist(model$forecast$time), info = name)
    expect_equal(ahead$mean, unlist(model$forecast$mean), tolerance = 1e-3, info = name)
    expect_equal(ahead$sd, unlist(model$forecast$sd), tolerance = 1e-3, info = name)
  }
})

test_that("a panel means the same in every form", {
  skip_if_no_engine()
  panel <- small_panel()
  months <- format(seq(as.Date("2001-01-01"), by = "month", length.out = nrow(panel)))
  frame <- data.frame(panel, row.names = months)
  turned <- t(panel)
  colnames(turned) <- months
  reference <- fit_factors(turned, factors = 1)
  loadings <- as.data.frame(reference, table = "loadings")
  expect_identical(unique(as.data.frame(reference)$time), months)
  se <- small_panel_se()
  sce <- as_sce_panel(se)
  forms <- list(
    se = fit_factors(se, factors = 1, time = "date"),
    sce = fit_factors(sce, factors = 1, time = SummarizedExperiment::colData(sce)$date),
    data_frame = fit_factors(frame, factors = 1),
    column = fit_factors(data.frame(panel, month = as.Date(months)), factors = 1, time = "month"),
    posixct = fit_factors(data.frame(panel, month = as.POSIXct(months, tz = "UTC")), factors = 1, time = "month"),
    matrix = fit_factors(t(panel), factors = 1, time = as.Date(months)),
    integer_labels = fit_factors(t(panel), factors = 1, time = seq_along(months))
  )
  for (name in names(forms)) {
    expect_identical(as.data.frame(forms[[name]], table = "loadings"), loadings, info = name)
    times <- unique(as.data.frame(forms[[name]])$time)
    expect_identical(times, if (name == "integer_labels") as.character(seq_along(months)) else months, info = name)
  }
  expect_equal(logLik(fit_factors(ts(panel), factors = 1))[[1L]], logLik(reference)[[1L]])
})

test_that("sparse assays, zoo, a DataFrame, one series and AnnData are panels too", {
  skip_if_no_engine()
  panel <- small_panel()
  dates <- small_panel_se()$date
  reference <- logLik(fit_factors(t(panel), factors = 1))
  zoo <- structure(panel, index = dates, class = "zoo")
  fit <- fit_factors(zoo, factors = 1)
  expect_identical(logLik(fit), reference)
  expect_identical(as.data.frame(fit)$time[1:60], format(dates))
  expect_identical(logLik(fit_factors(S4Vectors::DataFrame(panel), factors = 1)), reference)
  whole <- round(panel)
  whole[is.na(whole)] <- 0
  sparse <- SummarizedExperiment::SummarizedExperiment(list(as(t(whole), "dgCMatrix")))
  expect_identical(logLik(fit_factors(sparse, factors = 1)), logLik(fit_factors(t(whole), factors = 1)))
  single <- fit_factors(panel[, "s2"], factors = 1, idiosyncratic = "iid")
  expect_identical(as.data.frame(single, table = "loadings")$series, "series1")
  simulate <- reticulate::import("isthmus.testing", convert = FALSE)$simulate_panel
  adata <- simulate(40L, 4L, n_batches = 2L, seed = 1L)
  expect_identical(nobs(fit_factors(adata, batch = "batch", time = "time")), c(batch1 = 40L, batch2 = 40L))
})

test_that("monthly and quarterly series go together", {
  skip_if_no_engine()
  panel <- small_panel()
  monthly <- ts(panel[, 1:5], start = c(2001, 1), frequency = 12)
  sums <- stats::aggregate(ts(panel[1:57, 6], start = c(2001, 1), frequency = 12), nfrequency = 4)
  quarterly <- ts(as.matrix(sums), start = c(2001, 1), frequency = 4)
  colnames(quarterly) <- "q"
  fit <- fit_factors(list(monthly = monthly, quarterly = quarterly), factors = 1)
  stats <- as.data.frame(fit, table = "stats")
  expect_identical(c(stats$n_time, stats$n_series, stats$n_missing), c(60L, 6L, sum(is.na(panel[, 1:5])) + 41L))
  se <- small_panel_se(cbind(panel[, 1:5], q = quarterly_in_months(quarterly)))
  SummarizedExperiment::rowData(se)$frequency <- rep(c("monthly", "quarterly"), c(5, 1))
  expect_equal(logLik(fit_factors(se, factors = 1, time = "date")), logLik(fit), tolerance = 1e-8)
})

test_that("a ts carries its times", {
  skip_if_no_engine()
  panel <- small_panel()
  times <- function(...) unique(as.data.frame(fit_factors(ts(panel, ...), factors = 1))$time)[1:2]
  expect_identical(times(start = c(1999, 12), frequency = 12), c("1999-12", "2000-01"))
  expect_identical(times(start = c(1999, 4), frequency = 4), c("1999Q4", "2000Q1"))
  expect_identical(times(start = 1950), c("1950", "1951"))
  quarterly <- fit_factors(ts(panel, start = c(1999, 4), frequency = 4), factors = 1)
  expect_identical(predict(quarterly, h = 1)$time[1], "2014Q4")
})

test_that("groups, orders and transforms cross as named vectors or lists", {
  skip_if_no_engine()
  groups <- contract("factors.json")$groups
  se <- small_panel_se()
  by_column <- fit_factors(se, idiosyncratic = "iid")
  by_list <- fit_factors(se, factors = groups, idiosyncratic = "iid")
  by_vector <- fit_factors(se, factors = unlist(groups), idiosyncratic = "iid", factor_orders = c(Global = 1))
  expect_identical(logLik(by_list), logLik(by_column))
  expect_identical(logLik(by_vector), logLik(by_column))
  joint <- fit_factors(se, idiosyncratic = "iid", factor_orders = c("Global+a" = 1))
  transition <- as.data.frame(joint, table = "transition")
  expect_identical(unique(transition$block), c("Global+a", "b"))
  expect_identical(sum(transition$block == "Global+a"), 4L)
  differenced <- fit_factors(se, factors = 1, transform = c(s1 = "diff"), time = "date")
  expect_identical(as.data.frame(differenced, table = "stats")$n_missing, sum(is.na(differenced_panel())))
})

test_that("batches are fitted apart, and one that fails stops no other", {
  skip_if_no_engine()
  se <- small_panel_se()
  SummarizedExperiment::assay(se)[, se$half == "second"] <- 1
  expect_warning(
    fit <- fit_factors(se, factors = 1, batch = "half", time = "date"),
    "second", class = "isthmus_convergence_warning"
  )
  stats <- as.data.frame(fit, table = "stats")
  expect_identical(stats$batch, c("first", "second"))
  expect_identical(stats$status[2], "failed")
  expect_match(stats$message[2], "constant")
  expect_identical(names(logLik(fit)), c("first", "second"))
  expect_identical(is.na(unname(AIC(fit))), c(FALSE, TRUE))
  alone <- fit_factors(se[, 1:30], factors = 1, time = "date")
  expect_equal(logLik(fit)[["first"]], logLik(alone)[["all"]], tolerance = 1e-8)
  expect_output(print(fit), "second: +failed")
})

test_that("methods agree with the tables", {
  skip_if_no_engine()
  fit <- fit_small(factors = 1)
  stats <- as.data.frame(fit, table = "stats")
  expect_identical(nobs(fit), c(all = stats$n_time))
  expect_equal(AIC(fit), c(all = stats$aic))
  expect_equal(BIC(fit), c(all = stats$bic))
  expect_equal(BIC(fit), AIC(fit, k = log(stats$n_time)))
  expect_input_error(AIC(fit, k = c(1, 2)), "`k` must be one number.*got 1, 2")
  wrong <- quote(fit_factors(small_panel_se(), time = "date", progress = "no"))
  expect_input_error(eval(wrong), "`progress` must be TRUE, FALSE or NULL")
  expect_identical(attr(logLik(fit), "nobs"), stats$n_time)
  expect_identical(predict(fit, h = 3), forecast_factors(fit, 3L))
  ahead <- forecast_factors(fit, 2, level = 0.5)
  expect_equal(ahead$upper - ahead$mean, qnorm(0.75) * ahead$sd)
  expect_output(print(summary(fit)), "Dynamic factor model of 6 series")
  expect_output(print(fit), "60 time points, log-likelihood")
  names <- c("factors", "loadings", "stats", "transition", "path", "forecast", "decomposition")
  columns <- lapply(stats::setNames(nm = names), function(name) names(as.data.frame(fit, table = name)))
  expect_snapshot(columns)
})

test_that("fitted values and residuals are series x time", {
  skip_if_no_engine()
  fit <- fit_small(factors = 1, batch = "half")
  fitted <- fitted(fit, batch = "second")
  expect_identical(dim(fitted), c(6L, 30L))
  expect_identical(dimnames(fitted)[[1]], paste0("s", 1:6))
  left <- residuals(fit, batch = "second", type = "common")
  expect_equal(unname(t(small_panel()[31:60, ])), unname(fitted + left), tolerance = 1e-10)
  innovations <- residuals(fit, batch = "first")
  expect_lt(abs(sd(innovations, na.rm = TRUE) - 1), 0.2)
  expect_input_error(fitted(fit), "`batch` must name one of the 2 batches; got NULL")
  expect_input_error(residuals(fit, batch = "third"), "`batch` must be a batch of the fit; got 'third'")
  expect_input_error(residuals(fit, batch = "first", type = "pearson"), "`type` must be 'innovations' or 'common'")
})

test_that("a fit is plain R, and comes back from disk equal to the bit", {
  skip_if_no_engine()
  fit <- fit_small(batch = "half", factors = 1)
  ahead <- predict(fit, h = 2)
  file <- tempfile(fileext = ".rds")
  saveRDS(fit, file)
  session <- isthmus:::the
  session$fits[[fit$id]] <- NULL
  again <- readRDS(file)
  for (table in c("factors", "loadings", "stats", "forecast")) {
    expect_identical(as.data.frame(again, table = table), as.data.frame(fit, table = table), info = table)
  }
  folder <- tempfile("fit")
  save_fit(fit, folder)
  loaded <- load_fit(folder)
  expect_s3_class(loaded, c("isthmus_factors", "isthmus_fit"), exact = TRUE)
  expect_identical(predict(loaded, h = 2), ahead)
  expect_identical(loaded$labels, fit$labels)
  expect_identical(loaded$state, fit$state)
})

test_that("add_results() finds columns by batch and time and changes nothing else", {
  skip_if_no_engine()
  se <- small_panel_se()
  fit <- fit_small(factors = 1, batch = "half")
  table <- as.data.frame(fit)
  shuffled <- se[, c(40, 1, 60)]
  more <- SummarizedExperiment::colData(add_results(shuffled, fit, prefix = "f_"))
  dates <- as.character(shuffled$date)
  expect_identical(more$f_Global, table$smoothed[match(dates, table$time)])
  sce <- as_sce_panel(se)
  with_factors <- add_results(sce, fit)
  reduced <- SingleCellExperiment::reducedDim(with_factors, "factors")
  expect_identical(unname(reduced[, "Global"]), table$smoothed)
  expect_identical(SummarizedExperiment::assay(with_factors), SummarizedExperiment::assay(sce))
  labelled <- fit_factors(t(small_panel()), factors = 1, transform = c(s1 = "diff", s2 = "diff"))
  expect_identical(add_results(se, labelled)$isthmus_Global, as.data.frame(labelled)$smoothed)
})

test_that("news sum to the change, and the number of factors is chosen", {
  skip_if_no_engine()
  panel <- ts(small_panel(), start = c(2001, 1), frequency = 12)
  old <- window(panel, end = c(2005, 10))
  old[20, 2] <- old[20, 2] + 0.5
  fit <- fit_factors(old, factors = 1)
  news <- factor_news(fit, panel, series = "s6", refit = TRUE)
  expect_identical(names(news), c("time", "series", "kind", "impact"))
  expect_identical(sum(news$kind == "news"), 10L)
  expect_identical(news$series[news$kind == "revision"], "s2")
  expect_identical(is.na(news$series), news$kind == "reestimation")
  expect_identical(c(attr(news, "series"), attr(news, "time")), c("s6", "2005-12"))
  expect_equal(sum(news$impact), attr(news, "after") - attr(news, "before"), tolerance = 1e-8)
  # times and batches that are columns of the data
  se <- small_panel_se()
  by_date <- fit_factors(se[, 1:58], factors = 1, time = "date", batch = "half")
  same <- factor_news(fit_factors(t(small_panel())[, 31:58], factors = 1), t(small_panel())[, 31:60], time = 28)
  there <- factor_news(by_date, se, batch = "second", time = as.Date("2005-10-01"))
  expect_equal(there$impact, same$impact, tolerance = 1e-4)
  again <- factor_news(by_date, se, batch = "second", time = as.Date("2006-01-01"), refit = TRUE)
  expect_equal(sum(again$impact), attr(again, "after") - attr(again, "before"), tolerance = 1e-8)
  expect_identical(unique(there$time), c("2005-11-01", "2005-12-01", NA))
  criteria <- select_n_factors(t(small_panel()), max_factors = 3)
  expect_setequal(unique(criteria$criterion), c("IC1", "IC2", "IC3", "ER", "GR"))
  expect_identical(sum(criteria$selected), 5L)
})

test_that("plots show the tables", {
  skip_if_no_engine()
  skip_if_not_installed("ggplot2")
  fit <- fit_small(batch = "half", factors = 1)
  drawn <- function(plot, layer = 1L) ggplot2::ggplot_build(plot)$data[[layer]]
  factors <- as.data.frame(fit)
  expect_equal(sort(drawn(plot(fit), 2L)$y), sort(factors$smoothed))
  ribbon <- drawn(plot(fit, level = 0.5))
  expect_equal(sort(ribbon$ymax - ribbon$ymin), sort(2 * qnorm(0.75) * factors$smoothed_sd))
  expect_identical(nrow(drawn(plot(fit, type = "loadings"))), 12L)
  observed <- drawn(plot(fit, type = "fitted", names = "s1"))
  expect_equal(sort(observed$y), sort(small_panel()[, "s1"]), tolerance = 1e-10)
  expect_identical(nrow(drawn(plot(fit, type = "path"))), nrow(as.data.frame(fit, table = "path")))
  panel <- ts(small_panel(), start = c(2001, 1), frequency = 12)
  news <- factor_news(fit_factors(window(panel, end = c(2005, 10)), factors = 1), panel, series = "s6")
  bars <- drawn(plot(news))
  expect_equal(sort(bars$xmax - bars$xmin), sort(abs(tapply(news$impact, news$series, sum))), ignore_attr = TRUE)
  ahead <- predict(fit, h = 3)
  expect_equal(sort(drawn(plot(ahead, names = "s1"), 2L)$y), sort(ahead$mean[ahead$name == "s1"]))
  criteria <- select_n_factors(t(small_panel()), max_factors = 3)
  expect_identical(nrow(drawn(plot(criteria), 2L)), sum(!is.na(criteria$value)))
})

test_that("simulated truth is found again, and seeds govern", {
  skip_if_no_engine()
  se <- simulate_panel(n_time = 200, n_series = 12, n_batches = 2, seed = 1)
  expect_identical(dim(se), c(12L, 400L))
  fit <- fit_factors(se, factors = 1, batch = "batch", time = "time")
  found <- as.data.frame(fit)$smoothed
  expect_gt(min(abs(tapply(seq_along(found), se$batch, function(at) cor(found[at], se$factors[at, 1])))), 0.9)
  set.seed(7)
  one <- simulate_panel(20, 3)
  set.seed(7)
  expect_identical(simulate_panel(20, 3), one)
  before <- .Random.seed
  simulate_panel(20, 3, seed = 1)
  expect_identical(.Random.seed, before)
})

test_that("diagnostics() tests the one-step errors", {
  skip_if_no_engine()
  fit <- fit_small(factors = 1)
  table <- diagnostics(fit, lags = 3)
  expect_identical(table$series, as.data.frame(fit, table = "loadings")$series)
  errors <- residuals(fit)
  complete <- rownames(errors)[rowSums(is.na(errors)) == 0][1L]
  ours <- table[table$series == complete, ]
  theirs <- stats::Box.test(errors[complete, ], lag = 3, type = "Ljung-Box")
  expect_equal(ours$ljung_box, unname(theirs$statistic), tolerance = 1e-8)
  expect_equal(ours$ljung_box_pval, theirs$p.value, tolerance = 1e-8)
  expect_input_error(diagnostics(fit, lags = 0), "`lags` must be a whole number, 1 or more; got 0")
  expect_error(diagnostics(1), "`fit` must be a fit of fit_factors(); got numeric.", fixed = TRUE)
})

test_that("forecasts of vintages are judged", {
  skip_if_no_engine()
  panel <- ts(small_panel(), start = c(2001, 1), frequency = 12)
  vintages <- lapply(8:12, function(month) window(panel, end = c(2005, month)))
  scores <- evaluate_forecasts(vintages, h = 1:2, factors = 1)
  expect_identical(names(scores), c("series", "h", "n", "rmse", "rmse_ar1", "ratio"))
  expect_identical(as.integer(sort(unique(scores$h))), 1:2)
  one_step <- vapply(vintages[1:4], function(vintage) {
    ahead <- predict(fit_factors(vintage, factors = 1), h = 1)
    ahead$mean[ahead$name == "s1"]
  }, 0)
  truth <- small_panel()[57:60, "s1"]
  expect_equal(scores$rmse[scores$series == "s1" & scores$h == 1], sqrt(mean((one_step - truth)^2)))
})

test_that("labels of time become an axis", {
  expect_identical(isthmus:::time_axis(c("2001Q1", "2001Q3")), as.Date(c("2001-01-01", "2001-07-01")))
  expect_identical(isthmus:::time_axis(c("2001-01", "2001-12")), as.Date(c("2001-01-01", "2001-12-01")))
  expect_identical(isthmus:::time_axis(c("2001-01-31", "2001-12-01")), as.Date(c("2001-01-31", "2001-12-01")))
  expect_identical(isthmus:::time_axis(c("1", "2.5")), c(1, 2.5))
  expect_identical(isthmus:::time_axis(c("u", "v", "u")), c(1L, 2L, 1L))
})

test_that("every kind of plot is the factor model's own", {
  skip_if_no_engine()
  skip_if_not_installed("ggplot2")
  fit <- fit_small(factors = 1)
  for (type in c("factors", "loadings", "fitted", "path")) {
    expect_s3_class(plot(fit, type = type), "ggplot")
  }
  expect_input_error(plot(fit, "loadings"), "`y` is not used")
  expect_input_error(plot(fit, level = 95), "`level` must lie between 0 and 1, as 0.95; got 95")
  expect_input_error(plot(fit, level = NULL), "`level` must lie between 0 and 1")
  expect_input_error(plot(fit, names = character(0)), "`names` must name one or more; got none")
})

test_that("batches called TRUE and FALSE are so called everywhere", {
  skip_if_no_engine()
  se <- small_panel_se()
  se$late <- se$half == "second"
  frame <- data.frame(small_panel(), late = se$late, date = se$date)
  fits <- list(
    se = fit_factors(se, factors = 1, batch = "late", time = "date"),
    frame = fit_factors(frame, factors = 1, batch = "late", time = "date"),
    labels = fit_factors(t(small_panel()), factors = 1, batch = se$late, time = se$date)
  )
  for (name in names(fits)) {
    fit <- fits[[name]]
    expect_identical(as.data.frame(fit, table = "stats")$batch, c("FALSE", "TRUE"), info = name)
    expect_identical(fitted(fit, batch = TRUE), fitted(fit, batch = "TRUE"), info = name)
    expect_identical(add_results(se, fit)$isthmus_Global, as.data.frame(fit)$smoothed, info = name)
  }
  expect_identical(nrow(factor_news(fits$frame, frame, batch = TRUE)), 1L)
})

test_that("arguments of the wrong kind are sentences, not tracebacks", {
  skip_if_no_engine()
  se <- small_panel_se()
  fit <- fit_small(factors = 1)
  expect_input_error(fit_factors(se, time = time), "`time` must not be a function")
  expect_input_error(fit_factors(se, batch = Inf), "`batch` must have one label per time point")
  expect_input_error(fit_factors(se, standardize = 1), "`standardize` must be TRUE or FALSE; got 1")
  expect_input_error(fit_factors(se, columns = character(0)), "`columns` must name one series or more; got none")
  for (time in list("x", TRUE, Inf, c(1, 2), list())) {
    expect_input_error(factor_news(fit, se, time = time), "`time` must be a time of `new_data` or one of the 60")
  }
  expect_input_error(factor_news(fit, se, refit = 1), "`refit` must be TRUE or FALSE; got 1")
  expect_input_error(factor_news(fit, list(1)), "`new_data` must be a SummarizedExperiment or a matrix")
  expect_input_error(factor_news(fit, se, batch = "x"), "There are: `all`")
  expect_input_error(residuals(fit, type = list()), "`type` must be 'innovations' or 'common'")
  expect_input_error(select_n_factors(se, max_factors = Inf), "`max_factors` must be a whole number, 1 or more")
  expect_no_warning(expect_input_error(select_n_factors(NA), "`data` must have series that vary"))
  expect_input_error(as.data.frame(fit, table = NA), "`table` must not be NA")
  expect_input_error(as.data.frame(fit, "stats"), 'Did you mean table = "stats"?')
  vintages <- list(se, se[, 1:50])
  expect_input_error(evaluate_forecasts(vintages, factors = 1, time = "date"), "`vintages` must be oldest first")
})

test_that("what cannot be fitted is explained", {
  skip_if_no_engine()
  se <- small_panel_se()
  panel <- small_panel()
  later <- se
  later$date <- se$date + 10000
  negative <- panel
  negative[3, 1] <- -1
  fit <- fit_small(factors = 1)
  expect_snapshot(error = TRUE, cnd_class = TRUE, {
    fit_factors(list(1))
    fit_factors(letters)
    fit_factors(se, assay = "counts")
    fit_factors(se, factors = "grup")
    fit_factors(se, factors = 7)
    fit_factors(se, factors = NA)
    fit_factors(se, factors = c(s1 = "a", s99 = "b"))
    fit_factors(se, batch = "halves")
    fit_factors(se, batch = 1:3)
    fit_factors(se, time = "half")
    fit_factors(se, transform = "square")
    fit_factors(t(negative), factors = 1, transform = c(s1 = "log"))
    fit_factors(t(panel)[1, , drop = FALSE], factors = 1)
    fit_factors(data.frame(panel, region = "x"), factors = 1)
    fit_factors(se, idiosyncratic = "ar2")
    fit_factors(se, columns = c("s1", "s9"))
    forecast_factors(fit)
    forecast_factors(fit, h = 0)
    forecast_factors(fit, h = 2, level = 95)
    forecast_factors(list(), 2)
    factor_news(se, fit)
    select_n_factors(se, max_factors = 0)
    as.data.frame(fit, table = "genes")
    plot(fit, type = "volcano")
    plot(fit, names = "Local")
    add_results(se, fit_factors(t(panel)[, 1:30], factors = 1, batch = rep("x", 30)))
    add_results(later, fit)
    evaluate_forecasts(panel)
    evaluate_forecasts(list(ts(panel)))
    simulate_panel(idio_ar = 0.5)
    simulate_panel(r2 = 2)
    test_glm(fit, "s1")
  })
})

test_that("conditions carry the user's call", {
  skip_if_no_engine()
  se <- small_panel_se()
  error <- expect_input_error(fit_factors(se, factors = 7))
  expect_identical(as.character(conditionCall(error)[[1L]]), "fit_factors")
  warning <- expect_warning(fit_factors(se, factors = 1, max_iter = 1), class = "isthmus_convergence_warning")
  expect_match(conditionMessage(warning), "did not converge")
  expect_identical(as.character(warning$call[[1L]]), "fit_factors")
})
