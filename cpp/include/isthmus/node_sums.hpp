// The likelihood of a gene over nodes in place of cells; nodes.hpp says what they are.
#pragma once

#include "gene.hpp"

namespace isthmus::ISTHMUS_ISA {

// What a stratum's nodes add up to at given parameters. The names are those of StratumSums in likelihood.hpp.
struct NodeSums {
    double log_part;   // sum log(1 + t) / alpha
    double y_log_v;    // sum y log v
    double ge, he;     // gradient and curvature in eta
    double cross;      // he + ge - sum y v
    double log_less;   // sum log(1 + t) / alpha - mu v
    double y_shrunk;   // sum y (1 - v)
    double weight_mu;  // sum mu v
};

// Sums of y T_m over counts, m = 0 .. n - 1, and of y (y - 1), one for each lane. The number of nodes is known when
// this is compiled: the sums stay in registers.
template <int n>
struct PolynomialSums {
    Pack of[n] = {}, pairs{};

    // The recurrence is linear: it may run on y T_m itself. That of one pack hides the latency of the other.
    ISTHMUS_INLINE_MEMBER void add(const double* place, const double* y) {
        const Pack xa = load(place), xb = load(place + pack_lanes), ya = load(y), yb = load(y + pack_lanes);
        const Pack twice_a = xa + xa, twice_b = xb + xb;
        Pack a = ya, b = yb, before_a = ya * xa, before_b = yb * xb;  // T_{-1} = T_1 = x
        pairs += ya * (ya - all(1)) + yb * (yb - all(1));
#pragma GCC unroll 40
        for (int m = 0; m < n; ++m) {
            of[m] += a + b;
            const Pack next_a = twice_a * a - before_a, next_b = twice_b * b - before_b;
            before_a = a;
            before_b = b;
            a = next_a;
            b = next_b;
        }
    }
};

// A stratum's sums of y T_m into `sums`, from its counts [first, last). Returns the sum of y (y - 1).
template <int n>
static inline double add_polynomials(const Problem& p, const Gene& g, int first, int last, double* sums) {
    constexpr int step = 2 * pack_lanes;
    alignas(64) double place[step], y[step];
    PolynomialSums<n> total;
    int k = first;
    for (; k + step <= last; k += step) {
        for (int i = 0; i < step; ++i) place[i] = p.nodes.place[g.position[k + i]];
        total.add(place, g.y + k);
    }
    for (int i = 0; k < last && i < step; ++i) {
        const bool inside = k + i < last;
        place[i] = inside ? p.nodes.place[g.position[k + i]] : 0.0;
        y[i] = inside ? g.y[k + i] : 0.0;
    }
    if (k < last) total.add(place, y);
    for (int m = 0; m < n; ++m) sums[m] = sum(total.of[m]);
    return sum(total.pairs);
}

static inline double add_polynomials(const Problem& p, const Gene& g, int first, int last, double* sums) {
    static_assert(fewest_nodes == 16 && node_steps == 8 && most_nodes == 40);
    switch (p.nodes.n) {
        case 16:
            return add_polynomials<16>(p, g, first, last, sums);
        case 24:
            return add_polynomials<24>(p, g, first, last, sums);
        case 32:
            return add_polynomials<32>(p, g, first, last, sums);
        default:
            return add_polynomials<40>(p, g, first, last, sums);
    }
}

// The gene's totals at the nodes of a stratum from its sums of y T_m.
static inline void place_totals(const Problem& p, const double* sums, double* total) {
    const int n = p.nodes.n;
    for (int k = 0; k < n; k += pack_lanes) {
        Pack out{};
        for (int m = 0; m < n; ++m) out += sums[m] * load(p.nodes.polynomial + m * n + k);
        store(total + k, out);
    }
}

// X'y, where no column is continuous.
static inline void add_design_totals(const Problem& p, Gene& g) {
    const StratifiedDesign& d = p.mean;
    for (int c = 0; c < d.n_columns; ++c) g.design_total[c] = 0;
    for (int s = 0; s < p.n_strata; ++s)
        for (int e = d.entry_start[s]; e < d.entry_start[s + 1]; ++e)
            g.design_total[d.entry_column[e]] += g.stratum_total[s] * d.entry_value[e];
}

// All that the likelihood needs of the counts, but for their tails. Sums of y u and of y e^u over cells are those over
// the nodes: the first exactly, the second because polynomials of so many terms are e^u to all digits that count.
static inline void read_node_totals(const Problem& p, Gene& g) {
    const int n = p.nodes.n;
    alignas(64) double sums[most_nodes];
    g.offset_total = g.total = 0;
    for (int s = 0; s < p.n_strata; ++s) {
        double* total = g.node_total + s * n;
        g.stratum_pairs[s] = add_polynomials(p, g, g.stratum_nonzero[s], g.stratum_nonzero[s + 1], sums);
        place_totals(p, sums, total);
        Pack offset{}, exposed{};
        for (int k = 0; k < n; k += pack_lanes) {
            offset += load(total + k) * load(p.nodes.offset + s * n + k);
            exposed += load(total + k) * load(p.nodes.exposure + s * n + k);
        }
        g.stratum_exposed[s] = sum(exposed);
        g.offset_total += sum(offset);
        g.stratum_total[s] = sums[0];
        g.total += sums[0];
    }
    add_design_totals(p, g);
}

// sum (y - mu)^2 - y over a stratum's cells, less sum mu^2, at means rate * exposure.
static inline double node_excess(const Gene& g, int stratum, double rate) {
    return g.stratum_pairs[stratum] - 2 * rate * g.stratum_exposed[stratum];
}

// log(1 + t) / t for t below 0.01, as in `small_log_part`.
ISTHMUS_INLINE Pack log_series(Pack t) {
    return 1.0 - t * (1.0 / 2 - t * (1.0 / 3 - t * (1.0 / 4 - t * (1.0 / 5 - t * (1.0 / 6 - t * (1.0 / 7))))));
}

static inline NodeSums node_sums(const Problem& p, const Gene& g, int stratum, double scale, double alpha) {
    const int n = p.nodes.n;
    const double *exposure = p.nodes.exposure + stratum * n, *weight = p.nodes.weight + stratum * n;
    const double* total = g.node_total + stratum * n;
    // The first node has the largest exposure. Near the Poisson limit 1 + t would round t away.
    const bool series = alpha * scale * exposure[0] < 0.01;
    Pack log_part{}, y_log{}, ge{}, he{}, cross{}, less{}, shrunk{}, mean_v{};
    for (int k = 0; k < n; k += pack_lanes) {
        const Pack mu = scale * load(exposure + k), t = alpha * mu, v = 1.0 / (1.0 + t);
        const Pack w = load(weight + k), y = load(total + k);
        const Pack log_t = series ? t * log_series(t) : log1p_pack(t);
        const Pack own = series ? mu * log_series(t) : log_t / alpha;  // log(1 + t) / alpha
        const Pack wg = w * mu * v, tv = t * v, yv = y * v;
        log_part += w * own;
        y_log += y * log_t;
        mean_v += wg;
        ge += yv - wg;
        he += wg * v + yv * tv;
        cross += (yv - wg) * tv;
        less += w * (own - mu * v);
        shrunk += y * tv;
    }
    return {sum(log_part), -sum(y_log), sum(ge), sum(he), sum(cross), sum(less), sum(shrunk), sum(mean_v)};
}

// What `prepare` left to do where the problem has nodes.
static inline void prepare_nodes(const Problem& p, Gene& g, Arena& arena) {
    g.node_total = arena.take<double>(static_cast<std::int64_t>(p.n_strata) * p.nodes.n);
    g.stratum_pairs = arena.take<double>(p.n_strata);
    g.stratum_exposed = arena.take<double>(p.n_strata);
    read_node_totals(p, g);
}

}  // namespace isthmus::ISTHMUS_ISA
