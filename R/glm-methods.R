# Methods of an isthmus_glm. What the fit holds is read from its state, without Python; what must be computed asks the
# engine.

#' What one can ask of a fit
#'
#' Methods for the fits of [fit_glm()].
#'
#' @param object,x A fit of [fit_glm()].
#' @param model `"mean"`, or `"dispersion"` (log alpha).
#' @param gene One gene, by name or number.
#' @param information `"expected"` or `"observed"`.
#' @param newdata Cell data for new cells (a data.frame, or an object with
#'   `colData`), coded as the fit's cells were; `NULL`: the fit's own cells. As in
#'   all of R, functions that look at all cells at once are remembered where they
#'   stand alone in the formula (`ns(age, 3)`, `poly(age, 2)`, `scale(age)`), and
#'   evaluated anew inside other calls (`poly(age, 2)[, 2]`).
#' @param size_factors,offset For new cells: one value per cell or one for all;
#'   default 1 and 0. `offset` is asked for again where the fit had one value per
#'   gene and cell.
#' @param type For `predict`: `"mean"`, `"link"` (log of the mean) or
#'   `"dispersion"` (alpha). For `residuals`: `"pearson"`, `"response"`,
#'   `"deviance"` or `"quantile"` (randomised, seeded).
#' @param data The counts that were fitted: a fit keeps none.
#' @param assay Name or number of the assay of `data`.
#' @param seed Seed of the randomised quantile residuals.
#' @param k Penalty per parameter.
#' @param row.names,optional As in [as.data.frame()].
#' @param table `"coefficients"` or `"genes"`.
#' @param ... Not used.
#' @return
#' * `coef`: a matrix, genes x terms (natural log); of fits `by` level a list of
#'   them.
#' * `vcov`: the covariance matrix of one gene's parameters, mean model first.
#' * `logLik`: log-likelihoods, named by gene, with attributes `df` and `nobs`.
#' * `AIC`, `BIC`: named by gene.
#' * `nobs`: the number of cells.
#' * `predict`, `residuals`: a matrix, genes x cells.
#' * `as.data.frame`: `"coefficients"` has `gene`, `model`, `term`, `estimate`
#'   (natural log), `se`, `dependent`; `"genes"` has `gene`, `status`, `mean`,
#'   `dispersion` (alpha), `log_likelihood`, `n_iter`.
#' * `summary`: an object that prints the engine's summary.
#' @section Python:
#' The methods of `isthmus.GlmFit`.
#' @name isthmus_glm-methods
#' @examples
#' if (isthmus_available()) {
#'   x <- model.matrix(~condition, data.frame(condition = rep(c("A", "B"), each = 30)))
#'   sce <- simulate_counts(n_genes = 5, design = x, seed = 1)
#'   fit <- fit_glm(sce, x, size_factors = NULL)
#'   coef(fit)
#'   logLik(fit)
#'   vcov(fit, gene = 1)
#'   head(as.data.frame(fit, table = "genes"))
#'   dim(residuals(fit, sce))
#' }
NULL

#' @rdname isthmus_glm-methods
#' @method print isthmus_glm
#' @export
print.isthmus_glm <- function(x, ...) {
  facts <- x$facts
  models <- c(nb = "Negative-binomial GLM", poisson = "Poisson GLM", normal = "Normal linear model")
  model <- models[[facts$noise_model]]
  cat(sprintf("%s of %s in %s\n", model, count_of(facts$n_genes, "gene"), count_of(facts$n_cells, "cell")))
  cat(sprintf("  mean:       %s; %s\n", facts$design, paste(x$state$mean_names, collapse = ", ")))
  if (length(x$state$dispersion_names)) {
    cat(sprintf("  dispersion: %s; %s\n", facts$dispersion_design, paste(x$state$dispersion_names, collapse = ", ")))
  }
  status <- sort(table(x$state$status), decreasing = TRUE)
  cat(sprintf("  status:     %s\n", paste(names(status), format(status, big.mark = ",", trim = TRUE), collapse = ", ")))
  invisible(x)
}

count_of <- function(n, noun) paste0(format(n, big.mark = ","), " ", noun, if (n == 1) "" else "s")

#' @rdname isthmus_glm-methods
#' @method summary isthmus_glm
#' @export
summary.isthmus_glm <- function(object, ...) {
  refuse_dots()
  call <- rlang::current_env()
  text <- call_engine("summary", engine_fit(object, call), .call = call)
  structure(list(text = text), class = "summary.isthmus_glm")
}

#' @method print summary.isthmus_glm
#' @export
print.summary.isthmus_glm <- function(x, ...) {
  cat(x$text, "\n", sep = "")
  invisible(x)
}

#' @rdname isthmus_glm-methods
#' @method coef isthmus_glm
#' @export
coef.isthmus_glm <- function(object, model = "mean", ...) {
  refuse_dots()
  check_model(model, rlang::current_env())
  state <- object$state
  values <- t(if (model == "mean") state$coef else state$dispersion_coef)
  dimnames(values) <- list(state$gene_names, if (model == "mean") state$mean_names else state$dispersion_names)
  values
}

check_model <- function(model, call) {
  if (!is.character(model) || length(model) != 1L || !model %in% c("mean", "dispersion")) {
    text <- sprintf("`model` must be 'mean' or 'dispersion'; got %s.", paste(format(model), collapse = ", "))
    abort_input(text, call)
  }
}

