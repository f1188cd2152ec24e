// Fitted means of a block of cells, and what is reported of them at the optimum.
#pragma once

#include "stratum_sums.hpp"

namespace isthmus::ISTHMUS_ISA {

// What a pass runs over: all cells, the cells in which a gene has counts, or bins of cells.
struct Rows {
    const double *offset, *exposure, *continuous;
    std::int64_t stride;  // from one continuous column to the next
};

static inline Rows rows_of_cells(const Problem& p, const Gene& g) {
    return {g.offset, g.exposure, p.mean.continuous, p.n_padded};
}

// mu of the rows at [first, first + n). Without continuous columns no exponential is needed: exp(offset) is stored.
static inline void fitted_means(const StratifiedDesign& d, const Rows& rows, int first, int n, double base,
                                const double* coef, double* mu) {
    if (d.n_continuous == 0) {
        const Pack scale = exp_pack(all(smaller(base, max_eta)));
        for (int i = 0; i < n; i += pack_lanes) store(mu + i, scale * load(rows.exposure + first + i));
        return;
    }
    const double *offset = rows.offset + first, *x = rows.continuous + first;
    if (d.n_continuous == 2) {  // the usual small designs: no loop within the loop
        const double a = coef[d.continuous_column[0]], b = coef[d.continuous_column[1]];
        const double* x2 = x + rows.stride;
        for (int i = 0; i < n; i += pack_lanes)
            store(mu + i, exp_pack(at_most(load(offset + i) + base + a * load(x + i) + b * load(x2 + i), max_eta)));
        return;
    }
    for (int i = 0; i < n; i += pack_lanes) {
        Pack eta = load(offset + i) + base;
        for (int c = 0; c < d.n_continuous; ++c) eta += coef[d.continuous_column[c]] * load(x + c * rows.stride + i);
        store(mu + i, exp_pack(at_most(eta, max_eta)));
    }
}

static inline void fitted_means(const Problem& p, const Gene& g, int first, int n, double base, const double* coef,
                                double* mu) {
    fitted_means(p.mean, rows_of_cells(p, g), first, n, base, coef, mu);
}

static inline int cells_in_block(const Problem& p, int stratum, int first) {
    const int left = p.stratum_start[stratum + 1] - first;
    return left < block_cells ? left : block_cells;
}

static inline void note_dispersion(double alpha, int cells, Summary& out) {
    out.min_dispersion = smaller(out.min_dispersion, alpha);
    out.max_dispersion = larger(out.max_dispersion, alpha);
    out.mean_dispersion += cells * alpha;
}

static inline void add_expected(const Problem& p, const Block& b, int first, int n, StratumSums& s, Summary& out) {
    Pack total{}, square{}, least = all(1e300);
    for (int i = 0; i < n; i += pack_lanes) {
        const Pack mu = load(b.mu + i);
        store(b.ge + i, mu * load(b.v + i));
        total += mu;
        square += mu * mu;
        least = smaller(least, select(mu < 1e-300, all(1e300), mu));  // padding has no mean
    }
    s.mean_total += sum(total);
    s.mean_square += sum(square);
    add_weighted_square(b.ge, p.mean.continuous + first, p.n_padded, p.mean.n_continuous, n, b.work, s.ee);
    out.min_mean = smaller(out.min_mean, smallest(least));
}

}  // namespace isthmus::ISTHMUS_ISA
