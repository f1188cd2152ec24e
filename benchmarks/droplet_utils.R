# DropletUtils on one problem that benchmarks/ambient.py has written into a folder: CPU seconds of both steps, and the
# corrected counts. It is given the true cell types; ours finds clusters.
# usage: Rscript droplet_utils.R FOLDER
suppressPackageStartupMessages({
  library(Matrix)
  library(DropletUtils)
})
folder <- commandArgs(trailingOnly = TRUE)[[1L]]
read <- function(name) methods::as(readMM(file.path(folder, name)), "CsparseMatrix")
cells <- read("cells.mtx")
droplets <- read("droplets.mtx")
rownames(cells) <- rownames(droplets) <- paste0("g", seq_len(nrow(cells)))
groups <- readLines(file.path(folder, "type.txt"))

cpu <- function(expression) {
  timing <- system.time(expression)
  timing[["user.self"]] + timing[["sys.self"]]
}
profile_cpu <- cpu(profile <- ambientProfileEmpty(droplets, lower = 300))
remove_cpu <- cpu(corrected <- removeAmbience(cells, profile, groups))
writeMM(methods::as(corrected, "CsparseMatrix"), file.path(folder, "corrected.mtx"))
version <- as.character(utils::packageVersion("DropletUtils"))
cat(sprintf('{"profile_cpu": %.3f, "cpu": %.3f, "version": "%s"}\n', profile_cpu, remove_cpu, version))
