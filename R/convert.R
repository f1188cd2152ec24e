# The one mapping between a SummarizedExperiment (and what extends it) and an AnnData, both ways. Each part of the
# object is told twice: as nodes that Python understands (R/values.R), and as a recipe of what those cannot say. Python
# keeps the recipe as bytes in `uns["isthmus"]`; coming back, values are Python's and the recipe is applied as far as
# it fits them. The Python side of the mapping is python/isthmus/data/convert.py.

# --- taking apart -----------------------------------------------------------------------------------------------------

experiment_wire <- function(x, book, label = "") {
  x <- up_to_date(x)
  named <- function(part) paste0(label, part)
  outer <- outer_tables(x)
  assays <- assays_part(x, list(outer$genes, outer$cells), named("assays"), book)
  columns <- frame_part(outer$columns, outer$cells, named("colData"), book)
  rows <- frame_part(outer$rows, outer$genes, named("rowData"), book, wide_in_order = TRUE)
  ranges <- ranges_part(outer$ranges, named("rowRanges"), book)
  inner <- inner_parts(x, named, book, taken = columns$wide$names)
  metadata <- metadata_part(S4Vectors::metadata(x), named("metadata"), book)
  recipe <- list(
    class = if (!identical(class(x), class(plain_experiment))) class(x), slots = extra_slots(x, named(""), book),
    genes = if (is.null(outer$genes)) "none", cells = if (is.null(outer$cells)) "none",
    assays = assays$recipe, columns = columns$recipe, rows = rows$recipe, ranges = ranges$recipe,
    metadata = metadata$recipe
  )
  recipe <- c(recipe, inner$recipe)
  recipe <- recipe[!vapply(recipe, is.null, NA)]
  list(
    dim = wire_vector(c(nrow(outer$rows), nrow(outer$columns))),
    genes = wire_names(outer$genes), cells = wire_names(outer$cells),
    assays = assays$wire, x_index = assays$x, obs = columns$wire, var = rows$wire,
    obsm = joined(inner$reduced, columns$wide), varm = joined(ranges$wire, rows$wide),
    obsp = inner$col_pairs, varp = inner$row_pairs, uns = metadata$wire, alternatives = inner$alternatives,
    recipe = if (length(recipe)) serialize(recipe, NULL), python = python_recipe(x)
  )
}

# The accessors bring the row ranges up to date and check them at every call (the names of the genes are there, too),
# which takes as long as copying a small matrix: everything is read once.
outer_tables <- function(x) {
  columns <- SummarizedExperiment::colData(x)
  if (!methods::is(x, "RangedSummarizedExperiment")) {
    rows <- SummarizedExperiment::rowData(x)
    return(list(columns = columns, rows = rows, genes = names(x), cells = rownames(columns)))
  }
  ranges <- x@rowRanges
  if (without_ranges(ranges)) {
    rows <- ranges@elementMetadata
    return(list(columns = columns, rows = rows, genes = ranges@partitioning@NAMES, cells = rownames(columns)))
  }
  ranges <- SummarizedExperiment::rowRanges(x)
  rows <- S4Vectors::mcols(ranges)
  list(columns = columns, rows = rows, ranges = ranges, genes = names(ranges), cells = rownames(columns))
}

# What a SingleCellExperiment has unless coordinates were given
without_ranges <- function(ranges) {
  methods::is(ranges, "CompressedGRangesList") && !length(ranges@unlistData)
}

# What a SingleCellExperiment is when nothing has been said about it
plain_experiment <- SingleCellExperiment::SingleCellExperiment()

named_items <- function(names = character(0), items = list()) list(names = names, items = unname(items))

joined <- function(a, b) named_items(c(a$names, b$names), c(a$items, b$items))

# NULL, unless some list in it says something
said <- function(recipe) if (any(lengths(recipe) > 0L)) recipe

# The rules that are needed, by key
some_rules <- function(rules, keys) {
  names(rules) <- keys
  rules[!vapply(rules, is.null, NA)]
}

# --- assays

assays_part <- function(x, outer, label, book) {
  assays <- as.list(SummarizedExperiment::assays(x, withDimnames = FALSE))
  names <- SummarizedExperiment::assayNames(x)
  keys <- unique_keys(if (is.null(names)) rep("", length(assays)) else names)
  labels <- sprintf("%s$%s", label, keys)
  first <- match("X", keys, nomatch = 1L)
  if (!length(assays) || (!"X" %in% keys && has_python_layers_only(x))) first <- 0L
  parts <- Map(function(assay, label) assay_part(assay, outer, label, book), assays, labels)
  rules <- some_rules(lapply(parts, `[[`, "rule"), keys)
  plain <- identical(as.character(names), keys) && first %in% c(0L, 1L) && (first == 0L || identical(keys[[1L]], "X"))
  list(
    wire = named_items(keys, lapply(parts, `[[`, "node")), x = first - 1L,
    recipe = if (!plain || length(rules)) list(names = names, keys = keys, x = first, rules = rules)
  )
}

