# Corrections of ambient RNA in every form, the numbers that Python gives too, and what R does with a fit.

quiet_fit <- function(...) suppressMessages(remove_ambient(...))
quiet_profile <- function(...) suppressMessages(ambient_profile(...))
droplet_sample <- function(...) simulate_ambient(n_cells = 200L, n_genes = 200L, n_empty = 1000L, ..., seed = 1L)
marker_sets <- function(cells) split(rownames(cells), SummarizedExperiment::rowData(cells)$marker)[c("type1", "type2")]
counts_of <- function(x) SummarizedExperiment::assay(x, "counts")

# The droplets of the file, genes x droplets; the cells come first.
contract_droplets <- function(file) {
  counts <- vapply(file$droplets, function(row) {
    column <- double(file$n_genes)
    column[unlist(row[[1L]]) + 1L] <- unlist(row[[2L]])
    column
  }, double(file$n_genes))
  dimnames(counts) <- list(paste0("gene", seq_len(nrow(counts))), paste0("d", seq_len(ncol(counts))))
  counts
}

test_that("profile and fits reach the numbers of the file", {
  skip_if_no_engine()
  file <- contract("ambient.json")
  droplets <- contract_droplets(file)
  cells <- droplets[, seq_len(file$n_cells)]
  profile <- quiet_profile(cells, droplets)
  expect_equal(profile$prob, unlist(file$profile$prob), tolerance = 1e-10)
  expect_true(all(profile$n_empty == file$profile$n_empty))
  for (name in names(file$fits)) {
    model <- file$fits[[name]]
    options <- model$options
    if (!is.null(options$labels)) options$labels <- unlist(file$type)
    if (!is.null(options$markers)) options$markers <- lapply(file$markers, unlist)
    fit <- do.call(quiet_fit, c(list(cells, droplets = droplets), options))
    table <- as.data.frame(fit)
    expect_equal(table$rho, unlist(model$rho), tolerance = 1e-3, info = name)
    expect_equal(table$rho_se, unlist(model$rho_se), tolerance = 1e-3, info = name)
    expect_equal(table$ambient_umi, unlist(model$ambient_umi), tolerance = 1e-3, info = name)
    expect_lte(max(abs(table$denoised_umi - unlist(model$denoised_umi))), 2)
    expect_equal(as.data.frame(fit, table = "genes")$removed, unlist(model$removed), tolerance = 1e-3, info = name)
    expect_equal(as.data.frame(fit, table = "levels")$level, unlist(model$level), tolerance = 1e-3, info = name)
    history <- as.data.frame(fit, table = "history")
    expect_equal(history$log_likelihood[nrow(history)], model$log_likelihood, tolerance = 1e-6, info = name)
  }
})

test_that("a fit splits counts and finds the shares", {
  skip_if_no_engine()
  s <- droplet_sample()
  fit <- quiet_fit(s$cells, droplets = s$droplets)
  observed <- counts_of(s$cells)
  expect_s4_class(fit$denoised, "dgCMatrix")
  expect_s4_class(fit$denoised_mean, "dgCMatrix")
  expect_identical(dimnames(fit$denoised), dimnames(observed))
  expect_true(all(fit$denoised@x == round(fit$denoised@x)))
  expect_gte(min(observed - fit$denoised), 0)
  expect_gte(min(observed - fit$denoised_mean), -1e-4)
  cells <- as.data.frame(fit)
  expect_named(
    cells, c("cell", "batch", "rho", "rho_se", "observed_umi", "ambient_umi", "denoised_umi", "flag")
  )
  expect_gt(cor(cells$rho, s$cells$rho), 0.85)
  expect_gt(mean(abs(cells$rho - s$cells$rho) < 1.96 * cells$rho_se), 0.88)
  expect_equal(cells$denoised_umi, unname(Matrix::colSums(fit$denoised)))
  expect_equal(cells$ambient_umi, unname(Matrix::colSums(observed - fit$denoised_mean)), tolerance = 1e-4)
  expect_equal(unname(colSums(coef(fit))), rep(1, ncol(coef(fit))))
  levels <- as.data.frame(fit, table = "levels")
  expect_identical(levels$cluster, colnames(coef(fit)))
  expect_gte(min(levels$n_anchors), 20L)
  expect_identical(quiet_fit(s$cells, droplets = s$droplets)$denoised, fit$denoised)
  expect_false(identical(quiet_fit(s$cells, droplets = s$droplets, seed = 2)$denoised, fit$denoised))
  expect_output(print(fit), "Ambient RNA removed from 200 genes x 200 cells \\(method \"em\"\\)")
  expect_output(print(summary(fit)), "profile   from droplets; batches: all")
})

