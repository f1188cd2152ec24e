// From a gene's counts to its estimates: start, the Poisson limit, the joint fit, and what is reported of it.
#pragma once

#include "exact.hpp"
#include "kept.hpp"
#include "newton.hpp"

namespace isthmus::ISTHMUS_ISA {

struct GeneFit {
    Search search;
    bool poisson;
    GeneCode code;
};

// A likelihood that levels off is as high as it gets, but not at a point: if the design does not explain it, it is a
// failure.
static inline GeneCode code_of(Outcome o) { return o == converged ? gene_ok : gene_not_converged; }

// Fit the mean at alpha = 0.
static inline Outcome refit_poisson(const Problem& p, const Gene& g, Workspace& w, GeneFit& fit) {
    return maximise(p, g, w, poisson_model, false, 0, fit.search);
}

static inline void settle_on_poisson(Outcome outcome, GeneFit& fit) {
    fit.poisson = true;
    fit.code = code_of(outcome) == gene_ok ? gene_poisson_limit : gene_not_converged;
}

// True if the likelihood does not rise as alpha leaves 0: the optimum lies on the bound, and the Poisson fit is kept.
// `moment` becomes the moment estimate of alpha at that fit, where a joint fit can start.
static inline bool poisson_limit(const Problem& p, const Gene& g, Workspace& w, GeneFit& fit, double& moment) {
    const Outcome outcome = refit_poisson(p, g, w, fit);
    const PoissonScore at_zero = poisson_score(p, g, w, fit.search.now.theta);
    moment = at_zero.excess;
    if (at_zero.falls) settle_on_poisson(outcome, fit);
    fit.search.now.summarised = fit.search.now.summarised && at_zero.falls;
    return at_zero.falls;
}

// Has every dispersion become too small to show? With a dispersion of its own for each cell there is no score to ask:
// some cell without a count always gains a little from a large alpha.
static inline bool fades_to_poisson(const Problem& p, const Gene& g, Workspace& w, const Summary& summary,
                                    GeneFit& fit) {
    if (fit.code != gene_ok || fit.poisson || p.fix_dispersion) return false;
    double moment = 0;
    if (!varies_within_strata(p.dispersion)) return summary.max_excess < 1e-7 && poisson_limit(p, g, w, fit, moment);
    if (summary.max_excess > 1e-6) return false;
    settle_on_poisson(refit_poisson(p, g, w, fit), fit);
    return true;
}

static inline void set_dispersion(const Problem& p, RowRegression r, double alpha, double* b) {
    clear(b, p.dispersion.n_columns);
    clear(r.gram, p.dispersion.n_columns * p.dispersion.n_columns);
    clear(r.rhs, p.dispersion.n_columns);
    for (int level = 0; level < p.n_levels; ++level) {
        const int stratum = p.stratum_of_level[level];
        add_row(p.dispersion, stratum, 1.0, log1(alpha) - p.dispersion.fixed_row[stratum], r);
    }
    solve_rows(p.dispersion.n_columns, r, b);
}

static inline void fit_joint(const Problem& p, const Gene& g, Workspace& w, RowRegression r, double moment,
                             GeneFit& fit) {
    const int f = p.mean.n_columns;
    const bool by_level = !varies_within_strata(p.dispersion);
    const bool one_dispersion = p.n_levels == 1 && by_level;
    double exposure = 0;
    for (int s = 0; s < p.n_strata; ++s) exposure += g.stratum_exposure[s];
    const double typical_mean = exposure > 0 ? g.total / p.n_cells : 0;
    bool watch = one_dispersion;
    if (by_level && moment <= 0) {
        if (poisson_limit(p, g, w, fit, moment)) return;
        watch = false;
        set_dispersion(p, r, larger(moment, 1e-8), fit.search.now.theta + f);
    }
    Outcome outcome = maximise(p, g, w, joint_model, watch, typical_mean, fit.search);
    if (outcome == near_poisson) {
        if (poisson_limit(p, g, w, fit, moment)) return;
        set_dispersion(p, r, larger(moment, 1e-8), fit.search.now.theta + f);
        outcome = maximise(p, g, w, joint_model, false, typical_mean, fit.search);
    }
    fit.code = code_of(outcome);
}

static inline void copy(const double* from, std::int64_t n, double* to) {
    for (std::int64_t i = 0; i < n; ++i) to[i] = from[i];
}

// The optimum, with what the standard errors need.
static inline void report(const Problem& p, Gene& g, Workspace& w, GeneFit& fit, int gene, const Results& out) {
    const int f = p.mean.n_columns, q = p.dispersion.n_columns, width = f + q;
    const Model model = fit.poisson ? poisson_model : joint_model;
    Point& at = fit.search.now;
    if (!at.summarised) evaluate_at(p, g, w, model, true, fit.search, at);
    if (fades_to_poisson(p, g, w, at.summary, fit)) {
        report(p, g, w, fit, gene, out);
        return;
    }
    if (!at.summarised)  // a Poisson refit that was not kept has moved the mean a little
        evaluate_at(p, g, w, model, true, fit.search, at);
    const Summary& summary = at.summary;
    copy(summary.expected, static_cast<std::int64_t>(f) * f,
         out.expected_info + static_cast<std::int64_t>(gene) * f * f);
    copy(at.theta, f, out.mean_coef + static_cast<std::int64_t>(gene) * f);
    copy(at.theta + f, q, out.dispersion_coef + static_cast<std::int64_t>(gene) * q);
    copy(at.d.curvature, static_cast<std::int64_t>(width) * width,
         out.neg_hessian + static_cast<std::int64_t>(gene) * width * width);
    const bool limit = fit.poisson && q > 0;
    for (int c = 0; limit && c < q; ++c)
        out.dispersion_coef[static_cast<std::int64_t>(gene) * q + c] = __builtin_nan("");
    copy(at.d.gradient, width, out.gradient + static_cast<std::int64_t>(gene) * width);
    // Where the parts are large, the fast sum has lost digits that comparisons of fits need.
    const bool large = at.d.magnitude > 1e7;
    if (large && !g.counts_read) read_counts(p, gene, g);
    out.log_likelihood[gene] = large ? exact_log_likelihood(p, g, w, at.theta, fit.poisson) : at.d.value + g.constant;
    out.decrement[gene] = absolute(fit.search.decrement);
    out.min_mean[gene] = summary.min_mean;
    out.min_dispersion[gene] = fit.poisson ? 0 : summary.min_dispersion;
    out.max_dispersion[gene] = fit.poisson ? 0 : summary.max_dispersion;
    out.mean_dispersion[gene] = fit.poisson ? 0 : summary.mean_dispersion / p.n_cells;
    out.n_iter[gene] = fit.search.n_iter;
    out.code[gene] = fit.code;
}

static inline void report_all_zero(const Problem& p, int gene, const Results& out) {
    const std::int64_t f = p.mean.n_columns, q = p.dispersion.n_columns, g = gene;
    const double nan = __builtin_nan("");
    auto fill = [nan](double* x, std::int64_t n) {
        for (std::int64_t i = 0; i < n; ++i) x[i] = nan;
    };
    fill(out.mean_coef + g * f, f);
    fill(out.dispersion_coef + g * q, q);
    fill(out.expected_info + g * f * f, f * f);
    fill(out.gradient + g * (f + q), f + q);
    fill(out.neg_hessian + g * (f + q) * (f + q), (f + q) * (f + q));
    double* const scalars[] = {out.log_likelihood, out.decrement,      out.min_mean,
                               out.min_dispersion, out.max_dispersion, out.mean_dispersion};
    for (double* x : scalars) x[gene] = nan;
    out.n_iter[gene] = 0;
    out.code[gene] = gene_all_zero;
}

static inline std::int64_t bytes_for_gene(const Problem& p, int most_nonzero) {
    const std::int64_t width = p.mean.n_columns + p.dispersion.n_columns;
    return gene_scratch_bytes(p, most_nonzero) + workspace_bytes(p) +
           search_bytes(p.mean.n_columns, static_cast<int>(width)) + 8 * (2 * width * width + width) + 4096;
}

static inline void fit_one_gene(const Problem& p, int gene, void* scratch, const Results& out) {
    if (p.gene_stop[gene] == p.gene_start[gene]) {
        report_all_zero(p, gene, out);
        return;
    }
    Arena arena{static_cast<char*>(scratch)};
    const int f = p.mean.n_columns, q = p.dispersion.n_columns;
    Gene g;
    if (!recall(p, gene, g, arena)) {
        prepare(p, gene, g, arena);
        if (p.nodes.n) {
            prepare_nodes(p, g, arena);
            keep(p, gene, g);
        }
    }
    if (!(g.total > 0)) {  // counts in cells of weight 0 only
        report_all_zero(p, gene, out);
        return;
    }
    Workspace w = make_workspace(p, arena);
    GeneFit fit{make_search(f, f + q, arena), q == 0, gene_ok};
    Search bins = make_search(f, f + q, arena);
    bins.in_bins = true;
    if (p.bins.n_padded) fit.search.bins = &bins;
    const std::int64_t widest = f > q ? f : q;
    RowRegression r{arena.take<double>(widest * widest), nullptr, arena.take<double>(widest)};
    double* theta = fit.search.now.theta;
    start_mean(p, g, r, theta);
    double moment = q > 0 ? start_dispersion(p, g, theta, r, theta + f) : 0;
    if (p.start_mean) copy(p.start_mean + static_cast<std::int64_t>(gene) * f, f, theta);
    if (p.start_dispersion) {
        copy(p.start_dispersion + static_cast<std::int64_t>(gene) * q, q, theta + f);
        moment = 1;  // the caller's start is used as it is
    }
    if (q == 0)
        fit.code = code_of(maximise(p, g, w, poisson_model, false, 0, fit.search));
    else if (p.fix_dispersion)
        fit.code = code_of(maximise(p, g, w, mean_model, false, 0, fit.search));
    else
        fit_joint(p, g, w, r, moment, fit);
    report(p, g, w, fit, gene, out);
}

}  // namespace isthmus::ISTHMUS_ISA
