# --- putting together: the other half of R/convert.R ------------------------------------------------------------------

experiment_from_wire <- function(wire, book, label = "") {
  recipe <- if (length(wire$recipe)) unserialize(wire$recipe) else list()
  named <- function(part) paste0(label, part)
  genes <- names_back(wire$genes, recipe$genes)
  cells <- names_back(wire$cells, recipe$cells)
  dim <- as.integer(strip(wire$dim))
  columns <- items_back(wire$obs, wire$obsm, recipe$columns$wide)
  rows <- items_back(wire$var, wire$varm, names(items_of(wire$varm)))
  ranges <- rows[["rowRanges"]]
  if (!is.null(recipe$ranges$seqinfo)) rows[["rowRanges"]] <- NULL
  parts <- list(
    assays = assays_back(wire, recipe$assays, list(genes, cells)),
    columns = table_back(columns, recipe$columns, dim[[2L]], cells, named("colData"), book),
    rows = table_back(rows, recipe$rows, dim[[1L]], genes, named("rowData"), book),
    ranges = ranges_back(ranges, recipe$ranges, genes, dim[[1L]], named("rowRanges"), book)
  )
  x <- new_experiment(parts, genes, cells, recipe)
  S4Vectors::metadata(x) <- metadata_back(wire$uns, recipe$metadata)
  if (methods::is(x, "SingleCellExperiment")) x <- inner_back(x, wire, recipe, named, book)
  with_class(x, recipe, named(""), book)
}

items_of <- function(part) stats::setNames(part$items, as.character(unlist(part$names)))

# The nodes of a table's narrow columns, then of those that were wide
items_back <- function(narrow, wide, keys) {
  wide <- items_of(wide)
  lapply(c(items_of(narrow), wide[intersect(keys, names(wide))]), from_node)
}

# An AnnData always has names; those that were made up for it go again.
names_back <- function(wire, recipe) {
  names <- from_names(wire)
  if (identical(recipe, "none") && all(grepl("^[0-9]+$", names))) NULL else names
}

# --- assays

assays_back <- function(wire, recipe, outer) {
  nodes <- items_of(wire$assays)
  renamed <- wire$x_index >= 0L && length(recipe$x) && recipe$x > 0L
  if (renamed) names(nodes)[[wire$x_index + 1L]] <- recipe$keys[[recipe$x]]
  nodes <- nodes[c(intersect(recipe$keys, names(nodes)), setdiff(names(nodes), recipe$keys))]
  assays <- lapply(names(nodes), function(key) assay_back(nodes[[key]], recipe$rules[[key]], outer))
  assays <- stats::setNames(assays, original_names(names(nodes), recipe))
  if (length(recipe$keys) && is.null(recipe$names) && all(names(nodes) %in% recipe$keys)) names(assays) <- NULL
  assays
}

assay_back <- function(node, rule, outer) {
  assay <- from_node(node)
  assay <- if (any(c("names", "type") %in% names(rule))) {
    with_inner_names(assay, rule, outer)
  } else {
    restore(rule[setdiff(names(rule), "delayed")], assay)
  }
  if (is.null(rule$delayed)) assay else on_disk_again(assay, rule$delayed)
}

with_inner_names <- function(assay, rule, outer) {
  if (!is.null(rule$type)) assay <- shaped(as_type(assay, rule$type), dim(assay))
  names <- if (identical(rule$names, "outer")) outer else rule$names
  fits <- mapply(function(name, n) is.null(name) || length(name) == n, names, dim(assay)[seq_along(names)])
  if (length(names) && all(fits)) {
    if (isS4(assay)) assay@Dimnames <- names else dimnames(assay) <- names
  }
  assay
}

# The class that the assay had: the values are in memory, or in a new temporary file of HDF5Array.
on_disk_again <- function(assay, class) {
  if (methods::extends(class, "HDF5Matrix") && requireNamespace("HDF5Array", quietly = TRUE)) {
    return(tryCatch(methods::as(assay, class), error = function(e) DelayedArray::DelayedArray(assay)))
  }
  if (requireNamespace("DelayedArray", quietly = TRUE)) DelayedArray::DelayedArray(assay) else assay
}

