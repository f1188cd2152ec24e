# Cells in space in every form, cells by name, and what R does with a fit.

# Small networks and few epochs: what is learned is the engine's matter, and tested there.
fit_tissue <- function(data, ..., n_neighbors = 5, folds = 2, max_epochs = 2, head_size = 4, n_heads = 2) {
  suppressMessages(fit_interactions(
    data, ...,
    n_neighbors = n_neighbors, folds = folds, max_epochs = max_epochs, head_size = head_size, n_heads = n_heads,
    progress = FALSE
  ))
}

# 240 cells x 12 genes, three types, two samples that overlap, no random numbers of R's
small_tissue <- function(n = 240L) {
  k <- seq_len(n)
  values <- matrix(((seq_len(12L * n) * 7919L) %% 101L) / 50, 12L)
  dimnames(values) <- list(paste0("g", 1:12), paste0("c", k))
  sce <- SingleCellExperiment::SingleCellExperiment(
    list(logcounts = values),
    colData = S4Vectors::DataFrame(
      type = c("A", "B", "C")[(k * 37L) %% 3L + 1L], section = rep(c("s1", "s2"), each = n / 2),
      x = (k * 61) %% 97, y = (k * 89) %% 101, depth = (k %% 7) / 7, row.names = paste0("c", k)
    )
  )
  SingleCellExperiment::reducedDim(sce, "spatial") <- cbind(x = sce$x, y = sce$y)
  sce
}

fit_small_tissue <- function(data = small_tissue(), ...) fit_tissue(data, "type", assay = "logcounts", ...)

weights_of <- function(fit) fit$state[grepl("^weight_|^neighbors$|^distance$", names(fit$state))]

test_that("neighbours are those of the file, by name", {
  skip_if_no_engine("torch")
  file <- contract("interactions.json")
  expression <- t(do.call(rbind, lapply(file$expression, unlist)))
  dimnames(expression) <- list(unlist(file$genes), unlist(file$cells))
  fit <- fit_tissue(
    expression, unlist(file$types),
    coordinates = do.call(rbind, lapply(file$places, unlist)), sample = unlist(file$samples),
    n_neighbors = file$n_neighbors, folds = 1, max_epochs = 1
  )
  table <- attention(fit)
  table <- table[table$head == "1", ]
  expect_identical(table$cell, vapply(file$neighbors, `[[`, "", 1L))
  expect_identical(table$neighbor, vapply(file$neighbors, `[[`, "", 2L))
  expect_equal(table$distance, vapply(file$neighbors, `[[`, 0, 3L), tolerance = 1e-6) # float32
  expect_identical(unique(explained_variance(fit, null = "none")$set), "train")
})

test_that("places, labels, samples and covariates mean the same in every form", {
  skip_if_no_engine("torch")
  sce <- small_tissue()
  reference <- weights_of(fit_small_tissue(sce, sample = "section", covariates = "depth"))
  cells <- colnames(sce)
  turned <- rev(seq_len(ncol(sce)))
  places <- SingleCellExperiment::reducedDim(sce, "spatial")
  SingleCellExperiment::reducedDim(sce, "xy") <- places
  other <- function(...) weights_of(fit_tissue(sce, ..., assay = "logcounts"))
  expect_identical(other("type", coordinates = c("x", "y"), sample = "section", covariates = "depth"), reference)
  expect_identical(other("type", coordinates = "xy", sample = sce$section, covariates = "depth"), reference)
  expect_identical(
    other(
      factor(sce$type),
      coordinates = data.frame(places)[turned, ], sample = stats::setNames(sce$section, cells)[turned],
      covariates = data.frame(depth = sce$depth, row.names = cells)[turned, , drop = FALSE]
    ),
    reference
  )
  sparse <- methods::as(SummarizedExperiment::assay(sce), "dgCMatrix")
  depth <- data.frame(d = sce$depth)
  bare <- fit_tissue(sparse, sce$type, coordinates = places, sample = sce$section, covariates = depth)
  expect_identical(weights_of(bare), reference)
  integer_types <- fit_tissue(sparse, match(sce$type, c("A", "B", "C")), coordinates = places)
  expect_identical(integer_types$facts$types$type, c("1", "2", "3"))
})

