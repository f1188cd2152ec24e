# Counts in any of the forms that R users hold them in, as the slots that cross to Python. A genes x cells dgCMatrix
# has the p, i and x of the cells x genes CSR, so nothing is transposed.

#' Counts as they cross to the engine
#'
#' @param data A `SingleCellExperiment`, `SummarizedExperiment`, matrix, sparse or
#'   dense `Matrix`, `DelayedArray` or data.frame (all genes x cells), or a Python
#'   object that reticulate holds (cells x genes).
#' @param assay Name or number of the assay, for the experiments.
#' @param call The environment of the function that the user called.
#' @return A list: `matrix` (slots, or the Python object), `cells` (a cell source,
#'   see [cell_source()]), and the names.
#' @noRd
as_counts <- function(data, assay = "counts", call = rlang::caller_env()) UseMethod("as_counts")

#' @exportS3Method as_counts default
as_counts.default <- function(data, assay = "counts", call = rlang::caller_env()) {
  text <- sprintf(
    paste(
      "`data` must be a SingleCellExperiment, SummarizedExperiment, matrix, sparse Matrix, DelayedArray or data.frame,",
      "genes x cells, or an AnnData; got %s."
    ),
    class(data)[[1L]]
  )
  abort_input(text, call)
}

#' @exportS3Method as_counts SummarizedExperiment
as_counts.SummarizedExperiment <- function(data, assay = "counts", call = rlang::caller_env()) {
  check_assay(data, assay, call)
  # without dimnames: adding them would copy the matrix
  values <- SummarizedExperiment::assay(data, assay, withDimnames = FALSE)
  counts <- as_counts(values, call = call)
  counts$matrix$genes <- wire_names(rownames(data))
  counts$matrix$cells <- wire_names(colnames(data))
  counts$cells <- cell_source(SummarizedExperiment::colData(data), ncol(data), colnames(data))
  counts
}

#' @exportS3Method as_counts SingleCellExperiment
as_counts.SingleCellExperiment <- function(data, assay = "counts", call = rlang::caller_env()) {
  counts <- as_counts.SummarizedExperiment(data, assay, call)
  # where sizeFactors() keeps them; it checks the whole object for its version first, which takes longer than all else
  stored <- SummarizedExperiment::colData(data)[["sizeFactor"]] %||% SingleCellExperiment::sizeFactors(data)
  if (!is.null(stored)) counts$matrix$size_factors <- wire_vector(as.double(stored))
  counts
}

check_assay <- function(data, assay, call) {
  names <- SummarizedExperiment::assayNames(data)
  n <- length(SummarizedExperiment::assays(data, withDimnames = FALSE))
  known <- if (is.character(assay)) assay %in% names else is.numeric(assay) && all(assay %in% seq_len(n))
  if (length(assay) != 1L || !isTRUE(known)) {
    text <- sprintf(
      "`assay` must be an assay of `data`; got %s. The assays are: %s.",
      paste(sprintf("'%s'", assay), collapse = ", "),
      paste(if (length(names)) names else if (n) seq_len(n) else "none", collapse = ", ")
    )
    abort_input(text, call)
  }
}

#' @exportS3Method as_counts matrix
as_counts.matrix <- function(data, assay = "counts", call = rlang::caller_env()) {
  if (!is.numeric(data) && !is.logical(data)) {
    abort_input(sprintf("`data` must hold numbers; got a %s matrix.", typeof(data)), call)
  }
  values <- unname(data)
  # NA of an integer would cross as -2147483648; as a double it is NaN, which the engine refuses by name.
  if (!is.double(values) && (is.logical(values) || anyNA(values))) storage.mode(values) <- "double"
  counts_list(list(kind = "dense", x = values), dim(data), dimnames(data))
}

