#' Plots of ambient RNA
#'
#' @param x A fit of [remove_ambient()], or the result of [ambient_profile()].
#' @param y For the result of [ambient_profile()]: the droplets that were given to
#'   it. Else not used.
#' @param type What of the fit:
#'   * `"rho"`: the contamination shares by cluster, a panel for each batch;
#'   * `"native"`: the ambient profile against the native one of a cluster, one point
#'     per gene: far above the diagonal lie genes that the liquid holds more of than
#'     the cells;
#'   * `"genes"`: the genes that lost most counts;
#'   * `"loss"`: log-likelihood (or loss) of each step.
#' @param cluster For `"native"`: which cluster; `NULL`: the largest.
#' @param n For `"genes"`: how many genes.
#' @param assay Name or number of the droplets' assay, for the experiments.
#' @param ... Not used.
#' @return A ggplot object, to which layers and themes can be added. For a profile: the
#'   ranked UMI of all droplets (the "knee"), with the range of the empty ones of each
#'   batch shaded.
#' @section Python:
#' `isthmus.plotting.ambient_knee`, `ambient_rho`, `ambient_native`, `ambient_genes`,
#' `ambient_loss`
#' @name isthmus-ambient-plots
#' @examples
#' if (isthmus_available() && requireNamespace("ggplot2", quietly = TRUE)) {
#'   sample <- simulate_ambient(n_cells = 100, n_genes = 60, n_empty = 500, seed = 1)
#'   profile <- ambient_profile(sample$cells, sample$droplets)
#'   plot(profile, sample$droplets)
#'   fit <- remove_ambient(sample$cells, profile = profile, labels = "type")
#'   plot(fit)
#'   plot(fit, type = "native", cluster = "type2")
#' }
NULL

#' @rdname isthmus-ambient-plots
#' @method plot isthmus_ambient
#' @export
plot.isthmus_ambient <- function(x, y, type = "rho", cluster = NULL, n = 20L, ...) {
  refuse_dots()
  call <- rlang::current_env()
  need_package("ggplot2", "`plot`", call)
  types <- list(rho = plot_rho, native = plot_native, genes = plot_removed, loss = plot_loss)
  if (!is.character(type) || length(type) != 1L || !type %in% names(types)) {
    known <- paste(sprintf("'%s'", names(types)), collapse = ", ")
    abort_input(sprintf("`type` must be one of %s; got %s.", known, paste(format(type), collapse = ", ")), call)
  }
  if (!is.numeric(n) || length(n) != 1L || !isTRUE(n >= 1)) {
    abort_input(sprintf("`n` must be a number of genes; got %s.", paste(format(n), collapse = ", ")), call)
  }
  types[[type]](x, cluster, n, call)
}

plot_rho <- function(fit, cluster, n, call) {
  cells <- as.data.frame(fit)
  cells$cluster <- factor(fit$state$cluster_names[fit$state$cluster + 1], fit$state$cluster_names)
  plot <- ggplot2::ggplot(cells, ggplot2::aes(x = .data$cluster, y = .data$rho)) +
    ggplot2::geom_violin(fill = "grey85", colour = NA, scale = "width", na.rm = TRUE) +
    ggplot2::geom_boxplot(width = 0.15, outlier.size = 0.4, na.rm = TRUE) +
    ggplot2::labs(x = "cluster", y = "ambient share of a cell's UMI (rho)") +
    ggplot2::theme_minimal()
  if (length(unique(cells$batch)) > 1L) plot + ggplot2::facet_wrap(~batch) else plot
}

# One point per gene. A gene that one of both lacks sits on the edge: logarithmic axes have no zero.
plot_native <- function(fit, cluster, n, call) {
  native <- stats::coef(fit)
  shown <- shown_cluster(fit, cluster, call)
  profile <- as.data.frame(fit, table = "profile")
  ambient <- tapply(profile$prob, factor(profile$gene, rownames(native)), mean)
  genes <- data.frame(gene = rownames(native), native = native[, shown], ambient = as.vector(ambient))
  genes <- genes[genes$native > 0 | genes$ambient > 0, ]
  for (column in c("native", "ambient")) {
    values <- genes[[column]]
    genes[[column]] <- pmax(values, min(values[values > 0]) / 2)
  }
  ggplot2::ggplot(genes, ggplot2::aes(x = .data$native, y = .data$ambient)) +
    ggplot2::geom_abline(slope = 1, intercept = 0, colour = "#b2182b") +
    ggplot2::geom_point(size = 1, colour = "grey30", alpha = 0.6) +
    ggplot2::scale_x_log10() +
    ggplot2::scale_y_log10() +
    ggplot2::labs(x = "native profile", y = "ambient profile", title = shown) +
    ggplot2::theme_minimal()
}

