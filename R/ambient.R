#' The ambient profile of a sample
#'
#' What the liquid around the cells holds, from the droplets without a cell:
#' \deqn{a_g = \frac{\sum_{d \in \mathrm{empty}} x_{dg}}{\sum_{d \in \mathrm{empty}} \sum_h x_{dh}}.}
#' Empty are the droplets that are not called cells and hold few UMI.
#'
#' @param cells Counts of the called cells, genes x cells, in any form that
#'   [fit_glm()] takes.
#' @param droplets Counts of all droplets ("raw"), in the same forms. Genes are
#'   found by name: order and content may differ from those of `cells`.
#' @param lower Droplets with at most so many UMI count as empty; `NULL`: estimated
#'   from the knee of the ranked UMI counts.
#' @param exclude_cells Leave out the droplets that have the name of a cell.
#' @param batch A profile for each batch: the name of a column that both `cells` and
#'   `droplets` have, or `list(cells = , droplets = )` with a value per column of
#'   each. `NULL`: one profile.
#' @param assay Name or number of the assay, for the experiments. Droplets that have no
#'   assay of that name have their counts in `counts`, or in the first.
#' @param rule `"umi"`, or `"multinomial"` (that of scvi-tools' SCAR).
#' @param prob,min_raw_counts,iterations,sample Of the rule `"multinomial"`: the
#'   probability per gene at which a droplet counts as empty, the smallest number of
#'   UMI, the rounds, and the number of droplets looked at.
#' @param seed Seed of that sample.
#' @return A data.frame: `gene`, `batch`, `prob` (sums to 1 in each batch), `count`
#'   (UMI in the empty droplets), `n_empty` (number of empty droplets). `plot(profile,
#'   droplets)` shows them under the knee, see [isthmus-ambient-plots].
#' @section Python:
#' `isthmus.ambient_profile`
#' @references
#' Lun et al. (2019) EmptyDrops. Genome Biology 20:63. \doi{10.1186/s13059-019-1662-y}.
#' @seealso [remove_ambient()]
#' @export
#' @examples
#' if (isthmus_available()) {
#'   sample <- simulate_ambient(n_cells = 100, n_genes = 60, n_empty = 500, seed = 1)
#'   profile <- ambient_profile(sample$cells, sample$droplets)
#'   head(profile[order(-profile$prob), ])
#' }
ambient_profile <- function(cells, droplets, lower = NULL, exclude_cells = TRUE, batch = NULL, assay = "counts",
                            rule = "umi", prob = 0.995, min_raw_counts = 2L, iterations = 3L, sample = 50000L,
                            seed = 0L) {
  call <- rlang::current_env()
  if (missing(droplets)) {
    abort_input("`droplets` must be the raw counts, genes x droplets, with the empty droplets. Pass them.", call)
  }
  refuse_na(list(
    lower = lower, exclude_cells = exclude_cells, batch = batch, assay = assay, rule = rule, prob = prob,
    min_raw_counts = min_raw_counts, iterations = iterations, sample = sample, seed = seed
  ), call)
  answer <- call_engine(
    "ambient_profile", wire_sample(cells, "cells", list(batch_of(batch, "cells")), assay, call),
    wire_sample(droplets, "droplets", list(batch_of(batch, "droplets")), assay, call),
    lower = wire_number(lower), exclude_cells = exclude_cells, batch = wire_batch(batch, call), rule = rule,
    prob = prob, min_raw_counts = wire_number(min_raw_counts), iterations = wire_number(iterations),
    sample = wire_number(sample), seed = wire_number(seed), .call = call
  )
  structure(unwire_table(answer$columns, "isthmus_ambient_profile"), empties = unwire_table(answer$empties))
}

