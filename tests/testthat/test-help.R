test_that("reticulate shows the real arguments and the help of every function", {
  skip_if_no_engine()
  functions <- contract("surface.json")$functions
  # reticulate finds the function by the text, from the global environment
  assign("isthmus", reticulate::import("isthmus"), envir = globalenv())
  on.exit(rm("isthmus", envir = globalenv()))
  for (name in names(functions)) {
    docs <- reticulate::py_function_docs(paste0("isthmus$", name))
    wanted <- vapply(functions[[name]], `[[`, "", 1L)
    shown <- formals(eval(parse(text = paste("function", sub("^[^(]*", "", docs$signature), "NULL"))))
    expect_identical(names(shown), setdiff(wanted, "network_options"), info = name)
    expect_true(all(setdiff(wanted, "network_options") %in% names(docs$parameters)), info = name)
    expect_true(nzchar(docs$description), info = name)
  }
})

test_that("a default is shown as R writes it", {
  skip_if_no_engine()
  assign("isthmus", reticulate::import("isthmus"), envir = globalenv())
  on.exit(rm("isthmus", envir = globalenv()))
  shown <- reticulate::py_function_docs("isthmus$fit_glm")$signature
  expect_match(shown, "fit_glm(data, design = \"~ 1\", dispersion_design = \"~ 1\", constraints = NULL", fixed = TRUE)
  expect_match(shown, "as_numeric = character(0), ", fixed = TRUE)
  expect_match(shown, "max_iter = 100L, tol = 1e-08", fixed = TRUE)
})

test_that("options are named in Python all the same", {
  skip_if_no_engine()
  isthmus <- reticulate::import("isthmus")
  expect_error(isthmus$fit_glm(matrix(1, 2, 2), "~ 1", "~ 1"), "positional argument")
})
