# Constraints cross in the four forms that the engine understands; what they mean is decided there.

wire_constraints <- function(constraints, argument, call) {
  if (is.null(constraints)) {
    return(NULL)
  }
  if (is.data.frame(constraints) || methods::is(constraints, "Matrix")) constraints <- as.matrix(constraints)
  if (is.matrix(constraints) && (is.numeric(constraints) || is.logical(constraints))) {
    return(list(
      kind = "matrix", matrix = matrix(as.double(constraints), nrow(constraints)),
      rows = wire_names(rownames(constraints)), columns = wire_names(colnames(constraints))
    ))
  }
  if (is_dict(constraints)) {
    values <- unname(lapply(constraints, as.character))
    return(list(kind = "dict", names = names(constraints), values = values))
  }
  if (is.character(constraints)) {
    return(list(kind = "strings", values = constraints))
  }
  text <- sprintf(
    paste(
      "`%s` must be a matrix, a named list such as list(batch = \"condition\"),",
      "or text such as \"b1 + b2 = 0\"; got %s."
    ),
    argument, class(constraints)[[1L]]
  )
  abort_input(text, call)
}

is_dict <- function(constraints) {
  named <- !is.null(names(constraints)) && all(nzchar(names(constraints)))
  named && !is.matrix(constraints) && (is.character(constraints) || is.list(constraints))
}

dict_factors <- function(constraints) if (is_dict(constraints)) names(constraints) else character(0)

dict_groups <- function(constraints) {
  if (is_dict(constraints)) as.character(unlist(constraints, use.names = FALSE)) else character(0)
}

#' Constraints as a matrix
#'
#' The matrix H of linear constraints: all parameters = H x free parameters
#' (plus a constant where right-hand sides are not zero).
#'
#' @param design A design matrix (a matrix or data.frame with named columns, for
#'   example of [design_matrix()]), or a formula together with `data`.
#' @param constraints In the forms of [fit_glm()], or `NULL`: for a design of less
#'   than full rank, the constraints that would identify it.
#' @param data The cell data that a formula or a list such as
#'   `list(batch = "condition")` refers to.
#' @return A data.frame, all parameters x free parameters.
#' @section Python:
#' `isthmus.constraint_matrix`
#' @export
#' @examples
#' if (isthmus_available()) {
#'   cells <- data.frame(
#'     batch = rep(c("b1", "b2", "b3", "b4"), each = 2),
#'     condition = rep(c("A", "B"), each = 4)
#'   )
#'   constraint_matrix(~ condition + batch, list(batch = "condition"), data = cells)
#' }
constraint_matrix <- function(design, constraints, data = NULL) {
  call <- rlang::current_env()
  if (inherits(design, "formula") && is.null(data)) {
    abort_input("`data` must hold the variables of the formula. Pass the cell data as `data`.", call)
  }
  source <- if (is.null(data)) cell_source(NULL, NROW(design)) else as_cell_source(data, call)
  constraints <- constraints %||% proposed_constraints(design, source, call)
  read <- read_constrained(design, source, constraints, call)
  frame <- if (is.null(data)) NULL else matrix_frame(source, constraints, call)
  wire <- wire_constraints(constraints, "constraints", call)
  table <- call_engine("constraint_matrix", read$wire, wire, cell_data = frame, .call = call)
  values <- table$matrix
  dimnames(values) <- list(as.character(table$rows), as.character(table$columns))
  as.data.frame(values, optional = TRUE)
}

read_constrained <- function(design, source, constraints, call) {
  known <- !is.null(source$table) || !is.null(source$python)
  with_explained_formula(
    read_design(
      design, source, "design", call,
      factors = if (known) dict_factors(constraints) else character(0),
      groups = if (known) dict_groups(constraints) else character(0)
    ), call
  )
}

# What would identify a deficient design, in the user's form; NULL where nothing is needed.
proposed_constraints <- function(design, source, call) {
  proposal <- call_engine("proposed_constraints", read_constrained(design, source, NULL, call)$wire, .call = call)
  if (identical(proposal$kind, "dict")) {
    return(stats::setNames(as.list(proposal$values), proposal$names))
  }
  if (is.null(proposal)) NULL else as.character(proposal$values)
}

# A bare matrix with dict constraints: the factors come from the cell data.
matrix_frame <- function(source, constraints, call) {
  names <- setdiff(c(dict_factors(constraints), dict_groups(constraints)), "1")
  wire_frame(cell_frame(source, names), call, rows = source$cells)
}
