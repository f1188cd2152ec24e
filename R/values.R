# One R value as the node that crosses to Python, and back. A node is a named list of plain vectors with a `kind`; the
# Python side of it is python/isthmus/data/values.py. What a node cannot say (attributes, classes, names) is a rule,
# which travels beside it and is applied when the value comes back.

microseconds <- 1e6

# --- to a node --------------------------------------------------------------------------------------------------------

# `book` collects the names of what Python cannot read.
value_node <- function(x, label, book) {
  if (is.null(x)) {
    return(list(kind = "null"))
  }
  if (methods::is(x, "Rle")) x <- S4Vectors::decode(x)
  if (is.factor(x)) {
    return(factor_node(x))
  }
  if (inherits(x, c("Date", "POSIXct", "difftime")) && is.numeric(unclass(x))) {
    return(time_node(x))
  }
  if (is.atomic(x)) {
    return(atomic_node(x))
  }
  if (methods::is(x, "Matrix") && is_plain_matrix(x)) {
    return(matrix_node(x))
  }
  if (is.data.frame(x) || methods::is(x, "DataFrame")) {
    return(frame_node(x, label, book))
  }
  if (is_list_like(x)) {
    return(list_node(as.list(x), label, book))
  }
  book$unreadable <- c(book$unreadable, sprintf("%s (%s)", label, class(x)[[1L]]))
  list(kind = "opaque")
}

is_list_like <- function(x) {
  (is.list(x) && !inherits(x, "POSIXlt")) || (methods::is(x, "List") && !methods::is(x, "Ranges"))
}

# Not the permutations: Matrix keeps them as positions
is_plain_matrix <- function(x) methods::is(x, "dMatrix") || methods::is(x, "lMatrix") || methods::is(x, "nMatrix")

atomic_node <- function(x) {
  dim <- if (length(dim(x)) > 1L) wire_vector(dim(x))
  # an array of numpy knows no NA but that of the doubles
  if (!is.null(dim) && (is.logical(x) || is.integer(x)) && anyNA(x)) x <- as.double(x)
  scalar <- is.null(dim) && length(x) == 1L
  if (is.character(x)) {
    attributes(x) <- NULL
    return(c(list(kind = "text", dim = dim, scalar = scalar), text_wire(x)))
  }
  if (is.raw(x)) x <- as.integer(x)
  kind <- if (is.logical(x)) "logical" else typeof(x)
  if (is.logical(x)) x <- as.integer(x) # numpy would read an NA of a logical as TRUE or FALSE
  list(kind = kind, values = wire_vector(x), dim = dim, scalar = scalar)
}

text_wire <- function(x) {
  missing <- which(is.na(x))
  list(values = enc2utf8(x), missing = if (length(missing)) wire_vector(missing - 1L))
}

factor_node <- function(x) {
  if (anyNA(levels(x))) x <- factor(as.character(x), stats::na.omit(levels(x)), ordered = is.ordered(x))
  codes <- as.integer(x) - 1L
  codes[is.na(codes)] <- -1L
  list(kind = "factor", codes = wire_vector(codes), levels = enc2utf8(levels(x)), ordered = is.ordered(x))
}

# Whole days, and seconds to the microsecond, which pandas can hold too.
time_node <- function(x) {
  values <- as.double(unclass(x))
  values[!is.finite(values)] <- NA
  if (inherits(x, "Date")) {
    return(list(kind = "date", values = wire_vector(floor(values))))
  }
  if (inherits(x, "POSIXct")) {
    zone <- attr(x, "tzone")[1L]
    zone <- if (is.null(zone) || !zone %in% OlsonNames()) "UTC" else zone
    return(list(kind = "datetime", values = wire_vector(round(values * microseconds) / microseconds), zone = zone))
  }
  seconds <- values * seconds_per_unit[[attr(x, "units")]]
  list(kind = "timedelta", values = wire_vector(round(seconds * microseconds) / microseconds))
}