#' Remove ambient RNA
#'
#' Splits each observed count into what the cell held and what came from the
#' liquid around it. With `method = "em"` the counts of a cell of cluster k follow
#' the multinomial with
#' \deqn{(1 - \rho_c) p_{kg} + \rho_c a_g,}
#' with the ambient profile a fixed, the native profiles p and the shares rho
#' estimated by expectation maximisation. A count of gene g is native with the
#' posterior probability
#' \deqn{\frac{(1 - \rho_c) p_{kg}}{(1 - \rho_c) p_{kg} + \rho_c a_g},}
#' so that nothing is ever added to a count.
#'
#' @param cells Counts of the called cells, genes x cells, in any form that
#'   [fit_glm()] takes.
#' @param droplets Counts of all droplets ("raw"), from which [ambient_profile()]
#'   estimates the profile. Without `droplets` and `profile` the mean of the cells
#'   stands for it, and a warning says what can then be known.
#' @param profile A result of [ambient_profile()], a vector named by gene, or the name
#'   of a column of `rowData(cells)`. Instead of `droplets`.
#' @param method `"em"`: in seconds. `"scar"`: the network of scvi-tools' SCAR, in
#'   minutes; it needs no clusters, and the functions of [scar-fits] can be asked of
#'   its fit. It needs torch: `install_isthmus(extras = "deep")`.
#' @param batch As in [ambient_profile()]: a profile for each batch.
#' @param labels Clusters of the cells: the name of a column, or a value per cell.
#'   `NULL`: found.
#' @param n_clusters Number of clusters to find. `"auto"` splits as long as a valley parts
#'   the halves, and on to 12 where both halves keep a level of rho (15 cells, 20 anchor
#'   genes, no more ambient counts than the whole): types may be cut, as too few
#'   clusters cost more than too many. `labels` are better: a cell that is unlike its
#'   cluster loses native counts.
#' @param markers A named list: for each set of cells that share them (a level of
#'   `labels`, or any name) the genes that only these cells express. Their counts
#'   in the other cells fix the level of rho.
#' @param rho Contamination share known beforehand: one number between 0 and 1, one
#'   per cell, or the name of a column. It fixes the level of rho.
#' @param likelihood For `"scar"`: `"binomial"`, `"nb"`, `"zinb"` or `"poisson"`, of each
#'   count given the latent state of its cell.
#' @param sparsity For `"scar"`, between 0 and 1: larger leaves more genes without native
#'   expression in a cell, and removes more.
#' @param max_epochs For `"scar"`: passes over the cells at most; `NULL`: 400, fewer beyond
#'   20,000 cells. For `"em"`: steps at most (500).
#' @param early_stopping For `"scar"`: a tenth of the cells is held out, and training ends
#'   when their loss has stopped falling. With fewer than 200 cells none is held out.
#' @param accelerator For `"scar"`: `"auto"`, `"cpu"`, `"gpu"` or `"mps"`.
#' @param ... For `"scar"`, options of the network: `n_hidden`, `n_latent`, `n_layers`,
#'   `dropout_rate`, `latent_distribution`, `scale_activation`, `trainer` (`"isthmus"` or
#'   `"scvi"`), `batch_size`, `learning_rate`.
#' @param fpr Trades removal against kept counts, between 0 and 1: a larger value
#'   removes more. `NULL`: the posterior as it is.
#' @param assay Name or number of the assay, for the experiments. Droplets that have no
#'   assay of that name have their counts in `counts`, or in the first.
#' @param seed Seed of the draw of `denoised`, of the clustering, and of the training.
#' @param progress `TRUE`, `FALSE`, or `NULL`: only in interactive sessions.
#' @details
#' The likelihood leaves the level of rho free, up to one constant per cluster: with
#' a native profile (p - c a) / (1 - c) it is the same. The level is the largest
#' share that keeps the native profile non-negative, from a robust low quantile of p
#' / a over genes with at least 20 expected ambient counts, unless `markers` or
#' `rho` say it. `rho_se` contains that uncertainty; cells of a cluster with too few
#' such genes have the flag `level_unidentified` and no standard error.
#'
#' The rule takes it that every cluster lacks some genes of the ambient profile. Cells
#' between two types are corrected well among others (root mean square error 0.33 to
#' 0.43 of the uncorrected, in simulations with one to three other types). A sample
#' that is nothing but one continuum of two types has no gene that a cell lacks: rho
#' came out at 0.33 to 0.37 where 0.12 was true, and the error rose to 1.5 to 1.9 times
#' the uncorrected. `labels` do not help there, a known `rho` does (0.5 to 0.6).
#' @return A fit of class `isthmus_ambient`: plain R, so [saveRDS()] can have it. Its
#'   elements `denoised` (whole numbers, a seeded binomial draw from the posterior)
#'   and `denoised_mean` (the posterior mean) are `dgCMatrix`es, genes x cells. The
#'   draw adds variance: take it where whole counts are needed, such as for
#'   [fit_glm()], and the mean for sums and plots. See
#'   [isthmus_ambient-methods] for the tables and [add_results()] to put the result
#'   into your own object.
#' @section Errors:
#' `isthmus_input_error` for everything the caller can mend; the text says what
#' came and what to do. `isthmus_missing_dependency` where there is no engine.
#' @section Python:
#' `isthmus.remove_ambient`
#' @references
#' Sheng et al. (2022) Probabilistic machine learning ensures accurate ambient
#' denoising in droplet-based single-cell omics. bioRxiv.
#' \doi{10.1101/2022.01.14.476312}.
#'
#' Yang et al. (2020) Decontamination of ambient RNA in single-cell RNA-seq with
#' DecontX. Genome Biology 21:57. \doi{10.1186/s13059-020-1950-6}.
#' @seealso [ambient_profile()], [isthmus_ambient-methods], [add_results()]
#' @export
#' @examples
#' if (isthmus_available()) {
#'   sample <- simulate_ambient(n_cells = 100, n_genes = 60, n_empty = 500, seed = 1)
#'   fit <- remove_ambient(sample$cells, droplets = sample$droplets)
#'   fit
#'   head(as.data.frame(fit))
#'   add_results(sample$cells, fit)
#' }
remove_ambient <- function(cells, droplets = NULL, profile = NULL, method = "em", batch = NULL, labels = NULL,
                           n_clusters = "auto", markers = NULL, rho = NULL, likelihood = "binomial", sparsity = 0.9,
                           max_epochs = NULL, early_stopping = TRUE, fpr = NULL, assay = "counts",
                           accelerator = "auto", seed = 0L, progress = NULL, ...) {
  call <- rlang::current_env()
  refuse_rpy2(call)
  refuse_na(list(
    method = method, batch = batch, labels = labels, n_clusters = n_clusters, rho = rho, likelihood = likelihood,
    sparsity = sparsity, max_epochs = max_epochs, early_stopping = early_stopping, fpr = fpr, assay = assay,
    accelerator = accelerator, seed = seed, progress = progress
  ), call)
  answer <- call_engine(
    "remove_ambient", wire_sample(cells, "cells", list(batch_of(batch, "cells"), labels, rho), assay, call),
    droplets = if (!is.null(droplets)) {
      wire_sample(droplets, "droplets", list(batch_of(batch, "droplets")), assay, call)
    },
    profile = wire_profile(profile, cells, call), method = method,
    batch = wire_batch(batch, call), labels = wire_per_cell(labels, "labels", call),
    n_clusters = wire_number(n_clusters), markers = wire_markers(markers, call), rho = wire_numeric(rho),
    likelihood = likelihood, sparsity = sparsity, max_epochs = wire_number(max_epochs),
    early_stopping = early_stopping, fpr = fpr, accelerator = accelerator, seed = wire_number(seed),
    progress = show_progress(progress), ..., .call = call
  )
  new_ambient(answer, match.call())
}

