quietly <- function(expression) suppressMessages(expression)

test_that("every feature comes back as it was, and Python sees the right values", {
  skip_if_no_engine()
  features <- one_feature()
  for (name in names(features)) {
    sce <- features[[name]]$change(plain_sce())
    adata <- quietly(as_anndata(sce, on_loss = "error"))
    expect_true(python_sees(adata, features[[name]]$sees), info = name)
    expect_identical(as_sce(adata, on_loss = "error"), sce, info = name)
  }
})

test_that("arrays on disk are read into memory, named, and have their class again", {
  skip_if_no_engine()
  skip_if_not_installed("DelayedArray")
  sce <- plain_sce()
  SummarizedExperiment::assay(sce, "twice") <- DelayedArray::DelayedArray(SummarizedExperiment::assay(sce)) * 2
  expect_warning(adata <- as_anndata(sce), "assays\\$twice \\(DelayedMatrix\\): read into memory",
    class = "isthmus_conversion_warning"
  )
  expect_true(python_sees(adata, "a.layers['twice'].format == 'csr' and a.layers['twice'][1, 2] == 8"))
  back <- SummarizedExperiment::assay(as_sce(adata), "twice")
  expect_s4_class(back, "DelayedMatrix")
  expect_equal(as.matrix(back), as.matrix(SummarizedExperiment::assay(sce, "twice")))
  expect_error(as_anndata(sce, on_loss = "error"), "could not carry: assays\\$twice", class = "isthmus_input_error")
  expect_silent(as_anndata(sce, on_loss = "ignore"))
})

test_that("an HDF5Array is one again", {
  skip_if_no_engine()
  skip_if_not_installed("HDF5Array")
  sce <- plain_sce()
  SummarizedExperiment::assay(sce, "disk", withDimnames = FALSE) <- methods::as(dense_values() + 0.5, "HDF5Array")
  back <- as_sce(as_anndata(sce, on_loss = "ignore"))
  expect_s4_class(SummarizedExperiment::assay(back, "disk", withDimnames = FALSE), "HDF5Matrix")
  expect_equal(
    as.matrix(SummarizedExperiment::assay(back, "disk")), as.matrix(SummarizedExperiment::assay(sce, "disk"))
  )
})

test_that("what Python cannot read is named and put back", {
  skip_if_no_engine()
  sce <- plain_sce()
  S4Vectors::metadata(sce) <- list(f = function(x) x + 1, formula = y ~ x)
  expect_message(adata <- as_anndata(sce), "Python cannot read metadata\\$f \\(function\\), metadata\\$formula")
  back <- S4Vectors::metadata(as_sce(adata))
  expect_identical(back$f(1), 2)
  expect_equal(back$formula, y ~ x, ignore_formula_env = TRUE)
})

test_that("values that Python changed are Python's, with R's types where they fit", {
  skip_if_no_engine()
  sce <- plain_sce()
  sce$day <- as.Date("2024-01-01") + 0:5
  sce$wait <- as.difftime(1:6, units = "mins")
  sce$group <- factor(letters[c(1, 2, 1, 2, 3, 3)])
  sce$ranges <- IRanges::IRanges(1:6, width = 2)
  SummarizedExperiment::rowData(sce)$spans <- IRanges::IRanges(1:4, width = 3)
  S4Vectors::metadata(sce) <- list(v = c(a = 1, b = 2), w = 1:3)
  SingleCellExperiment::altExp(sce, "ADT") <- plain_sce(3L)
  main <- reticulate::import_main(convert = FALSE)
  main$a <- quietly(as_anndata(sce))
  reticulate::py_run_string(paste(
    "a = a[[4, 1], [2, 0]].copy()", "a.X.data *= 2", "a.obs['wait'] += __import__('pandas').Timedelta(minutes=1)",
    "a.obs['new'] = [1.5, 2.5]", "a.uns['v'] = a.uns['v'] * 3", "a.uns['fresh'] = 'x'",
    sep = "\n"
  ))
  back <- as_sce(reticulate::py_eval("a", convert = FALSE), on_loss = "error")
  reticulate::py_run_string("del a")
  wanted <- sce[c(3, 1), c(5, 2)]
  expect_identical(SummarizedExperiment::assay(back), SummarizedExperiment::assay(wanted) * 2)
  expect_identical(back$day, wanted$day)
  expect_identical(back$wait, as.difftime(c(6L, 3L), units = "mins"))
  expect_identical(as.character(back$group), c("c", "b"))
  expect_identical(back$ranges, wanted$ranges)
  expect_identical(SummarizedExperiment::rowData(back), SummarizedExperiment::rowData(wanted))
  expect_identical(back$new, c(1.5, 2.5))
  expect_identical(S4Vectors::metadata(back), list(v = c(a = 3, b = 6), w = 1:3, fresh = "x"))
  expect_identical(SingleCellExperiment::altExp(back, "ADT"), SingleCellExperiment::altExp(wanted, "ADT"))
})