seconds_per_unit <- c(secs = 1, mins = 60, hours = 3600, days = 86400, weeks = 604800)

# Sparse matrices by columns, logical ones as 0 and 1 where none is NA; the dense classes as base R's.
matrix_node <- function(x) {
  if (!methods::is(x, "sparseMatrix")) {
    return(atomic_node(as.matrix(x)))
  }
  if (!methods::is(x, "CsparseMatrix") || !methods::is(x, "generalMatrix")) {
    x <- methods::as(methods::as(x, "generalMatrix"), "CsparseMatrix")
  }
  list(
    kind = "sparse", type = if (methods::is(x, "dMatrix") || has_na(x)) "double" else "logical",
    p = wire_vector(x@p), i = wire_vector(x@i), x = if (!methods::is(x, "nMatrix")) wire_vector(sparse_values(x)),
    dim = wire_vector(x@Dim)
  )
}

has_na <- function(x) methods::is(x, "lMatrix") && anyNA(x@x)

sparse_values <- function(x) if (methods::is(x, "dMatrix")) x@x else if (anyNA(x@x)) as.double(x@x) else as.integer(x@x)

# Python has one NA for a single value, of no type; in the column of a table it has more.
single_node <- function(x, label, book) {
  missing <- is.atomic(x) && is.null(attributes(x)) && length(x) == 1L && !is.double(x) && !is.complex(x) && is.na(x)
  value_node(if (missing) NA_character_ else x, label, book)
}

list_node <- function(x, label, book) {
  if (is_vector_to_python(x)) {
    return(atomic_node(unlist(x)))
  }
  keys <- if (!is.null(names(x))) unique_keys(names(x))
  labels <- if (is.null(keys)) sprintf("%s[[%d]]", label, seq_along(x)) else sprintf("%s$%s", label, keys)
  items <- Map(function(item, label) single_node(item, label, book), unname(x), labels)
  items <- unname(items)
  hidden <- vapply(items, function(item) item$kind == "opaque", NA)
  if (!is.null(keys)) {
    return(list(kind = "list", named = TRUE, names = keys[!hidden], items = items[!hidden]))
  }
  items[hidden] <- list(list(kind = "null"))
  list(kind = "list", named = FALSE, names = character(0), items = items)
}

# Python does not tell a list of texts or numbers of one type from a vector, so it gets the vector.
is_vector_to_python <- function(x) {
  types <- unique(vapply(x, typeof, ""))
  plain <- vapply(x, function(item) is.atomic(item) && is.null(attributes(item)) && length(item) == 1L, NA)
  length(types) == 1L && is.null(names(x)) && all(plain) && !anyNA(x[types != "double"], recursive = TRUE) &&
    types %in% c("logical", "integer", "double", "character")
}

frame_node <- function(x, label, book) {
  keys <- unique_keys(colnames(x))
  columns <- lapply(seq_along(keys), function(j) value_node(x[[j]], sprintf("%s$%s", label, keys[[j]]), book))
  wide <- vapply(columns, function(column) !is.null(column$dim) || column$kind %in% c("frame", "opaque", "sparse"), NA)
  if (any(wide)) book$unreadable <- c(book$unreadable, sprintf("%s$%s", label, keys[wide]))
  rows <- if (nrow(x)) wire_names(real_row_names(x))
  list(kind = "frame", n = nrow(x), rows = rows, names = keys[!wide], columns = columns[!wide])
}

# Keys of a dict: present and different
unique_keys <- function(names, taken = character(0)) {
  names <- enc2utf8(as.character(names))
  names[is.na(names)] <- "NA"
  names[!nzchar(names)] <- "unnamed"
  utils::tail(make.unique(c(taken, names), sep = "_"), length(names))
}

# --- and back ---------------------------------------------------------------------------------------------------------

