// Sums over the cells of a stratum that share one dispersion: over all of them, over its nodes, or over bins of cells.
//
// Every cell is first taken to hold no count, which needs one exponential and one division. What counts add comes from
// a second pass over the gene's own list of them, so that neither pass looks anything up.
#pragma once

#include "fitted_means.hpp"

namespace isthmus::ISTHMUS_ISA {

// sum log x of many factors of at least 1: their exponents are added and their mantissas multiplied, so that one
// logarithm serves a block. Eight factors up to exp(80) and a mantissa stay finite between two calls of `split`.
struct LogProduct {
    Native product = Native{} + 1.0;
    NativeBits exponents = NativeBits{};
    int n_split = 0;

    ISTHMUS_INLINE_MEMBER void split() {
        const NativeWords bits = (NativeWords)product;
        exponents += (NativeBits)(bits >> 52);
        product = (Native)((bits & 0x000fffffffffffffULL) | 0x3ff0000000000000ULL);
        ++n_split;
    }
    ISTHMUS_INLINE_MEMBER double sum_of_logs() const {
        double exponent = 0, mantissa = 0;
        const Native logs = log_native(product);
        for (int l = 0; l < native_lanes; ++l) {
            exponent += static_cast<double>(exponents[l] - 1023LL * n_split);
            mantissa += logs[l];
        }
        return exponent * ln2_high + (mantissa + exponent * ln2_low);
    }
};

// sum mu * log(1 + t) / t for t below 0.01 by its series: near the Poisson limit 1 + t would round t away.
static inline double small_log_part(const double* mu, int n, double alpha) {
    Pack total{};
    for (int i = 0; i < n; i += pack_lanes) {
        const Pack m = load(mu + i);
        total += m * log_series(alpha * m);
    }
    return sum(total);
}

// What a block of cells without counts adds for one value of alpha: its logarithm, and whether that was lost.
struct ZeroLogs {
    double sum;
    double largest_mu;
};

// g += sum of -mu v (1, x), h += sum of mu v^2 (1, x)(1, x)' for one or two continuous columns or none, whose sums stay
// in registers.
template <int columns>
static inline ZeroLogs zero_sums(const double* mu, const double* x, std::int64_t stride, int n, double alpha, double* g,
                                 double* h) {
    constexpr int width = 1 + columns, factors = 8 * native_lanes;
    Native first[width] = {}, second[width * width] = {}, most{};
    LogProduct logs;
    for (int start = 0; start < n; start += factors) {
        const int end = start + factors < n ? start + factors : n;
        for (int i = start; i < end; i += native_lanes) {
            const Native m = load_native(mu + i), one_more = 1.0 + alpha * m;
            const Native v = reciprocal_native(one_more), a = m * v, b = a * v;
            logs.product *= one_more;
            most = m > most ? m : most;
            first[0] += a;
            second[0] += b;
            Native row[width];
            for (int c = 0; c < columns; ++c) {
                row[c] = load_native(x + c * stride + i);
                first[c + 1] += a * row[c];
                const Native weighted = b * row[c];
                second[(c + 1) * width] += weighted;
                for (int d = 0; d <= c; ++d) second[(c + 1) * width + d + 1] += weighted * row[d];
            }
        }
        logs.split();
    }
    for (int i = 0; i < width; ++i) {
        g[i] -= sum_native(first[i]);
        for (int j = 0; j <= i; ++j) h[i * width + j] += sum_native(second[i * width + j]);
    }
    return {logs.sum_of_logs(), largest_native(most)};
}

// The same for any number of columns, by way of the block's memory.
static inline ZeroLogs zero_sums(const Block& b, const double* x, std::int64_t stride, int n_columns, int n,
                                 double alpha, double* g, double* h) {
    constexpr int factors = 8 * native_lanes;
    Native most{};
    LogProduct logs;
    for (int start = 0; start < n; start += factors) {
        const int end = start + factors < n ? start + factors : n;
        for (int i = start; i < end; i += native_lanes) {
            const Native m = load_native(b.mu + i), one_more = 1.0 + alpha * m;
            const Native v = reciprocal_native(one_more), mean_v = m * v;
            logs.product *= one_more;
            most = m > most ? m : most;
            store_native(b.ge + i, -mean_v);
            store_native(b.he + i, mean_v * v);
        }
        logs.split();
    }
    add_gradient_and_curvature(b.ge, b.he, x, stride, n_columns, n, b.work, g, h);
    return {logs.sum_of_logs(), largest_native(most)};
}

// The y = 0 part of a block of cells whose means are in b.mu. alpha = 0 is the Poisson model.
static inline void add_zeros(const Problem& p, const Block& b, int first, int n, double alpha, StratumSums& s) {
    const StratifiedDesign& d = p.mean;
    const double* x = d.continuous + first;
    const std::int64_t stride = p.n_padded;
    const ZeroLogs logs = d.n_continuous == 0   ? zero_sums<0>(b.mu, x, stride, n, alpha, s.ge, s.he)
                          : d.n_continuous == 1 ? zero_sums<1>(b.mu, x, stride, n, alpha, s.ge, s.he)
                          : d.n_continuous == 2 ? zero_sums<2>(b.mu, x, stride, n, alpha, s.ge, s.he)
                                                : zero_sums(b, x, stride, d.n_continuous, n, alpha, s.ge, s.he);
    s.log_part += alpha * logs.largest_mu < 0.01 ? small_log_part(b.mu, n, alpha) : logs.sum / alpha;
}

// What the counts of a stratum add to it: y v to the gradient (and to `y_v`), y v (1 - v) to the curvature.
static inline void add_counted(const Problem& p, const Gene& g, const Block& b, int stratum, double base,
                               const double* theta, double alpha, StratumSums& s, double* y_v) {
    const StratifiedDesign& d = p.mean;
    const Rows rows{g.counted.offset, g.counted.offset, g.counted.continuous, g.counted.stride};
    const int end = g.counted.start[stratum + 1];
    for (int first = g.counted.start[stratum]; first < end; first += block_cells) {
        const int n = end - first < block_cells ? end - first : block_cells;
        fitted_means(d, rows, first, n, base, theta, b.mu);
        Pack y_log_v{};
        for (int i = 0; i < n; i += pack_lanes) {
            const Pack t = alpha * load(b.mu + i), v = reciprocal(1.0 + t), y = load(g.counted.y + first + i);
            const Pack yv = y * v;
            store(b.ge + i, yv);
            store(b.he + i, yv * (t * v));
            y_log_v += y * log_pack(v);
        }
        s.y_log_v += sum(y_log_v);
        add_gradient_and_curvature(b.ge, b.he, rows.continuous + first, rows.stride, d.n_continuous, n, b.work, y_v,
                                   s.he);
    }
}

// c = he + ge - y v, summed; and the sums of d zeta and -d2 zeta that need no pass of their own.
static inline void add_dispersion_sums(const Problem& p, const Gene& g, int stratum, const double* y_v,
                                       StratumSums& s) {
    const int k = 1 + p.mean.n_continuous;
    const double mean_v = -s.ge[0];
    for (int i = 0; i < k; ++i) {
        s.cross[i] = s.he[i * k] + s.ge[i];
        s.ge[i] += y_v[i];
    }
    s.gz[0] = s.log_part + s.ge[0] - g.stratum_total[stratum];
    s.hz[0] = s.log_part - mean_v + s.cross[0];
}

static inline void constant_stratum(const Problem& p, const Gene& g, const Workspace& w, int stratum,
                                    const double* theta, double alpha, StratumSums& s, Summary* summary) {
    const double base = row_product(p.mean, stratum, theta);
    for (int first = p.stratum_start[stratum]; first < p.stratum_start[stratum + 1]; first += block_cells) {
        const int n = cells_in_block(p, stratum, first);
        fitted_means(p, g, first, n, base, theta, w.block.mu);
        add_zeros(p, w.block, first, n, alpha, s);
        if (!summary) continue;
        for (int i = 0; i < n; i += pack_lanes) store(w.block.v + i, reciprocal(1.0 + alpha * load(w.block.mu + i)));
        add_expected(p, w.block, first, n, s, *summary);
    }
    clear(w.y_v, 1 + p.mean.n_continuous);
    add_counted(p, g, w.block, stratum, base, theta, alpha, s, w.y_v);
    add_dispersion_sums(p, g, stratum, w.y_v, s);
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

// The same from bins of cells (bins.hpp): an approximation, with which the iteration starts.
static inline void binned_stratum(const Problem& p, const Gene& g, const Block& b, int stratum, const double* theta,
                                  double alpha, StratumSums& s) {
    const StratifiedDesign& d = p.mean;
    const Rows rows{p.bins.offset, nullptr, p.bins.continuous, p.bins.n_padded};
    const double base = row_product(d, stratum, theta);
    Pack gz{}, hz{}, log_part{}, y_log{};
    for (int first = p.bins.start[stratum]; first < p.bins.start[stratum + 1]; first += block_cells) {
        const int left = p.bins.start[stratum + 1] - first, n = left < block_cells ? left : block_cells;
        fitted_means(d, rows, first, n, base, theta, b.mu);
        for (int i = 0; i < n; i += pack_lanes) {
            const Pack mu = load(b.mu + i), t = alpha * mu, v = reciprocal(1.0 + t), tv = t * v;
            const Pack w = load(p.bins.weight + first + i), y = load(g.bin_total + first + i);
            const Pack log_t = select(t < 0.01, t * log_series(t), log1p_pack(t));
            const Pack own = alpha > 0 ? log_t / alpha : mu;  // log(1 + t) / alpha
            const Pack wg = w * mu * v, yv = y * v, cross = (yv - wg) * tv;
            store(b.ge + i, yv - wg);
            store(b.he + i, wg * v + yv * tv);
            store(b.cross + i, cross);
            gz += w * (own - mu * v) - y * tv;
            hz += w * (own - mu * v) + cross;
            log_part += w * own;
            y_log += y * log_t;
        }
        const double* x = rows.continuous + first;
        add_gradient_and_curvature(b.ge, b.he, x, rows.stride, d.n_continuous, n, b.work, s.ge, s.he);
        add_weighted(b.cross, x, rows.stride, d.n_continuous, n, s.cross);
    }
    s.gz[0] += sum(gz);
    s.hz[0] += sum(hz);
    s.log_part += sum(log_part);
    s.y_log_v -= sum(y_log);
}

}  // namespace isthmus::ISTHMUS_ISA
