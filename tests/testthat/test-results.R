test_that("simulate_counts() follows R's stream unless a seed is given", {
  skip_if_no_engine()
  set.seed(7)
  one <- simulate_counts(20, 3)
  two <- simulate_counts(20, 3)
  set.seed(7)
  again <- simulate_counts(20, 3)
  expect_identical(SummarizedExperiment::assay(one), SummarizedExperiment::assay(again))
  expect_false(identical(SummarizedExperiment::assay(one), SummarizedExperiment::assay(two)))
  before <- .Random.seed
  seeded <- simulate_counts(20, 3, seed = 4)
  expect_identical(.Random.seed, before)
  expect_identical(SummarizedExperiment::assay(seeded), SummarizedExperiment::assay(simulate_counts(20, 3, seed = 4)))
  expect_identical(dim(seeded), c(3L, 20L))
})

test_that("simulated truth is found again", {
  skip_if_no_engine()
  x <- model.matrix(~condition, data.frame(condition = rep(c("A", "B"), each = 2000)))
  truth <- cbind(c(2, 3, 4), c(0.5, -0.5, 0))
  sce <- simulate_counts(design = x, coef = truth, dispersion_coef = matrix(log(0.2), 3, 1), seed = 1)
  expect_equal(SummarizedExperiment::rowData(sce)$coef, truth, ignore_attr = TRUE)
  fit <- fit_glm(sce, x, size_factors = NULL)
  expect_lt(max(abs(coef(fit) - truth)), 0.06)
  expect_lt(max(abs(coef(fit, model = "dispersion") - log(0.2))), 0.15)
  expect_snapshot(simulate_counts(design = ~condition), error = TRUE)
})

test_that("add_results() finds genes by name and changes nothing else", {
  skip_if_no_engine()
  sce <- small_sce()
  fit <- fit_quietly(sce, ~condition)
  test <- test_glm(fit, "conditionB")
  more <- add_results(sce[12:1, ], test, prefix = "t_")
  expect_identical(SummarizedExperiment::rowData(more)$t_padj, rev(test$padj))
  expect_identical(SummarizedExperiment::assay(more), SummarizedExperiment::assay(sce)[12:1, ])
  genes <- SummarizedExperiment::rowData(add_results(sce, fit))
  expect_identical(genes$isthmus_status, fit$state$status)
  expect_identical(genes[["isthmus_conditionB"]], unname(coef(fit)[, 2]))
  fewer <- add_results(sce, test[1:3, ])
  expect_identical(is.na(SummarizedExperiment::rowData(fewer)$isthmus_pval), rep(c(FALSE, TRUE), c(3, 9)))
  expect_snapshot(error = TRUE, {
    add_results(small_counts(), fit)
    add_results(sce, 3)
    add_results(`rownames<-`(sce, paste0("x", 1:12)), fit)
  })
})

test_that("plots show every gene that has something to show", {
  skip_if_no_engine()
  skip_if_not_installed("ggplot2")
  fit <- fit_quietly(small_sce(), ~condition)
  test <- test_glm(fit, "conditionB")
  volcano <- plot(test, n_labels = 2)
  expect_s3_class(volcano, "ggplot")
  drawn <- ggplot2::ggplot_build(volcano)$data
  expect_identical(nrow(drawn[[1]]), sum(!is.na(test$pval)))
  expect_identical(nrow(drawn[[2]]), 2L)
  expect_equal(sort(drawn[[1]]$y), sort(-log10(test$pval)))
  dispersion <- ggplot2::ggplot_build(plot(fit))$data[[1]]
  genes <- as.data.frame(fit, table = "genes")
  positive <- genes$dispersion[which(genes$dispersion > 0)]
  at_limit <- rep(min(positive) / 2, sum(genes$dispersion == 0, na.rm = TRUE))
  expect_equal(sort(10^dispersion$y), sort(c(positive, at_limit)))
  joint <- test_glm(fit, contrast = diag(2))
  expect_input_error(plot(joint), "`x` must have fold changes")
})

test_that("other plots of a test and a fit show their rows", {
  skip_if_no_engine()
  skip_if_not_installed("ggplot2")
  sce <- small_sce()
  fit <- suppressMessages(fit_glm(sce, ~condition))
  test <- test_glm(fit, "conditionB")
  drawn <- function(plot) ggplot2::ggplot_build(plot)$data[[1]]
  expect_equal(sort(drawn(plot(test, type = "ma"))$y), sort(test$log2fc[!is.na(test$pval)]))
  expect_equal(sum(drawn(plot(test, type = "pvalues"))$count), sum(!is.na(test$pval)))
  fitted <- drawn(plot(fit, type = "fitted", data = sce, gene = 2))
  expect_equal(fitted$y, unname(SummarizedExperiment::assay(sce)[2, ]))
  expect_equal(fitted$x, unname(predict(fit)[2, ]))
  other <- coef(fit) + 1
  expect_equal(nrow(drawn(plot(fit, type = "coefficients", reference = other))), sum(is.finite(other)))
  expect_input_error(plot(fit, type = "coefficients"), "`reference` must be genes x terms")
  expect_input_error(plot(fit, type = "fitted"), "`data` must be the counts")
  expect_input_error(plot(test, type = "box"), "`type` must be one of volcano, ma, pvalues; got box")
})

# The paths inside `x` at which something has a single dimension, or is still Python's
not_plain <- function(x, path = "x", depth = 0L) {
  if (is.environment(x) || is.language(x) || is.function(x) || depth > 12L) {
    return(if (inherits(x, "python.builtin.object")) path)
  }
  inner <- attributes(x)
  inner <- inner[setdiff(names(inner), c("names", "class", "row.names", "dim"))]
  if (is.list(x)) inner <- c(inner, unclass(x))
  found <- lapply(seq_along(inner), function(i) {
    not_plain(inner[[i]], paste0(path, "$", c(names(inner), "")[[i]]), depth + 1L)
  })
  c(if (length(dim(x)) == 1L && !is.table(x)) path, unlist(found))
}

test_that("results are plain R, with no dim of one dimension, and leave R's random numbers alone", {
  skip_if_no_engine()
  expect_identical(not_plain(list(a = array(1:3), b = 1)), "x$a")
  sce <- small_sce()
  panel <- log(datasets::Seatbelts[, c("DriversKilled", "front", "rear")])
  set.seed(3)
  before <- .Random.seed
  fit <- fit_quietly(sce, ~condition)
  factors <- fit_factors(panel, factors = 1)
  results <- list(
    fit, test_glm(fit, "conditionB"), test_glm(fit, "conditionB", method = "lrt", data = sce), coef(fit), vcov(fit, 1),
    predict(fit), logLik(fit), AIC(fit), BIC(fit), nobs(fit), residuals(fit, sce), summary(fit),
    as.data.frame(fit), as.data.frame(fit, table = "genes"), expressed_genes(sce),
    add_results(sce, fit), simulate_counts(10, 3, seed = 1), as_sce(as_anndata(sce)),
    factors, predict(factors, h = 2), fitted(factors), residuals(factors), logLik(factors), nobs(factors),
    as.data.frame(factors), as.data.frame(factors, table = "loadings"), as.data.frame(factors, table = "stats")
  )
  expect_identical(.Random.seed, before)
  for (result in results) expect_null(not_plain(result), info = class(result)[[1L]])
})
