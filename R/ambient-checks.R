#' Is the correction right?
#'
#' `marker_exclusivity` needs no truth: genes that only one kind of cell expresses
#' should not be found in the others. `sensitivity` fits again with ambient profiles
#' drawn anew from their counts (a parametric bootstrap), so that one sees how much of
#' the answer hangs on the sampling of the profile.
#'
#' @param fit A fit of [remove_ambient()].
#' @param cells The counts of the fit, passed again.
#' @param markers A named list of gene names, such as `list(B = c("CD79A", "MS4A1"))`.
#'   A set belongs to the cluster of its name, else to every cluster whose native profile
#'   has more of it than the ambient profile, and to the one with the most in any case.
#'   For `sensitivity`: as in the fit, where they fixed its level.
#' @param n Number of fits: more give steadier standard deviations.
#' @param seed Seed of the profiles drawn.
#' @param rho As in the fit, where it fixed its level.
#' @param assay Name or number of the assay, for the experiments.
#' @return Data.frames. `marker_exclusivity`: `set`, `cluster` (several are joined by
#'   `", "`), `n_genes`, `observed` and `denoised`, the share of the set's counts that lies in other clusters, from 0
#'   (exclusive) to 1. `sensitivity`: one row per cell with `cell`, `rho`, `rho_sd`,
#'   `removed`, `removed_sd`.
#' @section Python:
#' `isthmus.ambient.marker_exclusivity`, `isthmus.ambient.sensitivity`
#' @export
#' @examples
#' if (isthmus_available()) {
#'   sample <- simulate_ambient(n_cells = 200, n_genes = 80, seed = 1)
#'   fit <- remove_ambient(sample$cells, droplets = sample$droplets, labels = "type")
#'   marker <- SummarizedExperiment::rowData(sample$cells)$marker
#'   sets <- split(rownames(sample$cells), marker)[c("type1", "type2")]
#'   marker_exclusivity(fit, sample$cells, sets)
#'   head(sensitivity(fit, sample$cells, n = 2))
#' }
marker_exclusivity <- function(fit, cells, markers, assay = "counts") {
  call <- rlang::current_env()
  check_ambient_fit(fit, call)
  refuse_na(list(assay = assay), call)
  if (missing(markers) || is.null(markers)) {
    abort_input("`markers` must be a named list of gene names, such as list(B = c(\"CD79A\", \"MS4A1\")).", call)
  }
  columns <- call_engine(
    "marker_exclusivity", engine_fit(fit, call), wire_sample(cells, "cells", NULL, assay, call),
    wire_markers(markers, call), .call = call
  )
  unwire_table(columns)
}

#' @rdname marker_exclusivity
#' @export
sensitivity <- function(fit, cells, n = 10L, seed = 0L, markers = NULL, rho = NULL, assay = "counts") {
  call <- rlang::current_env()
  check_ambient_fit(fit, call)
  refuse_na(list(n = n, seed = seed, rho = rho, assay = assay), call)
  columns <- call_engine(
    "sensitivity", engine_fit(fit, call), wire_sample(cells, "cells", list(rho), assay, call),
    wire_number(n), # not by its name: that would be taken for the beginning of call_engine()'s `name`
    markers = wire_markers(markers, call), rho = wire_numeric(rho), seed = wire_number(seed), .call = call
  )
  unwire_table(columns)
}

check_ambient_fit <- function(fit, call) {
  if (!inherits(fit, "isthmus_ambient")) {
    abort_input(sprintf("`fit` must be a fit of remove_ambient(); got %s.", class(fit)[[1L]]), call)
  }
}
