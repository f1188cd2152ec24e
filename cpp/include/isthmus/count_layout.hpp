// How counts are laid out for the kernel: gene by gene, in the order in which `CellLayout` places their cells.
//
// Almost all counts are whole numbers up to 65,535. Such a count and the place of its cell share 32 bits, a third of
// what a matrix of doubles takes for it: places are cut into blocks of 65,536, and each gene keeps where its counts in
// a block end. One count that does not fit, and all are stored with their place beside them.
#pragma once

#include "layout.hpp"
#include "threads.hpp"

namespace isthmus {

struct CountLayout {
    Aligned<std::int64_t> gene_start;      // (n_genes + 1)
    Aligned<PackedCount> packed;           // either this and `block_stop` ...
    std::vector<std::int64_t> block_stop;  // (n_genes, n_blocks)
    int n_blocks = 0;
    Aligned<std::int32_t> position;  // ... or these
    Aligned<double> count;
    int most_nonzero = 0;

    std::size_t n_genes() const { return gene_start.size() - 1; }
};

// How many entries are stored for each gene, zeros among them.
template <class Index>
void count_entries(const Index* indices, std::int64_t nnz, Index first, std::size_t n_genes, std::int64_t* size) {
    for (std::int64_t k = 0; k < nnz; ++k) {
        const std::size_t gene = static_cast<std::size_t>(indices[k] - first);  // wraps round below `first`
        if (gene < n_genes) ++size[gene];
    }
}

// The same by several threads, each for a part of the entries.
template <class Index>
void count_entries(const Index* indices, std::int64_t nnz, Index first, std::size_t n_genes, int n_threads,
                   std::int64_t* size) {
    std::vector<std::vector<std::int64_t>> own(static_cast<std::size_t>(n_threads), std::vector<std::int64_t>(n_genes));
    on_threads(n_threads, [&](int t) {
        std::vector<std::int64_t>& part = own[static_cast<std::size_t>(t)];
        const std::int64_t from = nnz * t / n_threads, to = nnz * (t + 1) / n_threads;
        count_entries(indices + from, to - from, first, n_genes, part.data());
    });
    for (const std::vector<std::int64_t>& part : own)
        for (std::size_t g = 0; g < n_genes; ++g) size[g] += part[g];
}

// A stored matrix, cells x genes, and a range of its genes.
template <class Index, class Value>
struct Stored {
    const Index *indptr, *indices;
    const Value* data;
    Index first;
    std::size_t n_genes;
    std::int64_t n_entries;  // in these genes
};

constexpr int tile_cells = 64, tile_genes = 256;

// Visits counts in stratum order, each with where it goes: `next` counts up, gene by gene.
//
// The counts of a gene lie together, so that row after row writes to thousands of places at once, more than the
// nearest cache holds. In tiles of some cells and genes, most writes find their place there. Tiles need rows that are
// sorted by gene.
template <class Index, class Value>
class Scatter {
  public:
    Scatter(const Stored<Index, Value>& stored, const CellLayout& cells, std::int64_t* next)
        : stored_(stored), cells_(cells), next_(next) {}

    // The cells in some places, tile by tile. False as soon as `put` is.
    template <class Put>
    bool tiles(int first_place, int last_place, Put&& put) {
        for (int first = first_place; first < last_place; first += tile_cells) {
            const int last = std::min(first + tile_cells, last_place);
            open_rows(first, last);
            fetch_rows(last, std::min(last + tile_cells, last_place));
            for (std::size_t gene = 0; gene < stored_.n_genes; gene += tile_genes)
                if (!tile(gene, std::min<std::size_t>(tile_genes, stored_.n_genes - gene), put)) return false;
        }
        return true;
    }

    // False if some row was not sorted: some of its counts were passed over.
    bool complete() const { return visited_ == stored_.n_entries; }

    // The same row by row, in whichever order each is.
    template <class Put>
    bool rows(int first_place, int last_place, Put&& put) {
        bool fine = true;
        for (int place = first_place; place < last_place && fine; ++place) {
            const int cell = cells_.cell[static_cast<std::size_t>(place)];
            for (std::int64_t k = cell < 0 ? 0 : start_of(cell); cell >= 0 && k < start_of(cell + 1); ++k) {
                const std::size_t gene = static_cast<std::size_t>(stored_.indices[k] - stored_.first);
                if (gene < stored_.n_genes && stored_.data[k] != Value(0))
                    fine &= put(next_[gene]++, place, stored_.data[k]);
            }
        }
        return fine;
    }

  private:
    struct Row {
        std::int64_t at, end;
        int place;
    };

    std::int64_t start_of(int cell) const { return static_cast<std::int64_t>(stored_.indptr[cell]); }

