# Cells in space as they cross to the engine: expression, the columns that say what each cell is, and places.

#' @param data What [as_counts()] takes.
#' @param columns A named list: arguments that may name a column of the cells' data.
#' @param coordinates See [fit_interactions()].
#' @return A list: `data` (slots or the Python object), `cells` (a frame with the named columns), `coordinates`,
#'   `layer`, `counts`.
#' @noRd
wire_tissue <- function(data, columns, coordinates, assay, call) {
  counts <- as_counts(data, assay = assay, call = call)
  names_columns <- function(x) is.character(x) && length(x) < counts_cells(counts)
  named <- unlist(Filter(names_columns, columns))
  list(
    data = wire_counts(counts), layer = counts$layer, counts = counts,
    cells = if (is.null(counts$python)) wire_cells(counts$cells, named, call),
    coordinates = wire_coordinates(data, coordinates, call)
  )
}

counts_cells <- function(counts) if (is.null(counts$cells$n)) Inf else counts$cells$n

# The name of a column, or one value per cell; a vector with the cells' names goes by them.
wire_cell_values <- function(x, name, call) {
  if (is.null(x) || (is.character(x) && length(x) == 1L)) {
    return(x)
  }
  column <- plain_column(x)
  if (is.list(column) || !is.null(dim(column))) {
    rule <- "`%s` must be a column of the cells' data or have one value per cell; got %s."
    abort_input(sprintf(rule, name, class(x)[[1L]]), call)
  }
  list(kind = "per_cell", column = wire_column(panel_column(column), name, call), rows = wire_names(names(x)))
}

# A number for all cells, the name of a column, or one number per cell.
wire_radius <- function(x, call) {
  if (is.numeric(x) && length(x) == 1L) wire_number(x) else wire_cell_values(x, "cell_radius", call)
}

# Names of columns, or a data.frame with one row per cell.
wire_covariates <- function(x, call) {
  if (is.null(x) || is.character(x)) {
    return(if (!is.null(x)) as.list(x))
  }
  if (!is.data.frame(x) && !methods::is(x, "DataFrame")) {
    rule <- "`covariates` must name columns of the cells' data or be a data.frame; got %s."
    abort_input(sprintf(rule, class(x)[[1L]]), call)
  }
  plain <- lapply(stats::setNames(nm = names(x)), function(name) plain_column(x[[name]]))
  frame <- structure(plain, row.names = .set_row_names(nrow(x)), class = "data.frame")
  wire_frame(frame, call, rows = real_row_names(x))
}

# Places as a matrix, cells x 2 or 3, with the cells' names where there are some.
wire_coordinates <- function(data, coordinates, call) {
  if (inherits(data, "python.builtin.object") && is.character(coordinates)) {
    return(if (length(coordinates) == 1L) coordinates else as.list(coordinates))
  }
  if (is.character(coordinates)) coordinates <- named_coordinates(data, coordinates, call)
  if (is.data.frame(coordinates) || methods::is(coordinates, "DataFrame")) {
    rows <- real_row_names(coordinates)
    coordinates <- as.matrix(as.data.frame(coordinates))
    rownames(coordinates) <- rows
  }
  if (methods::is(coordinates, "Matrix")) coordinates <- as.matrix(coordinates)
  if (!is.matrix(coordinates) || !is.numeric(coordinates)) {
    abort_input(sprintf("%s got %s.", coordinates_rule, class(coordinates)[[1L]]), call)
  }
  # names of columns (x, y) say nothing to the engine
  wire_labelled(`colnames<-`(coordinates, NULL))
}

coordinates_rule <- paste(
  "`coordinates` must be the name of a reducedDim, the names of two or three columns of colData(data), or a matrix,",
  "cells x 2 or 3;"
)

# `"spatial"` is spatialCoords() of a SpatialExperiment; else a reducedDim, or columns.
named_coordinates <- function(data, name, call) {
  if (identical(name, "spatial") && methods::is(data, "SpatialExperiment")) {
    return(spatial_coords(data))
  }
  dims <- if (methods::is(data, "SingleCellExperiment")) SingleCellExperiment::reducedDimNames(data) else character(0)
  has_columns <- methods::is(data, "SummarizedExperiment")
  columns <- if (has_columns) colnames(SummarizedExperiment::colData(data)) else character(0)
  if (length(name) == 1L && name %in% dims) {
    return(as.matrix(SingleCellExperiment::reducedDim(data, name)))
  }
  if (length(name) %in% 2:3 && all(name %in% columns)) {
    return(coordinate_columns(SummarizedExperiment::colData(data), name, call))
  }
  listed <- function(x) if (length(x)) paste(sprintf("'%s'", utils::head(x, 20L)), collapse = ", ") else "none"
  text <- sprintf(
    "%s got %s. The reducedDims are: %s. The columns are: %s.", coordinates_rule,
    paste(sprintf("'%s'", name), collapse = ", "), listed(dims), listed(columns)
  )
  abort_input(text, call)
}

coordinate_columns <- function(cells, names, call) {
  columns <- lapply(names, function(name) plain_column(cells[[name]]))
  for (i in seq_along(columns)) {
    if (!is.numeric(columns[[i]])) {
      rule <- "`coordinates` must be numbers; column '%s' is %s."
      abort_input(sprintf(rule, names[[i]], class(columns[[i]])[[1L]]), call)
    }
  }
  do.call(cbind, lapply(columns, as.double))
}

# The package itself where it is installed; the slot that its objects keep places in where it is not.
spatial_coords <- function(data) {
  if (requireNamespace("SpatialExperiment", quietly = TRUE)) {
    return(SpatialExperiment::spatialCoords(data))
  }
  as.matrix(SingleCellExperiment::int_colData(data)$spatialCoords)
}

# A SpatialExperiment says itself which sample a cell is from.
default_sample <- function(data, sample) {
  if (!is.null(sample) || !methods::is(data, "SpatialExperiment")) {
    return(sample)
  }
  samples <- SummarizedExperiment::colData(data)$sample_id
  if (length(unique(samples)) < 2L) {
    return(NULL)
  }
  message("`sample`: using the column 'sample_id'; neighbours never lie in different samples.")
  "sample_id"
}