test_that("rows that cannot be matched are named", {
  skip_if_no_engine()
  sce <- plain_sce()
  colnames(sce) <- c("c1", "c1", "c2", "c3", "c4", "c5")
  sce$ranges <- IRanges::IRanges(1:6, width = 2)
  other <- plain_sce(3L)
  colnames(other) <- colnames(sce)
  SingleCellExperiment::altExp(sce, "ADT") <- other
  adata <- quietly(as_anndata(sce))
  some <- reticulate::py_run_string("def some(a): return a[[1, 3]].copy()", local = TRUE, convert = FALSE)$some(adata)
  warning <- expect_warning(back <- as_sce(some), class = "isthmus_conversion_warning")
  expect_match(conditionMessage(warning), "colData$ranges: its rows cannot be matched", fixed = TRUE)
  expect_match(conditionMessage(warning), "uns['altExps']['ADT']: its cells are not those of the AnnData", fixed = TRUE)
  expect_identical(dim(back), c(4L, 2L))
})

test_that("a class that extends SingleCellExperiment comes back, with spatial coordinates in obsm", {
  skip_if_no_engine()
  environment <- globalenv()
  methods::setClass("SpatialToy", contains = "SingleCellExperiment", slots = c(extra = "list"), where = environment)
  on.exit(methods::removeClass("SpatialToy", where = environment))
  sce <- plain_sce()
  SingleCellExperiment::int_colData(sce)$spatialCoords <- scores(dimnames = list(colnames(sce), c("x", "y")))
  SingleCellExperiment::int_metadata(sce)$imgData <- S4Vectors::DataFrame(sample_id = "s1", scaleFactor = 0.5)
  sce$sample_id <- "s1"
  sce <- methods::new("SpatialToy", sce, extra = list(1, "two"))
  adata <- quietly(as_anndata(sce, on_loss = "error"))
  expect_true(python_sees(adata, "a.obsm['spatial'].tolist()[0] == [0.5, 6.0] and a.obs['sample_id'].iloc[0] == 's1'"))
  expect_identical(as_sce(adata), sce)
})

test_that("a class that this R does not know is a sentence", {
  skip_if_no_engine()
  sce <- plain_sce()
  newer <- SummarizedExperiment::assay(sce)
  attr(newer, "class") <- structure("SVT_SparseMatrix", package = "SparseArray")
  sce@assays@data@listData$counts <- newer
  error <- expect_error(as_anndata(sce), class = "isthmus_input_error")
  expect_match(conditionMessage(error), "got a SVT_SparseMatrix in assays$counts, a class", fixed = TRUE)
})

# A package of that name whose function makes an experiment of the object's counts: it stands in for the real one, which
# is large, and is used before it where both are there.
toy_seurat <- function() {
  source <- file.path(new_folder(), "Seurat")
  dir.create(file.path(source, "R"), recursive = TRUE)
  writeLines(c(
    "Package: Seurat", "Version: 0.0.1", "Title: Toy", "Author: us", "Maintainer: us <us@isthmus.example>",
    "Description: A toy.", "License: BSD_3_clause"
  ), file.path(source, "DESCRIPTION"))
  writeLines("export(as.SingleCellExperiment)", file.path(source, "NAMESPACE"))
  writeLines(
    "as.SingleCellExperiment <- function(x) SingleCellExperiment::SingleCellExperiment(list(counts = x@counts))",
    file.path(source, "R", "toy.R")
  )
  library <- new_folder()
  arguments <- c("CMD", "INSTALL", "--no-multiarch", "--no-test-load", paste0("--library=", library), source)
  stopifnot(system2(file.path(R.home("bin"), "R"), arguments, stdout = FALSE, stderr = FALSE) == 0L)
  library
}

