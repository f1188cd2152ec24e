fit_of <- function(data, ...) fit_quietly(data, ~condition, cell_data = small_cells(), ...)

test_that("every matrix class gives the identical result", {
  skip_if_no_engine()
  counts <- small_counts()
  sparse <- as(counts, "dgCMatrix")
  integers <- counts
  storage.mode(integers) <- "integer"
  forms <- list(
    integer = integers, dgCMatrix = sparse, dgRMatrix = as(sparse, "RsparseMatrix"),
    dgTMatrix = as(sparse, "TsparseMatrix"), dgeMatrix = as(counts, "dgeMatrix"), data.frame = as.data.frame(counts),
    se = SummarizedExperiment::SummarizedExperiment(list(counts = sparse)), sce = small_sce(sparse),
    delayed = DelayedArray::DelayedArray(counts), delayed_sparse = DelayedArray::DelayedArray(sparse)
  )
  wanted <- fit_of(counts)
  for (name in names(forms)) {
    got <- fit_of(forms[[name]])
    expect_identical(coef(got), coef(wanted), info = name)
    expect_identical(as.data.frame(got), as.data.frame(wanted), info = name)
  }
})

test_that("a triplet matrix may hold an entry twice", {
  skip_if_no_engine()
  counts <- as(as(small_counts(), "dgCMatrix"), "TsparseMatrix")
  twice <- Matrix::sparseMatrix(
    i = rep(counts@i, 2L), j = rep(counts@j, 2L), x = rep(counts@x / 2, 2L),
    dims = dim(counts), dimnames = dimnames(counts), index1 = FALSE, repr = "T"
  )
  expect_identical(coef(fit_of(twice)), coef(fit_of(counts)))
})

test_that("logical and pattern matrices count as 0 and 1", {
  skip_if_no_engine()
  logical <- small_counts() > 11
  numbers <- logical + 0
  sparse <- as(numbers, "dgCMatrix")
  wanted <- coef(fit_of(numbers, noise_model = "poisson"))
  forms <- list(logical, as(sparse, "lMatrix"), as(sparse, "nMatrix"), as(as(sparse, "lMatrix"), "RsparseMatrix"))
  for (form in forms) expect_identical(coef(fit_of(form, noise_model = "poisson")), wanted)
})

test_that("a matrix on disk is read by blocks", {
  skip_if_no_engine()
  skip_if_not_installed("HDF5Array")
  counts <- small_counts()
  on_disk <- HDF5Array::writeHDF5Array(counts, with.dimnames = TRUE)
  old <- DelayedArray::getAutoBlockSize()
  on.exit(suppressMessages(DelayedArray::setAutoBlockSize(old)))
  suppressMessages(DelayedArray::setAutoBlockSize(12 * 8 * 7)) # seven cells at a time
  expect_identical(coef(fit_of(on_disk)), coef(fit_of(counts)))
  expect_identical(coef(fit_of(on_disk + 1)), coef(fit_of(counts + 1)))
})

test_that("the assay is chosen by name or number, and an unknown one is refused", {
  skip_if_no_engine()
  sce <- small_sce()
  SummarizedExperiment::assay(sce, "twice") <- 2 * small_counts()
  expect_identical(coef(fit_of(sce, assay = "twice")), coef(fit_of(2 * small_counts())))
  expect_identical(coef(fit_of(sce, assay = 2)), coef(fit_of(sce, assay = "twice")))
  expect_snapshot(fit_of(sce, assay = "logcounts"), error = TRUE)
  expect_snapshot(fit_of(SummarizedExperiment::SummarizedExperiment()), error = TRUE)
})

test_that("cell data come from the experiment, and rows of cell_data go by name", {
  skip_if_no_engine()
  wanted <- coef(fit_quietly(small_sce(), ~ condition + age))
  expect_identical(coef(fit_quietly(small_counts(), ~ condition + age, cell_data = small_cells()[40:1, ])), wanted)
  cells <- S4Vectors::DataFrame(small_cells())
  expect_identical(coef(fit_quietly(small_counts(), ~ condition + age, cell_data = cells)), wanted)
  cells$condition <- S4Vectors::Rle(cells$condition)
  expect_identical(coef(fit_quietly(small_counts(), ~ condition + age, cell_data = cells)), wanted)
  expect_identical(coef(fit_quietly(small_counts(), ~ condition + age, cell_data = as.list(small_cells()))), wanted)
})

