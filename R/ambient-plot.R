#' @rdname isthmus_ambient-methods
#' @method plot isthmus_ambient
#' @export
plot.isthmus_ambient <- function(x, y, type = "rho", n_labels = 10L, ...) {
  call <- rlang::current_env()
  need_package("ggplot2", "`plot`", call)
  shown <- list(rho = plot_rho, profile = plot_profile, genes = plot_removed, history = plot_history)
  if (!is.character(type) || length(type) != 1L || !type %in% names(shown)) {
    text <- sprintf(
      "`type` must be one of %s; got %s.",
      paste(sprintf("'%s'", names(shown)), collapse = ", "), paste(format(type), collapse = ", ")
    )
    abort_input(text, call)
  }
  shown[[type]](x, n_labels)
}

plot_rho <- function(fit, n_labels) {
  cells <- as.data.frame(fit)
  cells$cluster <- factor(fit$state$cluster_names[fit$state$cluster + 1], fit$state$cluster_names)
  plot <- ggplot2::ggplot(cells, ggplot2::aes(x = .data$cluster, y = .data$rho)) +
    ggplot2::geom_violin(fill = "grey85", colour = NA, scale = "width") +
    ggplot2::geom_boxplot(width = 0.15, outlier.size = 0.4) +
    ggplot2::labs(x = "cluster", y = "ambient share of a cell's UMI (rho)") +
    ggplot2::theme_minimal()
  if (length(unique(cells$batch)) > 1L) plot <- plot + ggplot2::facet_wrap(~batch)
  plot
}

# One point per gene and batch. Genes without native or ambient counts have no place on logarithmic axes.
plot_profile <- function(fit, n_labels) {
  genes <- as.data.frame(fit, table = "genes")
  native <- genes$observed - genes$removed
  genes$native_prob <- native / stats::ave(native, genes$batch, FUN = sum)
  genes <- genes[genes$native_prob > 0 & genes$ambient_prob > 0, ]
  top <- utils::head(genes[order(-log(genes$ambient_prob / genes$native_prob) * sqrt(genes$removed)), ], n_labels)
  plot <- ggplot2::ggplot(genes, ggplot2::aes(x = .data$native_prob, y = .data$ambient_prob)) +
    ggplot2::geom_abline(slope = 1, intercept = 0, colour = "grey60") +
    ggplot2::geom_point(ggplot2::aes(colour = .data$ambient_share), size = 1) +
    ggplot2::geom_text(
      data = top, ggplot2::aes(label = .data$gene), size = 3, vjust = -0.7, hjust = "inward"
    ) +
    ggplot2::scale_x_log10() +
    ggplot2::scale_y_log10() +
    ggplot2::scale_colour_viridis_c(name = "removed share") +
    ggplot2::labs(x = "share of the corrected counts", y = "share of the ambient profile") +
    ggplot2::theme_minimal()
  if (length(unique(genes$batch)) > 1L) plot <- plot + ggplot2::facet_wrap(~batch)
  plot
}

plot_removed <- function(fit, n_labels) {
  genes <- stats::aggregate(cbind(removed, observed) ~ gene, as.data.frame(fit, table = "genes"), sum)
  genes <- utils::head(genes[order(-genes$removed, genes$gene), ], n_labels)
  genes$gene <- factor(genes$gene, rev(genes$gene))
  genes$share <- genes$removed / genes$observed
  ggplot2::ggplot(genes, ggplot2::aes(x = .data$removed, y = .data$gene, fill = .data$share)) +
    ggplot2::geom_col() +
    ggplot2::scale_fill_viridis_c(name = "removed share") +
    ggplot2::labs(x = "counts removed", y = NULL) +
    ggplot2::theme_minimal()
}

plot_history <- function(fit, n_labels) {
  ggplot2::ggplot(as.data.frame(fit, table = "history"), ggplot2::aes(x = .data$iteration, y = .data$log_likelihood)) +
    ggplot2::geom_line() +
    ggplot2::labs(x = "iteration", y = "log-likelihood") +
    ggplot2::theme_minimal()
}
