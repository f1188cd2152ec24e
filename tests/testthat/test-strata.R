# fit_glm(by = ): one fit a level, each as if there were no other cells.

strata_sce <- function() {
  cells <- small_cells()
  cells$type <- factor(rep(c("T", "B"), 20), levels = c("T", "none", "B"))
  cells$donor <- rep(sprintf("d%d", 1:8), 5)
  small_sce(cells = cells)
}

test_that("each level is fitted and tested by itself", {
  skip_if_no_engine()
  sce <- strata_sce()
  fits <- suppressMessages(fit_glm(sce, ~condition, by = "type"))
  expect_s3_class(fits, "isthmus_glm_strata")
  expect_identical(names(fits), c("T", "B"))
  expect_output(print(fits), "GLMs by 'type':\n  T: 12 genes in 20 cells")
  alone <- lapply(c(T = "T", B = "B"), function(level) {
    suppressMessages(fit_glm(sce[, sce$type == level], ~condition))
  })
  expect_equal(coef(fits), lapply(alone, coef))
  table <- as.data.frame(fits, table = "genes")
  expect_identical(names(table)[1:2], c("type", "gene"))
  expect_identical(table$type, rep(c("T", "B"), each = 12))
  expect_equal(table$log_likelihood, unlist(lapply(alone, logLik), use.names = FALSE))
  for (method in c("wald", "lrt")) {
    found <- test_glm(fits, "conditionB", method = method)
    expect_s3_class(found, "isthmus_test")
    expect_identical(names(found)[1:2], c("type", "gene"))
    for (level in c("T", "B")) {
      expected <- test_glm(alone[[level]], "conditionB", method = method, data = sce[, sce$type == level])
      expect_equal(found$padj[found$type == level], expected$padj)
      expect_equal(found$stat[found$type == level], expected$stat)
    }
  }
  expect_equal(filter_by_mean(found)$padj, found$padj)
  robust <- suppressWarnings(test_glm(fits, "conditionB", replicate = "donor", data = sce))
  vector <- suppressWarnings(test_glm(fits, "conditionB", replicate = sce$donor))
  expect_equal(robust$se, vector$se)
  kept <- unserialize(serialize(fits, NULL))
  expect_equal(test_glm(kept, "conditionB")$pval, test_glm(fits, "conditionB")$pval)
})

test_that("levels of an AnnData that R holds, in memory or in a file, are those of the object in R", {
  skip_if_no_engine()
  sce <- strata_sce()
  adata <- suppressMessages(as_anndata(sce))
  path <- tempfile(fileext = ".h5ad")
  adata$write_h5ad(path)
  backed <- reticulate::import("anndata")$read_h5ad(path, backed = "r")
  on.exit(backed$file$close())
  wanted <- fit_quietly(sce, ~condition, by = "type", size_factors = NULL)
  for (data in list(adata, backed)) {
    fits <- fit_quietly(data, ~condition, by = "type", size_factors = NULL)
    expect_identical(names(fits), names(wanted))
    expect_equal(coef(fits), coef(wanted))
    for (method in c("wald", "lrt")) {
      found <- test_glm(fits, "conditionB", method = method, data = data)
      expect_equal(found, test_glm(wanted, "conditionB", method = method, data = sce))
    }
    labels <- rep(c("one", "two"), each = 20)
    expect_identical(names(fit_quietly(data, ~1, by = labels, size_factors = NULL)), c("one", "two"))
  }
  expect_error(test_glm(fits, "conditionB", method = "lrt", data = backed[1:9]), "must have one row or value per cell")
  refused <- tryCatch(fit_glm(reticulate::r_to_py(matrix(1:6, 2)), by = "type"), isthmus_input_error = identity)
  expect_match(conditionMessage(refused), "got a Python object of class numpy.ndarray", fixed = TRUE)
})

test_that("a saved fit by levels is the same in both languages, and without R's part", {
  skip_if_no_engine()
  sce <- strata_sce()
  fits <- fit_quietly(sce, ~condition, by = "type")
  path <- tempfile("fits")
  expect_identical(save_fit(fits, path), path)
  again <- load_fit(path)
  expect_s3_class(again, "isthmus_glm_strata")
  expect_identical(coef(again), coef(fits))
  expect_identical(attributes(again)[c("names", "by", "cells")], attributes(fits)[c("names", "by", "cells")])
  expect_equal(attr(again, "n_cells"), 40)
  for (method in c("wald", "lrt")) {
    found <- lapply(list(again, fits), test_glm, "conditionB", method = method, data = sce)
    expect_identical(found[[1L]], found[[2L]])
  }
  refused <- tryCatch(test_glm(again, "conditionB", method = "lrt"), isthmus_input_error = identity)
  expect_match(conditionMessage(refused), "`data` must be passed again for method=\"lrt\"")
  expect_identical(deparse(refused$call), "test_glm(again, \"conditionB\", method = \"lrt\")")
  new <- S4Vectors::DataFrame(condition = c("A", "B"))
  expect_identical(predict(again$B, as.data.frame(new)), predict(fits$B, as.data.frame(new)))
  expect_input_error(save_fit(fits, path), "or say overwrite = TRUE")
  python <- reticulate::import("isthmus")
  theirs <- python$load_fit(path)
  expect_identical(as.character(theirs$cell_names), colnames(sce))
  python$save_fit(theirs$from_state(theirs$state()), path, overwrite = TRUE)
  expect_identical(coef(load_fit(path)), coef(fits))
})

