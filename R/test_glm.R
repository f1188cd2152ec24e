#' Test coefficients or contrasts of a fit
#'
#' Tests of a coefficient, of all coefficients of a factor, of any contrast or of
#' a smaller model, on the mean or on the dispersion model, by Wald's statistic,
#' the likelihood ratio or the score; p-values are adjusted by Benjamini and
#' Hochberg over the genes that have one.
#'
#' @param fit A fit of [fit_glm()]. Of fits `by` level each is tested, and the table
#'   begins with the level.
#' @param coef Name of one coefficient, such as `"conditionB"`, constrained ones
#'   included.
#' @param factor Name of a term of the formula: all its coefficients at once.
#' @param contrast A vector (one weight per coefficient, or some by name:
#'   `c(b = 1, a = -1)`), a matrix (several rows, tested together; columns go by
#'   name where they have names), or text such as `"b - a"` or `"2*b - a = 0.5"`
#'   (several texts are tested together).
#' @param reduced A smaller model to test against: a formula such as `~ batch`
#'   (terms of the fit's formula), a design matrix that the fit's design can
#'   express, or names of coefficients to set to zero.
#' @param replicate Which cells belong together (donors, samples): the name of a
#'   column of the cell data, or one label per cell. Variances are then those
#'   between replicates, for Wald and score tests of the mean model.
#' @param sandwich `"CR0"`, `"CR1"` or `"CR2"`; degrees of freedom are
#'   Satterthwaite's.
#' @param pairwise Name of a factor: every pair of its levels, `b - a`, one block
#'   of rows a pair. One fit serves them all.
#' @param versus_rest Name of a factor: each level against the mean of the others'
#'   coefficients.
#' @param method `"wald"`; `"lrt"`: twice the log-likelihood that the hypothesis
#'   costs, chi-square (a 50:50 mixture where a dispersion lies on its bound);
#'   `"score"`: how steep the likelihood is at the hypothesis; or `"qlf"`:
#'   quasi-likelihood F, for few replicates (at least 50 genes, one dispersion a
#'   gene).
#' @param model `"mean"` or `"dispersion"`.
#' @param reference `"normal"` or `"t"` (the fit's residual degrees of freedom).
#' @param information `"expected"` or `"observed"`.
#' @param alternative `"two-sided"` (or `"two.sided"`), `"greater"`, `"less"`.
#' @param lfc_threshold Log2 fold change that the effect must exceed, tested as
#'   TREAT does.
#' @param rest How `versus_rest` weighs the other levels: `"mean"` (equally) or
#'   `"pooled"` (by their numbers of cells).
#' @param data,assay The counts that were fitted, once more: a fit keeps none. Only
#'   `"lrt"`, `"score"`, `"qlf"` and separated genes need them. By default the object that
#'   the call of [fit_glm()] names is looked up again, and used if it still holds
#'   the fitted counts.
#' @param offset,weights The fit's offset or weights per gene and cell, if it had
#'   such and counts are needed.
#' @param n_threads Threads for refits; `NULL` uses all cores.
#' @return A data.frame of class `isthmus_test`, one row per gene in the order of
#'   the data: `gene`, `contrast`, `method`, `mean`, `estimate`
#'   (natural log), `log2fc`, `se`, `ci_low`, `ci_high`, `stat`, `df`,
#'   `df_resid`, `pval`, `padj`, `log_likelihood`, `status`,
#'   `estimate_penalized`.
#' @section Separated genes:
#' have an infinite estimate and no Wald test: their p-value is that of the
#' likelihood ratio, as `method` says, and `estimate_penalized` is Firth's finite
#' estimate. Other contrasts of such a gene are tested as usual.
#' @section Cells of one donor:
#' are not independent: a cell-level test takes them for replicates and rejects
#' far too often. Sum the counts of each donor with [pseudobulk()] and test those
#' with `method = "qlf"`, or name the donors in `replicate`. Random intercepts
#' for donors are not part of this package: see lme4 or glmmTMB.
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
#'   test_glm(fit, "conditionB", method = "lrt", data = sce)
#' }
test_glm <- function(fit, coef = NULL, factor = NULL, contrast = NULL, reduced = NULL, pairwise = NULL,
                     versus_rest = NULL, method = "wald", model = "mean", reference = "normal",
                     information = "expected", replicate = NULL, sandwich = "CR2", alternative = "two-sided",
                     lfc_threshold = 0, rest = "mean", data = NULL, assay = "counts", offset = NULL, weights = NULL,
                     n_threads = NULL) {
  call <- rlang::current_env()
  if (inherits(fit, "isthmus_glm_strata")) {
    return(test_strata(fit, mget(setdiff(names(formals()), "fit")), parent.frame(), call))
  }
  check_fit(fit, call)
  refuse_na(list(
    coef = coef, factor = factor, pairwise = pairwise, versus_rest = versus_rest, rest = rest, method = method,
    model = model, reference = reference, information = information,
    sandwich = sandwich, alternative = alternative, lfc_threshold = lfc_threshold, n_threads = n_threads
  ), call)
  needed <- !identical(method, "wald") || !is.null(replicate)
  found <- counts_again(fit, data, assay, needed, column_name(replicate), envir = parent.frame(), call)
  columns <- call_engine(
    "test_glm", engine_fit(fit, call), found$wire, found$cells,
    layer = found$layer, remembered = is.null(data),
    coef = coef, factor = factor, contrast = wire_contrast(contrast), reduced = wire_reduced(reduced),
    pairwise = pairwise, versus_rest = versus_rest, rest = rest, method = method, model = model, reference = reference,
    information = information, replicate = wire_grouping(replicate, "replicate", call), sandwich = sandwich,
    alternative = sub("two.sided", "two-sided", alternative, fixed = TRUE), lfc_threshold = lfc_threshold,
    offset = wire_offset(offset), weights = wire_offset(weights), n_threads = wire_number(n_threads),
    .call = call
  )
  unwire_table(columns, class = "isthmus_test")
}