# Sparse and dense numbers are taken by their slots, with rules that follow from the class: comparing what came back
# would cost two more copies.
assay_part <- function(assay, outer, label, book) {
  rule <- NULL
  refuse_unknown_class(assay, label, book$call)
  if (methods::is(assay, "DelayedArray")) {
    rule <- list(delayed = class(assay))
    book$lost <- c(book$lost, sprintf("%s (%s): read into memory", label, class(assay)[[1L]]))
    inner <- dimnames(assay)
    assay <- realised(assay)
    if (!is.null(inner)) dimnames(assay) <- inner
  }
  node <- value_node(assay, label, book)
  if (node$kind == "opaque" || is.null(node$dim)) {
    book$lost <- c(book$lost, sprintf("%s (%s)", label, class(assay)[[1L]]))
    return(list(node = atomic_node(as.matrix(assay)), rule = NULL))
  }
  list(node = node, rule = c(rule, assay_rule(assay, node, outer)))
}

assay_rule <- function(assay, node, outer) {
  names <- dimnames(assay)
  names <- if (identical(names, outer) && !is.null(names[[1L]]) && !is.null(names[[2L]])) "outer" else names
  fast <- (methods::is(assay, "dgCMatrix") && !length(assay@factors)) ||
    (is.matrix(assay) && all(names(attributes(assay)) %in% c("dim", "dimnames")))
  if (!fast) {
    rule <- rule_of(assay, node)
    return(if (is.null(rule$original)) rule else list(original = assay))
  }
  unnamed <- is.null(names) || identical(names, list(NULL, NULL))
  sent <- if (is.character(assay)) "text" else typeof(assay)
  type <- if (is.matrix(assay) && !identical(node$kind, sent)) typeof(assay)
  rule <- list(names = if (!unnamed) names, type = type)
  rule <- rule[!vapply(rule, is.null, NA)]
  if (length(rule)) rule
}

realised <- function(assay) {
  if (length(dim(assay)) == 2L && DelayedArray::is_sparse(assay)) {
    return(methods::as(assay, "dgCMatrix"))
  }
  as.array(assay)
}

refuse_unknown_class <- function(x, label, call) {
  class <- class(x)
  home <- attr(class, "package")
  installed <- is.null(home) || home == ".GlobalEnv" || requireNamespace(home, quietly = TRUE)
  if (!isS4(x) || (installed && methods::isClass(class))) {
    return(invisible())
  }
  text <- sprintf(
    paste(
      "`x` must be readable by this R (%s); got a %s in %s, a class that it does not know%s. The object was saved by a",
      "newer Bioconductor: install that package, or save the object there again with an ordinary sparse matrix."
    ),
    getRversion(), class[[1L]], label, if (is.null(home)) "" else sprintf(" (package %s)", home)
  )
  abort_input(text, call)
}

# --- tables: columns with two dimensions are wide, and go into obsm or varm

# `wide_in_order`: where wide columns are told from the others without a recipe, as all of varm is rowData's
frame_part <- function(table, names, label, book, wide_in_order = FALSE) {
  keys <- renamed_columns(unique_keys(colnames(table)), to_python)
  nodes <- lapply(seq_along(keys), function(j) value_node(table[[j]], sprintf("%s$%s", label, keys[[j]]), book))
  rules <- some_rules(Map(rule_of, as.list(unname(columns_of(table))), nodes), keys)
  hidden <- vapply(nodes, function(node) node$kind == "opaque", NA)
  wide <- vapply(nodes, function(node) !is.null(node$dim) || node$kind == "frame", NA)
  ordered <- !any(hidden) && (!any(wide) || (wide_in_order && !is.unsorted(wide)))
  recipe <- list(
    names = if (!ordered || !identical(as.character(colnames(table)), renamed_columns(keys, to_r))) colnames(table),
    rules = rules, metadata = S4Vectors::metadata(table), about = S4Vectors::mcols(table)
  )
  if (length(recipe$names) || length(recipe$about)) recipe$keys <- keys
  if (any(hidden)) recipe$rows <- names
  if (any(wide) && !ordered) recipe$wide <- keys[wide]
  seen <- !hidden & !wide
  list(
    wire = named_items(keys[seen], nodes[seen]), wide = named_items(keys[wide], nodes[wide]), recipe = said(recipe)
  )
}

columns_of <- function(table) lapply(seq_len(ncol(table)), function(j) table[[j]])

# The one column whose name differs: what size factors are called
to_python <- c(sizeFactor = "size_factors")
to_r <- c(size_factors = "sizeFactor")

