# SingleCellExperiments with one feature each: what is changed in a small one, and what Python must then see in the
# AnnData `a` (an expression that is True). numpy is `np`, pandas `pd`, scipy.sparse `sp`.
feature <- function(change, sees) list(change = change, sees = sees)

plain_sce <- function(n_genes = 4L, n_cells = 6L) {
  values <- matrix(as.double((seq_len(n_genes * n_cells) * 7L) %% 5L), n_genes)
  sce <- SingleCellExperiment::SingleCellExperiment(list(counts = methods::as(values, "dgCMatrix")))
  dimnames(sce) <- list(paste0("g", seq_len(n_genes)), paste0("c", seq_len(n_cells)))
  sce
}

dense_values <- function() unname(as.matrix(SummarizedExperiment::assay(plain_sce())))

second_assay <- function(make, sees) {
  feature(function(s) {
    SummarizedExperiment::assay(s, "a2", withDimnames = FALSE) <- make(dense_values())
    s
  }, sees)
}

cell_column <- function(values, sees) {
  feature(function(s) {
    SummarizedExperiment::colData(s)[["v"]] <- values
    s
  }, sees)
}

cell_metadata <- function(values, sees) {
  feature(function(s) {
    S4Vectors::metadata(s) <- values
    s
  }, sees)
}

reduced <- function(value, sees) {
  feature(function(s) {
    SingleCellExperiment::reducedDim(s, "PCA", withDimnames = FALSE) <- value
    s
  }, sees)
}

scores <- function(...) matrix(c(0.5, -1, 2, 3, 4.25, 5, 6, 7, 8, 9, 10, 11), 6L, 2L, ...)
edges <- function(n, ...) S4Vectors::SelfHits(1:2, 2:3, nnode = n, ...)
as_shape <- function(...) function(m) Reduce(methods::as, c(...), methods::as(m, "dgCMatrix"))
typed <- function(type) {
  function(m) {
    storage.mode(m) <- type
    m
  }
}
with_na <- function(type) {
  function(m) {
    storage.mode(m) <- type
    m[2, 3] <- NA
    m
  }
}
sees_values <- "(sp.csr_matrix(a.layers['a2']).toarray() == a.X.toarray()).all()"
column <- function(text) sprintf("list(a.obs['v']) == %s", text)

