#' Plots of a test and of a fit
#'
#' A volcano plot, mean against fold change, or a histogram of the p-values of a
#' test; mean against dispersion for a fit, with the genes whose dispersion is 0
#' (the Poisson limit) as triangles on the lower edge and the trend where one was
#' fitted, or fitted against observed counts of one gene, or coefficients against
#' other ones.
#'
#' @param x The result of [test_glm()], or a fit of [fit_glm()].
#' @param y Not used.
#' @param fdr Adjusted p-value at which a gene is drawn as significant.
#' @param n_labels How many of the most significant genes get their name; 0 for none.
#' @param type For a test `"volcano"`, `"ma"` or `"pvalues"`; for a fit
#'   `"dispersion"`, `"fitted"` or `"coefficients"`.
#' @param data,gene For `"fitted"`: the counts that were fitted, and the name or
#'   number of a gene.
#' @param reference For `"coefficients"`: a matrix, genes x terms, like `coef(x)`.
#' @param ... Not used.
#' @return A ggplot object, to which layers and themes can be added.
#' @name isthmus-plots
#' @examples
#' if (isthmus_available() && requireNamespace("ggplot2", quietly = TRUE)) {
#'   x <- model.matrix(~condition, data.frame(condition = rep(c("A", "B"), each = 30)))
#'   sce <- simulate_counts(n_genes = 20, design = x, seed = 1)
#'   fit <- fit_glm(sce, x, size_factors = NULL)
#'   plot(test_glm(fit, "conditionB"))
#'   plot(fit)
#' }
NULL

#' @rdname isthmus-plots
#' @method plot isthmus_test
#' @export
plot.isthmus_test <- function(x, y, fdr = 0.05, n_labels = 10, type = "volcano", ...) {
  refuse_dots()
  need_package("ggplot2", "`plot`", rlang::current_env())
  check_type(type, c("volcano", "ma", "pvalues"), rlang::current_env())
  if (type == "pvalues") {
    return(plot_p_values(x))
  }
  if (all(is.na(x$log2fc)) && !all(is.na(x$pval))) {
    text <- paste(
      "`x` must have fold changes; a test of several coefficients at once has none, nor has the normal noise model.",
      "Test one coefficient or one contrast of counts."
    )
    abort_input(text, rlang::current_env())
  }
  shown <- volcano_data(x, fdr)
  significant <- sprintf("adjusted p < %s", format(fdr))
  shown$group <- factor(ifelse(shown$significant, significant, "other"), c(significant, "other"))
  if (type == "ma") {
    return(plot_ma(shown))
  }
  plot <- ggplot2::ggplot(shown, ggplot2::aes(x = .data$log2fc, y = .data$minus_log10, colour = .data$group)) +
    ggplot2::geom_point(size = 1, alpha = 0.7) +
    ggplot2::scale_colour_manual(values = c("#b2182b", "grey60"), drop = FALSE, name = NULL) +
    ggplot2::labs(x = "log2 fold change", y = "-log10 p-value", title = paste(unique(x$contrast), collapse = ", ")) +
    ggplot2::theme_minimal()
  top <- utils::head(shown[order(-shown$minus_log10), ], n_labels)
  plot + ggplot2::geom_text(
    data = top, ggplot2::aes(label = .data$gene), size = 3, vjust = -0.7, hjust = "inward", show.legend = FALSE
  )
}

check_type <- function(type, known, call) {
  if (!is.character(type) || length(type) != 1L || !type %in% known) {
    rule <- "`type` must be one of %s; got %s."
    abort_input(sprintf(rule, paste(known, collapse = ", "), paste(format(type), collapse = ", ")), call)
  }
}

plot_ma <- function(shown) {
  ggplot2::ggplot(shown, ggplot2::aes(x = .data$mean, y = .data$log2fc, colour = .data$group)) +
    ggplot2::geom_point(size = 1, alpha = 0.7) +
    ggplot2::geom_hline(yintercept = 0, linewidth = 0.3) +
    ggplot2::scale_colour_manual(values = c("#b2182b", "grey60"), drop = FALSE, name = NULL) +
    ggplot2::scale_x_log10() +
    ggplot2::labs(x = "mean count", y = "log2 fold change") +
    ggplot2::theme_minimal()
}

plot_p_values <- function(test) {
  known <- data.frame(pval = test$pval[!is.na(test$pval)])
  ggplot2::ggplot(known, ggplot2::aes(x = .data$pval)) +
    ggplot2::geom_histogram(breaks = seq(0, 1, 0.05), fill = "grey70", colour = "white") +
    ggplot2::geom_hline(yintercept = nrow(known) / 20, colour = "#b2182b", linewidth = 0.3) +
    ggplot2::labs(x = "p-value", y = "genes") +
    ggplot2::theme_minimal()
}

