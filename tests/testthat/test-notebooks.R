# The notebook of inst/notebooks with chunks of both languages, in an R of its own: knitr and reticulate keep state.
rendered <- function() {
  folder <- new_folder()
  notebook <- system.file("notebooks", "r-with-python.Rmd", package = "isthmus", mustWork = TRUE)
  run_r(c(
    sprintf("folder <- %s", deparse1(folder)),
    sprintf("notebook <- %s", deparse1(notebook)),
    "made <- rmarkdown::render(notebook, 'md_document', output_dir = folder, intermediates_dir = folder, quiet = TRUE)",
    "cat(readLines(made), sep = '\\n')"
  ))
}

test_that("the R notebook with Python chunks runs", {
  skip_if_no_engine()
  skip_if_not_installed("rmarkdown")
  skip_if_not(rmarkdown::pandoc_available(), "needs pandoc")
  lines <- rendered()
  expect_null(attr(lines, "status"), info = lines)
  said <- sub("^ *#> ", "", grep("#>", lines, value = TRUE, fixed = TRUE))
  expect_match(said, "^AnnData object with n_obs . n_vars = 200 . 40", all = FALSE)
  expect_match(said, "obs: 'size_factors', 'condition', 'day', 'depth'", all = FALSE, fixed = TRUE)
  expect_match(said, "`size_factors`: those of the object are used.", all = FALSE, fixed = TRUE)
  expect_match(said, "^gene29 0.789", all = FALSE)
  expect_match(said, "class: SingleCellExperiment", all = FALSE, fixed = TRUE)
  expect_match(said, "colData names(4): sizeFactor condition day depth", all = FALSE, fixed = TRUE)
  expect_match(said, "[1] \"Date\"", all = FALSE, fixed = TRUE)
  expect_match(said, "logical +200", all = FALSE) # the depths of Python are R's column sums
  expect_match(said, "[1] TRUE", all = FALSE, fixed = TRUE) # both languages' estimates agree
  expect_match(said, "gene1 +-?[0-9.]+ +[0-9.e-]+$", all = FALSE)
})
