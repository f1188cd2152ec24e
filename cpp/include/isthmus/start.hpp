// Where the iteration starts: stratum means for the mean model, moments for the dispersion.
#pragma once

#include "cholesky.hpp"
#include "weighted.hpp"

namespace isthmus::ISTHMUS_ISA {

// Weighted least squares of `target` on the strata's rows; continuous columns and what the strata do not tell start at
// 0.
struct RowRegression {
    double *gram, *work, *rhs;
};

static inline void add_row(const StratifiedDesign& d, int stratum, double weight, double target, RowRegression& r) {
    for (int e = d.entry_start[stratum]; e < d.entry_start[stratum + 1]; ++e) {
        const double wx = weight * d.entry_value[e];
        r.rhs[d.entry_column[e]] += wx * target;
        for (int h = d.entry_start[stratum]; h < d.entry_start[stratum + 1]; ++h)
            r.gram[d.entry_column[e] * d.n_columns + d.entry_column[h]] += wx * d.entry_value[h];
    }
}

static inline void solve_rows(int n, RowRegression& r, double* coef) {
    double largest_diagonal = 0;
    for (int i = 0; i < n; ++i) largest_diagonal = larger(largest_diagonal, r.gram[i * n + i]);
    if (largest_diagonal == 0) return;
    // A little ridge: columns that only the continuous part tells apart are collinear here, and empty ones have no row.
    for (int i = 0; i < n; ++i) r.gram[i * n + i] += 1e-9 * largest_diagonal;
    if (!cholesky(r.gram, n)) return;
    cholesky_solve(r.gram, n, r.rhs);
    for (int i = 0; i < n; ++i) coef[i] = r.rhs[i];
}

// What a stratum without counts is taken to hold, and what it weighs: close to where a separated stratum ends, without
// pulling at the others.
constexpr double empty_stratum_total = 1e-4;
constexpr double empty_stratum_weight = 1e-2;

// log of the stratum's rate.
static inline void start_mean(const Problem& p, const Gene& g, RowRegression r, double* a) {
    const int f = p.mean.n_columns;
    clear(a, f);
    clear(r.gram, f * f);
    clear(r.rhs, f);
    for (int s = 0; s < p.n_strata; ++s) {
        if (!(g.stratum_exposure[s] > 0)) continue;
        const double total = g.stratum_total[s];
        const bool empty = !(total > 0);
        add_row(p.mean, s, empty ? empty_stratum_weight : total,
                log1((empty ? empty_stratum_total : total) / g.stratum_exposure[s]), r);
    }
    solve_rows(f, r, a);
}

static inline double stratum_moment(const Problem& p, const Gene& g, int s, double rate, double& mean_square) {
    if (p.nodes.n && !g.weight) {
        mean_square = rate * rate * p.stratum_square[s];
        return node_excess(g, s, rate) + mean_square;
    }
    double square = 0, excess = 0;
    for (int i = p.stratum_start[s]; i < p.stratum_start[s + 1]; ++i)
        square += weight_of(g, i) * g.exposure[i] * g.exposure[i];
    for (int k = g.stratum_nonzero[s]; k < g.stratum_nonzero[s + 1]; ++k)
        excess += weight_of(g, g.position[k]) * g.y[k] * (g.y[k] - 1 - 2 * rate * g.exposure[g.position[k]]);
    mean_square = rate * rate * square;
    return excess + mean_square;
}

// alpha = sum((y - mu)^2 - y) / sum(mu^2) in each level, kept within [0.01, 20], regressed on the levels' rows.
// Returns the largest moment estimate of a level: at or below zero it hints at the Poisson limit.
static inline double start_dispersion(const Problem& p, const Gene& g, const double* a, RowRegression r, double* b) {
    const int q = p.dispersion.n_columns;
    clear(b, q);
    clear(r.gram, q * q);
    clear(r.rhs, q);
    double most = -1;
    for (int level = 0; level < p.n_levels; ++level) {
        double excess = 0, square = 0;
        for (int s = 0; s < p.n_strata; ++s) {
            if (p.level_of_stratum[s] != level) continue;
            double mean_square = 0;
            excess += stratum_moment(p, g, s, exp1(smaller(row_product(p.mean, s, a), max_eta)), mean_square);
            square += mean_square;
        }
        if (square > 0) most = larger(most, excess / square);
        const double alpha = square > 0 ? smaller(larger(excess / square, 0.01), 20.0) : 0.1;
        add_row(p.dispersion, p.stratum_of_level[level], 1.0,
                log1(alpha) - p.dispersion.fixed_row[p.stratum_of_level[level]], r);
    }
    solve_rows(q, r, b);
    return most;
}

}  // namespace isthmus::ISTHMUS_ISA
