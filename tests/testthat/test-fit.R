small_fit <- function(...) fit_quietly(small_sce(), ~ condition + age, ...)

test_that("a fit is plain R and works in another process", {
  skip_if_no_engine()
  fit <- small_fit()
  plain <- function(x) is.null(x) || is.atomic(x) || is.language(x) || (is.list(x) && all(vapply(x, plain, NA)))
  expect_true(plain(unclass(fit)[c("id", "state", "facts", "call")]))
  folder <- new_folder()
  saveRDS(fit, file.path(folder, "fit.rds"))
  code <- c(
    "suppressPackageStartupMessages(library(isthmus))",
    sprintf("fit <- readRDS('%s')", file.path(folder, "fit.rds")),
    "stopifnot(!reticulate::py_available())", "invisible(capture.output(print(fit)))", "coef(fit) -> unused",
    "stopifnot(!reticulate::py_available())",
    "got <- list(test_glm(fit, 'conditionB'), as.data.frame(fit), vcov(fit, gene = 2), predict(fit))",
    sprintf("saveRDS(got, '%s')", file.path(folder, "got.rds"))
  )
  output <- run_r(code)
  expect_true(file.exists(file.path(folder, "got.rds")), info = paste(output, collapse = "\n"))
  got <- readRDS(file.path(folder, "got.rds"))
  expect_identical(got[[1]], test_glm(fit, "conditionB"))
  expect_identical(got[[2]], as.data.frame(fit))
  expect_identical(got[[3]], vcov(fit, gene = 2))
  expect_identical(got[[4]], predict(fit))
})

test_that("save_fit() and load_fit() keep every bit", {
  skip_if_no_engine()
  fit <- small_fit()
  path <- tempfile("fit")
  expect_identical(save_fit(fit, path), path)
  again <- load_fit(path)
  expect_identical(again$state[names(fit$state) != "meta"], fit$state[names(fit$state) != "meta"])
  expect_identical(test_glm(again, "age"), test_glm(fit, "age"))
  expect_equal(predict(again, newdata = small_cells()[2:3, ]), predict(fit, newdata = small_cells()[2:3, ]))
  expect_input_error(save_fit(fit, path), "overwrite")
  save_fit(small_fit(size_factors = NULL), path, overwrite = TRUE)
  expect_false(identical(coef(load_fit(path)), coef(fit)))
  expect_input_error(load_fit(tempfile("none")))
})

test_that("methods agree with each other and with the tables", {
  skip_if_no_engine()
  fit <- small_fit()
  genes <- as.data.frame(fit, table = "genes")
  expect_identical(names(genes), c("gene", "status", "mean", "dispersion", "log_likelihood", "n_iter"))
  expect_identical(genes$gene, rownames(small_counts()))
  table <- as.data.frame(fit)
  expect_identical(names(table), c("gene", "model", "term", "estimate", "se", "dependent"))
  mean <- table[table$model == "mean" & table$term == "age", ]
  expect_identical(mean$estimate, unname(coef(fit)[, "age"]))
  dispersion <- table[table$model == "dispersion", ]
  expect_identical(dispersion$estimate, unname(coef(fit, model = "dispersion")[, 1]))
  covariance <- vcov(fit, gene = "g2")
  expect_equal(sqrt(diag(covariance))[["age"]], mean$se[2])
  expect_identical(dim(covariance), c(4L, 4L))
  expect_identical(vcov(fit, gene = 2), covariance)
  ll <- logLik(fit)
  expect_identical(as.vector(ll), genes$log_likelihood)
  expect_identical(attr(ll, "df"), 4L)
  expect_identical(attr(ll, "nobs"), 40L)
  expect_identical(nobs(fit), 40L)
  expect_equal(AIC(fit), -2 * genes$log_likelihood + 8, ignore_attr = TRUE)
  expect_equal(BIC(fit), -2 * genes$log_likelihood + 4 * log(40), ignore_attr = TRUE)
  expect_input_error(AIC(fit, k = "x"), "`k` must be one number.*got x")
  expect_identical(row.names(as.data.frame(fit, table = "genes", row.names = genes$gene)), genes$gene)
})

