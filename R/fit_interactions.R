#' Fit a neighbour cross-attention model of cells in space
#'
#' How far is the expression of a cell, beyond the mean of its type, explained by
#' its neighbours: of which types, in which genes, at what distance? A network
#' predicts each cell from its type and from the expression and the distances of
#' its neighbours; whom a cell attends to is learned, and it may attend to nobody.
#' Tests and tables use predictions for cells that the model has not seen: the
#' tissue is cut into spatial blocks, the blocks are gathered into folds, and each
#' cell is predicted by a model that trained on neither it nor its block, nor on
#' a guard band around the cells held out: any cell with a held-out neighbour, and
#' any cell of the same sample within two reaches of a held-out cell (reach: median
#' distance to the farthest neighbour), because smooth patterns in space tell of
#' what lies beside them. The second part is narrowed where it would take more than
#' half of the cells. `summary()` shows the share of cells that the band takes.
#'
#' Values should be normalised (`assay = "logcounts"`): with raw counts depth and
#' the genes with the largest counts decide, and a message says so.
#'
#' @param data A `SpatialExperiment`, `SingleCellExperiment`,
#'   `SummarizedExperiment`, matrix of any class or data.frame (all genes x
#'   cells), or an AnnData held by reticulate.
#' @param labels Cell types: a column of `colData(data)`, or one label per cell.
#' @param coordinates Places of the cells: `"spatial"` (`spatialCoords()` of a
#'   `SpatialExperiment`, else the reducedDim of that name), the name of another
#'   reducedDim, the names of two or three columns of `colData(data)`, or a matrix
#'   or data.frame, cells x 2 or 3.
#' @param sample A column, or one label per cell: sections or images. Neighbours
#'   never lie in different samples. `NULL`: `sample_id` of a
#'   `SpatialExperiment`; else all cells lie in one sample.
#' @param assay Name or number of the assay, for the experiments.
#' @param n_neighbors Neighbours of each cell.
#' @param radius Largest distance of a neighbour; `NULL`: any.
#' @param same_type_neighbors Take cells of the receiver's own type as neighbours
#'   too. Without, the model is about what other types do.
#' @param n_heads,head_size Attention heads, and their size: more can tell more
#'   kinds of neighbours apart, at more risk of fitting noise.
#' @param folds Folds of the cross-fitting. 1: one model is trained on all cells;
#'   its results are marked `set = "train"` and say nothing about other cells.
#' @param block_size Side of a spatial block in the unit of the coordinates, or
#'   `"auto"`.
#' @param max_epochs Largest number of epochs; `NULL`: about 1,500 steps.
#' @param early_stopping Stop when the loss of held-aside training cells no longer
#'   falls.
#' @param batch_size Receivers in a step.
#' @param lr Learning rate.
#' @param accelerator `"auto"`, `"cpu"` or `"gpu"` (CUDA; written for it, but so far
#'   run on the CPU only).
#' @param seed Same seed, same numbers.
#' @param progress `TRUE`, `FALSE`, or `NULL`: only in interactive sessions.
#' @param covariates Columns of `colData(data)`, or a data.frame with one row per
#'   cell: what else shifts a cell's expression (a batch, the depth).
#' @param cell_radius A column, one number per cell or one for all: radii are taken
#'   off distances between centres.
#' @param ... Options of the network: `embedding_size`, `embedding_hidden`,
#'   `query_size`, `query_hidden`, `type_size`, `key_size`, `value_size`,
#'   `kernel_hidden` (sizes); `empty_score` (of attending to nobody),
#'   `kernel_offset`, `distance_unit`; `neighbor_dropout`, `attention_penalty` (a
#'   number, or start and end), `attention_penalty_epochs`,
#'   `attention_penalty_schedule`, `value_l1`; `gene_scale` (`"unit"` or `"sd"`),
#'   `patience`, `validation_share`, `group_size`.
#' @return A fit of class `isthmus_interactions`: plain R, so [saveRDS()] and worker
#'   processes can have it. It keeps the expression, with which every test compares
#'   predictions. See [explained_variance()] for tests and tables,
#'   [isthmus_interactions-methods], [isthmus-interaction-plots] and
#'   [add_results()].
#' @section Method and rights:
#' Written from the equations of the AMICI preprint,
#' doi:10.1101/2025.09.22.677860; ours adds cross-fitting and tests on cells
#' that were held out. A provisional patent application (US 63/884,704) covers the
#' subject of that manuscript: judge for yourself whether it concerns your use.
#' @section Errors:
#' `isthmus_input_error` for everything the caller can mend; the text says what
#' came and what to do. `isthmus_missing_dependency` where there is no engine, or
#' no torch.
#' @section Python:
#' `isthmus.fit_interactions`
#' @export
#' @examples
#' if (isthmus_available("torch")) {
#'   sce <- simulate_interactions(300, 20, seed = 1)
#'   fit <- fit_interactions(
#'     sce, labels = "cell_type", assay = "logcounts", n_neighbors = 10, folds = 2, max_epochs = 2
#'   )
#'   fit
#'   explained_variance(fit, null = "none")
#' }
fit_interactions <- function(data, labels, coordinates = "spatial", sample = NULL, assay = "counts",
                             n_neighbors = 30L, radius = NULL, same_type_neighbors = FALSE, n_heads = 4L,
                             head_size = 16L, folds = 5L, block_size = "auto", max_epochs = NULL,
                             early_stopping = TRUE, batch_size = 512L, lr = 1e-3, accelerator = "auto", seed = 0L,
                             progress = NULL, covariates = NULL, cell_radius = NULL, ...) {
  call <- rlang::current_env()
  refuse_rpy2(call)
  check_labels(missing(labels), call)
  options <- list(
    n_neighbors = n_neighbors, radius = radius, same_type_neighbors = same_type_neighbors, n_heads = n_heads,
    head_size = head_size, folds = folds, block_size = block_size, max_epochs = max_epochs,
    early_stopping = early_stopping, batch_size = batch_size, lr = lr, accelerator = accelerator, seed = seed, ...
  )
  refuse_na(c(options, list(assay = assay, progress = progress, cell_radius = cell_radius)), call)
  refuse_unnamed(list(...), call)
  sample <- default_sample(data, sample)
  columns <- list(labels, sample, covariates, cell_radius)
  tissue <- wire_tissue(data, columns, coordinates, assay, call)
  fitted <- call_engine(
    "fit_interactions", tissue$data, tissue$cells,
    labels = wire_cell_values(labels, "labels", call), coordinates = tissue$coordinates,
    sample = wire_cell_values(sample, "sample", call), layer = tissue$layer,
    covariates = wire_covariates(covariates, call), cell_radius = wire_radius(cell_radius, call),
    options = lapply(options, wire_option), progress = show_progress(progress), .call = call
  )
  new_interaction_fit(fitted, match.call())
}

