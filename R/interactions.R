#' Who moves which genes of whom, at what distance
#'
#' Tables of a fit of [fit_interactions()]. Tests use predictions for held-out
#' cells, and by default the null respects space: signs of whole blocks are
#' flipped.
#'
#' * `explained_variance`: how much of the receivers' held-out expression the
#'   neighbours explain. `r2 = 1 - SSE / SSE(type mean of the same training cells)`.
#'   Rows of head `"all"` are the answer, and 0 is what they are compared with:
#'   the type's mean. `"none"` is the prediction with all attention taken away.
#'   Without covariates that is one constant a type and fold, and no constant beats
#'   the mean, so its `r2` is 0 or less (far less where the network has put into the
#'   neighbours' part what all receivers share). Single heads are exploratory.
#' * `neighbor_effects`: what each sender type adds to each gene of each receiver
#'   type, and by how much the held-out error grows without it, with a test of that
#'   growth. A row without a gene is the pair as a whole. Where B acts on A, a third
#'   type whose cells lie where B's do not is informative too: read the largest
#'   effects first. And where values are shares of a cell's counts, all other genes
#'   fall where some rise: small effects of one sign in many genes. Size factors that
#'   the response does not move ([stable_size_factors()], control genes, the cell's
#'   area) take these away.
#' * `interaction_matrix`: numbers of significant genes, by sender and receiver.
#' * `attention`: whom a cell attends to, a row for each receiver, neighbour and
#'   head. `attention_by_distance`: its mean in bins of distance.
#'   `counterfactual_attention`: what it would be at given distances.
#'   `length_scales`: the distance at which it falls to `threshold`, with
#'   block-bootstrap intervals; `NA` where it is below already at distance 0.
#' * `communication_hubs`: cells that attend to much, in groups by what they attend
#'   to.
#' * `contributions`: what neighbours add to the prediction of each cell, with its
#'   place.
#'
#' @param fit A fit of [fit_interactions()]; for `interaction_matrix` also a result
#'   of `neighbor_effects`.
#' @param by `"receiver"`, or `"gene"`: a row for each gene too.
#' @param null `"block"`: signs of the units' sums are flipped, which respects all
#'   dependence within a unit. `"within_type"`: predictions are permuted within
#'   sample, fold and type, which assumes that there is no spatial autocorrelation
#'   and rejects too often where there is. `"shift"`: toroidal shifts, approximate.
#'   `"none"`: no test.
#' @param n_permutations Draws; `NULL`: just above (tests in the family) / 0.05.
#' @param unit Of `null = "block"`: `"block"`, `"sample"`, or donors: a named vector,
#'   sample = donor, or one label per cell.
#' @param seed Seed of the draws.
#' @param fdr Genes with an adjusted p-value below this count.
#' @param flavor What the weight is: `"plain"` attention; `"value"`, times the size of
#'   the neighbour's value; `"information"`, less where attention is undecided;
#'   `"gene"`, times what the value adds to the genes, or to one `gene` (signed).
#' @param top Only so many neighbours of each receiver and head; `NULL`: all.
#' @param gene One gene. For `contributions` `NULL` is the root of the mean square
#'   over genes.
#' @param sender Cell types, or `"all"` neighbours; `NULL`: all, and each type.
#' @param n_bins,breaks Number of bins of equal width, or their ends.
#' @param distances At which a neighbour is put, in the unit of the coordinates.
#' @param threshold Attention that counts as contact.
#' @param n_boot Bootstrap samples of blocks; 0: no intervals.
#' @param n_hubs Groups of cells.
#' @param min_attention Cells that attend to neighbours by less belong to no hub.
#' @return Data.frames; cells and neighbours go by name.
#' * `explained_variance`: `receiver`, `head`, (`gene`,) `r2`, `statistic`, `pval`,
#'   `pval_approx`, `padj`, `n_cells`, `set`.
#' * `neighbor_effects`: `receiver`, `sender`, `head`, `gene`, `effect`,
#'   `delta_mse`, `n_receivers`, `statistic`, `pval`, `padj`.
#' * `interaction_matrix`: `receiver`, `sender`, `n_genes`, `n_up`, `n_down`, `padj`.
#' * `attention`: `cell`, `neighbor`, `head`, `weight`, `distance`.
#' * `attention_by_distance`: `receiver`, `sender`, `head`, `distance`, `lower`,
#'   `upper`, `weight`, `n_pairs`.
#' * `counterfactual_attention`: `receiver`, `sender`, `head`, `distance`, `weight`,
#'   `lower`, `upper`, `n_pairs`.
#' * `length_scales`: `receiver`, `sender`, `head`, `median`, `lower`, `upper`, `n`.
#' * `communication_hubs`: `cell`, `receiver`, `head`, `sender`, `attention`, `hub`.
#' * `contributions`: `cell`, `sample`, `receiver`, `x`, `y`, `z`, `sender`, `gene`,
#'   `contribution`.
#'
#' Most have [plot()] methods, see [isthmus-interaction-plots].
#' @section Python:
#' The functions of these names in `isthmus` and `isthmus.interaction`.
#' @name explained_variance
NULL

