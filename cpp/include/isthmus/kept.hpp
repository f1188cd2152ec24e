// What passes need of a gene's counts, kept from one fit to the next.
//
// Fits of the same counts with other designs (a hypothesis as one more constraint, a dispersion held elsewhere) differ
// in their parameters only, as long as strata, nodes and levels are the same: all that they need of the counts are a
// few sums and the tails. The caller vouches for that and owns the memory.
#pragma once

#include "node_sums.hpp"

namespace isthmus::ISTHMUS_ISA {

struct KeptGene {
    int n_nonzero;
    double offset_total, constant, total;
    double *node_total, *stratum_total, *stratum_pairs, *stratum_exposed;
    CountTail* level;
};

static inline std::int64_t kept_bytes(const Problem& p, const Gene& g) {
    std::int64_t doubles = static_cast<std::int64_t>(p.n_strata) * (p.nodes.n + 3), lines = 6;
    for (int r = 0; r < p.n_levels; ++r, lines += 3)
        doubles += padded(g.level[r].n_tail) + padded(g.level[r].n_large) + g.level[r].n_fractional;
    return static_cast<std::int64_t>(sizeof(KeptGene) + sizeof(CountTail) * static_cast<unsigned>(p.n_levels)) +
           8 * doubles + 64 * (lines + 1);
}

static inline double* copied(const double* from, int n, Arena& arena) {
    double* out = arena.take<double>(n);
    for (int i = 0; i < n; ++i) out[i] = from[i];
    return out;
}

// Only where it takes less memory than the counts themselves: few counts are soon read again.
static inline void keep(const Problem& p, int gene, const Gene& g) {
    if (!p.keep || p.dispersion.n_columns == 0) return;
    const std::int64_t bytes = kept_bytes(p, g);
    if (bytes > static_cast<std::int64_t>(sizeof(PackedCount)) * g.n_nonzero) return;
    Arena arena{static_cast<char*>(p.keep(p.kept, gene, bytes))};
    if (!arena.next) return;
    KeptGene* k = arena.take<KeptGene>(1);
    *k = {g.n_nonzero, g.offset_total, g.constant, g.total, nullptr, nullptr, nullptr, nullptr, nullptr};
    k->node_total = copied(g.node_total, p.n_strata * p.nodes.n, arena);
    k->stratum_total = copied(g.stratum_total, p.n_strata, arena);
    k->stratum_pairs = copied(g.stratum_pairs, p.n_strata, arena);
    k->stratum_exposed = copied(g.stratum_exposed, p.n_strata, arena);
    k->level = arena.take<CountTail>(p.n_levels);
    for (int r = 0; r < p.n_levels; ++r) {
        CountTail& tail = k->level[r] = g.level[r];
        tail.tail = copied(tail.tail, padded(tail.n_tail), arena);
        tail.large = copied(tail.large, padded(tail.n_large), arena);
        tail.fractional = copied(tail.fractional, tail.n_fractional, arena);
    }
}

// True if the gene was kept. Its counts are not read then, but there is room for them.
static inline bool recall(const Problem& p, int gene, Gene& g, Arena& arena) {
    const auto* k = p.recall ? static_cast<const KeptGene*>(p.recall(p.kept, gene)) : nullptr;
    if (!k) return false;
    open_gene(p, gene, g, arena);
    g.n_nonzero = k->n_nonzero;
    g.offset_total = k->offset_total;
    g.constant = k->constant;
    g.total = k->total;
    g.node_total = k->node_total;
    g.stratum_total = k->stratum_total;
    g.stratum_pairs = k->stratum_pairs;
    g.stratum_exposed = k->stratum_exposed;
    g.level = k->level;
    add_design_totals(p, g);
    return true;
}

}  // namespace isthmus::ISTHMUS_ISA
