// Bins: cells of a stratum with similar exposure and similar continuous columns, replaced by their mean.
//
// A pass over bins costs a few percent of one over cells. It says where the maximum over all cells is to about a tenth
// of a standard error, so that the iteration over cells starts there and needs a step or two. No result comes from
// bins: what is reported is evaluated over every cell.
//
// A stratum is halved at the median of whichever column spreads most, again and again. A bin's exposure is the mean of
// its cells', and its columns are means weighted by exposure, so that sums of means agree to first order.
#pragma once

#include "layout.hpp"

namespace isthmus {

constexpr int cells_a_bin = 32;            // at least
constexpr int most_bins = 256;             // in a stratum
constexpr int fewest_binned_cells = 2000;  // below it a pass over the cells costs next to nothing
// How far a standard deviation of a covariate is taken to move the log mean, when columns are compared for their
// spread: not known beforehand, and effects of cells' covariates are mostly smaller than 1.
constexpr double typical_effect = 0.5;

struct BinLayout {
    int n_padded = 0;  // 0: no bins
    std::vector<int> start, bin_of_position;
    Aligned<double> offset, weight, continuous;

    Bins view() const {
        return {n_padded, start.data(), offset.data(), weight.data(), continuous.data(), bin_of_position.data()};
    }
};

// Halves ranges of places until few are left.
class Halving {
  public:
    explicit Halving(const CellLayout& cells) : cells_(cells), scale_(cells.mean.continuous_column.size()) {
        std::vector<int> all;
        for (int i = 0; i < cells.n_padded; ++i)
            if (cells.cell[i] >= 0) all.push_back(i);
        for (std::size_t c = 0; c < scale_.size(); ++c) {
            const double spread = variance(column(c), all.data(), all.data() + all.size());
            scale_[c] = spread > 0 ? typical_effect * typical_effect / spread : 0;
        }
    }

    // Visits `parts` (a power of 2) ranges of [first, last).
    template <class Visit>
    void visit(int* first, int* last, int parts, Visit&& each) const {
        if (parts == 1) return each(first, last);
        const double* by = widest(first, last);
        int* middle = first + (last - first) / 2;
        std::nth_element(first, middle, last, [by](int a, int b) { return by[a] != by[b] ? by[a] < by[b] : a < b; });
        visit(first, middle, parts / 2, each);
        visit(middle, last, parts / 2, each);
    }

  private:
    const double* column(std::size_t c) const {
        return cells_.mean.continuous.data() + c * static_cast<std::size_t>(cells_.n_padded);
    }

    static double variance(const double* x, const int* first, const int* last) {
        double sum = 0, square = 0;
        const double n = static_cast<double>(last - first), origin = x[*first];
        for (const int* i = first; i < last; ++i) {
            sum += x[*i] - origin;
            square += (x[*i] - origin) * (x[*i] - origin);
        }
        return square / n - (sum / n) * (sum / n);
    }

    const double* widest(const int* first, const int* last) const {
        const double* best = cells_.offset.data();
        double most = variance(best, first, last);
        for (std::size_t c = 0; c < scale_.size(); ++c) {
            const double spread = scale_[c] * variance(column(c), first, last);
            if (spread > most) {
                most = spread;
                best = column(c);
            }
        }
        return best;
    }

    const CellLayout& cells_;
    std::vector<double> scale_;
};

inline int bins_of(int n_cells) {
    int parts = 1;
    while (2 * parts <= most_bins && n_cells >= 2 * parts * cells_a_bin) parts *= 2;
    return parts;
}

inline void place_bin(const CellLayout& cells, const int* first, const int* last, int bin, BinLayout& out) {
    const std::size_t n_columns = cells.mean.continuous_column.size();
    double exposure = 0;
    for (const int* i = first; i < last; ++i) {
        exposure += cells.exposure[*i];
        out.bin_of_position[*i] = bin;
    }
    const double n = static_cast<double>(last - first);
    out.weight[bin] = n;
    out.offset[bin] = std::log(exposure / n);
    for (std::size_t c = 0; c < n_columns; ++c) {
        const double* x = cells.mean.continuous.data() + c * static_cast<std::size_t>(cells.n_padded);
        double sum = 0;
        for (const int* i = first; i < last; ++i) sum += cells.exposure[*i] * x[*i];
        out.continuous[c * static_cast<std::size_t>(out.n_padded) + bin] = sum / exposure;
    }
}

// Bins for a problem that has to be summed over cells; none where they would save little or where the dispersion
// differs within strata.
inline BinLayout lay_out_bins(const CellLayout& cells) {
    BinLayout out;
    const DesignLayout &mean = cells.mean, &dispersion = cells.dispersion;
    if (mean.continuous_column.empty() || !dispersion.continuous_column.empty() || dispersion.fixed_cell.size())
        return out;
    if (static_cast<int>(cells.position.size()) < fewest_binned_cells) return out;
    out.start.assign(1, 0);
    for (int n : cells.stratum_cells)
        out.start.push_back(out.start.back() + (bins_of(n) + lane_count - 1) / lane_count * lane_count);
    if (out.start.back() * 8 > cells.n_padded) return out;
    out.n_padded = out.start.back();
    const std::size_t n = static_cast<std::size_t>(out.n_padded);
    out.bin_of_position.assign(static_cast<std::size_t>(cells.n_padded), 0);
    out.offset = Aligned<double>(n);
    out.weight = Aligned<double>(n);
    out.continuous = Aligned<double>(n * mean.continuous_column.size());
    std::fill_n(out.offset.data(), n, min_eta);
    std::fill_n(out.weight.data(), n, 0.0);
    std::fill_n(out.continuous.data(), out.continuous.size(), 0.0);
    const Halving halving(cells);
    std::vector<int> places;
    for (int s = 0; s < cells.n_strata(); ++s) {
        places.clear();
        for (int i = cells.stratum_start[s]; i < cells.stratum_start[s + 1]; ++i)
            if (cells.cell[i] >= 0) places.push_back(i);
        int bin = out.start[s];
        halving.visit(places.data(), places.data() + places.size(), bins_of(cells.stratum_cells[s]),
                      [&](const int* first, const int* last) { place_bin(cells, first, last, bin++, out); });
    }
    return out;
}

}  // namespace isthmus