test_that("R's random numbers stay as they were", {
  skip_if_no_engine()
  s <- droplet_sample()
  set.seed(3)
  before <- .Random.seed
  quiet_fit(s$cells, droplets = s$droplets)
  expect_identical(.Random.seed, before)
})

test_that("a fit survives save_fit(), saveRDS() and another session", {
  skip_if_no_engine()
  s <- droplet_sample(n_batches = 2L)
  fit <- quiet_fit(s$cells, droplets = s$droplets, labels = "type", batch = "batch")
  path <- tempfile()
  save_fit(fit, path)
  again <- load_fit(path)
  expect_identical(again[c("id", "state", "facts", "denoised", "denoised_mean")], unclass(fit)[
    c("id", "state", "facts", "denoised", "denoised_mean")
  ])
  expect_identical(again$call, fit$call)
  file <- tempfile(fileext = ".rds")
  saveRDS(fit, file)
  restored <- readRDS(file)
  restored$id <- "of another session" # so that the engine's object is rebuilt from the state
  for (table in c("cells", "genes", "profile", "history", "levels")) {
    expect_identical(as.data.frame(restored, table = table), as.data.frame(fit, table = table))
    expect_identical(as.data.frame(again, table = table), as.data.frame(fit, table = table))
  }
  one <- quiet_fit(s$cells, droplets = s$droplets, n_clusters = 1) # one cluster: dimensions of one must survive
  one$id <- "another"
  expect_equal(dim(coef(one)), c(200L, 1L))
  expect_identical(nrow(as.data.frame(one, table = "levels")), 1L)
})

test_that("every form of counts gives the same", {
  skip_if_no_engine()
  s <- droplet_sample()
  raw <- counts_of(s$droplets)
  expected <- quiet_fit(s$cells, droplets = s$droplets, labels = "type")
  type <- s$cells$type
  matrix <- counts_of(s$cells)
  forms <- list(
    sparse = matrix, dense = as.matrix(matrix), rows = methods::as(matrix, "RsparseMatrix"),
    frame = as.data.frame(as.matrix(matrix)), delayed = DelayedArray::DelayedArray(matrix)
  )
  for (name in names(forms)) {
    fit <- quiet_fit(forms[[name]], droplets = raw, labels = factor(type))
    expect_equal(fit$denoised, expected$denoised, info = name)
  }
  anndata <- reticulate::import("anndata")
  pandas <- reticulate::import("pandas", convert = FALSE)
  held <- anndata$AnnData(
    X = t(as.matrix(matrix)),
    obs = pandas$DataFrame(list(type = type), index = as.list(colnames(matrix))),
    var = pandas$DataFrame(list(soup = quiet_profile(s$cells, s$droplets)$prob), index = as.list(rownames(matrix)))
  )
  expect_equal(quiet_fit(held, droplets = raw, labels = "type")$denoised, expected$denoised)
  expect_equal(as.data.frame(quiet_fit(held, profile = "soup", rho = 0.1), table = "profile")$prob,
    as.data.frame(expected, table = "profile")$prob
  )
})

test_that("genes are found by name", {
  skip_if_no_engine()
  s <- droplet_sample()
  turned <- s$droplets[200:1, ]
  expect_equal(quiet_profile(s$cells, turned), quiet_profile(s$cells, s$droplets))
  suppressMessages(expect_message(
    ambient_profile(s$cells, s$droplets[-(1:2), ]), "lacks 2 genes of `cells` ('gene1', 'gene2')", fixed = TRUE
  ))
})

