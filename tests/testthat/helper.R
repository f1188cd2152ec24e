# Shared by all tests. With ISTHMUS_REQUIRE_ENGINE=1 a missing engine fails the test: isthmus_available() raises.
skip_if_no_engine <- function(modules = character(0)) {
  if (!isthmus_available(modules)) skip("no Python engine")
}

contract <- function(file) jsonlite::read_json(test_path("..", "contract", file))

# 12 genes x 40 cells, whole numbers, some zeros; the same in every run and without Python
small_counts <- function(n_genes = 12L, n_cells = 40L) {
  k <- seq_len(n_genes * n_cells)
  values <- (k * 7919L) %% 23L * ((k * 104729L) %% 5L > 0L)
  matrix(as.double(values), n_genes, dimnames = list(paste0("g", seq_len(n_genes)), paste0("c", seq_len(n_cells))))
}

small_cells <- function(n_cells = 40L) {
  k <- seq_len(n_cells)
  data.frame(
    condition = factor(rep(c("A", "B"), each = n_cells / 2)),
    batch = rep(c("b1", "b2", "b3", "b4"), each = n_cells / 4),
    age = 20 + (k * 37) %% 41, depth = 0.5 + (k * 13 %% 7) / 5,
    row.names = paste0("c", k)
  )
}

small_sce <- function(counts = small_counts(), cells = small_cells()) {
  SingleCellExperiment::SingleCellExperiment(list(counts = counts), colData = S4Vectors::DataFrame(cells))
}

fit_quietly <- function(...) suppressMessages(fit_glm(...))

# A new R process that sees the same packages; its output as lines
run_r <- function(code, env = character(0)) {
  file <- tempfile(fileext = ".R")
  on.exit(unlink(file))
  writeLines(code, file)
  libraries <- paste0("R_LIBS=", paste(.libPaths(), collapse = .Platform$path.sep))
  program <- file.path(R.home("bin"), "Rscript")
  # an R that hangs fails its test after five minutes, and not the whole run
  suppressWarnings(
    system2(program, c("--no-environ", file), stdout = TRUE, stderr = TRUE, env = c(libraries, env), timeout = 300)
  )
}

expect_input_error <- function(object, regexp = NULL) {
  error <- expect_error(object, regexp, class = "isthmus_input_error")
  invisible(error)
}

new_folder <- function() {
  path <- tempfile()
  dir.create(path)
  path
}