#' @exportS3Method as_counts data.frame
as_counts.data.frame <- function(data, assay = "counts", call = rlang::caller_env()) {
  numeric <- vapply(data, function(column) is.numeric(column) || is.logical(column), NA)
  if (!all(numeric)) {
    text <- sprintf(
      "`data` must hold numbers only; column `%s` is %s. Make a column of names the row names, or drop it.",
      names(data)[!numeric][[1L]], class(data[!numeric][[1L]])[[1L]]
    )
    abort_input(text, call)
  }
  values <- as.matrix(data)
  rownames(values) <- real_row_names(data)
  as_counts.matrix(values, call = call)
}

#' @exportS3Method as_counts dgCMatrix
as_counts.dgCMatrix <- function(data, assay = "counts", call = rlang::caller_env()) {
  slots <- list(kind = "column", p = wire_vector(data@p), i = wire_vector(data@i), x = wire_vector(data@x))
  counts_list(slots, dim(data), dimnames(data))
}

#' @exportS3Method as_counts dgRMatrix
as_counts.dgRMatrix <- function(data, assay = "counts", call = rlang::caller_env()) {
  slots <- list(kind = "row", p = wire_vector(data@p), i = wire_vector(data@j), x = wire_vector(data@x))
  counts_list(slots, dim(data), dimnames(data))
}

#' @exportS3Method as_counts dgTMatrix
as_counts.dgTMatrix <- function(data, assay = "counts", call = rlang::caller_env()) {
  slots <- list(kind = "triplet", i = wire_vector(data@i), j = wire_vector(data@j), x = wire_vector(data@x))
  counts_list(slots, dim(data), dimnames(data))
}

# Logical, pattern, symmetric, triangular, diagonal, permutation, and Matrix's dense classes
#' @exportS3Method as_counts Matrix
as_counts.Matrix <- function(data, assay = "counts", call = rlang::caller_env()) {
  if (methods::is(data, "denseMatrix")) {
    return(as_counts.matrix(as.matrix(data), call = call))
  }
  as_counts(general_sparse(data), call = call)
}

general_sparse <- function(data) {
  data <- methods::as(methods::as(data, "dMatrix"), "generalMatrix")
  known <- methods::is(data, "dgCMatrix") || methods::is(data, "dgRMatrix") || methods::is(data, "dgTMatrix")
  if (known) data else methods::as(data, "CsparseMatrix")
}

# Blocks of cells, one in memory at a time, are read and made sparse, so that a matrix on disk never exists in dense
# form.
#' @exportS3Method as_counts DelayedArray
as_counts.DelayedArray <- function(data, assay = "counts", call = rlang::caller_env()) {
  need_package("DelayedArray", "`data` of class DelayedArray", call)
  if (length(dim(data)) != 2L) {
    text <- sprintf("`data` must have two dimensions, genes x cells; got %d.", length(dim(data)))
    abort_input(text, call)
  }
  blocks <- DelayedArray::blockApply(
    data, sparse_block,
    grid = DelayedArray::colAutoGrid(data), as.sparse = DelayedArray::is_sparse(data), BPPARAM = NULL
  )
  values <- if (length(blocks)) do.call(cbind, blocks) else methods::as(as.matrix(data), "dgCMatrix")
  counts <- as_counts(values, call = call)
  counts_list(counts$matrix, dim(data), dimnames(data))
}

sparse_block <- function(block) {
  if (is.matrix(block)) {
    storage.mode(block) <- "double"
  }
  methods::as(block, "dgCMatrix")
}

# AnnData, and whatever else the engine reads: cells x genes
#' @exportS3Method as_counts python.builtin.object
as_counts.python.builtin.object <- function(data, assay = "counts", call = rlang::caller_env()) {
  list(python = data, layer = if (identical(assay, "counts")) NULL else assay, cells = python_cell_source(data, call))
}

counts_list <- function(slots, dim, names) {
  slots$dim <- wire_vector(as.integer(dim))
  slots["genes"] <- list(wire_names(names[[1L]]))
  slots["cells"] <- list(wire_names(names[[2L]]))
  list(matrix = slots, cells = cell_source(NULL, dim[[2L]], names[[2L]]))
}

# What crosses: the slots, or the Python object itself.
wire_counts <- function(counts) if (is.null(counts$python)) counts$matrix else counts$python
