test_that("a list constraint takes the factor out of the formula and appends all its levels", {
  skip_if_no_engine()
  fit <- fit_quietly(small_sce(), ~ condition + batch, constraints = list(batch = "condition"))
  expect_identical(colnames(coef(fit)), c("(Intercept)", "conditionB", paste0("batchb", 1:4)))
  values <- coef(fit)
  expect_lt(max(abs(values[, "batchb1"] + values[, "batchb2"])), 1e-12)
  expect_lt(max(abs(values[, "batchb3"] + values[, "batchb4"])), 1e-12)
  # it identifies and does not restrict: the fit is that of the batches alone
  expect_equal(logLik(fit), logLik(fit_quietly(small_sce(), ~batch)), tolerance = 1e-9)
  expect_identical(coef(fit_quietly(small_sce(), ~ batch + condition, constraints = c(batch = "condition"))), values)
  at <- c(1, 40)
  again <- predict(fit, newdata = small_cells()[at, ], size_factors = fit$state$size_factors[at])
  expect_equal(again, predict(fit)[, at])
})

test_that("text, rows and H say the same", {
  skip_if_no_engine()
  x <- cbind(model.matrix(~condition, small_cells()), model.matrix(~ 0 + batch, small_cells()))
  wanted <- coef(fit_quietly(small_sce(), ~ condition + batch, constraints = list(batch = "condition")))
  text <- c("batchb1 + batchb2 = 0", "batchb3 + batchb4 = 0")
  expect_equal(coef(fit_quietly(small_sce(), x, constraints = text)), wanted)
  rows <- rbind(c(0, 0, -1, 1, 0, 0), c(0, 0, 0, 0, -1, 1))
  expect_equal(coef(fit_quietly(small_sce(), x, constraints = rows)), wanted)
  free <- constraint_matrix(x, text)
  expect_identical(dim(free), c(6L, 4L))
  expect_identical(rownames(free), colnames(x))
  expect_equal(coef(fit_quietly(small_sce(), x, constraints = as.matrix(free))), wanted)
  expect_equal(coef(fit_quietly(small_sce(), x, constraints = free)), wanted)
})

test_that("the dispersion model takes constraints too", {
  skip_if_no_engine()
  fit <- fit_quietly(small_sce(), ~condition, ~ condition + batch, dispersion_constraints = list(batch = "condition"))
  values <- coef(fit, model = "dispersion")
  expect_identical(colnames(values), c("(Intercept)", "conditionB", paste0("batchb", 1:4)))
  kept <- is.finite(rowSums(values))
  expect_gt(sum(kept), 0)
  expect_lt(max(abs(values[kept, "batchb1"] + values[kept, "batchb2"])), 1e-12)
})

test_that("a deficient design gets a proposal", {
  skip_if_no_engine()
  proposal <- "list\\(batch = \"condition\"\\)"
  expect_message(free <- constraint_matrix(~ condition + batch, NULL, data = small_cells()), proposal)
  expect_identical(free, constraint_matrix(~ condition + batch, list(batch = "condition"), data = small_cells()))
  expect_snapshot(constraint_matrix(~ condition + batch, list(batch = "condition"), data = small_cells()))
  expect_snapshot(constraint_matrix(~batch, list(batch = "1"), data = small_cells()))
})
