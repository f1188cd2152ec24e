# Fits of the network in R: the same numbers as in Python, and what each function of such a fit gives.

scar_sample <- function() simulate_ambient(n_cells = 120L, n_genes = 60L, n_empty = 500L, seed = 2L)

scar_fit <- function(s, ...) {
  suppressMessages(remove_ambient(
    s$cells,
    droplets = s$droplets, labels = "type", method = "scar", max_epochs = 30, early_stopping = FALSE, n_hidden = 32,
    n_latent = 4, ...
  ))
}

test_that("a fit of the network corrects, keeps counts, and survives saveRDS", {
  skip_if_no_engine()
  s <- scar_sample()
  fit <- scar_fit(s)
  observed <- SummarizedExperiment::assay(s$cells, "counts")
  expect_gte(min(observed - fit$denoised), 0)
  expect_identical(dimnames(fit$denoised), dimnames(observed))
  expect_named(as.data.frame(fit, table = "history"), c("epoch", "loss", "reconstruction", "kl"))
  expect_equal(nrow(as.data.frame(fit, table = "history")), 30L)
  path <- tempfile(fileext = ".rds")
  saveRDS(fit, path)
  the$fits <- list() # the engine's object is gone: the next call rebuilds it from the fit's plain state
  expect_identical(latent(readRDS(path)), latent(scar_fit(s)))
})

test_that("load_fit gives what save_fit wrote", {
  skip_if_no_engine()
  fit <- scar_fit(scar_sample(), likelihood = "zinb")
  path <- tempfile()
  save_fit(fit, path)
  again <- load_fit(path)
  expect_identical(again$denoised, fit$denoised)
  expect_identical(normalized_expression(again), normalized_expression(fit))
})

test_that("functions of a fit answer for every likelihood", {
  skip_if_no_engine()
  s <- scar_sample()
  for (likelihood in c("binomial", "nb", "zinb", "poisson")) {
    fit <- scar_fit(s, likelihood = likelihood)
    umi <- Matrix::colSums(SummarizedExperiment::assay(s$cells, "counts"))
    expect_equal(dim(latent(fit)), c(120L, 4L))
    expect_identical(rownames(latent(fit)), colnames(s$cells))
    expect_true(all(latent(fit, variance = TRUE) > 0))
    p <- normalized_expression(fit, library_size = 1e4)
    expect_identical(dimnames(p), dimnames(s$cells))
    expect_equal(unname(colSums(p)), rep(1e4, 120L), tolerance = 1e-6)
    some <- normalized_expression(fit, genes = c("gene3", "gene1"), library_size = 1e4)
    expect_equal(some, p[c("gene3", "gene1"), ])
    expect_equal(latent_library_size(fit), umi)
    parameters <- likelihood_parameters(fit)
    expect_equal(colSums(parameters$mean + parameters$ambient), umi, tolerance = 1e-4)
    expect_equal("dispersions" %in% names(parameters), likelihood %in% c("nb", "zinb"))
    expect_equal("dropout" %in% names(parameters), likelihood == "zinb")
    correlation <- feature_correlation_matrix(fit, genes = c("gene1", "gene2"), n_samples = 2)
    expect_equal(unname(diag(correlation)), c(1, 1))
    drawn <- posterior_predictive_sample(fit, n_samples = 2)
    expect_length(drawn, 2L)
    expect_s4_class(drawn[[1L]], "dgCMatrix")
    expect_identical(dimnames(drawn[[1L]]), dimnames(s$cells))
    bound <- elbo(fit, s$cells, n_samples = 20)
    expect_named(bound, colnames(s$cells))
    expect_gt(mean(marginal_ll(fit, s$cells)), mean(bound))
    expect_equal(mean(reconstruction_error(fit, s$cells)) > 0, TRUE)
    expect_equal(sum(importance_weights(fit, s$cells, max_cells = 20, n_mc_samples = 10)), 1)
  }
})

test_that("groups are compared", {
  skip_if_no_engine()
  s <- scar_sample()
  fit <- scar_fit(s)
  table <- differential_expression(fit, "cluster", "type1", "type2", n_samples = 500)
  expect_s3_class(table, "data.frame")
  expect_equal(table$gene, rownames(s$cells))
  by_label <- differential_expression(fit, s$cells$type, "type1", "type2", n_samples = 500)
  expect_identical(by_label, table)
  marker <- SummarizedExperiment::rowData(s$cells)$marker
  expect_gt(mean(table$lfc_mean[marker == "type1"]), 0)
  expect_lt(mean(table$lfc_mean[marker == "type2"]), 0)
  vanilla <- differential_expression(fit, mode = "vanilla", n_samples = 100)
  expect_equal(unique(vanilla$group1), c("type1", "type2"))
  expect_equal(vanilla$proba_m1 + vanilla$proba_m2, rep(1, 120L))
  weighted <- differential_expression(fit, "cluster", "type1", n_samples = 100, cells = s$cells)
  expect_equal(unique(weighted$group2), "rest")
  abundance <- differential_abundance(fit, s$cells$type)
  own <- s$cells$type == "type1"
  expect_gt(mean(abundance[own, "type1"] > abundance[own, "type2"]), 0.9)
  components <- aggregated_posterior(fit, group = own)
  expect_equal(nrow(components), sum(own))
  expect_equal(sum(components$weight), 1)
})

test_that("add_results attaches the latent space", {
  skip_if_no_engine()
  s <- scar_sample()
  fit <- scar_fit(s)
  x <- add_results(s$cells[, 5:1], fit)
  z <- SingleCellExperiment::reducedDim(x, "SCAR")
  expect_equal(unname(z), unname(latent(fit)[5:1, ]))
  expect_equal(x$ambient_rho, as.data.frame(fit)$rho[5:1])
})

test_that("what does not fit has its sentence", {
  skip_if_no_engine()
  s <- scar_sample()
  em <- suppressMessages(remove_ambient(s$cells, droplets = s$droplets))
  expect_error(latent(em), "only that has a latent space", class = "isthmus_input_error")
  expect_error(latent(1), "`fit` must be a fit of remove_ambient", class = "isthmus_input_error")
  fit <- scar_fit(s)
  expect_error(normalized_expression(fit, genes = "geen1"), "`genes` must name genes", class = "isthmus_input_error")
  expect_error(differential_expression(fit, "type"), "`groupby` must be 'cluster'", class = "isthmus_input_error")
  expect_error(differential_expression(fit, group1 = "x"), "`group1` must be one of", class = "isthmus_input_error")
  expect_error(elbo(fit, s$cells[, 1:5]), "`cells` must be the counts of the fit", class = "isthmus_input_error")
  expect_error(elbo(fit, s$cells, n_samples = NA), "`n_samples` must not be NA", class = "isthmus_input_error")
  expect_error(scar_fit(s, n_hiden = 3), "`n_hiden` is no argument", class = "isthmus_input_error")
  expect_error(scar_fit(s, rho = 0.1), "`rho` goes with method", class = "isthmus_input_error")
})
