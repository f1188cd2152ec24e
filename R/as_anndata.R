#' Convert between SingleCellExperiment and AnnData
#'
#' `as_anndata()` makes an AnnData of a `SingleCellExperiment`, `as_sce()` a
#' `SingleCellExperiment` of an AnnData. Every slot crosses, or one warning names
#' what did not. What came from one side and goes back is what it was: the types
#' that the other language does not have travel along.
#'
#' @details The same mapping serves both directions and both languages:
#'
#' | SingleCellExperiment | AnnData | remark |
#' |---|---|---|
#' | the first assay (or `X`) | `X` | genes x cells and cells x genes: the same numbers in memory |
#' | the other assays | `layers` | sparse ones stay sparse; a DelayedArray is read into memory |
#' | `colData`, `rowData` | `obs`, `var` | types, order of levels and NA are kept; `sizeFactor` is `size_factors` |
#' | columns that are matrices or tables | `obsm`, `varm` | |
#' | `rowRanges` | `varm["rowRanges"]` | seqnames, start, end, strand |
#' | `reducedDims`, `spatialCoords` | `obsm` | `spatialCoords` is `obsm["spatial"]` |
#' | `colPairs`, `rowPairs` | `obsp`, `varp` | entry (i, j): an edge from i to j |
#' | `altExps` | `uns["altExps"]` | each an AnnData; AnnData's `raw` is the altExp `raw` |
#' | `metadata` | `uns` | nested lists, tables, sparse matrices |
#' | what Python cannot read | `uns["isthmus"]` | bytes that `as_sce()` reads; one message names them |
#'
#' A matrix is copied once on its way to Python, and once on its way back: each side
#' may change its own. `r.sce` in a Python chunk of reticulate calls `as_anndata(sce)`.
#'
#' Values that Python has changed come back as Python has them. What could not be
#' carried is described in `system.file("known_issues.yaml", package = "isthmus")`.
#'
#' @param x A `SingleCellExperiment`, another `SummarizedExperiment`, or a
#'   `Seurat` object (which its own package converts first).
#' @param adata An AnnData (a Python object that reticulate holds).
#' @param on_loss What to do where something cannot be carried: `"warn"` (one
#'   warning of class `isthmus_conversion_warning` that names everything),
#'   `"error"` or `"ignore"`.
#' @return `as_anndata`: an AnnData, cells x genes. `as_sce`: a
#'   `SingleCellExperiment`, or the class that the AnnData was made from.
#' @section Python:
#' `isthmus.as_anndata`, `isthmus.as_sce` (with the extra `rpy2`)
#' @export
#' @examples
#' if (isthmus_available()) {
#'   sce <- simulate_counts(n_cells = 20, n_genes = 5, seed = 1)
#'   sce$day <- as.Date("2024-01-01") + 0:19
#'   adata <- as_anndata(sce)
#'   adata
#'   identical(as_sce(adata), sce)
#' }
as_anndata <- function(x, on_loss = "warn") {
  call <- rlang::current_env()
  load_classes()
  check_on_loss(on_loss, call)
  if (is_anndata(x)) {
    return(x)
  }
  prepared <- experiment_parts(x, call)
  report_conversion(prepared$lost, prepared$unreadable, on_loss, "as_anndata", call)
  call_engine("as_anndata", prepared$wire, .call = call)
}

#' @rdname as_anndata
#' @export
as_sce <- function(adata, on_loss = "warn") {
  call <- rlang::current_env()
  check_on_loss(on_loss, call)
  if (methods::is(adata, "SummarizedExperiment")) {
    return(adata)
  }
  if (!inherits(adata, "python.builtin.object")) {
    abort_input(sprintf("`adata` must be an AnnData of Python; got %s.", class(adata)[[1L]]), call)
  }
  taken <- call_engine("take_apart", adata, .call = call)
  made <- experiment_made(filled(taken$wire, taken$waiting, taken$room, call), as.character(taken$lost))
  report_conversion(made$lost, character(0), on_loss, "as_sce", call)
  made$x
}

# Both halves are also what isthmus.as_anndata() and isthmus.as_sce() of Python call in an R that rpy2 hosts.
experiment_parts <- function(x, call = rlang::caller_env()) {
  load_classes()
  if (inherits(x, "Seurat")) {
    need_package("Seurat", "A Seurat object", call)
    x <- getExportedValue("Seurat", "as.SingleCellExperiment")(x)
  }
  refuse_unknown_class(x, "`x`", call)
  if (!methods::is(x, "SummarizedExperiment")) {
    text <- "`x` must be a SingleCellExperiment, another SummarizedExperiment or a Seurat object; got %s."
    abort_input(sprintf(text, class(x)[[1L]]), call)
  }
  book <- list2env(list(lost = character(0), unreadable = character(0), call = call), parent = emptyenv())
  wire <- readable(experiment_wire(x, book), call)
  list(wire = wire, lost = book$lost, unreadable = book$unreadable)
}

# A class of a newer Bioconductor shows as an error deep in some accessor: the user gets a sentence.
readable <- function(expression, call) {
  tryCatch(expression, error = function(e) {
    if (inherits(e, "isthmus_error")) rlang::cnd_signal(e)
    text <- sprintf(
      paste(
        "`x` must be an object that this R (%s, SingleCellExperiment %s) can read; got one of which a part cannot be",
        "read (%s). If it was saved by another version of Bioconductor, try `updateObject(x)`."
      ),
      getRversion(), utils::packageVersion("SingleCellExperiment"), first_line(conditionMessage(e))
    )
    abort_input(text, call)
  })
}

is_anndata <- function(x) inherits(x, "anndata._core.anndata.AnnData")

# At the first look at an object of a class that is not loaded yet R attaches its package, and says so.
load_classes <- function() loadNamespace("SingleCellExperiment")

experiment_made <- function(wire, lost = character(0)) {
  load_classes()
  book <- list2env(list(lost = lost), parent = emptyenv())
  x <- experiment_from_wire(wire, book)
  list(x = x, lost = book$lost)
}

# What Python calls: its own errors of the conversion as values, since rpy2 knows no classes of conditions.
answer_to_python <- function(expression) {
  tryCatch(list(value = expression), isthmus_error = function(e) list(error = conditionMessage(e)))
}

parts_for_python <- function(x) answer_to_python(experiment_parts(x))

made_for_python <- function(wire) answer_to_python(experiment_made(wire))

check_on_loss <- function(on_loss, call) {
  known <- c("warn", "error", "ignore")
  if (!is.character(on_loss) || length(on_loss) != 1L || !on_loss %in% known) {
    text <- sprintf(
      "`on_loss` must be one of %s; got %s.", paste(sprintf("'%s'", known), collapse = ", "),
      paste(format(on_loss), collapse = ", ")
    )
    abort_input(text, call)
  }
}

report_conversion <- function(lost, unreadable, on_loss, name, call) {
  if (length(unreadable) && on_loss != "ignore") {
    message(
      "`", name, "()`: Python cannot read ", paste(unreadable, collapse = ", "),
      ". `as_sce()` puts it back."
    )
  }
  if (!length(lost) || on_loss == "ignore") {
    return(invisible())
  }
  text <- sprintf(
    "`%s()` could not carry: %s. See system.file(\"known_issues.yaml\", package = \"isthmus\").",
    name, paste(lost, collapse = "; ")
  )
  if (on_loss == "error") {
    abort_input(paste(text, "Use `on_loss = \"warn\"` to convert what can be."), call)
  }
  rlang::warn(text, class = "isthmus_conversion_warning", call = call)
}
