# Formulas are R's: model.frame(na.action = na.pass) and model.matrix evaluate them, and the matrix crosses with its
# names, terms and text. What missing values or empty levels mean is judged by the engine, on the variables that cross
# beside it.

#' @param spec A formula (or its text), or a matrix / data.frame / model.matrix().
#' @param source A cell source.
#' @param factors Factors of a dict constraint: taken out of the formula, sent in the frame.
#' @return A list: `wire` (what crosses), `offset` (of `offset()` terms, or NULL), `keep` (what predict() needs later).
#' @noRd
read_design <- function(spec, source, argument, call, factors = character(0), groups = character(0),
                        as_numeric = character(0), as_categorical = character(0)) {
  if (is.matrix(spec) || is.data.frame(spec) || methods::is(spec, "Matrix")) {
    return(matrix_design(spec, argument, call))
  }
  formula <- check_formula(spec, argument, call)
  formula <- expand_dot(formula, source)
  check_variables(formula, source, c(factors, groups), argument, call)
  removed <- remove_factors(formula, factors, argument, call)
  names <- unique(c(all.vars(formula), factors, groups))
  frame <- cell_frame(source, names, as_numeric, as_categorical)
  evaluated <- evaluate_formula(removed$formula, frame, argument, call)
  wire <- matrix_wire(evaluated$matrix)
  wire$formula <- formula_text(formula)
  wire$terms <- wire_terms(evaluated$matrix, evaluated$terms)
  wire$frame <- wire_frame(checked_variables(frame, formula, evaluated$variables), call, rows = NULL)
  wire$removed <- removed$removed
  keep <- list(
    terms = slim_terms(evaluated$terms, nrow(frame)), xlevels = evaluated$xlevels,
    contrasts = attr(evaluated$matrix, "contrasts"), as_numeric = as_numeric, as_categorical = as_categorical,
    factors = c(factors, setdiff(groups, "1"))
  )
  list(wire = wire, offset = evaluated$offset, keep = keep)
}

matrix_design <- function(spec, argument, call) {
  rows <- if (is.data.frame(spec)) real_row_names(spec) else rownames(spec)
  values <- as.matrix(spec)
  if (!is.numeric(values) && !is.logical(values)) {
    abort_input(sprintf("`%s` must hold numbers; got a %s matrix.", argument, typeof(values)), call)
  }
  # model.matrix() numbers its rows; that is no name
  if (identical(rows, as.character(seq_along(rows)))) rows <- NULL
  wire <- matrix_wire(values)
  wire$rows <- wire_names(rows)
  list(wire = wire, offset = NULL, keep = NULL)
}

# `x` without attributes: R's memory, which numpy looks at without a copy
matrix_wire <- function(x) {
  names <- colnames(x)
  values <- matrix(as.double(x), nrow(x), ncol(x))
  list(matrix = values, names = wire_names(names))
}

wire_terms <- function(matrix, terms) {
  labels <- c("(Intercept)", attr(terms, "term.labels"))
  assign <- attr(matrix, "assign")
  columns <- split(seq_along(assign) - 1L, factor(assign, unique(assign)))
  stats::setNames(lapply(columns, wire_vector), labels[unique(assign) + 1L])
}

formula_text <- function(formula) paste(deparse(formula, width.cutoff = 500L), collapse = " ")

check_formula <- function(spec, argument, call) {
  if (is.character(spec) && length(spec) == 1L) {
    if (!grepl("~", spec, fixed = TRUE)) {
      text <- sprintf("`%s` must be a formula or a matrix; got the text '%s'. Did you mean ~ %s?", argument, spec, spec)
      abort_input(text, call)
    }
    spec <- stats::as.formula(spec, env = globalenv())
  }
  if (!inherits(spec, "formula")) {
    abort_input(sprintf("`%s` must be a formula or a matrix; got %s.", argument, class(spec)[[1L]]), call)
  }
  if (length(spec) == 3L) {
    text <- sprintf(
      "`%s` must have nothing on the left of ~ (the counts are `data`); got %s. Did you mean %s?",
      argument, formula_text(spec), formula_text(spec[-2L])
    )
    abort_input(text, call)
  }
  spec
}

