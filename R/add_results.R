#' Attach results to your own object
#'
#' Puts the columns of a GLM's gene table and its coefficients, or the columns of
#' a test, into `rowData(x)`. Of a fit of [remove_ambient()] come the assays
#' `denoised` and `denoised_mean`, what is known of each cell (`ambient_rho`,
#' `ambient_rho_se`, `ambient_flag` and the UMI) in `colData(x)`, of each gene
#' (`ambient_prob`, one column a batch where there are several; `ambient_observed`,
#' `ambient_removed`, `ambient_share`) in `rowData(x)`, and the profile, the history
#' and the settings in `metadata(x)$ambient`. Genes and cells are found by name;
#' nothing else of `x` changes.
#'
#' @param x A `SummarizedExperiment` or `SingleCellExperiment`.
#' @param fit A fit of [fit_glm()] or [remove_ambient()], or a result of
#'   [test_glm()].
#' @param prefix Put before each column name that does not begin with it. `NULL`:
#'   `"ambient_"` for a fit of [remove_ambient()], else `"isthmus_"`.
#' @return `x` with more in it. Genes that the results of a GLM do not have get `NA`;
#'   the genes and cells of `x` must be among those of [remove_ambient()].
#' @export
#' @examples
#' if (isthmus_available()) {
#'   x <- model.matrix(~condition, data.frame(condition = rep(c("A", "B"), each = 30)))
#'   sce <- simulate_counts(n_genes = 5, design = x, seed = 1)
#'   fit <- fit_glm(sce, x, size_factors = NULL)
#'   sce <- add_results(sce, test_glm(fit, "conditionB"), prefix = "condition_")
#'   SummarizedExperiment::rowData(sce)$condition_padj
#' }
add_results <- function(x, fit, prefix = NULL) {
  call <- rlang::current_env()
  if (!methods::is(x, "SummarizedExperiment")) {
    abort_input(sprintf("`x` must be a SummarizedExperiment; got %s.", class(x)[[1L]]), call)
  }
  if (inherits(fit, "isthmus_ambient")) {
    return(add_ambient(x, fit, if (is.null(prefix)) "ambient_" else prefix, call))
  }
  if (is.null(prefix)) prefix <- "isthmus_"
  columns <- result_columns(fit, call)
  at <- rows_of_genes(x, columns$gene, call)
  rows <- SummarizedExperiment::rowData(x)
  for (name in setdiff(names(columns), "gene")) rows[[paste0(prefix, name)]] <- columns[[name]][at]
  SummarizedExperiment::rowData(x) <- rows
  x
}

result_columns <- function(fit, call) {
  if (inherits(fit, "isthmus_test")) {
    if (anyDuplicated(fit$gene)) {
      text <- sprintf(
        "`fit` must have one row per gene; got %d contrasts. Pass one of them, fit[fit$contrast == ..., ].",
        length(unique(fit$contrast))
      )
      abort_input(text, call)
    }
    return(unclass(fit))
  }
  if (!inherits(fit, "isthmus_glm")) {
    rule <- "`fit` must be a fit of fit_glm() or remove_ambient(), or a result of test_glm(); got %s."
    abort_input(sprintf(rule, class(fit)[[1L]]), call)
  }
  c(as.list(as.data.frame(fit, table = "genes")), as.list(as.data.frame(stats::coef(fit), optional = TRUE)))
}

rows_of_genes <- function(x, genes, call) {
  if (is.null(rownames(x)) && nrow(x) == length(genes)) {
    return(seq_along(genes))
  }
  at <- match(rownames(x), genes)
  if (all(is.na(at))) {
    text <- sprintf(
      "`x` must have the genes of the results; got %s, which are not among them. Use the object that was fitted.",
      paste(sprintf("'%s'", utils::head(rownames(x), 3L)), collapse = ", ")
    )
    abort_input(text, call)
  }
  at
}
