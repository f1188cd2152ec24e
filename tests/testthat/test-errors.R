# One test a rule: the sentence itself is the snapshot, in the words that Python uses (tests/python tests the same
# rules).

test_that("counts are checked", {
  skip_if_no_engine()
  counts <- small_counts()
  sparse <- as(counts, "dgCMatrix")
  with_value <- function(x, value) {
    x[2L, 3L] <- value
    x
  }
  integers <- counts
  storage.mode(integers) <- "integer"
  expect_snapshot(error = TRUE, cnd_class = TRUE, {
    fit_glm(with_value(counts, NA))
    fit_glm(with_value(integers, NA))
    fit_glm(with_value(sparse, NA))
    fit_glm(with_value(counts > 5, NA))
    fit_glm(with_value(counts, -1))
    fit_glm(with_value(counts, Inf))
    fit_glm(counts[, 0])
    fit_glm(counts[0, ])
    fit_glm(matrix("a", 2, 2))
    fit_glm(data.frame(gene = c("a", "b"), c1 = 1:2))
    fit_glm(list(1))
    fit_glm(array(1, c(2, 2, 2)))
  })
})

test_that("fractional counts are one message", {
  skip_if_no_engine()
  counts <- small_counts()
  counts[1:3, 1:2] <- 0.5
  messages <- capture_messages(fit_glm(counts, size_factors = NULL))
  expect_length(grep("fractional", messages), 1L)
  expect_snapshot(cat(grep("fractional", messages, value = TRUE)))
})

test_that("names are checked", {
  skip_if_no_engine()
  twice <- missing <- no_cell <- small_counts()
  rownames(twice)[1:2] <- "g1"
  rownames(missing)[3] <- NA
  colnames(no_cell)[4] <- NA
  expect_snapshot(error = TRUE, cnd_class = TRUE, {
    fit_glm(twice)
    fit_glm(missing)
    fit_glm(no_cell)
    fit_glm(unname(twice), gene_names = c("a", "b"))
    fit_glm(small_counts(2), gene_names = c("a", NA))
  })
})

test_that("a transposed matrix is recognised by its size and by its names", {
  skip_if_no_engine()
  cells <- small_cells(12L)
  square <- small_counts(12L, 12L)
  expect_snapshot(error = TRUE, cnd_class = TRUE, {
    fit_glm(t(small_counts()), ~condition, cell_data = small_cells())
    fit_glm(t(square), ~condition, cell_data = cells)
    fit_glm(t(small_counts()), model.matrix(~condition, small_cells()))
  })
})

test_that("cell data and covariates are checked", {
  skip_if_no_engine()
  sce <- small_sce()
  missing <- small_cells()
  missing$age[c(3, 9)] <- NA
  missing$batch[5] <- NA
  missing$condition[7] <- NA
  empty <- small_cells()
  empty$condition <- factor(empty$condition, c("A", "B", "C"))
  single <- transform(small_cells(), condition = "A")
  other <- small_cells()
  rownames(other)[1:2] <- c("x1", "x2")
  expect_snapshot(error = TRUE, cnd_class = TRUE, {
    fit_glm(sce, ~age, cell_data = missing)
    fit_glm(sce, ~batch, cell_data = missing)
    fit_glm(sce, ~condition, cell_data = missing)
    fit_glm(sce, ~ poly(age, 2), cell_data = missing)
    fit_glm(sce, ~ I(1 / (age > 40)))
    fit_glm(sce, ~conditon)
    fit_glm(small_counts(), ~condition)
    fit_glm(sce, ~condition, cell_data = empty)
    fit_glm(sce, ~condition, cell_data = single)
    fit_glm(sce, ~condition, cell_data = small_cells()[1:30, ])
    fit_glm(sce, ~condition, cell_data = other)
    fit_glm(sce, ~condition, cell_data = data.frame(condition = c("A", "B", "B")))
    fit_glm(unname(small_counts()), ~condition, cell_data = data.frame(condition = c("A", "B", "B")))
    fit_glm(sce, ~condition, cell_data = 3)
    fit_glm(sce, ~ age + batch, as_numeric = "batch")
    fit_glm(sce, ~age, as_categorical = "agee")
  })
})

