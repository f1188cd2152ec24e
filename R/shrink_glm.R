#' Fold changes drawn towards zero
#'
#' For plots and rankings: the mode of the posterior of a coefficient or contrast
#' of the mean model, at the fit's dispersions. Test with [test_glm()].
#'
#' @param fit A fit of [fit_glm()].
#' @param coef,contrast One of the two, as in [test_glm()]; one row.
#' @param prior `"cauchy"`: a Cauchy prior whose scale is learnt from all genes, as in
#'   apeglm; large effects keep their size. `"normal"`: each parameter but the
#'   intercept has a normal prior, as `lfcShrink(type = "normal")` of DESeq2.
#' @param scale Scale or standard deviation of the prior, natural log; `NULL` learns
#'   it from the genes (with `"normal"` one for each parameter). Smaller shrinks
#'   more.
#' @param data,assay The counts that were fitted, once more, as in [test_glm()].
#' @param offset,weights The fit's offset or weights per gene and cell, if it had
#'   such.
#' @return A data.frame with one row a gene, in the order of the data: `gene`,
#'   `contrast`, `mean`, `estimate` (natural log), `log2fc`, `sd` (of the normal
#'   approximation at the mode, natural log), `log2fc_ml`, `prior_scale`, `status`.
#' @references Zhu, Ibrahim and Love (2019), Bioinformatics 35:2084. Love, Huber and
#'   Anders (2014), Genome Biology 15:550.
#' @section Python:
#' `isthmus.glm.shrink_glm`
#' @export
#' @examples
#' if (isthmus_available()) {
#'   sce <- simulate_counts(n_cells = 20, n_genes = 30, seed = 1)
#'   sce$group <- rep(c("a", "b"), each = 10)
#'   fit <- fit_glm(sce, ~ group, size_factors = NULL)
#'   head(shrink_glm(fit, "groupb"))
#' }
shrink_glm <- function(fit, coef = NULL, contrast = NULL, prior = "cauchy", scale = NULL, data = NULL,
                       assay = "counts", offset = NULL, weights = NULL) {
  call <- rlang::current_env()
  check_fit(fit, call)
  refuse_na(list(coef = coef, prior = prior, scale = scale, assay = assay), call)
  counts <- counts_again(fit, data, assay, TRUE, character(0), parent.frame(), call)
  columns <- call_engine(
    "shrink_glm", engine_fit(fit, call), counts$wire, counts$cells,
    layer = counts$layer, remembered = is.null(data), coef = coef, contrast = wire_contrast(contrast), prior = prior,
    scale = scale, offset = wire_offset(offset), weights = wire_offset(weights), .call = call
  )
  unwire_table(columns)
}