test_that("predictions and residuals are genes x cells", {
  skip_if_no_engine()
  counts <- small_counts()
  fit <- small_fit()
  mean <- predict(fit)
  expect_identical(dimnames(mean), dimnames(counts))
  design <- model.matrix(~ condition + age, small_cells())
  expect_equal(mean, exp(coef(fit) %*% t(design)) * rep(fit$state$size_factors, each = 12), ignore_attr = TRUE)
  response <- residuals(fit, small_sce(), type = "response")
  expect_equal(response, counts - mean)
  alpha <- predict(fit, type = "dispersion")
  expect_equal(residuals(fit, counts), response / sqrt(mean + alpha * mean^2))
  deviance <- residuals(fit, counts, type = "deviance")
  expect_identical(sign(deviance), sign(response))
  quantile <- residuals(fit, counts, type = "quantile", seed = 3)
  expect_identical(residuals(fit, as(counts, "dgCMatrix"), type = "quantile", seed = 3), quantile)
  expect_lt(abs(mean(quantile)), 0.3)
})

test_that("a fit prints and sums up", {
  skip_if_no_engine()
  fit <- fit_quietly(small_sce(), ~condition, size_factors = NULL)
  expect_snapshot(print(fit))
  expect_match(paste(capture.output(print(summary(fit))), collapse = "\n"), "condition")
})

test_that("the result of a test is a data.frame with a class", {
  skip_if_no_engine()
  result <- test_glm(small_fit(), "conditionB")
  expect_s3_class(result, c("isthmus_test", "data.frame"), exact = TRUE)
  columns <- c(
    "gene", "contrast", "method", "mean", "estimate", "log2fc", "se", "ci_low", "ci_high", "stat", "df", "df_resid",
    "pval", "padj", "log_likelihood", "status", "estimate_penalized"
  )
  expect_identical(names(result), columns)
  expect_type(result$gene, "character")
  expect_equal(result$log2fc, result$estimate / log(2))
  expect_equal(result$padj, p.adjust(result$pval, "BH"))
  expect_equal(result$pval, 2 * pnorm(-abs(result$stat)))
})

test_that("contrasts, factors, options reach the engine", {
  skip_if_no_engine()
  fit <- fit_quietly(small_sce(), ~batch)
  expect_identical(test_glm(fit, contrast = c(0, 1, 0, 0))$estimate, test_glm(fit, "batchb2")$estimate)
  expect_equal(
    test_glm(fit, contrast = "batchb3 - batchb2")$estimate, unname(coef(fit)[, "batchb3"] - coef(fit)[, "batchb2"])
  )
  all <- test_glm(fit, factor = "batch")
  expect_identical(unique(all$df), 3)
  rows <- test_glm(fit, contrast = rbind(c(0, 1, 0, 0), c(0, 0, 1, 0), c(0, 0, 0, 1)))
  expect_equal(rows$stat, all$stat)
  expect_identical(
    test_glm(fit, "batchb2", alternative = "two.sided")$pval, test_glm(fit, "batchb2", alternative = "two-sided")$pval
  )
  one_sided <- test_glm(fit, "batchb2", alternative = "greater", reference = "t", information = "observed")
  expect_equal(one_sided$pval, pt(-one_sided$stat, one_sided$df_resid))
  expect_gt(min(test_glm(fit, "batchb2", lfc_threshold = 20)$pval), 0.5)
  dispersion <- fit_quietly(small_sce(), ~1, ~condition)
  tested <- test_glm(dispersion, "conditionB", model = "dispersion")
  ok <- tested$status == "ok"
  expect_equal(tested$estimate[ok], unname(coef(dispersion, model = "dispersion")[ok, 2]))
})

test_that("whole numbers may be doubles", {
  skip_if_no_engine()
  fit <- small_fit(max_iter = 50, chunk_genes = 5, n_threads = 2)
  expect_identical(coef(fit), coef(small_fit(max_iter = 50L, n_threads = 1L)))
  expect_identical(isthmus:::wire_number(5), 5L)
})

test_that("an unfinished fit is a warning with a class", {
  skip_if_no_engine()
  expect_warning(fit <- small_fit(max_iter = 1), class = "isthmus_convergence_warning")
  expect_true("not_converged" %in% fit$state$status)
})

test_that("the fit's call holds no data", {
  skip_if_no_engine()
  fit <- suppressMessages(do.call(fit_glm, list(small_counts(), ~1)))
  expect_identical(fit$call$data, quote(data))
})

# The engine's fit rebuilt from what R holds: nothing may be lost on the way, whatever the shape.
rebuilt <- function(fit) {
  session <- isthmus:::the
  session$fits[[fit$id]] <- NULL
  fit
}

