# One fit for each level of a column: what fit_glm(by = ) and test_glm() do then. A stratum is an ordinary fit; here the
# cells are told apart, and tables put together.

fit_strata <- function(arguments, by, fitted, call) {
  counts <- as_counts(arguments$data, assay = arguments$assay, call = call)
  source <- replace_cell_data(counts$cells, arguments$cell_data, counts$matrix$genes, call)
  if (inherits(arguments$data, "python.builtin.object") && !is_anndata(arguments$data)) {
    rule <- "`by` needs data whose cells can be told apart in R, or an AnnData; got a Python object of class %s."
    abort_input(sprintf(rule, class(arguments$data)[[1L]]), call)
  }
  labels <- stratum_labels(by, source, call)
  name <- if (is.character(by) && length(by) == 1L) by else "stratum"
  refuse_table_column(name, call)
  cells <- lapply(stats::setNames(nm = levels(labels)), function(level) which(labels == level))
  told <- character(0)
  fits <- withCallingHandlers(
    lapply(stats::setNames(nm = names(cells)), function(level) {
      fit_stratum(arguments, source, cells[[level]], name, level, call)
    }),
    message = function(m) { # what holds of several levels is said once
      if (conditionMessage(m) %in% told) invokeRestart("muffleMessage")
      told <<- c(told, conditionMessage(m))
    }
  )
  structure(
    fits,
    by = name, cells = cells, n_cells = source$n, call = slim_call(fitted), class = "isthmus_glm_strata"
  )
}

fit_stratum <- function(arguments, source, at, name, level, call) {
  own <- arguments
  own$data <- data_cells(arguments$data, at)
  for (argument in c("design", "dispersion_design")) {
    own[[argument]] <- rows_of_cells(arguments[[argument]], at, source$n, argument, call)
  }
  for (argument in c("size_factors", "offset", "weights")) {
    own[argument] <- list(columns_of_cells(arguments[[argument]], at, source$n, argument, call))
  }
  if (!is.null(source$table)) own$cell_data <- drop_unused(source$table[at, , drop = FALSE])
  tryCatch(call_by_name("fit_glm", own), isthmus_input_error = function(e) {
    rule <- "`by`: level '%s' of '%s' (%s) cannot be fitted. %s"
    abort_input(sprintf(rule, level, name, count_of(length(at), "cell"), conditionMessage(e)), call)
  })
}

# A factor of the cells' levels, those that occur
stratum_labels <- function(by, source, call) {
  if (is.function(by)) {
    text <- "`by` must be a column of the cells' data or one label per cell; got a function. Put its name in quotes."
    abort_input(text, call)
  }
  column <- is.character(by) && length(by) == 1L
  if (column && !by %in% source$columns) {
    rule <- "`by` must be a column of the cells' data or one label per cell; there is no column '%s'."
    abort_input(sprintf(rule, by), call)
  }
  labels <- if (column) cell_frame(source, by)[[by]] else plain_column(by)
  if (length(labels) != source$n) {
    rule <- "`by` must be a column of the cells' data or one label per cell (%d); got %d."
    abort_input(sprintf(rule, source$n, length(labels)), call)
  }
  if (anyNA(labels)) {
    abort_input(sprintf("`by` must not be missing; got %d missing values.", sum(is.na(labels))), call)
  }
  droplevels(as.factor(labels))
}

# Some cells: columns in R, rows of an AnnData, which stays in its file if it lies in one
data_cells <- function(data, at) {
  if (is_anndata(data)) {
    return(reticulate::py_get_item(data, reticulate::np_array(at - 1L, "int64")))
  }
  data[, at, drop = FALSE]
}

n_data_cells <- function(data, call) if (is_anndata(data)) python_cell_source(data, call)$n else NCOL(data)

refuse_table_column <- function(name, call) {
  taken <- c(
    "gene", "contrast", "method", "mean", "estimate", "log2fc", "se", "ci_low", "ci_high", "stat", "df", "df_resid",
    "pval", "padj", "log_likelihood", "status", "estimate_penalized", "max_cooks", "outlier", "model", "term",
    "dependent", "dispersion", "n_iter"
  )
  if (name %in% taken) {
    rule <- "`by` must not have the name of a column of the tables; got '%s'. Rename the column."
    abort_input(sprintf(rule, name), call)
  }
}

