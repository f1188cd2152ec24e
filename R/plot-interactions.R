#' Plots of cell-cell interactions
#'
#' A fit is plotted through its tables; tables made with other options have
#' [plot()] methods of their own.
#'
#' @param x A fit of [fit_interactions()], or a result of [explained_variance()],
#'   [interaction_matrix()], [attention_by_distance()],
#'   [counterfactual_attention()], [length_scales()] or [contributions()].
#' @param y Not used.
#' @param type Of a fit: `"explained_variance"` (bars, by receiver and head),
#'   `"genes"` (a heat map, gene x head), `"tiles"` or `"graph"` (senders and
#'   receivers), `"attention"` (against distance), `"length_scales"` or
#'   `"contributions"` (in space). Of an interaction matrix: `"tiles"` or `"graph"`.
#' @param receiver,sender Which cell type; `NULL`: the first. For
#'   `"contributions"` `sender` may be `"all"`, the default.
#' @param gene Which gene's contributions; `NULL`: all together.
#' @param heads Which heads; `NULL`: all of them.
#' @param n_genes How many genes a heat map has: those with the largest r2.
#' @param min_genes Pairs with fewer significant genes have no arrow.
#' @param fdr Bars with an adjusted p-value below this get a star.
#' @param ... For a fit: passed on to the method of the table. Else not used.
#' @return A ggplot object, to which layers and themes can be added.
#' @name isthmus-interaction-plots
#' @examples
#' if (isthmus_available("torch") && requireNamespace("ggplot2", quietly = TRUE)) {
#'   sce <- simulate_interactions(300, 20, seed = 1)
#'   fit <- fit_interactions(
#'     sce, labels = "cell_type", assay = "logcounts", n_neighbors = 10, folds = 2, max_epochs = 2
#'   )
#'   plot(explained_variance(fit, null = "none"))
#'   plot(fit, type = "contributions", gene = "gene1", sender = "B")
#' }
NULL

#' @rdname isthmus-interaction-plots
#' @method plot isthmus_interactions
#' @export
plot.isthmus_interactions <- function(x, y, type = "explained_variance", ..., sender = NULL, gene = NULL) {
  call <- rlang::current_env()
  need_package("ggplot2", "`plot`", call)
  tables <- list(
    explained_variance = function() plot(explained_variance(x), ...),
    genes = function() plot(explained_variance(x, by = "gene"), ...),
    tiles = function() plot(interaction_matrix(x), type = "tiles", ...),
    graph = function() plot(interaction_matrix(x), type = "graph", ...),
    attention = function() plot(attention_by_distance(x), ...),
    length_scales = function() plot(length_scales(x), ...),
    contributions = function() plot(contributions(x, sender = if (is.null(sender)) "all" else sender, gene = gene), ...)
  )
  if (!missing(y)) abort_input("`y` is not used. Name the kind of plot: plot(fit, type = \"graph\").", call)
  check_choice(type, names(tables), "type", call)
  tables[[type]]()
}

check_choice <- function(value, known, argument, call) {
  if (!is.character(value) || length(value) != 1L || !value %in% known) {
    listed <- paste(sprintf("'%s'", known), collapse = ", ")
    came <- paste(format(value), collapse = ", ")
    abort_input(sprintf("`%s` must be one of %s; got %s.", argument, listed, came), call)
  }
}

#' @rdname isthmus-interaction-plots
#' @method plot isthmus_explained_variance
#' @export
plot.isthmus_explained_variance <- function(x, y, receiver = NULL, heads = NULL, n_genes = 20L, fdr = 0.05, ...) {
  refuse_dots()
  call <- rlang::current_env()
  need_package("ggplot2", "`plot`", call)
  table <- in_order(x, c("receiver", "head"))
  if (!is.null(heads)) table <- table[table$head %in% heads, ]
  if ("gene" %in% names(table)) plot_gene_heads(table, receiver, n_genes, call) else plot_explained(table, fdr)
}

plot_explained <- function(table, fdr) {
  beside <- ggplot2::position_dodge(width = 0.8)
  table$star <- ifelse(!is.na(table$padj) & table$padj < fdr, "*", "")
  ggplot2::ggplot(table, ggplot2::aes(x = .data$receiver, y = .data$r2, fill = .data$head)) +
    ggplot2::geom_col(position = beside, width = 0.75, na.rm = TRUE) +
    ggplot2::geom_text(ggplot2::aes(label = .data$star), position = beside, vjust = -0.2, na.rm = TRUE) +
    ggplot2::geom_hline(yintercept = 0, colour = "grey30", linewidth = 0.3) +
    ggplot2::labs(
      x = "receiver", y = "variance explained", fill = "head",
      caption = sprintf("%s cells; *: adjusted p < %s", table$set[[1L]], format(fdr))
    ) +
    ggplot2::theme_minimal()
}

