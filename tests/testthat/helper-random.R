# Random experiments of every kind of slot: the seed says which.
pick <- function(x) x[[sample.int(length(x), 1L)]]
holes <- function(x) {
  x[stats::runif(length(x)) < 0.3] <- NA
  x
}

random_values <- function(n) {
  texts <- c("a", "", "NA", "\u00e9", "None")
  makers <- list(
    function() sample.int(9L, n, TRUE), function() holes(sample.int(9L, n, TRUE)), function() stats::rnorm(n),
    function() holes(stats::rnorm(n)), function() stats::runif(n) > 0.5,
    function() holes(stats::runif(n) > 0.5),
    function() sample(texts, n, TRUE), function() holes(sample(texts, n, TRUE)),
    function() factor(sample(texts, n, TRUE), rev(texts)), function() holes(factor(sample(letters[1:3], n, TRUE))),
    function() factor(sample(texts, n, TRUE), texts, ordered = TRUE),
    function() as.Date("2000-01-01") + holes(sample.int(9999L, n)),
    function() as.POSIXct("2000-01-01", tz = pick(c("UTC", "Asia/Tokyo"))) + stats::runif(n) * 1e8,
    function() as.difftime(holes(sample.int(99L, n, TRUE)), units = pick(c("secs", "mins", "days", "weeks"))),
    function() complex(real = stats::rnorm(n), imaginary = rep(1, n)),
    function() S4Vectors::Rle(sample.int(2L, n, TRUE)),
    function() I(lapply(seq_len(n), seq_len)), function() IRanges::IRanges(seq_len(n), width = 3),
    function() IRanges::CharacterList(lapply(seq_len(n), function(i) letters[seq_len(i %% 3)])),
    function() matrix(stats::rnorm(2 * n), n), function() S4Vectors::DataFrame(a = seq_len(n), b = rep("x", n))
  )
  pick(makers)()
}

random_table <- function(n) {
  table <- S4Vectors::make_zero_col_DFrame(n)
  for (name in utils::head(c("v", "a b", "_x"), sample.int(4L, 1L) - 1L)) table[[name]] <- random_values(n)
  table
}

random_matrix <- function(n, m) {
  values <- matrix(as.double(sample.int(4L, n * m, TRUE) - 1L), n, m)
  if (!length(values)) {
    return(values)
  }
  makers <- list(
    function() values + 0.5, function() typed("integer")(values), function() with_holes(typed("integer")(values)),
    function() values > 1, function() with_holes(values > 1), function() typed("character")(values),
    function() as_shape("CsparseMatrix")(values), function() as_shape("RsparseMatrix")(values),
    function() as_shape("TsparseMatrix")(values), function() as_shape("nMatrix")(values),
    function() methods::as(values, "dgCMatrix") > 1
  )
  pick(makers)()
}

with_holes <- function(m) {
  m[] <- holes(as.vector(m))
  m
}

random_metadata <- function(depth = 0L) {
  makers <- list(
    function() NULL, function() NA, function() stats::rnorm(3), function() pick(letters), function() 1:2,
    function() c(a = 1, b = NA), function() data.frame(x = 1:2, y = c("a", NA)), function() factor(c("u", "v")),
    function() matrix(1:4, 2, dimnames = list(NULL, c("a", "b"))), function() Sys.Date(), function() list(),
    function() methods::as(matrix(c(0, 1, 2, 0), 2), "dgCMatrix")
  )
  if (depth < 2L) makers <- c(makers, rep(list(function() random_metadata(depth + 1L)), 4L))
  n <- sample.int(4L, 1L) - 1L
  items <- lapply(seq_len(n), function(i) pick(makers)())
  if (n && stats::runif(1) < 0.8) names(items) <- paste0("m", seq_len(n))
  items
}

random_names <- function(n, letter) {
  switch(sample.int(4L, 1L),
    NULL,
    if (n) rep(letter, n),
    paste0(rep(letter, n), seq_len(n)),
    paste0(rep(letter, n), seq_len(n))
  )
}

random_sce <- function(seed, depth = 0L) {
  set.seed(seed)
  n <- sample.int(6L, 1L) - 1L
  m <- sample.int(6L, 1L) - 1L
  sce <- random_experiment(n, m)
  S4Vectors::metadata(sce) <- random_metadata()
  if (stats::runif(1) < 0.3) {
    other <- random_experiment(2L, m)
    colnames(other) <- colnames(sce)
    SingleCellExperiment::altExp(sce, "other", withDimnames = FALSE) <- other
  }
  if (m > 2L && stats::runif(1) < 0.5) SingleCellExperiment::colPair(sce, "g") <- edges(m, v = stats::rnorm(2))
  if (n > 2L && stats::runif(1) < 0.5) SingleCellExperiment::rowPair(sce, "h") <- edges(n)
  for (name in utils::head(c("PCA", "UMAP"), sample.int(3L, 1L) - 1L)) {
    SingleCellExperiment::reducedDim(sce, name, withDimnames = FALSE) <- random_matrix(m, 2L)
  }
  if (stats::runif(1) < 0.3) SingleCellExperiment::sizeFactors(sce) <- rep(1.5, m)
  sce
}

random_experiment <- function(n, m) {
  count <- sample.int(4L, 1L) - 1L
  assays <- lapply(seq_len(count), function(i) random_matrix(n, m))
  if (stats::runif(1) < 0.9) names(assays) <- utils::head(c("counts", "X", "logcounts"), count)
  sce <- SingleCellExperiment::SingleCellExperiment(assays, colData = random_table(m), rowData = random_table(n))
  dimnames(sce) <- list(random_names(n, "g"), random_names(m, "c"))
  sce
}
