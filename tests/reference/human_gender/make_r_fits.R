# MASS::glm.nb and glmGamPoi (maximum likelihood: no Cox-Reid, no shrinkage) on the 40 genes.
#     Rscript tests/reference/human_gender/make_r_fits.R        # in the root of the repository
suppressPackageStartupMessages({
  library(MASS)
  library(glmGamPoi)
})
here <- "tests/reference/human_gender"
counts <- as.matrix(read.csv(file.path(here, "counts.csv"), row.names = 1, check.names = FALSE))
samples <- read.csv(file.path(here, "samples.csv"), row.names = 1, stringsAsFactors = TRUE)

one_gene <- function(y) {
  data <- data.frame(y = y, group = samples$group, offset = log(samples$sizeFactor))
  fit <- glm.nb(y ~ group + offset(offset), data = data, control = glm.control(epsilon = 1e-13, maxit = 500))
  table <- summary(fit)$coefficients
  data.frame(
    Intercept = table[1, 1], groupMale = table[2, 1], se_Intercept = table[1, 2], se_groupMale = table[2, 2],
    theta = fit$theta, se_theta = fit$SE.theta, log_likelihood = as.numeric(logLik(fit)), converged = fit$converged
  )
}
nb <- do.call(rbind, apply(counts, 1, one_gene))
write.csv(cbind(gene = rownames(counts), format(nb, digits = 12, trim = TRUE)), file.path(here, "glm_nb.csv"), row.names = FALSE, quote = FALSE)

fit <- glm_gp(counts, ~group, col_data = samples, size_factors = samples$sizeFactor, overdispersion = TRUE,
              overdispersion_shrinkage = FALSE, do_cox_reid_adjustment = FALSE)
gp <- data.frame(gene = rownames(counts), Intercept = fit$Beta[, 1], groupMale = fit$Beta[, 2], alpha = fit$overdispersions)
write.csv(format(gp, digits = 12, trim = TRUE), file.path(here, "glmgampoi.csv"), row.names = FALSE, quote = FALSE)
cat(R.version.string, "MASS", as.character(packageVersion("MASS")), "glmGamPoi", as.character(packageVersion("glmGamPoi")), "\n")