shown_cluster <- function(fit, cluster, call) {
  known <- fit$state$cluster_names
  if (is.null(cluster)) {
    return(known[[which.max(tabulate(fit$state$cluster + 1, length(known)))]])
  }
  if (length(cluster) != 1L || !as.character(cluster) %in% known) {
    text <- sprintf(
      "`cluster` must be one of the fit's clusters; got %s. There are: %s.",
      paste(sprintf("'%s'", cluster), collapse = ", "), paste(sprintf("`%s`", known), collapse = ", ")
    )
    abort_input(text, call)
  }
  as.character(cluster)
}

plot_removed <- function(fit, cluster, n, call) {
  genes <- stats::aggregate(cbind(removed, observed) ~ gene, as.data.frame(fit, table = "genes"), sum)
  genes <- utils::head(genes[order(-genes$removed, genes$gene), ], n)
  genes$gene <- factor(genes$gene, rev(genes$gene))
  ggplot2::ggplot(genes, ggplot2::aes(y = .data$gene)) +
    ggplot2::geom_col(ggplot2::aes(x = .data$observed, fill = "observed")) +
    ggplot2::geom_col(ggplot2::aes(x = .data$removed, fill = "removed")) +
    ggplot2::scale_fill_manual(values = c(observed = "grey80", removed = "#b2182b"), name = NULL) +
    ggplot2::labs(x = "counts", y = NULL) +
    ggplot2::theme_minimal()
}

plot_loss <- function(fit, cluster, n, call) {
  history <- as.data.frame(fit, table = "history")
  named <- intersect(c("iteration", "epoch", "log_likelihood", "loss"), names(history))
  ggplot2::ggplot(history, ggplot2::aes(x = .data[[named[[1L]]]], y = .data[[named[[2L]]]])) +
    ggplot2::geom_line() +
    ggplot2::labs(x = named[[1L]], y = sub("_", "-", named[[2L]])) +
    ggplot2::theme_minimal()
}

#' @rdname isthmus-ambient-plots
#' @method plot isthmus_ambient_profile
#' @export
plot.isthmus_ambient_profile <- function(x, y, assay = "counts", ...) {
  refuse_dots()
  call <- rlang::current_env()
  need_package("ggplot2", "`plot`", call)
  empties <- attr(x, "empties")
  if (is.null(empties)) {
    abort_input("`x` must be the whole result of ambient_profile(); a part of it has lost the droplets' range.", call)
  }
  if (missing(y)) {
    abort_input("`y` must be the droplets that ambient_profile() was given. Call plot(profile, droplets).", call)
  }
  umi <- unwire_vector(call_engine("droplet_umi", wire_sample(y, "droplets", NULL, assay, call), .call = call))
  umi <- sort(umi[umi > 0], decreasing = TRUE)
  knee <- data.frame(rank = seq_along(umi), umi = umi)
  batch <- ifelse(empties$batch == "all", "empty", paste0("empty, ", empties$batch))
  empties$label <- sprintf("%s (%s)", batch, format(empties$n_empty, big.mark = ",", trim = TRUE))
  ggplot2::ggplot() +
    ggplot2::geom_rect(
      data = empties, alpha = 0.3,
      ggplot2::aes(xmin = 1, xmax = length(umi), ymin = .data$min_umi, ymax = .data$max_umi, fill = .data$label)
    ) +
    ggplot2::geom_line(data = thinned(knee), ggplot2::aes(x = .data$rank, y = .data$umi)) +
    ggplot2::scale_x_log10() +
    ggplot2::scale_y_log10() +
    ggplot2::labs(x = "rank", y = "UMI", fill = NULL) +
    ggplot2::theme_minimal()
}

# The corners of the staircase that ranked counts are: a line through them is the same line, with few points.
thinned <- function(knee) {
  step <- c(TRUE, diff(knee$umi) != 0)
  knee[step | c(step[-1L], TRUE), ]
}
