#' Simulate droplets with known contamination
#'
#' Cells of a few types and empty droplets that share one ambient profile a batch.
#' Each type has markers that no other type expresses (a tenth of the genes, all
#' types together). A cell holds Poisson counts of its type's profile with gamma
#' noise plus a Poisson number of ambient counts, about a tenth.
#'
#' @param n_cells,n_genes,n_empty Size; at least 10 genes a type.
#' @param n_types Number of cell types, `colData(cells)$type`.
#' @param n_batches Number of batches, each with its own ambient profile.
#' @param seed A number, or `NULL`: drawn from R's random numbers, so that
#'   [set.seed()] governs. With a number R's random numbers are left alone.
#' @return A list of two `SingleCellExperiment`s with the assay `counts`: `cells`,
#'   whose truth is the assay `native`, the column `rho` of `colData()` (ambient share
#'   of the cell's UMI), the column `marker` and the matrix `ambient` of `rowData()`;
#'   and `droplets`, the cells first and then the empty ones.
#' @section Python:
#' `isthmus.testing.simulate_ambient`
#' @export
#' @examples
#' if (isthmus_available()) {
#'   sample <- simulate_ambient(n_cells = 50, n_genes = 40, n_empty = 300, seed = 1)
#'   summary(sample$cells$rho)
#' }
simulate_ambient <- function(n_cells = 400L, n_genes = 200L, n_empty = 4000L, n_types = 2L, n_batches = 1L,
                              seed = NULL) {
  call <- rlang::current_env()
  refuse_na(list(
    n_cells = n_cells, n_genes = n_genes, n_empty = n_empty, n_types = n_types, n_batches = n_batches, seed = seed
  ), call)
  if (is.null(seed)) seed <- sample.int(.Machine$integer.max, 1L)
  simulated <- call_engine(
    "simulate_ambient",
    n_cells = wire_number(n_cells), n_genes = wire_number(n_genes), n_empty = wire_number(n_empty),
    n_types = wire_number(n_types), n_batches = wire_number(n_batches), seed = wire_number(seed), .call = call
  )
  lapply(simulated, droplet_experiment)
}

droplet_experiment <- function(simulated) {
  experiment <- simulated_experiment(simulated)
  if (!is.null(simulated$native)) {
    native <- simulated
    native[c("p", "i", "x")] <- simulated$native
    SummarizedExperiment::assay(experiment, "native") <- SummarizedExperiment::assay(simulated_experiment(native))
    SummarizedExperiment::rowData(experiment)$marker <- unwire_column(simulated$marker)
  }
  experiment
}