test_that("a SpatialExperiment brings its places and its samples", {
  skip_if_no_engine("torch")
  sce <- small_tissue()
  places <- SingleCellExperiment::reducedDim(sce, "spatial")
  reference <- weights_of(fit_small_tissue(sce, sample = "section"))
  if (requireNamespace("SpatialExperiment", quietly = TRUE)) {
    spe <- SpatialExperiment::SpatialExperiment(
      SummarizedExperiment::assays(sce),
      colData = SummarizedExperiment::colData(sce), sample_id = sce$section, spatialCoords = places
    )
  } else {
    # Its class is a SingleCellExperiment that keeps places in int_colData: the same, where the package is missing.
    methods::setClass("SpatialExperiment", contains = "SingleCellExperiment", where = environment())
    SingleCellExperiment::reducedDims(sce) <- NULL
    sce$sample_id <- sce$section
    SingleCellExperiment::int_colData(sce)$spatialCoords <- places
    spe <- methods::as(sce, "SpatialExperiment")
  }
  expect_message(
    fit <- fit_interactions(
      spe, "type",
      assay = "logcounts", n_neighbors = 5, folds = 2, max_epochs = 2, head_size = 4, n_heads = 2, progress = FALSE
    ),
    "using the column 'sample_id'"
  )
  expect_identical(weights_of(fit), reference)
})

test_that("an AnnData that reticulate holds is read as it is", {
  skip_if_no_engine("torch")
  simulate <- reticulate::import("isthmus.testing", convert = FALSE)$simulate_interactions
  adata <- simulate(200L, 10L, seed = 1L)
  fit <- fit_tissue(adata, "cell_type")
  expect_identical(dim(predict(fit)), c(10L, 200L))
  sce <- simulate_interactions(200, 10, seed = 1)
  expect_equal(predict(fit_tissue(sce, "cell_type", assay = "logcounts")), predict(fit), tolerance = 1e-6)
})

test_that("tables have the columns of the file, and come from their functions", {
  skip_if_no_engine("torch")
  columns <- lapply(contract("interactions.json")$columns, unlist)
  fit <- fit_small_tissue()
  results <- list(
    explained_variance = explained_variance(fit, null = "none"),
    explained_variance_genes = explained_variance(fit, by = "gene", null = "none"),
    neighbor_effects = neighbor_effects(fit, null = "within_type", n_permutations = 19),
    attention = attention(fit, top = 1), attention_by_distance = attention_by_distance(fit, n_bins = 3),
    length_scales = length_scales(fit, n_boot = 0), communication_hubs = communication_hubs(fit, n_hubs = 2),
    contributions = contributions(fit, sender = "B", gene = "g3"), heads = as.data.frame(fit, table = "heads"),
    history = as.data.frame(fit, table = "history")
  )
  results$interaction_matrix <- interaction_matrix(results$neighbor_effects, fdr = 0.9)
  for (name in names(columns)) expect_named(as.data.frame(results[[name]]), columns[[name]], info = name)
  expect_true(all(results$contributions$cell == colnames(small_tissue())))
  expect_true(all(results$attention$neighbor %in% colnames(small_tissue())))
  counted <- subset(as.data.frame(results$neighbor_effects), padj < 0.9 & !is.na(gene))
  expect_identical(sum(results$interaction_matrix$n_genes), nrow(counted))
  expect_identical(
    results$interaction_matrix$n_up + results$interaction_matrix$n_down, results$interaction_matrix$n_genes
  )
  expect_identical(as.data.frame(fit, table = "attention"), as.data.frame(attention(fit)))
  expect_identical(nrow(attention(fit, flavor = "gene", gene = "g1", top = 1)), 2L * ncol(small_tissue()))
  at <- counterfactual_attention(fit, c(0, 50))
  expect_true(all(at$weight[at$distance == 0] >= at$weight[at$distance == 50]))
  expect_true(all(at$lower <= at$weight & at$weight <= at$upper))
})

