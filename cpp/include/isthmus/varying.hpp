// Sums over the cells of a stratum with a dispersion of their own each.
#pragma once

#include "fitted_means.hpp"

namespace isthmus::ISTHMUS_ISA {

static inline void add_columns(const StratifiedDesign& d, std::int64_t n_padded, int first, int n, const double* coef,
                               double* eta) {
    for (int c = 0; c < d.n_continuous; ++c) {
        const double* x = d.continuous + c * n_padded + first;
        const Pack b = all(coef[d.continuous_column[c]]);
        for (int i = 0; i < n; i += pack_lanes) store(eta + i, load(eta + i) + b * load(x + i));
    }
}

// The same where alpha differs from cell to cell (b.alpha).
static inline void zero_part_varying(const Block& b, int n, StratumSums& s) {
    Pack total{};
    for (int i = 0; i < n; i += pack_lanes) {
        const Pack mu = load(b.mu + i), alpha = load(b.alpha + i), t = alpha * mu;
        const Pack v = 1.0 / (1.0 + t), g = mu * v, h = g * v, log_part = log1p_pack(t) / alpha;
        total += log_part;
        store(b.v + i, v);
        store(b.ge + i, -g);
        store(b.he + i, h);
        store(b.cross + i, h - g);
        store(b.gz + i, log_part - g);
        store(b.hz + i, log_part - g + (h - g));
    }
    s.log_part += sum(total);
}

// What cells with counts add to the block that starts at `first`. Returns the gene's next nonzero.
static inline int add_counts(const Gene& g, const Block& b, int first, int end, int k, StratumSums& s) {
    int n = 0;
    for (; k < g.n_nonzero && g.position[k] < end; ++k, ++n) {
        const int i = g.position[k] - first;
        const double y = g.y[k], v = b.v[i], yv = y * v, yvw = yv * (1 - v);
        const Rising r = rising_entry(y, b.alpha[i]);
        b.ge[i] += yv;
        b.he[i] += yvw;
        b.cross[i] += yvw;
        b.gz[i] += yv - y + r.s1;
        b.hz[i] += yvw - r.s2;
        s.rising += r.s0;
        b.count[n] = y;
        b.count_v[n] = v;
    }
    for (int i = n; i < padded(n); ++i) b.count[i] = 0, b.count_v[i] = 1;
    Pack y_log_v{};
    for (int i = 0; i < n; i += pack_lanes) y_log_v += load(b.count + i) * log_pack(load(b.count_v + i));
    s.y_log_v += sum(y_log_v);
    return k;
}

// alpha of the cells at [first, first + n) where it differs within the stratum.
static inline void cell_dispersions(const Problem& p, int first, int n, double base, const double* b, double* alpha) {
    const StratifiedDesign& z = p.dispersion;
    for (int i = 0; i < n; ++i) alpha[i] = z.fixed_cell ? base + z.fixed_cell[first + i] : base;
    add_columns(z, p.n_padded, first, n, b, alpha);
    for (int i = 0; i < n; i += pack_lanes)
        store(alpha + i, exp_pack(at_least(at_most(load(alpha + i), max_log_dispersion), min_log_dispersion)));
}

// The terms of a block's cells, each in a buffer of its own, summed over (1, continuous columns).
static inline void add_block(const Problem& p, const Workspace& w, int first, int n, StratumSums& s) {
    const StratifiedDesign &d = p.mean, &z = p.dispersion;
    const int m = 1 + z.n_continuous;
    const double* x = d.continuous + first;
    const double* zx = z.continuous + first;
    add_weighted(w.block.ge, x, p.n_padded, d.n_continuous, n, s.ge);
    add_weighted_square(w.block.he, x, p.n_padded, d.n_continuous, n, w.block.work, s.he);
    add_weighted(w.block.gz, zx, p.n_padded, z.n_continuous, n, s.gz);
    add_weighted_square(w.block.hz, zx, p.n_padded, z.n_continuous, n, w.block.work, s.hz);
    add_weighted(w.block.cross, zx, p.n_padded, z.n_continuous, n, s.cross);
    for (int c = 0; c < d.n_continuous; ++c) {
        for (int i = 0; i < n; i += pack_lanes)
            store(w.block.work + i, load(w.block.cross + i) * load(x + c * static_cast<std::int64_t>(p.n_padded) + i));
        add_weighted(w.block.work, zx, p.n_padded, z.n_continuous, n, s.cross + (c + 1) * m);
    }
}

// Cells of one stratum with a dispersion of their own each.
static inline void varying_stratum(const Problem& p, const Gene& g, const Workspace& w, int stratum,
                                   const double* theta, StratumSums& s, Summary* summary) {
    const StratifiedDesign &d = p.mean, &z = p.dispersion;
    const double *a = theta, *b = theta + d.n_columns;
    const double base = row_product(d, stratum, a), base_zeta = row_product(z, stratum, b);
    int k = g.stratum_nonzero[stratum];
    for (int first = p.stratum_start[stratum]; first < p.stratum_start[stratum + 1]; first += block_cells) {
        const int n = cells_in_block(p, stratum, first);
        fitted_means(p, g, first, n, base, a, w.block.mu);
        cell_dispersions(p, first, n, base_zeta, b, w.block.alpha);
        zero_part_varying(w.block, n, s);
        k = add_counts(g, w.block, first, first + n, k, s);
        add_block(p, w, first, n, s);
        if (!summary) continue;
        for (int i = 0; i < n; ++i)
            if (p.cell_of_position[first + i] >= 0) note_dispersion(w.block.alpha[i], 1, *summary);
        add_expected(p, w.block, first, n, s, *summary);
    }
}

}  // namespace isthmus::ISTHMUS_ISA
