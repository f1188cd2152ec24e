# Every method of test_glm() from R: the numbers are the engine's, checked in Python; here that they arrive, and that
# counts are found again.

separated_sce <- function() {
  counts <- small_counts()
  counts[3, 21:40] <- 0
  small_sce(counts)
}

test_that("a likelihood ratio is that of two fits", {
  skip_if_no_engine()
  sce <- small_sce()
  full <- suppressMessages(fit_glm(sce, ~ condition + age))
  smaller <- suppressMessages(fit_glm(sce, ~age))
  stat <- 2 * as.vector(logLik(full) - logLik(smaller))
  test <- test_glm(full, "conditionB", method = "lrt")
  expect_equal(test$stat, stat, tolerance = 1e-6)
  expect_equal(test$pval, stats::pchisq(stat, 1, lower.tail = FALSE), tolerance = 1e-6)
  x <- model.matrix(~age, SummarizedExperiment::colData(sce))
  for (reduced in list(~age, "~ age", "conditionB", x)) {
    expect_equal(test_glm(full, reduced = reduced, method = "lrt", data = sce)$stat, stat, tolerance = 1e-6)
  }
})

test_that("separated contrasts have a likelihood ratio and a finite estimate", {
  skip_if_no_engine()
  sce <- separated_sce()
  fit <- suppressMessages(fit_glm(sce, ~condition))
  test <- test_glm(fit, "conditionB")
  expect_identical(test$method[3], "lrt")
  expect_identical(test$estimate[3], -Inf)
  expect_lt(test$pval[3], 1e-4)
  expect_lt(test$estimate_penalized[3], -3)
  expect_true(all(is.na(test$estimate_penalized[-3])))
})

test_that("counts are looked up again, and asked for where they are gone or changed", {
  skip_if_no_engine()
  held <- new.env()
  held$sce <- separated_sce()
  fit <- suppressMessages(fit_glm(held$sce, ~condition))
  score <- test_glm(fit, "conditionB", method = "score")
  same <- held$sce
  expect_equal(test_glm(fit, "conditionB", method = "score", data = same), score)
  SummarizedExperiment::assay(held$sce) <- SummarizedExperiment::assay(held$sce) * 2
  expect_input_error(test_glm(fit, "conditionB", method = "score"), "`data` must be passed again")
  expect_input_error(
    test_glm(fit, "conditionB", method = "score", data = held$sce), "`data` must hold the counts that were fitted"
  )
  rm("sce", envir = held)
  expect_input_error(test_glm(fit, "conditionB", method = "lrt"), "`data` must be passed again")
  expect_message(test <- test_glm(fit, "conditionB"), "counts are needed. Pass what fit_glm\\(\\) was given.")
  expect_true(is.na(test$pval[3]))
})

test_that("wrong models to compare with have their sentence", {
  skip_if_no_engine()
  sce <- small_sce()
  fit <- suppressMessages(fit_glm(sce, ~ condition + age))
  expect_snapshot(error = TRUE, {
    test_glm(fit, reduced = ~ condition + age, method = "lrt")
    test_glm(fit, reduced = ~batch, method = "lrt")
    test_glm(fit, reduced = "nope", method = "lrt")
    test_glm(fit, "age", method = "lrt", reference = "t")
  })
})

test_that("dispersions are adjusted and drawn towards a trend", {
  skip_if_no_engine()
  folder <- test_path("..", "reference", "peers")
  skip_if(!dir.exists(folder), "the reference numbers are not in the built package")
  counts <- as.matrix(utils::read.csv(file.path(folder, "counts.csv"), row.names = 1))
  cells <- utils::read.csv(file.path(folder, "cells.csv"), row.names = 1)
  theirs <- utils::read.csv(file.path(folder, "deseq2_exact.csv"))
  fit_with <- function(dispersion) {
    fit_glm(counts, ~ condition + batch, cell_data = cells, size_factors = "size_factor", dispersion = dispersion)
  }
  close <- function(fit, other) mean(abs(fit$state$dispersion / other - 1)[other > 1e-6] < 0.05)
  expect_gt(close(fit_with("cox_reid"), theirs$genewise), 0.95)
  expect_gt(close(fit_with("trend"), theirs$map), 0.95)
})

