# Which pins of inst/constraints go with which R and reticulate. Base R only and nothing from this package:
# tools/setup.sh sources this file before the package is installed, install_isthmus() calls it after.

#' The pip constraints that suit an R and a reticulate
#'
#' reticulate before 1.38 cannot use numpy 2, and R before 4.5 needs an older
#' rpy2. `make setup` and [install_isthmus()] both ask this function, so that
#' they install the same versions.
#'
#' @param r_version,reticulate_version Versions, as text or as `numeric_version`
#'   objects.
#' @return The name of one file in `inst/constraints` (in an installed package:
#'   `system.file("constraints", package = "isthmus")`).
#' @keywords internal
#' @noRd
constraints_file <- function(r_version = getRversion(),
                             reticulate_version = utils::packageVersion("reticulate")) {
  if (as.numeric_version(reticulate_version) < "1.38") {
    return("reticulate-1.28.txt")
  }
  if (as.numeric_version(r_version) < "4.5") "r-4.4.txt" else "current.txt"
}
