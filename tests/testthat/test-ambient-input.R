# A sentence for each mistake that one can make with ambient_profile() and remove_ambient().

small_sample <- function(...) simulate_ambient(n_cells = 60L, n_genes = 60L, n_empty = 200L, ..., seed = 2L)

expect_mistake <- function(expression, sentence) {
  expect_input_error(suppressMessages(expression), sentence)
}

test_that("droplets that cannot give a profile are refused", {
  skip_if_no_engine()
  s <- small_sample()
  counts <- SummarizedExperiment::assay(s$cells)
  raw <- SummarizedExperiment::assay(s$droplets)
  expect_mistake(ambient_profile(s$cells, s$cells), "`droplets` must be the raw matrix.*each of them is called a cell")
  expect_mistake(remove_ambient(s$cells, droplets = s$cells), "Pass the unfiltered counts \\(raw_feature_bc_matrix\\)")
  expect_mistake(
    ambient_profile(s$cells, s$droplets[, 1:63], lower = 1e6), "at least 10 empty droplets.*got 3 droplets"
  )
  expect_mistake(ambient_profile(s$cells, s$droplets, lower = 1), "at least 10 empty droplets.*Raise `lower`")
  other <- raw
  rownames(other) <- paste0("ENSG", seq_len(nrow(raw)))
  expect_mistake(ambient_profile(counts, other), "`droplets` must name the genes of `cells`; it shares none of 60")
  twice <- raw
  rownames(twice)[2L] <- "gene1"
  expect_mistake(ambient_profile(counts, twice), "got 1 duplicated name \\('gene1'\\). Use `make.unique\\(rownames\\(droplets\\)\\)`.$")
  expect_mistake(ambient_profile(counts, raw / 2), "`droplets` must hold whole counts; got fractional values .*`assay`")
  expect_mistake(remove_ambient(counts / 2, droplets = raw), "`cells` must hold whole counts; got fractional values")
  expect_mistake(remove_ambient(as.matrix(counts) - 1, droplets = raw), "Values of `cells` must be counts")
  missing_one <- as.matrix(counts)
  missing_one[3L, 2L] <- NA
  expect_mistake(remove_ambient(missing_one, droplets = raw), "Values of `cells` must not be missing.*NA is not zero")
  expect_mistake(remove_ambient(counts[, 0L], droplets = raw), "`cells` must have at least one cell")
  expect_mistake(remove_ambient("counts", droplets = raw), "`cells` must be a SingleCellExperiment.*got character")
  expect_mistake(remove_ambient(s$cells, droplets = list()), "`droplets` must be a SingleCellExperiment.*got list")
  expect_mistake(remove_ambient(s$cells, droplets = s$droplets, assay = "raw"), "`assay` must be an assay of `cells`")
  expect_mistake(ambient_profile(counts), "`droplets` must be")
})

test_that("genes without names are matched by position only where their number agrees", {
  skip_if_no_engine()
  s <- small_sample()
  nameless <- function(x) unname(SummarizedExperiment::assay(x))
  found <- suppressMessages(ambient_profile(nameless(s$cells), nameless(s$droplets), lower = 300))
  named <- suppressMessages(ambient_profile(s$cells, s$droplets, lower = 300))
  expect_equal(found$prob, named$prob, tolerance = 0.05)
  expect_mistake(ambient_profile(nameless(s$cells)[1:9, ], nameless(s$droplets)), "`cells` must name its genes.*9 genes")
  rownames(s$cells) <- paste0("ENSG", 1:60)
  expect_mistake(ambient_profile(s$cells, nameless(s$droplets)), "`droplets` must name its genes.*60 in `droplets`")
})

test_that("raw droplets may hold their counts under another name than the cells", {
  skip_if_no_engine()
  s <- small_sample()
  expected <- suppressMessages(ambient_profile(s$cells, s$droplets))
  SummarizedExperiment::assayNames(s$cells)[[1L]] <- "umi"
  expect_equal(suppressMessages(ambient_profile(s$cells, s$droplets, assay = "umi")), expected)
  SummarizedExperiment::assayNames(s$droplets) <- "raw"
  expect_equal(suppressMessages(ambient_profile(s$cells, s$droplets, assay = "umi")), expected)
})

test_that("a refused fraction comes without the message that accepts it", {
  skip_if_no_engine()
  s <- small_sample()
  half <- SummarizedExperiment::assay(s$cells) / 2
  said <- character(0)
  withCallingHandlers(
    expect_input_error(remove_ambient(half, droplets = s$droplets), "must hold whole counts"),
    message = function(m) said <<- c(said, conditionMessage(m))
  )
  expect_length(said, 0L)
})

