#' Save and load a fit
#'
#' A fit becomes a folder that Python reads too (`isthmus.load_fit`), equal to the
#' bit. Within R, [saveRDS()] does as well.
#'
#' @param fit A fit; those of `fit_glm(by = )` go into one folder.
#' @param path A folder that does not exist yet.
#' @param overwrite Replace the folder where it holds a fit.
#' @return `save_fit`: `path`, invisibly. `load_fit`: the fit.
#' @section Python:
#' `isthmus.save_fit`, `isthmus.load_fit`
#' @export
#' @examples
#' if (isthmus_available()) {
#'   sce <- simulate_counts(n_cells = 50, n_genes = 3, seed = 1)
#'   fit <- fit_glm(sce, ~1, size_factors = NULL)
#'   path <- tempfile("fit")
#'   save_fit(fit, path)
#'   identical(coef(load_fit(path)), coef(fit))
#' }
save_fit <- function(fit, path, overwrite = FALSE) {
  call <- rlang::current_env()
  if (!inherits(fit, c("isthmus_fit", "isthmus_glm_strata"))) {
    rule <- "`fit` must be a fit of fit_glm(), fit_factors(), remove_ambient() or fit_interactions(); got %s."
    abort_input(sprintf(rule, class(fit)[[1L]]), call)
  }
  check_text(path, "path", call)
  if (inherits(fit, "isthmus_glm_strata")) {
    save_strata(fit, path, overwrite, call)
    return(invisible(path))
  }
  # What only R knows (terms and levels of the formulas, labels) travels inside the fit's settings.
  call_engine(
    "save_fit", engine_fit(fit, call), path.expand(path),
    overwrite = overwrite, own = wire_bytes(own_part(fit)), .call = call
  )
  invisible(path)
}

own_part <- function(fit) fit[setdiff(names(fit), c("id", "state", "facts", "denoised", "denoised_mean"))]

wire_bytes <- function(x) wire_vector(as.integer(serialize(x, NULL)))

save_strata <- function(fits, path, overwrite, call) {
  own <- list(call = attr(fits, "call"), fits = lapply(unclass(fits), own_part))
  call_engine(
    "save_strata", lapply(unname(unclass(fits)), engine_fit, call = call), attr(fits, "by"), as.list(names(fits)),
    lapply(unname(attr(fits, "cells")), function(at) wire_vector(at - 1L)), path.expand(path),
    overwrite = overwrite, own = wire_bytes(own), .call = call
  )
}

load_strata <- function(loaded, kept) {
  levels <- as.character(loaded$levels)
  fits <- Map(
    function(one, own) new_fit(one, own$design, own$dispersion_design, own$call),
    stats::setNames(loaded$fits, levels), if (is.null(kept$fits)) list(NULL) else kept$fits[levels]
  )
  cells <- lapply(stats::setNames(loaded$cells, levels), function(at) as.integer(unwire_vector(at)) + 1L)
  structure(
    fits,
    by = loaded$by, cells = cells, n_cells = loaded$n_cells, call = kept$call, class = "isthmus_glm_strata"
  )
}

#' @rdname save_fit
#' @export
load_fit <- function(path) {
  call <- rlang::current_env()
  check_text(path, "path", call)
  loaded <- call_engine("load_fit", path.expand(path), .call = call)
  own <- as.raw(unwire_vector(loaded$own))
  kept <- if (length(own)) unserialize(own) else list()
  if (identical(loaded$facts$kind, "GlmFits")) {
    return(load_strata(loaded, kept))
  }
  if (identical(loaded$facts$kind, "FactorFit")) {
    return(new_factor_fit(loaded, kept$labels, kept$call))
  }
  if (identical(loaded$facts$kind, "AmbientFit")) {
    return(new_ambient(loaded, kept$call))
  }
  if (identical(loaded$facts$kind, "InteractionFit")) {
    return(new_interaction_fit(loaded, kept$call))
  }
  new_fit(loaded, kept$design, kept$dispersion_design, kept$call)
}
