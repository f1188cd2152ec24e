// What a fit of many genes reads and writes, as plain data.
//
// These structs are shared by translation units that are compiled for different instruction sets, so they hold pointers
// and numbers only: no member function, no std type, nothing that a linker could merge across builds.
#pragma once

#include <cstdint>

namespace isthmus {

constexpr int block_cells = 256;  // cells handled at once: a few arrays of this length stay in the L1 cache
constexpr int lane_count = 8;     // every stratum is padded to a multiple of this, so kernels have no remainder loops

// The log-linear predictors are clamped here. exp(eta + zeta) to the eighth power must stay finite (see `log1p_sum`).
constexpr double max_eta = 50.0;
constexpr double min_eta = -700.0;
constexpr double max_log_dispersion = 30.0;
constexpr double min_log_dispersion = -60.0;

enum GeneCode : std::int32_t { gene_ok = 0, gene_poisson_limit = 1, gene_not_converged = 2, gene_all_zero = 3 };

// A design matrix factored by strata: within a stratum the categorical columns are constant and stored once, as the
// nonzero entries of that row; only continuous columns have a value for each cell.
struct StratifiedDesign {
    int n_columns;
    int n_continuous;
    const int* continuous_column;  // (n_continuous) index of each continuous column
    const double* continuous;      // (n_continuous, n_padded)
    const int* entry_start;        // (n_strata + 1)
    const int* entry_column;
    const double* entry_value;
    const double* column_reach;  // (n_columns) largest absolute value: bounds the change of the predictor in a step
    const double* fixed_row;     // (n_strata) a part of the predictor with no parameter ...
    const double* fixed_cell;    // (n_padded) ... or null; the same where it differs within strata
};

constexpr int node_steps = 8, fewest_nodes = 16, most_nodes = 40;

// Points of exposure that stand for the cells of each stratum (nodes.hpp); n = 0: there are none.
struct Nodes {
    int n;
    const double* exposure;  // (n_strata, n) descending within a stratum
    const double* offset;    // (n_strata, n) its log
    const double* weight;    // (n_strata, n) how many cells each stands for
    const double* place;     // (n_padded) log exposure of a cell within its stratum's range, from -1 to 1
    const double*
        polynomial;  // (n, n) row m: the Chebyshev polynomial T_m at the n points, times 2 / n (1 / n for m = 0)
};

// Bins of similar cells, with which the iteration over cells starts (bins.hpp); n_padded = 0: there are none.
struct Bins {
    int n_padded;
    const int* start;            // (n_strata + 1) in padded bins
    const double* offset;        // (n_padded) log of the mean exposure; padding holds `min_eta`
    const double* weight;        // (n_padded) how many cells; 0 for padding
    const double* continuous;    // (n_continuous, n_padded)
    const int* bin_of_position;  // (n_padded cells)
};

// A count in the upper and the place of its cell within its block in the lower half (count_layout.hpp).
using PackedCount = std::uint32_t;
constexpr int block_places = 1 << 16, largest_packed = (1 << 16) - 1;

struct Problem {
    int n_cells;
    int n_padded;
    int n_strata;
    const int* stratum_start;  // (n_strata + 1) in padded positions
    StratifiedDesign mean;
    StratifiedDesign dispersion;     // n_columns = 0: Poisson
    const double* offset;            // (n_padded) natural log; padding holds `min_eta`
    const double* exposure;          // (n_padded) exp(offset); padding holds 0
    const double* stratum_exposure;  // (n_strata) sum of exposure
    const double* stratum_square;    // (n_strata) sum of its square
    const double* stratum_least;     // (n_strata) smallest exposure of a cell
    const int* stratum_cells;        // (n_strata) cells without padding
    Nodes nodes;
    Bins bins;
    int n_levels;                 // distinct rows of the dispersion design (used when it has no continuous column)
    const int* level_of_stratum;  // (n_strata)
    const int* stratum_of_level;  // (n_levels) one stratum that shows the level's row
    // counts, gene-major, positions ascending within a gene
    const std::int64_t* gene_start;  // (n_genes)
    const std::int64_t* gene_stop;   // (n_genes)
    const PackedCount* packed;       // one of the two is set: this, with where a gene's counts in each block end ...
    const std::int64_t* block_stop;  // (n_genes, n_blocks)
    int n_blocks;
    const std::int32_t* position;  // ... or these
    const double* count;
    int n_genes;
    // an offset for every cell and gene, in the caller's cell order; null where there is none
    const double* gene_offset;
    std::int64_t gene_offset_cell_stride;
    std::int64_t gene_offset_gene_stride;
    const int* cell_of_position;  // (n_padded) -1 for padding
    // a weight for every cell and gene, in the caller's cell order; null: all 1
    const double* weights;
    std::int64_t weight_cell_stride;
    std::int64_t weight_gene_stride;
    // memory for genes from one fit to the next (kept.hpp); null: none
    void* kept;
    const void* (*recall)(void* kept, int gene);              // what was kept of this gene, or null
    void* (*keep)(void* kept, int gene, std::int64_t bytes);  // null: there is no memory
    // what to do
    const double* start_mean;        // (n_genes, mean.n_columns) or null: chosen by the kernel
    const double* start_dispersion;  // (n_genes, dispersion.n_columns) or null
    bool fix_dispersion;
    int max_iter;
    double tol;
    bool (*stopped)(const void*);  // asked once a pass: the user pressed Ctrl-C
    const void* stop_context;
};

struct Results {
    double* mean_coef;        // (n_genes, f)
    double* dispersion_coef;  // (n_genes, g), log alpha
    double* log_likelihood;   // (n_genes) with every constant
    double* expected_info;    // (n_genes, f, f) mean block
    double* neg_hessian;      // (n_genes, f + g, f + g)
    double* decrement;        // (n_genes) predicted gain of one more Newton step, in log-likelihood
    double* gradient;         // (n_genes, f + g)
    double* min_mean;         // (n_genes) smallest fitted mean over cells
    double* min_dispersion;   // (n_genes) smallest, largest and average alpha over cells
    double* max_dispersion;
    double* mean_dispersion;
    std::int32_t* n_iter;
    std::int32_t* code;
};

}  // namespace isthmus
