# install_isthmus() with a wheel that holds an engine of one line: pip, its options and the environment are real, and
# nothing is downloaded.
toy_wheel <- function(folder) {
  python <- Sys.getenv("RETICULATE_PYTHON")
  version <- as.character(utils::packageVersion("isthmus"))
  path <- file.path(folder, sprintf("isthmus-%s-py3-none-any.whl", version))
  facts <- sprintf("isthmus-%s.dist-info", version)
  script <- tempfile(fileext = ".py")
  on.exit(unlink(script))
  writeLines(c(
    "import zipfile", sprintf("wheel = zipfile.ZipFile(r'%s', 'w')", path),
    "wheel.writestr('isthmus/__init__.py', 'toy = True\\n')",
    sprintf("wheel.writestr('%s/METADATA', 'Metadata-Version: 2.1\\nName: isthmus\\nVersion: %s\\n')", facts, version),
    sprintf("wheel.writestr('%s/WHEEL', 'Wheel-Version: 1.0\\nGenerator: toy\\nTag: py3-none-any\\n')", facts),
    sprintf("wheel.writestr('%s/RECORD', '')", facts), "wheel.close()"
  ), script)
  stopifnot(system2(python, script) == 0L)
  path
}

# In an R of its own: the environment is made in a folder that goes away again
installed <- function(source, home) {
  python <- Sys.getenv("RETICULATE_PYTHON")
  base <- system2(python, c("-c", shQuote("import sys; print(sys._base_executable)")), stdout = TRUE)
  code <- "path <- isthmus::install_isthmus(source = %s, python = %s); cat('python:', path)"
  run_r(
    sprintf(code, deparse1(source), deparse1(base)),
    env = c(paste0("WORKON_HOME=", home), "RETICULATE_PYTHON=", "PIP_NO_INDEX=1", "PIP_FIND_LINKS=")
  )
}

test_that("the engine is installed from a wheel and from a folder of wheels, without a network", {
  skip_if_no_engine()
  folder <- new_folder()
  home <- new_folder()
  wheel <- toy_wheel(folder)
  output <- installed(wheel, home)
  expect_match(output, "The engine is installed in .*r-isthmus", all = FALSE)
  python <- sub("^python: ", "", grep("^python: ", output, value = TRUE))
  toy <- function() system2(python, c("-c", shQuote("import isthmus; print(isthmus.toy)")), stdout = TRUE)
  expect_identical(toy(), "True")
  uninstall <- function() system2(python, c("-m", "pip", "uninstall", "-q", "-y", "isthmus"))
  expect_identical(uninstall(), 0L)
  expect_match(installed(folder, home), "The engine is installed in", all = FALSE) # into the environment that is there
  expect_identical(toy(), "True")
  expect_identical(uninstall(), 0L)
  file.rename(wheel, file.path(folder, "isthmus-0.0.1-py3-none-any.whl")) # not the version of this package
  output <- paste(installed(folder, home), collapse = " ")
  expect_match(output, "pip could not install the engine. Run `.*--no-index --find-links .*` to see why")
})

test_that("where the engine comes from", {
  wanted <- function(...) isthmus:::engine_source(..., call = NULL)
  version <- as.character(utils::packageVersion("isthmus"))
  expect_identical(wanted(NULL, character(0))$requirement, paste0("isthmus==", version))
  expect_identical(wanted(NULL, c("deep", "plot"))$requirement, paste0("isthmus[deep,plot]==", version))
  checkout <- normalizePath(new_folder())
  file.create(file.path(checkout, "pyproject.toml"))
  expect_identical(wanted(checkout, "plot"), list(requirement = paste0(checkout, "[plot]"), options = NULL))
})

test_that("a source or an extra that does not exist is refused before anything is made", {
  expect_input_error(
    install_isthmus(source = "/no/such/place"),
    "`source` must be NULL or the path of a checkout.*got \"/no/such/place\""
  )
  expect_input_error(install_isthmus(source = new_folder()), "holds neither")
  expect_input_error(install_isthmus(source = 1), "`source` must be NULL")
  expect_input_error(install_isthmus(extras = c("plot", "torch")), "`extras` must be among 'deep'.*got 'torch'")
})
