#' Attach results to your own object
#'
#' Puts the columns of a GLM's gene table and its coefficients, or the columns of
#' a test, into `rowData(x)`; with `fit_glm(by = )` those of each level, named
#' `<level>_<column>`. Of a fit of [remove_ambient()] come the assays
#' `denoised` and `denoised_mean`, what is known of each cell (`ambient_rho`,
#' `ambient_rho_se`, `ambient_flag` and the UMI) in `colData(x)`, of each gene
#' (`ambient_prob`, one column a batch where there are several; `ambient_observed`,
#' `ambient_removed`, `ambient_share`) in `rowData(x)`, and the profile, the history
#' and the settings in `metadata(x)$ambient`. Genes and cells are found by name;
#' nothing else of `x` changes.
#'
#' The smoothed factors of a factor fit go into `colData(x)`, a column for each
#' factor, and in a `SingleCellExperiment` also into `reducedDim(x, "factors")`.
#' Columns of `x` are found by batch and time.
#'
#' Of a fit of [fit_interactions()] come `contribution_all` and
#' `contribution_<sender>` into `colData(x)`: what all neighbours, and those of each
#' type, add to the prediction of the cell (root of the mean square over genes). A
#' result of [contributions()] gives the columns of its senders and gene. Cells are
#' found by name. A result of `explained_variance(by = "gene")` gives `r2_<receiver>`
#' and `padj_<receiver>` of all heads in `rowData(x)`.
#'
#' @param x A `SummarizedExperiment` or `SingleCellExperiment`.
#' @param fit A fit of [fit_glm()], [fit_factors()], [remove_ambient()] or
#'   [fit_interactions()], or a result of [test_glm()], [contributions()] or
#'   [explained_variance()] by gene.
#' @param prefix Put before each column name; in front of a name that begins with it
#'   already it is left out. `NULL`: `"ambient_"` for a fit of [remove_ambient()],
#'   else `"isthmus_"`.
#' @return `x` with more in it. Genes and time points that the results of a GLM or of a
#'   factor fit do not have get `NA`; so do cells of [contributions()]; the genes and
#'   cells of `x` must be among those of [remove_ambient()].
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
  if (is.null(prefix)) prefix <- if (inherits(fit, "isthmus_ambient")) "ambient_" else "isthmus_"
  check_text(prefix, "prefix", call)
  if (inherits(fit, "isthmus_ambient")) {
    return(add_ambient(x, fit, prefix, call))
  }
  if (inherits(fit, "isthmus_factors")) {
    return(add_factors(x, fit, prefix, call))
  }
  if (inherits(fit, "isthmus_interactions")) fit <- contributions(fit)
  if (inherits(fit, "isthmus_contributions")) {
    return(add_contributions(x, fit, prefix, call))
  }
  columns <- result_columns(fit, call)
  at <- rows_of_genes(x, columns$gene, call)
  rows <- SummarizedExperiment::rowData(x)
  for (name in setdiff(names(columns), "gene")) rows[[paste0(prefix, name)]] <- columns[[name]][at]
  SummarizedExperiment::rowData(x) <- rows
  x
}

result_columns <- function(fit, call) {
  if (inherits(fit, "isthmus_test")) {
    return(test_columns(fit, call))
  }
  if (inherits(fit, "isthmus_glm_strata")) {
    return(columns_by_level(lapply(unclass(fit), result_columns, call = call)))
  }
  if (inherits(fit, "isthmus_explained_variance") && "gene" %in% names(fit)) {
    return(receiver_columns(fit))
  }
  if (!inherits(fit, "isthmus_glm")) {
    rule <- "`fit` must be a fit, or a result of test_glm(), contributions() or explained_variance() by gene; got %s."
    abort_input(sprintf(rule, class(fit)[[1L]]), call)
  }
  c(as.list(as.data.frame(fit, table = "genes")), as.list(as.data.frame(stats::coef(fit), optional = TRUE)))
}