from_node <- function(node) {
  switch(node$kind,
    null = NULL,
    opaque = NULL,
    text = shaped(from_text(node), node$dim),
    factor = from_factor(node),
    date = structure(from_times(node), class = "Date"),
    datetime = structure(from_times(node), class = c("POSIXct", "POSIXt"), tzone = node$zone),
    timedelta = structure(from_times(node), class = "difftime", units = "secs"),
    sparse = from_sparse(node),
    list = from_list(node),
    frame = from_frame(node),
    logical = shaped(as.logical(strip(node$values)), node$dim),
    from_numbers(node)
  )
}

# What has its dim already is not touched: that would be a copy.
from_numbers <- function(node) {
  ready <- length(node$dim) && identical(attributes(node$values), list(dim = as.integer(node$dim)))
  if (ready) node$values else shaped(strip(node$values), node$dim)
}

# Not `dim(x) <- NULL`, which copies a vector that something else still holds
strip <- function(x) {
  if (is.list(x)) {
    return(unlist(x))
  }
  if (!is.null(attributes(x))) attributes(x) <- NULL
  x
}

shaped <- function(x, dim) {
  if (!is.null(dim)) dim(x) <- as.integer(dim)
  x
}

# NA and not NaN, which no date of R is
from_times <- function(node) {
  values <- strip(node$values)
  values[is.na(values)] <- NA_real_
  values
}

from_text <- function(wire) {
  text <- as.character(unlist(wire$values))
  if (!is.null(wire$missing)) text[as.integer(wire$missing) + 1L] <- NA_character_
  text
}

from_factor <- function(node) {
  codes <- as.integer(strip(node$codes)) + 1L
  codes[codes == 0L] <- NA_integer_
  class <- if (isTRUE(node$ordered)) c("ordered", "factor") else "factor"
  structure(codes, levels = as.character(unlist(node$levels)), class = class)
}

# The slots are set one by one: new() would check them, and copy once more.
from_sparse <- function(node) {
  logical <- node$type == "logical"
  x <- methods::new(if (logical) "lgCMatrix" else "dgCMatrix")
  x@Dim <- as.integer(node$dim)
  attr(x, "p") <- as.integer(strip(node$p))
  attr(x, "i") <- as.integer(strip(node$i))
  values <- if (is.null(node$x)) rep(TRUE, length(x@i)) else strip(node$x)
  attr(x, "x") <- if (logical) as.logical(values) else as.double(values)
  x
}

from_list <- function(node) {
  items <- lapply(node$items, from_node)
  if (isTRUE(node$named)) names(items) <- as.character(unlist(node$names))
  items
}

from_frame <- function(node) {
  columns <- lapply(node$columns, from_node)
  lists <- vapply(columns, is.list, NA)
  columns[lists] <- lapply(columns[lists], I)
  names(columns) <- as.character(unlist(node$names))
  rows <- if (is.null(node$rows)) .set_row_names(as.integer(node$n)) else from_names(node$rows)
  structure(columns, row.names = rows, class = "data.frame")
}

from_names <- function(wire) {
  names <- as.character(unlist(wire$values))
  if (!is.null(wire$missing)) names[as.logical(wire$missing)] <- NA_character_
  names
}

# --- rules: what a node cannot say ------------------------------------------------------------------------------------

# NULL where the node says it all; else what turns the plain value into `x`; where nothing does, `x` itself, which is
# put back as long as Python has not changed the value.
rule_of <- function(x, node) {
  if (node$kind == "opaque") {
    return(list(hidden = x))
  }
  plain <- from_node(node)
  if (identical(plain, x)) {
    return(NULL)
  }
  rule <- shape_rule(x)
  if (!is.null(rule) && identical(apply_rule(rule, plain), x)) rule else list(original = x)
}

