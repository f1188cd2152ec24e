# Splines in formulas: against mgcv, against Python's, and in predictions.

spline_cells <- function() {
  set.seed(3)
  data.frame(age = runif(120, 0, 10), group = rep(c("A", "B"), 60))
}

test_that("cr() and cc() span what mgcv's splines span, beyond the knots too", {
  skip_if_not_installed("mgcv")
  x <- spline_cells()$age
  beyond <- c(-1, 0.5, 9.5, 12)
  for (kind in c("cr", "cc")) {
    make <- if (kind == "cr") cr else cc
    own <- make(x, df = 4)
    expect_identical(dim(own), c(120L, 4L))
    expect_lt(max(abs(colSums(own))), 1e-12)
    knots <- attr(own, "knots")
    smooth <- mgcv::s(x, bs = kind, k = length(knots))
    theirs <- mgcv::smoothCon(smooth, data.frame(x = x), knots = list(x = knots))[[1L]]
    map <- lm.fit(theirs$X, cbind(1, own))
    expect_lt(max(abs(map$residuals)), 1e-12)
    new <- make(beyond, knots = knots, center = attr(own, "center"))
    there <- mgcv::PredictMat(theirs, data.frame(x = beyond))
    expect_equal(there %*% map$coefficients, cbind(1, unclass(new)), tolerance = 1e-10, ignore_attr = TRUE)
  }
})

test_that("splines need no library, predict new cells, and are Python's", {
  skip_if_no_engine()
  cells <- spline_cells()
  counts <- matrix(rpois(3 * 120, exp(2 + sin(cells$age))), 3, byrow = TRUE, dimnames = list(paste0("g", 1:3), NULL))
  formulas <- c(
    "bs(age, df=4)" = ~ bs(age, df = 4), "cr(age, df=4, constraints='center')" = ~ cr(age, df = 4),
    "cc(age, df=4, constraints='center')" = ~ cc(age, 4)
  )
  python <- reticulate::import("isthmus", convert = FALSE)
  frame <- reticulate::r_to_py(cells["age"])
  for (name in names(formulas)) {
    fit <- fit_quietly(counts, formulas[[name]], cell_data = cells, size_factors = NULL)
    theirs <- python$fit_glm(t(counts), paste("~", name), cell_data = frame, size_factors = NULL)
    expect_equal(as.numeric(logLik(fit)), as.numeric(reticulate::py_to_r(theirs$log_likelihood)), tolerance = 1e-8)
    expect_equal(predict(fit, cells[5:9, ]), predict(fit)[, 5:9], ignore_attr = TRUE)
    kept <- unserialize(serialize(fit, NULL))
    expect_equal(predict(kept, cells[5:9, ]), predict(fit, cells[5:9, ]))
    expect_true(all(curve_extremes(fit, "age")$log2fc > 1))
  }
  expect_silent(design_matrix(cells, ~ group + ns(age, df = 3)))
})

test_that("a function of the user's comes first, and wrong splines have their sentence", {
  skip_if_no_engine()
  cells <- spline_cells()
  bs <- function(x, df) x^2
  expect_equal(design_matrix(cells, ~ bs(age, df = 4))[[2L]], cells$age^2)
  expect_input_error(design_matrix(cells, ~ cr(age)), "`cr\\(\\)` needs `df`, a whole number of at least 2, or `knots`")
  expect_input_error(design_matrix(cells, ~ cc(0 * age, df = 4)), "`cc\\(\\)` needs knots in ascending order")
})