renamed_columns <- function(keys, names) {
  if (names(names) %in% keys && !names %in% keys) keys[keys == names(names)] <- unname(names)
  keys
}

# --- coordinates of the rows: readable in Python as a table in varm

ranges_part <- function(ranges, label, book) {
  if (is.null(ranges)) {
    return(list(wire = named_items(), recipe = NULL))
  }
  S4Vectors::mcols(ranges) <- NULL
  if (!identical(class(ranges)[[1L]], "GRanges")) {
    book$unreadable <- c(book$unreadable, sprintf("%s (%s)", label, class(ranges)[[1L]]))
    return(list(wire = named_items(), recipe = list(hidden = ranges)))
  }
  table <- data.frame(
    seqnames = as.factor(GenomicRanges::seqnames(ranges)), start = GenomicRanges::start(ranges),
    end = GenomicRanges::end(ranges), strand = as.factor(GenomicRanges::strand(ranges))
  )
  recipe <- list(seqinfo = GenomicRanges::seqinfo(ranges), metadata = S4Vectors::metadata(ranges))
  list(wire = named_items("rowRanges", list(frame_node(table, label, book))), recipe = recipe)
}

# --- metadata

metadata_part <- function(metadata, label, book) {
  names <- names(metadata)
  keys <- unique_keys(if (is.null(names)) rep("", length(metadata)) else names, taken = c("isthmus", "altExps"))
  labels <- sprintf("%s$%s", label, keys)
  nodes <- unname(Map(function(item, label) single_node(item, label, book), metadata, labels))
  rules <- some_rules(unname(Map(rule_of, metadata, nodes)), keys)
  seen <- !vapply(nodes, function(node) node$kind == "opaque", NA)
  told <- identical(names, keys) || !length(metadata)
  list(
    wire = named_items(keys[seen], nodes[seen]),
    recipe = if (!told || length(rules)) list(names = names, keys = keys, rules = rules)
  )
}

# --- what only a SingleCellExperiment has. Its accessors update and check the whole object at every call, which costs
# more than copying a matrix: the internal tables are read once instead.

inner_tables <- function(x) {
  columns <- SingleCellExperiment::int_colData(x)@listData
  rows <- SingleCellExperiment::int_elementMetadata(x)@listData
  others <- as.list(columns[["altExps"]])
  if (length(others)) others <- as.list(SingleCellExperiment::altExps(x, withDimnames = FALSE))
  list(
    reduced = as.list(columns[["reducedDims"]]), spatial = columns[["spatialCoords"]],
    col_pairs = if (ncol(columns[["colPairs"]])) as.list(SingleCellExperiment::colPairs(x)),
    row_pairs = if (ncol(rows[["rowPairs"]])) as.list(SingleCellExperiment::rowPairs(x)),
    others = others
  )
}

# Objects that an old Bioconductor saved have other tables.
up_to_date <- function(x) {
  old <- methods::is(x, "SingleCellExperiment") && !(
    all(c("reducedDims", "altExps", "colPairs") %in% colnames(SingleCellExperiment::int_colData(x))) &&
      "rowPairs" %in% colnames(SingleCellExperiment::int_elementMetadata(x))
  )
  if (old) BiocGenerics::updateObject(x) else x
}

inner_parts <- function(x, named, book, taken) {
  none <- named_items()
  if (!methods::is(x, "SingleCellExperiment")) {
    return(list(reduced = none, col_pairs = none, row_pairs = none, alternatives = none, recipe = list()))
  }
  tables <- inner_tables(x)
  reduced <- reduced_part(tables$reduced, tables$spatial, named("reducedDims"), book, taken)
  col_pairs <- pairs_part(tables$col_pairs)
  row_pairs <- pairs_part(tables$row_pairs)
  others <- tables$others
  other_keys <- unique_keys(names(others))
  other_wires <- Map(function(other, key) {
    experiment_wire(other, book, sprintf("%s$%s$", named("altExps"), key))
  }, others, other_keys)
  list(
    reduced = reduced$wire, col_pairs = col_pairs$wire, row_pairs = row_pairs$wire,
    alternatives = named_items(other_keys, other_wires),
    recipe = list(
      reduced = reduced$recipe, col_pairs = col_pairs$recipe, row_pairs = row_pairs$recipe,
      alternatives = if (!identical(as.character(names(others)), other_keys)) names(others),
      internal = internal_recipe(x, named(""), book)
    )
  )
}