# --- tables

original_names <- function(keys, recipe) {
  if (is.null(recipe$names)) {
    return(keys)
  }
  at <- match(keys, recipe$keys)
  ifelse(is.na(at), keys, as.character(recipe$names)[at])
}

# Columns in their old order, with the new ones at the end
table_back <- function(columns, recipe, n, names, label, book) {
  for (key in names(columns)) columns[key] <- list(restore(recipe$rules[[key]], columns[[key]]))
  columns <- c(columns, hidden_back(recipe, names, n, label, book))
  order <- c(intersect(recipe$keys, names(columns)), setdiff(names(columns), recipe$keys))
  columns <- columns[order]
  table <- S4Vectors::make_zero_col_DFrame(n)
  keys <- renamed_columns(order, to_r)
  columns <- stats::setNames(columns, original_names(keys, list(names = recipe$names, keys = recipe$keys)))
  if (length(columns)) table@listData <- columns
  rownames(table) <- names
  if (length(recipe$metadata)) S4Vectors::metadata(table) <- recipe$metadata
  if (identical(recipe$keys, order)) S4Vectors::mcols(table) <- recipe$about
  table
}

# Columns that Python could not read have stayed as they were: their rows are found by name.
hidden_back <- function(recipe, names, n, label, book) {
  hidden <- Filter(function(rule) "hidden" %in% names(rule), recipe$rules)
  hidden <- lapply(hidden, function(rule) aligned(rule$hidden, recipe$rows, names, n))
  gone <- vapply(hidden, is.null, NA)
  if (any(gone)) book$lost <- c(book$lost, sprintf("%s$%s: its rows cannot be matched", label, names(hidden)[gone]))
  hidden[!gone]
}

# The elements of `kept` for the rows that there are now, or NULL where they cannot be told
aligned <- function(kept, old, new, n) {
  if (NROW(kept) == n && identical(old, new)) {
    return(kept)
  }
  at <- match(new, old)
  if (is.null(new) || is.null(old) || anyNA(at) || anyDuplicated(old)) {
    return(NULL)
  }
  if (length(dim(kept)) == 2L) kept[at, , drop = FALSE] else kept[at]
}

ranges_back <- function(table, recipe, genes, n, label, book) {
  if ("hidden" %in% names(recipe)) {
    ranges <- aligned(recipe$hidden, names(recipe$hidden), genes, n)
    if (is.null(ranges)) book$lost <- c(book$lost, paste0(label, ": its rows cannot be matched"))
    return(ranges)
  }
  if (is.null(recipe) || is.null(table)) {
    return(NULL)
  }
  widths <- IRanges::IRanges(as.integer(table$start), as.integer(table$end), names = genes)
  ranges <- GenomicRanges::GRanges(
    S4Vectors::Rle(factor(table$seqnames, GenomeInfoDb::seqlevels(recipe$seqinfo))), widths,
    strand = as.character(table$strand), seqinfo = recipe$seqinfo
  )
  S4Vectors::metadata(ranges) <- recipe$metadata
  ranges
}

metadata_back <- function(wire, recipe) {
  nodes <- items_of(wire)
  hidden <- Filter(function(rule) "hidden" %in% names(rule), recipe$rules)
  values <- lapply(nodes, from_node)
  for (key in names(values)) values[key] <- list(restore(recipe$rules[[key]], values[[key]]))
  values <- c(values, lapply(hidden, `[[`, "hidden"))
  keys <- c(intersect(recipe$keys, names(values)), setdiff(names(values), recipe$keys))
  values <- values[keys]
  unnamed <- length(recipe$keys) && is.null(recipe$names) && identical(keys, recipe$keys)
  names(values) <- if (!unnamed) original_names(keys, recipe)
  if (length(values)) values else list()
}