test_that("each batch has its own profile; add_results() has a column for each", {
  skip_if_no_engine()
  s <- droplet_sample(n_batches = 2L)
  profile <- quiet_profile(s$cells, s$droplets, batch = "batch")
  expect_identical(profile, quiet_profile(
    s$cells, s$droplets, batch = list(cells = s$cells$batch, droplets = s$droplets$batch)
  ))
  expect_setequal(profile$batch, c("batch1", "batch2"))
  expect_equal(unname(tapply(profile$prob, profile$batch, sum)), c(1, 1), ignore_attr = TRUE)
  truth <- SummarizedExperiment::rowData(s$cells)$ambient
  for (k in 1:2) {
    own <- profile[profile$batch == paste0("batch", k), ]
    expect_lt(sum(abs(own$prob - truth[, k])), sum(abs(own$prob - truth[, 3L - k])))
  }
  fit <- quiet_fit(s$cells, droplets = s$droplets, batch = "batch", labels = "type")
  given <- quiet_fit(s$cells, profile = profile, batch = s$cells$batch, labels = "type")
  expect_equal(as.data.frame(given)$rho, as.data.frame(fit)$rho)
  sce <- add_results(s$cells, fit)
  expect_true(all(
    c("ambient_prob_batch1", "ambient_prob_batch2", "ambient_share") %in% names(SummarizedExperiment::rowData(sce))
  ))
})

test_that("add_results() attaches assays and columns by name", {
  skip_if_no_engine()
  s <- droplet_sample()
  fit <- quiet_fit(s$cells, droplets = s$droplets, labels = "type")
  part <- add_results(s$cells[10:1, 20:5], fit)
  expect_identical(SummarizedExperiment::assay(part, "denoised"), fit$denoised[10:1, 20:5])
  expect_identical(SummarizedExperiment::assay(part, "denoised_mean"), fit$denoised_mean[10:1, 20:5])
  expect_identical(counts_of(part), counts_of(s$cells)[10:1, 20:5])
  expect_identical(part$ambient_rho, as.data.frame(fit)$rho[20:5])
  expect_identical(part$type, s$cells$type[20:5])
  kept <- S4Vectors::metadata(part)$ambient
  expect_identical(kept$history, as.data.frame(fit, table = "history"))
  expect_identical(kept$method, "em")
  expect_true("x_rho" %in% names(SummarizedExperiment::colData(add_results(s$cells, fit, prefix = "x_"))))
  other <- s$cells
  colnames(other) <- paste0("x", seq_len(200L))
  expect_input_error(add_results(other, fit), "`x` must have cells of the fit; got 'x1', 'x2', 'x3'")
  expect_input_error(add_results(s$cells, fit, prefix = 3), "`prefix` must be one text; got 3")
})

test_that("the profile that was given is the one that is used", {
  skip_if_no_engine()
  s <- droplet_sample()
  profile <- quiet_profile(s$cells, s$droplets)
  named <- stats::setNames(profile$prob, profile$gene)
  sce <- s$cells
  SummarizedExperiment::rowData(sce)$soup <- profile$prob
  forms <- list(profile, S4Vectors::DataFrame(profile), profile[200:1, ], rev(named) * 3, unname(named), "soup")
  for (form in forms) {
    fit <- quiet_fit(sce, profile = form, labels = "type", rho = 0.1)
    expect_equal(as.data.frame(fit, table = "profile")$prob, profile$prob)
  }
  multinomial <- quiet_profile(s$cells, s$droplets, rule = "multinomial", prob = 0.6)
  expect_lt(multinomial$n_empty[[1L]], 1001)
  expect_lt(sum(abs(multinomial$prob - profile$prob)), 0.1)
  low <- quiet_profile(s$cells, s$droplets, lower = 50)
  expect_lte(attr(low, "empties")$max_umi, 50)
  expect_gt(quiet_profile(s$cells, s$droplets, exclude_cells = FALSE, lower = 1e6)$n_empty[[1L]], 1100)
})