reduced_part <- function(reduced, coordinates, label, book, taken) {
  names <- names(reduced)
  if (!length(reduced) && is.null(coordinates)) {
    return(list(wire = named_items(), recipe = NULL))
  }
  if (!is.null(coordinates)) reduced <- c(reduced, list(spatial = coordinates))
  keys <- unique_keys(names(reduced), taken)
  parts <- Map(function(value, key) reduced_node(value, sprintf("%s$%s", label, key), book), reduced, keys)
  nodes <- unname(lapply(parts, `[[`, "node"))
  recipe <- list(
    names = if (!identical(as.character(names(reduced)), keys)) names, keys = NULL,
    rules = some_rules(unname(lapply(parts, `[[`, "rule")), keys),
    spatial = if (!is.null(coordinates)) utils::tail(keys, 1L)
  )
  if (length(recipe$names)) recipe$keys <- keys
  list(wire = named_items(keys, nodes), recipe = said(recipe))
}

reduced_node <- function(value, label, book) {
  if (methods::is(value, "LinearEmbeddingMatrix")) {
    scores <- value@sampleFactors # its accessor would add dimnames
    node <- value_node(scores, label, book)
    return(list(node = node, rule = list(embedding = value, scores = rule_of(scores, node))))
  }
  node <- value_node(value, label, book)
  list(node = node, rule = rule_of(value, node))
}

# A pair is an edge; the graph crosses as a sparse matrix, from x to, with the numbers of the first column that has any.
pairs_part <- function(pairs) {
  if (!length(pairs)) {
    return(list(wire = named_items(), recipe = NULL))
  }
  keys <- unique_keys(names(pairs))
  nodes <- unname(lapply(pairs, pair_node))
  rules <- some_rules(unname(Map(pair_rule, pairs, nodes)), keys)
  renamed <- if (!identical(as.character(names(pairs)), keys)) list(names = names(pairs), keys = keys)
  list(wire = named_items(keys, nodes), recipe = said(c(renamed, list(rules = rules))))
}

pair_node <- function(hits) {
  values <- pair_values(hits)
  graph <- Matrix::sparseMatrix(
    i = S4Vectors::to(hits), j = S4Vectors::from(hits), x = if (is.null(values)) rep(TRUE, length(hits)) else values,
    dims = rep(S4Vectors::nnode(hits), 2L), repr = "C"
  )
  matrix_node(graph)
}

pair_values <- function(hits) {
  columns <- S4Vectors::mcols(hits)
  if (is.null(columns)) {
    return(NULL)
  }
  numeric <- vapply(columns_of(columns), function(column) is.numeric(column) || is.logical(column), NA)
  if (any(numeric)) columns[[which(numeric)[[1L]]]]
}

plain_pair <- function(node, column = "x") {
  graph <- from_sparse(node)
  from <- rep(seq_len(ncol(graph)), diff(graph@p))
  hits <- S4Vectors::SelfHits(from, graph@i + 1L, nnode = ncol(graph))
  S4Vectors::mcols(hits)[[column]] <- graph@x
  hits
}

pair_rule <- function(hits, node) {
  if (identical(plain_pair(node), hits)) {
    return(NULL)
  }
  column <- names(S4Vectors::mcols(hits))
  one <- length(column) == 1L && identical(plain_pair(node, column), hits)
  if (one) list(column = column) else list(original = hits)
}

# --- what has no place in an AnnData and is only kept

internal_recipe <- function(x, label, book) {
  metadata <- SingleCellExperiment::int_metadata(x)
  metadata$isthmus <- NULL
  known <- c("reducedDims", "altExps", "colPairs", "spatialCoords")
  columns <- other_columns(SingleCellExperiment::int_colData(x), known)
  rows <- other_columns(SingleCellExperiment::int_elementMetadata(x), "rowPairs")
  if (length(metadata$imgData)) book$unreadable <- c(book$unreadable, paste0(label, "imgData"))
  usual <- identical(metadata, SingleCellExperiment::int_metadata(plain_experiment))
  said(list(metadata = if (!usual) metadata, columns = columns, rows = rows))
}

other_columns <- function(table, known) {
  others <- setdiff(colnames(table), known)
  if (length(others)) table[others]
}

# Slots of classes that extend the known ones
extra_slots <- function(x, label, book) {
  known <- c("SingleCellExperiment", "RangedSummarizedExperiment", "SummarizedExperiment")
  known <- known[known %in% methods::is(x)][[1L]]
  names <- setdiff(methods::slotNames(x), methods::slotNames(known))
  if (!length(names)) {
    return(NULL)
  }
  book$unreadable <- c(book$unreadable, sprintf("%s@%s", label, names))
  list(base = known, values = stats::setNames(lapply(names, function(name) methods::slot(x, name)), names))
}

# What Python's own types were, for an experiment that came from an AnnData
python_recipe <- function(x) {
  if (methods::is(x, "SingleCellExperiment")) SingleCellExperiment::int_metadata(x)$isthmus
}

has_python_layers_only <- function(x) isTRUE(python_recipe(x)$layers_only)
