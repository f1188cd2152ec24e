// How cells are laid out for the kernel: sorted by stratum and padded.
#pragma once

#include <algorithm>
#include <cmath>
#include <unordered_map>
#include <vector>

#include "aligned.hpp"
#include "problem.hpp"

namespace isthmus {

// A dense matrix as the caller holds it.
struct MatrixView {
    const double* data;
    std::int64_t rows, columns;
    std::int64_t row_stride, column_stride;
    double operator()(std::int64_t i, std::int64_t j) const { return data[i * row_stride + j * column_stride]; }
};

// Give each row of the chosen columns a stratum number; stop (and leave `stratum` alone) if there would be more than
// `most`.
inline bool refine_strata(const MatrixView& m, std::int64_t column, int most, std::vector<int>& stratum,
                          int& n_strata) {
    struct Key {
        int stratum;
        double value;
        bool operator==(const Key& o) const { return stratum == o.stratum && value == o.value; }
    };
    struct Hash {
        std::size_t operator()(const Key& k) const {
            return std::hash<double>()(k.value) * 1000003u + static_cast<std::size_t>(k.stratum);
        }
    };
    std::unordered_map<Key, int, Hash> number;
    std::vector<int> refined(stratum.size());
    for (std::size_t i = 0; i < stratum.size(); ++i) {
        const auto found = number.try_emplace(Key{stratum[i], m(static_cast<std::int64_t>(i), column)},
                                              static_cast<int>(number.size()));
        if (static_cast<int>(number.size()) > most) return false;
        refined[i] = found.first->second;
    }
    stratum.swap(refined);
    n_strata = static_cast<int>(number.size());
    return true;
}

// A column stays categorical as long as the strata stay large enough to be worth their own row.
inline int most_strata(std::int64_t n_cells, std::int64_t n_columns) {
    return static_cast<int>(std::max<std::int64_t>(16, n_cells / (16 + n_columns * n_columns / 4)));
}

struct DesignLayout {
    std::vector<int> continuous_column, entry_start, entry_column;
    std::vector<double> entry_value, column_reach, fixed_row;
    Aligned<double> continuous, fixed_cell;

    StratifiedDesign view() const {
        return {static_cast<int>(column_reach.size()),
                static_cast<int>(continuous_column.size()),
                continuous_column.data(),
                continuous.data(),
                entry_start.data(),
                entry_column.data(),
                entry_value.data(),
                column_reach.data(),
                fixed_row.data(),
                fixed_cell.data()};
    }
};

// Cells in stratum order. `position` maps a cell to its place, `cell` a place to its cell (-1 for padding).
struct CellLayout {
    int n_padded = 0, n_levels = 1;
    std::vector<int> stratum_start, level_of_stratum, stratum_of_level, position, cell, any_cell_of_stratum;
    DesignLayout mean, dispersion;
    Aligned<double> offset, exposure;
    std::vector<double> stratum_exposure, stratum_square, stratum_least;
    std::vector<int> stratum_cells;

