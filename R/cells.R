# Cell data: where the variables of a formula come from. A cell source holds the table as the user has it; only the
# columns that a formula uses are ever looked at.

#' @param table A data.frame or DataFrame with one row per cell, or NULL.
#' @param n Number of cells.
#' @param cells Names of the cells, or NULL.
#' @return A list of class `cell_source`.
#' @noRd
cell_source <- function(table, n, cells = NULL) {
  list(table = table, n = n, cells = cells, columns = colnames(table))
}

python_cell_source <- function(data, call) {
  known <- call_engine("cell_columns", data, character(0), .call = call)
  source <- cell_source(NULL, known$n, if (!is.null(known$rows)) as.character(known$rows))
  source$columns <- as.character(known$all)
  source$python <- data
  source
}

# The `cell_data` argument takes the place of the data's own columns; rows go by name where both sides have names.
replace_cell_data <- function(source, cell_data, genes, call) {
  if (is.null(cell_data)) {
    return(source)
  }
  if (is.list(cell_data) && !is.data.frame(cell_data)) cell_data <- as.data.frame(cell_data)
  if (!is.data.frame(cell_data) && !methods::is(cell_data, "DataFrame")) {
    text <- sprintf("`cell_data` must be a data.frame with one row per cell; got %s.", class(cell_data)[[1L]])
    abort_input(text, call)
  }
  rows <- real_row_names(cell_data)
  cells <- source$cells
  comparable <- !is.null(rows) && !is.null(cells) && nrow(cell_data) == source$n
  if (comparable && !identical(rows, cells)) {
    at <- call_engine("match_cells", wire_names(rows), wire_names(cells), genes, .call = call)
    cell_data <- cell_data[unwire_vector(at) + 1L, , drop = FALSE]
  }
  cell_source(cell_data, source$n, if (is.null(cells)) rows else cells)
}

# The columns `names` as a data.frame, with as_numeric and as_categorical applied.
cell_frame <- function(source, names, as_numeric = character(0), as_categorical = character(0)) {
  if (!is.null(source$python)) {
    known <- call_engine("cell_columns", source$python, as.character(names), .call = rlang::caller_env())
    columns <- lapply(known$columns, unwire_column)
  } else {
    columns <- lapply(stats::setNames(nm = intersect(names, source$columns)), function(name) {
      plain_column(source$table[[name]])
    })
  }
  for (name in intersect(as_numeric, names(columns))) {
    column <- columns[[name]]
    # what is no number becomes NA here; the engine says which column and why
    columns[[name]] <- suppressWarnings(as.numeric(if (is.factor(column)) as.character(column) else column))
  }
  for (name in intersect(as_categorical, names(columns))) columns[[name]] <- factor(columns[[name]])
  n <- if (is.null(source$table)) source$n else nrow(source$table)
  structure(columns, row.names = .set_row_names(n), class = "data.frame")
}

# Rle and other vectors of Bioconductor as base R's
plain_column <- function(column) {
  if (methods::is(column, "Rle")) column <- S4Vectors::decode(column)
  if (isS4(column)) as.vector(column) else column
}

# Cell data given directly: to design_matrix(), constraint_matrix(), predict()
as_cell_source <- function(data, call, argument = "data") {
  if (methods::is(data, "SummarizedExperiment")) {
    return(cell_source(SummarizedExperiment::colData(data), ncol(data), colnames(data)))
  }
  if (inherits(data, "python.builtin.object")) {
    return(python_cell_source(data, call))
  }
  if (is.data.frame(data) || methods::is(data, "DataFrame")) {
    return(cell_source(data, nrow(data), real_row_names(data)))
  }
  if (is.matrix(data)) { # rows for a design without variables
    return(cell_source(as.data.frame(data), nrow(data), rownames(data)))
  }
  rule <- "`%s` must be a data.frame with one row per cell or a SingleCellExperiment; got %s."
  abort_input(sprintf(rule, argument, class(data)[[1L]]), call)
}