# Of a test of fit_glm(by = ), whose first column are the levels, the columns of each level
test_columns <- function(test, call) {
  if (anyDuplicated(names(test)) == 0L && names(test)[[1L]] != "gene") {
    by <- names(test)[[1L]]
    levels <- unique(test[[by]])
    own <- lapply(stats::setNames(nm = levels), function(level) {
      test_columns(test[test[[by]] == level, setdiff(names(test), by), drop = FALSE], call)
    })
    return(columns_by_level(own))
  }
  if (anyDuplicated(test$gene)) {
    text <- sprintf(
      "`fit` must have one row per gene; got %d contrasts. Pass one of them, fit[fit$contrast == ..., ].",
      length(unique(test$contrast))
    )
    abort_input(text, call)
  }
  unclass(test)
}

# Columns of all levels beside each other, named <level>_<column>
columns_by_level <- function(columns) {
  genes <- unique(unlist(lapply(columns, function(own) own$gene), use.names = FALSE))
  beside <- lapply(names(columns), function(level) {
    own <- columns[[level]]
    at <- match(genes, own$gene)
    wide <- lapply(own[setdiff(names(own), "gene")], function(column) column[at])
    stats::setNames(wide, paste(level, names(wide), sep = "_"))
  })
  c(list(gene = genes), do.call(c, beside))
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

# r2 and adjusted p-value of all heads, a column for each receiver.
receiver_columns <- function(table) {
  class(table) <- "data.frame"
  table <- table[table$head == "all", ]
  genes <- unique(table$gene)
  columns <- list(gene = genes)
  for (receiver in unique(table$receiver)) {
    own <- table[table$receiver == receiver, ]
    at <- match(genes, own$gene)
    columns[[paste0("r2_", receiver)]] <- own$r2[at]
    columns[[paste0("padj_", receiver)]] <- own$padj[at]
  }
  columns
}

add_contributions <- function(x, table, prefix, call) {
  cells <- if (is.null(colnames(x))) paste0("cell", seq_len(ncol(x))) else colnames(x)
  if (!any(cells %in% table$cell)) {
    text <- sprintf(
      "`x` must have the cells of the fit; got %s, the fit has %s. Use the object that was fitted.",
      first_few(cells), first_few(table$cell)
    )
    abort_input(text, call)
  }
  for (sender in unique(table$sender)) {
    own <- table[table$sender == sender, ]
    name <- paste0(prefix, "contribution_", sender)
    SummarizedExperiment::colData(x)[[name]] <- own$contribution[match(cells, own$cell)]
  }
  x
}

add_factors <- function(x, fit, prefix, call) {
  table <- as.data.frame(fit, table = "factors")
  factors <- unique(table$factor)
  keys <- column_keys(x, fit, call)
  rows <- paste(table$batch, table$time, sep = "\r")
  if (!any(keys %in% rows)) {
    text <- sprintf(
      "`x` must have the time points of the fit; got %s, the fit has %s. Use the object that was fitted.",
      first_few(sub("^.*\r", "", keys)), first_few(table$time)
    )
    abort_input(text, call)
  }
  values <- vapply(factors, function(name) {
    own <- table$factor == name
    table$smoothed[own][match(keys, rows[own])]
  }, double(ncol(x)))
  values <- matrix(values, ncol(x), length(factors), dimnames = list(colnames(x), factors))
  for (name in factors) SummarizedExperiment::colData(x)[[paste0(prefix, name)]] <- unname(values[, name])
  if (methods::is(x, "SingleCellExperiment")) SingleCellExperiment::reducedDim(x, "factors") <- values
  x
}

# Batch and time of each column of `x`, in the words of the fit's tables.
column_keys <- function(x, fit, call) {
  label <- function(given, default, argument) {
    if (is.null(given)) {
      return(default)
    }
    if (length(given) == 1L && is.character(given)) given <- SummarizedExperiment::colData(x)[[given]]
    if (length(given) != ncol(x)) {
      rule <- "`x` must have the `%s` of the fit for each of its %d columns; got %d. Use the object that was fitted."
      abort_input(sprintf(rule, argument, ncol(x), length(given)), call)
    }
    wire_label_column(given, argument, call)
  }
  names <- if (is.null(colnames(x))) seq_len(ncol(x)) else colnames(x)
  batch <- label(fit$labels$batch, NULL, "batch")
  time <- label(fit$labels$time, wire_column(names, "time", call), "time")
  labels <- call_engine("panel_labels", time, batch, .call = call)
  paste(unwire_column(labels$batch), unwire_column(labels$time), sep = "\r")
}

first_few <- function(x) paste(sprintf("'%s'", utils::head(unique(x), 3L)), collapse = ", ")