# One feature a line, however long.
# nolint start: line_length_linter.
one_feature <- function() {
  list(
    plain = feature(identity, "a.X.format == 'csr' and a.X.dtype == 'float64' and a.X[1, 2] == 4 and a.X.data.flags.writeable"),
    dense_double = second_assay(identity, paste(sees_values, "and a.layers['a2'].dtype == 'float64'")),
    dense_integer = second_assay(typed("integer"), paste(sees_values, "and a.layers['a2'].dtype == 'int32'")),
    dense_integer_na = second_assay(with_na("integer"), "np.isnan(a.layers['a2'][2, 1]) and np.isnan(a.layers['a2']).sum() == 1"),
    dense_logical = second_assay(function(m) m > 2, "a.layers['a2'].dtype == bool and (a.layers['a2'] == (a.X.toarray() > 2)).all()"),
    dense_logical_na = second_assay(with_na("logical"), "np.isnan(a.layers['a2'][2, 1]) and np.isnan(a.layers['a2']).sum() == 1"),
    dense_character = second_assay(typed("character"), "(a.layers['a2'].astype(float) == a.X.toarray()).all()"),
    dense_names = second_assay(
      function(m) `dimnames<-`(m, list(paste0("g", 1:4), paste0("c", 1:6))), sees_values
    ),
    cube = second_assay(function(m) array(c(m, m + 1), c(4, 6, 2)), "(a.layers['a2'][:, :, 1] == a.X.toarray() + 1).all()"),
    sparse_column = second_assay(as_shape("CsparseMatrix"), paste(sees_values, "and a.layers['a2'].format == 'csr'")),
    sparse_row = second_assay(as_shape("RsparseMatrix"), sees_values),
    sparse_triplet = second_assay(as_shape("TsparseMatrix"), sees_values),
    sparse_logical = second_assay(function(m) methods::as(m, "dgCMatrix") > 2, "(a.layers['a2'].toarray() == (a.X.toarray() > 2)).all() and a.layers['a2'].dtype == bool"),
    sparse_logical_na = second_assay(function(m) {
      x <- methods::as(m, "dgCMatrix") > 2
      x@x[1] <- NA
      x
    }, "np.isnan(a.layers['a2'].data).sum() == 1"),
    sparse_pattern = second_assay(as_shape("nMatrix"), "(a.layers['a2'].toarray() == (a.X.toarray() != 0)).all()"),
    dense_matrix_class = second_assay(function(m) Matrix::Matrix(m + 0.5, sparse = FALSE), "(a.layers['a2'] == a.X.toarray() + 0.5).all()"),
    symmetric = feature(function(s) {
      s <- plain_sce(4L, 4L)
      SummarizedExperiment::assay(s, "a2", withDimnames = FALSE) <- Matrix::crossprod(SummarizedExperiment::assay(s))
      s
    }, "(a.layers['a2'].toarray() == (a.X @ a.X.T).toarray()).all()"),
    integer = cell_column(1:6, "a.obs['v'].dtype == 'int32' and list(a.obs['v']) == [1, 2, 3, 4, 5, 6]"),
    integer_na = cell_column(c(1:5, NA), "a.obs['v'].dtype == 'Int32' and a.obs['v'].isna().tolist() == [False] * 5 + [True] and a.obs['v'].iloc[4] == 5"),
    double = cell_column(1:6 + 0.5, column("[1.5, 2.5, 3.5, 4.5, 5.5, 6.5]")),
    double_na_nan = cell_column(c(1.5, NA, NaN, Inf, -Inf, 0), "np.isnan(a.obs['v'].iloc[1:3]).all() and a.obs['v'].iloc[4] == -np.inf"),
    double_huge = cell_column(c(2^31, 2^53, 1, 2, 3, 4), column("[2.0**31, 2.0**53, 1, 2, 3, 4]")),
    logical = cell_column(rep(c(TRUE, FALSE), 3), "a.obs['v'].dtype == bool and list(a.obs['v']) == [True, False] * 3"),
    logical_na = cell_column(c(TRUE, NA, FALSE, TRUE, FALSE, NA), "a.obs['v'].dtype == 'boolean' and a.obs['v'].isna().tolist() == [False, True, False, False, False, True] and bool(a.obs['v'].iloc[0])"),
    text = cell_column(letters[1:6], column("list('abcdef')")),
    text_na = cell_column(c("a", NA, "", "NA", "\u00e9", "b"), column("['a', None, '', 'NA', '\u00e9', 'b']")),
    factor = cell_column(factor(c("b", "a", "b", "c", "a", "b"), c("c", "b", "a", "z")), "list(a.obs['v'].cat.categories) == list('cbaz') and list(a.obs['v']) == list('babcab') and not a.obs['v'].cat.ordered"),
    factor_na = cell_column(factor(c("b", NA, "b", "c", "a", NA), c("c", "b", "a")), "a.obs['v'].isna().sum() == 2 and a.obs['v'].iloc[0] == 'b'"),
    factor_na_level = cell_column(addNA(factor(c("b", NA, "b", "c", "a", NA))), "a.obs['v'].isna().sum() == 2"),
    ordered = cell_column(factor(c("lo", "hi", "lo", "hi", "mid", "lo"), c("lo", "mid", "hi"), ordered = TRUE), "a.obs['v'].cat.ordered and a.obs['v'].max() == 'hi'"),
    date = cell_column(as.Date("2024-01-01") + 0:5, "a.obs['v'].iloc[1] == pd.Timestamp('2024-01-02')"),
    date_na = cell_column(c(as.Date("2024-01-01") + 0:4, NA), "a.obs['v'].isna().sum() == 1 and a.obs['v'].iloc[0] == pd.Timestamp('2024-01-01')"),
    date_fraction = cell_column(as.Date("2024-01-01") + 0:5 / 4, "a.obs['v'].iloc[5] == pd.Timestamp('2024-01-02')"),
    time = cell_column(as.POSIXct("2024-01-01 12:34:56", tz = "UTC") + 0:5, "a.obs['v'].iloc[1] == pd.Timestamp('2024-01-01 12:34:57', tz='UTC')"),
    time_zone = cell_column(as.POSIXct("2024-07-01 12:00:00", tz = "Europe/Paris") + 0:5, "a.obs['v'].iloc[0] == pd.Timestamp('2024-07-01 10:00', tz='UTC') and str(a.obs['v'].dt.tz) == 'Europe/Paris'"),
    time_no_zone = cell_column(structure(1e9 + 0:5, class = c("POSIXct", "POSIXt")), "a.obs['v'].iloc[0] == pd.Timestamp(10**9, unit='s', tz='UTC')"),
    time_nanoseconds = cell_column(structure(1e9 + 1:6 / 7, class = c("POSIXct", "POSIXt"), tzone = "UTC"), "abs(a.obs['v'].iloc[0].timestamp() - 1e9 - 1 / 7) < 1e-6"),
    duration = cell_column(as.difftime(1:6, units = "mins"), "a.obs['v'].iloc[2] == pd.Timedelta(minutes=3)"),
    duration_na = cell_column(as.difftime(c(1.5, NA, 3:6), units = "hours"), "a.obs['v'].isna().sum() == 1 and a.obs['v'].iloc[0] == pd.Timedelta(minutes=90)"),
    complex = cell_column(complex(real = 1:6, imaginary = 1), "a.obs['v'].iloc[1] == 2 + 1j"),
    raw = cell_column(as.raw(c(0, 1, 2, 253:255)), column("[0, 1, 2, 253, 254, 255]")),
    named_vector = cell_column(c(a = 1, b = 2, c = 3, d = 4, e = 5, f = 6), column("[1, 2, 3, 4, 5, 6]")),
    rle = cell_column(S4Vectors::Rle(c(1, 1, 1, 2, 2, 2)), column("[1, 1, 1, 2, 2, 2]")),
    rle_factor = cell_column(S4Vectors::Rle(factor(c("a", "a", "b", "b", "b", "a"))), column("list('aabbba')")),
    list = cell_column(I(lapply(1:6, seq_len)), "np.asarray(a.obs['v'].iloc[2]).tolist() == [1, 2, 3]"),
    character_list = cell_column(IRanges::CharacterList(lapply(1:6, function(i) letters[seq_len(i)])), "list(a.obs['v'].iloc[2]) == ['a', 'b', 'c']"),
    nested_frame = cell_column(S4Vectors::DataFrame(a = 1:6, b = letters[1:6]), "list(a.obsm['v']['b']) == list('abcdef')"),
    matrix_column = cell_column(matrix(1:12, 6), "a.obsm['v'].tolist()[1] == [2, 8]"),
    ranges_column = cell_column(IRanges::IRanges(1:6, width = 2), "'v' not in a.obs"),
    odd_names = feature(function(s) {
      SummarizedExperiment::colData(s)[["a b/c"]] <- 1:6
      SummarizedExperiment::colData(s)[["_x"]] <- 6:1
      SummarizedExperiment::colData(s)[["index"]] <- letters[1:6]
      s
    }, "list(a.obs.columns) == ['a b/c', '_x', 'index'] and a.obs['_x'].iloc[0] == 6"),
    row_factor = feature(function(s) {
      SummarizedExperiment::rowData(s)$v <- factor(c("x", "y", "x", "z"))
      s
    }, "list(a.var['v']) == ['x', 'y', 'x', 'z']"),
    row_matrix = feature(function(s) {
      SummarizedExperiment::rowData(s)$m <- matrix(1:8 + 0.5, 4)
      SummarizedExperiment::rowData(s)$after <- 1:4
      s
    }, "a.varm['m'].tolist()[0] == [1.5, 5.5] and list(a.var['after']) == [1, 2, 3, 4]"),
    row_ranges = feature(function(s) {
      ranges <- GenomicRanges::GRanges("chr1", IRanges::IRanges(1:4, width = 10), strand = c("+", "-", "*", "+"))
      names(ranges) <- rownames(s)
      ranges$symbol <- letters[1:4]
      SummarizedExperiment::rowRanges(s) <- ranges
      s
    }, "list(a.varm['rowRanges']['end']) == [10, 11, 12, 13] and list(a.varm['rowRanges']['strand']) == ['+', '-', '*', '+'] and list(a.var['symbol']) == list('abcd')"),
    reduced = reduced(scores(), "a.obsm['PCA'].tolist()[0] == [0.5, 6.0]"),
    reduced_names = reduced(scores(dimnames = list(NULL, c("PC1", "PC2"))), "a.obsm['PCA'].tolist()[0] == [0.5, 6.0]"),
    reduced_attributes = reduced(structure(scores(), percentVar = c(60, 40), rotation = matrix(1, 4, 2)), "a.obsm['PCA'].shape == (6, 2)"),
    reduced_frame = reduced(data.frame(a = 1:6, b = 6:1), "list(a.obsm['PCA']['b']) == [6, 5, 4, 3, 2, 1]"),
    reduced_sparse = reduced(methods::as(scores(), "dgCMatrix"), "a.obsm['PCA'].toarray().tolist()[1] == [-1.0, 7.0]"),
    embedding = reduced(SingleCellExperiment::LinearEmbeddingMatrix(scores(), matrix(1:8 + 0, 4)), "a.obsm['PCA'].tolist()[0] == [0.5, 6.0]"),
    alternative = feature(function(s) {
      SingleCellExperiment::altExp(s, "ADT") <- plain_sce(3L)
      s
    }, "a.uns['altExps']['ADT'].shape == (6, 3) and a.uns['altExps']['ADT'].X[1, 2] == 2"),
    main_name = feature(function(s) {
      SingleCellExperiment::mainExpName(s) <- "RNA"
      s
    }, "a.n_obs == 6"),
    column_pairs = feature(function(s) {
      SingleCellExperiment::colPair(s, "knn") <- edges(6L, value = c(0.1, 0.2))
      s
    }, "a.obsp['knn'].shape == (6, 6) and a.obsp['knn'][0, 1] == 0.1 and a.obsp['knn'].nnz == 2"),
    row_pairs = feature(function(s) {
      SingleCellExperiment::rowPair(s, "net") <- edges(4L, x = c(1, 0))
      s
    }, "a.varp['net'][0, 1] == 1 and a.varp['net'].nnz == 2"),
    bare_pairs = feature(function(s) {
      SingleCellExperiment::colPair(s, "knn") <- edges(6L)
      s
    }, "bool(a.obsp['knn'][1, 2])"),
    labels = feature(function(s) {
      SingleCellExperiment::colLabels(s) <- factor(rep(1:2, 3))
      s
    }, "list(a.obs['label']) == ['1', '2'] * 3"),
    size_factors = feature(function(s) {
      SingleCellExperiment::sizeFactors(s) <- 1:6 / 3.5
      s
    }, "list(a.obs['size_factors']) == [i / 3.5 for i in range(1, 7)] and 'sizeFactor' not in a.obs"),
    nested = cell_metadata(list(a = 1, b = list(c = "x", d = list(e = 1:3))), "a.uns['b']['d']['e'].tolist() == [1, 2, 3] and a.uns['b']['c'] == 'x' and a.uns['a'] == 1.0"),
    frame = cell_metadata(list(df = data.frame(x = 1:3, y = letters[1:3])), "list(a.uns['df']['y']) == ['a', 'b', 'c']"),
    frame_s4 = cell_metadata(list(df = S4Vectors::DataFrame(x = 1:3, y = letters[1:3])), "list(a.uns['df']['y']) == ['a', 'b', 'c']"),
    null = cell_metadata(list(a = NULL, b = 1), "a.uns['a'] is None and a.uns['b'] == 1"),
    unnamed = cell_metadata(list(1, "b"), "list(v for k, v in a.uns.items() if k != 'isthmus') == [1.0, 'b']"),
    missing = cell_metadata(list(i = NA_integer_, s = NA_character_, l = NA, v = c(1L, NA), d = NA_real_), "a.uns['i'] is pd.NA and a.uns['s'] is pd.NA and a.uns['l'] is pd.NA and a.uns['v'].isna().tolist() == [False, True] and np.isnan(a.uns['d'])"),
    vectors = cell_metadata(list(v = 5, vv = c(5, 6), nm = c(a = 1, b = 2), e = character(0), big = 2^40), "a.uns['v'] == 5.0 and a.uns['vv'].tolist() == [5, 6] and len(a.uns['e']) == 0 and a.uns['big'] == 2.0**40"),
    sparse_metadata = cell_metadata(list(m = methods::as(matrix(c(1, 0, 2, 0, 0, 3), 2), "dgCMatrix")), "a.uns['m'].toarray().tolist() == [[1, 2, 0], [0, 0, 3]]"),
    s4_metadata = cell_metadata(list(g = IRanges::IRanges(1, 2), ok = 1), "'g' not in a.uns and a.uns['ok'] == 1"),
    empty_lists = cell_metadata(list(a = list(), b = stats::setNames(list(), character(0))), "a.uns['a'] == [] and a.uns['b'] == {}"),
    duplicated_metadata = cell_metadata(list(a = 1, a = 2, isthmus = 3), "a.uns['a'] == 1 and a.uns['a_1'] == 2 and a.uns['isthmus_1'] == 3"),
    no_names = feature(function(s) unname_all(s), "list(a.obs_names) == list('012345')"),
    duplicated_cells = feature(function(s) {
      colnames(s) <- c("c1", "c1", "c2", "c3", "c4", "c5")
      s
    }, "list(a.obs_names)[:2] == ['c1', 'c1']"),
    duplicated_genes = feature(function(s) {
      rownames(s) <- c("g1", "g1", "", "\u00fc")
      s
    }, "list(a.var_names) == ['g1', 'g1', '', '\u00fc']"),
    no_cells = feature(function(s) s[, 0], "a.shape == (0, 4)"),
    no_genes = feature(function(s) s[0, ], "a.shape == (6, 0)"),
    nothing = feature(function(s) s[0, 0], "a.shape == (0, 0)"),
    no_cells_dense = feature(function(s) SingleCellExperiment::SingleCellExperiment(list(counts = dense_values()))[, 0], "a.shape == (0, 4)"),
    no_assays = feature(function(s) {
      SingleCellExperiment::SingleCellExperiment(colData = S4Vectors::DataFrame(a = 1:3, row.names = letters[1:3]))
    }, "a.X is None and list(a.obs['a']) == [1, 2, 3]"),
    unnamed_assay = feature(function(s) SingleCellExperiment::SingleCellExperiment(list(dense_values())), "a.X.shape == (6, 4)"),
    plain_experiment = feature(function(s) {
      SummarizedExperiment::SummarizedExperiment(list(counts = dense_values()), colData = S4Vectors::DataFrame(a = 1:6))
    }, "list(a.obs['a']) == [1, 2, 3, 4, 5, 6]")
  )
}
# nolint end

unname_all <- function(sce) {
  dimnames(sce) <- NULL
  sce
}

# Whether Python sees what it should in an AnnData
python_sees <- function(adata, expression) {
  main <- reticulate::import_main(convert = FALSE)
  main$a <- adata
  reticulate::py_run_string("import numpy as np, pandas as pd, scipy.sparse as sp")
  on.exit(reticulate::py_run_string("del a"))
  isTRUE(reticulate::py_eval(sprintf("bool(%s)", expression)))
}
