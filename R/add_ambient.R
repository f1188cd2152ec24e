# What add_results() does with a fit of remove_ambient().

add_ambient <- function(x, fit, prefix, call) {
  genes <- places(rownames(x), fit$state$gene_names, nrow(x), "genes", call)
  cells <- places(colnames(x), fit$state$cell_names, ncol(x), "cells", call)
  for (name in c("denoised", "denoised_mean")) {
    values <- fit[[name]][genes, cells, drop = FALSE]
    dimnames(values) <- dimnames(x)
    SummarizedExperiment::assay(x, name) <- values
  }
  of_cells <- as.data.frame(fit)
  of_genes <- ambient_genes(as.data.frame(fit, table = "genes"), fit$state$gene_names)
  SummarizedExperiment::colData(x) <- with_columns(
    SummarizedExperiment::colData(x), of_cells[cells, setdiff(names(of_cells), c("cell", "batch"))], prefix
  )
  SummarizedExperiment::rowData(x) <- with_columns(
    SummarizedExperiment::rowData(x), of_genes[genes, , drop = FALSE], prefix
  )
  if (identical(fit$facts$method, "scar") && methods::is(x, "SingleCellExperiment")) {
    SingleCellExperiment::reducedDim(x, "SCAR") <- unname_rows(latent(fit)[cells, , drop = FALSE], colnames(x))
  }
  S4Vectors::metadata(x)$ambient <- c(
    fit$facts[c("method", "profile", "seed")],
    list(profile_table = as.data.frame(fit, table = "profile"), history = as.data.frame(fit, table = "history"))
  )
  x
}

# Where each gene or cell of `x` is in the fit; by position where `x` has no names, or the same names.
places <- function(names, known, n, what, call) {
  if (identical(as.character(names), as.character(known)) || (is.null(names) && n == length(known))) {
    return(seq_along(known))
  }
  at <- match(names, known)
  if (is.null(names) || anyNA(at)) {
    lacking <- "no names"
    if (!is.null(names)) lacking <- paste(sprintf("'%s'", utils::head(names[is.na(at)], 3L)), collapse = ", ")
    text <- sprintf(
      "`x` must have %s of the fit; got %s. Use the object that was given to remove_ambient(), or a part of it.",
      what, lacking
    )
    abort_input(text, call)
  }
  at
}

# One row per gene; the profile has one column a batch.
ambient_genes <- function(table, genes) {
  sums <- rowsum(as.matrix(table[c("observed", "removed")]), table$gene)[genes, , drop = FALSE]
  batches <- unique(table$batch)
  names <- if (length(batches) > 1L) paste0("ambient_prob_", batches) else "ambient_prob"
  columns <- lapply(stats::setNames(batches, names), function(batch) {
    rows <- table[table$batch %in% batch, ]
    rows$ambient_prob[match(genes, rows$gene)]
  })
  columns$observed <- unname(sums[, "observed"])
  columns$removed <- unname(sums[, "removed"])
  columns$ambient_share <- columns$removed / columns$observed
  structure(columns, row.names = .set_row_names(length(genes)), class = "data.frame")
}

with_columns <- function(table, columns, prefix) {
  for (name in names(columns)) {
    full <- if (startsWith(name, prefix)) name else paste0(prefix, name)
    table[[full]] <- columns[[name]]
  }
  table
}
