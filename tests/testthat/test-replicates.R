donor_sce <- function() {
  counts <- small_counts(n_genes = 90L, n_cells = 160L)
  cells <- data.frame(
    donor = factor(rep(paste0("d", 1:8), each = 20)), arm = rep(c("a", "b"), each = 80), site = rep(c("x", "y"), 80),
    row.names = colnames(counts)
  )
  sce <- small_sce(counts, cells)
  SummarizedExperiment::rowData(sce)$symbol <- rownames(sce)
  sce
}

test_that("variances between replicates are those of the engine in every form of labels", {
  skip_if_no_engine()
  sce <- donor_sce()
  fit <- suppressMessages(fit_glm(sce, ~arm, size_factors = NULL))
  test <- test_glm(fit, "armb", replicate = "donor")
  expect_equal(test_glm(fit, "armb", replicate = sce$donor, data = sce), test)
  expect_equal(test_glm(fit, "armb", replicate = as.character(sce$donor)), test)
  expect_equal(unique(round(test$df_resid[!is.na(test$df_resid)])), 6)
  expect_equal(test$pval, 2 * stats::pt(-abs(test$stat), test$df_resid))
  # by hand for one gene: CR0 of a model of two means
  score <- test_glm(fit, "armb", replicate = "donor", sandwich = "CR0")
  y <- SummarizedExperiment::assay(sce)[1, ]
  mu <- predict(fit)[1, ]
  alpha <- fit$state$dispersion[1]
  x <- model.matrix(~arm, SummarizedExperiment::colData(sce))
  bread <- solve(crossprod(x, x * mu / (1 + alpha * mu)))
  sums <- rowsum(x * (y - mu) / (1 + alpha * mu), sce$donor)
  expect_equal(score$se[1], sqrt((bread %*% crossprod(sums) %*% bread)[2, 2]), tolerance = 1e-8)
})

test_that("cells that are taken for replicates are warned of once", {
  skip_if_no_engine()
  fit <- suppressMessages(fit_glm(donor_sce(), ~arm, size_factors = NULL))
  expect_warning(test_glm(fit, "armb"), "'arm' is constant within 'donor'", class = "isthmus_replicate_warning")
  expect_silent(test_glm(fit, "armb"))
})

test_that("pseudobulk() sums what belongs together", {
  skip_if_no_engine()
  sce <- donor_sce()
  sums <- pseudobulk(sce, c("donor", "arm"))
  expect_s4_class(sums, "SingleCellExperiment")
  expect_identical(colnames(sums), paste0("d", 1:8, "_", rep(c("a", "b"), each = 4)))
  expected <- t(rowsum(t(SummarizedExperiment::assay(sce)), sce$donor))
  expect_equal(as.matrix(SummarizedExperiment::assay(sums)), expected, ignore_attr = TRUE)
  expect_equal(sums$library_size, unname(colSums(expected)))
  expect_equal(sums$n_cells, rep(20, 8))
  expect_null(sums$site)
  expect_identical(SummarizedExperiment::rowData(sums)$symbol, rownames(sce))
  fit <- suppressMessages(fit_glm(sums, ~arm))
  qlf <- test_glm(fit, "armb", method = "qlf")
  expect_true(all(is.finite(qlf$pval[qlf$status != "all_zero"])))
  sce$donor[1] <- "d2"
  expect_identical(ncol(pseudobulk(sce[, c(1:20, 40:65)], "donor", min_cells = 18)), 2L)
})

test_that("wrong replicates and groups have their sentence", {
  skip_if_no_engine()
  sce <- donor_sce()
  fit <- suppressMessages(fit_glm(sce, ~ arm, size_factors = NULL))
  expect_snapshot(error = TRUE, {
    test_glm(fit, "armb", replicate = "doner")
    test_glm(fit, "armb", replicate = 1:3)
    test_glm(fit, "armb", replicate = "donor", method = "lrt")
    pseudobulk(sce, "doner")
    pseudobulk(sce, 3)
    pseudobulk(sce, "donor", min_cells = 30)
  })
})