test_that("stored size factors are used", {
  skip_if_no_engine()
  sce <- small_sce()
  SingleCellExperiment::sizeFactors(sce) <- small_cells()$depth
  expect_message(fit <- fit_glm(sce, ~condition), "size_factors")
  by_hand <- fit_quietly(sce, ~condition, size_factors = small_cells()$depth)
  expect_identical(coef(fit), coef(by_hand))
  expect_identical(coef(fit_quietly(sce, ~condition, size_factors = "depth")), coef(by_hand))
  by_offset <- fit_quietly(sce, ~condition, size_factors = NULL, offset = log(small_cells()$depth))
  expect_equal(coef(by_offset), coef(by_hand), tolerance = 1e-12)
})

test_that("gene names can be given", {
  skip_if_no_engine()
  fit <- fit_of(unname(small_counts()), gene_names = paste0("x", 1:12))
  expect_identical(rownames(coef(fit)), paste0("x", 1:12))
  expect_identical(rownames(coef(fit_of(unname(small_counts()))))[1:2], c("gene1", "gene2"))
})

test_that("an AnnData gives what the experiment gives", {
  skip_if_no_engine()
  anndata <- reticulate::import("anndata", convert = FALSE)
  pandas <- reticulate::import("pandas", convert = FALSE)
  cells <- small_cells()
  obs <- pandas$DataFrame(
    reticulate::dict(condition = as.character(cells$condition), age = reticulate::np_array(cells$age)),
    index = rownames(cells)
  )
  adata <- anndata$AnnData(
    reticulate::np_array(t(small_counts())), obs = obs, var = pandas$DataFrame(index = rownames(small_counts()))
  )
  fit <- fit_quietly(adata, ~ condition + age)
  expect_identical(coef(fit), coef(fit_quietly(small_sce(), ~ condition + age)))
  expect_equal(residuals(fit, adata), residuals(fit, small_sce()))
  expect_equal(names(design_matrix(adata, ~ condition + age)), c("(Intercept)", "conditionB", "age"))
})

test_that("the caller's object and random numbers are left alone", {
  skip_if_no_engine()
  counts <- as(small_counts(), "dgCMatrix")
  copy <- counts
  copy@x <- counts@x + 0
  set.seed(1)
  before <- .Random.seed
  fit_of(counts)
  expect_identical(counts, copy)
  expect_identical(.Random.seed, before)
})

test_that("BiocParallel's workers become threads", {
  skip_if_no_engine()
  skip_if_not_installed("BiocParallel")
  two <- fit_of(small_counts(), BPPARAM = BiocParallel::MulticoreParam(2))
  expect_identical(coef(two), coef(fit_of(small_counts())))
  expect_identical(isthmus:::workers(NULL, BiocParallel::SerialParam()), 1L)
})

test_that("whatever Python object reticulate holds is read as the engine reads it", {
  skip_if_no_engine()
  held <- function(module) reticulate::import(module, convert = FALSE)
  counts <- small_counts()
  cells <- small_cells()
  array <- held("numpy")$array(t(counts))
  frame <- held("pandas")$DataFrame(array, index = colnames(counts), columns = rownames(counts))
  expected <- coef(fit_quietly(counts, ~condition, cell_data = cells))
  for (data in list(array, held("scipy.sparse")$csr_matrix(array))) {
    fit <- fit_quietly(data, ~condition, cell_data = cells, gene_names = rownames(counts))
    expect_identical(coef(fit), expected)
  }
  expect_equal(coef(fit_quietly(frame, ~condition, cell_data = cells[40:1, ])), expected)
  anndata <- held("anndata")$AnnData(frame)
  expect_snapshot(error = TRUE, {
    fit_glm(held("numpy")$array(1:3))
    fit_glm(reticulate::py_eval("{'a': 1}", convert = FALSE))
    fit_glm(anndata, assay = "spliced")
    fit_glm(anndata, gene_names = "symbol")
  })
})
