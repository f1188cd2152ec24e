#' Install the Python engine
#'
#' Makes the virtual environment `r-isthmus` and installs the engine into it,
#' with versions that suit this R and this reticulate. Nothing in this package
#' installs anything unless you call this function.
#'
#' @param method `"virtualenv"` (the default) makes the environment `r-isthmus`;
#'   `"managed"` (reticulate 1.41 or newer) lets reticulate provide one.
#' @param source Where the engine comes from. `NULL`: the Python package index,
#'   in the version of this R package. Or a path: of a checkout (a C++ compiler is
#'   then needed), of a wheel, or of a folder of wheels that holds the engine and
#'   all it needs. From such a folder nothing is downloaded, which is the way for
#'   a machine without a network; `pip download` fills it elsewhere.
#' @param extras Optional parts: `"deep"` (torch and scvi-tools, for
#'   [fit_interactions()] and networks), `"plot"`, `"dask"`, `"compat"`, `"rpy2"`,
#'   `"all"`.
#' @param python The Python (3.11 or newer) that makes the environment; `NULL`
#'   searches for one.
#' @param force Make the environment anew where it exists.
#' @return The path of the environment's Python, invisibly.
#' @seealso [isthmus_info()]
#' @export
#' @examples
#' if (interactive()) {
#'   install_isthmus()
#'   install_isthmus(source = "path/to/a/clone", extras = "deep")
#' }
install_isthmus <- function(method = c("virtualenv", "managed"), source = NULL, extras = character(0),
                            python = NULL, force = FALSE) {
  call <- rlang::current_env()
  method <- match.arg(method)
  check_extras(extras, call)
  wanted <- engine_source(source, extras, call)
  if (method == "managed") {
    return(install_managed(wanted$requirement, call))
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
  arguments <- c("-m", "pip", "install", "--upgrade", "-c", shQuote(pins), wanted$options, shQuote(wanted$requirement))
  if (system2(path, arguments) != 0L) {
    text <- sprintf("pip could not install the engine. Run `%s %s` to see why.", path, paste(arguments, collapse = " "))
    abort_missing(text, call)
  }
  message("The engine is installed in ", dirname(dirname(path)), ". Restart R if Python is already running.")
  invisible(path)
}

known_extras <- c("deep", "plot", "dask", "compat", "rpy2", "all")

check_extras <- function(extras, call) {
  unknown <- setdiff(extras, known_extras)
  if (length(unknown)) {
    text <- "`extras` must be among %s; got %s."
    abort_input(sprintf(text, in_quotes(known_extras), in_quotes(unknown)), call)
  }
}

in_quotes <- function(x) paste(sprintf("'%s'", x), collapse = ", ")

# What pip is asked for, and with which options.
engine_source <- function(source, extras, call) {
  with_extras <- function(what) {
    if (length(extras)) paste0(what, "[", paste(extras, collapse = ","), "]") else what
  }
  version <- paste0("==", utils::packageVersion("isthmus"))
  if (is.null(source)) {
    return(list(requirement = paste0(with_extras("isthmus"), version), options = NULL))
  }
  if (!is.character(source) || length(source) != 1L || is.na(source) || !file.exists(source)) {
    text <- "`source` must be NULL or the path of a checkout, of a wheel or of a folder of wheels; got %s."
    abort_input(sprintf(text, first_line(deparse1(source))), call)
  }
  source <- normalizePath(source)
  if (file.exists(file.path(source, "pyproject.toml")) || grepl("[.]whl$", source)) {
    return(list(requirement = with_extras(source), options = NULL))
  }
  if (!length(list.files(source, "^isthmus-.*[.]whl$"))) {
    text <- "`source` must hold pyproject.toml (a checkout) or a wheel isthmus-*.whl; %s holds neither."
    abort_input(sprintf(text, source), call)
  }
  list(
    requirement = paste0(with_extras("isthmus"), version), options = c("--no-index", "--find-links", shQuote(source))
  )
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