check_fit <- function(fit, call) {
  if (!inherits(fit, "isthmus_glm")) {
    strata <- inherits(fit, "isthmus_glm_strata")
    hint <- if (strata) sprintf(" Take one level's, such as fit[[\"%s\"]].", names(fit)[[1L]]) else ""
    abort_input(sprintf("`fit` must be a fit of fit_glm(); got %s.%s", class(fit)[[1L]], hint), call)
  }
}

# A column's name, or labels as codes and levels
wire_grouping <- function(labels, argument, call) {
  alone <- is.null(labels) || length(labels) == 1L
  if (alone) labels else wire_column(plain_column(labels), argument, call)
}

wire_contrast <- function(contrast) {
  if (is.data.frame(contrast)) contrast <- as.matrix(contrast)
  if (is.matrix(contrast) && is.numeric(contrast)) {
    return(wire_labelled(contrast))
  }
  by_name <- is.numeric(contrast) && !is.null(names(contrast)) && all(nzchar(names(contrast)))
  if (by_name) as.list(contrast) else wire_numeric(contrast)
}

# A formula crosses as the labels of its terms, as R reads them: the engine sets the others to zero.
wire_reduced <- function(reduced) {
  if (is.character(reduced) && length(reduced) == 1L && grepl("~", reduced, fixed = TRUE)) {
    reduced <- stats::as.formula(reduced)
  }
  if (!inherits(reduced, "formula")) {
    if (is.data.frame(reduced)) reduced <- as.matrix(reduced)
    return(if (is.character(reduced)) as.list(reduced) else wire_numeric(reduced))
  }
  terms <- stats::terms(reduced)
  labels <- c(if (attr(terms, "intercept")) "(Intercept)", attr(terms, "term.labels"))
  list(kind = "formula", labels = as.list(labels), text = formula_text(reduced))
}

# The counts of a fit once more: those that the user passes, else what the call of fit_glm() names, as update() does.
counts_again <- function(fit, data, assay, needed, columns, envir, call) {
  if (is.null(data)) {
    if (!needed && !"separated" %in% fit$state$status) {
      return(NULL)
    }
    counts <- tryCatch(counts_of_call(fit$call, envir, call), error = function(e) NULL)
  } else {
    counts <- as_counts(data, assay = assay, call = call)
  }
  if (is.null(counts)) {
    return(NULL)
  }
  list(wire = wire_counts(counts), cells = wire_cells(counts$cells, columns, call), layer = counts$layer)
}

# Only names and their parts are looked up: a call might read a file, or draw anew.
counts_of_call <- function(fitted, envir, call) {
  is_place <- function(expression) {
    is.name(expression) || (is.call(expression) && deparse(expression[[1L]])[[1L]] %in% c("$", "[[", "@") &&
      is_place(expression[[2L]]))
  }
  if (is.null(fitted$data) || !is_place(fitted$data)) {
    return(NULL)
  }
  assay <- if (is.null(fitted$assay)) "counts" else eval(fitted$assay, envir)
  as_counts(eval(fitted$data, envir), assay = assay, call = call)
}