# --- the object

new_experiment <- function(parts, genes, cells, recipe) {
  base <- if (is.null(recipe$slots)) recipe$class else recipe$slots$base
  if (is.null(base) && is.null(parts$ranges)) {
    return(usual_experiment(parts, genes))
  }
  assays <- lapply(parts$assays, without_names)
  if (is.null(parts$ranges)) {
    x <- SummarizedExperiment::SummarizedExperiment(assays, colData = parts$columns, rowData = parts$rows)
  } else {
    S4Vectors::mcols(parts$ranges) <- unnamed_rows(parts$rows)
    x <- SummarizedExperiment::SummarizedExperiment(assays, colData = parts$columns, rowRanges = parts$ranges)
  }
  ranged <- "RangedSummarizedExperiment"
  if (!identical(base[[1L]], "SummarizedExperiment") && !methods::is(x, ranged)) x <- methods::as(x, ranged)
  if (any(vapply(parts$assays, has_names, NA))) {
    SummarizedExperiment::assays(x, withDimnames = FALSE) <- parts$assays
  }
  if (length(base) && base[[1L]] %in% c("SummarizedExperiment", ranged)) x else with_inner_tables(x)
}

# A SingleCellExperiment of parts that an AnnData has checked: its constructor, which checks them all again, takes as
# long as copying a small matrix.
usual_experiment <- function(parts, genes) {
  x <- plain_experiment
  if (length(parts$assays)) x@assays <- SummarizedExperiment::Assays(S4Vectors::SimpleList(parts$assays))
  x@colData <- parts$columns
  n <- nrow(parts$rows)
  x@elementMetadata@nrows <- n
  x@rowRanges@partitioning@end <- integer(n)
  x@rowRanges@partitioning@NAMES <- genes
  x@rowRanges@elementMetadata <- unnamed_rows(parts$rows)
  x@int_colData <- empty_tables(x@int_colData, nrow(parts$columns))
  x@int_elementMetadata <- empty_tables(x@int_elementMetadata, n)
  x
}

# A SingleCellExperiment around `x`, slot by slot: the coercion would check the object a dozen times.
with_inner_tables <- function(x) {
  made <- plain_experiment
  for (name in methods::slotNames("RangedSummarizedExperiment")) {
    methods::slot(made, name, check = FALSE) <- methods::slot(x, name)
  }
  made@int_colData <- empty_tables(SingleCellExperiment::int_colData(plain_experiment), ncol(x))
  made@int_elementMetadata <- empty_tables(SingleCellExperiment::int_elementMetadata(plain_experiment), nrow(x))
  made
}

empty_tables <- function(table, n) {
  table@nrows <- n
  table@listData <- lapply(table@listData, function(inner) S4Vectors::make_zero_col_DFrame(n))
  table
}

has_names <- function(assay) !all(vapply(dimnames(assay), is.null, NA))

# The constructor would take the names of the rows and columns from an assay.
without_names <- function(assay) {
  if (has_names(assay)) dimnames(assay) <- list(NULL, NULL)
  assay
}

unnamed_rows <- function(table) {
  rownames(table) <- NULL
  table
}

inner_back <- function(x, wire, recipe, named, book) {
  reduced <- items_of(wire$obsm)
  reduced <- reduced[setdiff(names(reduced), recipe$columns$wide)]
  rules <- recipe$reduced$rules
  values <- Map(function(node, key) reduced_back(from_node(node), rules[[key]]), reduced, names(reduced))
  spatial <- recipe$reduced$spatial
  if (length(spatial) && spatial %in% names(values)) {
    SingleCellExperiment::int_colData(x)$spatialCoords <- values[[spatial]]
    values[[spatial]] <- NULL
  }
  if (length(values)) {
    names(values) <- original_names(names(values), recipe$reduced)
    SingleCellExperiment::reducedDims(x, withDimnames = FALSE) <- values
  }
  columns <- pairs_back(wire$obsp, recipe$col_pairs)
  if (length(columns)) SingleCellExperiment::colPairs(x) <- columns
  rows <- pairs_back(wire$varp, recipe$row_pairs)
  if (length(rows)) SingleCellExperiment::rowPairs(x) <- rows
  internal_back(alternatives_back(x, wire$alternatives, recipe, named, book), wire, recipe, named, book)
}