test_that("options of the profile are checked", {
  skip_if_no_engine()
  s <- small_sample()
  mistakes <- list(
    list(list(rule = "knee"), "`rule` must be 'umi' or 'multinomial'; got 'knee'"),
    list(list(lower = -1), "`lower` must be a number of at least 1"),
    list(list(lower = NA), "`lower` must not be NA"),
    list(list(prob = 1), "`prob` must lie between 0 and 1"),
    list(list(sample = 0), "`sample` must be a whole number of at least 1"),
    list(list(iterations = 1.5), "`iterations` must be a whole number of at least 1"),
    list(list(min_raw_counts = 0), "`min_raw_counts` must be a whole number of at least 1"),
    list(list(seed = -1), "`seed` must be a whole number of at least 0"),
    list(list(rule = "multinomial", prob = 0.99999), "at least 10 empty droplets.*Lower `prob`")
  )
  for (mistake in mistakes) {
    expect_mistake(do.call(ambient_profile, c(list(s$cells, s$droplets), mistake[[1L]])), mistake[[2L]])
  }
})

test_that("batches must be those of the droplets", {
  skip_if_no_engine()
  s <- small_sample(n_batches = 2L)
  profile <- function(batch) ambient_profile(s$cells, s$droplets, batch = batch)
  expect_mistake(profile("btch"), "`batch` must be a column of `cells`.*'btch'.*Did you mean `batch`")
  expect_mistake(profile(s$cells$batch), "`batch` must say the batch of each droplet too")
  expect_mistake(profile(list(a = 1)), "`batch` as a list must hold `cells` and `droplets`; got a")
  expect_mistake(profile(list(1, 2)), "`batch` as a list must hold `cells` and `droplets`; got no names")
  expect_mistake(
    profile(list(cells = rep("other", 60), droplets = "batch")), "must hold droplets of every batch.*'other'"
  )
  expect_mistake(
    profile(list(cells = c(NA, s$cells$batch[-1L]), droplets = "batch")), "`batch` must not be missing; got 1 missing"
  )
  expect_mistake(profile(list(cells = "batch", droplets = "a")), "`batch` must be a column of `droplets`.*'a'")
})

test_that("arguments of remove_ambient() are checked", {
  skip_if_no_engine()
  s <- small_sample()
  mistakes <- list(
    list(list(method = "soup"), "`method` must be 'em' or 'scar'; got 'soup'"),
    list(list(n_hidden = 3), "`n_hidden` is no argument of remove_ambient with"),
    list(list(profile = rep(1, 60)), "`droplets` and `profile` must not both be given"),
    list(list(n_clusters = 0), "`n_clusters` must be 'auto' or a whole number of at least 1; got 0"),
    list(list(n_clusters = 2, labels = "type"), "`n_clusters` says how many clusters to find; `labels` are given"),
    list(list(labels = "tpye"), "`labels` must be a column of `cells`.*Did you mean `type`"),
    list(list(labels = c("a", "b")), "`labels` must have one label per row of `cells` \\(60\\); got 2"),
    list(list(labels = rep(c("a", NA), 30)), "`labels` must not be missing; got 30 missing labels"),
    list(list(labels = list(1)), "`labels` must be the name of a column or hold one value per cell; got list"),
    list(list(markers = list(a = "nothing")), "`markers` must name genes of `cells`; set 'a' has 1 name unknown"),
    list(list(markers = c("gene1", "gene2")), "`markers` must be a named list of gene names.*got character"),
    list(list(markers = list("gene1")), "`markers` must be a named list of gene names.*got another list"),
    list(list(markers = list(a = character(0))), "`markers` must name genes of `cells`; set 'a' has an empty set"),
    list(list(rho = 1.2), "`rho` must lie in \\[0, 1\\); got 1.2"),
    list(list(rho = -0.1), "`rho` must lie in \\[0, 1\\); got -0.1"),
    list(list(rho = c(0.1, 0.2)), "`rho` must be one share, or one per cell \\(60\\); got 2"),
    list(list(rho = rep(2, 60)), "`rho` must lie in \\[0, 1\\); got 60 values outside"),
    list(list(rho = "type"), "`rho` must be one share, one per cell or a column name"),
    list(list(rho = NA), "`rho` must not be NA"),
    list(list(rho = 0.1, markers = list(a = "gene1")), "`markers` and `rho` both fix the level"),
    list(list(fpr = 1.5), "`fpr` must lie between 0 and 1.*got 1.5"),
    list(list(fpr = 0), "`fpr` must lie between 0 and 1.*got 0"),
    list(list(likelihood = "normal"), "`likelihood` must be 'binomial', 'nb', 'zinb' or 'poisson'; got 'normal'"),
    list(list(max_epochs = 0), "`max_epochs` must be a whole number of at least 1"),
    list(list(seed = -1), "`seed` must be a whole number of at least 0; got -1"),
    list(list(seed = 1.5), "`seed` must be a whole number of at least 0; got 1.5")
  )
  for (mistake in mistakes) {
    expect_mistake(do.call(remove_ambient, c(list(s$cells, droplets = s$droplets), mistake[[1L]])), mistake[[2L]])
  }
})

