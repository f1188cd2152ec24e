// What a pass over the cells of a stratum adds up, the memory it works in, and sums of blocks of cells.
#pragma once

#include "node_sums.hpp"

namespace isthmus::ISTHMUS_ISA {

struct Derivatives {
    double value;       // without log y!
    double magnitude;   // sum of absolute parts of the value: times 2^-52 it is the noise of `value`
    double* gradient;   // (f + g)
    double* curvature;  // (f + g)^2, minus the Hessian
};

// Extras of the last evaluation at the optimum.
struct Summary {
    double* expected;  // (f, f) Fisher information of the mean model
    double min_mean;
    double min_dispersion, max_dispersion, mean_dispersion;
    double max_excess;  // over strata, alpha * sum mu^2 / sum mu: how far from Poisson the furthest is
};

// Sums over the cells of one stratum. Index 0 stands for the stratum's own row, 1.. for the continuous columns.
struct StratumSums {
    double *ge, *he, *ee;     // gradient (1+k), curvature (1+k)^2, expected information (1+k)^2, in eta
    double *gz, *hz, *cross;  // (1+m), (1+m)^2, (1+k)(1+m)
    double log_part;          // sum log(1 + t) / alpha
    double y_log_v;           // sum y log v
    double rising;            // sum S0, cell by cell (only when alpha differs within a stratum)
    double mean_total, mean_square;
};

struct Block {
    double *mu, *v, *ge, *he, *alpha, *gz, *hz, *cross, *work, *count, *count_v;
};

struct Workspace {
    Block block;
    StratumSums sums;
    double* y_v;  // sum y v (1, x) of a stratum
};

static inline std::int64_t workspace_bytes(const Problem& p) {
    const std::int64_t k = 1 + p.mean.n_continuous, m = 1 + p.dispersion.n_continuous;
    return 8 * (11 * (block_cells + lane_count) + 2 * k + 2 * k * k + m + m * m + k * m) + 64 * 21;
}

static inline Workspace make_workspace(const Problem& p, Arena& arena) {
    const int k = 1 + p.mean.n_continuous, m = 1 + p.dispersion.n_continuous;
    Workspace w;
    double** buffers[] = {&w.block.mu, &w.block.v,     &w.block.ge,   &w.block.he,    &w.block.alpha,  &w.block.gz,
                          &w.block.hz, &w.block.cross, &w.block.work, &w.block.count, &w.block.count_v};
    for (double** b : buffers) *b = arena.take<double>(block_cells + lane_count);
    w.sums.ge = arena.take<double>(k);
    w.sums.he = arena.take<double>(k * k);
    w.sums.ee = arena.take<double>(k * k);
    w.sums.gz = arena.take<double>(m);
    w.sums.hz = arena.take<double>(m * m);
    w.sums.cross = arena.take<double>(k * m);
    w.y_v = arena.take<double>(k);
    return w;
}

static inline void clear(double* x, int n) {
    for (int i = 0; i < n; ++i) x[i] = 0;
}

static inline void clear(StratumSums& s, int k, int m) {
    clear(s.ge, k);
    clear(s.he, k * k);
    clear(s.ee, k * k);
    clear(s.gz, m);
    clear(s.hz, m * m);
    clear(s.cross, k * m);
    s.log_part = s.y_log_v = s.rising = s.mean_total = s.mean_square = 0;
}

// g += sum w x over (1, columns).
static inline void add_weighted(const double* w, const double* columns, std::int64_t stride, int n_columns, int n,
                                double* g) {
    Pack total{};
    for (int i = 0; i < n; i += pack_lanes) total += load(w + i);
    g[0] += sum(total);
    for (int c = 0; c < n_columns; ++c) {
        const double* x = columns + c * stride;
        Pack t{};
        for (int i = 0; i < n; i += pack_lanes) t += load(w + i) * load(x + i);
        g[c + 1] += sum(t);
    }
}

// h += sum w x x' over (1, columns), lower triangle, (1 + n_columns) wide.
static inline void add_weighted_square(const double* w, const double* columns, std::int64_t stride, int n_columns,
                                       int n, double* work, double* h) {
    const int width = 1 + n_columns;
    Pack total{};
    for (int i = 0; i < n; i += pack_lanes) total += load(w + i);
    h[0] += sum(total);
    for (int c = 0; c < n_columns; ++c) {
        const double* x = columns + c * stride;
        Pack first{};
        for (int i = 0; i < n; i += pack_lanes) {
            const Pack wx = load(w + i) * load(x + i);
            store(work + i, wx);
            first += wx;
        }
        double* row = h + (c + 1) * width;
        row[0] += sum(first);
        int d = 0;
        for (; d + 1 <= c; d += 2) {  // two columns at a time: one load of `work` serves both
            const double *xa = columns + d * stride, *xb = columns + (d + 1) * stride;
            Pack a{}, b{};
            for (int i = 0; i < n; i += pack_lanes) {
                const Pack wx = load(work + i);
                a += wx * load(xa + i);
                b += wx * load(xb + i);
            }
            row[d + 1] += sum(a);
            row[d + 2] += sum(b);
        }
        if (d <= c) {
            const double* xa = columns + d * stride;
            Pack a{};
            for (int i = 0; i < n; i += pack_lanes) a += load(work + i) * load(xa + i);
            row[d + 1] += sum(a);
        }
    }
}

// Both of these at once for one or two continuous columns, whose sums stay in registers: g += sum a x, h += sum b x x'.
template <int columns>
static inline void add_both(const double* a, const double* b, const double* x, std::int64_t stride, int n, double* g,
                            double* h) {
    constexpr int width = 1 + columns;
    Native first[width] = {}, second[width * width] = {};
    for (int i = 0; i < n; i += native_lanes) {
        Native row[width];
        const Native ai = load_native(a + i), bi = load_native(b + i);
        first[0] += ai;
        second[0] += bi;
        for (int c = 0; c < columns; ++c) {
            row[c] = load_native(x + c * stride + i);
            first[c + 1] += ai * row[c];
            const Native weighted = bi * row[c];
            second[(c + 1) * width] += weighted;
            for (int d = 0; d <= c; ++d) second[(c + 1) * width + d + 1] += weighted * row[d];
        }
    }
    for (int i = 0; i < width; ++i) {
        g[i] += sum_native(first[i]);
        for (int j = 0; j <= i; ++j) h[i * width + j] += sum_native(second[i * width + j]);
    }
}

static inline void add_gradient_and_curvature(const double* a, const double* b, const double* x, std::int64_t stride,
                                              int n_columns, int n, double* work, double* g, double* h) {
    if (n_columns == 1) return add_both<1>(a, b, x, stride, n, g, h);
    if (n_columns == 2) return add_both<2>(a, b, x, stride, n, g, h);
    add_weighted(a, x, stride, n_columns, n, g);
    add_weighted_square(b, x, stride, n_columns, n, work, h);
}

}  // namespace isthmus::ISTHMUS_ISA