test_that("markers, rho and fpr do what they say", {
  skip_if_no_engine()
  s <- droplet_sample()
  truth <- s$cells$rho
  marked <- quiet_fit(s$cells, droplets = s$droplets, labels = "type", markers = marker_sets(s$cells))
  expect_lt(mean(abs(as.data.frame(marked)$rho - truth)), 0.03)
  score <- marker_exclusivity(marked, s$cells, marker_sets(s$cells))
  expect_identical(score$set, c("type1", "type2"))
  expect_identical(score$cluster, score$set)
  expect_true(all(score$denoised < 0.2 * score$observed))
  removed <- function(...) {
    fit <- quiet_fit(s$cells, droplets = s$droplets, labels = "type", ...)
    sum(as.data.frame(fit)$ambient_umi) / sum(counts_of(s$cells))
  }
  expect_equal(removed(rho = 0.2), 0.2, tolerance = 0.15)
  each <- quiet_fit(s$cells, droplets = s$droplets, labels = "type", rho = truth)
  expect_equal(as.data.frame(each)$rho, truth)
  by_name <- quiet_fit(s$cells, droplets = s$droplets, labels = "type", rho = "rho")
  expect_identical(by_name$denoised, each$denoised)
  expect_gt(removed(fpr = 0.05), removed(fpr = 0.005))
})

test_that("sensitivity() says how much hangs on the profile", {
  skip_if_no_engine()
  s <- droplet_sample()
  fit <- quiet_fit(s$cells, droplets = s$droplets, labels = "type")
  spread <- sensitivity(fit, s$cells, n = 3)
  expect_named(spread, c("cell", "rho", "rho_sd", "removed", "removed_sd"))
  expect_identical(spread$rho, as.data.frame(fit)$rho)
  expect_lt(median(spread$rho_sd), 0.02)
  expect_gt(min(spread$rho_sd), 0)
  expect_identical(sensitivity(fit, s$cells, n = 3), spread)
  level <- quiet_fit(s$cells, droplets = s$droplets, labels = "type", rho = 0.1)
  expect_input_error(sensitivity(level, s$cells), "`rho` fixed the level of the fit")
  expect_lt(median(sensitivity(level, s$cells, n = 2, rho = 0.1)$rho_sd), median(spread$rho_sd) + 1e-3)
})

test_that("plots show the rows of the tables", {
  skip_if_no_engine()
  s <- droplet_sample(n_batches = 2L)
  profile <- quiet_profile(s$cells, s$droplets, batch = "batch")
  fit <- quiet_fit(s$cells, profile = profile, labels = "type", batch = "batch")
  expect_equal(nrow(plot(fit)$data), 200L)
  native <- plot(fit, type = "native", cluster = "type2")
  expect_identical(native$labels$title, "type2")
  seen <- native$data$gene[native$data$native > 2 * min(native$data$native)]
  expect_true(all(coef(fit)[seen, "type2"] > 0))
  expect_equal(nrow(plot(fit, type = "genes", n = 7)$data), 7L)
  genes <- as.data.frame(fit, table = "genes")
  most <- sort(tapply(genes$removed, genes$gene, sum), decreasing = TRUE)
  expect_identical(rev(levels(plot(fit, type = "genes", n = 7)$data$gene))[1:3], names(most)[1:3])
  expect_equal(plot(fit, type = "loss")$data, as.data.frame(fit, table = "history"))
  knee <- plot(profile, s$droplets)
  expect_identical(knee$layers[[1L]]$data$n_empty, attr(profile, "empties")$n_empty)
  expect_equal(max(knee$layers[[2L]]$data$umi), max(Matrix::colSums(counts_of(s$droplets))))
  for (type in c("rho", "native", "genes", "loss")) {
    expect_s3_class(ggplot2::ggplot_build(plot(fit, type = type)), "ggplot_built")
  }
  expect_s3_class(ggplot2::ggplot_build(knee), "ggplot_built")
  expect_input_error(plot(fit, type = "knee"), "`type` must be one of 'rho', 'native', 'genes', 'loss'; got knee")
  expect_input_error(plot(fit, type = "native", cluster = "x"), "`cluster` must be one of the fit's clusters; got 'x'")
  expect_input_error(plot(fit, type = "genes", n = 0), "`n` must be a number of genes; got 0")
  expect_input_error(plot(profile), "`y` must be the droplets")
  attr(profile, "empties") <- NULL
  expect_input_error(plot(profile, s$droplets), "`x` must be the whole result of ambient_profile")
})
