# `r.sce` in a Python chunk, and an experiment given to a Python function: the methods are for reticulate's generic,
# which dispatches on the class of an S4 object and on what that extends.
.onLoad <- function(libname, pkgname) {
  for (class in c("SingleCellExperiment", "SummarizedExperiment")) {
    registerS3method("r_to_py", class, experiment_to_py, envir = asNamespace("reticulate"))
  }
}

experiment_to_py <- function(x, convert = FALSE) as_anndata(x)
