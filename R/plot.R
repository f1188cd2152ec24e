#' Plots of a test and of a fit
#'
#' A volcano plot of a test; mean against dispersion for a fit, with the genes
#' whose dispersion is 0 (the Poisson limit) as triangles on the lower edge.
#'
#' @param x The result of [test_glm()], or a fit of [fit_glm()].
#' @param y Not used.
#' @param fdr Adjusted p-value at which a gene is drawn as significant.
#' @param n_labels How many of the most significant genes get their name; 0 for none.
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
plot.isthmus_test <- function(x, y, fdr = 0.05, n_labels = 10, ...) {
  need_package("ggplot2", "`plot`", rlang::current_env())
  if (all(is.na(x$log2fc)) && !all(is.na(x$pval))) {
    text <- paste(
      "`x` must have fold changes; a test of several coefficients at once has none.",
      "Test one coefficient or one contrast."
    )
    abort_input(text, rlang::current_env())
  }
  shown <- volcano_data(x, fdr)
  significant <- sprintf("adjusted p < %s", format(fdr))
  shown$group <- factor(ifelse(shown$significant, significant, "other"), c(significant, "other"))
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

volcano_data <- function(test, fdr) {
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
plot.isthmus_glm <- function(x, y, ...) {
  need_package("ggplot2", "`plot`", rlang::current_env())
  genes <- data.frame(mean = x$state$mean, dispersion = x$state$dispersion, status = x$state$status)
  genes <- genes[!is.na(genes$dispersion) & !is.na(genes$mean) & genes$mean > 0, ]
  # logarithmic axes have no place for zero, the Poisson limit
  limit <- genes$dispersion == 0
  genes$dispersion[limit] <- if (all(limit)) 1e-3 else min(genes$dispersion[!limit]) / 2
  genes$at_limit <- limit
  ggplot2::ggplot(genes, ggplot2::aes(x = .data$mean, y = .data$dispersion, colour = .data$status)) +
    ggplot2::geom_point(ggplot2::aes(shape = .data$at_limit), size = 1, alpha = 0.6) +
    ggplot2::scale_shape_manual(values = c("FALSE" = 16, "TRUE" = 6), guide = "none") +
    ggplot2::scale_x_log10() +
    ggplot2::scale_y_log10() +
    ggplot2::labs(x = "mean count", y = "dispersion (alpha)", colour = "status") +
    ggplot2::theme_minimal()
}