drop_unused <- function(table) {
  for (name in names(table)) if (is.factor(table[[name]])) table[[name]] <- droplevels(table[[name]])
  table
}

# Rows of a design; a formula as it is
rows_of_cells <- function(value, at, n, argument, call) {
  if (length(dim(value)) != 2L) {
    return(value)
  }
  check_cells(nrow(value), n, argument, call)
  value[at, , drop = FALSE]
}

# Of vectors the values, of matrices genes x cells the columns; words and NULL as they are
columns_of_cells <- function(value, at, n, argument, call) {
  if (is.null(value) || (is.character(value) && length(value) == 1L)) {
    return(value)
  }
  whole <- length(dim(value)) == 2L
  check_cells(if (whole) ncol(value) else length(value), n, argument, call)
  if (whole) value[, at, drop = FALSE] else value[at]
}

check_cells <- function(got, n, argument, call) {
  if (!identical(as.integer(got), as.integer(n))) {
    rule <- "`%s` must have one row or value per cell (%d), of all levels; got %d."
    abort_input(sprintf(rule, argument, n, as.integer(got)), call)
  }
}

test_strata <- function(fits, arguments, envir, call) {
  separated <- vapply(unclass(fits), function(fit) "separated" %in% fit$state$status, NA)
  needed <- !identical(arguments$method, "wald") || !is.null(arguments$replicate) || any(separated)
  if (is.null(arguments$data) && needed) arguments$data <- data_of_call(attr(fits, "call"), envir)
  n <- attr(fits, "n_cells")
  if (!is.null(arguments$data)) check_cells(n_data_cells(arguments$data, call), n, "data", call)
  stacked(fits, function(level) {
    at <- attr(fits, "cells")[[level]]
    own <- arguments
    if (!is.null(own$data)) own$data <- data_cells(own$data, at)
    for (argument in c("replicate", "offset", "weights")) {
      own[argument] <- list(columns_of_cells(arguments[[argument]], at, n, argument, call))
    }
    own["reduced"] <- list(rows_of_cells(arguments$reduced, at, n, "reduced", call))
    own["fit"] <- list(fits[[level]])
    tryCatch(call_by_name("test_glm", own), isthmus_input_error = function(e) abort_input(conditionMessage(e), call))
  })
}

# do.call() would put whole fits and counts into the calls that warnings show.
call_by_name <- function(name, arguments) {
  eval(as.call(c(as.name(name), lapply(stats::setNames(nm = names(arguments)), as.name))), arguments)
}

# The object that the call of fit_glm() names, if it is there
data_of_call <- function(fitted, envir) {
  if (is.name(fitted$data)) tryCatch(eval(fitted$data, envir), error = function(e) NULL) else NULL
}

# Tables of all levels, one below the other, with the level in the first column
stacked <- function(fits, table_of) {
  parts <- lapply(names(fits), function(level) {
    part <- table_of(level)
    columns <- c(stats::setNames(list(rep(level, nrow(part))), attr(fits, "by")), unclass(part))
    structure(columns[!duplicated(names(columns))], class = class(part), row.names = seq_len(nrow(part)))
  })
  whole <- do.call(rbind, lapply(parts, function(part) structure(part, class = "data.frame")))
  structure(whole, class = class(parts[[1L]]))
}

#' @rdname isthmus_glm-methods
#' @method as.data.frame isthmus_glm_strata
#' @export
as.data.frame.isthmus_glm_strata <- function(x, row.names = NULL, optional = FALSE, ..., table = "coefficients") {
  refuse_dots()
  stacked(x, function(level) as.data.frame(x[[level]], table = table))
}

#' @rdname isthmus_glm-methods
#' @method coef isthmus_glm_strata
#' @export
coef.isthmus_glm_strata <- function(object, model = "mean", ...) {
  refuse_dots()
  lapply(stats::setNames(nm = names(object)), function(level) stats::coef(object[[level]], model = model))
}

#' @rdname isthmus_glm-methods
#' @method print isthmus_glm_strata
#' @export
print.isthmus_glm_strata <- function(x, ...) {
  cat(sprintf("GLMs by '%s':\n", attr(x, "by")))
  for (level in names(x)) {
    facts <- x[[level]]$facts
    cat(sprintf("  %s: %s in %s\n", level, count_of(facts$n_genes, "gene"), count_of(facts$n_cells, "cell")))
  }
  invisible(x)
}
