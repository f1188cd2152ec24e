// Whether the likelihood rises as the dispersion leaves 0.
#pragma once

#include "likelihood.hpp"

namespace isthmus::ISTHMUS_ISA {

// At alpha = 0 the log-likelihood's derivative by the alpha of some cells is half of their sum of (y - mu)^2 - y (Dean
// & Lawless 1989, JASA 84:467). If it is positive in no level, the likelihood falls whichever alpha leaves 0.
struct PoissonScore {
    double excess;  // largest over levels of sum((y - mu)^2 - y) / sum(mu^2), the moment estimate of alpha
    bool falls;
};

static inline double add_excess(const Problem& p, const Gene& g, Workspace& w, const double* a, int stratum,
                                double& square) {
    const double base = row_product(p.mean, stratum, a);
    if (p.nodes.n && !g.weight) {
        const double rate = exp1(smaller(base, max_eta));
        square += rate * rate * p.stratum_square[stratum];
        return node_excess(g, stratum, rate);
    }
    double out = 0;
    int k = g.stratum_nonzero[stratum];
    for (int first = p.stratum_start[stratum]; first < p.stratum_start[stratum + 1]; first += block_cells) {
        const int n = cells_in_block(p, stratum, first);
        fitted_means(p, g, first, n, base, a, w.block.mu);
        Pack total{};
        for (int i = 0; i < n; i += pack_lanes) {
            const Pack mu = load(w.block.mu + i);
            total += g.weight ? load(g.weight + first + i) * mu * mu : mu * mu;
        }
        square += sum(total);
        for (; k < g.n_nonzero && g.position[k] < first + n; ++k)
            out += weight_of(g, g.position[k]) * g.y[k] * (g.y[k] - 1 - 2 * w.block.mu[g.position[k] - first]);
    }
    return out;
}

static inline PoissonScore poisson_score(const Problem& p, const Gene& g, Workspace& w, const double* a) {
    PoissonScore out{-1, true};
    for (int level = 0; level < p.n_levels; ++level) {
        double excess = 0, square = 0;
        for (int s = 0; s < p.n_strata; ++s)
            if (p.level_of_stratum[s] == level) excess += add_excess(p, g, w, a, s, square);
        if (!(square > 0)) continue;
        out.excess = larger(out.excess, (excess + square) / square);
        out.falls = out.falls && excess + square <= 1e-12 * square;
    }
    return out;
}

}  // namespace isthmus::ISTHMUS_ISA
