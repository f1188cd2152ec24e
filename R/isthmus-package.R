#' isthmus: models of single-cell, spatial and panel data from one Python engine
#'
#' `isthmus` fits models in a Python engine with a compiled core and gives R data
#' frames back. It takes `SingleCellExperiment` objects, matrices of every
#' common class and reticulate's AnnData; formulas are evaluated by R.
#'
#' Start with [fit_glm()] and [test_glm()], with [fit_factors()], or with
#' [fit_interactions()]. [install_isthmus()] installs the engine once; loading the
#' package never starts Python, and nothing installs itself inside a model call.
#' [isthmus_info()] says what is used.
#'
#' @section Options:
#' * `isthmus.progress`: `FALSE` switches progress reports off (they appear only
#'   in interactive sessions, after two seconds).
#'
#' @keywords internal
#' @importFrom rlang .data
"_PACKAGE"

# What one R session knows about the engine: the bridge module, and engine objects of fits by the fits' ids.
the <- new.env(parent = emptyenv())
the$bridge <- NULL
the$fits <- list()
