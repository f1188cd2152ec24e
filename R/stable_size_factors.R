#' Size factors from genes that do not vary within cell types
#'
#' Where neighbours raise some genes of a cell, its total rises too, and the share
#' of every other gene falls. These falls are true of shares, and
#' [neighbor_effects()] finds them, but nothing acts on those genes. With
#' `log1p(counts / size factor)` by these factors, the genes that nothing acts on stay
#' where they are.
#'
#' Sizes are the sums of the kept genes. Pearson's statistic of each gene within cell
#' types is compared with what the median gene's overdispersion lets one expect; genes
#' more than three (robust) standard deviations above are left out, and so on until
#' the same genes stay. This starts from all genes, and from those on either side of
#' the directions in which residuals vary most; the end at which the median gene is
#' least overdispersed is taken. Not more than half of the genes may be moved: what
#' counts as common is the median gene.
#'
#' @param data Counts, as in [fit_glm()].
#' @param labels The column of `colData(data)` with cell types, or one type per cell.
#' @param assay Name or number of the assay.
#' @param cell_data A data.frame with one row per cell that takes the place of
#'   `colData(data)`.
#' @return A numeric vector with the cells' names, mean 1. A message says which
#'   genes were left out.
#' @section Errors:
#' `isthmus_input_error` where fewer than 10 genes are left, or a cell has no count of
#' them.
#' @section Python:
#' `isthmus.interaction.stable_size_factors`
#' @export
#' @examples
#' if (isthmus_available()) {
#'   sce <- simulate_interactions(300, 40, seed = 1)
#'   SingleCellExperiment::sizeFactors(sce) <- stable_size_factors(sce, labels = "cell_type")
#' }
stable_size_factors <- function(data, labels, assay = "counts", cell_data = NULL) {
  call <- rlang::current_env()
  check_labels(missing(labels), call)
  refuse_na(list(assay = assay), call)
  counts <- as_counts(data, assay = assay, call = call)
  cells <- replace_cell_data(counts$cells, cell_data, counts$matrix$genes, call)
  column <- if (is.character(labels) && length(labels) == 1L) labels
  found <- call_engine(
    "stable_size_factors", wire_counts(counts), if (is.null(counts$python)) wire_cells(cells, column, call),
    labels = wire_cell_values(labels, "labels", call), layer = counts$layer, .call = call
  )
  stats::setNames(unwire_vector(found$sizes), as.character(found$cells))
}
