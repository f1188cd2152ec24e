// From a stratum's sums to gradient and curvature in the parameters.
#pragma once

#include "stratum_sums.hpp"

namespace isthmus::ISTHMUS_ISA {

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

}  // namespace isthmus::ISTHMUS_ISA