test_that("units are donors, given for samples or for cells", {
  skip_if_no_engine("torch")
  sce <- simulate_interactions(480, 8, n_samples = 8, seed = 2)
  fit <- fit_tissue(sce, "cell_type", sample = "sample", assay = "logcounts")
  donor <- stats::setNames(rep(c("d1", "d2", "d3", "d4", "d5", "d6", "d7", "d7")), paste0("sample", 1:8))
  by_sample <- explained_variance(fit, unit = donor, n_permutations = 99)
  of_cells <- unname(donor[as.character(sce$sample)])
  expect_identical(explained_variance(fit, unit = of_cells, n_permutations = 99), by_sample)
  expect_identical(explained_variance(fit, unit = as.list(donor), n_permutations = 99), by_sample)
  condition <- stats::setNames(rep(c("healthy", "ill"), each = 4), paste0("sample", 1:8))
  compared <- compare_interactions(fit, condition)
  expect_identical(unique(compared$group), "ill")
  expect_identical(unique(compared$reference), "healthy")
  # donors d1 to d4 against d5, d6, d7
  expect_identical(unique(compare_interactions(fit, condition, donor)$n_reference[2:3]), 4L)
  expect_identical(unique(compare_interactions(fit, condition, donor)$n_units[2:3]), 3L)
  expect_input_error(compare_interactions(fit), "`group` must say which condition each sample has")
  expect_input_error(compare_interactions(fit, condition[-1]), "`group` must name a label for every sample")
})

test_that("a fit is plain R and survives saveRDS, folders and a lost engine", {
  skip_if_no_engine("torch")
  fit <- fit_small_tissue()
  file <- tempfile(fileext = ".rds")
  saveRDS(fit, file)
  again <- readRDS(file)
  again$id <- "a fit that this session has not seen"
  expect_identical(predict(again), predict(fit))
  tested <- function(x) explained_variance(x, null = "within_type", n_permutations = 49)
  expect_identical(tested(again), tested(fit))
  expect_false(anyNA(tested(fit)$pval[tested(fit)$head == "all"]))
  path <- file.path(new_folder(), "fit")
  save_fit(fit, path)
  loaded <- load_fit(path)
  expect_s3_class(loaded, c("isthmus_interactions", "isthmus_fit"), exact = TRUE)
  expect_identical(weights_of(loaded), weights_of(fit))
  expect_identical(nobs(loaded), 240L)
})

test_that("predictions are genes x cells and each cell's own", {
  skip_if_no_engine("torch")
  sce <- small_tissue()
  fit <- fit_small_tissue(sce)
  expect_identical(dimnames(predict(fit)), dimnames(SummarizedExperiment::assay(sce)))
  # all neighbours together add what lies between the two predictions
  added <- contributions(fit, sender = "all", gene = "g5")
  between <- (predict(fit) - predict(fit, neighbors = FALSE))["g5", ]
  expect_equal(added$contribution, unname(between), tolerance = 1e-3)
  expect_equal(added$x, sce$x)
  turned <- fit_small_tissue(sce[, rev(seq_len(ncol(sce)))])
  expect_identical(colnames(predict(turned)), rev(colnames(sce)))
})

test_that("networks move to other cells", {
  skip_if_no_engine("torch")
  sce <- small_tissue()
  first <- sce$section == "s1"
  fit <- fit_small_tissue(sce[, first])
  moved <- suppressMessages(transfer(fit, sce[, !first], "type", assay = "logcounts"))
  expect_s3_class(moved, "isthmus_interactions")
  expect_identical(colnames(predict(moved)), colnames(sce)[!first])
  expect_false(identical(moved$id, fit$id))
  sce$type[[200]] <- "D"
  expect_input_error(transfer(fit, sce[, !first], "type", assay = "logcounts"), "labels")
})

