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

#include "node_sums.hpp"

namespace isthmus::ISTHMUS_ISA {

struct Derivatives {
    double value;       // without log y!
    double magnitude;   // sum of absolute parts of the value: times 2^-52 it is the noise of `value`
    double* gradient;   // (f + g)
    double* curvature;  // (f + g)^2, minus the Hessian
};

// Extras of the last evaluation at the optimum.
struct Summary {
    double* expected;  // (f, f) Fisher information of the mean model
    double min_mean;
    double min_dispersion, max_dispersion, mean_dispersion;
    double max_excess;  // over strata, alpha * sum mu^2 / sum mu: how far from Poisson the furthest is
};

// Sums over the cells of one stratum. Index 0 stands for the stratum's own row, 1.. for the continuous columns.
struct StratumSums {
    double *ge, *he, *ee;     // gradient (1+k), curvature (1+k)^2, expected information (1+k)^2, in eta
    double *gz, *hz, *cross;  // (1+m), (1+m)^2, (1+k)(1+m)
    double log_part;          // sum log(1 + t) / alpha
    double y_log_v;           // sum y log v
    double rising;            // sum S0, cell by cell (only when alpha differs within a stratum)
    double mean_total, mean_square;
};

struct Block {
    double *mu, *v, *ge, *he, *alpha, *gz, *hz, *cross, *work, *count, *count_v;
};

struct Workspace {
    Block block;
    StratumSums sums;
};

static inline std::int64_t workspace_bytes(const Problem& p) {
    const std::int64_t k = 1 + p.mean.n_continuous, m = 1 + p.dispersion.n_continuous;
    return 8 * (11 * (block_cells + lane_count) + k + 2 * k * k + m + m * m + k * m) + 64 * 20;
}

static inline Workspace make_workspace(const Problem& p, Arena& arena) {
    const int k = 1 + p.mean.n_continuous, m = 1 + p.dispersion.n_continuous;
    Workspace w;
    double** buffers[] = {&w.block.mu, &w.block.v,     &w.block.ge,   &w.block.he,    &w.block.alpha,  &w.block.gz,
                          &w.block.hz, &w.block.cross, &w.block.work, &w.block.count, &w.block.count_v};
    for (double** b : buffers) *b = arena.take<double>(block_cells + lane_count);
    w.sums.ge = arena.take<double>(k);
    w.sums.he = arena.take<double>(k * k);
    w.sums.ee = arena.take<double>(k * k);
    w.sums.gz = arena.take<double>(m);
    w.sums.hz = arena.take<double>(m * m);
    w.sums.cross = arena.take<double>(k * m);
    return w;
}

static inline void clear(double* x, int n) {
    for (int i = 0; i < n; ++i) x[i] = 0;
}

static inline void clear(StratumSums& s, int k, int m) {
    clear(s.ge, k);
    clear(s.he, k * k);
    clear(s.ee, k * k);
    clear(s.gz, m);
    clear(s.hz, m * m);
    clear(s.cross, k * m);
    s.log_part = s.y_log_v = s.rising = s.mean_total = s.mean_square = 0;
}

// ---- sums of a block
// -------------------------------------------------------------------------------------------------

// g += sum w x over (1, columns).
static inline void add_weighted(const double* w, const double* columns, std::int64_t stride, int n_columns, int n,
                                double* g) {
    Pack total{};
    for (int i = 0; i < n; i += pack_lanes) total += load(w + i);
    g[0] += sum(total);
    for (int c = 0; c < n_columns; ++c) {
        const double* x = columns + c * stride;
        Pack t{};
        for (int i = 0; i < n; i += pack_lanes) t += load(w + i) * load(x + i);
        g[c + 1] += sum(t);
    }
}

// h += sum w x x' over (1, columns), lower triangle, (1 + n_columns) wide.
static inline void add_weighted_square(const double* w, const double* columns, std::int64_t stride, int n_columns,
                                       int n, double* work, double* h) {
    const int width = 1 + n_columns;
    Pack total{};
    for (int i = 0; i < n; i += pack_lanes) total += load(w + i);
    h[0] += sum(total);
    for (int c = 0; c < n_columns; ++c) {
        const double* x = columns + c * stride;
        Pack first{};
        for (int i = 0; i < n; i += pack_lanes) {
            const Pack wx = load(w + i) * load(x + i);
            store(work + i, wx);
            first += wx;
        }
        double* row = h + (c + 1) * width;
        row[0] += sum(first);
        int d = 0;
        for (; d + 1 <= c; d += 2) {  // two columns at a time: one load of `work` serves both
            const double *xa = columns + d * stride, *xb = columns + (d + 1) * stride;
            Pack a{}, b{};
            for (int i = 0; i < n; i += pack_lanes) {
                const Pack wx = load(work + i);
                a += wx * load(xa + i);
                b += wx * load(xb + i);
            }
            row[d + 1] += sum(a);
            row[d + 2] += sum(b);
        }
        if (d <= c) {
            const double* xa = columns + d * stride;
            Pack a{};
            for (int i = 0; i < n; i += pack_lanes) a += load(work + i) * load(xa + i);
            row[d + 1] += sum(a);
        }
    }
}

// Both of these at once for one or two continuous columns, whose sums stay in registers: g += sum a x, h += sum b x x'.
template <int columns>
static inline void add_both(const double* a, const double* b, const double* x, std::int64_t stride, int n, double* g,
                            double* h) {
    constexpr int width = 1 + columns;
    Native first[width] = {}, second[width * width] = {};
    for (int i = 0; i < n; i += native_lanes) {
        Native row[width];
        const Native ai = load_native(a + i), bi = load_native(b + i);
        first[0] += ai;
        second[0] += bi;
        for (int c = 0; c < columns; ++c) {
            row[c] = load_native(x + c * stride + i);
            first[c + 1] += ai * row[c];
            const Native weighted = bi * row[c];
            second[(c + 1) * width] += weighted;
            for (int d = 0; d <= c; ++d) second[(c + 1) * width + d + 1] += weighted * row[d];
        }
    }
    const Native zero{};
    for (int i = 0; i < width; ++i) {
        g[i] += sum(Pack{first[i], zero});
        for (int j = 0; j <= i; ++j) h[i * width + j] += sum(Pack{second[i * width + j], zero});
    }
}

static inline void add_gradient_and_curvature(const double* a, const double* b, const double* x, std::int64_t stride,
                                              int n_columns, int n, double* work, double* g, double* h) {
    if (n_columns == 1) return add_both<1>(a, b, x, stride, n, g, h);
    if (n_columns == 2) return add_both<2>(a, b, x, stride, n, g, h);
    add_weighted(a, x, stride, n_columns, n, g);
    add_weighted_square(b, x, stride, n_columns, n, work, h);
}

// ---- cells of a block
// ------------------------------------------------------------------------------------------------

static inline void add_columns(const StratifiedDesign& d, std::int64_t n_padded, int first, int n, const double* coef,
                               double* eta) {
    for (int c = 0; c < d.n_continuous; ++c) {
        const double* x = d.continuous + c * n_padded + first;
        const Pack b = all(coef[d.continuous_column[c]]);
        for (int i = 0; i < n; i += pack_lanes) store(eta + i, load(eta + i) + b * load(x + i));
    }
}

// mu of the cells at [first, first + n). Without continuous columns no exponential is needed: exp(offset) is stored.
static inline void fitted_means(const Problem& p, const Gene& g, int first, int n, double base, const double* coef,
                                double* mu) {
    if (p.mean.n_continuous == 0) {
        const Pack scale = exp_pack(all(smaller(base, max_eta)));
        for (int i = 0; i < n; i += pack_lanes) store(mu + i, scale * load(g.exposure + first + i));
        return;
    }
    const StratifiedDesign& d = p.mean;
    for (int i = 0; i < n; i += pack_lanes) {
        Pack eta = load(g.offset + first + i) + base;
        for (int c = 0; c < d.n_continuous; ++c)
            eta += coef[d.continuous_column[c]] *
                   load(d.continuous + static_cast<std::int64_t>(c) * p.n_padded + first + i);
        store(mu + i, exp_pack(at_most(eta, max_eta)));
    }
}

// sum log(1 + t) by multiplying eight factors before one logarithm; t <= exp(80), so the product stays finite.
static inline double log1p_sum(const double* mu, int n, double alpha) {
    Pack total{};
    for (int i = 0; i < n; i += 8 * pack_lanes) {
        Pack product = all(1.0);
        const int end = i + 8 * pack_lanes < n ? i + 8 * pack_lanes : n;
        for (int j = i; j < end; j += pack_lanes) product *= 1.0 + alpha * load(mu + j);
        total += log_pack(product);
    }
    return sum(total);
}

// sum mu * log(1 + t) / t for t below 0.01 by its series: near the Poisson limit 1 + t would round t away.
static inline double small_log_part(const double* mu, int n, double alpha) {
    Pack total{};
    for (int i = 0; i < n; i += pack_lanes) {
        const Pack m = load(mu + i), t = alpha * m;
        total +=
            m * (1.0 - t * (1.0 / 2 - t * (1.0 / 3 - t * (1.0 / 4 - t * (1.0 / 5 - t * (1.0 / 6 - t * (1.0 / 7)))))));
    }
    return sum(total);
}

// The y = 0 part of every cell, one alpha for all. alpha = 0 is the Poisson model.
static inline void zero_part(const Block& b, int n, double alpha, StratumSums& s) {
    Pack largest_mu{};
    for (int i = 0; i < n; i += pack_lanes) {
        const Pack mu = load(b.mu + i);
        const Pack v = 1.0 / (1.0 + alpha * mu), g = mu * v;
        largest_mu = larger(mu, largest_mu);
        store(b.v + i, v);
        store(b.ge + i, -g);
        store(b.he + i, g * v);
    }
    s.log_part +=
        alpha * largest(largest_mu) < 0.01 ? small_log_part(b.mu, n, alpha) : log1p_sum(b.mu, n, alpha) / alpha;
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
static inline int add_counts(const Problem& p, const Gene& g, const Block& b, int first, int end, int k, bool varying,
                             StratumSums& s, double* y_v) {
    const StratifiedDesign& d = p.mean;
    int n = 0;
    for (; k < g.n_nonzero && g.position[k] < end; ++k, ++n) {
        const int i = g.position[k] - first;
        const double y = g.y[k], v = b.v[i], yv = y * v, yvw = yv * (1 - v);
        b.ge[i] += yv;
        b.he[i] += yvw;
        b.count[n] = y;
        b.count_v[n] = v;
        if (varying) {
            const Rising r = rising_entry(y, b.alpha[i]);
            b.cross[i] += yvw;
            b.gz[i] += yv - y + r.s1;
            b.hz[i] += yvw - r.s2;
            s.rising += r.s0;
        } else {
            y_v[0] += yv;
            for (int c = 0; c < d.n_continuous; ++c)
                y_v[c + 1] += yv * d.continuous[static_cast<std::int64_t>(c) * p.n_padded + g.position[k]];
        }
    }
    for (int i = n; i < padded(n); ++i) b.count[i] = 0, b.count_v[i] = 1;
    Pack y_log_v{};
    for (int i = 0; i < n; i += pack_lanes) y_log_v += load(b.count + i) * log_pack(load(b.count_v + i));
    s.y_log_v += sum(y_log_v);
    return k;
}

static inline void note_dispersion(double alpha, int cells, Summary& out) {
    out.min_dispersion = smaller(out.min_dispersion, alpha);
    out.max_dispersion = larger(out.max_dispersion, alpha);
    out.mean_dispersion += cells * alpha;
}

static inline void add_expected(const Problem& p, const Block& b, int first, int n, StratumSums& s, Summary& out) {
    Pack total{}, square{}, least = all(1e300);
    for (int i = 0; i < n; i += pack_lanes) {
        const Pack mu = load(b.mu + i);
        store(b.ge + i, mu * load(b.v + i));
        total += mu;
        square += mu * mu;
        least = smaller(least, select(mu < 1e-300, all(1e300), mu));  // padding has no mean
    }
    s.mean_total += sum(total);
    s.mean_square += sum(square);
    add_weighted_square(b.ge, p.mean.continuous + first, p.n_padded, p.mean.n_continuous, n, b.work, s.ee);
    out.min_mean = smaller(out.min_mean, smallest(least));
}

// ---- from a stratum's sums to the parameters
// -------------------------------------------------------------------------

// Visit the design columns that basis element `i` of a stratum stands for: its own row (0) or a continuous column.
template <class Visit>
static inline void columns_of(const StratifiedDesign& d, int stratum, int i, Visit&& visit) {
    if (i > 0) {
        visit(d.continuous_column[i - 1], 1.0);
        return;
    }
    for (int e = d.entry_start[stratum]; e < d.entry_start[stratum + 1]; ++e)
        visit(d.entry_column[e], d.entry_value[e]);
}

static inline void scatter_vector(const StratifiedDesign& d, int stratum, const double* sums, double* out) {
    for (int i = 0; i <= d.n_continuous; ++i)
        columns_of(d, stratum, i, [&](int c, double x) { out[c] += x * sums[i]; });
}

// out (row-major, `width` wide, both triangles) += basis' sums basis; sums holds its lower triangle.
static inline void scatter_square(const StratifiedDesign& d, int stratum, const double* sums, double* out, int width) {
    const int n = 1 + d.n_continuous;
    for (int i = 0; i < n; ++i)
        for (int j = 0; j < n; ++j) {
            const double value = i >= j ? sums[i * n + j] : sums[j * n + i];
            columns_of(d, stratum, i, [&](int ci, double xi) {
                columns_of(d, stratum, j, [&](int cj, double xj) { out[ci * width + cj] += xi * xj * value; });
            });
        }
}

static inline void scatter_cross(const Problem& p, int stratum, const double* sums, double* curvature, int width) {
    const int f = p.mean.n_columns, m = 1 + p.dispersion.n_continuous;
    for (int i = 0; i <= p.mean.n_continuous; ++i)
        for (int j = 0; j < m; ++j)
            columns_of(p.mean, stratum, i, [&](int ci, double xi) {
                columns_of(p.dispersion, stratum, j, [&](int cj, double xj) {
                    const double value = xi * xj * sums[i * m + j];
                    curvature[ci * width + f + cj] += value;
                    curvature[(f + cj) * width + ci] += value;
                });
            });
}

// ---- the whole gene
// --------------------------------------------------------------------------------------------------

// Cells of one stratum whose dispersion is the same.
static inline void constant_stratum(const Problem& p, const Gene& g, const Workspace& w, int stratum,
                                    const double* theta, double alpha, StratumSums& s, Summary* summary) {
    const StratifiedDesign& d = p.mean;
    const int k1 = 1 + d.n_continuous;
    const double base = row_product(d, stratum, theta);
    double* y_v = s.cross;  // filled with sum y v x first, turned into the cross sums at the end
    int k = g.stratum_nonzero[stratum];
    for (int first = p.stratum_start[stratum]; first < p.stratum_start[stratum + 1]; first += block_cells) {
        const int n =
            p.stratum_start[stratum + 1] - first < block_cells ? p.stratum_start[stratum + 1] - first : block_cells;
        fitted_means(p, g, first, n, base, theta, w.block.mu);
        zero_part(w.block, n, alpha, s);
        k = add_counts(p, g, w.block, first, first + n, k, false, s, y_v);
        add_gradient_and_curvature(w.block.ge, w.block.he, d.continuous + first, p.n_padded, d.n_continuous, n,
                                   w.block.work, s.ge, s.he);
        if (summary) add_expected(p, w.block, first, n, s, *summary);
    }
    // c = he + ge - y v, summed; and the sums of d zeta and -d2 zeta that need no pass of their own.
    const double mean_v = y_v[0] - s.ge[0];
    for (int i = 0; i < k1; ++i) s.cross[i] = s.he[i * k1] + s.ge[i] - y_v[i];
    s.gz[0] = s.log_part + s.ge[0] - g.stratum_total[stratum];
    s.hz[0] = s.log_part - mean_v + s.cross[0];
}

// The same from nodes in place of cells.
static inline void node_stratum(const Problem& p, const Gene& g, int stratum, const double* theta, double alpha,
                                StratumSums& s, Summary* summary) {
    const double scale = exp1(smaller(row_product(p.mean, stratum, theta), max_eta));
    const NodeSums n = node_sums(p, g, stratum, scale, alpha);
    s.ge[0] = n.ge;
    s.he[0] = n.he;
    s.cross[0] = n.cross;
    s.log_part = n.log_part;
    s.y_log_v = n.y_log_v;
    s.gz[0] = n.log_less - n.y_shrunk;
    s.hz[0] = n.log_less + n.cross;
    if (!summary) return;
    s.ee[0] = n.weight_mu;
    s.mean_total = scale * p.stratum_exposure[stratum];
    s.mean_square = scale * scale * p.stratum_square[stratum];
    summary->min_mean = smaller(summary->min_mean, scale * p.stratum_least[stratum]);
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
        const int n =
            p.stratum_start[stratum + 1] - first < block_cells ? p.stratum_start[stratum + 1] - first : block_cells;
        fitted_means(p, g, first, n, base, a, w.block.mu);
        cell_dispersions(p, first, n, base_zeta, b, w.block.alpha);
        zero_part_varying(w.block, n, s);
        k = add_counts(p, g, w.block, first, first + n, k, true, s, nullptr);
        add_block(p, w, first, n, s);
        if (!summary) continue;
        for (int i = 0; i < n; ++i)
            if (p.cell_of_position[first + i] >= 0) note_dispersion(w.block.alpha[i], 1, *summary);
        add_expected(p, w.block, first, n, s, *summary);
    }
}

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

// Evaluate at theta = (a, b). `poisson`: alpha = 0 everywhere, and the dispersion's derivatives are zero.
static inline void evaluate(const Problem& p, const Gene& g, Workspace& w, const double* theta, bool poisson,
                            Derivatives& out, Summary* summary = nullptr) {
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
        if (g.weight)
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
    if (!poisson && !varying) add_levels(p, g, theta + f, out);
}

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
        const int n =
            p.stratum_start[stratum + 1] - first < block_cells ? p.stratum_start[stratum + 1] - first : block_cells;
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
