# Conditions. Texts go to rlang as they are, never through cli or glue, which would run what stands in braces as code.

abort_input <- function(text, call) {
  rlang::abort(text, class = c("isthmus_input_error", "isthmus_error"), call = call)
}

abort_missing <- function(text, call) {
  rlang::abort(text, class = c("isthmus_missing_dependency", "isthmus_error"), call = call)
}

# A length-one NA would reach Python as True, -2147483648 or "NA". A function is what `time = time` finds where no such
# variable is.
refuse_na <- function(arguments, call) {
  for (name in names(arguments)) {
    value <- arguments[[name]]
    if (is.function(value)) {
      rule <- "`%s` must not be a function. The name of a column stands in quotes: \"%s\"."
      abort_input(sprintf(rule, name, name), call)
    }
    if (is.atomic(value) && length(value) == 1L && is.na(value)) {
      abort_input(sprintf("`%s` must not be NA. Leave it out for the default.", name), call)
    }
  }
}

check_level <- function(level, call) {
  if (!is.numeric(level) || length(level) != 1L || !isTRUE(level > 0 && level < 1)) {
    got <- paste(format(level), collapse = ", ")
    abort_input(sprintf("`level` must lie between 0 and 1, as 0.95; got %s.", got), call)
  }
}

check_text <- function(value, argument, call) {
  if (!is.character(value) || length(value) != 1L || is.na(value)) {
    abort_input(sprintf("`%s` must be one text; got %s.", argument, paste(format(value), collapse = ", ")), call)
  }
}

need_package <- function(package, what, call) {
  if (!requireNamespace(package, quietly = TRUE)) {
    text <- sprintf("%s needs the R package %s: install.packages(\"%s\").", what, package, package)
    abort_missing(text, call)
  }
}

# First in a method whose `...` is there only because the generic has it: what lands in it was meant for something, and
# ignored it would give another answer than was asked for. as.data.frame() gets `stringsAsFactors` from data.frame().
refuse_dots <- function(frame = rlang::caller_env()) {
  given <- as.list(eval(quote(substitute(list(...))), frame))[-1L]
  given <- given[setdiff(seq_along(given), match("stringsAsFactors", names(given)))]
  if (!length(given)) {
    return(invisible())
  }
  known <- setdiff(names(formals(sys.function(sys.parent()))), c("...", "row.names", "optional", "y"))
  listed <- paste0("`", known, "`", collapse = ", ")
  name <- c(names(given)[nzchar(names(given))], "")[[1L]]
  text <- if (nzchar(name)) {
    sprintf("`%s` is not an argument here%s. The arguments are %s.", name, did_you_mean(name, known), listed)
  } else {
    sprintf("The arguments here are %s; got %s more. Name what you pass.", listed, length(given))
  }
  abort_input(text, frame)
}

did_you_mean <- function(name, known) {
  distance <- utils::adist(name, known, ignore.case = TRUE)
  if (min(distance) > 2L) "" else sprintf(" (did you mean `%s`?)", known[[which.min(distance)]])
}