test_that("results go to the user's own object by name", {
  skip_if_no_engine("torch")
  sce <- small_tissue()
  fit <- fit_small_tissue(sce)
  turned <- sce[, rev(seq_len(ncol(sce)))]
  more <- add_results(turned, fit)
  table <- contributions(fit)
  own <- table[table$sender == "B", ]
  expect_identical(more$isthmus_contribution_B, own$contribution[match(colnames(turned), own$cell)])
  expect_identical(
    setdiff(names(SummarizedExperiment::colData(more)), names(SummarizedExperiment::colData(sce))),
    paste0("isthmus_contribution_", c("all", "A", "B", "C"))
  )
  genes <- explained_variance(fit, by = "gene", n_permutations = 19)
  rows <- SummarizedExperiment::rowData(add_results(sce[12:1, ], genes, "iv_"))
  all_heads <- genes[genes$receiver == "C" & genes$head == "all", ]
  expect_identical(rows$iv_r2_C, all_heads$r2[match(rownames(rows), all_heads$gene)])
  others <- sce
  colnames(others) <- paste0("other", seq_len(ncol(sce)))
  expect_input_error(add_results(others, fit), "`x` must have the cells of the fit; got 'other1'")
})

test_that("print() and summary() say what was fitted", {
  skip_if_no_engine("torch")
  fit <- fit_small_tissue(sample = "section")
  expect_snapshot(print(fit))
  expect_output(print(summary(fit)), "Neighbour cross-attention of 240 cells x 12 genes, 3 types, 2 samples")
})

test_that("plots show the numbers of their tables", {
  skip_if_no_engine("torch")
  skip_if_not_installed("ggplot2")
  fit <- fit_small_tissue()
  bars <- explained_variance(fit, n_permutations = 19)
  built <- ggplot2::ggplot_build(plot(bars, heads = c("all", "1")))
  expect_setequal(signif(built$data[[1L]]$y, 6), signif(bars$r2[bars$head %in% c("all", "1")], 6))
  genes <- plot(explained_variance(fit, by = "gene", null = "none"), receiver = "B", n_genes = 4)
  expect_identical(nlevels(genes$data$gene), 4L)
  expect_setequal(as.character(genes$data$receiver), "B")
  matrix <- structure(
    data.frame(receiver = c("A", "B", "C"), sender = c("B", "A", "C"), n_genes = c(12L, 0L, 3L)),
    class = c("isthmus_interaction_matrix", "data.frame")
  )
  expect_setequal(ggplot2::ggplot_build(plot(matrix))$data[[2L]]$label, matrix$n_genes)
  graph <- ggplot2::ggplot_build(plot(matrix, type = "graph"))
  expect_identical(vapply(graph$data[1:2], nrow, 0L), c(1L, 1L)) # an arrow and a ring
  curve <- plot(attention_by_distance(fit, n_bins = 3), receiver = "A", heads = "all")
  expect_setequal(as.character(curve$data$sender), c("B", "C"))
  expect_identical(nrow(plot(counterfactual_attention(fit, c(0, 5)), receiver = "A", heads = "1")$data), 4L)
  scales <- length_scales(fit, threshold = 0.01, n_boot = 0)
  expect_identical(nrow(plot(scales)$data), sum(!is.na(scales$median)))
  places <- plot(fit, type = "contributions", gene = "g2", sender = "B")
  expect_identical(nrow(places$data), 240L)
  expect_identical(places$labels$title, "g2")
  expect_input_error(plot(fit, "graph"), "`y` is not used")
  expect_input_error(plot(fit, type = "circos"), "`type` must be one of 'explained_variance', 'genes'")
  expect_input_error(plot(bars[bars$head == "all", ], type = 3), "`type` is not an argument here")
})

test_that("mistakes have their sentences", {
  skip_if_no_engine("torch")
  sce <- small_tissue()
  fails <- function(...) expect_snapshot(error = TRUE, fit_interactions(sce, ..., assay = "logcounts"))
  fails()
  fails("typ")
  fails(c("A", "B"))
  fails("type", coordinates = "umap")
  fails("type", coordinates = c("x", "type"))
  fails("type", coordinates = matrix(1, 3, 2))
  fails("type", covariates = 1)
  fails("type", neighbour_dropout = 0.2)
  fails("type", n_neighbors = 2.5)
  fails("type", n_heads = NA)
  missing <- sce
  missing$type[2:3] <- NA
  expect_snapshot(error = TRUE, fit_interactions(missing, "type", assay = "logcounts"))
  twice <- sce
  colnames(twice)[2] <- "c1"
  expect_snapshot(error = TRUE, fit_interactions(twice, "type", assay = "logcounts"))
  expect_snapshot(error = TRUE, explained_variance(list()))
  fit <- fit_small_tissue(sce)
  expect_snapshot(error = TRUE, explained_variance(fit, null = "spatial"))
  expect_snapshot(error = TRUE, contributions(fit, gene = "g99"))
  expect_snapshot(error = TRUE, counterfactual_attention(fit))
  expect_snapshot(error = TRUE, as.data.frame(fit, table = "edges"))
  expect_snapshot(error = TRUE, recovery(fit, 3))
})