test_that("designs are checked", {
  skip_if_no_engine()
  sce <- small_sce()
  x <- model.matrix(~condition, small_cells())
  expect_snapshot(error = TRUE, cnd_class = TRUE, {
    fit_glm(sce, "condition")
    fit_glm(sce, counts ~ condition)
    fit_glm(sce, 3)
    fit_glm(sce, ~0)
    fit_glm(sce, x[1:30, ])
    fit_glm(sce, matrix("a", 40, 1))
    fit_glm(sce, ~ condition + nofunction(age))
    fit_glm(sce, ~1, ~ offset(age))
  })
})

test_that("a collinear design names the aliased columns and proposes a constraint", {
  skip_if_no_engine()
  sce <- small_sce()
  expect_snapshot(error = TRUE, cnd_class = TRUE, {
    fit_glm(sce, ~ condition + batch)
    fit_glm(sce, ~ age + I(2 * age))
    fit_glm(sce, ~1, ~ condition + batch)
  })
})

test_that("size factors and offsets are checked", {
  skip_if_no_engine()
  sce <- small_sce()
  silent <- small_counts()
  silent[, 4] <- 0
  expect_snapshot(error = TRUE, cnd_class = TRUE, {
    fit_glm(sce, size_factors = c(0, -1, rep(1, 38)))
    fit_glm(sce, size_factors = c(NA, rep(1, 39)))
    fit_glm(sce, size_factors = 1:3)
    fit_glm(sce, size_factors = "dept")
    fit_glm(silent)
    fit_glm(sce, offset = 1:3)
    fit_glm(sce, offset = c(NA, rep(0, 39)))
  })
})

test_that("options are checked, and NA is refused", {
  skip_if_no_engine()
  sce <- small_sce()
  expect_snapshot(error = TRUE, cnd_class = TRUE, {
    fit_glm(sce, max_iter = NA)
    fit_glm(sce, noise_model = NA_character_)
    fit_glm(sce, noise_model = "beta")
    fit_glm(sce, dispersion = "bayes")
    fit_glm(sce, max_iter = 0)
    fit_glm(sce, tol = -1)
    fit_glm(sce, init = "fast")
    fit_glm(sce, BPPARAM = 2)
  })
})

test_that("constraints are checked", {
  skip_if_no_engine()
  sce <- small_sce()
  expect_snapshot(error = TRUE, cnd_class = TRUE, {
    fit_glm(sce, ~ condition + batch, constraints = list(batch = "age"))
    fit_glm(sce, ~ condition + batch, constraints = list(plate = "condition"))
    fit_glm(sce, ~ condition * batch, constraints = list(batch = "condition"))
    fit_glm(sce, ~ condition + age, constraints = "conditionC = 0")
    fit_glm(sce, ~condition, constraints = "conditionB = 0; age")
    fit_glm(sce, ~condition, constraints = TRUE)
    fit_glm(sce, ~condition, constraints = matrix(1, 1, 5))
  })
})

test_that("tests and methods check what they are asked", {
  skip_if_no_engine()
  fit <- fit_quietly(small_sce(), ~condition)
  expect_snapshot(error = TRUE, cnd_class = TRUE, {
    test_glm(fit)
    test_glm(fit, "conditonB")
    test_glm(fit, factor = "batch")
    test_glm(fit, contrast = c(1, 2, 3))
    test_glm(fit, "conditionB", method = "lrt")
    test_glm(fit, "conditionB", alternative = "up")
    test_glm(fit, NA)
    test_glm(list(), "conditionB")
    vcov(fit)
    vcov(fit, gene = "g99")
    coef(fit, model = "both")
    as.data.frame(fit, table = "cells")
    residuals(fit)
    residuals(fit, small_sce(), type = "working")
    predict(fit, newdata = data.frame(cond = "A"))
    predict(fit, newdata = data.frame(condition = "C"))
  })
})

