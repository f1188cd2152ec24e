// The factors' VAR, block by block: conditional maximisation that counts the first state's distribution, and the score.
//
//   G(A, Q) = -1/2 [n log|Q| + tr Q^-1 (C - A B' - B A' + A M A')] - 1/2 [log|P0| + tr P0^-1 S0]
//
// with P0(A, Q) the stationary covariance of the block's first state; the second term is absent where it is "known".
#pragma once

#include "moments.hpp"

namespace isthmus::ISTHMUS_ISA {

struct BlockTask {
    int k, p, n;  // factors, order, states of the block's companion form
    bool stationary;
    double steps;                   // transitions
    double *c, *b, *m, *s0;         // moments: k x k, k x n, n x n, n x n
    double *a, *q, *a_new, *q_new;  // k x n, k x k
    double *grad_a, *grad_q;        // k x n, k x k
    double *q_root, *rest, *x1, *x2, *companion, *noise, *p0, *adjoint, *work;
};

static inline BlockTask cut_block(const FactorPanel& panel, Workspace& w, int block) {
    BlockTask task;
    task.k = panel.block_start[block + 1] - panel.block_start[block];
    task.p = panel.block_order[block];
    task.n = task.k * task.p;
    task.stationary = !panel.known && task.n > 0;
    const int k = task.k, n = task.n, kk = k * k, kn = k * n, nn = n * n;
    double* at = w.block;
    auto take = [&](int size) { return (at += size) - size; };
    task.c = take(kk), task.b = take(kn), task.m = take(nn), task.s0 = take(nn);
    task.a = take(kn), task.q = take(kk), task.a_new = take(kn), task.q_new = take(kk);
    task.grad_a = take(kn), task.grad_q = take(kk), task.q_root = take(kk), task.rest = take(kk);
    task.x1 = take(nn + kk), task.x2 = take(nn + kk), task.companion = take(nn), task.noise = take(nn);
    task.p0 = take(nn), task.adjoint = take(nn), task.work = take(4 * nn + kn);
    return task;
}

// Moments and present values of a block. Lags of the first state beyond the order are transitions too.
static inline void fill_block(const FactorPanel& panel, const FactorParams& theta, const Workspace& w, int block,
                              BlockTask& task) {
    const int *own = panel.block_factors + panel.block_start[block], r = w.r, k = task.k, n = task.n;
    const int stacked = r * (panel.order + 1), width = r * panel.order, early = panel.initial_lags - task.p;
    const int shifts = panel.known ? 0 : early;
    task.steps = w.n_time - 1 + shifts;
    auto state = [&](int i, int lag) { return lag * r + own[i]; };
    auto moment = [&](int i, int lag_i, int j, int lag_j) {
        double sum = w.moments[state(i, lag_i) * stacked + state(j, lag_j)];
        for (int s = 0; s < shifts; ++s) sum += second_at(w, state(i, lag_i + s), state(j, lag_j + s), 0);
        return sum;
    };
    for (int i = 0; i < k; ++i)
        for (int j = 0; j < k; ++j) {
            task.c[i * k + j] = moment(i, 0, j, 0);
            task.q[i * k + j] = theta.q[own[i] * r + own[j]];
        }
    for (int i = 0; i < k; ++i)
        for (int j = 0; j < n; ++j) {
            task.b[i * n + j] = moment(i, 0, j % k, 1 + j / k);
            task.a[i * n + j] = theta.a[own[i] * width + (j / k) * r + own[j % k]];
        }
    for (int i = 0; i < n; ++i)
        for (int j = 0; j < n; ++j) {
            task.m[i * n + j] = moment(i % k, 1 + i / k, j % k, 1 + j / k);
            if (task.stationary)
                task.s0[i * n + j] = second_at(w, state(i % k, early + i / k), state(j % k, early + j / k), 0);
        }
}

// rest = C - A B' - B A' + A M A'
static inline void residual_moments(const BlockTask& t, const double* a, double* rest) {
    const int k = t.k, n = t.n;
    copy(rest, t.c, k * k);
    for (int i = 0; i < k; ++i)
        for (int j = 0; j < k; ++j) rest[i * k + j] -= dot(a + i * n, t.b + j * n, n) + dot(t.b + i * n, a + j * n, n);
    multiply(t.work, a, t.m, k, n, n);
    for (int i = 0; i < k; ++i)
        for (int j = 0; j < k; ++j) rest[i * k + j] += dot(t.work + i * n, a + j * n, n);
}

// x <- l'^-1 l^-1 x (x is n x m)
static inline void solve_both(const double* l, int n, double* x, int m) {
    solve_lower(l, n, x, m);
    solve_upper(l, n, x, m);
}

static inline double log_det_of(const double* root, int n) {
    double sum = 0;
    for (int i = 0; i < n; ++i) sum += 2 * __builtin_log(root[i * n + i]);
    return sum;
}

// The block's companion matrix and its stationary covariance; false where it is not stable.
static inline bool stationary_start(BlockTask& t, const double* a, const double* q) {
    const int k = t.k, n = t.n;
    fill(t.companion, 0, n * n);
    fill(t.noise, 0, n * n);
    copy(t.companion, a, k * n);
    for (int i = k; i < n; ++i) t.companion[i * n + i - k] = 1;
    for (int i = 0; i < k; ++i) copy(t.noise + i * n, q + i * k, k);
    return lyapunov(t.companion, t.noise, n, false, t.p0, t.work);
}

// G at (a, q); false outside its domain.
static inline bool block_value(BlockTask& t, const double* a, const double* q, double* value) {
    const int k = t.k, n = t.n;
    copy(t.q_root, q, k * k);
    if (!factorise(t.q_root, k)) return false;
    residual_moments(t, a, t.rest);
    copy(t.x1, t.rest, k * k);
    solve_both(t.q_root, k, t.x1, k);
    double sum = t.steps * log_det_of(t.q_root, k);
    for (int i = 0; i < k; ++i) sum += t.x1[i * k + i];
    if (t.stationary) {
        if (!stationary_start(t, a, q) || !factorise(t.p0, n)) return false;
        copy(t.x1, t.s0, n * n);
        solve_both(t.p0, n, t.x1, n);
        sum += log_det_of(t.p0, n);
        for (int i = 0; i < n; ++i) sum += t.x1[i * n + i];
    }
    *value = -0.5 * sum;
    return sum == sum;
}

// Gradient of the initial term, added: Gamma = -1/2 (P0^-1 - P0^-1 S0 P0^-1), Lambda = T' Lambda T + Gamma,
// d/dT = 2 Lambda T P0, d/dQ = the first block of Lambda.
static inline bool add_initial_gradient(BlockTask& t, const double* a, const double* q) {
    const int k = t.k, n = t.n;
    if (!stationary_start(t, a, q)) return false;
    double *root = t.x1, *gamma = t.x2;
    copy(root, t.p0, n * n);
    if (!factorise(root, n)) return false;
    copy(gamma, t.s0, n * n);
    for (int i = 0; i < n * n; ++i) gamma[i] -= t.p0[i];  // P0^-1 (S0 - P0) P0^-1
    solve_both(root, n, gamma, n);
    transpose_square(gamma, n);
    solve_both(root, n, gamma, n);
    for (int i = 0; i < n * n; ++i) gamma[i] *= 0.5;
    symmetrise(gamma, n);
    if (!lyapunov(t.companion, gamma, n, true, t.adjoint, t.work)) return false;
    multiply(t.x1, t.companion, t.p0, n, n, n);
    for (int i = 0; i < k; ++i) {
        multiply_add(t.grad_a + i * n, n, 2, t.adjoint + i * n, n, t.x1, n, 1, n, n);
        add_scaled(t.grad_q + i * k, 1, t.adjoint + i * n, k);
    }
    return true;
}

// Gradient of G. Leaves the factor of q in q_root.
static inline bool block_gradient(BlockTask& t, const double* a, const double* q) {
    const int k = t.k, n = t.n;
    copy(t.q_root, q, k * k);
    if (!factorise(t.q_root, k)) return false;
    copy(t.grad_a, t.b, k * n);
    multiply_add(t.grad_a, n, -1, a, n, t.m, n, k, n, n);
    solve_both(t.q_root, k, t.grad_a, n);
    residual_moments(t, a, t.rest);
    for (int i = 0; i < k * k; ++i) t.grad_q[i] = 0.5 * (t.rest[i] - t.steps * q[i]);
    solve_both(t.q_root, k, t.grad_q, k);
    transpose_square(t.grad_q, k);
    solve_both(t.q_root, k, t.grad_q, k);
    symmetrise(t.grad_q, k);
    return !t.stationary || add_initial_gradient(t, a, q);
}

// From (a, q) along (step_a or step_q), halving until G has not fallen; the accepted point goes to a and q.
static inline bool move_block(BlockTask& t, double value, const double* step_a, const double* step_q, double* reached) {
    const int k = t.k, n = t.n;
    double length = 1;
    for (int halving = 0; halving < 40; ++halving, length *= 0.5) {
        copy(t.a_new, t.a, k * n);
        copy(t.q_new, t.q, k * k);
        if (step_a) add_scaled(t.a_new, length, step_a, k * n);
        if (step_q) add_scaled(t.q_new, length, step_q, k * k);
        // Without the initial term the full step is the exact maximum: rounding must not stop it.
        if (!block_value(t, t.a_new, t.q_new, reached)) continue;
        if (t.stationary && !(*reached >= value)) continue;
        copy(t.a, t.a_new, k * n);
        copy(t.q, t.q_new, k * k);
        return true;
    }
    *reached = value;
    return false;
}

// A then Q, each along its gradient scaled by the inverse curvature of the first term: the closed form where the start
// is "known", an ascent direction of the exact objective otherwise.
static inline void maximise_block(BlockTask& t) {
    const int k = t.k, n = t.n;
    double value = 0;
    if (!block_value(t, t.a, t.q, &value)) return;
    double *step = t.adjoint, *root = t.companion;
    if (n > 0 && block_gradient(t, t.a, t.q)) {
        multiply(step, t.q, t.grad_a, k, k, n);  // Q grad M^-1
        copy(root, t.m, n * n);
        if (factorise(root, n)) {
            for (int i = 0; i < k; ++i) solve_both(root, n, step + i * n, 1);
            copy(t.grad_a, step, k * n);
            move_block(t, value, t.grad_a, nullptr, &value);
        }
    }
    if (!block_gradient(t, t.a, t.q)) return;
    multiply(t.rest, t.q, t.grad_q, k, k, k);  // (2 / steps) Q grad Q
    multiply(t.x1, t.rest, t.q, k, k, k);
    for (int i = 0; i < k * k; ++i) t.grad_q[i] = 2 / t.steps * t.x1[i];
    symmetrise(t.grad_q, k);
    move_block(t, value, nullptr, t.grad_q, &value);
}

static inline void maximise_transition(const FactorPanel& panel, const FactorParams& theta, Workspace& w,
                                       const FactorUpdate& out) {
    const int r = w.r, width = r * panel.order;
    fill(out.a, 0, r * width);
    fill(out.q, 0, r * r);
    for (int block = 0; block < panel.n_blocks; ++block) {
        BlockTask t = cut_block(panel, w, block);
        fill_block(panel, theta, w, block, t);
        maximise_block(t);
        const int* own = panel.block_factors + panel.block_start[block];
        for (int i = 0; i < t.k; ++i) {
            for (int j = 0; j < t.n; ++j) out.a[own[i] * width + (j / t.k) * r + own[j % t.k]] = t.a[i * t.n + j];
            for (int j = 0; j < t.k; ++j) out.q[own[i] * r + own[j]] = t.q[i * t.k + j];
        }
    }
    if (!panel.known) return;
    const int n0 = r * panel.initial_lags;
    for (int i = 0; i < n0; ++i) {
        out.initial_state[i] = mean_at(w, i, 0);
        copy(out.initial_cov + i * n0, cov_at(w, 0) + i * w.m, n0);
    }
}

// Score of a block: its transition, (order, k, k), and the lower triangle of Q; with complete-data information.
static inline bool score_block(const FactorPanel& panel, const FactorParams& theta, Workspace& w, int block, double* a,
                               double* a_info, double* q, double* q_info) {
    BlockTask t = cut_block(panel, w, block);
    fill_block(panel, theta, w, block, t);
    if (!block_gradient(t, t.a, t.q)) return false;
    const int k = t.k, n = t.n;
    double* inverse = t.rest;
    fill(inverse, 0, k * k);
    for (int i = 0; i < k; ++i) inverse[i * k + i] = 1;
    solve_both(t.q_root, k, inverse, k);
    for (int l = 0; l < t.p; ++l)
        for (int i = 0; i < k; ++i)
            for (int j = 0; j < k; ++j) {
                const int at = (l * k + i) * k + j, column = l * k + j;
                a[at] = t.grad_a[i * n + column];
                a_info[at] = inverse[i * k + i] * t.m[column * n + column];
            }
    for (int i = 0, at = 0; i < k; ++i)
        for (int j = 0; j <= i; ++j, ++at) {
            const double ii = inverse[i * k + i], jj = inverse[j * k + j], ij = inverse[i * k + j];
            q[at] = (i == j ? 1 : 2) * t.grad_q[i * k + j];
            q_info[at] = i == j ? 0.5 * t.steps * ii * ii : t.steps * (ii * jj + ij * ij);
        }
    return true;
}

}  // namespace isthmus::ISTHMUS_ISA