test_that("simulated tissues hold their truth, and R's random numbers stay", {
  skip_if_no_engine("torch")
  planted <- data.frame(sender = "B", receiver = "C", kind = "gradient", radius = 20, n_genes = 4)
  set.seed(5)
  before <- .Random.seed
  sce <- simulate_interactions(120, 10, interactions = planted, n_samples = 2, seed = 3)
  expect_identical(.Random.seed, before)
  truth <- S4Vectors::metadata(sce)$truth
  expect_identical(truth$receiver, rep("C", 4))
  expect_identical(truth$gene, rownames(sce)[SummarizedExperiment::rowData(sce)$planted])
  expect_identical(levels(sce$sample), c("sample1", "sample2"))
  expect_identical(dim(SingleCellExperiment::reducedDim(sce, "spatial")), c(120L, 2L))
  none <- simulate_interactions(50, 10, interactions = list(), seed = 3)
  expect_identical(nrow(S4Vectors::metadata(none)$truth), 0L)
  set.seed(9)
  first <- simulate_interactions(50, 5)
  set.seed(9)
  expect_identical(SummarizedExperiment::assay(simulate_interactions(50, 5)), SummarizedExperiment::assay(first))
  fit <- fit_tissue(sce, "cell_type", sample = "sample", assay = "logcounts")
  found <- recovery(fit, sce)
  expect_identical(found$n_planted[found$receiver == "C" & found$sender == "B"], 4L)
  expect_identical(recovery(fit, truth), found)
})

test_that("torch uses its own linear algebra inside R", {
  skip_if_no_engine("torch")
  # R's reference BLAS, to which libtorch's sgemm_ is bound without care, is slower than numpy's by a factor of 20
  code <- paste(
    "library(isthmus)",
    "sce <- simulate_interactions(60, 4, seed = 1)",
    "fit <- fit_interactions(sce, 'cell_type', n_neighbors = 3, folds = 1, max_epochs = 1)",
    "reticulate::py_run_string('",
    "import time, numpy, torch",
    "torch.set_num_threads(1)",
    "x = numpy.ones((700, 700), numpy.float32); y = torch.from_numpy(x)",
    "def seconds(z):",
    "    z @ z",
    "    start = time.process_time()",
    "    for i in range(5): z @ z",
    "    return time.process_time() - start",
    "ratio = seconds(y) / max(seconds(x), 1e-3)",
    "')",
    "cat('ratio', reticulate::py$ratio, '\\n')",
    sep = "\n"
  )
  variables <- c(
    paste0("RETICULATE_PYTHON=", reticulate::py_config()$python), "OMP_NUM_THREADS=1", "OPENBLAS_NUM_THREADS=1"
  )
  said <- run_r(code, variables)
  ratio <- as.numeric(sub("ratio ", "", grep("^ratio", said, value = TRUE)))
  expect_lt(ratio, 6)
})

test_that("size factors leave out the genes that vary within types", {
  skip_if_no_engine()
  tissue <- simulate_interactions(800, 60, seed = 1)
  expect_message(sizes <- stable_size_factors(tissue, labels = "cell_type"), "left out of the size factors")
  expect_identical(names(sizes), colnames(tissue))
  expect_null(dim(sizes))
  expect_equal(mean(sizes), 1)
  same <- suppressMessages(stable_size_factors(SummarizedExperiment::assay(tissue), labels = tissue$cell_type))
  expect_identical(unname(same), unname(sizes))
  expect_error(stable_size_factors(tissue), "`labels` must be a column", class = "isthmus_input_error")
  expect_error(
    stable_size_factors(tissue, labels = "nope"), "`labels` must be a column of the cells' data",
    class = "isthmus_input_error"
  )
})