#' Apply a fit's networks to other cells
#'
#' New sections or donors: neighbours are found as in the fit, the new cells are cut
#' into blocks of the fit's size, and each block is predicted by one of the fit's
#' networks, so that every test works as on the fit itself.
#'
#' @param fit A fit of [fit_interactions()].
#' @inheritParams fit_interactions
#' @param means `"fit"`: the type means of the fit's training cells, so that a shift
#'   between the data sets counts as error. `"new"`: those of the new cells in the
#'   blocks that other networks predict.
#' @return A fit of the new cells. Genes are matched by name.
#' @section Python:
#' `isthmus.interaction.transfer`
#' @export
#' @examples
#' if (isthmus_available("torch")) {
#'   sce <- simulate_interactions(600, 20, n_samples = 2, seed = 1)
#'   first <- sce$sample == "sample1"
#'   fit <- fit_interactions(
#'     sce[, first], labels = "cell_type", assay = "logcounts", n_neighbors = 10,
#'     folds = 2, max_epochs = 2
#'   )
#'   transfer(fit, sce[, !first], labels = "cell_type", assay = "logcounts")
#' }
transfer <- function(fit, data, labels, coordinates = "spatial", sample = NULL, assay = "counts", covariates = NULL,
                     cell_radius = NULL, means = "fit") {
  call <- rlang::current_env()
  check_interaction_fit(fit, "fit", call)
  check_labels(missing(labels), call)
  refuse_na(list(assay = assay, cell_radius = cell_radius, means = means), call)
  sample <- default_sample(data, sample)
  columns <- list(labels, sample, covariates, cell_radius)
  tissue <- wire_tissue(data, columns, coordinates, assay, call)
  moved <- call_engine(
    "transfer", engine_fit(fit, call), tissue$data, tissue$cells,
    labels = wire_cell_values(labels, "labels", call), coordinates = tissue$coordinates,
    sample = wire_cell_values(sample, "sample", call), layer = tissue$layer,
    covariates = wire_covariates(covariates, call), cell_radius = wire_radius(cell_radius, call), means = means,
    .call = call
  )
  new_interaction_fit(moved, match.call())
}

check_labels <- function(missing, call) {
  if (missing) abort_input("`labels` must be a column of colData(data), or one cell type per cell. Pass it.", call)
}

# Numbers as such, several as a list, NULL as None
wire_option <- function(x) if (length(x) > 1L) lapply(as.list(x), wire_number) else wire_number(x)

refuse_unnamed <- function(dots, call) {
  if (length(dots) && (is.null(names(dots)) || !all(nzchar(names(dots))))) {
    abort_input("Options in `...` must be named, for example neighbor_dropout = 0.2.", call)
  }
}

# Plain R: the engine's state and the facts that print() needs.
new_interaction_fit <- function(fitted, call = NULL) {
  remember_fit(fitted$facts$id, fitted$fit)
  facts <- lapply(fitted$facts, unwire_fact)
  structure(
    list(id = facts$id, state = unwire_state(fitted$state), facts = facts, call = slim_call(call)),
    class = c("isthmus_interactions", "isthmus_fit")
  )
}

check_interaction_fit <- function(fit, argument, call) {
  if (!inherits(fit, "isthmus_interactions")) {
    abort_input(sprintf("`%s` must be a fit of fit_interactions(); got %s.", argument, class(fit)[[1L]]), call)
  }
}