test_that("profiles that do not fit are refused", {
  skip_if_no_engine()
  s <- small_sample()
  mistakes <- list(
    list(rep(1, 7), "`profile` as a vector must have one probability per gene of `cells` \\(60\\); got 7"),
    list(rep(-1, 60), "`profile` must hold finite probabilities >= 0"),
    list(rep(0, 60), "`profile` must hold finite probabilities >= 0 that do not all vanish"),
    list(c(NA, rep(1, 59)), "`profile` must hold finite probabilities >= 0"),
    list(data.frame(a = 1, b = 2), "`profile` must have the columns gene and prob"),
    list(c(x = 1), "`profile` must name the genes of `cells`; it shares none"),
    list(c(gene1 = 1, gene1 = 2), "`profile` must name each gene once per batch"),
    list("markr", "`profile` as text must be a column of rowData\\(cells\\); got 'markr'. There are"),
    list(TRUE, "`profile` must be a result of ambient_profile\\(\\).*got logical"),
    list(matrix(1, 60, 2), "`profile` must be a result of ambient_profile\\(\\).*got matrix")
  )
  for (mistake in mistakes) expect_mistake(remove_ambient(s$cells, profile = mistake[[1L]]), mistake[[2L]])
})

test_that("warnings say what cannot be known", {
  skip_if_no_engine()
  s <- simulate_ambient(n_cells = 100L, n_genes = 60L, n_empty = 300L, seed = 2L)
  expect_warning(
    suppressMessages(remove_ambient(s$cells, labels = "type")), "identifies differences between clusters only",
    class = "isthmus_identifiability_warning"
  )
  rare <- replace(s$cells$type, 1:3, "rare")
  few <- s$cells[1:15, ]
  fit <- NULL
  expect_warning(
    fit <- suppressMessages(remove_ambient(few, droplets = s$droplets, labels = rare)),
    "level of rho is not identified in 3 clusters", class = "isthmus_identifiability_warning"
  )
  cells <- as.data.frame(fit)
  expect_true(all(cells$flag == "level_unidentified"))
  expect_true(all(is.na(cells$rho_se)))
  expect_false(anyNA(cells$rho))
  expect_warning(
    suppressMessages(remove_ambient(s$cells, droplets = s$droplets, labels = "type", max_epochs = 1)),
    "EM stopped after .* Raise `max_epochs` \\(1\\)", class = "isthmus_convergence_warning"
  )
})

test_that("awkward sizes keep every row", {
  skip_if_no_engine()
  s <- small_sample()
  profile <- stats::setNames(rep(1, 60), rownames(s$cells))
  one <- suppressWarnings(remove_ambient(s$cells[, 1L], profile = profile), classes = "isthmus_identifiability_warning")
  expect_identical(dim(one$denoised), c(60L, 1L))
  gene <- suppressWarnings(remove_ambient(s$cells[1L, ], profile = profile, rho = 0.1))
  expect_identical(dim(gene$denoised), c(1L, 60L))
  counts <- as.matrix(SummarizedExperiment::assay(s$cells))
  counts[, 5L] <- 0
  empty <- remove_ambient(counts, profile = profile, labels = s$cells$type, rho = 0.1)
  expect_identical(as.data.frame(empty)$flag[[5L]], "no_counts")
  expect_true(is.na(as.data.frame(empty)$rho[[5L]]))
})

test_that("functions of a fit refuse what is none", {
  skip_if_no_engine()
  s <- small_sample()
  fit <- suppressMessages(remove_ambient(s$cells, droplets = s$droplets, labels = "type", rho = 0.1))
  expect_input_error(marker_exclusivity(3, s$cells, list()), "`fit` must be a fit of remove_ambient\\(\\); got numeric")
  expect_input_error(sensitivity("a", s$cells), "`fit` must be a fit of remove_ambient\\(\\); got character")
  expect_input_error(marker_exclusivity(fit, s$cells), "`markers` must be a named list of gene names")
  expect_input_error(marker_exclusivity(fit, s$cells[, 1:5], list(a = "gene1")), "`cells` must be those of the fit")
  expect_input_error(sensitivity(fit, s$cells, n = 1, rho = 0.1), "`n` must be a whole number of at least 2; got 1")
  expect_input_error(as.data.frame(fit, table = "rows"), "`table` must be one of the fit's tables \\(cells, genes")
})
