# Splines in formulas: ns() and bs() of the package splines without attaching it, and what formulas of Python (patsy,
# formulaic) call cr() and cc(), cubic regression splines by their values at the knots (Wood 2017, Generalized Additive
# Models, 2nd ed., sections 5.3.1 and 5.3.2), with columns that sum to zero over the cells, beside an intercept.

# A child of the formula's environment that has the functions which it lacks, or has from a package: what is found there
# is kept with the terms, for predictions in another session. A user's own of that name come first.
spline_environment <- function(formula) {
  from <- environment(formula)
  if (is.null(from)) from <- globalenv()
  known <- list(bs = splines::bs, ns = splines::ns, cr = cr, cc = cc)
  lacks <- function(name) {
    found <- get0(name, envir = from, mode = "function")
    is.null(found) || identical(found, known[[name]])
  }
  missing <- Filter(lacks, intersect(names(known), called(formula)))
  if (length(missing)) list2env(known[missing], parent = from) else from
}

# Names of the functions that are called without their package
called <- function(expression) {
  if (!is.call(expression)) {
    return(character(0))
  }
  own <- if (is.name(expression[[1L]])) as.character(expression[[1L]])
  c(own, unlist(lapply(as.list(expression)[-1L], called)))
}

# Natural: linear beyond the outer knots. `df` columns, so df + 1 knots at quantiles of the distinct values.
cr <- function(x, df = NULL, knots = NULL, center = NULL) spline_columns(x, df, knots, center, cyclic = FALSE, "cr")

# Cyclic: value and two derivatives agree at the ends. `df` columns, so df + 2 knots.
cc <- function(x, df = NULL, knots = NULL, center = NULL) spline_columns(x, df, knots, center, cyclic = TRUE, "cc")

spline_columns <- function(x, df, knots, center, cyclic, name) {
  if (is.null(knots)) {
    if (!is.numeric(df) || length(df) != 1L || is.na(df) || df < 2 || df != round(df)) {
      stop(sprintf("`%s()` needs `df`, a whole number of at least 2, or `knots`", name), call. = FALSE)
    }
    distinct <- sort(unique(x))
    knots <- stats::quantile(distinct, seq(0, 1, length.out = df + 1 + cyclic), names = FALSE)
  }
  if (is.unsorted(knots, strictly = TRUE)) {
    stop(sprintf("`%s()` needs knots in ascending order, of a variable that is not constant", name), call. = FALSE)
  }
  values <- if (cyclic) cyclic_basis(x, knots) else natural_basis(x, knots)
  if (is.null(center)) center <- colMeans(values)
  # The constant is in the span of the columns: keep what is orthogonal to their means.
  basis <- values %*% qr.Q(qr(matrix(center)), complete = TRUE)[, -1L, drop = FALSE]
  colnames(basis) <- seq_len(ncol(basis))
  structure(basis, knots = knots, center = center, class = c("isthmus_spline", "matrix"))
}

natural_basis <- function(x, knots) {
  n <- length(knots)
  h <- diff(knots)
  inner <- seq_len(n - 2L)
  b <- d <- matrix(0, n - 2L, n)
  for (i in inner) {
    b[i, i + 0:2] <- c(h[i], 2 * (h[i] + h[i + 1L]), h[i + 1L]) / 6
    d[i, i + 0:2] <- c(1 / h[i], -1 / h[i] - 1 / h[i + 1L], 1 / h[i + 1L])
  }
  bend <- rbind(0, solve(b[, inner + 1L, drop = FALSE], d), 0) # second derivatives at the knots
  inside <- pmin(pmax(x, knots[[1L]]), knots[[n]])
  value <- cubic_rows(inside, knots, bend)
  # Straight on from the ends, with the slope there.
  slope <- rbind(
    cubic_slope(knots, bend, 1L, at_end = FALSE), cubic_slope(knots, bend, n - 1L, at_end = TRUE)
  )
  value + (x - inside) * slope[1L + (x > knots[[n]]), , drop = FALSE]
}

cyclic_basis <- function(x, knots) {
  n <- length(knots) - 1L
  h <- diff(knots)
  b <- d <- matrix(0, n, n)
  for (i in seq_len(n)) {
    before <- if (i == 1L) n else i - 1L
    after <- if (i == n) 1L else i + 1L
    for (term in list(list(before, h[before] / 6, 1 / h[before]), list(after, h[i] / 6, 1 / h[i]))) {
      b[i, term[[1L]]] <- b[i, term[[1L]]] + term[[2L]]
      d[i, term[[1L]]] <- d[i, term[[1L]]] + term[[3L]]
    }
    b[i, i] <- b[i, i] + (h[before] + h[i]) / 3
    d[i, i] <- d[i, i] - 1 / h[before] - 1 / h[i]
  }
  bend <- solve(b, d)
  wrapped <- knots[[1L]] + (x - knots[[1L]]) %% (knots[[n + 1L]] - knots[[1L]])
  around <- c(seq_len(n), 1L) # the last knot is the first
  cubic_rows(wrapped, knots, bend[around, , drop = FALSE], diag(n)[around, , drop = FALSE])
}

# Rows of the basis: a cubic in each interval from its values and second derivatives at the two knots.
cubic_rows <- function(x, knots, bend, at_knots = diag(length(knots))) {
  j <- findInterval(x, knots, rightmost.closed = TRUE)
  h <- diff(knots)[j]
  left <- knots[j + 1L] - x
  right <- x - knots[j]
  (left / h) * at_knots[j, , drop = FALSE] + (right / h) * at_knots[j + 1L, , drop = FALSE] +
    (left^3 / h - h * left) / 6 * bend[j, , drop = FALSE] +
    (right^3 / h - h * right) / 6 * bend[j + 1L, , drop = FALSE]
}

# Slope of the basis at an end of interval j
cubic_slope <- function(knots, bend, j, at_end) {
  h <- knots[[j + 1L]] - knots[[j]]
  rise <- (diag(length(knots))[j + 1L, ] - diag(length(knots))[j, ]) / h
  if (at_end) rise + h * (bend[j, ] + 2 * bend[j + 1L, ]) / 6 else rise - h * (2 * bend[j, ] + bend[j + 1L, ]) / 6
}

#' @noRd
#' @importFrom stats makepredictcall
#' @method makepredictcall isthmus_spline
#' @export
makepredictcall.isthmus_spline <- function(var, call) {
  call <- call[c(1L, 2L)] # the function and x
  call[["knots"]] <- attr(var, "knots")
  call[["center"]] <- attr(var, "center")
  call
}
