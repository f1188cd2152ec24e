

test_that("loading the package does not start Python", {
  output <- run_r(c("suppressPackageStartupMessages(library(isthmus))", "cat(reticulate::py_available())"))
  expect_identical(utils::tail(output, 1L), "FALSE")
})

test_that("inside rpy2 the Python call is named", {
  refuse <- function(command) isthmus:::refuse_rpy2(rlang::current_env(), command = command)
  expect_snapshot(refuse(c("rpy2", "--quiet")), error = TRUE, cnd_class = TRUE)
  expect_null(refuse("/usr/lib/R/bin/exec/R"))
})

no_engine <- c(
  "RETICULATE_PYTHON=", "ISTHMUS_REQUIRE_ENGINE=", "WORKON_HOME=/nonexistent", "R_USER_CONFIG_DIR=/nonexistent"
)

test_that("without an engine every function says how to get one", {
  output <- run_r(c(
    "suppressPackageStartupMessages(library(isthmus))", "cat(isthmus_available(), '\\n')",
    "e <- tryCatch(fit_glm(matrix(1, 2, 2)), error = identity)",
    "cat(class(e)[1:2], '\\n')", "cat(conditionMessage(e), '\\n')",
    "print(isthmus_info())"
  ), env = no_engine)
  expect_identical(trimws(output[1]), "FALSE")
  expect_identical(trimws(output[2]), "isthmus_missing_dependency isthmus_error")
  expect_match(output[3], "isthmus::install_isthmus()", fixed = TRUE)
  expect_match(paste(output, collapse = "\n"), "engine: none. isthmus has no Python engine yet", fixed = TRUE)
})

test_that("ISTHMUS_REQUIRE_ENGINE=1 makes a missing engine an error", {
  env <- sub("ISTHMUS_REQUIRE_ENGINE=", "ISTHMUS_REQUIRE_ENGINE=1", no_engine)
  output <- run_r(c("suppressPackageStartupMessages(library(isthmus))", "isthmus_available()"), env = env)
  expect_match(paste(output, collapse = "\n"), "no Python engine yet")
})

test_that("a Python that does not exist is named", {
  env <- sub("RETICULATE_PYTHON=", "RETICULATE_PYTHON=/no/such/python", no_engine, fixed = TRUE)
  output <- run_r(c(
    "suppressPackageStartupMessages(library(isthmus))",
    "e <- tryCatch(fit_glm(matrix(1, 2, 2)), isthmus_missing_dependency = identity)", "cat(conditionMessage(e), '\\n')"
  ), env = env)
  expect_match(paste(output, collapse = "\n"), "Python could not be started from /no/such/python")
})

test_that("isthmus_info() knows the engine", {
  skip_if_no_engine()
  info <- isthmus_info()
  expect_identical(info$engine$version, info$package)
  expect_null(info$problem)
  expect_match(capture.output(print(info)), "kernel", all = FALSE)
})

test_that("columns keep NA, levels and text on the way back", {
  unwire <- isthmus:::unwire_table
  table <- unwire(list(
    number = array(c(1, NaN)), text = list(kind = "text", codes = array(c(0L, -1L)), levels = "a"),
    factor = list(kind = "factor", codes = array(c(1L, -1L)), levels = c("u", "v")), flag = array(c(TRUE, FALSE))
  ))
  wanted <- data.frame(
    number = c(1, NaN), text = c("a", NA), factor = factor(c("v", NA), c("u", "v")), flag = c(TRUE, FALSE)
  )
  expect_identical(table, wanted)
  expect_identical(nrow(unwire(list(a = list()))), 0L)
})

test_that("names, factors and NA cross to Python unharmed", {
  skip_if_no_engine()
  bridge <- reticulate::import("isthmus.bridge.wire", convert = FALSE)
  frame <- data.frame(
    f = factor(c("a", NA, "b"), c("b", "a", "c")), t = c("x", NA, "None"), i = c(1L, NA, 3L), l = c(TRUE, NA, FALSE)
  )
  got <- bridge[["read_frame"]](isthmus:::wire_frame(frame, rlang::current_env()))
  expect_identical(reticulate::py_to_r(got$isna()$sum()$tolist()), c(1L, 1L, 1L, 1L))
  expect_identical(reticulate::py_to_r(got[["f"]]$cat$categories$tolist()), c("b", "a", "c"))
  expect_identical(reticulate::py_to_r(got[["t"]]$tolist()[[2L]]), "None")
  expect_identical(reticulate::py_to_r(got[["l"]]$tolist()[[0L]]), TRUE)
})

test_that("install_isthmus() refuses what this reticulate cannot do", {
  skip_if(utils::packageVersion("reticulate") >= "1.41", "reticulate can provide environments")
  error <- expect_error(install_isthmus("managed"), class = "isthmus_missing_dependency")
  expect_match(conditionMessage(error), "needs reticulate 1.41 or newer")
})

test_that("the pins follow the versions", {
  pins <- isthmus:::constraints_file
  expect_identical(pins("4.2.2", "1.28"), "reticulate-1.28.txt")
  expect_identical(pins("4.4.1", "1.41"), "r-4.4.txt")
  expect_identical(pins("4.5.0", "1.42"), "current.txt")
  expect_true(nzchar(system.file("constraints", pins(), package = "isthmus")))
})

test_that("a Python module that is missing is named", {
  skip_if_no_engine()
  expect_true(isthmus_available("numpy"))
  required <- Sys.getenv("ISTHMUS_REQUIRE_ENGINE", unset = NA)
  on.exit(Sys.setenv(ISTHMUS_REQUIRE_ENGINE = if (is.na(required)) "" else required))
  Sys.setenv(ISTHMUS_REQUIRE_ENGINE = "0")
  expect_false(isthmus_available(c("numpy", "a_module_that_nobody_has")))
  Sys.setenv(ISTHMUS_REQUIRE_ENGINE = "1")
  expect_error(
    isthmus_available("a_module_that_nobody_has"), "has no module a_module_that_nobody_has",
    class = "isthmus_missing_dependency"
  )
})