    void open_rows(int first, int last) {
        n_rows_ = 0;
        for (int place = first; place < last; ++place) {
            const int cell = cells_.cell[static_cast<std::size_t>(place)];
            if (cell < 0) continue;
            const Index *begin = stored_.indices + start_of(cell), *end = stored_.indices + start_of(cell + 1);
            if (stored_.first > 0) begin = std::lower_bound(begin, end, stored_.first);
            row_[n_rows_++] = {begin - stored_.indices, end - stored_.indices, place};
        }
    }

    // Ask for rows that come next: the processor does not foresee the order of strata.
    void fetch_rows(int first, int last) const {
        for (int place = first; place < last; ++place) {
            const int cell = cells_.cell[static_cast<std::size_t>(place)];
            if (cell < 0) continue;
            fetch(stored_.indices + start_of(cell), stored_.indices + start_of(cell + 1));
            fetch(stored_.data + start_of(cell), stored_.data + start_of(cell + 1));
        }
    }

    template <class T>
    static void fetch(const T* from, const T* to) {
        for (; from < to; from += 64 / sizeof(T)) __builtin_prefetch(from, 0, 2);
    }

    // The rows' next entries as long as they are of these genes.
    template <class Put>
    bool tile(std::size_t gene, std::size_t n, Put&& put) {
        std::int64_t* const next = next_ + gene;
        const Index* const indices = stored_.indices;
        const Value* const data = stored_.data;
        const Index origin = stored_.first + static_cast<Index>(gene);
        bool fine = true;
        for (int r = 0; r < n_rows_; ++r) {
            const Row row = row_[r];
            std::int64_t k = row.at;
            for (; k < row.end; ++k) {
                const std::size_t own = static_cast<std::size_t>(indices[k] - origin);  // wraps round below `origin`
                if (own >= n) break;
                const Value y = data[k];
                if (y != Value(0)) fine &= put(next[own]++, row.place, y);
            }
            visited_ += k - row.at;
            row_[r].at = k;
        }
        return fine;
    }