test_that("quasi-likelihood makes the calls of edgeR", {
  skip_if_no_engine()
  folder <- test_path("..", "reference", "peers")
  skip_if(!dir.exists(folder), "the reference numbers are not in the built package")
  counts <- as.matrix(utils::read.csv(file.path(folder, "counts.csv"), row.names = 1))
  cells <- utils::read.csv(file.path(folder, "cells.csv"), row.names = 1)
  theirs <- utils::read.csv(file.path(folder, "edger.csv"))
  fit <- suppressMessages(fit_glm(counts, ~ condition + batch, cell_data = cells, size_factors = "size_factor"))
  test <- test_glm(fit, "conditionb", method = "qlf")
  expect_gt(stats::cor(test$pval, theirs$pval, method = "spearman"), 0.99)
  expect_gt(mean((test$padj < 0.05) == (stats::p.adjust(theirs$pval, "BH") < 0.05)), 0.97)
})

test_that("pairs of levels and levels against the rest are contrasts of one fit", {
  skip_if_no_engine()
  sce <- small_sce()
  fit <- suppressMessages(fit_glm(sce, ~ batch + age))
  pairs <- test_glm(fit, pairwise = "batch")
  expect_identical(
    unique(pairs$contrast), c("b2 - b1", "b3 - b1", "b4 - b1", "b3 - b2", "b4 - b2", "b4 - b3")
  )
  one <- test_glm(fit, contrast = "batchb4 - batchb3")
  expect_equal(pairs[61:72, ]$pval, one$pval)
  rest <- test_glm(fit, versus_rest = "batch")
  expect_equal(rest$estimate[13:24], test_glm(fit, contrast = "batchb2 - 1/3*batchb3 - 1/3*batchb4")$estimate)
  expect_equal(test_glm(fit, versus_rest = "batch", rest = "pooled")$estimate, rest$estimate) # ten cells each
  expect_input_error(add_results(sce, pairs), "`fit` must have one row per gene; got 6 contrasts")
})

test_that("genes are chosen as edgeR and DESeq2 choose them", {
  skip_if_no_engine()
  counts <- small_counts()
  kept <- expressed_genes(counts, ~condition, cell_data = small_cells(), min_count = 5)
  expect_identical(names(kept), rownames(counts))
  expect_identical(unname(kept), unname(colSums(t(counts) >= 5 * colSums(counts) / median(colSums(counts))) >= 17))
  fit <- suppressMessages(fit_glm(small_sce(), ~condition))
  test <- test_glm(fit, "conditionB")
  expect_equal(filter_by_mean(test), test) # nothing is rejected: no cutoff
  expect_input_error(filter_by_mean(3), "`test` must be a result of test_glm\\(\\); got numeric")
})

test_that("outliers are flagged, and lose their p-values", {
  skip_if_no_engine()
  counts <- small_counts(30L, 12L)
  counts[7, 2] <- 5000
  sce <- small_sce(counts, small_cells(12L))
  fit <- suppressMessages(fit_glm(sce, ~condition, size_factors = NULL))
  distances <- cooks_distance(fit, sce)
  expect_identical(dimnames(distances), dimnames(counts))
  expect_identical(which.max(distances["g7", ]), c(c2 = 2L))
  test <- test_glm(fit, "conditionB")
  flagged <- flag_outliers(test, fit)
  expect_s3_class(flagged, "isthmus_test")
  expect_equal(flagged$max_cooks, unname(apply(distances, 1, max)))
  expect_identical(which(flagged$outlier), which(flagged$max_cooks > stats::qf(0.99, 2, 10)))
  expect_true(flagged$outlier[7])
  expect_identical(is.na(flagged$pval), flagged$outlier | is.na(test$pval))
  expect_equal(flagged$padj, stats::p.adjust(flagged$pval, "BH"))
  kept <- flag_outliers(test, fit, sce, drop = FALSE, cutoff = 1e6)
  expect_equal(kept[names(test)], test, ignore_attr = TRUE)
  expect_false(any(kept$outlier))
  expect_input_error(flag_outliers(test[30:1, ], fit), "`test` must hold all genes of `fit` in the fit's order")
  expect_input_error(flag_outliers(test, 3), "`fit` must be a fit of fit_glm\\(\\); got numeric")
  expect_input_error(flag_outliers(fit, fit), "`test` must be a result of test_glm\\(\\); got isthmus_glm")
  expect_input_error(flag_outliers(test, fit, cutoff = -1), "`cutoff` must be a positive number")
  expect_input_error(cooks_distance(fit, counts + 1), "`data` must hold the counts that were fitted")
})