test_that("add_results() puts the levels beside each other", {
  skip_if_no_engine()
  sce <- strata_sce()
  fits <- fit_quietly(sce, ~condition, by = "type")
  found <- test_glm(fits, "conditionB")
  rows <- SummarizedExperiment::rowData(add_results(sce, found, "test_"))
  for (level in c("T", "B")) expect_identical(rows[[paste0("test_", level, "_pval")]], found$pval[found$type == level])
  expect_false(any(c("test_type", "test_pval") %in% names(rows)))
  rows <- SummarizedExperiment::rowData(add_results(sce, fits))
  expect_equal(rows[["isthmus_B_conditionB"]], unname(coef(fits)$B[, "conditionB"]))
  expect_equal(rows[["isthmus_T_dispersion"]], as.data.frame(fits$T, table = "genes")$dispersion)
  sce$batch <- rep(c("x", "y", "z"), length.out = 40)
  pairs <- suppressMessages(test_glm(fit_quietly(sce, ~batch, by = "type"), pairwise = "batch"))
  expect_input_error(add_results(sce, pairs), "got 3 contrasts. Pass one of them")
})

test_that("a contrast that is separated in a level has the p-value of the ratio", {
  skip_if_no_engine()
  sce <- strata_sce()
  SummarizedExperiment::assay(sce)[3, sce$type == "T" & sce$condition == "A"] <- 0
  fits <- suppressMessages(fit_glm(sce, ~condition, by = "type"))
  found <- test_glm(fits, "conditionB")
  of_level <- found[found$type == "T", ]
  expect_identical(of_level$method, ifelse(of_level$gene == rownames(sce)[[3]], "lrt", "wald"))
  expect_true(all(is.finite(of_level$pval)))
  expect_message(
    test_glm(fits$T, "conditionB"), "separated in 'conditionB'; a p-value there is a likelihood ratio's"
  )
})

test_that("values per cell go with their cells", {
  skip_if_no_engine()
  sce <- strata_sce()
  counts <- SummarizedExperiment::assay(sce)
  x <- model.matrix(~age, SummarizedExperiment::colData(sce))
  offset <- matrix(seq(-0.2, 0.2, length.out = length(counts)), nrow(counts))
  labels <- as.character(sce$type)
  fits <- fit_quietly(counts, x, by = labels, size_factors = sce$depth, offset = offset, weights = sce$depth)
  one <- labels == "B"
  own <- fit_quietly(
    counts[, one], x[one, ],
    size_factors = sce$depth[one], offset = offset[, one], weights = sce$depth[one]
  )
  expect_equal(coef(fits$B), coef(own))
  expect_identical(names(as.data.frame(fits))[[1L]], "stratum")
})

test_that("what cannot be split has its sentence", {
  skip_if_no_engine()
  sce <- strata_sce()
  sce$pval <- "x"
  sce$some <- c(NA, rep("x", 39))
  expect_input_error(fit_glm(sce, by = class), "got a function. Put its name in quotes")
  expect_input_error(fit_glm(sce, by = "typ"), "there is no column 'typ'")
  expect_input_error(fit_glm(sce, by = "pval"), "`by` must not have the name of a column of the tables; got 'pval'")
  expect_input_error(fit_glm(sce, by = "some"), "`by` must not be missing; got 1 missing values")
  expect_input_error(fit_glm(sce, by = c("a", "b")), "one label per cell \\(40\\); got 2")
  expect_input_error(
    fit_quietly(sce, ~condition, by = "condition"), "`by`: level 'A' of 'condition' \\(20 cells\\) cannot be fitted"
  )
  expect_input_error(fit_glm(sce, by = "type", weights = 1:3), "`weights` must have one row or value per cell")
  fits <- fit_quietly(sce, ~condition, by = "type")
  expect_input_error(test_glm(fits, "conditionB", data = sce[, 1:4]), "`data` must have one row or value per cell")
  expect_input_error(shrink_glm(fits, "conditionB"), "Take one level's, such as fit\\[\\[\"T\"\\]\\]")
})