# Counts, and the columns of the cell data that the engine looks up by name. Complaints name the argument.
wire_sample <- function(data, argument, columns, assay, call) {
  counts <- tryCatch(
    as_counts(data, assay = assay_of(data, argument, assay), call = call),
    isthmus_input_error = function(e) {
      abort_input(gsub("(?<=[`(])data(?=[`)])", argument, conditionMessage(e), perl = TRUE), call)
    }
  )
  named <- unlist(lapply(columns, column_name))
  list(counts = wire_counts(counts), cell_data = wire_cells(counts$cells, named, call), layer = counts$layer)
}

# `assay` says where the cells' counts are; raw droplets have theirs under another name at times, then the first is it.
assay_of <- function(data, argument, assay) {
  if (argument != "droplets" || !methods::is(data, "SummarizedExperiment") || !is.character(assay)) {
    return(assay)
  }
  known <- SummarizedExperiment::assayNames(data)
  if (assay %in% known || !length(known)) assay else if ("counts" %in% known) "counts" else known[[1L]]
}

# The name of a column, or a value per cell of each of the two
wire_batch <- function(batch, call) {
  if (!is.list(batch) || is.data.frame(batch)) {
    return(wire_per_cell(batch, "batch", call))
  }
  if (!"cells" %in% names(batch) || !all(names(batch) %in% c("cells", "droplets"))) {
    rule <- "`batch` as a list must hold `cells` and `droplets`; got %s."
    abort_input(sprintf(rule, if (is.null(names(batch))) "no names" else toString(names(batch))), call)
  }
  lapply(batch, wire_per_cell, "batch", call)
}

batch_of <- function(batch, side) if (is.list(batch) && !is.data.frame(batch)) batch[[side]] else batch

