# Writes tests/contract/formulas.json: what R's model.matrix makes of 25 formulas on a small table, and of those on which
# R and formulaic differ. Run from the root: Rscript tests/reference/make_formulas.R && .venv/bin/python tests/reference/name_formulas.py
# (the second adds the Python names and refuses to write where values disagree). Made with R 4.2.2, jsonlite 1.8.4.
library(jsonlite)
library(splines)

n <- 24L
cells <- data.frame(
  condition = factor(rep(c("ctrl", "stim", "wash"), each = 8L)),
  batch = rep(c("b1", "b2"), 12L),
  sex = rep(c("F", "F", "M", "M"), 6L),
  donor = paste0("d", rep(1:6, each = 4L)),
  dose = c(0.5, 2.25, 1, 4, 3.5, 0.25, 6, 7.75, 2, 5, 1.5, 8, 0.75, 3, 9.5, 4.5, 6.5, 0, 2.75, 10, 7, 1.25, 5.5, 3.25),
  age = c(31, 45, 28, 60, 52, 39, 47, 33, 58, 41, 36, 29, 63, 50, 44, 38, 27, 55, 49, 34, 61, 42, 30, 57),
  flag = rep(c(TRUE, FALSE, FALSE, TRUE, TRUE, FALSE), 4L),
  plate = rep(c(1, 2, 10), 8L),
  grade = factor(rep(c("low", "mid", "high", "mid"), 6L), levels = c("low", "mid", "high"), ordered = TRUE),
  label = rep(c("a", "B", "a", "a"), 6L),
  stringsAsFactors = FALSE
)

# python = r where one text is given
agree <- list(
  "~ 1", "~ condition", "~ 0 + condition", "~ batch - 1 + dose", "~ condition + batch", "~ condition + dose + age",
  "~ condition * batch", "~ batch + condition + sex:batch", "~ condition * dose", "~ dose + age + dose:age",
  "~ condition + condition:dose", "~ condition/dose", "~ flag", "~ flag * sex", "~ donor", "~ log1p(dose) + condition",
  c("~ I(dose**2) + dose", "~ I(dose^2) + dose"), "~ poly(dose, 2)", "~ bs(dose, df=5)", "~ ns(dose, df=3)", "~ scale(dose) + sqrt(age)",
  c("~ C(plate)", "~ factor(plate)"), c("~ C(condition, contr.sum)", "~ C(condition, contr.sum)"),
  c("~ C(condition, contr.treatment('stim'))", "~ relevel(condition, ref = 'stim')"),
  c("~ (condition + batch + sex)**2", "~ (condition + batch + sex)^2")
)
differ <- list(
  list("~ condition:batch", "~ condition:batch",
    "an interaction without main effects: R keeps one column per combination beside the intercept (rank-deficient), formulaic leaves out what the intercept holds; same column space"),
  list("~ grade", "~ grade", "an ordered factor: R uses polynomial contrasts (.L, .Q), formulaic treatment contrasts; same column space"),
  list("~ label", "~ factor(label, levels = c('a', 'B'))",
    "text sorts by locale in R ('a' before 'B' in en_US, the levels written here) and by character code in Python ('B' before 'a'), so the reference level differs; same column space")
)

matrix_of <- function(text) {
  x <- model.matrix(as.formula(text), model.frame(as.formula(text), cells, na.action = na.pass))
  list(names = colnames(x), columns = lapply(seq_len(ncol(x)), function(j) as.vector(x[, j])))
}
entry <- function(python, r, how = NULL) {
  found <- matrix_of(r)
  c(list(python = python, r = r, names = list(python = NULL, r = I(found$names))), if (!is.null(how)) list(how = how), list(columns = found$columns))
}
both <- function(text) if (length(text) == 1L) c(text, text) else text

contract <- list(
  about = paste(
    "Design matrices of R (model.matrix) for the same formulas in both languages. `agree`: Python's columns have the same values in the same order under their own names.",
    "`differ`: they do not, and `how`. Written by tests/reference/make_formulas.R and name_formulas.py."
  ),
  versions = list(R = as.character(getRversion())),
  data = list(
    columns = lapply(cells, function(x) if (is.factor(x)) as.character(x) else x),
    factors = list(condition = levels(cells$condition)),
    ordered = list(grade = levels(cells$grade))
  ),
  agree = lapply(agree, function(text) entry(both(text)[1L], both(text)[2L])),
  differ = lapply(differ, function(x) entry(x[[1L]], x[[2L]], x[[3L]]))
)
stopifnot(length(agree) == 25L)
writeLines(toJSON(contract, auto_unbox = TRUE, digits = 15, null = "null"), "tests/contract/formulas.json")
