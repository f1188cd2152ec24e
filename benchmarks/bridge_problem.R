# Counts with the same number of stored values in each cell, and names; nothing else that would take time.
bridge_problem <- function(n_genes, n_cells, density) {
  set.seed(1)
  per_cell <- round(n_genes * density)
  rows <- unlist(lapply(seq_len(n_cells), function(k) sort.int(sample.int(n_genes, per_cell)) - 1L))
  counts <- methods::new(
    "dgCMatrix",
    i = rows, p = as.integer(seq(0, n_cells * per_cell, by = per_cell)),
    x = as.double(stats::rpois(n_cells * per_cell, 2) + 1), Dim = as.integer(c(n_genes, n_cells))
  )
  SingleCellExperiment::SingleCellExperiment(
    list(counts = counts),
    rowData = S4Vectors::DataFrame(row.names = paste0("gene", seq_len(n_genes))),
    colData = S4Vectors::DataFrame(row.names = paste0("cell", seq_len(n_cells)))
  )
}
