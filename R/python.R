# Finding the engine's Python, starting it on first use, and calling it.

install_command <- "isthmus::install_isthmus()"

#' Is the engine there?
#'
#' Looks for the Python engine and starts it if it is found. Examples and tests
#' ask this before they fit anything.
#'
#' @details With the environment variable `ISTHMUS_REQUIRE_ENGINE=1` a missing
#'   engine (or module) is an error, so that a test run cannot pass by skipping.
#' @param modules Python modules that must be there too: `"torch"` for
#'   [fit_interactions()].
#' @return `TRUE` or `FALSE`.
#' @seealso [install_isthmus()], [isthmus_info()]
#' @export
#' @examples
#' isthmus_available()
isthmus_available <- function(modules = character(0)) {
  call <- rlang::current_env()
  if (identical(Sys.getenv("ISTHMUS_REQUIRE_ENGINE"), "1")) {
    need_modules(modules, call)
    return(TRUE)
  }
  tryCatch(
    {
      need_modules(modules, call)
      TRUE
    },
    isthmus_missing_dependency = function(e) FALSE
  )
}

need_modules <- function(modules, call) {
  engine(call)
  if (length(modules)) call_engine("need_modules", as.list(modules), .call = call)
}

# The bridge module; starts Python on the first call.
engine <- function(call) {
  if (is.null(the$bridge)) {
    refuse_rpy2(call)
    start_python(call)
    the$bridge <- import_bridge(call)
  }
  the$bridge
}

# reticulate inside an R that rpy2 hosts kills the process at exit.
refuse_rpy2 <- function(call, command = commandArgs()) {
  if (hosted_by_python(command)) {
    text <- paste(
      "isthmus cannot start Python in an R that runs inside Python (rpy2).",
      "Call the engine from the Python cell instead: `import isthmus; isthmus.fit_glm(adata, \"~ condition\")`."
    )
    abort_missing(text, call)
  }
}

hosted_by_python <- function(command = commandArgs()) length(command) > 0L && identical(command[[1L]], "rpy2")

# Order: a Python that already runs, RETICULATE_PYTHON, what the session chose with reticulate::use_python(), the
# virtualenv r-isthmus, a managed environment that the user declared. reticulate's own search is never used: it may
# create conda environments, and a foreign Python once started cannot be changed.
find_python <- function() {
  if (reticulate::py_available(initialize = FALSE)) {
    return(reticulate::py_config()$python)
  }
  chosen <- Sys.getenv("RETICULATE_PYTHON")
  if (!nzchar(chosen)) {
    chosen <- session_python()
  }
  if (!nzchar(chosen) && virtualenv_exists("r-isthmus")) {
    chosen <- reticulate::virtualenv_python("r-isthmus")
  }
  chosen
}

session_python <- function() {
  globals <- get0(".globals", envir = asNamespace("reticulate"), inherits = FALSE)
  chosen <- if (is.environment(globals)) globals$required_python_version
  if (is.character(chosen) && length(chosen) == 1L) chosen else ""
}

# reticulate::virtualenv_exists() complains where there is no Python at all
virtualenv_exists <- function(name) {
  root <- Sys.getenv("WORKON_HOME", unset = "~/.virtualenvs")
  dir.exists(file.path(path.expand(root), name))
}

start_python <- function(call) {
  if (reticulate::py_available(initialize = FALSE)) {
    return(invisible())
  }
  python <- find_python()
  managed <- !nzchar(python) && declare_managed()
  if (!nzchar(python) && !managed) {
    text <- paste0("isthmus has no Python engine yet. Install it once with `", install_command, "`.")
    abort_missing(text, call)
  }
  if (nzchar(python)) {
    # The variable and not use_python(): with it reticulate looks nowhere else, and starts no installation.
    previous <- Sys.getenv("RETICULATE_PYTHON", unset = NA)
    set_variable("RETICULATE_PYTHON", python)
    if (is.na(previous)) on.exit(Sys.unsetenv("RETICULATE_PYTHON"))
  }
  failed <- tryCatch(
    {
      reticulate::py_config()
      NULL
    },
    error = conditionMessage
  )
  if (!is.null(failed) || !reticulate::py_available(initialize = TRUE)) {
    text <- sprintf(
      "Python could not be started from %s%s. Install the engine with `%s`, or set RETICULATE_PYTHON to its Python.",
      if (nzchar(python)) python else "the managed environment",
      if (is.null(failed)) "" else paste0(" (", failed, ")"), install_command
    )
    abort_missing(text, call)
  }
}

import_bridge <- function(call) {
  if (!reticulate::py_numpy_available()) {
    text <- sprintf(
      "reticulate %s cannot use the numpy of %s: it is missing, or too new for this reticulate. Run `%s`.",
      utils::packageVersion("reticulate"), reticulate::py_config()$python, install_command
    )
    abort_missing(text, call)
  }
  tryCatch(
    reticulate::import("isthmus.bridge", convert = TRUE),
    error = function(e) {
      python <- reticulate::py_config()$python
      text <- sprintf(
        paste0(
          "The Python in use (%s) cannot import the engine `isthmus`: %s. ",
          "Install it with `%s` and restart R, or run `%s -m pip install isthmus`."
        ),
        python, first_line(conditionMessage(e)), install_command, python
      )
      abort_missing(text, call)
    }
  )
}

first_line <- function(text) strsplit(text, "\n", fixed = TRUE)[[1L]][[1L]]

# Call a function of the bridge: messages and warnings first, then the error or the value.
call_engine <- function(name, ..., .call) {
  bridge <- engine(.call)
  answer <- let_interrupts_pass(bridge[[name]](...))
  for (text in as.character(answer$messages)) message(text)
  classes <- as.character(answer$warning_classes)
  for (i in seq_along(classes)) {
    rlang::warn(as.character(answer$warnings)[[i]], class = classes[[i]], call = .call)
  }
  if (isTRUE(answer$interrupted)) rlang::interrupt()
  if (!is.null(answer$error)) {
    rlang::abort(answer$error$message, class = c(answer$error$class, "isthmus_error"), call = .call)
  }
  invisible(answer$value)
}

# A Ctrl-C while arguments and answers cross, before and after the engine's own watch (bridge/interrupts.py): reticulate
# 1.28 delivers about one in three as an ordinary error with this text.
let_interrupts_pass <- function(expression) {
  interrupted <- "Unknown exception occurred|Caught an unknown exception|KeyboardInterrupt"
  tryCatch(expression, error = function(e) {
    if (grepl(interrupted, conditionMessage(e))) rlang::interrupt()
    rlang::cnd_signal(e)
  })
}

# The engine's object of a fit: kept while the session lasts, rebuilt from the fit's plain state where it is not.
engine_fit <- function(fit, call) {
  engine(call)
  known <- the$fits[[fit$id]]
  if (is.null(known)) {
    known <- call_engine("restore", wire_fit(fit), fit_kind(fit), .call = call)
    remember_fit(fit$id, known)
  }
  known
}

fit_kind <- function(fit) {
  kinds <- c(
    isthmus_glm = "GlmFit", isthmus_factors = "FactorFit", isthmus_ambient = "AmbientFit",
    isthmus_interactions = "InteractionFit"
  )
  kinds[[intersect(class(fit), names(kinds))]]
}

wire_fit <- function(fit) {
  state <- if (inherits(fit, "isthmus_ambient")) ambient_state(fit) else fit$state
  lapply(state, wire_state)
}

# The newest few: an engine object holds the designs and the covariances.
remember_fit <- function(id, object) {
  the$fits[[id]] <- object
  the$fits <- utils::tail(the$fits, 8L)
}