reduced_back <- function(plain, rule) {
  if (is.null(rule$embedding)) {
    return(restore(rule, plain))
  }
  scores <- restore(rule$scores, plain)
  kept <- rule$embedding
  if (identical(dim(scores), dim(SingleCellExperiment::sampleFactors(kept)))) {
    kept@sampleFactors <- scores
    return(kept)
  }
  SingleCellExperiment::LinearEmbeddingMatrix(
    scores, SingleCellExperiment::featureLoadings(kept), SingleCellExperiment::factorData(kept),
    metadata = S4Vectors::metadata(kept)
  )
}

pairs_back <- function(wire, recipe) {
  nodes <- items_of(wire)
  pairs <- Map(function(node, key) {
    rule <- recipe$rules[[key]]
    same <- !is.null(rule$original) && identical(plain_pair(pair_node(rule$original)), plain_pair(node))
    if (same) rule$original else plain_pair(node, if (is.null(rule$column)) "x" else rule$column)
  }, nodes, names(nodes))
  stats::setNames(pairs, original_names(names(nodes), recipe))
}

alternatives_back <- function(x, wire, recipe, named, book) {
  wires <- items_of(wire)
  if (!length(wires)) {
    return(x)
  }
  keys <- names(wires)
  others <- Map(function(wire, key) {
    experiment_from_wire(wire, book, sprintf("%s$%s$", named("altExps"), key))
  }, wires, keys)
  names(others) <- if (length(recipe$alternatives) == length(keys)) recipe$alternatives else keys
  SingleCellExperiment::altExps(x, withDimnames = FALSE) <- others
  x
}

internal_back <- function(x, wire, recipe, named, book) {
  kept <- recipe$internal
  if (length(kept$metadata)) SingleCellExperiment::int_metadata(x) <- kept$metadata
  if (!is.null(wire$python)) SingleCellExperiment::int_metadata(x)$isthmus <- python_back(wire$python)
  if (length(kept$columns) && nrow(kept$columns) == ncol(x)) {
    table <- SingleCellExperiment::int_colData(x)
    SingleCellExperiment::int_colData(x) <- S4Vectors::cbind(table, kept$columns)
  } else if (length(kept$columns)) {
    book$lost <- c(book$lost, sprintf("%s: its rows cannot be matched", named("int_colData")))
  }
  if (length(kept$rows) && nrow(kept$rows) == nrow(x)) {
    table <- SingleCellExperiment::int_elementMetadata(x)
    SingleCellExperiment::int_elementMetadata(x) <- S4Vectors::cbind(table, kept$rows)
  } else if (length(kept$rows)) {
    book$lost <- c(book$lost, sprintf("%s: its rows cannot be matched", named("int_elementMetadata")))
  }
  x
}

python_back <- function(python) {
  list(
    recipe = as.character(python$recipe), keys = as.character(unlist(python$keys)),
    objects = python$objects, layers_only = isTRUE(python$layers_only)
  )
}

# A class that extends the known ones, with the slots that it adds
with_class <- function(x, recipe, label, book) {
  class <- recipe$class
  if (is.null(class) || identical(class(x), class)) {
    return(x)
  }
  made <- tryCatch(
    do.call(methods::new, c(list(class, x), recipe$slots$values)),
    error = function(e) NULL
  )
  if (is.null(made)) {
    book$lost <- c(book$lost, sprintf("%sclass %s: the object is a %s now", label, class[[1L]], class(x)[[1L]]))
    return(x)
  }
  made
}
