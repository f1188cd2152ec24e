// The kernel's scratch memory: one stretch of doubles and one of ints, cut up the same way for every call.
#pragma once

#include "panel.hpp"
#include "small_matrix.hpp"

namespace isthmus::ISTHMUS_ISA {

constexpr int max_heavy = 32;  // series whose rows are taken one at a time

struct Sizes {
    std::int64_t doubles, ints;
};

struct Workspace {
    int r, m, mc, tri, n_time, n_kinds, moment_size;
    // collapsed observations, component by time
    double *j_dense, *b_dense, *j_full, *row;
    // filter: per time, and per slot (times that share their covariances share a slot)
    double *predicted, *filtered, *u, *p, *dp, *d, *root, *gain, *s_root, *log_det, *exact, *heavy_kept, *filtered_cov,
        *next_state, *next_cov;
    bool for_smoother = true;  // whether what the smoother reads is kept
    int *predicted_slot, *cov_slot, *heavy, *heavy_flag, n_heavy;
    // smoother: component by time, and per slot
    double *smoothed, *cov;
    // one matrix or vector at a time
    double *j, *b, *g, *pf, *x1, *x2, *n, *adjoint, *v1, *v2, *z;
    int* z_index;
    // maximisation
    double *cells, *quarterly, *packed, *total, *block, *moments, *edge;

    // Lay everything out from `memory` (null: only measure).
    Sizes lay_out(const FactorPanel& panel, double* memory, int* ints, bool keep_filtered) {
        double* at = memory;
        std::int64_t used = 0;
        auto take = [&](std::int64_t size) {
            size = (size + 7) / 8 * 8;
            used += size;
            return memory ? (at += size) - size : nullptr;
        };
        dimensions(panel);
        const std::int64_t t = n_time, mm = static_cast<std::int64_t>(m) * m;
        j_dense = take(3 * tri * t), b_dense = take(2 * r * t), j_full = take(3 * tri), row = take(t);
        predicted = take(t * m), filtered = take(t * m), u = take(t * mc);
        p = take(t * mm), dp = take(t * mc * m), d = take(t * mc * mc);
        root = take(t * mc * mc), gain = take(t * mc * mc), s_root = take(t * mc * mc), log_det = take(t);
        exact = take((m + 2) * static_cast<std::int64_t>(panel.exact_start ? panel.exact_start[n_time] : 0));
        heavy_kept = take((m + 2) * t * max_heavy);
        filtered_cov = keep_filtered ? take(t * mm) : nullptr;
        next_state = take(m), next_cov = take(mm);
        smoothed = take(t * m), cov = take(t * mm);
        j = take(mc * mc), b = take(mc), g = take(mc * m);
        pf = take(mm), x1 = take(mm), x2 = take(mm), n = take(mm), adjoint = take(2 * m);
        v1 = take(m), v2 = take(m), z = take(5 * r + 5);
        const std::int64_t cell = 3 * r * r + 4 * r + 4;
        cells = take(cell * n_kinds * panel.n_series);
        quarterly = take(static_cast<std::int64_t>(r) * (r + 5) * panel.n_series);
        packed = take(moment_size * t), total = take(moment_size);
        const std::int64_t stacked = static_cast<std::int64_t>(r) * (panel.order + 1);
        moments = take(stacked * stacked), edge = take(mm);
        const std::int64_t widest = static_cast<std::int64_t>(r) * (panel.order + panel.initial_lags + 2);
        block = take(24 * widest * widest);
        if (ints) {
            predicted_slot = ints, cov_slot = ints + t, z_index = ints + 2 * t;
            heavy = z_index + 5 * r + 5, heavy_flag = heavy + max_heavy;
        }
        return {used, 2 * t + 5 * r + 5 + max_heavy + panel.n_series};
    }

    // Whether the series enters through b and J.
    bool collapses(const FactorPanel& panel, int series) const {
        return panel.kind[series] == collapsed_series && !heavy_flag[series];
    }

  private:
    void dimensions(const FactorPanel& panel) {
        r = panel.n_factors, m = panel.n_states, mc = r * (panel.max_gap + 1), tri = r * (r + 1) / 2;
        n_time = panel.n_time, n_kinds = panel.max_gap + 1;
        moment_size = panel.ar1 ? r * (2 * r + 1) : tri;
    }
};

// One cell of moments: rows of series i whose gap is k. Everything is summed over the rows; f is the factors at the
// row's time, f0 those k times earlier.
struct Cell {
    double *ff, *f0, *f00;          // E f f', E f f0', E f0 f0'
    double *yf, *yf0, *y0f, *y0f0;  // y_t E f, y_t E f0, y_t-k E f, y_t-k E f0
    double* yy;                     // rows, sum y_t^2, sum y_t y_t-k, sum y_t-k^2
};
static inline Cell cell_of(const Workspace& w, int series, int gap) {
    const int r = w.r;
    double* at = w.cells + static_cast<std::int64_t>(3 * r * r + 4 * r + 4) * (series * w.n_kinds + gap);
    double* y = at + 3 * r * r;
    return {at, at + r * r, at + 2 * r * r, y, y + r, y + 2 * r, y + 3 * r, y + 4 * r};
}

}  // namespace isthmus::ISTHMUS_ISA
