# How R's values cross to Python and back. Vectors become 1-d arrays (reticulate would make lists of them), text comes
# with a mask for NA, columns come back as arrays and become a data.frame here. No pandas object crosses.

# One copy (a memcpy, which array() is not): the array that numpy then looks at. rpy2 looks at R's own memory instead.
wire_vector <- function(x) {
  if (hosted_by_python()) {
    if (!is.null(attributes(x))) attributes(x) <- NULL
    return(x)
  }
  attributes(x) <- NULL
  dim(x) <- length(x)
  x
}

wire_names <- function(x) {
  if (is.null(x)) {
    return(NULL)
  }
  list(values = as.character(x), missing = if (anyNA(x)) wire_vector(is.na(x)))
}

# 5 is sent as 5L, so that Python sees an int.
wire_number <- function(x) {
  whole <- is.numeric(x) && length(x) == 1L && is.finite(x) && x == round(x) && abs(x) <= .Machine$integer.max
  if (whole) as.integer(x) else x
}

# A numeric vector or matrix that may also be a word ("auto") or NULL. NA becomes NaN, which the engine refuses by name.
wire_numeric <- function(x) {
  if (is.matrix(x)) {
    storage.mode(x) <- "double"
    return(unname(x))
  }
  if (is.numeric(x) || is.logical(x)) wire_vector(as.double(x)) else x
}

# Numbers with the names of cells (rows) and genes or coefficients (columns) where they have some: the engine puts them
# in order.
wire_labelled <- function(x) {
  rows <- name_of(if (is.matrix(x)) rownames(x) else names(x))
  columns <- name_of(colnames(x))
  if (!(is.numeric(x) || is.logical(x)) || (is.null(rows) && is.null(columns))) {
    return(wire_numeric(x))
  }
  list(kind = "labelled", values = wire_numeric(x), rows = wire_names(rows), columns = wire_names(columns))
}

# NULL for names that only count
name_of <- function(names) if (identical(names, as.character(seq_along(names)))) NULL else names

# One column of cell data.
wire_column <- function(x, name, call) {
  if (is.factor(x)) {
    return(wire_codes(as.integer(x) - 1L, "factor", levels(x), is.ordered(x)))
  }
  if (is.character(x)) {
    seen <- unique(x[!is.na(x)])
    return(wire_codes(match(x, seen) - 1L, "text", seen))
  }
  if (is.logical(x) && !is.matrix(x)) {
    return(wire_codes(as.integer(x), "logical", character(0)))
  }
  if (is.numeric(x) && is.matrix(x)) x <- rowSums(x) # only asked whether a row has NA
  if (is.numeric(x) || inherits(x, c("Date", "POSIXct", "difftime"))) {
    return(list(kind = "number", values = wire_vector(as.double(x))))
  }
  text <- sprintf("Column `%s` must be numeric, logical, text or a factor; got %s.", name, class(x)[[1L]])
  abort_input(text, call)
}

wire_codes <- function(codes, kind, levels, ordered = FALSE) {
  codes[is.na(codes)] <- -1L
  list(kind = kind, codes = wire_vector(codes), levels = levels, ordered = ordered)
}

# A data.frame: its columns one by one, names of the rows where they are real names.
wire_frame <- function(frame, call, rows = real_row_names(frame)) {
  columns <- lapply(stats::setNames(nm = names(frame)), function(name) wire_column(frame[[name]], name, call))
  list(columns = columns, n = nrow(frame), rows = wire_names(rows))
}

# NULL where the row names only count the rows
real_row_names <- function(frame) {
  if (methods::is(frame, "DataFrame")) {
    return(rownames(frame))
  }
  if (is.data.frame(frame) && .row_names_info(frame) < 0L) NULL else rownames(frame)
}

# --- and back ---------------------------------------------------------------------------------------------------------

# 1-d arrays come back with a dim attribute, empty lists for empty vectors.
unwire_vector <- function(x) {
  if (is.list(x) && !length(x)) {
    return(character(0))
  }
  if (length(dim(x)) == 1L) dim(x) <- NULL
  x
}

unwire_column <- function(column) {
  if (!is.list(column) || !length(column)) {
    return(unwire_vector(column))
  }
  codes <- unwire_vector(column$codes) + 1L
  levels <- as.character(column$levels)
  if (column$kind == "text") {
    codes[codes == 0L] <- NA_integer_
    return(levels[codes])
  }
  codes[codes == 0L] <- NA_integer_
  class <- if (column$kind == "ordered") c("ordered", "factor") else "factor"
  structure(codes, levels = levels, class = class)
}

unwire_table <- function(columns, class = NULL) {
  columns <- lapply(columns, unwire_column)
  n <- if (length(columns)) length(columns[[1L]]) else 0L
  structure(columns, row.names = .set_row_names(n), class = c(class, "data.frame"))
}

# The engine's state of a fit as plain R.
unwire_state <- function(state) lapply(state, unwire_vector)

wire_state <- function(x) if (is.character(x) || !is.null(dim(x))) x else wire_vector(x)

# --- large arrays -----------------------------------------------------------------------------------------------------

# Where an array of Python is large the wire says only that it waits: reticulate would make one copy for itself and one
# for R. R allocates here, Python writes into it.
filled <- function(wire, waiting, room, call, show = shown_to_python) {
  if (!length(room$types)) {
    return(wire)
  }
  vectors <- Map(zeros, as.character(unlist(room$types)), room$dims)
  names(vectors) <- paste0("v", seq_along(vectors))
  shown <- show(vectors)
  written <- if (!is.null(shown)) call_engine("fill", waiting, shown, .call = call)
  if (!was_written(vectors, written)) {
    arrays <- call_engine("hand_over", waiting, .call = call)
    vectors <- Map(shaped, lapply(arrays, strip), lapply(room$dims, matrix_dim))
  }
  with_vectors(wire, vectors)
}

matrix_dim <- function(dim) if (length(dim) > 1L) dim

# New with each call, and shared with nothing, which is why Python may write into it.
zeros <- function(type, dim) {
  x <- vector(type, prod(dim))
  if (length(dim) > 1L) dim(x) <- dim
  x
}

# As reticulate shows the columns of a data.frame: with no copy, and vectors with no dim, which could not be taken off
# again without a copy. It is not exported; without it the arrays cross as usual.
shown_to_python <- function(vectors) {
  show <- get0("r_convert_dataframe", envir = asNamespace("reticulate"), inherits = FALSE)
  tryCatch(show(vectors, FALSE), error = function(e) NULL)
}

# A reticulate that shows a copy would leave zeros here.
was_written <- function(vectors, written) {
  if (is.null(written)) {
    return(FALSE)
  }
  same <- function(x, at, value) at == 0 || identical(as.double(x[[at]]), value) || (is.na(x[[at]]) && is.na(value))
  all(mapply(same, vectors, strip(written$at), strip(written$values)))
}

with_vectors <- function(wire, vectors) {
  if (!is.list(wire)) {
    return(wire)
  }
  if (identical(names(wire), "waiting")) {
    return(vectors[[wire$waiting]])
  }
  at <- vapply(wire, is.list, NA)
  wire[at] <- lapply(wire[at], with_vectors, vectors)
  wire
}
