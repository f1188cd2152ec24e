// Expected sufficient statistics of the complete data, from the smoother.
#pragma once

#include "filter.hpp"

namespace isthmus::ISTHMUS_ISA {

static inline const double* cov_at(const Workspace& w, int t) {
    return w.cov + static_cast<std::int64_t>(w.cov_slot[t]) * w.m * w.m;
}
static inline double mean_at(const Workspace& w, int state, int t) {
    return w.smoothed[static_cast<std::int64_t>(state) * w.n_time + t];
}
// E a_i a_j at time t, given all data.
static inline double second_at(const Workspace& w, int i, int j, int t) {
    return cov_at(w, t)[i * w.m + j] + mean_at(w, i, t) * mean_at(w, j, t);
}

// Sum over t = 1..T-1 of E x x', x = (f_t, ..., f_t-order), into w.moments.
static inline void transition_moments(const FactorPanel& panel, Workspace& w) {
    const int n = w.r * (panel.order + 1), n_time = w.n_time, m = w.m;
    fill(w.moments, 0, n * n);
    for (int t = 1; t < n_time;) {
        int end = t + 1;
        while (end < n_time && w.cov_slot[end] == w.cov_slot[t]) ++end;
        for (int i = 0; i < n; ++i) add_scaled(w.moments + i * n, end - t, cov_at(w, t) + i * m, n);
        t = end;
    }
    for (int i = 0; i < n; ++i)
        for (int j = 0; j <= i; ++j) {
            const double* a = w.smoothed + static_cast<std::int64_t>(i) * n_time;
            const double* b = w.smoothed + static_cast<std::int64_t>(j) * n_time;
            w.moments[i * n + j] += dot(a + 1, b + 1, n_time - 1);
            w.moments[j * n + i] = w.moments[i * n + j];
        }
}

// Which states the entries of `packed` and `total` multiply; returns how many there are.
template <class Use>
static inline void each_moment(const FactorPanel& panel, int r, Use use) {
    int q = 0;
    for (int i = 0; i < r; ++i)
        for (int j = 0; j <= i; ++j) use(q++, i, j);
    if (!panel.ar1) return;
    for (int i = 0; i < r; ++i)
        for (int j = 0; j < r; ++j) use(q++, i, r + j);
    for (int i = 0; i < r; ++i)
        for (int j = 0; j <= i; ++j) use(q++, r + i, r + j);
}

// Moments of the dense rows: summed over time for series without gaps, by time for the others.
static inline void dense_moments(const FactorPanel& panel, Workspace& w) {
    const int n = w.r * (panel.order + 1), n_time = w.n_time, m = w.m;
    bool gaps = false;
    for (int i = 0; i < panel.n_series; ++i) gaps = gaps || (panel.kind[i] == collapsed_series && !panel.full[i]);
    each_moment(panel, w.r, [&](int q, int i, int j) {
        w.total[q] = w.moments[i * n + j] + (panel.ar1 ? 0 : second_at(w, i, j, 0));
        if (!gaps) return;
        double* out = w.packed + static_cast<std::int64_t>(q) * n_time;
        const double* a = w.smoothed + static_cast<std::int64_t>(i) * n_time;
        const double* b = w.smoothed + static_cast<std::int64_t>(j) * n_time;
        for (int t = 0; t < n_time; ++t) out[t] = cov_at(w, t)[i * m + j];
#pragma omp simd
        for (int t = 0; t < n_time; ++t) out[t] += a[t] * b[t];
    });
}

static inline void put_moment(const Cell& c, int r, int i, int j, double value) {
    if (i < r && j < r)
        c.ff[i * r + j] = c.ff[j * r + i] = value;
    else if (i < r)
        c.f0[i * r + j - r] = value;
    else
        c.f00[(i - r) * r + j - r] = c.f00[(j - r) * r + i - r] = value;
}

static inline void dense_cells(const FactorPanel& panel, Workspace& w, int series) {
    const int r = w.r, n_time = w.n_time;
    const std::int64_t from = static_cast<std::int64_t>(series) * n_time;
    const Cell c = cell_of(w, series, panel.ar1 ? 1 : 0);
    const unsigned char* loads = panel.loads + series * r;
    each_moment(panel, r, [&](int q, int i, int j) {
        if (!loads[i % r] || !loads[j % r]) return;
        const double* by_time = w.packed + static_cast<std::int64_t>(q) * n_time;
        put_moment(c, r, i, j, panel.full[series] ? w.total[q] : dot(panel.mask + from, by_time, n_time));
    });
    for (int i = 0; i < r; ++i) {
        if (!loads[i]) continue;
        const double* f = w.smoothed + static_cast<std::int64_t>(i) * n_time;
        c.yf[i] = dot(panel.now + from, f, n_time);
        if (!panel.ar1) continue;
        const double* f0 = w.smoothed + static_cast<std::int64_t>(r + i) * n_time;
        c.yf0[i] = dot(panel.now + from, f0, n_time);
        c.y0f[i] = dot(panel.before + from, f, n_time);
        c.y0f0[i] = dot(panel.before + from, f0, n_time);
    }
}

static inline void listed_cells(const FactorPanel& panel, Workspace& w) {
    const int r = w.r;
    for (int t = 0; t < w.n_time; ++t)
        for (int e = panel.listed_start[t]; e < panel.listed_start[t + 1]; ++e) {
            const int k = panel.listed_gap[e];
            const Cell c = cell_of(w, panel.listed_series[e], k);
            const double y = panel.listed_now[e], y0 = panel.listed_before[e];
            for (int i = 0; i < r; ++i) {
                for (int j = 0; j < r; ++j) c.ff[i * r + j] += second_at(w, i, j, t);
                c.yf[i] += y * mean_at(w, i, t);
                if (k == 0) continue;
                for (int j = 0; j < r; ++j) {
                    c.f0[i * r + j] += second_at(w, i, k * r + j, t);
                    c.f00[i * r + j] += second_at(w, k * r + i, k * r + j, t);
                }
                c.yf0[i] += y * mean_at(w, k * r + i, t);
                c.y0f[i] += y0 * mean_at(w, i, t);
                c.y0f0[i] += y0 * mean_at(w, k * r + i, t);
            }
        }
}

// A series whose e_t is a state. With y_t = lambda'f_t + e_t where observed, the complete data are the factors and the
// e_t of the gaps: the rows are those of gap 1, with e_t in the place of y_t and 0 in the place of f_t in a gap.
static inline void chain_cells(const FactorPanel& panel, Workspace& w, int series) {
    const int r = w.r, x = panel.extra[series];
    const unsigned char* observed = panel.observed + static_cast<std::int64_t>(series) * w.n_time;
    const double* y = panel.values + static_cast<std::int64_t>(series) * w.n_time;
    for (int t = 0; t < w.n_time; ++t) {
        const bool now = observed[t], before = t > 0 && observed[t - 1];
        const Cell c = cell_of(w, series, t > 0 ? 1 : 0);
        const double z = now ? y[t] : mean_at(w, x, t);
        const double z0 = t == 0 ? 0 : (before ? y[t - 1] : mean_at(w, x + 1, t));
        auto with = [&](bool seen, double value, int own, int factor) {  // E of (y or e) times a factor
            return seen ? value * mean_at(w, factor, t) : second_at(w, own, factor, t);
        };
        for (int i = 0; i < r; ++i) {
            for (int j = 0; j < r; ++j) {
                if (now) c.ff[i * r + j] += second_at(w, i, j, t);
                if (now && before) c.f0[i * r + j] += second_at(w, i, r + j, t);
                if (before) c.f00[i * r + j] += second_at(w, r + i, r + j, t);
            }
            if (now) c.yf[i] += with(now, z, x, i);
            if (now && t > 0) c.y0f[i] += with(before, z0, x + 1, i);
            if (before) c.yf0[i] += with(now, z, x, r + i);
            if (before) c.y0f0[i] += with(before, z0, x + 1, r + i);
        }
        const double* v = cov_at(w, t);
        c.yy[0] += 1;
        c.yy[1] += z * z + (now ? 0 : v[x * w.m + x]);
        if (t == 0) continue;
        c.yy[2] += z * z0 + (now || before ? 0 : v[x * w.m + x + 1]);
        c.yy[3] += z0 * z0 + (before ? 0 : v[(x + 1) * w.m + x + 1]);
    }
}

// A quarterly series: its cells hold the moments of e alone, and w.quarterly those with g_t = f_t + 2 f_t-1 + ... at
// the observed times: E g g' and E e_t-j g, j = 0..4.
static inline void quarterly_cells(const FactorPanel& panel, Workspace& w, int series) {
    static constexpr double weights[5] = {1, 2, 3, 2, 1};
    const int r = w.r, x = panel.extra[series];
    double *gg = w.quarterly + static_cast<std::int64_t>(r) * (r + 5) * series, *eg = gg + r * r;
    const Cell first = cell_of(w, series, 0), c = cell_of(w, series, panel.ar1 ? 1 : 0);
    auto add = [&](int own, int t) {
        c.yy[0] += 1;
        c.yy[1] += second_at(w, own, own, t);
        if (!panel.ar1) return;
        c.yy[2] += second_at(w, own, own + 1, t);
        c.yy[3] += second_at(w, own + 1, own + 1, t);
    };
    first.yy[0] += 1;
    first.yy[1] += second_at(w, x + 4, x + 4, 0);
    for (int l = 0; l < 4; ++l) add(x + l, 0);
    for (int t = 1; t < w.n_time; ++t) add(x, t);
    fill(gg, 0, r * (r + 5));
    for (int t = 0; t < w.n_time; ++t) {
        if (!panel.observed[static_cast<std::int64_t>(series) * w.n_time + t]) continue;
        for (int l = 0; l < 5; ++l)
            for (int i = 0; i < r; ++i) {
                for (int k = 0; k < 5; ++k)
                    for (int j = 0; j < r; ++j)
                        gg[i * r + j] += weights[l] * weights[k] * second_at(w, l * r + i, k * r + j, t);
                for (int k = 0; k < 5; ++k) eg[k * r + i] += weights[l] * second_at(w, l * r + i, x + k, t);
            }
    }
}

// Everything the maximisation and the score read.
static inline void all_moments(const FactorPanel& panel, Workspace& w) {
    const int r = w.r, size = 3 * r * r + 4 * r;
    transition_moments(panel, w);
    dense_moments(panel, w);
    for (int i = 0; i < panel.n_series; ++i)
        for (int k = 0; k < w.n_kinds; ++k) {
            const Cell c = cell_of(w, i, k);
            fill(c.ff, 0, size);
            copy(c.yy, panel.counts + (static_cast<std::int64_t>(i) * w.n_kinds + k) * 4, 4);
        }
    listed_cells(panel, w);
    for (int i = 0; i < panel.n_series; ++i) {
        if (panel.kind[i] == collapsed_series) dense_cells(panel, w, i);
        if (panel.kind[i] == chain_series) chain_cells(panel, w, i);
        if (panel.kind[i] == quarterly_series) quarterly_cells(panel, w, i);
    }
}

}  // namespace isthmus::ISTHMUS_ISA
