// One gene made ready for many passes: counts as doubles, sums that no parameter touches, and the tails of its counts.
#pragma once

#include "rising.hpp"

namespace isthmus::ISTHMUS_ISA {

// Scratch memory is handed in by the caller and cut up front to back; kernels never allocate.
struct Arena {
    char* next;
    template <class T>
    T* take(std::int64_t n) {
        T* out = reinterpret_cast<T*>(next);
        next += (n * static_cast<std::int64_t>(sizeof(T)) + 63) / 64 * 64;
        return out;
    }
};

static inline int padded(int n) { return (n + lane_count - 1) / lane_count * lane_count; }

constexpr int longest_tail = 4096;

// A gene's counts stratum by stratum, each padded to whole packs with counts of 0, and what a pass needs of their
// cells.
struct Counted {
    int* start;          // (n_strata + 1)
    double* y;           // (stride)
    double* offset;      // (stride) without continuous columns: exp(offset)
    double* continuous;  // (n_continuous, stride)
    int stride;
};

struct Gene {
    bool counts_read;  // or is there only room for them (kept.hpp)?
    int n_nonzero;
    double* y;
    int* position;
    const PackedCount* packed;  // both as they are stored, or null
    int* stratum_nonzero;       // (n_strata + 1) ranges of the two arrays above
    double* stratum_total;      // (n_strata) sum of y
    double* stratum_exposure;
    const double* offset;    // (n_padded)
    const double* exposure;  // (n_padded)
    const double* weight;  // (n_padded) of each observation, 0 for padding; null: all 1. Totals hold it, `y` does not.
    double* design_total;  // (f) X'y: the likelihood is linear in it
    double offset_total;   // sum of y * offset
    double constant;       // -sum log y!
    double total;          // sum of y
    CountTail* level;      // (n_levels), for designs whose dispersion is constant within a level
    Counted counted;       // for sums over cells
    double* bin_total;     // (n bins) sum of y, where the problem has bins
    double* bin_shift;     // (f) X'y minus that of the bins
    // where the problem has nodes
    double* node_total;       // (n_strata, n) sums of y over the Lagrange polynomials
    double* stratum_pairs;    // (n_strata) sum of y (y - 1)
    double* stratum_exposed;  // (n_strata) sum of y * exposure
};

static inline double weight_of(const Gene& g, int position) { return g.weight ? g.weight[position] : 1.0; }

// Does the predictor differ between cells of a stratum?
static inline bool varies_within_strata(const StratifiedDesign& d) { return d.n_continuous > 0 || d.fixed_cell; }

static inline double row_product(const StratifiedDesign& d, int stratum, const double* coef) {
    double out = d.fixed_row[stratum];
    for (int e = d.entry_start[stratum]; e < d.entry_start[stratum + 1]; ++e)
        out += d.entry_value[e] * coef[d.entry_column[e]];
    return out;
}

// The first count from number `low` on whose cell lies at `position` or after it.
static inline int first_from(const Gene& g, int low, int position) {
    int high = g.n_nonzero;
    while (low < high) {
        const int middle = low + (high - low) / 2;
        if (g.position[middle] < position)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

// Counts of one block of places.
static inline void unpack(const PackedCount* packed, int n, int origin, double* y, int* position) {
    for (int k = 0; k < n; ++k) {
        position[k] = origin + static_cast<int>(packed[k] & 0xffff);
        y[k] = static_cast<double>(static_cast<int>(packed[k] >> 16));
    }
}

static inline void read_counts(const Problem& p, int gene, Gene& g) {
    const std::int64_t first = p.gene_start[gene];
    g.counts_read = true;
    g.n_nonzero = static_cast<int>(p.gene_stop[gene] - first);
    g.packed = p.packed ? p.packed + first : nullptr;
    for (int b = 0, k = 0; b < p.n_blocks; ++b) {
        const int end = static_cast<int>(p.block_stop[static_cast<std::int64_t>(gene) * p.n_blocks + b] - first);
        unpack(g.packed + k, end - k, b * block_places, g.y + k, g.position + k);
        k = end;
    }
    for (int k = 0; !p.packed && k < g.n_nonzero; ++k) {
        g.y[k] = p.count[first + k];
        g.position[k] = p.position[first + k];
    }
    g.stratum_nonzero[0] = 0;
    for (int s = 0; s < p.n_strata; ++s)
        g.stratum_nonzero[s + 1] = first_from(g, g.stratum_nonzero[s], p.stratum_start[s + 1]);
    for (int k = g.n_nonzero; k < padded(g.n_nonzero); ++k) g.y[k] = 0;
}

// Offsets of this gene in stratum order; shared by all genes unless a cell x gene offset was given.
static inline void read_offset(const Problem& p, int gene, Gene& g, double* offset, double* exposure) {
    g.offset = p.offset;
    g.exposure = p.exposure;
    for (int s = 0; s < p.n_strata; ++s) g.stratum_exposure[s] = p.stratum_exposure[s];
    if (!p.gene_offset) return;
    const double* column = p.gene_offset + gene * p.gene_offset_gene_stride;
    for (int i = 0; i < p.n_padded; ++i) {
        const int cell = p.cell_of_position[i];
        offset[i] = cell < 0 ? min_eta : p.offset[i] + column[cell * p.gene_offset_cell_stride];
    }
    for (int i = 0; i < p.n_padded; i += pack_lanes) store(exposure + i, exp_pack(load(offset + i)));
    for (int s = 0; s < p.n_strata; ++s) {
        Pack total{};
        for (int i = p.stratum_start[s]; i < p.stratum_start[s + 1]; i += pack_lanes) total += load(exposure + i);
        g.stratum_exposure[s] = sum(total);
    }
    g.offset = offset;
    g.exposure = exposure;
}

// Weights of this gene's observations in stratum order, and what they leave of the strata's exposures.
static inline void read_weights(const Problem& p, int gene, Gene& g, double* weight) {
    g.weight = nullptr;
    if (!p.weights) return;
    const double* column = p.weights + gene * p.weight_gene_stride;
    for (int s = 0; s < p.n_strata; ++s) {
        g.stratum_exposure[s] = 0;
        for (int i = p.stratum_start[s]; i < p.stratum_start[s + 1]; ++i) {
            const int cell = p.cell_of_position[i];
            weight[i] = cell < 0 ? 0.0 : column[cell * p.weight_cell_stride];
            g.stratum_exposure[s] += weight[i] * g.exposure[i];
        }
    }
    g.weight = weight;
}

// Sum of term(k) for k in [first, last), four at a time: an addition alone waits for the one before.
template <class Term>
static inline double sum_terms(int first, int last, Term&& term) {
    double a = 0, b = 0, c = 0, d = 0;
    int k = first;
    for (; k + 4 <= last; k += 4) {
        a += term(k);
        b += term(k + 1);
        c += term(k + 2);
        d += term(k + 3);
    }
    for (; k < last; ++k) a += term(k);
    return (a + b) + (c + d);
}

static inline void read_totals(const Problem& p, Gene& g) {
    const StratifiedDesign& d = p.mean;
    for (int c = 0; c < d.n_columns; ++c) g.design_total[c] = 0;
    g.offset_total = 0;
    g.total = 0;
    for (int s = 0; s < p.n_strata; ++s) {
        const int first = g.stratum_nonzero[s], last = g.stratum_nonzero[s + 1];
        const auto weighted = [&](int k) { return g.weight ? g.weight[g.position[k]] * g.y[k] : g.y[k]; };
        const double total = sum_terms(first, last, weighted);
        g.offset_total += sum_terms(first, last, [&](int k) { return weighted(k) * g.offset[g.position[k]]; });
        for (int c = 0; c < d.n_continuous; ++c) {
            const double* x = d.continuous + static_cast<std::int64_t>(c) * p.n_padded;
            g.design_total[d.continuous_column[c]] +=
                sum_terms(first, last, [&](int k) { return weighted(k) * x[g.position[k]]; });
        }
        for (int e = d.entry_start[s]; e < d.entry_start[s + 1]; ++e)
            g.design_total[d.entry_column[e]] += total * d.entry_value[e];
        g.stratum_total[s] = total;
        g.total += total;
    }
}

static inline double log_factorials(const Gene& g) {
    Pack out{};
    if (g.weight) {
        double weighted = 0;
        for (int k = 0; k < g.n_nonzero; ++k) weighted += g.weight[g.position[k]] * log_factorial(all(g.y[k])).lo[0];
        return weighted;
    }
    for (int k = 0; k < g.n_nonzero; k += pack_lanes) {
        out += log_factorial(load(g.y + k));  // y is padded with zeros, and log 0! = 0
    }
    return sum(out);
}

// How many counts of one level have each value up to `longest_tail`, and how many are larger or not whole. Most counts
// are equal: tables that take turns keep one increment from waiting for the one before.
struct Histogram {
    static constexpr int turns = 4;
    std::int32_t* count;  // (longest_tail + 1, turns)
    int longest, n_above, n_fractional;

    double of(int value) const {
        const std::int32_t* c = count + turns * value;
        return c[0] + c[1] + c[2] + c[3];
    }
};

// Counts [first, last), where it is known that all are whole and below `longest_tail`.
static inline void count_packed(const Gene& g, int first, int last, Histogram& out) {
    for (int k = first; k < last; ++k)
        ++out.count[Histogram::turns * static_cast<int>(g.packed[k] >> 16) + (k & (Histogram::turns - 1))];
}

static inline void count_any(const Gene& g, int first, int last, Histogram& out) {
    for (int k = first; k < last; ++k) {
        const double y = g.y[k];
        const bool above = y > longest_tail;
        const int whole = above ? 0 : static_cast<int>(y);
        const bool counted = whole == y;
        out.count[Histogram::turns * whole + (k & (Histogram::turns - 1))] += counted;
        out.n_above += above;
        out.n_fractional += !counted && !above;
    }
}

static inline void read_histogram(const Problem& p, const Gene& g, int level, Histogram& out) {
    Pack most{};  // y is padded with zeros
    for (int k = 0; k < g.n_nonzero; k += pack_lanes) most = larger(load(g.y + k), most);
    const double largest_count = largest(most);
    const bool small = largest_count < longest_tail;
    const int places = small ? static_cast<int>(largest_count) + 1 : longest_tail;
    for (int j = 0; j < Histogram::turns * (places + 1); ++j) out.count[j] = 0;
    out.n_above = out.n_fractional = 0;
    for (int s = 0; s < p.n_strata; ++s) {
        if (p.level_of_stratum[s] != level) continue;
        const int first = g.stratum_nonzero[s], last = g.stratum_nonzero[s + 1];
        if (small && g.packed)
            count_packed(g, first, last, out);
        else
            count_any(g, first, last, out);
    }
    int longest = places;
    while (longest > 0 && out.of(longest) == 0) --longest;
    out.longest = out.n_above ? longest_tail : longest;
    for (int j = Histogram::turns * (places + 1); j < Histogram::turns * (out.longest + 1); ++j) out.count[j] = 0;
}

// How many terms to sum before Stirling's series takes over: a term costs about 2.5 ns, a series about 12 ns per count
// above.
static inline int best_tail_length(const Histogram& histogram) {
    if (histogram.longest <= first_stirling) return histogram.longest;
    double above = histogram.n_above, best_cost = 1e300;
    int best = first_stirling;
    for (int j = histogram.longest; j >= first_stirling; --j) {
        const double cost = 2.5 * j + 12 * above;
        if (cost <= best_cost) {
            best_cost = cost;
            best = j;
        }
        above += histogram.of(j);
    }
    return best;
}

// The counts of a level that no tail holds.
static inline void read_large(const Problem& p, const Gene& g, int level, CountTail& out) {
    for (int s = 0; s < p.n_strata; ++s) {
        if (p.level_of_stratum[s] != level) continue;
        for (int k = g.stratum_nonzero[s]; k < g.stratum_nonzero[s + 1]; ++k) {
            const double y = g.y[k];
            if (y <= longest_tail && static_cast<int>(y) != y)
                out.fractional[out.n_fractional++] = y;
            else if (y > out.n_tail)
                out.large[out.n_large++] = y;
        }
    }
}

// The tails of the counts in the strata of one level.
static inline void read_tail(const Problem& p, const Gene& g, int level, Histogram& histogram, CountTail& out,
                             Arena& arena) {
    read_histogram(p, g, level, histogram);
    const int longest = histogram.longest;
    out.n_tail = best_tail_length(histogram);
    out.n_large = out.n_fractional = 0;
    out.tail = arena.take<double>(padded(out.n_tail));
    double above = histogram.n_above;
    for (int j = longest; j > out.n_tail; --j) above += histogram.of(j);
    const int n_large = static_cast<int>(above);
    for (int j = out.n_tail - 1; j >= 0; --j) out.tail[j] = above += histogram.of(j + 1);
    for (int j = out.n_tail; j < padded(out.n_tail); ++j) out.tail[j] = 0;
    out.large = arena.take<double>(padded(n_large));
    out.fractional = arena.take<double>(histogram.n_fractional);
    if (n_large || histogram.n_fractional) read_large(p, g, level, out);
    for (int k = out.n_large; k < padded(out.n_large); ++k) out.large[k] = out.n_tail;
}

// sum log y! of whole counts from their tails: sum over j >= 1 of #{y >= j} log j, and what lies above the tails.
static inline double tail_factorials(const CountTail& c) {
    alignas(64) const double first[lane_count] = {1, 2, 3, 4, 5, 6, 7, 8};
    Pack j = load(first), out{};
    for (int i = 0; i < c.n_tail; i += pack_lanes) {
        out += load(c.tail + i) * log_pack(j);
        j += all(pack_lanes);
    }
    const Pack at_end = log_factorial(all(c.n_tail));
    for (int i = 0; i < c.n_large; i += pack_lanes) out += log_factorial(load(c.large + i)) - at_end;
    return sum(out);
}

// Bytes that `prepare` may take from the arena. A level's tail is no longer than its largest count, capped.
static inline std::int64_t gene_scratch_bytes(const Problem& p, int most_nonzero) {
    const std::int64_t n = most_nonzero, s = p.n_strata, lines = 27 + 3 * static_cast<std::int64_t>(p.n_levels);
    return 8 * (n + lane_count + n / 2 + 2 * (s + 1) + s + p.mean.n_columns + 2 * (longest_tail + 1) + 2 * n +
                8 * p.n_levels + static_cast<std::int64_t>(p.n_levels) * (longest_tail + lane_count) +
                2 * static_cast<std::int64_t>(p.gene_offset ? p.n_padded : 0) + (p.weights ? p.n_padded : 0) +
                (s + lane_count) * (p.nodes.n + 2) + (s + 1) + p.bins.n_padded + p.mean.n_columns +
                (2 + p.mean.n_continuous) * (n + lane_count * (s + 1))) +
           static_cast<std::int64_t>(sizeof(CountTail)) * p.n_levels + 64 * lines;
}

// Will this gene be summed over cells with one dispersion a stratum? All dispersions are one in the Poisson limit.
static inline bool needs_counted(const Problem& p, const Gene& g) { return !p.nodes.n && !g.weight; }

static inline int most_counted(const Problem& p, int n_nonzero) { return n_nonzero + lane_count * p.n_strata; }

static inline void read_counted(const Problem& p, Gene& g, Arena& arena) {
    Counted& c = g.counted;
    const int k = p.mean.n_continuous;
    c.stride = padded(most_counted(p, g.n_nonzero));
    c.start = arena.take<int>(p.n_strata + 1);
    c.y = arena.take<double>(c.stride);
    c.offset = arena.take<double>(c.stride);
    c.continuous = arena.take<double>(static_cast<std::int64_t>(k) * c.stride);
    const double *offset = k ? g.offset : g.exposure, nowhere = k ? min_eta : 0.0;
    int to = 0;
    for (int s = 0; s < p.n_strata; ++s) {
        c.start[s] = to;
        for (int i = g.stratum_nonzero[s]; i < g.stratum_nonzero[s + 1]; ++i, ++to) {
            const int at = g.position[i];
            c.y[to] = g.y[i];
            c.offset[to] = offset[at];
            for (int j = 0; j < k; ++j)
                c.continuous[static_cast<std::int64_t>(j) * c.stride + to] =
                    p.mean.continuous[static_cast<std::int64_t>(j) * p.n_padded + at];
        }
        for (; to % lane_count; ++to) {
            c.y[to] = 0;
            c.offset[to] = nowhere;
            for (int j = 0; j < k; ++j) c.continuous[static_cast<std::int64_t>(j) * c.stride + to] = 0;
        }
    }
    c.start[p.n_strata] = to;
}

static inline void read_bins(const Problem& p, Gene& g, Arena& arena) {
    const StratifiedDesign& d = p.mean;
    const int n = p.bins.n_padded;
    g.bin_total = arena.take<double>(n);
    g.bin_shift = arena.take<double>(d.n_columns);
    for (int i = 0; i < n; ++i) g.bin_total[i] = 0;
    for (int i = 0; i < g.n_nonzero; ++i) g.bin_total[p.bins.bin_of_position[g.position[i]]] += g.y[i];
    for (int c = 0; c < d.n_columns; ++c) g.bin_shift[c] = 0;
    for (int j = 0; j < d.n_continuous; ++j) {
        const double* x = p.bins.continuous + static_cast<std::int64_t>(j) * n;
        Pack total{};
        for (int i = 0; i < n; i += pack_lanes) total += load(g.bin_total + i) * load(x + i);
        g.bin_shift[d.continuous_column[j]] = g.design_total[d.continuous_column[j]] - sum(total);
    }
}

// The memory of a gene, and what it shares with all others.
static inline void open_gene(const Problem& p, int gene, Gene& g, Arena& arena) {
    const int most = static_cast<int>(p.gene_stop[gene] - p.gene_start[gene]);
    g.counts_read = false;
    g.y = arena.take<double>(padded(most));
    g.position = arena.take<int>(most);
    g.stratum_nonzero = arena.take<int>(p.n_strata + 1);
    g.stratum_total = arena.take<double>(p.n_strata);
    g.stratum_exposure = arena.take<double>(p.n_strata);
    g.design_total = arena.take<double>(p.mean.n_columns);
    double* offset = p.gene_offset ? arena.take<double>(p.n_padded) : nullptr;
    double* exposure = p.gene_offset ? arena.take<double>(p.n_padded) : nullptr;
    double* weight = p.weights ? arena.take<double>(p.n_padded) : nullptr;
    read_offset(p, gene, g, offset, exposure);
    read_weights(p, gene, g, weight);
}

static inline void prepare(const Problem& p, int gene, Gene& g, Arena& arena) {
    open_gene(p, gene, g, arena);
    read_counts(p, gene, g);
    if (!p.nodes.n) read_totals(p, g);  // `prepare_nodes` makes them from fewer numbers
    if (needs_counted(p, g)) {
        read_counted(p, g, arena);
        if (p.bins.n_padded) read_bins(p, g, arena);
    }
    g.level = arena.take<CountTail>(p.n_levels);
    if (p.dispersion.n_columns == 0 || varies_within_strata(p.dispersion) || g.weight) {
        g.constant = -log_factorials(g);
        return;
    }
    Histogram histogram{arena.take<std::int32_t>(Histogram::turns * (longest_tail + 1)), 0, 0, 0};
    bool whole = true;
    double factorials = 0;
    for (int r = 0; r < p.n_levels; ++r) {
        read_tail(p, g, r, histogram, g.level[r], arena);
        whole = whole && g.level[r].n_fractional == 0;
        factorials += tail_factorials(g.level[r]);
    }
    g.constant = -(whole ? factorials : log_factorials(g));
}

}  // namespace isthmus::ISTHMUS_ISA
