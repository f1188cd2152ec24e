#' Sum the counts of groups of cells
#'
#' One column a group, such as a donor in a condition. Cells of one donor are not
#' independent, so tests between donors that take cells for replicates reject far
#' too often; the sums are one observation each. Test them with
#' `test_glm(method = "qlf")`.
#'
#' @param data A `SingleCellExperiment` or `SummarizedExperiment`, or an AnnData
#'   held by reticulate.
#' @param by Names of columns of the cell data, such as `c("donor", "condition")`;
#'   every combination that occurs is a group.
#' @param assay Name or number of the assay.
#' @param min_cells Groups with fewer cells are left out, and a message says how
#'   many.
#' @return A `SingleCellExperiment`, genes x groups, with the assay `counts`;
#'   `colData` holds the columns of `by`, `n_cells`, `library_size` (the group's
#'   total count), and the other columns that are constant in each group.
#' @section Python:
#' `isthmus.pseudobulk`
#' @export
#' @examples
#' if (isthmus_available()) {
#'   sce <- simulate_counts(n_cells = 60, n_genes = 5, seed = 1)
#'   sce$donor <- rep(c("d1", "d2", "d3"), 20)
#'   SummarizedExperiment::colData(pseudobulk(sce, "donor"))
#' }
pseudobulk <- function(data, by, assay = "counts", min_cells = 10L) {
  call <- rlang::current_env()
  refuse_na(list(by = by, assay = assay, min_cells = min_cells), call)
  counts <- as_counts(data, assay = assay, call = call)
  if (!is.character(by)) abort_input(sprintf("`by` must be names of columns; got %s.", class(by)[[1L]]), call)
  plain <- Filter(function(name) crosses(counts$cells$table[[name]]), counts$cells$columns)
  summed <- call_engine(
    "pseudobulk", wire_counts(counts), wire_cells(counts$cells, union(plain, by), call), as.list(by),
    layer = counts$layer, min_cells = wire_number(min_cells), .call = call
  )
  sums <- simulated_experiment(summed)
  if (!methods::is(data, "SummarizedExperiment")) {
    return(sums)
  }
  SummarizedExperiment::rowData(sums) <- SummarizedExperiment::rowData(data)
  sums
}

# Columns of one dimension that the engine can compare within groups
crosses <- function(column) {
  column <- plain_column(column)
  is.null(dim(column)) && (is.factor(column) || is.character(column) || is.numeric(column) || is.logical(column))
}
