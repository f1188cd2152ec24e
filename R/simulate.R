#' Simulate counts with known truth
#'
#' Negative-binomial counts: log mu = X a + log(size factor), log alpha = Z b.
#' Without coefficients these follow batchglm's distributions: the first
#' coefficient of the mean is log U(1, 10000) and the others log U(0.5, 2); r =
#' 1 / alpha is U(1, 10) rounded.
#'
#' @param n_cells,n_genes Size; that of a design or of coefficients takes its
#'   place.
#' @param design,dispersion_design Design matrices, cells x terms; `NULL`: an
#'   intercept.
#' @param coef,dispersion_coef Parameters, **genes x terms** (natural log; log
#'   alpha for the dispersion); `NULL` draws them.
#' @param size_factors One positive number per cell.
#' @param seed A number, or `NULL`: drawn from R's random numbers, so that
#'   [set.seed()] governs. With a number R's random numbers are left alone.
#' @return A `SingleCellExperiment` with the assay `counts`; the true parameters
#'   are the matrices `coef` and `dispersion_coef` of `rowData()`, the designs and
#'   the seed are in `metadata()`, the size factors in `sizeFactors()`.
#' @section Python:
#' `isthmus.simulate_counts`
#' @export
#' @examples
#' if (isthmus_available()) {
#'   simulate_counts(n_cells = 50, n_genes = 10, seed = 1)
#' }
simulate_counts <- function(n_cells = 2000L, n_genes = 100L, design = NULL, dispersion_design = NULL, coef = NULL,
                            dispersion_coef = NULL, size_factors = NULL, seed = NULL) {
  call <- rlang::current_env()
  refuse_na(list(n_cells = n_cells, n_genes = n_genes, size_factors = size_factors, seed = seed), call)
  if (is.null(seed)) seed <- sample.int(.Machine$integer.max, 1L)
  simulated <- call_engine(
    "simulate_counts",
    n_cells = wire_number(n_cells), n_genes = wire_number(n_genes),
    design = wire_simulated_design(design, "design", call),
    dispersion_design = wire_simulated_design(dispersion_design, "dispersion_design", call),
    coef = turned(coef), dispersion_coef = turned(dispersion_coef),
    size_factors = wire_numeric(size_factors), seed = wire_number(seed), .call = call
  )
  simulated_experiment(simulated)
}

wire_simulated_design <- function(design, argument, call) {
  if (is.null(design)) {
    return(NULL)
  }
  if (inherits(design, "formula")) {
    rule <- "`%s` must be a matrix, cells x terms: there are no cells yet to evaluate a formula on. Use model.matrix()."
    abort_input(sprintf(rule, argument), call)
  }
  matrix_design(design, argument, call)$wire
}

# genes x terms in R, terms x genes in the engine
turned <- function(coef) if (is.null(coef)) NULL else wire_numeric(t(as.matrix(coef)))

simulated_experiment <- function(simulated) {
  genes <- as.character(simulated$genes)
  cells <- as.character(simulated$cells)
  counts <- Matrix::sparseMatrix(
    i = as.integer(simulated$i), p = as.integer(simulated$p), x = as.double(simulated$x), index1 = FALSE,
    dims = c(length(genes), length(cells)), dimnames = list(genes, cells)
  )
  columns <- S4Vectors::DataFrame(unwire_table(simulated$obs), row.names = cells, check.names = FALSE)
  truth <- S4Vectors::DataFrame(row.names = genes)
  for (name in names(simulated$varm)) truth[[name]] <- simulated$varm[[name]]
  experiment <- SingleCellExperiment::SingleCellExperiment(
    list(counts = counts), colData = columns, rowData = truth, metadata = simulated$metadata
  )
  stored <- unwire_vector(simulated$size_factors)
  if (!is.null(stored)) SingleCellExperiment::sizeFactors(experiment) <- stored
  experiment
}
