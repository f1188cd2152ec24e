# Methods of an isthmus_interactions. Facts are in the fit; tables come from the engine.

#' What one can ask of an interaction fit
#'
#' Methods for the fits of [fit_interactions()].
#'
#' @param object,x A fit of [fit_interactions()].
#' @param neighbors `FALSE`: what is predicted for a cell without any neighbour.
#' @param row.names,optional As in [as.data.frame()].
#' @param table One of the tables below.
#' @param ... Not used.
#' @return
#' * `predict`: a matrix, genes x cells: each cell by the model that held it out.
#' * `nobs`: the number of cells.
#' * `summary`: an object that prints the engine's summary.
#' * `as.data.frame`: a data.frame, `"explained_variance"`,
#'   `"explained_variance_genes"`, `"neighbor_effects"`, `"length_scales"` or
#'   `"attention"` (the functions of these names with their defaults, see
#'   [explained_variance()]), `"heads"` (`head`, `fold`, `fold_head`, `stability`:
#'   how heads were matched across folds) or `"history"` (`fold`, `epoch`,
#'   `train_loss`, `validation_loss`).
#' @section Python:
#' The methods of `isthmus.interaction.InteractionFit`.
#' @name isthmus_interactions-methods
#' @examples
#' if (isthmus_available("torch")) {
#'   sce <- simulate_interactions(300, 20, seed = 1)
#'   fit <- fit_interactions(
#'     sce, labels = "cell_type", assay = "logcounts", n_neighbors = 10, folds = 2, max_epochs = 2
#'   )
#'   summary(fit)
#'   dim(predict(fit))
#'   head(as.data.frame(fit, table = "history"))
#' }
NULL

#' @rdname isthmus_interactions-methods
#' @method print isthmus_interactions
#' @export
print.isthmus_interactions <- function(x, ...) {
  facts <- x$facts
  sets <- c(`held-out` = "each cell by a model that has not seen it", train = "by the model that trained on them")
  types <- sprintf("%s (%s)", facts$types$type, format(facts$types$n_cells, big.mark = ",", trim = TRUE))
  cat(sprintf(
    "Neighbour cross-attention of %s and %s\n", count_of(facts$n_cells, "cell"), count_of(facts$n_genes, "gene")
  ))
  cat(sprintf("  types:        %s\n", first_types(types)))
  cat(sprintf("  samples:      %d\n", length(facts$samples)))
  cat(sprintf("  attention:    %s to %d neighbours\n", count_of(facts$n_heads, "head"), facts$n_neighbors))
  cat(sprintf("  folds:        %d, of %d spatial blocks\n", facts$folds, facts$blocks))
  cat(sprintf("  predictions:  %s\n", sets[[facts$set]]))
  invisible(x)
}

first_types <- function(types, most = 6L) {
  rest <- length(types) - most
  text <- paste(utils::head(types, most), collapse = ", ")
  if (rest > 0L) sprintf("%s and %d more", text, rest) else text
}

#' @rdname isthmus_interactions-methods
#' @method summary isthmus_interactions
#' @export
summary.isthmus_interactions <- function(object, ...) {
  refuse_dots()
  call <- rlang::current_env()
  text <- call_engine("summary", engine_fit(object, call), .call = call)
  structure(list(text = text), class = "summary.isthmus_interactions")
}

#' @method print summary.isthmus_interactions
#' @export
print.summary.isthmus_interactions <- function(x, ...) {
  cat(x$text, "\n", sep = "")
  invisible(x)
}

#' @rdname isthmus_interactions-methods
#' @method nobs isthmus_interactions
#' @export
nobs.isthmus_interactions <- function(object, ...) {
  refuse_dots()
  object$facts$n_cells
}

#' @rdname isthmus_interactions-methods
#' @method predict isthmus_interactions
#' @export
predict.isthmus_interactions <- function(object, neighbors = TRUE, ...) {
  refuse_dots()
  call <- rlang::current_env()
  refuse_na(list(neighbors = neighbors), call)
  found <- call_engine("predict_interactions", engine_fit(object, call), neighbors = neighbors, .call = call)
  dimnames(found$values) <- list(as.character(found$genes), as.character(found$cells))
  found$values
}

#' @rdname isthmus_interactions-methods
#' @method as.data.frame isthmus_interactions
#' @export
as.data.frame.isthmus_interactions <- function(x, row.names = NULL, optional = FALSE, ...,
                                               table = "explained_variance") {
  refuse_dots()
  call <- rlang::current_env()
  frame <- unwire_table(call_engine("table", engine_fit(x, call), table, .call = call))
  if (!is.null(row.names)) row.names(frame) <- row.names
  frame
}
