// Kalman filter and smoother in the factors' dimension, on collapsed observations.
//
// Observations with noise enter at each time through b = L'R^-1 y and J = L'R^-1 L alone (Jungbacker and Koopman 2015);
// those without noise follow one at a time (Durbin and Koopman 2012, section 6.4). The smoother is the backward
// recursion of de Jong (1989), which never inverts a state covariance.
#pragma once

#include "heavy.hpp"

namespace isthmus::ISTHMUS_ISA {

constexpr double log_two_pi = 1.8378770664093454836;
// Covariances count as steady when a step changes them by less than this share of the largest entry.
constexpr double steady = 1e-13;

// What the collapsed rows contribute to -2 log L before the states: sum of log(2 pi sigma2 v) + d^2 / (sigma2 v).
static inline double row_terms(const FactorPanel& panel, const FactorParams& theta, const Workspace& w) {
    double sum = 0;
    for (int i = 0; i < panel.n_series; ++i) {
        if (!w.collapses(panel, i)) continue;
        for (int k = 0; k <= panel.max_gap; ++k) {
            const double* c = panel.counts + (static_cast<std::int64_t>(i) * (panel.max_gap + 1) + k) * 4;
            if (c[0] == 0) continue;
            const double variance = theta.variance[i] * gap_variance(panel, theta.phi[i], k);
            const double power = k ? power_of(theta.phi[i], k) : 0;
            sum += c[0] * (log_two_pi + __builtin_log(variance));
            sum += (c[1] - 2 * power * c[2] + power * power * c[3]) / variance;
        }
    }
    return sum;
}

// J and b of the dense rows at every time.
static inline void collapse_dense(const FactorPanel& panel, const FactorParams& theta, Workspace& w) {
    const int n_time = w.n_time, r = w.r, tri = w.tri, blocks = panel.ar1 ? 3 : 1;
    fill(w.j_dense, 0, blocks * tri * n_time);
    fill(w.j_full, 0, 3 * tri);
    fill(w.b_dense, 0, (panel.ar1 ? 2 : 1) * r * n_time);
    for (int i = 0; i < panel.n_series; ++i) {
        if (!w.collapses(panel, i)) continue;
        const double phi = panel.ar1 ? theta.phi[i] : 0, precision = 1 / theta.variance[i];
        const double* lambda = theta.loadings + i * r;
        const std::int64_t from = static_cast<std::int64_t>(i) * n_time;
        const double* d = panel.now + from;
        if (panel.ar1) {
            copy(w.row, d, n_time);
            add_scaled(w.row, -phi, panel.before + from, n_time);
            d = w.row;
        }
        for (int a = 0, q = 0; a < r; ++a) {
            if (!panel.loads[i * r + a]) {
                q += a + 1;
                continue;
            }
            add_scaled(w.b_dense + a * n_time, precision * lambda[a], d, n_time);
            if (panel.ar1) add_scaled(w.b_dense + (r + a) * n_time, -phi * precision * lambda[a], d, n_time);
            for (int c = 0; c <= a; ++c, ++q) {
                const double value = precision * lambda[a] * lambda[c];
                const double scaled[3] = {value, -phi * value, phi * phi * value};
                for (int k = 0; k < blocks; ++k) {
                    if (panel.full[i])
                        w.j_full[k * tri + q] += scaled[k];
                    else
                        add_scaled(w.j_dense + (k * tri + q) * n_time, scaled[k], panel.mask + from, n_time);
                }
            }
        }
    }
}

// Lags of the factors that the collapsed rows of a time touch.
static inline int lags_at(const FactorPanel& panel, int t) {
    int lags = panel.ar1 && t > 0 ? 2 : 1;
    for (int e = panel.listed_start[t]; e < panel.listed_start[t + 1]; ++e)
        if (panel.listed_gap[e] + 1 > lags) lags = panel.listed_gap[e] + 1;
    return lags;
}

static inline void add_listed_row(const FactorPanel& panel, const FactorParams& theta, Workspace& w, int e, int size) {
    const int i = panel.listed_series[e], k = panel.listed_gap[e], r = w.r;
    const double* lambda = theta.loadings + i * r;
    const double precision = 1 / (theta.variance[i] * gap_variance(panel, theta.phi[i], k));
    const double power = k ? power_of(theta.phi[i], k) : 0;
    const double d = panel.listed_now[e] - power * panel.listed_before[e];
    for (int a = 0; a < r; ++a) {
        const double value = precision * lambda[a];
        w.b[a] += value * d;
        add_scaled(w.j + a * size, value, lambda, r);
        if (k == 0) continue;
        w.b[k * r + a] -= power * value * d;
        add_scaled(w.j + a * size + k * r, -power * value, lambda, r);
        add_scaled(w.j + (k * r + a) * size, -power * value, lambda, r);
        add_scaled(w.j + (k * r + a) * size + k * r, power * power * value, lambda, r);
    }
}

// b of the dense rows of time t; listed rows come with gather_rows.
static inline void gather_means(const FactorPanel& panel, Workspace& w, int t, int size) {
    const int dense = (panel.ar1 ? (t > 0 ? 2 : 0) : 1) * w.r;
    for (int a = 0; a < dense; ++a) w.b[a] = w.b_dense[a * w.n_time + t];
    for (int a = dense; a < size; ++a) w.b[a] = 0;
}

// J (size x size) of time t, and the listed rows' part of b.
static inline void gather_rows(const FactorPanel& panel, const FactorParams& theta, Workspace& w, int t, int size) {
    const int r = w.r, n_time = w.n_time, blocks = panel.ar1 ? (t > 0 ? 3 : 0) : 1;
    fill(w.j, 0, size * size);
    for (int k = 0; k < blocks; ++k)
        for (int a = 0, q = k * w.tri; a < r; ++a)
            for (int c = 0; c <= a; ++c, ++q) {
                const double value = w.j_full[q] + w.j_dense[q * n_time + t];
                const int row = k == 2 ? r : 0, column = k >= 1 ? r : 0;
                w.j[(row + a) * size + column + c] = w.j[(row + c) * size + column + a] = value;
                w.j[(column + a) * size + row + c] = w.j[(column + c) * size + row + a] = value;
            }
    for (int e = panel.listed_start[t]; e < panel.listed_start[t + 1]; ++e)
        if (!w.heavy_flag[panel.listed_series[e]]) add_listed_row(panel, theta, w, e, size);
}

// x (states x n) -> T x
static inline void apply_transition(const FactorPanel& panel, const FactorParams& theta, const double* __restrict x,
                                    double* __restrict y, int n) {
    const int r = panel.n_factors, lags = panel.order;
    fill(y, 0, r * n);
    multiply_add(y, n, 1, theta.a, r * lags, x, n, r, r * lags, n);
    copy(y + r * n, x, (panel.n_lags - 1) * r * n);
    for (int i = 0; i < panel.n_series; ++i) {
        if (panel.extra[i] < 0) continue;
        const int first = panel.extra[i], size = panel.kind[i] == quarterly_series ? 5 : 2;
        for (int c = 0; c < n; ++c) y[first * n + c] = theta.phi[i] * x[first * n + c];
        copy(y + (first + 1) * n, x + first * n, (size - 1) * n);
    }
}

// x (states x n) -> T' x
static inline void apply_transition_transposed(const FactorPanel& panel, const FactorParams& theta,
                                               const double* __restrict x, double* __restrict y, int n) {
    const int r = panel.n_factors, lags = panel.order, last = panel.n_lags - 1;
    copy(y, x + r * n, last * r * n);
    fill(y + last * r * n, 0, r * n);
    multiply_add_at(y, n, 1, theta.a, r * lags, x, n, r * lags, r, n);
    for (int i = 0; i < panel.n_series; ++i) {
        if (panel.extra[i] < 0) continue;
        const int first = panel.extra[i], size = panel.kind[i] == quarterly_series ? 5 : 2;
        copy(y + first * n, x + (first + 1) * n, (size - 1) * n);
        fill(y + (first + size - 1) * n, 0, n);
        add_scaled(y + first * n, theta.phi[i], x + first * n, n);
    }
}

// Covariance of the next state: T P T' + noise.
static inline void predict_cov(const FactorPanel& panel, const FactorParams& theta, Workspace& w, const double* pf,
                               double* next) {
    const int m = w.m, r = w.r;
    apply_transition(panel, theta, pf, w.x1, m);
    transpose_square(w.x1, m);
    apply_transition(panel, theta, w.x1, next, m);
    for (int a = 0; a < r; ++a)
        for (int c = 0; c < r; ++c) next[a * m + c] += theta.q[a * r + c];
    for (int i = 0; i < panel.n_series; ++i)
        if (panel.extra[i] >= 0) next[panel.extra[i] * (m + 1)] += theta.variance[i];
    symmetrise(next, m);
}

// The first state's distribution; false where the VAR is not stable.
static inline bool initial_distribution(const FactorPanel& panel, const FactorParams& theta, Workspace& w, double* a,
                                        double* p) {
    const int m = w.m, r = w.r, n0 = r * panel.initial_lags;
    fill(a, 0, m);
    fill(p, 0, m * m);
    double *t = w.block, *q = t + n0 * n0, *found = q + n0 * n0;
    const double* cov = theta.initial_cov;
    if (panel.known) {
        copy(a, theta.initial_state, n0);
    } else {
        fill(t, 0, 2 * n0 * n0);
        for (int i = 0; i < r; ++i) {
            copy(t + i * n0, theta.a + i * r * panel.order, r * panel.order);
            copy(q + i * n0, theta.q + i * r, r);
        }
        for (int i = r; i < n0; ++i) t[i * n0 + i - r] = 1;
        if (!lyapunov(t, q, n0, false, found, found + n0 * n0)) return false;
        cov = found;
    }
    for (int i = 0; i < n0; ++i) copy(p + i * m, cov + i * n0, n0);
    for (int i = 0; i < panel.n_series; ++i) {
        if (panel.extra[i] < 0) continue;
        const double phi = theta.phi[i], total = theta.variance[i] / (1 - phi * phi);
        if (!(phi * phi < 1)) return false;
        const int size = panel.kind[i] == quarterly_series ? 5 : 1;
        for (int b = 0; b < size; ++b)
            for (int c = 0; c < size; ++c)
                p[(panel.extra[i] + b) * m + panel.extra[i] + c] = total * power_of(phi, b > c ? b - c : c - b);
    }
    return true;
}

// Weights of an observation without noise on the state; returns how many are not zero.
static inline int exact_row(const FactorPanel& panel, const FactorParams& theta, Workspace& w, int i) {
    static constexpr double monthly_weights[5] = {1, 2, 3, 2, 1};
    const int lags = panel.kind[i] == quarterly_series ? 5 : 1, r = w.r;
    int n = 0;
    for (int l = 0; l < lags; ++l) {
        for (int a = 0; a < r; ++a)
            if (panel.loads[i * r + a]) {
                w.z_index[n] = l * r + a;
                w.z[n++] = monthly_weights[l] * theta.loadings[i * r + a];
            }
        w.z_index[n] = panel.extra[i] + l;
        w.z[n++] = monthly_weights[l];
    }
    return n;
}

// One observation z'state + noise: k = P z and f go to `kept` and p, unless `held` (they are there already); v too.
// Adds to -2 log L.
static inline double update_one(Workspace& w, int n, double y, double noise, bool held, double* kept, double* a,
                                double* p) {
    const int m = w.m;
    double v = y, f = noise;
    for (int c = 0; c < n; ++c) v -= w.z[c] * a[w.z_index[c]];
    if (!held) {
        fill(kept, 0, m);
        for (int c = 0; c < n; ++c) add_scaled(kept, w.z[c], p + w.z_index[c] * m, m);
        for (int c = 0; c < n; ++c) f += w.z[c] * kept[w.z_index[c]];
        for (int i = 0; i < m; ++i) add_scaled(p + i * m, -kept[i] / f, kept, m);
        kept[m + 1] = f;
    }
    f = kept[m + 1], kept[m] = v;
    add_scaled(a, v / f, kept, m);
    return log_two_pi + __builtin_log(f) + v * v / f;
}

// Rows of time t whose series have next to no noise, one at a time.
static inline double update_heavy(const FactorPanel& panel, const FactorParams& theta, Workspace& w, int t, bool held,
                                  double* a, double* p) {
    const std::int64_t stride = w.m + 2;
    double sum = 0;
    for (int h = 0; h < w.n_heavy; ++h) {
        double* kept = w.heavy_kept + (static_cast<std::int64_t>(t) * max_heavy + h) * stride;
        const HeavyRow row = heavy_row(panel, theta, w, h, t);
        if (held) copy(kept, kept - max_heavy * stride, w.m + 2);
        if (row.n) sum += update_one(w, row.n, row.y, row.noise, held, kept, a, p);
    }
    return sum;
}

// Observations of time t without noise, one at a time. Adds to -2 log L.
static inline double update_exact(const FactorPanel& panel, const FactorParams& theta, Workspace& w, int t, double* a,
                                  double* p) {
    const int m = w.m;
    double sum = 0;
    for (int e = panel.exact_start[t]; e < panel.exact_start[t + 1]; ++e) {
        double* kept = w.exact + static_cast<std::int64_t>(e) * (m + 2);
        const int n = exact_row(panel, theta, w, panel.exact_series[e]);
        sum += update_one(w, n, panel.exact_value[e], 0, false, kept, a, p);
    }
    return sum;
}

// What the collapsed update of time t needs of the covariances, into its slot. With J = C C' and S = I + C'P C:
// D = J - J (P^-1 + J)^-1 J = C S^-1 C', D P, G = S^-1/2 C', log|I + J P| = log|S|.
static inline bool update_cov(Workspace& w, int slot, int size, bool same_rows) {
    const int m = w.m;
    const std::int64_t at = static_cast<std::int64_t>(slot) * w.mc * w.mc;
    const double* p = w.p + static_cast<std::int64_t>(slot) * m * m;
    double *root = w.root + at, *gain = w.gain + at, *s = w.s_root + at, *d = w.d + at,
           *dp = w.dp + static_cast<std::int64_t>(slot) * w.mc * m;
    if (same_rows)
        copy(root, root - w.mc * w.mc, size * size);
    else
        semidefinite_root(w.j, size, root);
    fill(w.g, 0, size * m);  // C'P
    multiply_add_at(w.g, m, 1, root, size, p, m, size, size, m);
    fill(s, 0, size * size);
    multiply_add(s, size, 1, w.g, m, root, size, size, size, size);
    for (int i = 0; i < size; ++i) s[i * size + i] += 1;
    if (!factorise(s, size)) return false;
    double log_det = 0;
    for (int i = 0; i < size; ++i) log_det += 2 * __builtin_log(s[i * size + i]);
    w.log_det[slot] = log_det;
    copy(gain, root, size * size);
    transpose_square(gain, size);
    solve_lower(s, size, gain, size);
    solve_lower(s, size, w.g, m);  // G P
    if (w.for_smoother) {
        fill(d, 0, size * size);
        multiply_add_at(d, size, 1, gain, size, gain, size, size, size, size);
        fill(dp, 0, size * m);
        multiply_add_at(dp, m, 1, gain, size, w.g, m, size, size, m);
    }
    copy(w.pf, p, m * m);
    multiply_add_at(w.pf, m, -1, w.g, m, w.g, m, m, size, m);
    return true;
}

// Collapsed update of the mean, a += P u with u = G' z, z = S^-1/2 (c - C'a), C c = b; adds z'z - c'c + log|S| to
// -2 log L. Written so, nothing cancels but the rows' sum of squares with c'c, however small a variance is.
static inline double update_mean(Workspace& w, int slot, int size, double* a, double* u) {
    const int m = w.m;
    const std::int64_t at = static_cast<std::int64_t>(slot) * w.mc * w.mc;
    const double *p = w.p + static_cast<std::int64_t>(slot) * m * m, *root = w.root + at, *gain = w.gain + at;
    double *c = w.v1, *z = w.v2, quad = w.log_det[slot];
    for (int i = 0; i < size; ++i) {
        const double pivot = root[i * size + i];
        c[i] = pivot > 0 ? (w.b[i] - dot(root + i * size, c, i)) / pivot : 0;
        quad -= c[i] * c[i];
        z[i] = c[i];
    }
    for (int i = 0; i < size; ++i) add_scaled(z, -a[i], root + i * size, size);
    const double* factor = w.s_root + at;
    for (int i = 0; i < size; ++i) {
        z[i] = (z[i] - dot(factor + i * size, z, i)) / factor[i * size + i];
        quad += z[i] * z[i];
    }
    fill(u, 0, size);
    for (int i = 0; i < size; ++i) add_scaled(u, z[i], gain + i * size, size);
    for (int i = 0; i < size; ++i) add_scaled(a, u[i], p + i * m, m);
    return quad;
}

// The filter. False where the parameters are not admissible; else the log-likelihood.
static inline bool run_filter(const FactorPanel& panel, const FactorParams& theta, Workspace& w,
                              double* log_likelihood) {
    const int m = w.m, n_time = w.n_time;
    const std::int64_t mm = static_cast<std::int64_t>(m) * m;
    if (!initial_distribution(panel, theta, w, w.next_state, w.next_cov)) return false;
    choose_heavy(panel, theta, w);
    collapse_dense(panel, theta, w);
    double sum = row_terms(panel, theta, w);
    int slot = -1;
    for (int t = 0; t < n_time; ++t) {
        double* a = w.filtered + static_cast<std::int64_t>(t) * m;
        copy(w.predicted + static_cast<std::int64_t>(t) * m, w.next_state, m);
        copy(a, w.next_state, m);
        const int size = lags_at(panel, t) * w.r;
        gather_means(panel, w, t, size);
        bool keeps = panel.same[t] && slot >= 0;
        bool moved = false;
        if (keeps) {
            const double* p = w.p + slot * mm;
            double change = 0;
            for (std::int64_t i = 0; i < mm; ++i) {
                const double x = __builtin_fabs(w.next_cov[i] - p[i]);
                change = x > change ? x : change;
            }
            keeps = change <= steady * largest(p, static_cast<int>(mm));
        }
        if (!keeps) {
            ++slot;
            const bool same_rows = slot > 0 && panel.same[t];
            if (!same_rows) gather_rows(panel, theta, w, t, size);
            copy(w.p + slot * mm, w.next_cov, static_cast<int>(mm));
            if (!update_cov(w, slot, size, same_rows)) return false;
            moved = true;
        }
        w.predicted_slot[t] = slot;
        sum += update_mean(w, slot, size, a, w.u + static_cast<std::int64_t>(t) * w.mc);
        sum += update_heavy(panel, theta, w, t, keeps, a, w.pf);
        sum += update_exact(panel, theta, w, t, a, w.pf);
        if (w.filtered_cov) copy(w.filtered_cov + t * mm, w.pf, static_cast<int>(mm));
        apply_transition(panel, theta, a, w.next_state, 1);
        if (moved) predict_cov(panel, theta, w, w.pf, w.next_cov);
    }
    *log_likelihood = -0.5 * sum;
    return *log_likelihood == *log_likelihood;
}

// Undo `update_one`: r and, with `cov`, N from after it to before. L = I - k z'/f:
// L'N L = N - z (N k)'/f - (N k) z'/f + z z' k'N k / f^2.
static inline void undo_one(Workspace& w, const double* k, int n, double* r, bool cov) {
    const int m = w.m;
    const double v = k[m], f = k[m + 1], kr = dot(k, r, m);
    for (int c = 0; c < n; ++c) r[w.z_index[c]] += w.z[c] * (v - kr) / f;
    if (!cov) return;
    for (int i = 0; i < m; ++i) w.v1[i] = dot(w.n + i * m, k, m);
    const double knk = dot(k, w.v1, m);
    for (int c = 0; c < n; ++c) {
        const int i = w.z_index[c];
        add_scaled(w.n + i * m, -w.z[c] / f, w.v1, m);
        for (int row = 0; row < m; ++row) w.n[row * m + i] -= w.v1[row] * w.z[c] / f;
    }
    for (int c = 0; c < n; ++c)
        for (int q = 0; q < n; ++q) w.n[w.z_index[c] * m + w.z_index[q]] += w.z[c] * w.z[q] * (1 / f + knk / (f * f));
}

static inline void smooth_exact(const FactorPanel& panel, const FactorParams& theta, Workspace& w, int t, double* r) {
    for (int e = panel.exact_start[t + 1] - 1; e >= panel.exact_start[t]; --e) {
        const int n = exact_row(panel, theta, w, panel.exact_series[e]);
        undo_one(w, w.exact + static_cast<std::int64_t>(e) * (w.m + 2), n, r, true);
    }
}

static inline void smooth_heavy(const FactorPanel& panel, const FactorParams& theta, Workspace& w, int t, double* r,
                                bool cov) {
    for (int h = w.n_heavy - 1; h >= 0; --h) {
        const HeavyRow row = heavy_row(panel, theta, w, h, t);
        const double* kept = w.heavy_kept + (static_cast<std::int64_t>(t) * max_heavy + h) * (w.m + 2);
        if (row.n) undo_one(w, kept, row.n, r, cov);
    }
}

// N before the collapsed update: D + (I - D P) N (I - P D).
static inline void smooth_collapsed(Workspace& w, int slot, int size) {
    const int m = w.m;
    const double *dp = w.dp + static_cast<std::int64_t>(slot) * w.mc * m,
                 *d = w.d + static_cast<std::int64_t>(slot) * w.mc * w.mc;
    for (int pass = 0; pass < 2; ++pass) {
        copy(w.x1, w.n, m * m);
        multiply_add(w.n, m, -1, dp, m, w.x1, m, size, m, m);
        transpose_square(w.n, m);
    }
    for (int i = 0; i < size; ++i) add_scaled(w.n + i * m, 1, d + i * size, size);
    symmetrise(w.n, m);
}

static inline void transition_cov_back(const FactorPanel& panel, const FactorParams& theta, Workspace& w) {
    apply_transition_transposed(panel, theta, w.n, w.x1, w.m);
    transpose_square(w.x1, w.m);
    apply_transition_transposed(panel, theta, w.x1, w.n, w.m);
}

// Smoothed covariance P - P N P into a slot.
static inline void smoothed_cov(Workspace& w, const double* p, double* out) {
    const int m = w.m;
    multiply(w.x1, w.n, p, m, m, m);
    copy(out, p, m * m);
    multiply_add(out, m, -1, p, m, w.x1, m, m, m, m);
    symmetrise(out, m);
}

// The smoother, after the filter.
static inline void run_smoother(const FactorPanel& panel, const FactorParams& theta, Workspace& w) {
    const int m = w.m, n_time = w.n_time;
    const std::int64_t mm = static_cast<std::int64_t>(m) * m;
    double *r = w.adjoint, *back = w.adjoint + m;
    fill(r, 0, m);
    fill(w.n, 0, m * m);
    int slot = -1;
    bool frozen = false;
    for (int t = n_time - 1; t >= 0; --t) {
        const int size = lags_at(panel, t) * w.r, from = w.predicted_slot[t];
        const double *p = w.p + from * mm, *dp = w.dp + static_cast<std::int64_t>(from) * w.mc * m;
        const bool shared = t + 1 < n_time && w.predicted_slot[t + 1] == from;
        frozen = frozen && shared;
        const bool held = frozen;
        if (!frozen) {
            copy(w.x2, w.n, m * m);
            transition_cov_back(panel, theta, w);
            smooth_exact(panel, theta, w, t, r);
            smooth_heavy(panel, theta, w, t, r, true);
            smooth_collapsed(w, from, size);
            double change = 0;
            for (std::int64_t i = 0; i < mm; ++i) {
                const double x = __builtin_fabs(w.x2[i] - w.n[i]);
                change = x > change ? x : change;
            }
            frozen = shared && change <= steady * largest(w.n, m * m);
            if (!frozen) smoothed_cov(w, p, w.cov + static_cast<std::int64_t>(++slot) * mm);
        }
        w.cov_slot[t] = slot;
        if (held) smooth_heavy(panel, theta, w, t, r, false);
        for (int i = 0; i < size; ++i) w.v1[i] = w.u[static_cast<std::int64_t>(t) * w.mc + i] - dot(dp + i * m, r, m);
        for (int i = 0; i < size; ++i) r[i] += w.v1[i];
        const double* a = w.predicted + static_cast<std::int64_t>(t) * m;
        for (int i = 0; i < m; ++i) w.smoothed[static_cast<std::int64_t>(i) * n_time + t] = a[i] + dot(p + i * m, r, m);
        apply_transition_transposed(panel, theta, r, back, 1);
        copy(r, back, m);
    }
}

}  // namespace isthmus::ISTHMUS_ISA