#' @rdname explained_variance
#' @export
#' @examples
#' if (isthmus_available("torch")) {
#'   sce <- simulate_interactions(400, 20, seed = 1)
#'   fit <- fit_interactions(
#'     sce, labels = "cell_type", assay = "logcounts", n_neighbors = 10, folds = 2, max_epochs = 2
#'   )
#'   explained_variance(fit, null = "none")
#'   effects <- neighbor_effects(fit, null = "none")
#'   effects[is.na(effects$gene), ]
#'   attention(fit, top = 1)[1:2, ]
#'   length_scales(fit)
#'   head(contributions(fit, sender = "all", gene = "gene1"))
#' }
explained_variance <- function(fit, by = "receiver", null = "block", n_permutations = NULL, unit = "block",
                               seed = 0L) {
  call <- rlang::current_env()
  options <- list(by = by, null = null, n_permutations = n_permutations, unit = unit, seed = seed)
  interaction_table("explained_variance", fit, options, call)
}

#' @rdname explained_variance
#' @export
neighbor_effects <- function(fit, null = "block", n_permutations = NULL, unit = "block", seed = 0L) {
  call <- rlang::current_env()
  options <- list(null = null, n_permutations = n_permutations, unit = unit, seed = seed)
  interaction_table("neighbor_effects", fit, options, call)
}

#' @rdname explained_variance
#' @export
interaction_matrix <- function(fit, fdr = 0.05) {
  call <- rlang::current_env()
  if (!inherits(fit, "isthmus_neighbor_effects")) {
    return(interaction_table("interaction_matrix", fit, list(fdr = fdr), call))
  }
  refuse_na(list(fdr = fdr), call)
  effects <- wire_frame(fit, call, rows = NULL)
  table <- unwire_table(call_engine("interaction_matrix_of", effects, fdr = fdr, .call = call))
  structure(table, class = c("isthmus_interaction_matrix", "data.frame"))
}

#' @rdname explained_variance
#' @export
attention <- function(fit, flavor = "plain", top = NULL, gene = NULL) {
  call <- rlang::current_env()
  interaction_table("attention", fit, list(flavor = flavor, top = top, gene = gene), call)
}

#' @rdname explained_variance
#' @export
attention_by_distance <- function(fit, n_bins = 20L, breaks = NULL) {
  call <- rlang::current_env()
  interaction_table("attention_by_distance", fit, list(n_bins = n_bins, breaks = breaks), call)
}

#' @rdname explained_variance
#' @export
counterfactual_attention <- function(fit, distances) {
  call <- rlang::current_env()
  if (missing(distances)) {
    abort_input("`distances` must be numbers, 0 or more, in the unit of the coordinates. Pass c(0, 10, 20).", call)
  }
  interaction_table("counterfactual_attention", fit, list(distances = distances), call)
}