plot_gene_heads <- function(table, receiver, n_genes, call) {
  shown <- rows_of(table[table$head != "none", ], "receiver", receiver, call)
  leading <- if ("all" %in% shown$head) shown[shown$head == "all", ] else shown
  best <- tapply(leading$r2, leading$gene, max)
  genes <- utils::head(names(sort(best, decreasing = TRUE)), n_genes)
  shown <- shown[shown$gene %in% genes, ]
  shown$gene <- factor(shown$gene, rev(genes))
  ggplot2::ggplot(shown, ggplot2::aes(x = .data$head, y = .data$gene, fill = .data$r2)) +
    ggplot2::geom_tile() +
    ggplot2::scale_fill_gradient2(low = "#2166ac", mid = "white", high = "#b2182b", na.value = "grey90") +
    ggplot2::labs(x = "head", y = NULL, fill = "variance\nexplained", title = paste("receiver", shown$receiver[[1L]])) +
    ggplot2::theme_minimal()
}

#' @rdname isthmus-interaction-plots
#' @method plot isthmus_interaction_matrix
#' @export
plot.isthmus_interaction_matrix <- function(x, y, type = "tiles", min_genes = 1L, ...) {
  refuse_dots()
  call <- rlang::current_env()
  need_package("ggplot2", "`plot`", call)
  if (!missing(y)) abort_input("`y` is not used. Name the kind of plot: plot(x, type = \"graph\").", call)
  check_choice(type, c("tiles", "graph"), "type", call)
  class(x) <- "data.frame"
  types <- sort(unique(c(x$receiver, x$sender)))
  if (type == "tiles") plot_tiles(x, types) else plot_graph(x, types, min_genes)
}

plot_tiles <- function(table, types) {
  table$receiver <- factor(table$receiver, types)
  table$sender <- factor(table$sender, rev(types))
  ggplot2::ggplot(table, ggplot2::aes(x = .data$receiver, y = .data$sender, fill = .data$n_genes)) +
    ggplot2::geom_tile() +
    ggplot2::geom_text(ggplot2::aes(label = .data$n_genes), size = 3) +
    ggplot2::scale_fill_gradient(low = "white", high = "#4292c6", limits = c(0, max(1, table$n_genes))) +
    ggplot2::labs(x = "receiver", y = "sender", fill = "genes") +
    ggplot2::theme_minimal() +
    ggplot2::theme(axis.text.x = ggplot2::element_text(angle = 45, hjust = 1))
}

# Cell types on a circle. A type that acts on itself has a ring around it.
plot_graph <- function(table, types, min_genes) {
  angle <- pi / 2 - 2 * pi * (seq_along(types) - 1) / length(types)
  nodes <- data.frame(type = types, x = cos(angle), y = sin(angle))
  shown <- table[table$n_genes >= max(min_genes, 1), ]
  most <- max(1, shown$n_genes) / 2.5
  loops <- merge(shown[shown$sender == shown$receiver, ], nodes, by.x = "sender", by.y = "type")
  arrows <- arrow_ends(shown[shown$sender != shown$receiver, ], nodes)
  ggplot2::ggplot(nodes, ggplot2::aes(x = .data$x, y = .data$y)) +
    ggplot2::geom_curve(
      data = arrows, ggplot2::aes(xend = .data$to_x, yend = .data$to_y, linewidth = .data$n_genes),
      curvature = 0.15, colour = "#4292c6", arrow = ggplot2::arrow(length = ggplot2::unit(3, "mm"), type = "closed")
    ) +
    ggplot2::geom_point(
      data = loops, ggplot2::aes(stroke = I(.data$n_genes / most)), shape = 1, size = 12, colour = "#4292c6"
    ) +
    ggplot2::geom_point(size = 6, colour = "grey70") +
    ggplot2::geom_text(ggplot2::aes(x = 1.25 * .data$x, y = 1.25 * .data$y, label = .data$type)) +
    ggplot2::scale_linewidth(range = c(0.4, 2.5)) +
    ggplot2::coord_equal(xlim = c(-1.7, 1.7), ylim = c(-1.5, 1.5)) +
    ggplot2::labs(linewidth = "genes") +
    ggplot2::theme_void()
}

