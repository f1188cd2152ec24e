#' Test coefficients or contrasts of a fit
#'
#' Wald tests of a coefficient, of all coefficients of a factor, or of any
#' contrast, on the mean or on the dispersion model; p-values are adjusted by
#' Benjamini and Hochberg over the genes that have one.
#'
#' @param fit A fit of [fit_glm()].
#' @param coef Name of one coefficient, such as `"conditionB"`, constrained ones
#'   included.
#' @param factor Name of a term of the formula: all its coefficients at once.
#' @param contrast A vector (one weight per coefficient, or some by name:
#'   `c(b = 1, a = -1)`), a matrix (several rows, tested together; columns go by
#'   name where they have names), or text such as `"b - a"` or `"2*b - a = 0.5"`
#'   (several texts are tested together).
#' @param reduced,pairwise,versus_rest,replicate,sandwich Of later versions; leave
#'   them as they are.
#' @param method `"wald"`.
#' @param model `"mean"` or `"dispersion"`.
#' @param reference `"normal"` or `"t"` (the fit's residual degrees of freedom).
#' @param information `"expected"` or `"observed"`.
#' @param alternative `"two-sided"` (or `"two.sided"`), `"greater"`, `"less"`.
#' @param lfc_threshold Log2 fold change that the effect must exceed, tested as
#'   TREAT does.
#' @return A data.frame of class `isthmus_test`, one row per gene in the order of
#'   the data: `gene`, `contrast`, `method`, `mean`, `estimate`
#'   (natural log), `log2fc`, `se`, `ci_low`, `ci_high`, `stat`, `df`,
#'   `df_resid`, `pval`, `padj`, `log_likelihood`, `status`.
#' @section Cells of one donor:
#' are not independent: a cell-level test takes them for replicates and rejects
#' far too often. Sum the counts of each donor first and test those.
#' @section Python:
#' `isthmus.test_glm`
#' @seealso [add_results()], [plot.isthmus_test()]
#' @export
#' @examples
#' if (isthmus_available()) {
#'   x <- model.matrix(~condition, data.frame(condition = rep(c("A", "B"), each = 30)))
#'   sce <- simulate_counts(n_genes = 5, design = x, seed = 1)
#'   fit <- fit_glm(sce, x, size_factors = NULL)
#'   test_glm(fit, "conditionB")
#' }
test_glm <- function(fit, coef = NULL, factor = NULL, contrast = NULL, reduced = NULL, pairwise = NULL,
                     versus_rest = NULL, method = "wald", model = "mean", reference = "normal",
                     information = "expected", replicate = NULL, sandwich = "CR2", alternative = "two-sided",
                     lfc_threshold = 0) {
  call <- rlang::current_env()
  check_fit(fit, call)
  refuse_na(list(
    coef = coef, factor = factor, method = method, model = model, reference = reference, information = information,
    sandwich = sandwich, alternative = alternative, lfc_threshold = lfc_threshold
  ), call)
  columns <- call_engine(
    "test_glm", engine_fit(fit, call),
    coef = coef, factor = factor, contrast = wire_contrast(contrast), reduced = wire_reduced(reduced),
    pairwise = pairwise, versus_rest = versus_rest, method = method, model = model, reference = reference,
    information = information, replicate = replicate, sandwich = sandwich,
    alternative = sub("two.sided", "two-sided", alternative, fixed = TRUE), lfc_threshold = lfc_threshold,
    .call = call
  )
  unwire_table(columns, class = "isthmus_test")
}

check_fit <- function(fit, call) {
  if (!inherits(fit, "isthmus_glm")) {
    abort_input(sprintf("`fit` must be a fit of fit_glm(); got %s.", class(fit)[[1L]]), call)
  }
}

wire_contrast <- function(contrast) {
  if (is.data.frame(contrast)) contrast <- as.matrix(contrast)
  if (is.matrix(contrast) && is.numeric(contrast)) {
    return(wire_labelled(contrast))
  }
  by_name <- is.numeric(contrast) && !is.null(names(contrast)) && all(nzchar(names(contrast)))
  if (by_name) as.list(contrast) else wire_numeric(contrast)
}

wire_reduced <- function(reduced) if (inherits(reduced, "formula")) formula_text(reduced) else wire_numeric(reduced)
