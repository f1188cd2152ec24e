surface <- function() contract("surface.json")

# NULL, character(0), 5L and ~1 in the neutral form of the file
neutral <- function(default) {
  value <- eval(default, baseenv())
  if (inherits(value, "formula")) return(paste("~", deparse(value[[2L]])))
  if (is.atomic(value) && !is.null(value) && length(value) != 1L) return(as.list(value))
  value
}

arguments <- function(name) {
  formals <- as.list(formals(getExportedValue("isthmus", name)))
  lapply(names(formals), function(argument) {
    required <- identical(formals[[argument]], substitute())
    if (required) list(argument) else list(argument, neutral(formals[[argument]]))
  })
}

# The file's arguments as R has them: `layer` is `assay`, and what only R has comes at the end.
expected <- function(name, listed, r_only) {
  listed <- lapply(listed, function(argument) {
    switch(argument[[1L]], layer = list("assay", "counts"), network_options = list("..."), argument)
  })
  c(listed, unname(Map(list, names(r_only[[name]]), unname(r_only[[name]]))))
}

test_that("arguments and defaults are those of the file", {
  file <- surface()
  for (name in names(file$functions)) {
    listed <- expected(name, file$functions[[name]], file$differences$r_only_arguments)
    expect_equal(arguments(name), listed, info = name)
  }
  for (name in names(file$r_only_functions)) {
    expect_equal(arguments(name), lapply(file$r_only_functions[[name]], identity), info = name)
  }
})

test_that("every exported function is in the file", {
  file <- surface()
  expect_setequal(getNamespaceExports("isthmus"), c(names(file$functions), names(file$r_only_functions)))
})

test_that("formulas give the matrices of the file", {
  skip_if_no_engine()
  file <- contract("formulas.json")
  cells <- lapply(file$data$columns, function(column) simplify2array(column))
  cells <- as.data.frame(cells)
  for (name in names(file$data$factors)) {
    cells[[name]] <- factor(cells[[name]], levels = unlist(file$data$factors[[name]]))
  }
  for (name in names(file$data$ordered)) {
    cells[[name]] <- factor(cells[[name]], levels = unlist(file$data$ordered[[name]]), ordered = TRUE)
  }
  environment <- new.env(parent = asNamespace("splines"))
  for (entry in c(file$agree, file$differ)) {
    design <- design_matrix(cells, stats::as.formula(entry$r, env = environment))
    expect_equal(names(design), unlist(entry$names$r), info = entry$r)
    for (j in seq_along(design)) {
      expect_equal(design[[j]], as.double(unlist(entry$columns[[j]])), tolerance = 1e-10, info = entry$r)
    }
  }
})

test_that("fits reach the exact numbers", {
  skip_if_no_engine()
  file <- contract("glm.json")
  counts <- t(vapply(file$counts, function(gene) as.double(unlist(gene)), double(length(file$cells$age))))
  cells <- as.data.frame(lapply(file$cells, unlist))
  for (name in names(file$fits)) {
    model <- file$fits[[name]]
    fit <- fit_glm(
      counts, stats::as.formula(model$design), stats::as.formula(model$dispersion_design),
      constraints = if (is.null(model$text)) model$constraints else model$text$r,
      dispersion_constraints = model$dispersion_constraints,
      cell_data = cells, size_factors = file$size_factors
    )
    table <- as.data.frame(fit)
    for (row in model$exact) {
      got <- table[table$gene == row$gene & table$model == row$model & table$term == row$term$r, ]
      expect_equal(got$estimate, row$estimate, tolerance = 1e-6, info = paste(name, row$gene, row$term$r))
      expect_equal(got$se, row$se_expected, tolerance = 1e-5, info = paste(name, row$gene, row$term$r))
      expect_equal(logLik(fit)[[row$gene]], row$log_likelihood, tolerance = 1e-10)
    }
  }
})