test_that("fits of every shape survive the way through R", {
  skip_if_no_engine()
  counts <- small_counts()
  separated <- counts
  separated[1, 21:40] <- 0
  x <- model.matrix(~ condition + age, small_cells())
  fits <- list(
    one_gene = fit_quietly(counts[1, , drop = FALSE], ~condition, cell_data = small_cells(), size_factors = NULL),
    poisson = fit_quietly(counts, x, noise_model = "poisson"),
    moments = fit_quietly(counts, x, dispersion = "moments"),
    intercept = fit_quietly(counts),
    separated = fit_quietly(separated, x),
    restricted = fit_quietly(counts, x, constraints = "conditionB = 0.3", size_factors = NULL),
    list = fit_quietly(small_sce(), ~ condition + batch, ~condition, constraints = list(batch = "condition"))
  )
  for (name in names(fits)) {
    fit <- fits[[name]]
    coefficients <- as.data.frame(fit)
    term <- colnames(coef(fit))[1]
    test <- test_glm(fit, term)
    again <- rebuilt(fit)
    expect_identical(as.data.frame(again), coefficients, info = name)
    expect_identical(test_glm(again, term), test, info = name)
    expect_identical(vcov(again, gene = 1, information = "observed"), vcov(fit, gene = 1, information = "observed"))
    path <- tempfile("fit")
    save_fit(fit, path)
    expect_identical(test_glm(load_fit(path), term), test, info = name)
  }
})

test_that("names of cells, genes and coefficients put numbers in order", {
  skip_if_no_engine()
  counts <- small_counts()
  depth <- stats::setNames(small_cells()$depth, colnames(counts))
  offset <- sin(counts)
  fit <- function(size_factors, offset) fit_glm(counts, size_factors = size_factors, offset = offset)
  expected <- coef(fit(unname(depth), unname(offset)))
  expect_identical(coef(fit(rev(depth), offset[12:1, 40:1])), expected)
  expect_identical(coef(fit(depth, as.data.frame(offset))), expected)
  # names that only count, as those of a data.frame do, are none
  expect_identical(coef(fit(stats::setNames(depth, 1:40), offset)), expected)
  twice <- function(offset) fit_quietly(counts, ~ 1 + offset(age / 40), cell_data = small_cells(), offset = offset)
  expect_identical(coef(twice(offset[12:1, 40:1])), coef(twice(unname(offset))))
  by_gene <- fit(depth, offset)
  expect_identical(predict(by_gene, offset = offset[12:1, 40:1]), predict(by_gene, offset = unname(offset)))

  fit <- fit_quietly(small_sce(), ~ condition + age)
  tested <- test_glm(fit, contrast = "conditionB - age")$stat
  expect_identical(test_glm(fit, contrast = c(age = -1, conditionB = 1))$stat, tested)
  expect_identical(test_glm(fit, contrast = c(age = -1, conditionB = 1, "(Intercept)" = 0))$stat, tested)
  expect_identical(test_glm(fit, contrast = cbind(age = -1, conditionB = 1))$stat, tested)
  expect_identical(test_glm(fit, contrast = matrix(c(0, 1, -1), 1))$stat, tested)
  expect_snapshot(error = TRUE, {
    fit_glm(counts, size_factors = stats::setNames(depth, paste0("x", 1:40)))
    fit_glm(counts, size_factors = NULL, offset = `rownames<-`(offset, letters[1:12]))
    fit_glm(counts, size_factors = NULL, offset = t(offset))
    test_glm(fit, contrast = c(conditionA = 1))
    test_glm(fit, c("conditionB", "age"))
    residuals(fit, counts[, 40:1])
  })
})

test_that("an offset per gene and cell is asked for again", {
  skip_if_no_engine()
  offset <- matrix(rep(log(small_cells()$depth), each = 12), 12)
  fit <- fit_quietly(small_counts(), offset = offset, size_factors = NULL)
  expect_input_error(predict(fit), "offset")
  expect_equal(predict(fit, offset = offset), exp(coef(fit)[, 1] + offset), ignore_attr = TRUE)
  residual <- residuals(fit, small_counts(), type = "response", offset = offset)
  expect_equal(residual, small_counts() - predict(fit, offset = offset))
})