# `~ .` means every column that can be a variable.
expand_dot <- function(formula, source) {
  if (!"." %in% all.vars(formula)) {
    return(formula)
  }
  frame <- cell_frame(source, source$columns)
  usable <- vapply(frame, function(column) is.atomic(column) && is.null(dim(column)), NA)
  expanded <- stats::formula(stats::terms(formula, data = frame[usable]))
  environment(expanded) <- environment(formula)
  expanded
}

# A variable is a column, or anything that the formula's environment knows. The engine words the complaint.
check_variables <- function(formula, source, asked, argument, call) {
  known <- function(name) {
    name %in% source$columns || exists(name, envir = environment(formula) %||% globalenv(), inherits = TRUE)
  }
  refuse <- function(names, argument) {
    if (length(names)) call_engine("unknown_columns", names, as.character(source$columns), argument, .call = call)
  }
  refuse(Filter(Negate(known), all.vars(formula)), argument)
  refuse(setdiff(asked, c(source$columns, "1")), sub("design", "constraints", argument))
}

`%||%` <- function(x, y) if (is.null(x)) y else x

# Dict constraints: the engine appends a full block of dummies for these factors, so the formula must not code them.
remove_factors <- function(formula, factors, argument, call) {
  terms <- stats::terms(formula)
  labels <- attr(terms, "term.labels")
  for (name in factors) {
    quoted <- if (make.names(name) == name) name else paste0("`", name, "`")
    inside <- setdiff(labels[vapply(labels, function(label) name %in% all.vars(str2lang(label)), NA)], quoted)
    if (length(inside)) {
      text <- sprintf(
        paste(
          "`%s` uses the constrained factor `%s` in `%s`. Constrained factors stand alone:",
          "pass a matrix and string constraints for others."
        ),
        argument, name, inside[[1L]]
      )
      abort_input(text, call)
    }
    if (quoted %in% labels) {
      environment <- environment(formula)
      formula <- stats::update(formula, stats::as.formula(paste("~ . -", quoted)))
      environment(formula) <- environment
    }
  }
  list(formula = formula, removed = intersect(factors, all.vars(terms)))
}

evaluate_formula <- function(formula, frame, argument, call) {
  environment(formula) <- spline_environment(formula)
  tryCatch(
    {
      model_frame <- stats::model.frame(formula, data = frame, na.action = stats::na.pass)
      terms <- attr(model_frame, "terms")
      list(
        matrix = stats::model.matrix(terms, model_frame), terms = terms, variables = names(model_frame),
        xlevels = stats::.getXlevels(terms, model_frame), offset = stats::model.offset(model_frame)
      )
    },
    error = function(e) {
      text <- paste0(not_evaluated(argument, e), " (in ", formula_text(formula), ")")
      rlang::abort(
        text, class = c("isthmus_formula_error", "isthmus_input_error", "isthmus_error"), call = call,
        variables = checked_variables(frame, formula), argument = argument
      )
    }
  )
}

not_evaluated <- function(argument, error) {
  sprintf("`%s` could not be evaluated by R: %s", argument, conditionMessage(error))
}

# What the engine looks at for missing values and empty levels: the columns of the formula, and variables of its
# environment that have a value for each cell. A factor that the formula only uses inside a function (droplevels,
# relevel) may have empty levels.
checked_variables <- function(frame, formula, evaluated = names(frame)) {
  for (name in setdiff(all.vars(formula), names(frame))) {
    value <- get0(name, envir = environment(formula) %||% globalenv())
    if (is.atomic(value) && is.null(dim(value)) && length(value) == nrow(frame) && nrow(frame) > 1L) {
      frame[[name]] <- value
    }
  }
  for (name in names(frame)) {
    column <- frame[[name]]
    inside <- name %in% all.vars(formula) && !name %in% evaluated && !paste0("`", name, "`") %in% evaluated
    if (is.character(column)) frame[[name]] <- factor(column)
    if (is.factor(column) && inside) frame[[name]] <- droplevels(column)
  }
  frame
}

# The terms of a fit live as long as the fit: their environment is replaced by one that holds what the formula names
# (functions, constants) and nothing that has a value for each cell.
slim_terms <- function(terms, n_cells) {
  from <- environment(terms) %||% globalenv()
  to <- new.env(parent = globalenv())
  for (name in all.names(attr(terms, "variables"), unique = TRUE)) {
    home <- environment_of(name, from)
    if (is.null(home) || identical(home, globalenv())) next
    value <- get(name, envir = home, inherits = FALSE)
    if (is.function(value) || length(value) < n_cells) assign(name, value, envir = to)
  }
  environment(terms) <- if (length(ls(to, all.names = TRUE))) to else globalenv()
  terms
}

