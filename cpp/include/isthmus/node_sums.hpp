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

constexpr int side_by_side = 2;  // packs of counts whose recurrences run together: one hides the latency of the other

// Sums of y T_m over some counts of a stratum, m = 0 .. n - 1, one for each lane: they are added up later.
static inline void add_polynomials(const double* place, const double* y, int n, double* sums) {
    const Pack xa = load(place), xb = load(place + pack_lanes), ya = load(y), yb = load(y + pack_lanes);
    const Pack twice_a = xa + xa, twice_b = xb + xb;
    // The recurrence is linear: it may run on y T_m itself.
    Pack a = ya, b = yb, before_a = ya * xa, before_b = yb * xb;  // T_{-1} = T_1 = x
    for (int m = 0; m < n; ++m) {
        store(sums + m * pack_lanes, load(sums + m * pack_lanes) + (a + b));
        const Pack next_a = twice_a * a - before_a, next_b = twice_b * b - before_b;
        before_a = a;
        before_b = b;
        a = next_a;
        b = next_b;
    }
}

// The gene's totals at the nodes of a stratum, from its counts [first, last).
static inline void add_to_nodes(const Problem& p, const Gene& g, int first, int last, double* sums, double* total) {
    constexpr int step = side_by_side * pack_lanes;
    const int n = p.nodes.n;
    alignas(64) double place[step], y[step];
    for (int m = 0; m < n * pack_lanes; ++m) sums[m] = 0;
    for (int k = first; k < last; k += step) {
        for (int i = 0; i < step; ++i) {
            const bool inside = k + i < last;
            place[i] = inside ? p.nodes.place[g.position[k + i]] : 0.0;
            y[i] = inside ? g.y[k + i] : 0.0;
        }
        add_polynomials(place, y, n, sums);
    }
    for (int m = 0; m < n; ++m) sums[m] = sum(load(sums + m * pack_lanes));
    for (int k = 0; k < n; k += pack_lanes) {
        Pack out{};
        for (int m = 0; m < n; ++m) out += sums[m] * load(p.nodes.polynomial + m * n + k);
        store(total + k, out);
    }
}

static inline void read_node_totals(const Problem& p, Gene& g, double* sums) {
    for (int s = 0; s < p.n_strata; ++s) {
        const int first = g.stratum_nonzero[s], last = g.stratum_nonzero[s + 1];
        add_to_nodes(p, g, first, last, sums, g.node_total + s * p.nodes.n);
        g.stratum_pairs[s] = sum_terms(first, last, [&](int k) { return g.y[k] * (g.y[k] - 1); });
        g.stratum_exposed[s] = sum_terms(first, last, [&](int k) { return g.y[k] * g.exposure[g.position[k]]; });
    }
}

// sum (y - mu)^2 - y over a stratum's cells, less sum mu^2, at means rate * exposure. Exact: no node is used.
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
    read_node_totals(p, g, arena.take<double>(p.nodes.n * pack_lanes));
}

}  // namespace isthmus::ISTHMUS_ISA
