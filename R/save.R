#' Save and load a fit
#'
#' A fit becomes a folder that Python reads too (`isthmus.load_fit`), equal to the
#' bit. Within R, [saveRDS()] does as well.
#'
#' @param fit A fit.
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
  if (!inherits(fit, "isthmus_fit")) {
    rule <- "`fit` must be a fit of fit_glm(), fit_factors(), remove_ambient() or fit_interactions(); got %s."
    abort_input(sprintf(rule, class(fit)[[1L]]), call)
  }
  check_text(path, "path", call)
  # What only R knows (terms and levels of the formulas, labels) travels inside the fit's settings.
  own <- serialize(fit[setdiff(names(fit), c("id", "state", "facts", "denoised", "denoised_mean"))], NULL)
  call_engine(
    "save_fit", engine_fit(fit, call), path.expand(path),
    overwrite = overwrite, own = wire_vector(as.integer(own)), .call = call
  )
  invisible(path)
}

#' @rdname save_fit
#' @export
load_fit <- function(path) {
  call <- rlang::current_env()
  check_text(path, "path", call)
  loaded <- call_engine("load_fit", path.expand(path), .call = call)
  own <- as.raw(unwire_vector(loaded$own))
  kept <- if (length(own)) unserialize(own) else list()
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
