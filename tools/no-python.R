# Run by tools/no-python.sh where no Python can be found.
stopifnot("a Python is on PATH: this test tests nothing" = !any(nzchar(Sys.which(c("python", "python3")))))
library(isthmus)
stopifnot("isthmus_available() must be FALSE without Python" = !isthmus_available())

explained <- tryCatch(
  fit_glm(matrix(rpois(40, 5), 4, 10), ~1),
  isthmus_missing_dependency = function(condition) conditionMessage(condition)
)
stopifnot(
  "fit_glm() must fail with a condition of class isthmus_missing_dependency" = is.character(explained),
  "the message must name install_isthmus()" = grepl("install_isthmus", explained, fixed = TRUE)
)
cat("Without Python, fit_glm() says:\n ", explained, "\n")

results <- as.data.frame(testthat::test_dir(
  "tests/testthat",
  package = "isthmus", load_package = "installed", reporter = "check", stop_on_failure = TRUE, stop_on_warning = TRUE
))
stopifnot(
  "some tests must run without Python" = sum(results$passed) > 0,
  "the tests of the engine must skip without Python" = any(results$skipped)
)
cat(sum(results$passed), "expectations passed without Python,", sum(results$skipped), "tests skipped\n")
