#' What one can ask of a fit with a network
#'
#' Functions of the fits of `remove_ambient(method = "scar")`: what scvi-tools' SCAR
#' documents as methods, under their names without `get_`. None needs torch. Those about
#' how well the model explains counts take the counts again, which a fit does not hold.
#'
#' SCAR's model of a cell: z from Normal(0, 1); native frequencies p and the ambient share
#' rho from a decoder; counts with mean N ((1 - rho) p + rho a). An encoder gives the
#' posterior of z, a normal for each cell.
#'
#' @param fit A fit of [remove_ambient()] with `method = "scar"`.
#' @param variance The variance of the posterior of z in place of its mean.
#' @param n_samples Draws of z for each cell; `NULL`: at its mean.
#' @param seed Seed of the draws.
#' @param genes Names of the genes wanted; `NULL`: all.
#' @param library_size What a cell's frequencies sum to, over all genes; `"latent"`: its
#'   own counts.
#' @param rna_size_factor For `"nb"` and `"zinb"`, which draw expression from a gamma
#'   distribution: a larger value makes its noise count for more.
#' @param correlation_type `"spearman"` or `"pearson"`.
#' @param groupby A value per cell, `"cluster"` (the `labels` of the fit) or `"batch"`.
#' @param group1,group2 Groups to compare; without `group2` with all other cells,
#'   without `group1` every group with all others.
#' @param mode `"change"`: the probability that the log2 fold change exceeds `delta`;
#'   `"vanilla"`: that the first group's frequency is larger.
#' @param delta Smallest log2 fold change that matters.
#' @param fdr_target Expected share of false genes among those called.
#' @param cells The counts of the fit. For `differential_expression`: weight draws by
#'   importance.
#' @param filter_outlier_cells Leave out the tenth of each group that lies farthest out in
#'   the latent space.
#' @param group `TRUE` for each cell that takes part; `NULL`: all.
#' @param sample A value per cell, `"batch"` or `"cluster"`.
#' @param dof Degrees of freedom of Student's t components; `NULL`: normal ones.
#' @param max_cells,n_mc_samples Cells by which weights are judged, at most, and draws for
#'   their marginal likelihood.
#' @param truncation Cap weights at sqrt(n) times their mean.
#' @param assay Name or number of the assay, for the experiments.
#' @return
#' * `latent`: a matrix, cells x dimensions.
#' * `normalized_expression`: a matrix, genes x cells; `likelihood_parameters`: a list of
#'   such (`mean` of native counts, `ambient`, and where there are `dispersions`, r, and
#'   `dropout`); `posterior_predictive_sample`: a `dgCMatrix`, or a list of them.
#' * `feature_correlation_matrix`: genes x genes. `differential_abundance`: cells x
#'   samples, log density of each sample at each cell.
#' * `differential_expression`, `aggregated_posterior`: data.frames.
#' * `elbo`, `reconstruction_error`, `marginal_ll`, `importance_weights`,
#'   `latent_library_size`: vectors named by cell.
#' @section Python:
#' The functions of these names in `isthmus.ambient`.
#' @references
#' Sheng et al. (2022) bioRxiv \doi{10.1101/2022.01.14.476312}. Boyeau et al. (2019) bioRxiv
#' \doi{10.1101/794289}. Lopez et al. (2018) Nature Methods 15:1053.
#' @name scar-fits
#' @examples
#' deep <- isthmus_available() && reticulate::py_module_available("torch")
#' if (deep) {
#'   sample <- simulate_ambient(n_cells = 80, n_genes = 40, n_empty = 300, seed = 1)
#'   fit <- remove_ambient(
#'     sample$cells, droplets = sample$droplets, labels = "type", method = "scar",
#'     max_epochs = 5, early_stopping = FALSE, n_hidden = 16
#'   )
#'   dim(latent(fit))
#'   normalized_expression(fit, genes = "gene1", library_size = 1e4)[, 1:3]
#'   head(differential_expression(fit, "cluster", "type1", "type2", n_samples = 100))
#'   mean(elbo(fit, sample$cells))
#' }
NULL

#' @rdname scar-fits
#' @export
latent <- function(fit, variance = FALSE, n_samples = 1000L, seed = 0L) {
  ask_scar(fit, "latent", variance = variance, n_samples = n_samples, seed = seed, .call = rlang::current_env())
}

#' @rdname scar-fits
#' @export
normalized_expression <- function(fit, genes = NULL, library_size = 1, n_samples = NULL, seed = 0L) {
  ask_scar(
    fit, "normalized_expression", genes = genes, library_size = library_size, n_samples = n_samples, seed = seed,
    .call = rlang::current_env()
  )
}

#' @rdname scar-fits
#' @export
likelihood_parameters <- function(fit, n_samples = NULL, seed = 0L) {
  ask_scar(fit, "likelihood_parameters", n_samples = n_samples, seed = seed, .call = rlang::current_env())
}