    int n_strata() const { return static_cast<int>(stratum_start.size()) - 1; }
};

inline void place_cells(const std::vector<int>& stratum, int n_strata, CellLayout& out) {
    std::vector<int> size(static_cast<std::size_t>(n_strata), 0);
    out.any_cell_of_stratum.assign(static_cast<std::size_t>(n_strata), 0);
    for (std::size_t i = 0; i < stratum.size(); ++i) {
        ++size[stratum[i]];
        out.any_cell_of_stratum[stratum[i]] = static_cast<int>(i);
    }
    out.stratum_start.assign(1, 0);
    for (int s : size)
        out.stratum_start.push_back(out.stratum_start.back() + (s + lane_count - 1) / lane_count * lane_count);
    out.n_padded = out.stratum_start.back();
    out.position.resize(stratum.size());
    out.cell.assign(static_cast<std::size_t>(out.n_padded), -1);
    std::vector<int> next(out.stratum_start.begin(), out.stratum_start.end() - 1);
    for (std::size_t i = 0; i < stratum.size(); ++i) {
        out.position[i] = next[stratum[i]]++;
        out.cell[out.position[i]] = static_cast<int>(i);
    }
}

inline void place_design(const MatrixView& m, const std::vector<char>& categorical, const CellLayout& cells,
                         DesignLayout& out) {
    out.column_reach.assign(static_cast<std::size_t>(m.columns), 0);
    for (std::int64_t c = 0; c < m.columns; ++c)
        for (std::int64_t i = 0; i < m.rows; ++i)
            out.column_reach[c] = std::max(out.column_reach[c], std::fabs(m(i, c)));
    out.entry_start.assign(1, 0);
    for (int cell : cells.any_cell_of_stratum) {
        for (std::int64_t c = 0; c < m.columns; ++c)
            if (categorical[c] && m(cell, c) != 0) {
                out.entry_column.push_back(static_cast<int>(c));
                out.entry_value.push_back(m(cell, c));
            }
        out.entry_start.push_back(static_cast<int>(out.entry_column.size()));
    }
    for (std::int64_t c = 0; c < m.columns; ++c)
        if (!categorical[c]) out.continuous_column.push_back(static_cast<int>(c));
    const std::size_t n = static_cast<std::size_t>(cells.n_padded);
    out.continuous = Aligned<double>(out.continuous_column.size() * n);
    for (std::size_t k = 0; k < out.continuous_column.size(); ++k)
        for (std::size_t i = 0; i < n; ++i)
            out.continuous[k * n + i] = cells.cell[i] < 0 ? 0.0 : m(cells.cell[i], out.continuous_column[k]);
}

// The part of the dispersion predictor that has no parameter: once a stratum, or once a cell where it differs within
// strata.
inline void place_fixed(const double* fixed, bool categorical, const CellLayout& cells, DesignLayout& out) {
    out.fixed_row.assign(static_cast<std::size_t>(cells.n_strata()), 0.0);
    if (!fixed) return;
    if (categorical) {
        for (int s = 0; s < cells.n_strata(); ++s) out.fixed_row[s] = fixed[cells.any_cell_of_stratum[s]];
        return;
    }
    out.fixed_cell = Aligned<double>(static_cast<std::size_t>(cells.n_padded));
    for (int i = 0; i < cells.n_padded; ++i) out.fixed_cell[i] = cells.cell[i] < 0 ? 0.0 : fixed[cells.cell[i]];
}

inline void place_offset(const double* offset, CellLayout& out) {
    const std::size_t n = static_cast<std::size_t>(out.n_padded);
    out.offset = Aligned<double>(n);
    out.exposure = Aligned<double>(n);
    for (std::size_t i = 0; i < n; ++i) {
        out.offset[i] = out.cell[i] < 0 ? min_eta : offset[out.cell[i]];
        out.exposure[i] = out.cell[i] < 0 ? 0.0 : std::exp(out.offset[i]);
    }
    const std::size_t strata = static_cast<std::size_t>(out.n_strata());
    out.stratum_exposure.assign(strata, 0.0);
    out.stratum_square.assign(strata, 0.0);
    out.stratum_least.assign(strata, 1e300);
    out.stratum_cells.assign(strata, 0);
    for (int s = 0; s < out.n_strata(); ++s)
        for (int i = out.stratum_start[s]; i < out.stratum_start[s + 1]; ++i) {
            if (out.cell[i] < 0) continue;
            out.stratum_exposure[s] += out.exposure[i];
            out.stratum_square[s] += out.exposure[i] * out.exposure[i];
            out.stratum_least[s] = std::min(out.stratum_least[s], out.exposure[i]);
            ++out.stratum_cells[s];
        }
}

// Strata with the same row of the dispersion design share a level, and so the tails of their counts.
inline void find_levels(const MatrixView& z, const std::vector<char>& categorical, CellLayout& out) {
    out.stratum_of_level.clear();
    for (int s = 0; s < out.n_strata(); ++s) {
        auto same = [&](int other) {
            for (std::int64_t c = 0; c < z.columns; ++c)
                if (categorical[c] && z(out.any_cell_of_stratum[s], c) != z(out.any_cell_of_stratum[other], c))
                    return false;
            return out.dispersion.fixed_row[s] == out.dispersion.fixed_row[other];
        };
        const auto found = std::find_if(out.stratum_of_level.begin(), out.stratum_of_level.end(), same);
        out.level_of_stratum.push_back(static_cast<int>(found - out.stratum_of_level.begin()));
        if (found == out.stratum_of_level.end()) out.stratum_of_level.push_back(s);
    }
    out.n_levels = static_cast<int>(out.stratum_of_level.size());
}

// The stratum of every cell: cells of one stratum share the rows of the columns that are categorical.
struct Strata {
    std::vector<int> of_cell;
    int n = 1;
};

inline Strata find_strata(const MatrixView& x, const MatrixView& z, const double* dispersion_offset) {
    Strata out;
    out.of_cell.assign(static_cast<std::size_t>(x.rows), 0);
    const int most = most_strata(x.rows, x.columns + z.columns);
    for (const MatrixView& m : {x, z})
        for (std::int64_t c = 0; c < m.columns; ++c) refine_strata(m, c, most, out.of_cell, out.n);
    if (dispersion_offset) refine_strata({dispersion_offset, x.rows, 1, 1, 1}, 0, most, out.of_cell, out.n);
    return out;
}

// Which columns are constant within strata: those that made them, and all that follow from those, but for what a
// product of matrices rounds differently from row to row.
inline std::vector<char> constant_columns(const MatrixView& m, const Strata& strata, const CellLayout& cells) {
    std::vector<char> out(static_cast<std::size_t>(m.columns), 1);
    for (std::int64_t c = 0; c < m.columns; ++c) {
        double size = 0;
        for (std::int64_t i = 0; i < m.rows; ++i) size = std::max(size, std::fabs(m(i, c)));
        for (std::int64_t i = 0; i < m.rows && out[c]; ++i)
            out[c] = std::fabs(m(i, c) - m(cells.any_cell_of_stratum[strata.of_cell[i]], c)) <= 1e-14 * size;
    }
    return out;
}

// Cells in strata that were made for these designs, or for others: a column that differs within strata is continuous.
inline CellLayout lay_out_cells(const Strata& strata, const MatrixView& x, const MatrixView& z, const double* offset,
                                const double* dispersion_offset) {
    CellLayout out;
    place_cells(strata.of_cell, strata.n, out);
    const std::vector<char> z_constant = constant_columns(z, strata, out);
    const bool fixed_constant =
        !dispersion_offset || constant_columns({dispersion_offset, x.rows, 1, 1, 1}, strata, out)[0];
    place_design(x, constant_columns(x, strata, out), out, out.mean);
    place_design(z, z_constant, out, out.dispersion);
    place_fixed(nullptr, true, out, out.mean);
    place_fixed(dispersion_offset, fixed_constant, out, out.dispersion);
    place_offset(offset, out);
    find_levels(z, z_constant, out);
    return out;
}

inline CellLayout lay_out_cells(const MatrixView& x, const MatrixView& z, const double* offset,
                                const double* dispersion_offset) {
    return lay_out_cells(find_strata(x, z, dispersion_offset), x, z, offset, dispersion_offset);
}

}  // namespace isthmus
