// Log-likelihood of one gene with gradient and curvature in (mean coefficients, dispersion coefficients).
//
// log mu = X a + offset, log alpha = Z b, Var(y) = mu + alpha mu^2. With t = alpha mu and v = 1 / (1 + t), a cell adds
//
//     value      y log mu - y log(1 + t) - log(1 + t) / alpha + S0(y, alpha) - log y!
//     d eta      (y - mu) v
//    -d2 eta     mu v^2 + y v (1 - v)
//     d zeta     log(1 + t) / alpha + (y - mu) v - y + S1
//    -d2 cross   c = (y - mu) v (1 - v)
//    -d2 zeta    log(1 + t) / alpha - mu v + c - S2
//
// (Lawless 1987, Canad. J. Statist. 15:209, in log alpha.) The y = 0 part is computed for every cell in vectors; cells
// with counts then add their share, so a zero costs no logarithm of its own and never meets a Gamma function.
#pragma once

#include "constant.hpp"
#include "scatter.hpp"
#include "varying.hpp"

namespace isthmus::ISTHMUS_ISA {

// Observations with weights (weighted.hpp).
static inline void weighted_stratum(const Problem& p, const Gene& g, const Workspace& w, int stratum,
                                    const double* theta, bool poisson, StratumSums& s, Summary* summary);

static inline double clamped_dispersion(const Problem& p, int stratum, const double* b) {
    const double zeta = row_product(p.dispersion, stratum, b);
    return exp1(larger(smaller(zeta, max_log_dispersion), min_log_dispersion));
}

// The sums S0, S1, S2 of each distinct row of the dispersion design.
static inline void add_levels(const Problem& p, const Gene& g, const double* b, Derivatives& out) {
    const StratifiedDesign& z = p.dispersion;
    const int f = p.mean.n_columns, width = f + z.n_columns;
    for (int r = 0; r < p.n_levels; ++r) {
        const int stratum = p.stratum_of_level[r];
        const Rising part = rising_tail(g.level[r], clamped_dispersion(p, stratum, b));
        out.value += part.s0;
        out.magnitude += part.s0;
        columns_of(z, stratum, 0, [&](int ci, double xi) {
            out.gradient[f + ci] += xi * part.s1;
            columns_of(z, stratum, 0,
                       [&](int cj, double xj) { out.curvature[(f + ci) * width + f + cj] -= xi * xj * part.s2; });
        });
    }
}

// How far a stratum is from Poisson: alpha sum mu^2 / sum mu, the excess of the variance over the mean.
static inline double excess(double alpha, const StratumSums& s) {
    return s.mean_total > 0 ? alpha * s.mean_square / s.mean_total : 0;
}

// Evaluate at theta = (a, b). `poisson`: alpha = 0 everywhere, and the dispersion's derivatives are zero. `in_bins`:
// over bins in place of cells, without a summary.
static inline void evaluate(const Problem& p, const Gene& g, Workspace& w, const double* theta, bool poisson,
                            Derivatives& out, Summary* summary = nullptr, bool in_bins = false) {
    const int f = p.mean.n_columns, width = f + p.dispersion.n_columns;
    const int k = 1 + p.mean.n_continuous, m = 1 + p.dispersion.n_continuous;
    const bool varying = !poisson && (g.weight || varies_within_strata(p.dispersion));
    clear(out.gradient, width);
    clear(out.curvature, width * width);
    double linear = g.offset_total;
    for (int c = 0; c < f; ++c) linear += theta[c] * g.design_total[c];
    out.value = linear;
    out.magnitude = absolute(linear);
    for (int s = 0; s < p.n_strata; ++s) {
        clear(w.sums, k, m);
        const double alpha = poisson || varying ? 0.0 : clamped_dispersion(p, s, theta + f);
        if (in_bins)
            binned_stratum(p, g, w.block, s, theta, alpha, w.sums);
        else if (g.weight)
            weighted_stratum(p, g, w, s, theta, poisson, w.sums, summary);
        else if (p.nodes.n)
            node_stratum(p, g, s, theta, alpha, w.sums, summary);
        else if (varying)
            varying_stratum(p, g, w, s, theta, w.sums, summary);
        else
            constant_stratum(p, g, w, s, theta, alpha, w.sums, summary);
        out.value += w.sums.y_log_v - w.sums.log_part + w.sums.rising;
        out.magnitude += absolute(w.sums.y_log_v) + w.sums.log_part + absolute(w.sums.rising);
        scatter_vector(p.mean, s, w.sums.ge, out.gradient);
        scatter_square(p.mean, s, w.sums.he, out.curvature, width);
        if (summary) {
            scatter_square(p.mean, s, w.sums.ee, summary->expected, f);
            summary->max_excess =
                larger(summary->max_excess, excess(varying ? summary->max_dispersion : alpha, w.sums));
            if (!varying) note_dispersion(alpha, p.stratum_cells[s], *summary);
        }
        if (poisson) continue;
        scatter_vector(p.dispersion, s, w.sums.gz, out.gradient + f);
        scatter_square(p.dispersion, s, w.sums.hz, out.curvature + f * width + f, width);
        scatter_cross(p, s, w.sums.cross, out.curvature, width);
    }
    for (int c = 0; in_bins && c < f; ++c) out.gradient[c] += g.bin_shift[c];
    if (!poisson && !varying) add_levels(p, g, theta + f, out);
}

}  // namespace isthmus::ISTHMUS_ISA