#' @rdname isthmus_glm-methods
#' @method vcov isthmus_glm
#' @export
vcov.isthmus_glm <- function(object, gene, information = "expected", ...) {
  refuse_dots()
  call <- rlang::current_env()
  if (missing(gene)) {
    abort_input("`gene` must be the name or the number of one gene. Pass, for example, gene = 1.", call)
  }
  at <- gene_index(gene, object$state$gene_names, call)
  values <- call_engine("covariance", engine_fit(object, call), at - 1L, information = information, .call = call)
  terms <- parameter_names(object)
  dimnames(values) <- list(terms, terms)
  values
}

gene_index <- function(gene, genes, call) {
  at <- if (is.character(gene)) match(gene, genes) else if (is.numeric(gene)) as.integer(gene) else NA_integer_
  if (length(at) != 1L || is.na(at) || at < 1L || at > length(genes)) {
    text <- sprintf(
      "`gene` must be the name or the number (1 to %d) of one gene; got %s.",
      length(genes), paste(format(gene), collapse = ", ")
    )
    abort_input(text, call)
  }
  at
}

# Names of both models; those of the dispersion model are marked, as a design may be used twice.
parameter_names <- function(fit) {
  dispersion <- fit$state$dispersion_names
  c(fit$state$mean_names, if (length(dispersion)) paste0("dispersion:", dispersion))
}

#' @rdname isthmus_glm-methods
#' @importFrom stats logLik
#' @method logLik isthmus_glm
#' @export
logLik.isthmus_glm <- function(object, ...) {
  refuse_dots()
  values <- stats::setNames(object$state$log_likelihood, object$state$gene_names)
  structure(values, df = object$facts$n_free, nobs = nobs.isthmus_glm(object))
}

#' @rdname isthmus_glm-methods
#' @importFrom stats AIC
#' @method AIC isthmus_glm
#' @export
AIC.isthmus_glm <- function(object, ..., k = 2) {
  refuse_dots()
  check_penalty(k, rlang::current_env())
  -2 * gene_log_likelihood(object) + k * object$facts$n_free
}

check_penalty <- function(k, call) {
  if (!is.numeric(k) || length(k) != 1L || !is.finite(k)) {
    text <- sprintf("`k` must be one number, the penalty of a parameter; got %s.", paste(format(k), collapse = ", "))
    abort_input(text, call)
  }
}

#' @rdname isthmus_glm-methods
#' @importFrom stats BIC
#' @method BIC isthmus_glm
#' @export
BIC.isthmus_glm <- function(object, ...) {
  refuse_dots()
  -2 * gene_log_likelihood(object) + log(nobs.isthmus_glm(object)) * object$facts$n_free
}

gene_log_likelihood <- function(fit) stats::setNames(fit$state$log_likelihood, fit$state$gene_names)

#' @rdname isthmus_glm-methods
#' @importFrom stats nobs
#' @method nobs isthmus_glm
#' @export
nobs.isthmus_glm <- function(object, ...) {
  refuse_dots()
  as.integer(object$facts$n_cells)
}

#' @rdname isthmus_glm-methods
#' @importFrom stats predict
#' @method predict isthmus_glm
#' @export
predict.isthmus_glm <- function(object, newdata = NULL, size_factors = NULL, offset = NULL, type = "mean", ...) {
  refuse_dots()
  call <- rlang::current_env()
  fit <- engine_fit(object, call)
  cells <- object$state$cell_names
  designs <- NULL
  if (is.null(newdata)) {
    offset <- wire_offset(offset)
  } else {
    mean <- design_of_new(object$design, newdata, "newdata", call)
    dispersion <- design_of_new(object$dispersion_design, newdata, "newdata", call)
    designs <- list(mean = mean$wire, dispersion = dispersion$wire)
    cells <- mean$cells
    offset <- join_offset(offset, mean$offset)
  }
  values <- call_engine(
    "predict", fit, designs,
    size_factors = wire_numeric(size_factors), offset = offset, type = type, .call = call
  )
  dimnames(values) <- list(object$state$gene_names, cells)
  values
}

# offset() terms are added per cell: the columns of a matrix, genes x cells
join_offset <- function(offset, formula_offset) {
  if (length(dim(offset)) == 2L) offset <- t(as.matrix(offset))
  if (!is.null(formula_offset)) offset <- (if (is.null(offset)) 0 else unname(offset)) + formula_offset
  wire_numeric(offset)
}

#' @rdname isthmus_glm-methods
#' @importFrom stats residuals
#' @method residuals isthmus_glm
#' @export
residuals.isthmus_glm <- function(object, data, type = "pearson", offset = NULL, seed = 0L, assay = "counts", ...) {
  refuse_dots()
  call <- rlang::current_env()
  if (missing(data)) {
    text <- "`data` must be the counts that were fitted: a fit keeps none. Pass the same object as to fit_glm()."
    abort_input(text, call)
  }
  counts <- as_counts(data, assay = assay, call = call)
  values <- call_engine(
    "residuals", engine_fit(object, call), wire_counts(counts), wire_cells(counts$cells, character(0), call),
    layer = counts$layer, type = type, offset = wire_offset(offset), seed = wire_number(seed), .call = call
  )
  dimnames(values) <- list(object$state$gene_names, object$state$cell_names)
  values
}

#' @rdname isthmus_glm-methods
#' @method as.data.frame isthmus_glm
#' @export
as.data.frame.isthmus_glm <- function(x, row.names = NULL, optional = FALSE, ..., table = "coefficients") {
  refuse_dots()
  call <- rlang::current_env()
  frame <- unwire_table(call_engine("table", engine_fit(x, call), table, .call = call))
  if (!is.null(row.names)) row.names(frame) <- row.names
  frame
}
