// One series: its loadings by generalised least squares, then (phi, sigma2) together; and its part of the score.
#pragma once

#include "moments.hpp"

namespace isthmus::ISTHMUS_ISA {

// d v_k / d phi.
static inline double gap_variance_slope(const FactorPanel& panel, double phi, int gap) {
    if (!panel.ar1) return 0;
    if (gap == 0) return 2 * phi / ((1 - phi * phi) * (1 - phi * phi));
    double sum = 0;
    for (int i = 1; i < gap; ++i) sum += 2 * i * power_of(phi, 2 * i - 1);
    return sum;
}

// Expected squares of e at the rows of one cell, for given loadings: E e_t^2, E e_t e_t-k, E e_t-k^2.
struct Squares {
    double now, cross, before;
};
static inline Squares squares(const FactorPanel& panel, const Cell& c, const double* lambda, int r, int gap) {
    Squares s = {c.yy[1] - 2 * dot(lambda, c.yf, r), 0, 0};
    for (int i = 0; i < r; ++i) s.now += lambda[i] * dot(c.ff + i * r, lambda, r);
    if (!panel.ar1 || gap == 0) return s;
    s.cross = c.yy[2] - dot(lambda, c.yf0, r) - dot(lambda, c.y0f, r);
    s.before = c.yy[3] - 2 * dot(lambda, c.y0f0, r);
    for (int i = 0; i < r; ++i) {
        s.cross += lambda[i] * dot(c.f0 + i * r, lambda, r);
        s.before += lambda[i] * dot(c.f00 + i * r, lambda, r);
    }
    return s;
}

// Normal equations of the loadings times sigma2, over all factors: a (r x r), b (r).
static inline void normal_equations(const FactorPanel& panel, const Workspace& w, int series, double phi, double* a,
                                    double* b) {
    const int r = w.r;
    fill(a, 0, r * r);
    fill(b, 0, r);
    for (int k = 0; k < w.n_kinds; ++k) {
        const Cell c = cell_of(w, series, k);
        if (c.yy[0] == 0) continue;
        const double scale = 1 / gap_variance(panel, phi, k), power = k ? power_of(phi, k) : 0;
        add_scaled(a, scale, c.ff, r * r);
        add_scaled(b, scale, c.yf, r);
        if (k == 0) continue;
        for (int i = 0; i < r; ++i) {
            for (int j = 0; j < r; ++j)
                a[i * r + j] +=
                    scale * (power * power * c.f00[i * r + j] - power * (c.f0[i * r + j] + c.f0[j * r + i]));
            b[i] += scale * (power * power * c.y0f0[i] - power * (c.yf0[i] + c.y0f[i]));
        }
    }
}

// The same for a quarterly series, for the change of its loadings. Each observation fixes one e, that of the quarter's
// first month, which no other observation contains: e_t-2 = (y_t - lambda'g_t - e_t - 2 e_t-1 - 2 e_t-3 - e_t-4) / 3.
static inline void quarterly_equations(const Workspace& w, int series, double phi, double* a, double* b) {
    const int r = w.r;
    const double *gg = w.quarterly + static_cast<std::int64_t>(r) * (r + 5) * series, *eg = gg + r * r;
    for (int i = 0; i < r * r; ++i) a[i] = gg[i] * (1 + phi * phi) / 9;
    for (int i = 0; i < r; ++i) b[i] = ((1 + phi * phi) * eg[2 * r + i] - phi * (eg[r + i] + eg[3 * r + i])) / 3;
}

// After the loadings of a quarterly series moved by `change`: the moments of its e.
static inline void move_quarterly(const FactorPanel& panel, const Workspace& w, int series, const double* change) {
    const int r = w.r;
    const double *gg = w.quarterly + static_cast<std::int64_t>(r) * (r + 5) * series, *eg = gg + r * r;
    const Cell c = cell_of(w, series, panel.ar1 ? 1 : 0);
    double square = -2 * dot(change, eg + 2 * r, r) / 3;
    for (int i = 0; i < r; ++i) square += change[i] * dot(gg + i * r, change, r) / 9;
    c.yy[1] += square;
    if (!panel.ar1) return;
    c.yy[2] -= (dot(change, eg + r, r) + dot(change, eg + 3 * r, r)) / 3;
    c.yy[3] += square;
}

// Solve the free loadings' equations; false (and x untouched) where they are singular.
static inline bool solve_free(const unsigned char* loads, const double* a, const double* b, int r, double* work,
                              double* x) {
    int free[64], n = 0;
    for (int i = 0; i < r; ++i)
        if (loads[i]) free[n++] = i;
    double* rhs = work + n * n;
    for (int i = 0; i < n; ++i) {
        for (int j = 0; j < n; ++j) work[i * n + j] = a[free[i] * r + free[j]];
        rhs[i] = b[free[i]];
    }
    if (!factorise(work, n)) return false;
    solve_lower(work, n, rhs, 1);
    solve_upper(work, n, rhs, 1);
    for (int i = 0; i < n; ++i) x[free[i]] = rhs[i];
    return true;
}

// sigma2 is profiled out: h(phi) = n log S(phi) + sum n_k log v_k(phi), S = sum of squares over v_k. Half of -2 Q.
struct Profile {
    double rows, sum, slope, log_variance;  // S, h'(phi), sum n_k log v_k
};
static inline Profile profile(const FactorPanel& panel, const Workspace& w, int series, const Squares* s, double phi) {
    Profile p = {0, 0, 0, 0};
    double sum_slope = 0, log_slope = 0;
    for (int k = 0; k < w.n_kinds; ++k) {
        const double n = cell_of(w, series, k).yy[0];
        if (n == 0) continue;
        const double v = gap_variance(panel, phi, k), dv = gap_variance_slope(panel, phi, k);
        const double power = k ? power_of(phi, k) : 0, slope = k ? k * power_of(phi, k - 1) : 0;
        const double square = s[k].now - 2 * power * s[k].cross + power * power * s[k].before;
        const double change = 2 * slope * (power * s[k].before - s[k].cross);
        p.rows += n;
        p.sum += square / v;
        sum_slope += (change - square * dv / v) / v;
        log_slope += n * dv / v;
        p.log_variance += v == 1 ? 0 : n * __builtin_log(v);
    }
    p.slope = p.rows * sum_slope / p.sum + log_slope;
    return p;
}
static inline double profile_value(const Profile& p) { return p.rows * __builtin_log(p.sum) + p.log_variance; }

// Newton on h'(phi), then back towards the old phi until h has not risen.
static inline double best_phi(const FactorPanel& panel, const Workspace& w, int series, const Squares* s, double old) {
    constexpr double edge = 1 - 1e-9, step = 1e-5;
    double phi = old;
    for (int iteration = 0; iteration < 12; ++iteration) {
        const double slope = profile(panel, w, series, s, phi).slope;
        const double around = phi > 0 ? phi - step : phi + step;
        const double curvature = (profile(panel, w, series, s, around).slope - slope) / (around - phi);
        double next = curvature > 0 ? phi - slope / curvature : phi - (slope > 0 ? 0.1 : -0.1);
        if (!(next < edge)) next = 0.5 * (phi + edge);
        if (!(next > -edge)) next = 0.5 * (phi - edge);
        const double move = __builtin_fabs(next - phi);
        phi = next;
        if (move < 1e-10) break;
    }
    const double before = profile_value(profile(panel, w, series, s, old));
    for (int halving = 0; halving < 30; ++halving, phi = 0.5 * (phi + old))
        if (profile_value(profile(panel, w, series, s, phi)) <= before) return phi;
    return old;
}

static inline void maximise_series(const FactorPanel& panel, const FactorParams& theta, Workspace& w, int i,
                                   const FactorUpdate& out) {
    const int r = w.r;
    const bool quarterly = panel.kind[i] == quarterly_series;
    double *a = w.block, *b = a + r * r, *change = b + r, *work = change + r;
    double* lambda = out.loadings + i * r;
    copy(lambda, theta.loadings + i * r, r);
    if (quarterly) {
        quarterly_equations(w, i, theta.phi[i], a, b);
        fill(change, 0, r);
        if (solve_free(panel.loads + i * r, a, b, r, work, change)) {
            add_scaled(lambda, 1, change, r);
            move_quarterly(panel, w, i, change);
        }
    } else {
        normal_equations(panel, w, i, theta.phi[i], a, b);
        solve_free(panel.loads + i * r, a, b, r, work, lambda);
    }
    Squares* s = reinterpret_cast<Squares*>(work);
    fill(change, 0, r);
    for (int k = 0; k < w.n_kinds; ++k) s[k] = squares(panel, cell_of(w, i, k), quarterly ? change : lambda, r, k);
    out.phi[i] = panel.ar1 ? best_phi(panel, w, i, s, theta.phi[i]) : 0;
    const Profile p = profile(panel, w, i, s, out.phi[i]);
    out.variance[i] = p.sum / p.rows;
    // DynamicFactorMQ counts what is missing as seen with the old variance: slower steps to the same place.
    if (panel.known && !panel.ar1 && !quarterly)
        out.variance[i] = (p.sum + (w.n_time - p.rows) * theta.variance[i]) / w.n_time;
    if (!(out.variance[i] > 0)) out.variance[i] = theta.variance[i];
}

// Score of the series and, beside it, minus the expected complete-data Hessian's diagonal.
static inline void score_series(const FactorPanel& panel, const FactorParams& theta, Workspace& w, int i,
                                double* loadings, double* loadings_info, double* phi, double* variance) {
    const int r = w.r;
    const bool quarterly = panel.kind[i] == quarterly_series;
    double *a = w.block, *b = a + r * r, *zero = b + r;
    const double* lambda = theta.loadings + i * r;
    const double v = theta.variance[i];
    if (quarterly)
        quarterly_equations(w, i, theta.phi[i], a, b);
    else
        normal_equations(panel, w, i, theta.phi[i], a, b);
    for (int j = 0, q = 0; j < r; ++j) {
        if (!panel.loads[i * r + j]) continue;
        loadings[q] = (b[j] - (quarterly ? 0 : dot(a + j * r, lambda, r))) / v;
        loadings_info[q++] = a[j * r + j] / v;
    }
    Squares* s = reinterpret_cast<Squares*>(zero + r);
    fill(zero, 0, r);
    double information = 0;
    for (int k = 0; k < w.n_kinds; ++k) {
        s[k] = squares(panel, cell_of(w, i, k), quarterly ? zero : lambda, r, k);
        const double slope = k ? k * power_of(theta.phi[i], k - 1) : 0;
        information += slope * slope * s[k].before / (v * gap_variance(panel, theta.phi[i], k));
    }
    const Profile p = profile(panel, w, i, s, theta.phi[i]);
    phi[0] = phi[1] = variance[0] = variance[1] = 0;
    if (p.rows == 0) return;  // never observed
    // d/dphi of -(1/2)[S / sigma2 + sum n_k log v_k]; h' holds S'/S times the rows.
    double log_slope = 0;
    for (int k = 0; k < w.n_kinds; ++k) {
        const double rows = cell_of(w, i, k).yy[0];
        if (rows > 0)
            log_slope += rows * gap_variance_slope(panel, theta.phi[i], k) / gap_variance(panel, theta.phi[i], k);
    }
    phi[0] = -0.5 * ((p.slope - log_slope) * p.sum / (p.rows * v) + log_slope);
    phi[1] = information;
    variance[0] = 0.5 * (p.sum / v - p.rows) / v;
    variance[1] = 0.5 * p.rows / (v * v);
}

}  // namespace isthmus::ISTHMUS_ISA