# Separated genes stand at their penalised estimate.
volcano_data <- function(test, fdr) {
  infinite <- is.infinite(test$log2fc)
  test$log2fc[infinite] <- test$estimate_penalized[infinite] / log(2)
  kept <- test[!is.na(test$pval) & !is.na(test$log2fc), ]
  class(kept) <- "data.frame"
  kept$minus_log10 <- minus_log10(kept)
  kept$significant <- !is.na(kept$padj) & kept$padj < fdr
  kept
}

# A p-value below the smallest double is 0 in the table; its logarithm follows from the statistic.
minus_log10 <- function(test) {
  height <- -log10(test$pval)
  zero <- which(test$pval == 0)
  df <- ifelse(is.finite(test$df_resid[zero]), test$df_resid[zero], Inf)
  height[zero] <- -(stats::pt(-abs(test$stat[zero]), df, log.p = TRUE) + log(2)) / log(10)
  height
}

#' @rdname isthmus-plots
#' @method plot isthmus_glm
#' @export
plot.isthmus_glm <- function(x, y, type = "dispersion", data = NULL, gene = 1L, reference = NULL, ...) {
  refuse_dots()
  call <- rlang::current_env()
  need_package("ggplot2", "`plot`", call)
  check_type(type, c("dispersion", "fitted", "coefficients"), call)
  switch(type,
    dispersion = plot_dispersion(x, call),
    fitted = plot_fitted(x, data, gene, call),
    coefficients = plot_coefficients(x, reference, call)
  )
}

plot_fitted <- function(x, data, gene, call) {
  if (is.null(data)) abort_input("`data` must be the counts that were fitted: a fit keeps none.", call)
  at <- gene_index(gene, x$state$gene_names, call)
  mean <- predict.isthmus_glm(x)[at, ]
  observed <- mean + residuals.isthmus_glm(x, data, type = "response")[at, ]
  points <- data.frame(mean = mean, observed = observed)
  ggplot2::ggplot(points, ggplot2::aes(x = .data$mean, y = .data$observed)) +
    ggplot2::geom_point(size = 1, alpha = 0.6) +
    ggplot2::geom_abline(colour = "#b2182b", linewidth = 0.3) +
    ggplot2::labs(x = "fitted mean", y = "observed count", title = x$state$gene_names[[at]]) +
    ggplot2::theme_minimal()
}

plot_coefficients <- function(x, reference, call) {
  estimates <- coef.isthmus_glm(x)
  reference <- if (is.null(reference)) matrix(0, 0L, 0L) else as.matrix(reference)
  if (!identical(dim(reference), dim(estimates))) {
    rule <- "`reference` must be genes x terms (%d x %d) as coef() is; got %d x %d."
    abort_input(sprintf(rule, nrow(estimates), ncol(estimates), nrow(reference), ncol(reference)), call)
  }
  points <- data.frame(
    reference = as.vector(reference), estimate = as.vector(estimates),
    term = rep(colnames(estimates), each = nrow(estimates))
  )
  ggplot2::ggplot(
    points[is.finite(points$estimate), ],
    ggplot2::aes(x = .data$reference, y = .data$estimate, colour = .data$term)
  ) +
    ggplot2::geom_point(size = 1, alpha = 0.7) +
    ggplot2::geom_abline(linewidth = 0.3) +
    ggplot2::labs(x = "reference", y = "estimate") +
    ggplot2::theme_minimal()
}

plot_dispersion <- function(x, call) {
  if (identical(x$facts$noise_model, "normal")) {
    text <- "`x` must be of counts for dispersion against mean; it has noise_model = \"normal\"."
    abort_input(text, call)
  }
  genes <- data.frame(mean = x$state$mean, dispersion = x$state$dispersion, status = x$state$status)
  genes <- genes[!is.na(genes$dispersion) & !is.na(genes$mean) & genes$mean > 0, ]
  # logarithmic axes have no place for zero, the Poisson limit
  limit <- genes$dispersion == 0
  genes$dispersion[limit] <- if (all(limit)) 1e-3 else min(genes$dispersion[!limit]) / 2
  genes$at_limit <- limit
  plot <- ggplot2::ggplot(genes, ggplot2::aes(x = .data$mean, y = .data$dispersion, colour = .data$status)) +
    ggplot2::geom_point(ggplot2::aes(shape = .data$at_limit), size = 1, alpha = 0.6) +
    ggplot2::scale_shape_manual(values = c("FALSE" = 16, "TRUE" = 6), guide = "none") +
    ggplot2::scale_x_log10() +
    ggplot2::scale_y_log10() +
    ggplot2::labs(x = "mean count", y = "dispersion (alpha)", colour = "status") +
    ggplot2::theme_minimal()
  trend <- x$facts$trend
  if (is.null(trend)) {
    return(plot)
  }
  line <- data.frame(mean = sort(genes$mean))
  line$dispersion <- trend[[1L]] + trend[[2L]] / line$mean
  plot + ggplot2::geom_line(
    data = line, ggplot2::aes(x = .data$mean, y = .data$dispersion), colour = "#b2182b", inherit.aes = FALSE
  )
}