shape_rule <- function(x) {
  if (methods::is(x, "Rle")) {
    return(list(rle = shape_rule(S4Vectors::decode(x))))
  }
  if (methods::is(x, "Matrix")) {
    return(list(matrix = class(x)[[1L]], dimnames = dimnames(x)))
  }
  if (!isS4(x) && (is.atomic(x) || is.list(x))) {
    return(list(type = typeof(x), attributes = attributes(x), n = length(x)))
  }
  if (isS4(x)) list(class = class(x))
}

# The value of Python with the rule applied, as far as it fits: a rule never brings numbers back.
restore <- function(rule, plain) {
  if (is.null(rule)) {
    return(plain)
  }
  if ("hidden" %in% names(rule)) {
    return(rule$hidden)
  }
  if (!"original" %in% names(rule)) {
    return(apply_rule(rule, plain))
  }
  sent <- from_node(value_node(rule$original, "", new.env()))
  if (identical(sent, plain)) rule$original else plain
}

apply_rule <- function(rule, plain) {
  tryCatch(
    {
      if ("rle" %in% names(rule)) {
        S4Vectors::Rle(apply_rule(rule$rle, plain))
      } else if (!is.null(rule$matrix)) {
        as_matrix_class(plain, rule)
      } else if (!is.null(rule$class)) {
        methods::as(plain, rule$class)
      } else {
        with_attributes(plain, rule)
      }
    },
    error = function(e) plain
  )
}

with_attributes <- function(plain, rule) {
  kept <- rule$attributes
  if (inherits(plain, "difftime") && !is.null(kept$units)) {
    plain <- structure(unclass(plain) / seconds_per_unit[[kept$units]], units = NULL)
  }
  if (is.factor(plain) && !identical(levels(plain), as.character(kept$levels))) kept$levels <- levels(plain)
  if (!is.null(dim(plain))) kept <- fitting_names(kept, dim(plain))
  if (length(plain) != rule$n) kept <- kept[setdiff(names(kept), c("names", "tsp"))]
  values <- as_type(plain, rule$type)
  attributes(values) <- kept
  values
}

as_type <- function(values, type) {
  attributes(values) <- NULL
  if (typeof(values) == type) {
    return(values)
  }
  cast <- suppressWarnings(as.vector(values, type))
  changed <- type %in% c("integer", "raw", "logical") && !isTRUE(all.equal(as.double(cast), as.double(values)))
  if (changed) values else cast
}

# Names of rows and columns as long as there are as many of them
fitting_names <- function(kept, dim) {
  names <- kept$dimnames
  fits <- identical(length(names), length(dim)) && identical(length(kept$dim), length(dim))
  for (axis in seq_along(names)) {
    if (length(names[[axis]]) != dim[[axis]]) names[axis] <- list(NULL)
  }
  kept$dim <- dim
  kept["dimnames"] <- list(if (fits && !all(vapply(names, is.null, NA))) names)
  kept[!vapply(kept, is.null, NA)]
}

matrix_kinds <- c(d = "dMatrix", l = "lMatrix", n = "nMatrix")
matrix_shapes <- c(g = "generalMatrix", s = "symmetricMatrix", t = "triangularMatrix")
matrix_stores <- c(C = "CsparseMatrix", R = "RsparseMatrix", T = "TsparseMatrix", e = "unpackedMatrix")

# "dgTMatrix" is made by three steps (kind, shape, storage): Matrix wants no others
as_matrix_class <- function(plain, rule) {
  letters <- strsplit(rule$matrix, "")[[1L]][seq_len(3L)]
  steps <- c(matrix_kinds[letters[[1L]]], matrix_shapes[letters[[2L]]], matrix_stores[letters[[3L]]])
  made <- if (is.matrix(plain)) methods::as(methods::as(plain, "dMatrix"), "generalMatrix") else plain
  for (step in steps[!is.na(steps)]) {
    if (!methods::is(made, step)) made <- methods::as(made, step)
  }
  named <- lengths(rule$dimnames) > 0L
  if (identical(lengths(rule$dimnames)[named], dim(made)[named])) made@Dimnames <- rule$dimnames
  made
}