#' @rdname scar-fits
#' @export
feature_correlation_matrix <- function(fit, genes = NULL, n_samples = 10L, rna_size_factor = 1000,
                                       correlation_type = "spearman", seed = 0L) {
  ask_scar(
    fit, "feature_correlation_matrix", genes = genes, n_samples = n_samples, rna_size_factor = rna_size_factor,
    correlation_type = correlation_type, seed = seed, .call = rlang::current_env()
  )
}

#' @rdname scar-fits
#' @export
posterior_predictive_sample <- function(fit, n_samples = 1L, seed = 0L) {
  ask_scar(fit, "posterior_predictive_sample", n_samples = n_samples, seed = seed, .call = rlang::current_env())
}

#' @rdname scar-fits
#' @export
differential_expression <- function(fit, groupby = "cluster", group1 = NULL, group2 = NULL, mode = "change",
                                    delta = 0.25, fdr_target = 0.05, n_samples = 5000L, cells = NULL,
                                    assay = "counts", filter_outlier_cells = FALSE, seed = 0L) {
  ask_scar(
    fit, "differential_expression", groupby = groupby, group1 = group1, group2 = group2, mode = mode, delta = delta,
    fdr_target = fdr_target, n_samples = n_samples, filter_outlier_cells = filter_outlier_cells, seed = seed,
    .cells = cells, .assay = assay, .call = rlang::current_env()
  )
}

#' @rdname scar-fits
#' @export
differential_abundance <- function(fit, sample, dof = NULL) {
  ask_scar(fit, "differential_abundance", sample = sample, dof = dof, .call = rlang::current_env())
}

#' @rdname scar-fits
#' @export
aggregated_posterior <- function(fit, group = NULL) {
  ask_scar(fit, "aggregated_posterior", group = group, .call = rlang::current_env())
}

#' @rdname scar-fits
#' @export
latent_library_size <- function(fit) ask_scar(fit, "latent_library_size", .call = rlang::current_env())

#' @rdname scar-fits
#' @export
elbo <- function(fit, cells, n_samples = 1L, assay = "counts", seed = 0L) {
  ask_scar(
    fit, "elbo", n_samples = n_samples, seed = seed, .cells = cells, .assay = assay, .call = rlang::current_env()
  )
}

#' @rdname scar-fits
#' @export
reconstruction_error <- function(fit, cells, n_samples = 1L, assay = "counts", seed = 0L) {
  ask_scar(
    fit, "reconstruction_error", n_samples = n_samples, seed = seed, .cells = cells, .assay = assay,
    .call = rlang::current_env()
  )
}

#' @rdname scar-fits
#' @export
marginal_ll <- function(fit, cells, n_samples = 100L, assay = "counts", seed = 0L) {
  ask_scar(
    fit, "marginal_ll", n_samples = n_samples, seed = seed, .cells = cells, .assay = assay,
    .call = rlang::current_env()
  )
}

#' @rdname scar-fits
#' @export
importance_weights <- function(fit, cells, group = NULL, max_cells = 1024L, n_mc_samples = 500L, truncation = FALSE,
                               assay = "counts", seed = 0L) {
  ask_scar(
    fit, "importance_weights", group = group, max_cells = max_cells, n_mc_samples = n_mc_samples,
    truncation = truncation, seed = seed, .cells = cells, .assay = assay, .call = rlang::current_env()
  )
}

# Ask the engine's object of the fit, and give the answer R's form.
ask_scar <- function(fit, asked, ..., .cells = NULL, .assay = "counts", .call) {
  check_scar_fit(fit, .call)
  options <- list(...)
  refuse_na(c(options, list(assay = .assay)), .call)
  for (name in intersect(names(options), c("groupby", "sample"))) {
    value <- options[[name]]
    if (!is.character(value) || length(value) != 1L) options[[name]] <- wire_per_cell(value, name, .call)
  }
  if (!is.null(options$genes)) options$genes <- as.list(as.character(options$genes))
  if (!is.null(options$group)) options$group <- wire_vector(options$group)
  options <- lapply(options, function(value) if (is.list(value)) value else wire_number(value))
  if (!is.null(.cells)) options$cells <- wire_sample(.cells, "cells", NULL, .assay, .call)
  arguments <- c(list("ask_scar", engine_fit(fit, .call), asked), options, list(.call = .call))
  unwire_answer(do.call(call_engine, arguments), fit)
}

# The rows of `x` under the names that the object has, which may be none.
unname_rows <- function(x, names) {
  rownames(x) <- names
  x
}

check_scar_fit <- function(fit, call) {
  check_ambient_fit(fit, call)
  if (!identical(fit$facts$method, "scar")) {
    abort_input("`fit` must be a fit of remove_ambient(method = \"scar\"): only that has a latent space.", call)
  }
}

unwire_answer <- function(answer, fit) {
  switch(answer$kind,
    list = lapply(answer$items, unwire_answer, fit = fit),
    sparse = genes_by_cells(answer, fit$state),
    vector = stats::setNames(unwire_vector(answer$values), as.character(answer$names)),
    table = unwire_table(answer$columns),
    matrix = matrix(answer$values,
      nrow = length(answer$rows),
      dimnames = list(as.character(answer$rows), as.character(answer$columns))
    )
  )
}