#' @rdname explained_variance
#' @export
length_scales <- function(fit, threshold = 0.1, n_boot = 200L, seed = 0L) {
  call <- rlang::current_env()
  interaction_table("length_scales", fit, list(threshold = threshold, n_boot = n_boot, seed = seed), call)
}

#' @rdname explained_variance
#' @export
communication_hubs <- function(fit, n_hubs = 5L, min_attention = 0.1, seed = 0L) {
  call <- rlang::current_env()
  options <- list(n_hubs = n_hubs, min_attention = min_attention, seed = seed)
  interaction_table("communication_hubs", fit, options, call)
}

#' @rdname explained_variance
#' @export
contributions <- function(fit, sender = NULL, gene = NULL) {
  call <- rlang::current_env()
  interaction_table("contributions", fit, list(sender = sender, gene = gene), call)
}

#' Compare interactions between conditions
#'
#' The strength of a sender's effect in a unit is the mean over its receivers of what
#' the sender's part takes off the held-out squared error, less the expectation
#' without interaction (the statistic of [neighbor_effects()], per receiver). Units
#' are relabelled and Welch's t compared: cells of one donor never count as
#' replicates.
#'
#' @param fit A fit of [fit_interactions()], made with `sample`.
#' @param group Condition: a named vector, sample = condition, or one label per
#'   cell, the same within each sample.
#' @param unit Replicates, each in one group: `"sample"`, a named vector, sample =
#'   donor, or one donor per cell.
#' @param n_permutations Relabellings, where there are more than 20,000 different
#'   ones; `NULL` chooses.
#' @param seed Seed of the relabellings.
#' @return A data.frame, a row for each receiver, sender and group but the first:
#'   `receiver`, `sender`, `group`, `reference`, `mean`, `reference_mean`,
#'   `difference`, `statistic`, `pval`, `padj`, `n_units`, `n_reference`. With fewer
#'   than three units in a group there is no p-value.
#' @section Python:
#' `isthmus.interaction.compare_interactions`
#' @export
#' @examples
#' if (isthmus_available("torch")) {
#'   sce <- simulate_interactions(600, 20, n_samples = 6, seed = 1)
#'   fit <- fit_interactions(
#'     sce, labels = "cell_type", sample = "sample", assay = "logcounts", n_neighbors = 8,
#'     folds = 2, max_epochs = 2
#'   )
#'   condition <- setNames(rep(c("healthy", "ill"), 3), paste0("sample", 1:6))
#'   head(compare_interactions(fit, condition))
#' }
compare_interactions <- function(fit, group, unit = "sample", n_permutations = NULL, seed = 0L) {
  call <- rlang::current_env()
  if (missing(group)) {
    text <- "`group` must say which condition each sample has: c(sample1 = \"healthy\", ...), or one label per cell."
    abort_input(text, call)
  }
  options <- list(group = group, unit = unit, n_permutations = n_permutations, seed = seed)
  interaction_table("compare_interactions", fit, options, call)
}

# A function of the engine's that takes a fit and gives a table; its class is the function's name. Attention at given
# distances is drawn as attention by distance is.
interaction_table <- function(name, fit, options, call) {
  check_interaction_fit(fit, "fit", call)
  refuse_na(options, call)
  options <- Map(function(option, argument) wire_table_option(option, argument, call), options, names(options))
  arguments <- c(list("interaction_table", engine_fit(fit, call), name), options, list(.call = call))
  table <- unwire_table(do.call(call_engine, arguments))
  parent <- if (name == "counterfactual_attention") "isthmus_attention_by_distance"
  structure(table, class = c(paste0("isthmus_", name), parent, "data.frame"))
}

# Units and groups are one value per cell or per sample; everything else is what it is.
wire_table_option <- function(x, argument, call) {
  if (!argument %in% c("unit", "group")) {
    return(wire_option(x))
  }
  if (is.list(x) && !is.data.frame(x)) x <- unlist(x)
  wire_cell_values(x, argument, call)
}
