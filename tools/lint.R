# lintr over R/, the tests and the scripts; settings in .lintr. Ends with status 1 when there is anything to say.
# And names that two files of R/ define: of these only the last file's lives.
folders <- Filter(dir.exists, c("R", "tests/testthat", "inst/scripts", "tools", "benchmarks"))
lints <- do.call(c, lapply(folders, function(folder) lintr::lint_dir(folder, relative_path = FALSE)))
for (lint in lints) print(lint)
is_definition <- function(one) is.call(one) && identical(one[[1L]], as.name("<-")) && is.name(one[[2L]])
defined <- unlist(lapply(list.files("R", full.names = TRUE), function(file) {
  vapply(Filter(is_definition, as.list(parse(file))), function(one) as.character(one[[2L]]), "")
}))
twice <- unique(defined[duplicated(defined)])
if (length(twice)) cat("defined twice in R/:", twice, "\n")
cat(length(lints), "lints in", paste(folders, collapse = ", "), "\n")
quit(status = if (length(lints) || length(twice)) 1 else 0)