# The name of a column as it is, else one value per cell
wire_per_cell <- function(x, argument, call) {
  if (is.null(x) || length(column_name(x))) {
    return(x)
  }
  if (!is.atomic(plain_column(x))) {
    rule <- "`%s` must be the name of a column or hold one value per cell; got %s."
    abort_input(sprintf(rule, argument, class(x)[[1L]]), call)
  }
  wire_column(plain_column(x), argument, call)
}

wire_profile <- function(profile, cells, call) {
  if (is.null(profile)) {
    return(NULL)
  }
  if (is.character(profile) && length(profile) == 1L) {
    if (inherits(cells, "python.builtin.object")) {
      return(profile) # a column of var, which the engine looks up
    }
    profile <- profile_column(profile, cells, call)
  }
  if (methods::is(profile, "DataFrame")) profile <- as.data.frame(profile)
  if (is.data.frame(profile)) {
    return(list(kind = "table", table = wire_frame(profile, call, rows = NULL)))
  }
  if (!is.numeric(profile) || length(dim(profile)) > 1L) {
    rule <- paste(
      "`profile` must be a result of ambient_profile(), a numeric vector named by gene or the name of a column of",
      "rowData(cells); got %s."
    )
    abort_input(sprintf(rule, class(profile)[[1L]]), call)
  }
  list(kind = "vector", values = wire_vector(as.double(profile)), genes = wire_names(names(profile)))
}

# A column of rowData(); of a matrix column the first
profile_column <- function(name, cells, call) {
  known <- character(0)
  if (methods::is(cells, "SummarizedExperiment")) {
    known <- colnames(SummarizedExperiment::rowData(cells))
    if (name %in% known) {
      values <- SummarizedExperiment::rowData(cells)[[name]]
      if (is.matrix(values)) values <- values[, 1L]
      return(stats::setNames(plain_column(values), rownames(cells)))
    }
  }
  text <- sprintf(
    "`profile` as text must be a column of rowData(cells); got '%s'. There %s.", name,
    if (length(known)) paste("are:", paste(sprintf("`%s`", known), collapse = ", ")) else "are none"
  )
  abort_input(text, call)
}

wire_markers <- function(markers, call) {
  if (is.null(markers)) {
    return(NULL)
  }
  named <- !is.null(names(markers)) && all(nzchar(names(markers)))
  if (!is.list(markers) || !named || !all(vapply(markers, is.character, NA))) {
    text <- sprintf(
      "`markers` must be a named list of gene names, such as list(B = c(\"CD79A\", \"MS4A1\")); got %s.",
      if (is.list(markers)) "another list" else class(markers)[[1L]]
    )
    abort_input(text, call)
  }
  list(names = names(markers), values = unname(lapply(markers, as.list)))
}

# Plain R: the engine's state, both matrices, and a few facts to print. The engine's state holds the slots of the
# matrices; here they are kept once, as matrices.
new_ambient <- function(answer, call = NULL) {
  remember_fit(answer$facts$id, answer$fit)
  facts <- lapply(answer$facts, unwire_vector)
  state <- unwire_state(answer$state)
  matrices <- lapply(stats::setNames(nm = sparse_parts), function(name) {
    part <- function(slot) state[[paste0(name, "_", slot)]]
    genes_by_cells(list(p = part("indptr"), i = part("indices"), x = part("data")), state)
  })
  kept <- state[!grepl(sprintf("^(%s)_(indptr|indices|data)$", paste(sparse_parts, collapse = "|")), names(state))]
  structure(
    c(list(id = facts$id, state = kept, facts = facts), matrices, list(call = slim_call(call))),
    class = c("isthmus_ambient", "isthmus_fit")
  )
}

sparse_parts <- c("denoised", "denoised_mean")

# The CSR of cells x genes has the slots of the dgCMatrix of genes x cells.
genes_by_cells <- function(slots, state) {
  Matrix::sparseMatrix(
    i = as.integer(slots$i), p = as.integer(slots$p), x = as.double(slots$x), index1 = FALSE,
    dims = c(length(state$gene_names), length(state$cell_names)), dimnames = list(state$gene_names, state$cell_names)
  )
}

# The state as the engine has it, matrices included.
ambient_state <- function(fit) {
  state <- fit$state
  for (name in sparse_parts) {
    state[[paste0(name, "_indptr")]] <- fit[[name]]@p
    state[[paste0(name, "_indices")]] <- fit[[name]]@i
    state[[paste0(name, "_data")]] <- fit[[name]]@x
  }
  state
}
