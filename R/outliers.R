#' Genes whose result hangs on one count
#'
#' `cooks_distance()` says for each count how far it alone moves the coefficients
#' of its gene; `flag_outliers()` marks the genes where one count moves them far,
#' by the rules of DESeq2, and takes their p-values out.
#'
#' A gene's `max_cooks` is its largest distance among the cells that share their row
#' of the design with at least two others; without such cells nothing can be said.
#' It is an outlier above `cutoff`; in a comparison of two groups not where three
#' other counts are larger still. The distances are those of Cook (1977), with a
#' dispersion by moments with trimmed means, at least 0.04 (Love, Huber & Anders
#' 2014).
#'
#' @param test A result of [test_glm()], of one or several contrasts.
#' @param fit The fit behind it.
#' @param data,assay The counts that were fitted, once more, as in [test_glm()].
#' @param cutoff `NULL`: the 99 % quantile of F with p and cells - p degrees of
#'   freedom. Larger marks fewer genes.
#' @param drop Take the p-values of outliers out, and adjust the others anew.
#' @param offset,weights The fit's offset or weights per gene and cell, if it had
#'   such.
#' @return `cooks_distance()`: a matrix, genes x cells (dense: meant for samples and
#'   pseudobulks). `flag_outliers()`: `test` with the columns `max_cooks` and
#'   `outlier`.
#' @section Python:
#' `isthmus.glm.cooks_distance`, `isthmus.glm.flag_outliers`
#' @export
#' @examples
#' if (isthmus_available()) {
#'   sce <- simulate_counts(n_cells = 12, n_genes = 30, seed = 1)
#'   sce$group <- rep(c("a", "b"), each = 6)
#'   fit <- fit_glm(sce, ~ group, size_factors = NULL)
#'   flagged <- flag_outliers(test_glm(fit, "groupb"), fit, sce)
#'   table(flagged$outlier)
#' }
flag_outliers <- function(test, fit, data = NULL, cutoff = NULL, drop = TRUE, assay = "counts", offset = NULL,
                          weights = NULL) {
  call <- rlang::current_env()
  if (!inherits(test, "isthmus_test")) {
    abort_input(sprintf("`test` must be a result of test_glm(); got %s.", class(test)[[1L]]), call)
  }
  check_fit(fit, call)
  refuse_na(list(cutoff = cutoff, drop = drop, assay = assay), call)
  counts <- counts_again(fit, data, assay, TRUE, character(0), parent.frame(), call)
  found <- call_engine(
    "flag_outliers", engine_fit(fit, call), as.list(test$gene), wire_numeric(test$pval), wire_numeric(test$padj),
    counts$wire, counts$cells,
    layer = counts$layer, remembered = is.null(data), cutoff = cutoff, drop = drop,
    offset = wire_offset(offset), weights = wire_offset(weights), .call = call
  )
  test$pval <- unwire_vector(found$pval)
  test$padj <- unwire_vector(found$padj)
  test$max_cooks <- unwire_vector(found$max_cooks)
  test$outlier <- as.logical(unwire_vector(found$outlier))
  test
}

#' @rdname flag_outliers
#' @export
cooks_distance <- function(fit, data = NULL, assay = "counts", offset = NULL, weights = NULL) {
  call <- rlang::current_env()
  check_fit(fit, call)
  refuse_na(list(assay = assay), call)
  counts <- counts_again(fit, data, assay, TRUE, character(0), parent.frame(), call)
  distances <- call_engine(
    "cooks_distance", engine_fit(fit, call), counts$wire, counts$cells,
    layer = counts$layer, remembered = is.null(data), offset = wire_offset(offset), weights = wire_offset(weights),
    .call = call
  )
  dimnames(distances) <- list(fit$state$gene_names, fit$state$cell_names)
  distances
}
