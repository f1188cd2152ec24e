# Methods of an isthmus_ambient. The printed facts and both matrices are in the fit; tables ask the engine.

#' What one can ask of an ambient fit
#'
#' Methods for the fits of [remove_ambient()].
#'
#' @param object,x A fit of [remove_ambient()].
#' @param row.names,optional As in [as.data.frame()].
#' @param table `"cells"`, `"genes"`, `"profile"`, `"history"` or `"levels"`.
#' @param ... Not used.
#' @return
#' * `as.data.frame`: `"cells"` has `cell`, `batch`, `rho` (share of a cell's UMI that is
#'   ambient), `rho_se`, `observed_umi`, `ambient_umi`, `denoised_umi`, `flag`; `"genes"`
#'   has `gene`, `batch`, `ambient_prob`, `observed`, `removed`, `ambient_share`;
#'   `"profile"` has `gene`, `batch`, `prob`, `count`, `n_empty`; `"history"` has
#'   `iteration`, `log_likelihood`; `"levels"` has `cluster`, `batch`, `level` (mean of
#'   rho over its UMI), `level_se`, `n_anchors`.
#' * `coef`: the native profiles, a matrix genes x clusters whose columns sum to 1.
#' * `summary`: an object that prints the engine's summary.
#' @seealso [isthmus-ambient-plots]
#' @section Python:
#' The methods of `isthmus.AmbientFit`; `coef` is `native_profiles`.
#' @name isthmus_ambient-methods
#' @examples
#' if (isthmus_available()) {
#'   sample <- simulate_ambient(n_cells = 100, n_genes = 60, n_empty = 500, seed = 1)
#'   fit <- remove_ambient(sample$cells, droplets = sample$droplets)
#'   summary(fit)
#'   genes <- as.data.frame(fit, table = "genes")
#'   head(genes[order(-genes$removed), ])
#'   fit$denoised[1:3, 1:3]
#'   head(coef(fit))
#' }
NULL

#' @rdname isthmus_ambient-methods
#' @method print isthmus_ambient
#' @export
print.isthmus_ambient <- function(x, ...) {
  facts <- x$facts
  cat(sprintf(
    "Ambient RNA removed from %s x %s (method \"%s\")\n",
    count_of(facts$n_genes, "gene"), count_of(facts$n_cells, "cell"), facts$method
  ))
  cat(sprintf("  profile:    %s\n", facts$profile))
  cat(sprintf("  rho:        median %.3f, 5 %% of the cells below %.3f, 5 %% above %.3f\n", facts$rho[[2L]],
    facts$rho[[1L]], facts$rho[[3L]]
  ))
  removed <- facts$observed - facts$denoised
  cat(sprintf(
    "  removed:    %s of %s UMI (%.1f %%)\n", format(removed, big.mark = ","),
    format(facts$observed, big.mark = ",", scientific = FALSE), 100 * removed / facts$observed
  ))
  cat(sprintf("  flags:      %s\n", paste(facts$flags, format(facts$flag_counts, big.mark = ",", trim = TRUE),
    collapse = ", "
  )))
  invisible(x)
}

#' @rdname isthmus_ambient-methods
#' @method summary isthmus_ambient
#' @export
summary.isthmus_ambient <- function(object, ...) {
  refuse_dots()
  call <- rlang::current_env()
  text <- call_engine("summary", engine_fit(object, call), .call = call)
  structure(list(text = text), class = "summary.isthmus_ambient")
}

#' @method print summary.isthmus_ambient
#' @export
print.summary.isthmus_ambient <- function(x, ...) {
  cat(x$text, "\n", sep = "")
  invisible(x)
}

#' @rdname isthmus_ambient-methods
#' @method as.data.frame isthmus_ambient
#' @export
as.data.frame.isthmus_ambient <- function(x, row.names = NULL, optional = FALSE, ..., table = "cells") {
  refuse_dots()
  call <- rlang::current_env()
  frame <- unwire_table(call_engine("table", engine_fit(x, call), table, .call = call))
  if (!is.null(row.names)) row.names(frame) <- row.names
  frame
}

#' @rdname isthmus_ambient-methods
#' @method coef isthmus_ambient
#' @export
coef.isthmus_ambient <- function(object, ...) {
  refuse_dots()
  native <- object$state$native
  dim(native) <- c(length(object$state$cluster_names), length(object$state$gene_names)) # one cluster lost its dimension
  native <- t(native)
  dimnames(native) <- list(object$state$gene_names, object$state$cluster_names)
  native
}
