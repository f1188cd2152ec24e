#' Simulate a tissue with planted interactions
#'
#' Cells lie in squares (one a sample); each type has marker genes; a planted
#' interaction changes genes of its receivers where a sender is near. Counts are
#' Poisson with a log-normal depth. `logcounts` is log(1 + 200 x share of the cell's
#' counts). Shares sum to 1: where planted genes rise, every other gene falls a little,
#' and a good test finds that. Dividing the counts by the total of the genes that were
#' not planted takes it away.
#'
#' @param n_cells,n_genes Cells of all samples together; genes.
#' @param types,proportions Names and shares of the types; `NULL`: 40 % the first,
#'   the others alike.
#' @param interactions A data.frame, a row each: `sender`, `receiver`, `kind`
#'   (`"contact"` or `"gradient"`), `radius`, `effect` (natural log), `n_genes`;
#'   columns that are left out have the default's values. `NULL`: the second type
#'   acts on the first, by contact within 8 units, exp(1.5) times in 15 genes.
#'   `list()`: none.
#' @param layout `"random"`, or `"patches"` of types about 100 units wide.
#' @param n_samples Samples, whose coordinates overlap.
#' @param sample_sd Standard deviation of samples' effects on each gene (natural
#'   log).
#' @param field_range,field_sd Where not `NULL`: smooth random fields of each type
#'   and gene, with this range and standard deviation: variation in space without
#'   interaction.
#' @param seed A number, or `NULL`: drawn from R's random numbers, so that
#'   [set.seed()] governs. With a number R's random numbers are left alone.
#' @param fit A fit of such a tissue.
#' @param truth The tissue, or `metadata(tissue)$truth`.
#' @param fdr Genes and pairs with an adjusted p-value below this are found.
#' @return `simulate_interactions`: a `SingleCellExperiment` with the assays `counts`
#'   and `logcounts`, `cell_type` and `sample` in `colData()`, the places in
#'   `reducedDim(x, "spatial")`, and the planted genes in `metadata(x)$truth`.
#'   `recovery`: a data.frame, a row for each sender and receiver: `receiver`,
#'   `sender`, `planted`, `pval`, `padj`, `n_planted`, `n_found`, `n_false`, `fdp`,
#'   `auc`.
#' @section Python:
#' `isthmus.testing.simulate_interactions`, `isthmus.testing.recovery`
#' @export
#' @examples
#' if (isthmus_available()) {
#'   sce <- simulate_interactions(n_cells = 200, n_genes = 30, seed = 1)
#'   S4Vectors::metadata(sce)$truth
#' }
simulate_interactions <- function(n_cells = 3000L, n_genes = 150L, types = c("A", "B", "C"), proportions = NULL,
                                  interactions = NULL, layout = "random", n_samples = 1L, sample_sd = 0,
                                  field_range = NULL, field_sd = 0.5, seed = NULL) {
  call <- rlang::current_env()
  refuse_na(list(
    n_cells = n_cells, n_genes = n_genes, types = types, layout = layout, n_samples = n_samples,
    sample_sd = sample_sd, field_range = field_range, field_sd = field_sd, seed = seed
  ), call)
  if (is.null(seed)) seed <- sample.int(.Machine$integer.max, 1L)
  planted <- if (is.data.frame(interactions)) wire_frame(interactions, call, rows = NULL) else interactions
  simulated <- call_engine(
    "simulate_interactions",
    n_cells = wire_number(n_cells), n_genes = wire_number(n_genes), types = as.list(types),
    proportions = if (!is.null(proportions)) as.list(as.double(proportions)), interactions = planted,
    layout = layout, n_samples = wire_number(n_samples), sample_sd = sample_sd,
    field_range = wire_number(field_range), field_sd = field_sd, seed = wire_number(seed), .call = call
  )
  simulated_tissue(simulated)
}

simulated_tissue <- function(simulated) {
  genes <- as.character(simulated$genes)
  cells <- as.character(simulated$cells)
  matrix_of <- function(slots) {
    Matrix::sparseMatrix(
      i = as.integer(slots$i), p = as.integer(slots$p), x = as.double(slots$x), index1 = FALSE,
      dims = c(length(genes), length(cells)), dimnames = list(genes, cells)
    )
  }
  rownames(simulated$spatial) <- cells
  SingleCellExperiment::SingleCellExperiment(
    lapply(simulated$assays, matrix_of),
    colData = S4Vectors::DataFrame(unwire_table(simulated$obs), row.names = cells, check.names = FALSE),
    rowData = S4Vectors::DataFrame(unwire_table(simulated$var), row.names = genes, check.names = FALSE),
    reducedDims = list(spatial = simulated$spatial), metadata = list(truth = unwire_table(simulated$truth))
  )
}

#' @rdname simulate_interactions
#' @export
recovery <- function(fit, truth, fdr = 0.05) {
  call <- rlang::current_env()
  check_interaction_fit(fit, "fit", call)
  if (methods::is(truth, "SummarizedExperiment")) truth <- S4Vectors::metadata(truth)$truth
  if (!is.data.frame(truth)) {
    text <- sprintf("`truth` must be a tissue of simulate_interactions() or its truth; got %s.", class(truth)[[1L]])
    abort_input(text, call)
  }
  table <- call_engine("recovery", engine_fit(fit, call), wire_frame(truth, call, rows = NULL), fdr = fdr, .call = call)
  structure(unwire_table(table), class = c("isthmus_recovery", "data.frame"))
}