test_that("a Seurat object goes through its own package", {
  skip_if_no_engine()
  output <- run_r(c(
    sprintf(".libPaths(c(%s, .libPaths()))", deparse1(toy_seurat())),
    "methods::setClass('Seurat', slots = c(counts = 'matrix'))",
    "counts <- matrix(c(0, 1, 2, 3, 4, 5), 2, dimnames = list(c('g1', 'g2'), letters[1:3]))",
    "x <- methods::new('Seurat', counts = counts)",
    "adata <- isthmus::as_anndata(x, on_loss = 'error')",
    "cat('shape', unlist(adata$shape), 'value', adata$X[2, 1], 'names', as.character(adata$var_names$tolist()))"
  ))
  expect_identical(utils::tail(output, 1L), "shape 3 2 value 2 names g1 g2")
})

test_that("without the package Seurat its object is a sentence", {
  error <- expect_error(
    isthmus:::need_package("aPackageThatNobodyHas", "A Seurat object", NULL),
    class = "isthmus_missing_dependency"
  )
  expect_identical(
    conditionMessage(error),
    "A Seurat object needs the R package aPackageThatNobodyHas: install.packages(\"aPackageThatNobodyHas\")."
  )
})

test_that("only experiments and AnnData are taken", {
  skip_if_no_engine()
  expect_snapshot(error = TRUE, {
    as_anndata(1:3)
    as_sce(1:3)
    as_sce(reticulate::py_eval("[1, 2]", convert = FALSE))
    as_anndata(plain_sce(), on_loss = "stop")
  })
})

test_that("a Python chunk sees r.sce as an AnnData", {
  skip_if_no_engine()
  assign("isthmus_sce", plain_sce(), envir = globalenv())
  on.exit(rm("isthmus_sce", envir = globalenv()))
  expect_identical(reticulate::py_eval("type(r.isthmus_sce).__name__ + str(r.isthmus_sce.shape)"), "AnnData(6, 4)")
})

test_that("an AnnData is the same after a visit to R", {
  skip_if_no_engine()
  reticulate::py_run_string(paste(
    "import numpy as np, pandas as pd, scipy.sparse as sp, anndata as ad",
    "from anndata.tests.helpers import assert_equal",
    "def build():",
    "    x = sp.csc_matrix(np.arange(12, dtype='float32').reshape(4, 3))",
    "    obs = pd.DataFrame({'i': pd.array([1, None, 3, 4], dtype='Int64'), 'f': np.arange(4, dtype='float32'),",
    "        'c': pd.Categorical([1, 2, 2, 1]), 's': pd.array(['a', None, 'c', 'd'], dtype='string'),",
    "        'b': pd.array([True, None, False, True], dtype='boolean')}, index=list('wxyz'))",
    "    a = ad.AnnData(x, obs=obs, layers={'n': np.arange(12).reshape(4, 3)},",
    "        obsm={'p': np.arange(8, dtype='float32').reshape(4, 2)}, varm={'q': np.ones((3, 2))},",
    "        obsp={'g': sp.csr_matrix(np.eye(4))}, uns={'d': {'k': [1, 2], 'l': np.int64(3), 'big': 2**40}})",
    "    a.raw = a.copy()",
    "    return a",
    "def check(a): assert_equal(build(), a, exact=True); return True",
    sep = "\n"
  ))
  main <- reticulate::import_main(convert = FALSE)
  sce <- as_sce(main$build(), on_loss = "error")
  expect_identical(sce$i, c(1L, NA, 3L, 4L))
  expect_identical(SingleCellExperiment::altExpNames(sce), "raw")
  expect_true(reticulate::py_to_r(main$check(as_anndata(sce, on_loss = "error"))))
})

test_that("the objects of shared/checks come back", {
  path <- test_path("..", "..", "..", "shared", "checks", "one_feature_sces.R")
  skip_if_not(file.exists(path), "needs ../shared")
  skip_if_no_engine()
  shared <- new.env(parent = globalenv())
  suppressWarnings(suppressMessages(sys.source(path, shared)))
  # by values: delayed operations and files are not kept, environments of functions are copies
  loose <- c("DelayedArray_sparse", "DelayedArray_dense", "HDF5Array", "md_function", "md_formula")
  for (name in setdiff(names(shared$cases), "TENxMatrix")) { # rhdf5 of Bioconductor 3.16 cannot write it
    sce <- suppressWarnings(suppressMessages(shared$cases[[name]]()))
    back <- suppressWarnings(suppressMessages(as_sce(as_anndata(sce))))
    if (!name %in% loose) expect_identical(back, sce, info = name)
    expect_identical(dim(back), dim(sce), info = name)
    for (assay in seq_along(SummarizedExperiment::assays(sce))) {
      expect_equal(
        as.matrix(SummarizedExperiment::assay(back, assay)), as.matrix(SummarizedExperiment::assay(sce, assay)),
        info = name
      )
    }
  }
})