    const Stored<Index, Value>& stored_;
    const CellLayout& cells_;
    std::int64_t* next_;
    std::int64_t visited_ = 0;
    Row row_[tile_cells];
    int n_rows_ = 0;
};

// Close the gaps that stored zeros left behind the counts of each gene, which end at `next`.
template <class Move>
void close_gaps(const std::int64_t* next, CountLayout& out, Move&& move) {
    std::int64_t to = 0;
    for (std::size_t g = 0; g < out.n_genes(); ++g) {
        const std::int64_t from = out.gene_start[g], size = next[g] - from;
        if (to < from)
            for (std::int64_t k = 0; k < size; ++k) move(from + k, to + k);
        for (int b = 0; b < out.n_blocks; ++b)
            out.block_stop[g * static_cast<std::size_t>(out.n_blocks) + static_cast<std::size_t>(b)] -= from - to;
        out.gene_start[g] = to;
        out.most_nonzero = std::max(out.most_nonzero, static_cast<int>(size));
        to += size;
    }
    out.gene_start[out.n_genes()] = to;
}

inline std::size_t entries_of(const CountLayout& out) {
    return static_cast<std::size_t>(std::max<std::int64_t>(out.gene_start[out.n_genes()], 1));
}

enum class Layout { done, unsorted, too_wide };

// Some genes of those that are laid out, from number `first_gene` on; `next` says where the counts of each go.
template <class Index, class Value>
Layout pack_genes(const Stored<Index, Value>& stored, const CellLayout& cells, bool sorted, std::size_t first_gene,
                  std::int64_t* next, CountLayout& out) {
    constexpr Value largest = Value(largest_packed);
    PackedCount* packed = out.packed.data();
    Scatter<Index, Value> scatter(stored, cells, next);
    for (int b = 0; b < out.n_blocks; ++b) {
        const int origin = b * block_places, end = std::min(cells.n_padded, origin + block_places);
        const auto put = [packed, origin](std::int64_t to, int place, Value y) {
            const Value within = y > Value(0) ? (y < largest ? y : largest) : Value(0);  // NaN becomes 0
            const std::int32_t count = static_cast<std::int32_t>(within);
            packed[to] = static_cast<PackedCount>(count) << 16 | static_cast<PackedCount>(place - origin);
            return static_cast<Value>(count) == y;
        };
        if (!(sorted ? scatter.tiles(origin, end, put) : scatter.rows(origin, end, put))) return Layout::too_wide;
        for (std::size_t g = 0; g < stored.n_genes; ++g)
            out.block_stop[(first_gene + g) * static_cast<std::size_t>(out.n_blocks) + static_cast<std::size_t>(b)] =
                next[g];
    }
    return sorted && !scatter.complete() ? Layout::unsorted : Layout::done;
}

// The gene at which a part of all counts that are laid out has been passed.
inline std::size_t gene_at(const CountLayout& out, int part, int parts) {
    const std::int64_t *begin = out.gene_start.data(), *end = begin + out.n_genes();
    return static_cast<std::size_t>(std::lower_bound(begin, end, *end * part / parts) - begin);
}

// Nothing is laid out unless it is done.
template <class Index, class Value>
Layout lay_out_packed(const Stored<Index, Value>& stored, const CellLayout& cells, bool sorted, int n_threads,
                      std::vector<std::int64_t> next, CountLayout& out) {
    out.packed = Aligned<PackedCount>(entries_of(out));
    out.n_blocks = (cells.n_padded + block_places - 1) / block_places;
    out.block_stop.resize(out.n_genes() * static_cast<std::size_t>(out.n_blocks));
    std::vector<Layout> parts(static_cast<std::size_t>(n_threads), Layout::done);
    on_threads(n_threads, [&](int t) {
        const std::size_t from = gene_at(out, t, n_threads),
                          to = t + 1 < n_threads ? gene_at(out, t + 1, n_threads) : out.n_genes();
        Stored<Index, Value> own = stored;
        own.first += static_cast<Index>(from);
        own.n_genes = to - from;
        own.n_entries = out.gene_start[to] - out.gene_start[from];
        parts[static_cast<std::size_t>(t)] = pack_genes(own, cells, sorted, from, next.data() + from, out);
    });
    const Layout worst = *std::max_element(parts.begin(), parts.end());
    if (worst == Layout::done) {
        PackedCount* packed = out.packed.data();
        close_gaps(next.data(), out, [packed](std::int64_t from, std::int64_t to) { packed[to] = packed[from]; });
        return worst;
    }
    out.packed = Aligned<PackedCount>();
    out.block_stop.clear();
    out.n_blocks = 0;
    return worst;
}

template <class Index, class Value>
void lay_out_wide(const Stored<Index, Value>& stored, const CellLayout& cells, std::vector<std::int64_t> next,
                  CountLayout& out) {
    out.position = Aligned<std::int32_t>(entries_of(out));
    out.count = Aligned<double>(entries_of(out));
    std::int32_t* position = out.position.data();
    double* count = out.count.data();
    const auto put = [position, count](std::int64_t to, int place, Value y) {
        position[to] = place;
        count[to] = static_cast<double>(y);
        return true;
    };
    Scatter<Index, Value>(stored, cells, next.data()).rows(0, cells.n_padded, put);
    close_gaps(next.data(), out, [position, count](std::int64_t from, std::int64_t to) {
        position[to] = position[from];
        count[to] = count[from];
    });
}

// Genes [first, last) of a CSR matrix, positions ascending within each: a counting sort of the rows in stratum order.
template <class Index, class Value>
CountLayout lay_out_counts(const Index* indptr, const Index* indices, const Value* data, const CellLayout& cells,
                           int first, int last, int n_threads = 1) {
    const std::size_t n_genes = static_cast<std::size_t>(last - first);
    CountLayout out;
    out.gene_start = Aligned<std::int64_t>(n_genes + 1);
    std::vector<std::int64_t> next(n_genes + 1, 0);
    count_entries(indices, static_cast<std::int64_t>(indptr[cells.position.size()]), static_cast<Index>(first), n_genes,
                  n_threads, next.data());
    std::int64_t total = 0;
    for (std::size_t g = 0; g < n_genes; ++g) {
        const std::int64_t size = next[g];
        out.gene_start[g] = next[g] = total;
        total += size;
    }
    out.gene_start[n_genes] = total;
    const Stored<Index, Value> stored{indptr, indices, data, static_cast<Index>(first), n_genes, total};
    Layout how = lay_out_packed(stored, cells, true, n_threads, next, out);
    if (how == Layout::unsorted) how = lay_out_packed(stored, cells, false, n_threads, next, out);
    if (how == Layout::too_wide) lay_out_wide(stored, cells, next, out);
    return out;
}

inline Problem make_problem(const CellLayout& cells, const CountLayout& counts, std::int64_t n_cells) {
    Problem p{};
    p.n_cells = static_cast<int>(n_cells);
    p.n_padded = cells.n_padded;
    p.n_strata = cells.n_strata();
    p.stratum_start = cells.stratum_start.data();
    p.mean = cells.mean.view();
    p.dispersion = cells.dispersion.view();
    p.offset = cells.offset.data();
    p.exposure = cells.exposure.data();
    p.stratum_exposure = cells.stratum_exposure.data();
    p.stratum_square = cells.stratum_square.data();
    p.stratum_least = cells.stratum_least.data();
    p.stratum_cells = cells.stratum_cells.data();
    p.n_levels = cells.n_levels;
    p.level_of_stratum = cells.level_of_stratum.data();
    p.stratum_of_level = cells.stratum_of_level.data();
    p.gene_start = counts.gene_start.data();
    p.gene_stop = counts.gene_start.data() + 1;
    p.packed = counts.packed.data();
    p.block_stop = counts.block_stop.data();
    p.n_blocks = counts.n_blocks;
    p.position = counts.position.data();
    p.count = counts.count.data();
    p.n_genes = static_cast<int>(counts.n_genes());
    p.cell_of_position = cells.cell.data();
    return p;
}

}  // namespace isthmus
