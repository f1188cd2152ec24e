// Joint maximum likelihood of one gene by Newton's method with step control.
//
// Two safeguards matter in practice: a step is scaled as a whole (clipping one coordinate turns the direction), and
// when a joint step cannot be made to climb, the mean and the dispersion blocks are stepped on their own. The iteration
// stops when the gain that one more step predicts is below `tol` or below what rounding lets the likelihood show. Where
// there are bins of cells, it first runs over those.
#pragma once

#include "poisson_score.hpp"
#include "start.hpp"

namespace isthmus::ISTHMUS_ISA {

struct Point {
    double* theta;
    Derivatives d;
    Summary summary;
    bool summarised;  // `summary` is that of theta
};

// What the likelihood over all cells has beyond that over bins, to second order around a point where both were
// evaluated.
struct Shift {
    bool on;
    double *at, *gradient, *curvature;
};

struct Search {
    Point now, trial;
    double *direction, *work;
    int n_iter;
    double decrement;
    double reach;   // longest change of a linear predictor in one step
    double length;  // what it would be in the direction as it came
    bool at_reach;  // the direction had to be shortened to it
    Search* bins;   // the same over bins of cells, or null
    bool in_bins;   // this is that one
    Shift shift;
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

// After a last step as short as this, no predictor has changed so much that sums over the cells need be made again
// (`take_step`); after a step as short as the first, the next is likely to be as short as that. Steps by way of bins
// are better than Newton's, and many cells tell less of the digits that remain.
struct Lengths {
    double last_but_one, last;
};
constexpr Lengths newton_lengths{3e-4, 1e-7}, bins_lengths{0.1, 1e-5};
constexpr double bins_tol = 1e-5;  // the maximum over bins is further off than that
constexpr double shifted_tol = 1e-10;
constexpr double longest_shifted = 0.5;  // the expansion behind `Shift` holds nearby
constexpr int most_shifted_steps = 6;
constexpr double least_gain_by_bins = 0.01;  // what must at most be left of the decrement for another step with them

static inline void clear_summary(int f, Summary& s) {
    clear(s.expected, f * f);
    s.min_mean = s.min_dispersion = 1e300;
    s.max_dispersion = s.mean_dispersion = s.max_excess = 0;
}

static inline Point make_point(int f, int width, Arena& arena) {
    Point out;
    out.summary.expected = arena.take<double>(f * f);
    out.summarised = false;
    out.theta = arena.take<double>(width);
    out.d.gradient = arena.take<double>(width);
    out.d.curvature = arena.take<double>(static_cast<std::int64_t>(width) * width);
    return out;
}

static inline std::int64_t search_bytes(int f, int width) {
    return 2 * (8 * (4 * (2 * width + width * width) + 2 * f * f + 64) + 64 * 15);
}

static inline Search make_search(int f, int width, Arena& arena) {
    Search s;
    s.now = make_point(f, width, arena);
    s.trial = make_point(f, width, arena);
    s.shift = {false, arena.take<double>(width), arena.take<double>(width),
               arena.take<double>(static_cast<std::int64_t>(width) * width)};
    s.bins = nullptr;
    s.direction = arena.take<double>(width);
    s.work = arena.take<double>(static_cast<std::int64_t>(width) * width);
    s.n_iter = 0;
    s.decrement = 0;
    s.reach = first_reach;
    s.length = 0;
    s.at_reach = false;
    s.in_bins = false;
    return s;
}

static inline double inner(const double* a, const double* b, int n) {
    double out = 0;
    for (int i = 0; i < n; ++i) out += a[i] * b[i];
    return out;
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
    s.length = reach;
    s.at_reach = reach > s.reach;
    if (!s.at_reach) return;
    for (int c = 0; c < p.mean.n_columns + p.dispersion.n_columns; ++c) direction[c] *= s.reach / reach;
}

static inline void swap_points(Search& s) {
    const Point hold = s.now;
    s.now = s.trial;
    s.trial = hold;
}

static inline void add_shift(const Shift& s, int width, Point& at) {
    for (int i = 0; i < width; ++i) {
        double bent = 0;
        for (int j = 0; j < width; ++j) {
            bent += s.curvature[i * width + j] * (at.theta[j] - s.at[j]);
            at.d.curvature[i * width + j] += s.curvature[i * width + j];
        }
        at.d.value += (at.theta[i] - s.at[i]) * (s.gradient[i] - 0.5 * bent);
        at.d.gradient[i] += s.gradient[i] - bent;
    }
}

static inline void evaluate_at(const Problem& p, const Gene& g, Workspace& w, Model model, bool with_summary,
                               const Search& s, Point& at) {
    at.summarised = with_summary && !s.in_bins;
    if (at.summarised) clear_summary(p.mean.n_columns, at.summary);
    evaluate(p, g, w, at.theta, model == poisson_model, at.d, at.summarised ? &at.summary : nullptr, s.in_bins);
    if (s.in_bins && s.shift.on) add_shift(s.shift, p.mean.n_columns + p.dispersion.n_columns, at);
}

static inline const Lengths& lengths_of(const Search& s) { return s.bins ? bins_lengths : newton_lengths; }

// Halve the step until the likelihood rises as it should (Armijo), within its noise.
static inline bool climb(const Problem& p, const Gene& g, Workspace& w, Model model, Search& s) {
    const int width = p.mean.n_columns + p.dispersion.n_columns;
    const double slope = inner(s.now.d.gradient, s.direction, width);
    if (!(slope > 0)) return false;
    double step = 1;
    for (int h = 0; h < most_halvings; ++h, step *= h < 4 ? 0.5 : 0.25) {
        for (int i = 0; i < width; ++i) s.trial.theta[i] = s.now.theta[i] + step * s.direction[i];
        evaluate_at(p, g, w, model, s.length < lengths_of(s).last_but_one, s, s.trial);
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
// After a short one the curvature is the same, and value and gradient follow from it.
static inline void take_step(Search& s, int width) {
    Point& at = s.now;
    for (int i = 0; i < width; ++i) at.theta[i] += s.direction[i];
    at.summarised = at.summarised && s.length <= lengths_of(s).last;
    if (!at.summarised) return;
    at.d.value += s.decrement;
    for (int i = 0; i < width; ++i) at.d.gradient[i] -= inner(at.d.curvature + i * width, s.direction, width);
}

static inline Outcome iterate(const Problem& p, const Gene& g, Workspace& w, Model model, bool watch_poisson,
                              double typical_mean, double tol, Search& s);

// Replace the Newton direction by the way to the maximum of the likelihood over bins, shifted so that it agrees with
// that over cells to second order here. It is off by a third-order term that both nearly share.
static inline void turn_by_bins(const Problem& p, const Gene& g, Workspace& w, Model model, Search& s) {
    const int width = p.mean.n_columns + p.dispersion.n_columns;
    Search& bins = *s.bins;
    Shift& shift = bins.shift;
    for (int i = 0; i < width; ++i) shift.at[i] = bins.now.theta[i] = s.now.theta[i];
    shift.on = false;
    evaluate_at(p, g, w, model, false, bins, bins.now);
    for (int i = 0; i < width; ++i) shift.gradient[i] = s.now.d.gradient[i] - bins.now.d.gradient[i];
    for (int i = 0; i < width * width; ++i) shift.curvature[i] = s.now.d.curvature[i] - bins.now.d.curvature[i];
    shift.on = true;
    bins.n_iter = p.max_iter > most_shifted_steps ? p.max_iter - most_shifted_steps : 0;
    bins.reach = first_reach;
    if (iterate(p, g, w, model, false, 0, shifted_tol, bins) != converged) return;
    for (int i = 0; i < width; ++i) s.direction[i] = bins.now.theta[i] - s.now.theta[i];
}

static inline Outcome iterate(const Problem& p, const Gene& g, Workspace& w, Model model, bool watch_poisson,
                              double typical_mean, double tol, Search& s) {
    const int f = p.mean.n_columns, width = f + p.dispersion.n_columns;
    evaluate_at(p, g, w, model, false, s, s.now);
    int idle = 0;
    bool by_bins = s.bins;  // while their steps do better than Newton's would
    double before_turn = 1e300;
    while (true) {
        if (p.stopped(p.stop_context)) return interrupted;
        const bool joint = model == joint_model && joint_direction(s.now, width, s.work, s.direction);
        if (!joint && !block_direction(s.now, f, width, model, s.work, s.direction)) return stalled;
        s.decrement = 0.5 * inner(s.now.d.gradient, s.direction, width);
        shorten(p, s);
        if (absolute(s.decrement) <= larger(tol, noise(s.now.d))) {
            if (joint || model != joint_model) take_step(s, width);
            return converged;
        }
        if (watch_poisson && sliding_to_poisson(p, s.now, typical_mean)) return near_poisson;
        if (s.n_iter >= p.max_iter) return out_of_iterations;
        ++s.n_iter;
        by_bins = by_bins && s.decrement < least_gain_by_bins * before_turn;
        if (by_bins && (joint || model != joint_model) && s.length < longest_shifted) {
            turn_by_bins(p, g, w, model, s);
            before_turn = s.decrement;
        }
        const double before = s.now.d.value;
        if (climb(p, g, w, model, s)) {
            idle = s.now.d.value - before <= larger(tol, noise(s.now.d)) ? idle + 1 : 0;
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

// Go to the maximum over bins of cells; stay where that fails. Its steps are not counted: together they cost a fraction
// of one over cells.
static inline Outcome approach(const Problem& p, const Gene& g, Workspace& w, Model model, bool watch_poisson,
                               double typical_mean, Search& s) {
    Search& bins = *s.bins;
    const int width = p.mean.n_columns + p.dispersion.n_columns;
    for (int i = 0; i < width; ++i) bins.now.theta[i] = s.now.theta[i];
    bins.n_iter = 0;
    bins.reach = first_reach;
    bins.shift.on = false;
    const Outcome outcome = iterate(p, g, w, model, watch_poisson, typical_mean, larger(p.tol, bins_tol), bins);
    for (int i = 0; outcome == converged && i < width; ++i) s.now.theta[i] = bins.now.theta[i];
    return outcome;
}

static inline Outcome maximise(const Problem& p, const Gene& g, Workspace& w, Model model, bool watch_poisson,
                               double typical_mean, Search& s) {
    // A start from the caller is one from a similar fit: nearer than the maximum over bins.
    if (s.bins && !p.start_mean && approach(p, g, w, model, watch_poisson, typical_mean, s) == near_poisson)
        return near_poisson;
    return iterate(p, g, w, model, watch_poisson, typical_mean, p.tol, s);
}

}  // namespace isthmus::ISTHMUS_ISA
