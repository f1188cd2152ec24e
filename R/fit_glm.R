#' Fit a negative-binomial GLM to each gene
#'
#' For each gene, by joint maximum likelihood of the mean and the dispersion
#' model:
#' \deqn{\log \mu = X a + \log(\mathrm{size\ factor}) + \mathrm{offset}, \quad
#'   \log \alpha = Z b, \quad \mathrm{Var} = \mu + \alpha \mu^2.}
#' Any two design matrices, with linear constraints on either.
#'
#' @param data Counts: a `SingleCellExperiment` or `SummarizedExperiment`; a
#'   matrix, `dgCMatrix` or other `Matrix`, `DelayedArray` or data.frame, **genes x
#'   cells**; or an AnnData held by reticulate (cells x genes). A `DelayedArray`
#'   (an `HDF5Array`, say) is read in blocks of cells into one sparse matrix in
#'   memory: 12 bytes a positive count. An AnnData that is backed by a file is never
#'   read as a whole.
#' @param design The mean model: a one-sided formula, evaluated by R on the
#'   columns of the cell data (`relevel()`, `cut()`, `I(x^2)` and every other R
#'   function work; `offset()` terms are added to `offset`), or a matrix, cells x
#'   terms. Splines need no library: `ns(x, df = 4)` and `bs(x, df = 4)` are those of
#'   the package splines, `cr(x, df = 4)` is a natural and `cc(x, df = 4)` a cyclic
#'   cubic regression spline, with knots at quantiles (or `knots = `, ends included).
#' @param dispersion_design The model of log alpha, in the same forms. A larger
#'   alpha means more variable.
#' @param constraints,dispersion_constraints Linear constraints on the parameters:
#'   * `NULL`: none;
#'   * a named list, `list(batch = "condition")`: the effects of the levels of
#'     `batch` sum to zero within each condition (`list(batch = "1")`: over all
#'     levels). The factor gets one parameter a level, wherever it stands in the
#'     formula;
#'   * text, `"b1 + 2*b2 = 0.5"`, in the names of the columns;
#'   * a matrix of -1 / 0 / +1 rows (the marked parameters sum to zero), or the
#'     matrix H (all parameters x free parameters).
#' @param size_factors Linear and positive. `"auto"`: `sizeFactors(data)` if there
#'   are any, else column sums divided by their mean (a message says which).
#'   `NULL`: 1 for each cell. Or `"sum"`, `"ratio"`, `"poscounts"`, a vector, or
#'   the name of a column. A vector goes by the names of the cells where both have
#'   names.
#' @param offset Natural log: a value per cell, a matrix genes x cells, or the
#'   name of a column. Values go by the names of cells and genes where both have
#'   names.
#' @param weights How much each count says: its log-likelihood is multiplied by it,
#'   so that a cell of weight 2 counts as two and one of weight 0 not at all. A
#'   value per cell, a matrix genes x cells (such as zinbwave's for zero
#'   inflation), or the name of a column. Parameters whose cells all have weight 0
#'   in a gene have no estimate there (status `"separated"`). The means of the
#'   tables, size factors and residuals do not use them.
#' @param noise_model `"nb"` (also `"negative_binomial"`), `"poisson"`, or `"normal"`
#'   (also `"norm"`) for values that are no counts, such as logarithms: mu = size
#'   factor * (X a) + offset without a logarithm, and a variance exp(Z b) in the place
#'   of alpha. Its `"auto"` size factors are 1, `log2fc` is `NA`, and its tests are
#'   `"wald"`, `"lrt"` and `"score"`.
#' @param dispersion How alpha is estimated; the mean is at its maximum given alpha
#'   in each case. `"ml"`: joint maximum likelihood, too small with few samples.
#'   `"moments"`: by moments. `"cox_reid"`: by the Cox-Reid adjusted profile
#'   likelihood, for any dispersion design. `"trend"`: drawn towards a trend with
#'   the mean, as DESeq2 does, for one dispersion a gene; the means are refitted at
#'   each dispersion, which DESeq2 does with
#'   `estimateDispersionsGeneEst(linearMu = FALSE, niter = 20, minmu = 1e-6)`; genes
#'   whose moments show no dispersion take no part in the trend, as there.
#' @param by One fit a level: the name of a column, or one label per cell. Each level
#'   is fitted as if there were no other cells, size factors included; tables and
#'   tests gain the column.
#' @param cell_data A data.frame with one row per cell that takes the place of
#'   `colData(data)`. Rows go by name where both sides have names.
#' @param as_numeric,as_categorical Names of columns to treat as numbers or as
#'   factors.
#' @param gene_names One name per gene (for an AnnData also a column of its `var`);
#'   default: the data's own.
#' @param assay Name or number of the assay, for the experiments.
#' @param init,dispersion_init Start values: `"auto"`, `"standard"`,
#'   `"closed_form"`, `"zero"`, or a matrix, free parameters x genes (log alpha for
#'   the dispersion).
#' @param chunk_genes Genes fitted at a time; `NULL` chooses.
#' @param max_iter Largest number of iterations.
#' @param tol A gene has converged when one more step promises less log-likelihood
#'   than this.
#' @param dtype `"float64"`: in single precision the likelihood's noise defeats
#'   convergence.
#' @param n_threads Threads; `NULL` uses all cores this process may use. Results do
#'   not depend on it.
#' @param progress `TRUE`, `FALSE`, or `NULL`: only in interactive sessions.
#' @param BPPARAM A BiocParallel parameter object; its number of workers becomes
#'   `n_threads`.
#' @return A fit of class `isthmus_glm`: plain R, so [saveRDS()] and worker
#'   processes can have it. See [test_glm()] for tests and
#'   [isthmus_glm-methods] for tables, coefficients, predictions and plots. With
#'   `by` a list of such fits by level, of class `isthmus_glm_strata`, with a method
#'   of `as.data.frame()`; [test_glm()] takes it too.
#' @section Errors:
#' `isthmus_input_error` for everything the caller can mend; the text says what
#' came and what to do. `isthmus_missing_dependency` where there is no engine.
#' @section Python:
#' `isthmus.fit_glm`
#' @export
#' @examples
#' if (isthmus_available()) {
#'   counts <- matrix(rpois(200, 5), nrow = 10)
#'   cells <- data.frame(condition = rep(c("A", "B"), each = 10))
#'   fit <- fit_glm(counts, ~ condition, cell_data = cells, size_factors = NULL)
#'   fit
#'   test_glm(fit, "conditionB")
#' }
fit_glm <- function(data, design = ~1, dispersion_design = ~1, constraints = NULL, dispersion_constraints = NULL,
                    size_factors = "auto", offset = NULL, weights = NULL, noise_model = "nb", dispersion = "ml",
                    by = NULL, cell_data = NULL, as_numeric = character(0), as_categorical = character(0),
                    gene_names = NULL, assay = "counts", init = "auto", dispersion_init = "auto", chunk_genes = NULL,
                    max_iter = 100L, tol = 1e-8, dtype = "float64", n_threads = NULL, progress = NULL, BPPARAM = NULL) {
  call <- rlang::current_env()
  refuse_rpy2(call) # before anything about the data, which Python would see otherwise
  if (!is.null(by)) {
    return(fit_strata(mget(setdiff(names(formals()), "by")), by, match.call(), call))
  }
  refuse_na(list(
    size_factors = size_factors, offset = offset, weights = weights, noise_model = noise_model,
    dispersion = dispersion, assay = assay, init = init, dispersion_init = dispersion_init,
    chunk_genes = chunk_genes, max_iter = max_iter, tol = tol, dtype = dtype, n_threads = n_threads, progress = progress
  ), call)
  counts <- as_counts(data, assay = assay, call = call)
  cells <- replace_cell_data(counts$cells, cell_data, counts$matrix$genes, call)
  named <- c(column_name(size_factors, size_factor_words), column_name(offset), column_name(weights))
  constrained <- dict_columns(constraints, dispersion_constraints)
  frame <- wire_cells(cells, c(named, as_numeric, as_categorical, constrained, label_columns(cells)), call)
  evaluate <- function(spec, argument, constraints) {
    read_design(
      spec, cells, argument, call, dict_factors(constraints), dict_groups(constraints), as_numeric, as_categorical
    )
  }
  designs <- tryCatch(
    list(
      mean = evaluate(design, "design", constraints),
      dispersion = evaluate(dispersion_design, "dispersion_design", dispersion_constraints)
    ),
    isthmus_formula_error = function(e) explain_formula_error(e, counts, frame, call)
  )
  refuse_dispersion_offset(designs$dispersion$offset, call)
  fitted <- call_engine(
    "fit_glm", wire_counts(counts), designs$mean$wire, designs$dispersion$wire,
    cell_data = frame,
    constraints = wire_constraints(constraints, "constraints", call),
    dispersion_constraints = wire_constraints(dispersion_constraints, "dispersion_constraints", call),
    gene_names = wire_names(gene_names), layer = counts$layer,
    size_factors = wire_labelled(size_factors), offset = wire_offset(offset), weights = wire_offset(weights),
    formula_offset = wire_numeric(designs$mean$offset),
    noise_model = noise_model, dispersion = dispersion,
    as_numeric = as.list(as_numeric), as_categorical = as.list(as_categorical),
    init = wire_numeric(init), dispersion_init = wire_numeric(dispersion_init),
    chunk_genes = wire_number(chunk_genes), max_iter = wire_number(max_iter), tol = tol, dtype = dtype,
    n_threads = wire_number(workers(n_threads, BPPARAM, call)), progress = show_progress(progress),
    .call = call
  )
  new_fit(fitted, designs$mean$keep, designs$dispersion$keep, match.call())
}