test_that("a real SingleCellExperiment comes back", {
  path <- test_path("..", "..", "..", "shared", "data", "imc_pancreas_sce", "pancreasSCE.rds")
  skip_if_not(file.exists(path), "needs ../shared")
  skip_if_no_engine()
  sce <- readRDS(path)
  expect_identical(as_sce(as_anndata(sce, on_loss = "error")), sce)
})

test_that("every known issue says what, why and how it is told", {
  skip_if_not_installed("yaml")
  issues <- yaml::read_yaml(system.file("known_issues.yaml", package = "isthmus"))
  fields <- c("id", "direction", "item", "what", "reason")
  expect_true(all(vapply(issues, function(issue) all(fields %in% names(issue)), NA)))
  expect_identical(anyDuplicated(vapply(issues, `[[`, "", "id")), 0L)
})

test_that("random experiments come back", {
  skip_if_no_engine()
  # `make test-slow` raises the number to 500
  for (seed in seq_len(as.integer(Sys.getenv("ISTHMUS_RANDOM_OBJECTS", "25")))) {
    sce <- random_sce(seed)
    back <- quietly(as_sce(as_anndata(sce, on_loss = "error"), on_loss = "error"))
    expect_identical(back, sce, info = seed)
  }
})

large_sce <- function() {
  dense <- matrix(as.double(seq_len(1e4)), 100, 100)
  dense[c(2, 5)] <- c(NA, -Inf)
  whole <- matrix(0L, 100, 100) # stays all zero, which nothing can tell from memory that was not written to
  sparse <- methods::as(dense * (dense %% 2 == 0), "CsparseMatrix")
  sparse@x[is.na(sparse@x)] <- NaN
  SingleCellExperiment::SingleCellExperiment(list(counts = sparse, dense = dense, whole = whole))
}

test_that("large arrays are written into R's own new memory, once", {
  skip_if_no_engine()
  sce <- large_sce()
  adata <- as_anndata(sce)
  first <- as_sce(adata)
  second <- as_sce(adata)
  expect_identical(first, sce)
  # what one changes is neither the other's nor Python's
  SummarizedExperiment::assay(first, "dense")[1] <- 99
  reticulate::py_run_string("def wipe(a):\n  a.layers['dense'][:] = 0; a.X.data[:] = 0; return True")
  expect_true(reticulate::import_main()$wipe(adata))
  expect_identical(second, sce)
  expect_identical(SummarizedExperiment::assay(first, "dense")[-1], SummarizedExperiment::assay(sce, "dense")[-1])
  expect_true(all(SummarizedExperiment::assay(as_sce(adata), "dense") == 0))
})

test_that("a reticulate that shows copies, or nothing, is noticed", {
  skip_if_no_engine()
  sce <- large_sce()
  adata <- as_anndata(sce)
  taken <- call_engine("take_apart", adata, .call = NULL)
  expect_length(taken$room$types, 4L)
  copies <- function(vectors) reticulate::r_to_py(lapply(vectors, function(x) if (is.matrix(x)) x + 0L else array(x)))
  for (show in list(copies, function(vectors) NULL)) {
    wire <- filled(taken$wire, taken$waiting, taken$room, NULL, show = show)
    expect_identical(experiment_made(wire)$x, sce)
  }
})

test_that("a witness of NA, of NaN or of nothing is told from zeros", {
  told <- function(x, at, value) was_written(list(x), list(at = array(at), values = array(value)))
  expect_true(told(c(0, 2), 2, 2))
  expect_false(told(c(0, 0), 2, 2))
  expect_true(told(c(0L, NA), 2, NaN))
  expect_true(told(c(0, NaN), 2, NaN))
  expect_false(told(c(0, 0), 2, NaN))
  expect_true(told(c(0, 0), 0, 0))
  expect_false(was_written(list(1), NULL))
})
