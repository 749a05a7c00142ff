# Writes the golden objects of this folder: Rscript generate.R. Their bytes are committed; run it to add one.
library(compiler)
write <- function(name, object, version = 3L, compress = FALSE) saveRDS(object, name, version = version, compress = compress)

options(keep.source = FALSE)
calls <- cmpfun(function(x) { if (x > 1) system("id") else base::eval(quote(x + 1)) })
write("compiled_calls.rds", calls)
write("compiled_calls_2.rds", calls, version = 2L)

# The same expressions are shared between constants, and inner functions are code of their own.
harmless <- cmpfun(function(x, url) {
  total <- 0
  for (i in seq_along(x)) total <- total + switch(names(x)[i], a = x[[i]], b = sqrt(x[[i]]), 0)
  f <- function(y) y$z[1] + url
  tryCatch(f(list(z = total)), error = function(e) stop(e))
})
write("compiled_harmless.rds", harmless)

options(keep.source = TRUE)
parsed <- eval(parse(text = "function(x) { unlink(x) }", keep.source = TRUE))
# Where and when it was parsed is nobody's business.
file <- attr(attr(parsed, "srcref"), "srcfile")
file$wd <- "."
file$timestamp <- .POSIXct(0)
sourced <- cmpfun(parsed)
write("compiled_sourced.rds", sourced)
# Functions of the base namespace as R itself compiled them.
write("compiled_base.rds", base::nchar)

# Written as text.
con <- file("text_calls.rds", "w")
serialize(calls, con, ascii = TRUE)
close(con)
con <- file("text_values.rds", "w")
values <- list(n = c(1.5, NA, -Inf), i = c(1L, NA), z = 1i, r = as.raw(0:3), l = c(TRUE, NA), s = c("a b", NA, "\\\"\n\u00e9", ""), f = factor(c("x", "y")), d = data.frame(a = 1:2))
serialize(values, con, ascii = NA)
close(con)