size_factor_words <- c("auto", "sum", "ratio", "poscounts")

# The argument if it is the name of a column
column_name <- function(x, words = character(0)) {
  if (is.character(x) && length(x) == 1L && !x %in% words) x else character(0)
}

# Columns of labels, in whose levels the engine looks for replicates
label_columns <- function(cells) {
  is_labels <- function(name) {
    column <- plain_column(cells$table[[name]])
    (is.factor(column) || is.character(column)) && length(unique(column)) %in% 3:1000
  }
  if (is.null(cells$table)) character(0) else Filter(is_labels, cells$columns)
}

dict_columns <- function(...) {
  unlist(lapply(list(...), function(constraints) setdiff(c(dict_factors(constraints), dict_groups(constraints)), "1")))
}

# The columns that the engine looks up by name. Where one is unknown all others cross too, as their names only, so
# that the engine's complaint can list them.
wire_cells <- function(cells, names, call) {
  names <- unique(as.character(names))
  frame <- cell_frame(cells, names)
  for (name in if (all(names %in% cells$columns)) character(0) else setdiff(cells$columns, names)) frame[[name]] <- 0
  rows <- if (is.null(cells$table)) cells$cells else real_row_names(cells$table)
  wire_frame(frame, call, rows = rows)
}

# A formula that R could not evaluate may only show what is wrong with the data: the engine's sentences come first.
explain_formula_error <- function(e, counts, frame, call) {
  call_engine("check", wire_counts(counts), frame, wire_frame(e$variables, call, rows = NULL), e$argument, .call = call)
  abort_input(conditionMessage(e), call)
}

