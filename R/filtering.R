#' Which genes are worth testing
#'
#' `expressed_genes()` finds, before the fit, the genes with enough counts in
#' enough samples, by the rule of edgeR's `filterByExpr()`. `filter_by_mean()`
#' leaves genes with a small mean out of the adjustment of p-values, by the rule
#' of DESeq2's independent filtering.
#'
#' @param data Counts, as in [fit_glm()].
#' @param design A formula or a matrix: the smallest group of samples is taken from
#'   it.
#' @param min_count A gene stays if it reaches so many counts, in a library of
#'   median size, in as many samples as the smallest group has.
#' @param min_total Its total count must reach this.
#' @param assay Name or number of the assay.
#' @param cell_data A data.frame with one row per cell that takes the place of
#'   `colData(data)`.
#' @param test A result of [test_glm()]. Several contrasts or levels are filtered one
#'   by one.
#' @param fdr The level that the cutoff is chosen for.
#' @return `expressed_genes()`: a named logical vector. `filter_by_mean()`: `test`
#'   with another `padj`, `NA` for genes below the cutoff.
#' @section Python:
#' `isthmus.glm.expressed_genes`, `isthmus.glm.filter_by_mean`
#' @export
#' @examples
#' if (isthmus_available()) {
#'   sce <- simulate_counts(n_cells = 20, n_genes = 30, seed = 1)
#'   sce <- sce[expressed_genes(sce), ]
#' }
expressed_genes <- function(data, design = ~1, min_count = 10, min_total = 15, assay = "counts", cell_data = NULL) {
  call <- rlang::current_env()
  refuse_na(list(min_count = min_count, min_total = min_total, assay = assay), call)
  counts <- as_counts(data, assay = assay, call = call)
  cells <- replace_cell_data(counts$cells, cell_data, counts$matrix$genes, call)
  read <- with_explained_formula(read_design(design, cells, "design", call), call)
  found <- call_engine(
    "expressed_genes", wire_counts(counts), read$wire, wire_cells(cells, character(0), call),
    layer = counts$layer, min_count = min_count, min_total = min_total, .call = call
  )
  stats::setNames(as.logical(unwire_vector(found$kept)), as.character(found$genes))
}

#' @rdname expressed_genes
#' @export
filter_by_mean <- function(test, fdr = 0.1) {
  call <- rlang::current_env()
  if (!inherits(test, "isthmus_test")) {
    abort_input(sprintf("`test` must be a result of test_glm(); got %s.", class(test)[[1L]]), call)
  }
  refuse_na(list(fdr = fdr), call)
  strata <- names(test)[seq_len(match("gene", names(test)) - 1L)]
  block <- do.call(paste, c(unclass(test)[c(strata, "contrast")], sep = "\r"))
  test$padj <- unwire_vector(call_engine(
    "filter_by_mean", as.list(block), wire_numeric(test$mean), wire_numeric(test$pval), fdr = fdr, .call = call
  ))
  test
}
