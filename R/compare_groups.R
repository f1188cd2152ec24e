#' Tests of groups of cells without a model
#'
#' Welch's t-test or the rank-sum test between every pair of groups, in the table of
#' [test_glm()]: for comparison. They know neither covariates nor donors, nor that a
#' count of 0 says less in a shallow cell.
#'
#' @param data,size_factors,cell_data,gene_names,assay As in [fit_glm()].
#' @param groups The name of a column, or one label per cell.
#' @param test `"welch"`: t with Welch's degrees of freedom. `"rank"`: Mann and
#'   Whitney's U with ties, normal approximation with continuity correction.
#' @param transform What of count / size factor is compared: `"log1p"` (natural log
#'   of 1 + it) or `"none"`.
#' @return A data.frame of class `isthmus_test` with the columns of [test_glm()], one
#'   block of rows a pair `b - a`, each adjusted by itself. `estimate` is the natural
#'   log of the ratio of the mean counts / size factor (infinite where one is 0),
#'   without a standard error; `stat` t or U of the second group.
#' @section Python:
#' `isthmus.glm.compare_groups`
#' @export
#' @examples
#' if (isthmus_available()) {
#'   sce <- simulate_counts(n_cells = 40, n_genes = 5, seed = 1)
#'   compare_groups(sce, rep(c("a", "b"), 20), test = "rank")
#' }
compare_groups <- function(data, groups, test = "welch", transform = "log1p", size_factors = "auto", cell_data = NULL,
                           gene_names = NULL, assay = "counts") {
  call <- rlang::current_env()
  refuse_na(list(test = test, transform = transform, size_factors = size_factors, assay = assay), call)
  counts <- as_counts(data, assay = assay, call = call)
  cells <- replace_cell_data(counts$cells, cell_data, counts$matrix$genes, call)
  named <- c(column_name(size_factors, size_factor_words), column_name(groups))
  columns <- call_engine(
    "compare_groups", wire_counts(counts), wire_cells(cells, named, call), wire_grouping(groups, "groups", call),
    gene_names = wire_names(gene_names), layer = counts$layer, test = test, transform = transform,
    size_factors = wire_labelled(size_factors), .call = call
  )
  unwire_table(columns, class = "isthmus_test")
}

#' Lowest and highest points of fitted curves
#'
#' For each gene, where along a continuous covariate its fitted curve is lowest and
#' highest. The curve is exp(intercept + the terms with the covariate alone): the
#' expected count at size factor 1 and other columns at zero. Its terms may be a
#' spline (`ns()`, `bs()`, `cr()`, `cc()`), a polynomial or the covariate itself;
#' test them together with `test_glm(fit, factor = )`.
#'
#' @param fit A fit of [fit_glm()], its design a formula.
#' @param covariate Name of a numeric column in the formula.
#' @return A data.frame with one row a gene: `gene`, `min`, `max` (expected counts),
#'   `argmin`, `argmax` (values of the covariate), `log2fc` (of `max` over `min`),
#'   `status`.
#' @section Python:
#' `isthmus.glm.curve_extremes`
#' @export
#' @examples
#' if (isthmus_available()) {
#'   sce <- simulate_counts(n_cells = 100, n_genes = 5, seed = 1)
#'   sce$age <- seq(0, 10, length.out = 100)
#'   fit <- fit_glm(sce, ~ ns(age, df = 3), size_factors = NULL)
#'   curve_extremes(fit, "age")
#' }
curve_extremes <- function(fit, covariate) {
  call <- rlang::current_env()
  check_fit(fit, call)
  check_text(covariate, "covariate", call)
  unwire_table(call_engine("curve_extremes", engine_fit(fit, call), covariate, .call = call))
}
