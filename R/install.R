#' Install the Python engine
#'
#' Makes the virtual environment `r-isthmus` and installs the engine into it,
#' with versions that suit this R and this reticulate. Nothing in this package
#' installs anything unless you call this function.
#'
#' @param method `"virtualenv"` (the default) makes the environment `r-isthmus`;
#'   `"managed"` (reticulate 1.41 or newer) lets reticulate provide one.
#' @param package What pip installs: `"isthmus"`, the path of a checkout or of a
#'   wheel, or a requirement such as `"isthmus==0.1.0"`.
#' @param extras Optional parts, for example `"plot"` or `"dask"`.
#' @param python The Python (3.11 or newer) that makes the environment; `NULL`
#'   searches for one.
#' @param force Make the environment anew where it exists.
#' @return The path of the environment's Python, invisibly.
#' @seealso [isthmus_info()]
#' @export
#' @examples
#' if (interactive()) {
#'   install_isthmus()
#' }
install_isthmus <- function(method = c("virtualenv", "managed"), package = "isthmus", extras = character(0),
                            python = NULL, force = FALSE) {
  call <- rlang::current_env()
  method <- match.arg(method)
  if (dir.exists(package)) package <- normalizePath(package)
  requirement <- if (length(extras)) paste0(package, "[", paste(extras, collapse = ","), "]") else package
  if (method == "managed") {
    return(install_managed(requirement, call))
  }
  restore <- without_library_path()
  on.exit(restore())
  if (force && virtualenv_exists("r-isthmus")) {
    reticulate::virtualenv_remove("r-isthmus", confirm = FALSE)
  }
  if (!virtualenv_exists("r-isthmus")) {
    reticulate::virtualenv_create("r-isthmus", python = python, packages = FALSE)
  }
  path <- reticulate::virtualenv_python("r-isthmus")
  pins <- system.file("constraints", constraints_file(), package = "isthmus", mustWork = TRUE)
  arguments <- c("-m", "pip", "install", "--upgrade", "-c", shQuote(pins), shQuote(requirement))
  if (system2(path, arguments) != 0L) {
    text <- sprintf("pip could not install the engine. Run `%s %s` to see why.", path, paste(arguments, collapse = " "))
    abort_missing(text, call)
  }
  message("The engine is installed in ", dirname(dirname(path)), ". Restart R if Python is already running.")
  invisible(path)
}

# R puts its own folders on the library path, where a Python from elsewhere (pyenv, conda) finds the wrong libpython.
# Returns a function that puts them back.
without_library_path <- function() {
  previous <- Sys.getenv("LD_LIBRARY_PATH", unset = NA)
  Sys.unsetenv("LD_LIBRARY_PATH")
  function() if (!is.na(previous)) Sys.setenv(LD_LIBRARY_PATH = previous)
}

install_managed <- function(requirement, call) {
  if (!has_py_require()) {
    text <- paste(
      "`method = \"managed\"` needs reticulate 1.41 or newer; this is", utils::packageVersion("reticulate"),
      "- use `install_isthmus()`."
    )
    abort_missing(text, call)
  }
  file <- managed_file()
  dir.create(dirname(file), recursive = TRUE, showWarnings = FALSE)
  writeLines(requirement, file)
  message("From now on reticulate provides the engine (", requirement, ") when it is first used.")
  invisible(file)
}

managed_file <- function() file.path(tools::R_user_dir("isthmus", "config"), "managed")

has_py_require <- function() exists("py_require", envir = asNamespace("reticulate"), inherits = FALSE)

# TRUE where the user has chosen a managed environment earlier and reticulate knows how to make one.
declare_managed <- function() {
  if (!file.exists(managed_file()) || !has_py_require()) {
    return(FALSE)
  }
  require_python <- get("py_require", envir = asNamespace("reticulate"))
  require_python(readLines(managed_file()), python_version = ">=3.11")
  TRUE
}

#' What isthmus uses
#'
#' Versions of the package, of the engine and of what runs underneath, and which
#' compiled kernel is in use. Works without an engine too, and then says how to
#' get one.
#'
#' @return A list of class `isthmus_info`: `package`, `r`, `reticulate`,
#'   `engine` (`NULL` where there is none; else `version`, `kernel`, `python`,
#'   `executable`, `packages`) and `problem` (why there is no engine).
#' @export
#' @examples
#' isthmus_info()
isthmus_info <- function() {
  call <- rlang::current_env()
  known <- tryCatch(
    list(engine = call_engine("info", .call = call), problem = NULL),
    isthmus_missing_dependency = function(e) list(engine = NULL, problem = conditionMessage(e))
  )
  facts <- list(
    package = as.character(utils::packageVersion("isthmus")),
    r = as.character(getRversion()),
    reticulate = as.character(utils::packageVersion("reticulate"))
  )
  structure(c(facts, known), class = "isthmus_info")
}

#' @method print isthmus_info
#' @export
print.isthmus_info <- function(x, ...) {
  cat("isthmus ", x$package, " on R ", x$r, ", reticulate ", x$reticulate, "\n", sep = "")
  if (is.null(x$engine)) {
    cat("engine: none. ", x$problem, "\n", sep = "")
    return(invisible(x))
  }
  cat("engine: ", x$engine$version, ", kernel ", x$engine$kernel, "\n", sep = "")
  cat("python: ", x$engine$python, " (", x$engine$executable, ")\n", sep = "")
  versions <- paste(names(x$engine$packages), unlist(x$engine$packages))
  cat("with:   ", paste(versions, collapse = ", "), "\n", sep = "")
  invisible(x)
}
