// Joint maximum likelihood of one gene by Newton's method with step control.
//
// Two safeguards matter in practice: a step is scaled as a whole (clipping one coordinate turns the direction), and
// when a joint step cannot be made to climb, the mean and the dispersion blocks are stepped on their own. The iteration
// stops when the gain that one more step predicts is below `tol` or below what rounding lets the likelihood show.
#pragma once

#include "start.hpp"

namespace isthmus::ISTHMUS_ISA {

struct Point {
    double* theta;
    Derivatives d;
};

struct Search {
    Point now, trial;
    double *direction, *work;
    int n_iter;
    double decrement;
    double reach;   // longest change of a linear predictor in one step
    bool at_reach;  // the direction had to be shortened to it
};

enum Model { joint_model, mean_model, poisson_model };
enum Outcome { converged, flat, stalled, out_of_iterations, near_poisson, interrupted };

constexpr double first_reach =
    4.0;  // a factor of exp(4) at first; doubled while full steps of that length keep climbing
constexpr double last_reach = 1e5;
constexpr int most_halvings = 20;
// So many steps in a row that gained nothing, although the curvature promised more: the likelihood levels off towards
// infinity.
constexpr int most_idle_steps = 4;

static inline Point make_point(int width, Arena& arena) {
    Point out;
    out.theta = arena.take<double>(width);
    out.d.gradient = arena.take<double>(width);
    out.d.curvature = arena.take<double>(static_cast<std::int64_t>(width) * width);
    return out;
}

static inline std::int64_t search_bytes(int width) { return 8 * (3 * (2 * width + width * width) + 64) + 64 * 10; }

static inline Search make_search(int width, Arena& arena) {
    Search s;
    s.now = make_point(width, arena);
    s.trial = make_point(width, arena);
    s.direction = arena.take<double>(width);
    s.work = arena.take<double>(static_cast<std::int64_t>(width) * width);
    s.n_iter = 0;
    s.decrement = 0;
    s.reach = first_reach;
    s.at_reach = false;
    return s;
}

// What rounding leaves uncertain in a value, and how far apart two evaluations of the same point may lie.
static inline double noise(const Derivatives& d) { return 2e-16 * (1 + d.magnitude); }
static inline double slack(const Derivatives& d) { return 10 * noise(d); }

static inline bool solve_block(const double* curvature, int width, int first, int n, const double* gradient,
                               double* work, double* out) {
    double* block = work;
    double* factor = work + n * n;
    double floor = 1e-12;
    for (int i = 0; i < n; ++i) {
        out[i] = gradient[first + i];
        floor = larger(floor, 1e-10 * absolute(curvature[(first + i) * width + first + i]));
        for (int j = 0; j < n; ++j) block[i * n + j] = curvature[(first + i) * width + first + j];
    }
    return ridge_solve(block, n, floor, factor, out);
}

// Newton direction in the joint space; the block-diagonal one where the joint curvature is not positive definite.
static inline bool joint_direction(const Point& at, int width, double* work, double* direction) {
    for (int i = 0; i < width * width; ++i) work[i] = at.d.curvature[i];
    if (!cholesky(work, width)) return false;
    for (int i = 0; i < width; ++i) direction[i] = at.d.gradient[i];
    cholesky_solve(work, width, direction);
    return true;
}

static inline bool block_direction(const Point& at, int f, int width, Model model, double* work, double* direction) {
    clear(direction, width);
    bool ok = f == 0 || solve_block(at.d.curvature, width, 0, f, at.d.gradient, work, direction);
    if (model == joint_model && width > f)
        ok = solve_block(at.d.curvature, width, f, width - f, at.d.gradient, work, direction + f) && ok;
    return ok;
}

static inline void shorten(const Problem& p, Search& s) {
    double* direction = s.direction;
    double reach = 0;
    for (int c = 0; c < p.mean.n_columns; ++c) reach = larger(reach, absolute(direction[c]) * p.mean.column_reach[c]);
    for (int c = 0; c < p.dispersion.n_columns; ++c)
        reach = larger(reach, absolute(direction[p.mean.n_columns + c]) * p.dispersion.column_reach[c]);
    s.at_reach = reach > s.reach;
    if (!s.at_reach) return;
    for (int c = 0; c < p.mean.n_columns + p.dispersion.n_columns; ++c) direction[c] *= s.reach / reach;
}

static inline double inner(const double* a, const double* b, int n) {
    double out = 0;
    for (int i = 0; i < n; ++i) out += a[i] * b[i];
    return out;
}

static inline void swap_points(Search& s) {
    const Point hold = s.now;
    s.now = s.trial;
    s.trial = hold;
}

// Halve the step until the likelihood rises as it should (Armijo), within its noise.
static inline bool climb(const Problem& p, const Gene& g, Workspace& w, Model model, Search& s) {
    const int width = p.mean.n_columns + p.dispersion.n_columns;
    const double slope = inner(s.now.d.gradient, s.direction, width);
    if (!(slope > 0)) return false;
    double step = 1;
    for (int h = 0; h < most_halvings; ++h, step *= h < 4 ? 0.5 : 0.25) {
        for (int i = 0; i < width; ++i) s.trial.theta[i] = s.now.theta[i] + step * s.direction[i];
        evaluate(p, g, w, s.trial.theta, model == poisson_model, s.trial.d);
        if (s.trial.d.value >= s.now.d.value + 1e-4 * step * slope - slack(s.now.d)) {
            swap_points(s);
            if (h > 0)
                s.reach = larger(first_reach, s.reach * step);
            else if (s.at_reach)
                s.reach = smaller(last_reach, 2 * s.reach);
            return true;
        }
    }
    return false;
}

// Is the dispersion sliding towards zero? Only asked where one dispersion holds for all cells.
static inline bool sliding_to_poisson(const Problem& p, const Point& at, double typical_mean) {
    const int f = p.mean.n_columns;
    return inner(at.d.gradient + f, at.theta + f, p.dispersion.n_columns) > 0 &&
           clamped_dispersion(p, 0, at.theta + f) * typical_mean < 1e-2;
}

// The last step: it promises too little to be checked against the value, and still doubles the digits of the estimates.
static inline void take_step(Search& s, int width) {
    for (int i = 0; i < width; ++i) s.now.theta[i] += s.direction[i];
}

static inline Outcome maximise(const Problem& p, const Gene& g, Workspace& w, Model model, bool watch_poisson,
                               double typical_mean, Search& s) {
    const int f = p.mean.n_columns, width = f + p.dispersion.n_columns;
    const bool poisson = model == poisson_model;
    evaluate(p, g, w, s.now.theta, poisson, s.now.d);
    int idle = 0;
    while (true) {
        if (p.stopped(p.stop_context)) return interrupted;
        const bool joint = model == joint_model && joint_direction(s.now, width, s.work, s.direction);
        if (!joint && !block_direction(s.now, f, width, model, s.work, s.direction)) return stalled;
        s.decrement = 0.5 * inner(s.now.d.gradient, s.direction, width);
        shorten(p, s);
        if (absolute(s.decrement) <= larger(p.tol, noise(s.now.d))) {
            if (joint || model != joint_model) take_step(s, width);
            return converged;
        }
        if (watch_poisson && sliding_to_poisson(p, s.now, typical_mean)) return near_poisson;
        if (s.n_iter >= p.max_iter) return out_of_iterations;
        ++s.n_iter;
        const double before = s.now.d.value;
        if (climb(p, g, w, model, s)) {
            idle = s.now.d.value - before <= larger(p.tol, noise(s.now.d)) ? idle + 1 : 0;
            if (idle >= most_idle_steps) return flat;
            continue;
        }
        // What cannot climb although little is left to gain has met the noise.
        const Outcome end = absolute(s.decrement) <= slack(s.now.d) ? converged : stalled;
        if (!joint || !block_direction(s.now, f, width, model, s.work, s.direction)) return end;
        shorten(p, s);
        if (!climb(p, g, w, model, s)) return end;
    }
}

}  // namespace isthmus::ISTHMUS_ISA
