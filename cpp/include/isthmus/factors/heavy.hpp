// Rows of series with next to no noise of their own (near-Heywood), which the filter takes one at a time.
//
// Collapsed, a precision of 1e8 sits in one sum with those of the other series and costs them eight digits; one at a
// time (Durbin and Koopman 2012, section 6.4) it costs nothing.
#pragma once

#include "workspace.hpp"

namespace isthmus::ISTHMUS_ISA {

// A series is heavy where its row's variance is below this share of its mean square.
constexpr double heavy_below = 1e-4;

static inline double power_of(double x, int n) {
    double y = 1;
    for (int i = 0; i < n; ++i) y *= x;
    return y;
}

// v_k: variance of a row of gap k over sigma2; k = 0 is a first observation (or, without AR(1) terms, any).
static inline double gap_variance(const FactorPanel& panel, double phi, int gap) {
    if (!panel.ar1) return 1;
    if (gap == 0) return 1 / (1 - phi * phi);
    double sum = 0, term = 1;
    for (int i = 0; i < gap; ++i, term *= phi * phi) sum += term;
    return sum;
}

// Sum of squares and number of a series' observations.
static inline double mean_square(const FactorPanel& panel, int series) {
    double n = 0, sum = 0;
    for (int k = 0; k <= panel.max_gap; ++k) {
        const double* c = panel.counts + (static_cast<std::int64_t>(series) * (panel.max_gap + 1) + k) * 4;
        n += c[0], sum += c[1];
    }
    return n > 0 ? sum / n : 0;
}

// The first `max_heavy` of them: more are rare, and lose digits only.
static inline void choose_heavy(const FactorPanel& panel, const FactorParams& theta, Workspace& w) {
    w.n_heavy = 0;
    for (int i = 0; i < panel.n_series; ++i) {
        w.heavy_flag[i] = panel.kind[i] == collapsed_series && w.n_heavy < max_heavy &&
                          theta.variance[i] < heavy_below * mean_square(panel, i);
        if (w.heavy_flag[i]) w.heavy[w.n_heavy++] = i;
    }
}

struct HeavyRow {
    int n;  // weights on the state in w.z and w.z_index; 0 where there is no row
    double y, noise;
};

static inline HeavyRow weigh(const FactorPanel& panel, const FactorParams& theta, Workspace& w, int i, int gap,
                             double now, double before) {
    const int r = w.r;
    const double power = gap ? power_of(theta.phi[i], gap) : 0;
    HeavyRow row = {0, now - power * before, theta.variance[i] * gap_variance(panel, theta.phi[i], gap)};
    for (int a = 0; a < r; ++a) {
        if (!panel.loads[i * r + a]) continue;
        w.z_index[row.n] = a;
        w.z[row.n++] = theta.loadings[i * r + a];
        if (gap == 0) continue;
        w.z_index[row.n] = gap * r + a;
        w.z[row.n++] = -power * theta.loadings[i * r + a];
    }
    return row;
}

// The row of the h-th heavy series at time t.
static inline HeavyRow heavy_row(const FactorPanel& panel, const FactorParams& theta, Workspace& w, int h, int t) {
    const int i = w.heavy[h];
    const std::int64_t at = static_cast<std::int64_t>(i) * w.n_time + t;
    if (panel.mask[at] != 0) return weigh(panel, theta, w, i, panel.ar1 ? 1 : 0, panel.now[at], panel.before[at]);
    for (int e = panel.listed_start[t]; e < panel.listed_start[t + 1]; ++e)
        if (panel.listed_series[e] == i)
            return weigh(panel, theta, w, i, panel.listed_gap[e], panel.listed_now[e], panel.listed_before[e]);
    return {0, 0, 0};
}

}  // namespace isthmus::ISTHMUS_ISA
