# R evaluates formulas: whatever model.matrix() makes of one is what the engine fits.

expect_formula <- function(formula, cells = small_cells()) {
  matrix <- stats::model.matrix(formula, cells)
  fit <- fit_quietly(small_sce(), formula, cell_data = cells)
  by_matrix <- fit_quietly(small_sce(), unname_rows(matrix), cell_data = cells)
  expect_identical(colnames(coef(fit)), colnames(matrix))
  expect_identical(coef(fit), coef(by_matrix))
  invisible(fit)
}

unname_rows <- function(x) matrix(x, nrow(x), dimnames = list(NULL, colnames(x)))

test_that("R's functions, contrasts and interactions work", {
  skip_if_no_engine()
  expect_formula(~ relevel(condition, "B"))
  expect_formula(~ I(age^2) + poly(age, 2, raw = TRUE)[, 1])
  expect_formula(~ cut(age, 3))
  expect_formula(~ condition * scale(age))
  expect_formula(~ 0 + condition)
  expect_formula(~ factor(batch, levels = c("b3", "b1", "b2", "b4")))
  expect_formula(~ C(condition, contr.sum))
  expect_formula(~ splines::ns(age, df = 3))
  expect_formula(~ (age > 30) + log1p(age))
  expect_formula(~ ordered(batch))
  cells <- small_cells()
  contrasts(cells$condition) <- contr.helmert(2)
  expect_formula(~condition, cells)
})

test_that("a dot, backticks and text as formula work", {
  skip_if_no_engine()
  cells <- small_cells()[c("condition", "age")]
  fit <- fit_quietly(small_counts(), ~., cell_data = cells)
  expect_identical(colnames(coef(fit)), c("(Intercept)", "conditionB", "age"))
  expect_identical(coef(fit_quietly(small_counts(), "~ condition + age", cell_data = cells)), coef(fit))
  names(cells) <- c("the condition", "age")
  fit <- fit_quietly(small_counts(), ~`the condition`, cell_data = cells)
  expect_identical(colnames(coef(fit)), c("(Intercept)", "`the condition`B"))
})

test_that("the environment of the formula is honoured", {
  skip_if_no_engine()
  make <- function() {
    half <- function(x) x / 2
    dose <- small_cells()$age
    knots <- c(30, 45)
    list(half = ~ half(age), dose = ~dose, knots = ~ splines::ns(age, knots = knots))
  }
  formulas <- make()
  fit <- fit_quietly(small_sce(), formulas$half, size_factors = NULL)
  expect_equal(unname(coef(fit)), unname(coef(fit_quietly(small_sce(), ~ I(age / 2), size_factors = NULL))))
  expect_equal(unname(coef(fit_quietly(small_sce(), formulas$dose))), unname(coef(fit_quietly(small_sce(), ~age))))
  # a fit finds the function again after saving, and carries no variable of the cells along
  path <- tempfile()
  saveRDS(fit, path)
  again <- readRDS(path)
  expect_equal(predict(again, newdata = small_cells()[1:3, ]), predict(fit)[, 1:3])
  kept <- environment(fit_quietly(small_sce(), formulas$knots)$design$terms)
  expect_setequal(ls(kept), "knots")
})

test_that("as_numeric and as_categorical are honoured", {
  skip_if_no_engine()
  cells <- small_cells()
  cells$plate <- rep(c(1, 2, 10, 20), 10)
  cells$dose <- factor(rep(c("0.5", "2", "10", "20"), 10))
  fit <- fit_quietly(small_counts(), ~plate, cell_data = cells, as_categorical = "plate")
  expect_identical(colnames(coef(fit)), c("(Intercept)", "plate2", "plate10", "plate20"))
  fit <- fit_quietly(small_counts(), ~dose, cell_data = cells, as_numeric = "dose")
  cells$dose <- as.numeric(as.character(cells$dose))
  expect_identical(coef(fit), coef(fit_quietly(small_counts(), ~dose, cell_data = cells)))
})

test_that("a factor with empty levels may be used inside a function that drops them", {
  skip_if_no_engine()
  cells <- small_cells()
  cells$condition <- factor(cells$condition, c("A", "B", "C"))
  fit <- fit_quietly(small_counts(), ~ droplevels(condition), cell_data = cells)
  expect_equal(unname(coef(fit)), unname(coef(fit_quietly(small_sce(), ~condition))))
})

test_that("offset() terms join the offset", {
  skip_if_no_engine()
  sce <- small_sce()
  depth <- log(small_cells()$depth)
  fit <- fit_quietly(sce, ~ condition + offset(log(depth)), size_factors = NULL)
  expect_equal(coef(fit), coef(fit_quietly(sce, ~condition, size_factors = NULL, offset = depth)))
  twice <- fit_quietly(sce, ~ condition + offset(log(depth)), size_factors = NULL, offset = depth)
  expect_equal(coef(twice), coef(fit_quietly(sce, ~condition, size_factors = NULL, offset = 2 * depth)))
  by_gene <- matrix(depth, 12, 40, byrow = TRUE)
  expect_equal(coef(fit_quietly(sce, ~condition, size_factors = NULL, offset = by_gene)), coef(fit))
  both <- fit_quietly(sce, ~ condition + offset(log(depth)), size_factors = NULL, offset = by_gene)
  expect_equal(coef(both), coef(twice))
})

test_that("predict() codes new cells as the fit's were", {
  skip_if_no_engine()
  cells <- small_cells()
  sce <- small_sce()
  at <- c(5L, 33L, 38L)
  for (formula in list(~ condition + age, ~ splines::ns(age, 3), ~ scale(age) + batch, ~ poly(age, 2))) {
    fit <- fit_quietly(sce, formula, ~condition, size_factors = NULL)
    expect_equal(predict(fit, newdata = cells[at, ]), predict(fit)[, at], tolerance = 1e-10)
    expect_equal(predict(fit, newdata = sce[, at], type = "link"), log(predict(fit)[, at]), tolerance = 1e-10)
    one <- predict(fit, newdata = cells[at, ], type = "dispersion")
    expect_equal(one, predict(fit, type = "dispersion")[, at], tolerance = 1e-10)
  }
  fit <- fit_quietly(sce, ~ age + offset(log(depth)), size_factors = NULL)
  expect_equal(predict(fit, newdata = cells[at, ]), predict(fit)[, at], tolerance = 1e-10)
  doubled <- predict(fit, newdata = cells[at, ], size_factors = c(2, 2, 2))
  expect_equal(doubled, 2 * predict(fit)[, at], tolerance = 1e-10)
  fit <- fit_quietly(sce, model.matrix(~age, cells), size_factors = NULL)
  expect_equal(unname(predict(fit, newdata = model.matrix(~age, cells)[at, ])), unname(predict(fit)[, at]))
})
