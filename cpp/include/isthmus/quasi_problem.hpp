// What the residual deviances of quasi-likelihood read and write, as plain data (see problem.hpp).
#pragma once

#include <cstdint>

namespace isthmus {

struct QuasiProblem {
    int n_padded;  // cells, in the caller's order, then padding to a multiple of lane_count
    int n_columns;
    const double* x;       // (n_columns, n_padded)
    const double* offset;  // (n_padded) natural log; padding holds `min_eta`
    const double* live;    // (n_padded) 1 for a cell, 0 for padding
    // log expectation and log variance of the unit deviance at a gene's dispersion: a cubic polynomial of each in the
    // log mean on every piece of a grid, eight coefficients in ascending order
    double low, step;
    int n_pieces;
    const double* pieces;  // (n_genes, n_pieces, 8)
    // counts by gene
    int n_genes;
    const std::int64_t* gene_start;  // (n_genes + 1)
    const std::int32_t* cell;
    const double* count;
    const double* coef;     // (n_genes, n_columns)
    const double* alpha;    // (n_genes)
    const double* inverse;  // (n_genes, n_columns, n_columns) of the information of the mean
    // for every cell and gene; null where there is none
    int n_cells;
    const double* gene_offset;
    std::int64_t gene_offset_cell_stride, gene_offset_gene_stride;
    const double* weights;
    std::int64_t weight_cell_stride, weight_gene_stride;
    double* deviance;  // (n_genes)
    double* df;        // (n_genes)
};

}  // namespace isthmus
