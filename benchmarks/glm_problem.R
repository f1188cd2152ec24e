# The problem that benchmarks/glm.py wrote, as R objects: counts (genes x cells dgCMatrix), size_factors, design.
# The arrays of a cells x genes CSR matrix are those of a genes x cells dgCMatrix.
read_problem <- function(folder) {
  shape <- jsonlite::fromJSON(file.path(folder, "shape.json"))
  numbers <- function(name, type, n, size) {
    readBin(file.path(folder, paste0(name, ".bin")), type, n, size = size, endian = "little")
  }
  counts <- Matrix::sparseMatrix(
    i = numbers("indices", "integer", shape$nnz, 4L), p = numbers("indptr", "integer", shape$n_cells + 1L, 4L),
    x = numbers("data", "double", shape$nnz, 8L), dims = c(shape$n_genes, shape$n_cells), index1 = FALSE
  )
  dimnames(counts) <- list(paste0("gene", seq_len(nrow(counts))), paste0("cell", seq_len(ncol(counts))))
  design <- matrix(numbers("design", "double", 6L * shape$n_cells, 8L), ncol = 6L)
  colnames(design) <- c("Intercept", "cond", "batch1", "batch2", "age", "score")
  list(counts = counts, size_factors = numbers("size_factors", "double", shape$n_cells, 8L), design = design)
}