# From sender to receiver, a little short of both.
arrow_ends <- function(pairs, nodes, gap = 0.12) {
  from <- nodes[match(pairs$sender, nodes$type), ]
  to <- nodes[match(pairs$receiver, nodes$type), ]
  length <- sqrt((to$x - from$x)^2 + (to$y - from$y)^2)
  step_x <- gap * (to$x - from$x) / length
  step_y <- gap * (to$y - from$y) / length
  data.frame(
    sender = pairs$sender, receiver = pairs$receiver, n_genes = pairs$n_genes,
    x = from$x + step_x, y = from$y + step_y, to_x = to$x - step_x, to_y = to$y - step_y
  )
}

#' @rdname isthmus-interaction-plots
#' @method plot isthmus_attention_by_distance
#' @export
plot.isthmus_attention_by_distance <- function(x, y, receiver = NULL, heads = NULL, ...) {
  refuse_dots()
  call <- rlang::current_env()
  need_package("ggplot2", "`plot`", call)
  table <- in_order(x, c("receiver", "sender", "head"))
  if (!is.null(receiver)) table <- rows_of(table, "receiver", receiver, call)
  if (!is.null(heads)) table <- table[table$head %in% heads, ]
  ggplot2::ggplot(
    table[!is.na(table$weight), ],
    ggplot2::aes(x = .data$distance, y = .data$weight, colour = .data$sender, group = .data$sender)
  ) +
    ggplot2::geom_line() +
    ggplot2::geom_point(size = 0.8) +
    ggplot2::facet_grid(receiver ~ head, labeller = ggplot2::label_both) +
    ggplot2::labs(x = "distance", y = "attention", colour = "sender") +
    ggplot2::theme_minimal()
}

#' @rdname isthmus-interaction-plots
#' @method plot isthmus_length_scales
#' @export
plot.isthmus_length_scales <- function(x, y, ...) {
  refuse_dots()
  need_package("ggplot2", "`plot`", rlang::current_env())
  table <- in_order(x[!is.na(x$median), ], "head")
  table$pair <- paste(table$sender, table$receiver, sep = " \u2192 ")
  ggplot2::ggplot(table, ggplot2::aes(x = .data$median, y = .data$pair)) +
    ggplot2::geom_segment(ggplot2::aes(x = .data$lower, xend = .data$upper, yend = .data$pair), colour = "grey60") +
    ggplot2::geom_point(colour = "#b2182b") +
    ggplot2::facet_wrap(~head, labeller = ggplot2::label_both) +
    ggplot2::labs(x = "length scale (unit of the coordinates)", y = NULL) +
    ggplot2::theme_minimal()
}

#' @rdname isthmus-interaction-plots
#' @method plot isthmus_contributions
#' @export
plot.isthmus_contributions <- function(x, y, sender = NULL, ...) {
  refuse_dots()
  call <- rlang::current_env()
  need_package("ggplot2", "`plot`", call)
  table <- in_order(x, c("sender", "sample"))
  if (!is.null(sender)) table <- rows_of(table, "sender", sender, call)
  signed <- !anyNA(table$gene)
  # cells without a contribution below, the strongest on top
  table <- table[order(!is.na(table$contribution), abs(table$contribution)), ]
  scale <- if (signed) {
    ggplot2::scale_colour_gradient2(low = "#2166ac", mid = "grey95", high = "#b2182b", na.value = "grey85")
  } else {
    ggplot2::scale_colour_gradient(low = "grey90", high = "#08519c", limits = c(0, NA), na.value = "grey85")
  }
  plot <- ggplot2::ggplot(table, ggplot2::aes(x = .data$x, y = .data$y, colour = .data$contribution)) +
    ggplot2::geom_point(size = 0.6) +
    scale +
    ggplot2::coord_equal() +
    ggplot2::labs(colour = "contribution\nof neighbours", title = if (signed) table$gene[[1L]] else "all genes") +
    ggplot2::theme_minimal()
  if (nlevels(table$sample) > 1L) {
    return(plot + ggplot2::facet_grid(sample ~ sender, labeller = ggplot2::label_both))
  }
  plot + ggplot2::facet_wrap(~sender, labeller = ggplot2::label_both)
}

# A plain data.frame whose text columns are factors in the order of the table.
in_order <- function(table, columns) {
  class(table) <- "data.frame"
  for (column in columns) table[[column]] <- factor(table[[column]], unique(table[[column]]))
  table
}

# The rows of one value of a column, or of its first.
rows_of <- function(table, column, wanted, call) {
  known <- as.character(unique(table[[column]]))
  if (is.null(wanted)) wanted <- known[[1L]]
  check_choice(wanted, known, column, call)
  table[table[[column]] == wanted, ]
}