refuse_dispersion_offset <- function(offset, call) {
  if (!is.null(offset)) {
    abort_input("`dispersion_design` must not have offset() terms: the dispersion model has no offset.", call)
  }
}

# R's matrix is genes x cells, the engine's cells x genes: offsets and weights.
wire_offset <- function(offset) {
  is_table <- length(dim(offset)) == 2L
  wire_labelled(if (is_table) t(as.matrix(offset)) else offset)
}

workers <- function(n_threads, BPPARAM, call) {
  if (is.null(BPPARAM)) {
    return(n_threads)
  }
  if (!methods::is(BPPARAM, "BiocParallelParam")) {
    rule <- "`BPPARAM` must be a BiocParallel parameter object such as MulticoreParam(2); got %s."
    abort_input(sprintf(rule, class(BPPARAM)[[1L]]), call)
  }
  BiocParallel::bpnworkers(BPPARAM)
}

show_progress <- function(progress) {
  if (is.null(progress)) interactive() && isTRUE(getOption("isthmus.progress", TRUE)) else progress
}

# Plain R: the engine's state, what predict() needs of the formulas, and a few facts to print.
new_fit <- function(fitted, mean = NULL, dispersion = NULL, call = NULL) {
  remember_fit(fitted$facts$id, fitted$fit)
  facts <- lapply(fitted$facts, unwire_vector)
  structure(
    list(
      id = facts$id, state = unwire_state(fitted$state), facts = facts,
      design = mean, dispersion_design = dispersion, call = slim_call(call)
    ),
    class = c("isthmus_glm", "isthmus_fit")
  )
}

# do.call() puts the data itself into a call: the fit must not carry them along.
slim_call <- function(call) {
  for (name in setdiff(names(call), "")) {
    value <- call[[name]]
    plain <- is.language(value) || is.null(value) || (is.atomic(value) && length(value) <= 10L)
    if (!plain) call[[name]] <- as.name(name)
  }
  call
}