# The first environment from `from` up to the global one that holds `name`; NULL for those of packages.
environment_of <- function(name, from) {
  while (!identical(from, emptyenv())) {
    if (exists(name, envir = from, inherits = FALSE)) {
      return(if (isNamespace(from) || nzchar(attr(from, "name") %||% "")) NULL else from)
    }
    if (identical(from, globalenv()) || isNamespace(from)) {
      return(NULL)
    }
    from <- parent.env(from)
  }
  NULL
}

# A formula that R could not evaluate may only show what is wrong with its variables: the engine's sentences come first.
with_explained_formula <- function(expression, call) {
  tryCatch(expression, isthmus_formula_error = function(e) {
    call_engine("check_frame", wire_frame(e$variables, call, rows = NULL), e$argument, .call = call)
    abort_input(conditionMessage(e), call)
  })
}

# The design of new cells, coded as the fit's was.
design_of_new <- function(keep, newdata, argument, call) {
  if (is.null(keep)) {
    read <- matrix_design(newdata, argument, call)
    return(c(read, list(cells = if (is.data.frame(newdata)) real_row_names(newdata) else rownames(newdata))))
  }
  source <- as_cell_source(newdata, call, argument)
  names <- c(all.vars(keep$terms), keep$factors)
  lacking <- setdiff(names, c(source$columns, all_known(names, environment(keep$terms))))
  if (length(lacking)) call_engine("unknown_columns", lacking, as.character(source$columns), argument, .call = call)
  frame <- cell_frame(source, names, keep$as_numeric, keep$as_categorical)
  for (name in intersect(names(keep$xlevels), names(frame))) {
    values <- unique(as.character(frame[[name]]))
    if (!all(values %in% keep$xlevels[[name]])) {
      call_engine("known_levels", values, name, keep$xlevels[[name]], .call = call)
    }
  }
  evaluated <- tryCatch(
    {
      model_frame <- stats::model.frame(keep$terms, frame, na.action = stats::na.pass, xlev = keep$xlevels)
      list(
        matrix = stats::model.matrix(keep$terms, model_frame, contrasts.arg = keep$contrasts),
        offset = stats::model.offset(model_frame)
      )
    },
    error = function(e) abort_input(not_evaluated(argument, e), call)
  )
  wire <- matrix_wire(evaluated$matrix)
  wire$frame <- wire_frame(frame, call, rows = source$cells)
  list(wire = wire, offset = evaluated$offset, cells = source$cells)
}

all_known <- function(names, environment) {
  Filter(function(name) exists(name, envir = environment, inherits = TRUE), names)
}

#' Design matrix of a formula
#'
#' Evaluates a formula as [fit_glm()] does: with R's `model.matrix()`, on the
#' columns of the cell data.
#'
#' @param data A data.frame or `DataFrame` with one row per cell, a
#'   `SingleCellExperiment` (its `colData`), or an AnnData (its `obs`).
#' @param formula A one-sided formula such as `~ condition + batch`.
#' @param as_numeric Names of columns to treat as numbers.
#' @param as_categorical Names of columns to treat as factors.
#' @return A data.frame, cells x terms, with the names of the cells as row names.
#' @section Errors:
#' `isthmus_input_error` where a column is unknown, a used column has missing
#' values or a factor level has no cells.
#' @section Python:
#' `isthmus.design_matrix`
#' @export
#' @examples
#' if (isthmus_available()) {
#'   cells <- data.frame(condition = rep(c("A", "B"), each = 3), age = 1:6)
#'   design_matrix(cells, ~ condition + age)
#' }
design_matrix <- function(data, formula, as_numeric = character(0), as_categorical = character(0)) {
  call <- rlang::current_env()
  source <- as_cell_source(data, call)
  design <- with_explained_formula(
    read_design(formula, source, "formula", call, as_numeric = as_numeric, as_categorical = as_categorical), call
  )
  call_engine("check_design", design$wire, "formula", .call = call)
  values <- design$wire$matrix
  dimnames(values) <- list(source$cells, design$wire$names$values)
  as.data.frame(values, optional = TRUE)
}