test_that("fold changes are drawn towards zero", {
  skip_if_no_engine()
  sce <- small_sce()
  fit <- suppressMessages(fit_glm(sce, ~ condition + age))
  test <- test_glm(fit, "conditionB")
  for (prior in c("cauchy", "normal")) {
    found <- shrink_glm(fit, "conditionB", prior = prior, scale = 0.1)
    expect_identical(found$gene, test$gene)
    expect_equal(found$log2fc_ml, test$log2fc)
    expect_true(all(abs(found$log2fc) < abs(test$log2fc)))
    expect_equal(found$log2fc, found$estimate / log(2))
    wide <- shrink_glm(fit, contrast = c(conditionB = 1), prior = prior, scale = 1000, data = sce)
    expect_equal(wide$log2fc, test$log2fc, tolerance = 0.01)
  }
  expect_input_error(shrink_glm(fit, "conditionB", prior = "apeglm"), "`prior` must be one of cauchy, normal")
  expect_input_error(shrink_glm(fit, "conditionB", scale = -1), "`scale` must be a positive number")
  expect_input_error(shrink_glm(fit), "One of `coef` and `contrast` must be given")
  expect_input_error(shrink_glm(fit, "conditionB", data = small_counts() + 1), "`data` must hold the counts")
})

test_that("groups are compared without a model", {
  skip_if_no_engine()
  counts <- small_counts()
  labels <- rep(c("a", "b"), 20)
  values <- log1p(counts)
  for (groups in list(labels, factor(labels), "batch2")) {
    sce <- small_sce(cells = cbind(small_cells(), batch2 = labels))
    found <- compare_groups(sce, groups, size_factors = NULL)
    expect_s3_class(found, "isthmus_test")
    expected <- apply(values, 1, function(y) stats::t.test(y[labels == "b"], y[labels == "a"])$p.value)
    expect_equal(found$pval, unname(expected))
    expect_identical(found$contrast[1], "b - a")
  }
  ranks <- compare_groups(counts, labels, test = "rank", transform = "none", size_factors = NULL)
  expected <- apply(counts, 1, function(y) {
    stats::wilcox.test(y[labels == "b"], y[labels == "a"], exact = FALSE)$p.value
  })
  expect_equal(ranks$pval, unname(expected))
  expect_input_error(compare_groups(counts, labels, test = "t"), "`test` must be one of welch, rank")
  expect_input_error(compare_groups(sce, "grop"), "there is no column 'grop'")
  expect_input_error(compare_groups(counts, c(NA, labels[-1])), "`groups` must not be missing")
})

test_that("curves have their extremes", {
  skip_if_no_engine()
  age <- seq(0, 10, length.out = 200)
  counts <- rbind(rise = round(exp(1 + age / 4)), peak = round(exp(4 - (age - 6)^2 / 10)))
  cells <- data.frame(age = age)
  fit <- suppressMessages(fit_glm(counts, ~ splines::ns(age, 4), cell_data = cells, size_factors = NULL))
  found <- curve_extremes(fit, "age")
  expect_identical(found$gene, c("rise", "peak"))
  expect_equal(found$argmax, c(10, 6), tolerance = 0.1)
  expect_equal(found$max, exp(c(3.5, 4)), tolerance = 0.1)
  expect_equal(found$log2fc, log2(found$max / found$min))
  expect_input_error(curve_extremes(fit, "ag"), "`covariate` must be a column of the fit's formula \\('age'\\)")
})
