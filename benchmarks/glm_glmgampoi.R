# glmGamPoi's maximum likelihood fit of the problem in FOLDER: CPU seconds of the fit alone, coefficients back as binary
# files.
#     Rscript benchmarks/glm_glmgampoi.R FOLDER        # called by benchmarks/glm.py
source(file.path(dirname(sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE)[1L])), "glm_problem.R"))
suppressPackageStartupMessages(library(glmGamPoi))
folder <- commandArgs(trailingOnly = TRUE)[1L]
problem <- read_problem(folder)
dense <- as.matrix(problem$counts)
ml_fit <- function(counts) {
  glm_gp(counts, design = problem$design, size_factors = problem$size_factors, overdispersion = TRUE,
         overdispersion_shrinkage = FALSE, do_cox_reid_adjustment = FALSE, on_disk = FALSE)
}
invisible(ml_fit(dense[seq_len(min(8L, nrow(dense))), ]))
time <- proc.time()
fit <- ml_fit(dense)
time <- proc.time() - time
writeBin(as.vector(fit$Beta), file.path(folder, "glmgampoi_beta.bin")) # term by term, genes within
writeBin(as.vector(fit$overdispersions), file.path(folder, "glmgampoi_alpha.bin"))
blas <- basename(extSoftVersion()[["BLAS"]])
versions <- paste0(R.version.string, ", glmGamPoi ", packageVersion("glmGamPoi"), ", BLAS ", blas)
answer <- list(cpu = sum(time[c(1L, 2L)]), wall = time[[3L]], versions = versions)
cat(jsonlite::toJSON(answer, auto_unbox = TRUE, digits = 6), "\n")
