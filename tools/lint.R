# lintr over R/, the tests and the scripts; settings in .lintr. Ends with status 1 when there is anything to say.
folders <- Filter(dir.exists, c("R", "tests/testthat", "inst/scripts", "tools", "benchmarks"))
lints <- do.call(c, lapply(folders, function(folder) lintr::lint_dir(folder, relative_path = FALSE)))
for (lint in lints) print(lint)
cat(length(lints), "lints in", paste(folders, collapse = ", "), "\n")
quit(status = if (length(lints)) 1 else 0)
