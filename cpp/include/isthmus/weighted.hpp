// Sums over the cells of one stratum with a weight for every observation: what a cell adds to the log-likelihood and to
// its derivatives is multiplied by it.
//
// One path for every model, cell by cell: with weights the counts of a level can no longer be summarised by a tail.
#pragma once

#include "likelihood.hpp"

namespace isthmus::ISTHMUS_ISA {

// The terms of every cell of a block in b.ge, b.he, b.gz, b.hz and b.cross; what is scalar is added up with its weight.
static inline int weighted_cells(const Gene& g, const Block& b, int first, int n, int k, bool poisson, StratumSums& s) {
    for (int i = 0; i < n; ++i) {
        const double weight = g.weight[first + i], mu = b.mu[i], alpha = poisson ? 0.0 : b.alpha[i];
        const bool counted = k < g.n_nonzero && g.position[k] == first + i;
        const double y = counted ? g.y[k++] : 0.0;
        const double t = alpha * mu, v = 1 / (1 + t), mu_v = mu * v, yv = y * v, yvw = yv * (1 - v);
        const double log_part = poisson ? mu : log1p1(t) / alpha;
        const Rising r = counted && !poisson ? rising_entry(y, alpha) : Rising{0, 0, 0};
        const double excess = yvw - mu_v * (1 - v);  // (y - mu) v (1 - v)
        b.v[i] = v;
        b.ge[i] = weight * (yv - mu_v);
        b.he[i] = weight * (mu_v * v + yvw);
        b.cross[i] = weight * excess;
        b.gz[i] = weight * (log_part + yv - mu_v - y + r.s1);
        b.hz[i] = weight * (log_part - mu_v + excess - r.s2);
        s.log_part += weight * log_part;
        s.y_log_v += counted ? weight * y * log1(v) : 0.0;
        s.rising += weight * r.s0;
    }
    return k;
}

static inline void add_weighted_expected(const Problem& p, const Gene& g, const Block& b, int first, int n,
                                         StratumSums& s, Summary& out) {
    for (int i = 0; i < n; ++i) {
        const double weight = g.weight[first + i];
        b.ge[i] = weight * b.mu[i] * b.v[i];
        if (!(weight > 0)) continue;  // padding, too
        s.mean_total += b.mu[i];
        s.mean_square += b.mu[i] * b.mu[i];
        out.min_mean = smaller(out.min_mean, b.mu[i]);
    }
    add_weighted_square(b.ge, p.mean.continuous + first, p.n_padded, p.mean.n_continuous, n, b.work, s.ee);
}

static inline void weighted_stratum(const Problem& p, const Gene& g, const Workspace& w, int stratum,
                                    const double* theta, bool poisson, StratumSums& s, Summary* summary) {
    const StratifiedDesign &d = p.mean, &z = p.dispersion;
    const double *a = theta, *b = theta + d.n_columns;
    const double base = row_product(d, stratum, a), base_zeta = poisson ? 0.0 : row_product(z, stratum, b);
    int k = g.stratum_nonzero[stratum];
    for (int first = p.stratum_start[stratum]; first < p.stratum_start[stratum + 1]; first += block_cells) {
        const int n = cells_in_block(p, stratum, first);
        fitted_means(p, g, first, n, base, a, w.block.mu);
        if (!poisson) cell_dispersions(p, first, n, base_zeta, b, w.block.alpha);
        k = weighted_cells(g, w.block, first, n, k, poisson, s);
        add_block(p, w, first, n, s);
        if (!summary) continue;
        for (int i = 0; i < n; ++i)
            if (!poisson && p.cell_of_position[first + i] >= 0) note_dispersion(w.block.alpha[i], 1, *summary);
        add_weighted_expected(p, g, w.block, first, n, s, *summary);
    }
}

}  // namespace isthmus::ISTHMUS_ISA
