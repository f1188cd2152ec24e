# Panels in any of the forms that R users hold them in, as they cross to Python, which has them time x series. A bare
# matrix is series x time, like an assay; ts, mts, zoo and data.frames are time x series.

#' A panel as it crosses to the engine
#'
#' @param data A `SummarizedExperiment` (rows = series, columns = time points), a
#'   matrix or `Matrix` (series x time), a `ts`, `mts`, `zoo` or data.frame (time x
#'   series), a list `monthly`, `quarterly` of two of them, a numeric vector (one
#'   series), or a Python object that reticulate holds.
#' @param assay Name or number of the assay, for the experiments.
#' @param call The environment of the function that the user called.
#' @return A list of parts (see the bridge's `panel_of_r`), or the Python object.
#' @noRd
wire_panel <- function(data, assay, call, argument = "data") {
  if (inherits(data, "python.builtin.object")) {
    return(data)
  }
  if (methods::is(data, "SummarizedExperiment")) {
    return(wire_experiment(data, assay, call))
  }
  if (inherits(data, "zoo")) {
    return(wire_zoo(data, call))
  }
  if (stats::is.ts(data)) {
    return(wire_ts(data, call))
  }
  if (identical(names(data), c("monthly", "quarterly")) && !is.data.frame(data)) {
    parts <- lapply(as.list(data), wire_panel, assay = assay, call = call)
    return(c(list(kind = "pair"), parts))
  }
  if (is.data.frame(data) || methods::is(data, "DataFrame")) {
    return(list(kind = "frame", frame = panel_frame(data, call)))
  }
  if (is.null(dim(data)) && (is.numeric(data) || is.logical(data))) data <- matrix(data, 1L)
  if (length(dim(data)) == 2L) {
    return(panel_parts(panel_numbers(data, call), rownames(data), colnames(data)))
  }
  text <- sprintf(
    paste(
      "`%s` must be a SummarizedExperiment or a matrix, series x time; a ts, mts or data.frame, time x series; or an",
      "AnnData; got %s."
    ),
    argument, class(data)[[1L]]
  )
  abort_input(text, call)
}

wire_experiment <- function(data, assay, call) {
  check_assay(data, assay, call)
  values <- panel_numbers(SummarizedExperiment::assay(data, assay, withDimnames = FALSE), call)
  parts <- panel_parts(values, rownames(data), colnames(data))
  parts$obs <- panel_frame(text_of_logical(usable_columns(SummarizedExperiment::colData(data))), call, rows = NULL)
  parts$var <- panel_frame(usable_columns(SummarizedExperiment::rowData(data)), call, rows = NULL)
  parts
}

# Monthly and quarterly series have periods as their times, so that a forecast knows what comes next.
wire_ts <- function(data, call) {
  parts <- panel_parts(t(panel_numbers(as.matrix(data), call)), colnames(data), NULL)
  at <- stats::tsp(data)
  first <- stats::start(data)
  if (at[[3L]] %in% c(4, 12)) {
    first <- as.integer(first)
    parts$period <- list(year = first[[1L]], within = first[[2L]], per_year = as.integer(at[[3L]]))
  } else {
    parts$times <- wire_vector(as.double(stats::time(data)))
  }
  parts
}

wire_zoo <- function(data, call) {
  index <- attr(data, "index")
  times <- if (inherits(data, "xts")) .POSIXct(as.double(index), "UTC") else index
  named <- colnames(data)
  values <- matrix(as.double(data), ncol = NCOL(data))
  panel_parts(t(panel_numbers(values, call)), named, as.character(panel_column(times)))
}

# Dense doubles: NA of an integer would cross as -2147483648.
panel_numbers <- function(data, call) {
  values <- as.matrix(data)
  if (!is.numeric(values) && !is.logical(values)) {
    abort_input(sprintf("`data` must hold numbers; got a %s matrix.", typeof(values)), call)
  }
  storage.mode(values) <- "double"
  unname(values)
}

panel_parts <- function(values, series, times) {
  list(kind = "matrix", x = values, series = wire_names(series), rows = wire_names(times))
}

panel_frame <- function(frame, call, rows = real_row_names(frame)) {
  columns <- lapply(stats::setNames(nm = names(frame)), function(name) panel_column(frame[[name]]))
  table <- structure(columns, row.names = .set_row_names(nrow(frame)), class = "data.frame")
  wire_frame(table, call, rows = rows)
}

# Columns about series or time points that can name something; others (matrices, lists, ranges) are of no use here.
usable_columns <- function(frame) {
  simple <- function(column) {
    column <- plain_column(column)
    is.null(dim(column)) && (is.atomic(column) || inherits(column, "POSIXct"))
  }
  frame[vapply(as.list(frame), simple, NA)]
}

# Dates as ISO 8601, which the engine reads as dates; everything else as it is.
panel_column <- function(x) {
  x <- plain_column(x)
  if (inherits(x, "POSIXlt")) x <- as.POSIXct(x)
  if (inherits(x, "Date")) {
    return(format(x, "%Y-%m-%d"))
  }
  if (inherits(x, "POSIXct")) {
    whole <- all(format(x, "%H%M%S") == "000000", na.rm = TRUE)
    return(format(x, if (whole) "%Y-%m-%d" else "%Y-%m-%dT%H:%M:%S"))
  }
  if (inherits(x, c("yearmon", "yearqtr"))) format_period(x) else x
}

# zoo's months and quarters, without zoo
format_period <- function(x) {
  year <- floor(as.double(x) + 1e-3)
  per_year <- if (inherits(x, "yearmon")) 12 else 4
  month <- 12 / per_year * round(per_year * (as.double(x) - year)) + 1
  sprintf("%d-%02d-01", year, month)
}

# Labels TRUE and FALSE are called so in the tables, not Python's True and False.
text_of_logical <- function(frame, columns = names(frame)) {
  for (name in intersect(columns, names(frame))) {
    if (is.logical(frame[[name]])) frame[[name]] <- as.character(frame[[name]])
  }
  frame
}

# The panel, with a column of batches as labels.
with_labels <- function(data, batch) {
  is_frame <- is.data.frame(data) || methods::is(data, "DataFrame")
  if (is_frame && is.character(batch)) text_of_logical(data, batch) else data
}

# `batch` and `time`: the name of a column, or one label per time point.
wire_labels <- function(x, name, call) {
  if (is.null(x) || (is.character(x) && length(x) == 1L)) {
    return(x)
  }
  wire_label_column(x, name, call)
}

wire_label_column <- function(x, name, call) {
  x <- panel_column(x)
  wire_column(if (is.logical(x)) as.character(x) else x, name, call)
}

# A named vector or list is a dict; NA in it means nothing. Whole numbers cross as such.
wire_dict <- function(x) {
  if (is.null(names(x))) {
    return(if (is.character(x) && length(x) != 1L) as.list(x) else wire_number(x))
  }
  lapply(as.list(x), function(value) if (length(value) == 1L && is.na(value)) NULL else wire_number(value))
}