test_that("genes that cannot be fitted keep their row, and R says only what a test needs", {
  skip_if_no_engine()
  counts <- small_counts()
  counts[1, ] <- 0
  counts[2, 21:40] <- 0
  counts[3, ] <- 5
  counts[4, -7] <- 0
  counts[4, 7] <- 1
  expect_silent(fit <- fit_quietly(counts, model.matrix(~condition, small_cells()), size_factors = rep(1, 40)))
  said <- capture_messages(expect_warning(test <- test_glm(fit, "conditionB"), NA))
  expect_length(said, 1L)
  expect_match(said, "^`data`: 'g2', 'g4' are separated in 'conditionB'; a p-value there is a likelihood ratio's")
  expect_identical(test$gene, rownames(counts))
  expect_identical(test$status[1:3], c("all_zero", "separated", "poisson_limit"))
  expect_true(all(is.na(test[1, c("estimate", "se", "stat", "pval", "padj")])))
  expect_true(is.na(test$pval[2]))
  expect_identical(as.data.frame(fit, table = "genes")$dispersion[3], 0)
  expect_equal(test$padj, p.adjust(test$pval, "BH"))
  expect_identical(is.na(coef(fit)[1, ]), c("(Intercept)" = TRUE, conditionB = TRUE))
  pdf(NULL)
  on.exit(dev.off())
  expect_silent(print(plot(test)))
  expect_silent(print(plot(fit)))
})

test_that("weights make a cell count for several, by the names of cells and genes", {
  skip_if_no_engine()
  cells <- small_cells()
  cells$w <- rep(c(1, 2, 0), length.out = 40)
  sce <- small_sce(cells = cells)
  several <- rep(seq_len(40), cells$w)
  more <- small_counts()[, several]
  dimnames(more) <- NULL
  more_cells <- `rownames<-`(cells[several, ], NULL)
  repeated <- fit_quietly(more, ~ condition + age, cell_data = more_cells, size_factors = NULL)
  per_gene <- matrix(cells$w, 12, 40, byrow = TRUE, dimnames = dimnames(small_counts()))
  named <- stats::setNames(cells$w, rownames(cells))
  for (weights in list("w", cells$w, named, rev(named), per_gene, per_gene[12:1, 40:1])) {
    fit <- fit_quietly(sce, ~ condition + age, weights = weights, size_factors = NULL)
    expect_equal(as.vector(logLik(fit)), as.vector(logLik(repeated)), tolerance = 1e-8)
    expect_equal(coef(fit), coef(repeated), tolerance = 1e-5, ignore_attr = TRUE)
  }
  again <- test_glm(fit, "age", method = "lrt", data = sce, weights = per_gene)
  expect_equal(again$stat, test_glm(repeated, "age", method = "lrt", data = more)$stat, tolerance = 1e-5)
  expect_input_error(test_glm(fit, "age", method = "lrt", data = sce), "`weights` must be passed again")
  expect_input_error(fit_glm(sce, ~condition, weights = -cells$w), "`weights` must be finite and at least 0")
  expect_input_error(fit_glm(sce, ~condition, weights = 1:3), "`weights` must hold one value per cell")
  cells$w[1] <- NA
  expect_input_error(fit_glm(small_sce(cells = cells), ~condition, weights = "w"), "`weights`")
})

test_that("the normal model is that of lm()", {
  skip_if_no_engine()
  set.seed(1)
  cells <- small_cells()
  names <- list(paste0("g", 1:5), rownames(cells))
  values <- matrix(rnorm(5 * 40, mean = rep(cells$age, each = 5)), 5, dimnames = names)
  for (name in c("normal", "norm")) {
    fit <- suppressMessages(fit_glm(values, ~ condition + age, cell_data = cells, noise_model = name))
    expect_output(print(fit), "Normal linear model of 5 genes in 40 cells")
    ratio <- test_glm(fit, "age", method = "lrt", data = values)
    for (gene in 1:5) {
      full <- lm(values[gene, ] ~ condition + age, cells)
      null <- lm(values[gene, ] ~ condition, cells)
      expect_equal(coef(fit)[gene, ], coef(full), tolerance = 1e-8)
      expect_equal(unname(logLik(fit)[gene]), as.numeric(logLik(full)), tolerance = 1e-8)
      expect_equal(ratio$stat[gene], 2 * as.numeric(logLik(full) - logLik(null)), tolerance = 1e-6)
      expect_equal(unname(predict(fit)[gene, ]), unname(fitted(full)), tolerance = 1e-8)
      expect_equal(unname(residuals(fit, values, "response")[gene, ]), unname(resid(full)), tolerance = 1e-8)
    }
  }
  expect_true(all(is.na(ratio$log2fc)))
  expect_input_error(plot(ratio), "has none, nor has the normal noise model")
  expect_input_error(plot(fit), "`x` must be of counts for dispersion against mean")
  expect_input_error(test_glm(fit, "age", method = "qlf"), "`fit` must be of counts for method=\"qlf\"")
  expect_input_error(fit_glm(values, noise_model = "beta"), "'nb', 'poisson' or 'normal'; got 'beta'")
})