test_that("paths and prefixes are one text, and R's orientation is kept", {
  skip_if_no_engine()
  fit <- fit_quietly(small_sce(), ~condition)
  path <- tempfile("fit")
  save_fit(fit, path)
  expect_input_error(save_fit(fit, path), "or say overwrite = TRUE")
  expect_snapshot(error = TRUE, {
    save_fit(fit, 3)
    load_fit(NA)
    add_results(small_sce(), fit, prefix = NA)
    simulate_counts(10, 3, coef = matrix(0, 2, 2))
    simulate_counts(10, 3, size_factors = -1)
  })
})

test_that("texts are never run as code", {
  skip_if_no_engine()
  cells <- small_cells()
  cells[["{stop(1)}"]] <- cells$batch
  error <- expect_input_error(fit_glm(small_counts(), ~`{stop(2)}`, cell_data = cells))
  expect_match(conditionMessage(error), "{stop(2)}", fixed = TRUE)
})

test_that("the condition carries the user's call", {
  skip_if_no_engine()
  error <- tryCatch(fit_glm(small_sce(), ~conditon), error = identity)
  expect_identical(as.character(conditionCall(error)[[1L]]), "fit_glm")
  expect_s3_class(error, c("isthmus_input_error", "isthmus_error"), exact = FALSE)
})

test_that("what no method knows is refused, and what the generic passes is not", {
  skip_if_no_engine()
  sce <- small_sce()
  fit <- fit_quietly(sce, ~condition)
  expect_input_error(predict(fit, nonsense = 1), "`nonsense` is not an argument here. The arguments are `object`, `new")
  expect_input_error(predict(fit, sizefactors = 2), "did you mean `size_factors`")
  expect_input_error(AIC(fit, fit), "`k`; got 1 more")
  expect_input_error(nobs(fit, TRUE), "got 1 more")
  expect_identical(nrow(data.frame(as.data.frame(fit, stringsAsFactors = FALSE))), nrow(as.data.frame(fit)))
  error <- tryCatch(coef(fit, nonsense = stop("not evaluated")), error = identity)
  expect_s3_class(error, "isthmus_input_error")
  expect_identical(as.character(conditionCall(error)[[1L]]), "coef")
})

test_that("every method with dots refuses what lands in them", {
  table <- getNamespaceInfo("isthmus", "S3methods")
  names <- paste(table[, 1L], table[, 2L], sep = ".")
  names <- names[grepl("isthmus", names) & table[, 1L] != "print"]
  methods <- lapply(names, get, envir = asNamespace("isthmus"))
  names(methods) <- names
  open <- Filter(function(method) "..." %in% names(formals(method)), methods)
  expect_gt(length(open), 35L)
  refuses <- vapply(open, function(method) identical(body(method)[[2L]], quote(refuse_dots())), NA)
  expect_identical(names(open)[!refuses], "plot.isthmus_interactions") # which passes them on
})

test_that("whole numbers above 2^31 are whole numbers", {
  skip_if_no_engine()
  drawn <- function(seed) SummarizedExperiment::assay(simulate_counts(10, 3, seed = seed))
  expect_identical(drawn(2^40), drawn(2^40))
  expect_false(identical(drawn(2^40), drawn(2^40 + 1)))
  expect_input_error(fit_glm(small_sce(), ~condition, max_iter = 1e10), "must be below 2\\^31; got 10000000000\\.$")
  expect_input_error(simulate_counts(10, 3, seed = 2^31 + 0.5), "`seed` must be a whole number")
  expect_input_error(simulate_counts(10, 3, seed = -2^40), "got -1099511627776")
})
