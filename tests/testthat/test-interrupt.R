engine_spin <- "spin <- function() isthmus:::call_engine('spin', 5, where = '%s', .call = environment())"

# Each SIGINT becomes an R interrupt within a second, in a loop of C++ and in one of Python. In a process of its own: an
# interrupt that came too late would end the test run itself.
interrupts <- function(where, times = 20L, spin = sprintf(engine_spin, where)) {
  output <- run_r(c(
    "suppressPackageStartupMessages(library(isthmus))", "invisible(isthmus_available())",
    spin,
    sprintf("for (i in seq_len(%d)) {", times),
    # the signal is sent a while after R has said that it listens, however busy the machine is
    "  ready <- tempfile()",
    # (and a shell that waits for an R that is gone must end: it holds the pipe that the test reads)
    "  wait <- sprintf('while kill -0 %d && [ ! -e %s ]; do sleep 0.01; done', Sys.getpid(), ready)",
    "  send <- sprintf('(%s; sleep 0.%d; kill -INT %d) >/dev/null 2>&1 &', wait, 2L + i %% 4L, Sys.getpid())",
    "  system(send)",
    "  how <- tryCatch({",
    "    invisible(file.create(ready))",
    "    start <- Sys.time()",
    "    spin()",
    "    'finished'",
    "  }, interrupt = function(e) 'interrupt', error = conditionMessage)",
    "  waited <- as.numeric(Sys.time() - start, units = 'secs')",
    "  cat('RESULT', if (waited > 1.6) 'late' else how, '\\n')",
    "}"
  ))
  results <- trimws(sub("RESULT", "", grep("^RESULT", output, value = TRUE)))
  if (length(results) == times) results else output
}

test_that("20 interrupts of 20 arrive in a C++ loop", {
  skip_if_no_engine()
  skip_on_os("windows")
  expect_identical(interrupts("cpp"), rep("interrupt", 20L))
})

# Long enough for reticulate's own way to fail: its 22nd interrupt read freed memory.
test_that("60 interrupts of 60 arrive in a Python loop", {
  skip_if_no_engine()
  skip_on_os("windows")
  expect_identical(interrupts("python", times = 60L), rep("interrupt", 60L))
})

test_that("20 interrupts of 20 arrive in a factor fit", {
  skip_if_no_engine()
  skip_on_os("windows")
  # plain EM that never ends
  spin <- c(
    "panel <- matrix(sin(seq_len(6000)^1.5), 20)",
    "spin <- function() fit_factors(panel, factors = 2, accelerate = FALSE, tol = 1e-300, max_iter = 1e9)"
  )
  expect_identical(interrupts(spin = spin), rep("interrupt", 20L))
})

test_that("an interrupt ends the workers of a factor fit", {
  skip_if_no_engine()
  skip_on_os("windows")
  output <- run_r(c(
    "suppressPackageStartupMessages(library(isthmus))", "invisible(isthmus_available())",
    "panel <- matrix(sin(seq_len(12000)^1.5), 20)",
    "workers <- function() {",
    "  length(system(sprintf('ps --ppid %d -o cmd | grep [s]pawn_main', Sys.getpid()), intern = TRUE))",
    "}",
    "system(sprintf('(sleep 8; kill -INT %d) &', Sys.getpid()))",
    "how <- tryCatch({",
    "  fit_factors(panel, factors = 2, batch = rep(c('a/b', 'c'), 300), n_workers = 2, accelerate = FALSE,",
    "    tol = 1e-300, max_iter = 1e9)",
    "  'finished'",
    "}, interrupt = function(e) 'interrupt', error = conditionMessage)",
    "Sys.sleep(1)",
    "cat('RESULT', how, suppressWarnings(workers()))"
  ))
  expect_match(paste(output, collapse = "\n"), "RESULT interrupt 0", fixed = TRUE)
})

test_that("reticulate 1.28's nameless error is an interrupt", {
  pass <- isthmus:::let_interrupts_pass
  signalled <- tryCatch(
    pass(stop("RuntimeError: (Unknown exception occurred)")), interrupt = function(e) "interrupt"
  )
  expect_identical(signalled, "interrupt")
  expect_error(pass(stop("KeyError: 'a'")), "KeyError")
})
