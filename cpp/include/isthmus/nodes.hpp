// Nodes: cells that differ by their exposure only, replaced by a few points of exposure.
//
// Where no column is continuous, a cell of a stratum adds to the likelihood h(c + u), with u its log exposure and c
// what the parameters say of the stratum, the same for all its cells. Sums of w h(c + u) over cells, for any weights w,
// are then linear functionals of h on the interval of the stratum's u. With h replaced by its interpolant in K
// Chebyshev points U_k they become sums over the points,
//
//     sum_i w_i h(c + u_i)  ~  sum_k W_k h(c + U_k),     W_k = sum_i w_i l_k(u_i),     l_k the Lagrange polynomials,
//
// with W_k computed once: for w = 1 (every cell) once a problem, for w = y (the counts) once a gene. As l_k(x) = (1 + 2
// sum_{m=1}^{K-1} T_m(x_k) T_m(x)) / K, the W_k follow from the sums of w T_m over cells, which a recurrence makes.
//
// The error is bounded before anything is computed. h is log(1 + e^z) / alpha, mu / (1 + e^z) or a derivative, with z =
// log alpha + c + u: analytic while |Im z| < pi. In the Bernstein ellipse rho around the interval [m - b, m + b], whose
// half axes are b (rho + 1/rho) / 2 and b (rho - 1/rho) / 2 = pi - d,
//
//     |1 + e^z| >= sin d (or 1, if pi - d <= pi / 2),    |e^u| <= e^(m + b (rho + 1/rho) / 2),
//
// so that each h is at most M = e^(c + m + b (rho + 1/rho) / 2) / sin^2 d there, and interpolation in K points is off
// by at most 4 M rho^(1 - K) / (rho - 1) (Trefethen, Approximation Theory and Approximation Practice, theorem 8.2).
// Relative to the stratum's mean exposure e^c mean(e^u), this is `node_error`.
#pragma once

#include "layout.hpp"

namespace isthmus {

// Relative error of a stratum's sums that is accepted; for 10^5 counts a gene it leaves 10^-3 of log-likelihood when
// the bound is attained, and it is not: it is met with three digits or more to spare.
constexpr double node_tolerance = 1e-8;
constexpr double worthwhile_cells = 4;  // cells a node, on average

struct NodeLayout {
    int n = 0;  // 0: every cell for itself
    double error = 0;
    Aligned<double> exposure, offset, weight, place, polynomial;

    Nodes view() const { return {n, exposure.data(), offset.data(), weight.data(), place.data(), polynomial.data()}; }
};

// The smallest bound over ellipses. `half_width` of the interval of log exposures; `mean` is the mean of e^(u - m).
inline double node_error(double half_width, double mean, int n) {
    if (half_width < 1e-12) return 0;
    constexpr double pi = 3.14159265358979323846;
    double best = 1e300;
    for (int i = 1; i < 100; ++i) {
        const double height = pi * i / 100, beta = height / half_width;  // pi - d, and (rho - 1/rho) / 2
        const double rho = beta + std::sqrt(beta * beta + 1);
        const double away = height > pi / 2 ? std::sin(height) : 1.0;
        const double top = half_width * (rho + 1 / rho) / 2 - std::log(mean) - 2 * std::log(away);
        best = std::min(best, top + std::log(4 / (rho - 1)) + (1 - n) * std::log(rho));
    }
    return std::exp(best);
}

struct ExposureRange {
    double middle = 0, half_width = 0, mean = 0;
};

inline ExposureRange exposure_range(const CellLayout& cells, int stratum) {
    double low = 1e300, high = -1e300, total = 0;
    int n = 0;
    for (int i = cells.stratum_start[stratum]; i < cells.stratum_start[stratum + 1]; ++i) {
        if (cells.cell[i] < 0) continue;
        low = std::min(low, cells.offset[i]);
        high = std::max(high, cells.offset[i]);
        total += cells.exposure[i];
        ++n;
    }
    const double middle = (low + high) / 2;
    return {middle, (high - low) / 2, total / n * std::exp(-middle)};
}

inline void place_polynomials(NodeLayout& out) {
    constexpr double pi = 3.14159265358979323846;
    out.polynomial = Aligned<double>(static_cast<std::size_t>(out.n * out.n));
    for (int m = 0; m < out.n; ++m)
        for (int k = 0; k < out.n; ++k)
            out.polynomial[m * out.n + k] = (m ? 2.0 : 1.0) / out.n * std::cos(m * (2 * k + 1) * pi / (2 * out.n));
}

inline void place_nodes(const CellLayout& cells, int stratum, const ExposureRange& range, NodeLayout& out) {
    constexpr double pi = 3.14159265358979323846;
    double sums[most_nodes] = {};
    for (int i = cells.stratum_start[stratum]; i < cells.stratum_start[stratum + 1]; ++i) {
        const bool alone = cells.cell[i] < 0 || range.half_width < 1e-12;
        const double x = alone ? 0.0 : (cells.offset[i] - range.middle) / range.half_width;
        out.place[i] = std::min(std::max(x, -1.0), 1.0);
        if (cells.cell[i] < 0) continue;
        double before = out.place[i], now = 1;  // T_{-1} = T_1 = x
        for (int m = 0; m < out.n; ++m) {
            sums[m] += now;
            const double next = 2 * out.place[i] * now - before;
            before = now;
            now = next;
        }
    }
    for (int k = 0; k < out.n; ++k) {
        const double point = std::cos((2 * k + 1) * pi / (2 * out.n));
        double weight = 0;
        for (int m = 0; m < out.n; ++m) weight += out.polynomial[m * out.n + k] * sums[m];
        out.offset[stratum * out.n + k] = range.middle + range.half_width * point;
        out.exposure[stratum * out.n + k] = std::exp(out.offset[stratum * out.n + k]);
        out.weight[stratum * out.n + k] = weight;
    }
}

// Nodes for a problem whose cells differ by exposure only within strata; none where they would not pay or where the
// bound on their error does not hold.
inline NodeLayout lay_out_nodes(const CellLayout& cells) {
    NodeLayout out;
    const DesignLayout &mean = cells.mean, &dispersion = cells.dispersion;
    if (!mean.continuous_column.empty() || !dispersion.continuous_column.empty() || dispersion.fixed_cell.size())
        return out;
    std::vector<ExposureRange> range;
    for (int s = 0; s < cells.n_strata(); ++s) range.push_back(exposure_range(cells, s));
    for (int n = fewest_nodes; n <= most_nodes; n += node_steps) {
        out.error = 0;
        for (const ExposureRange& r : range) out.error = std::max(out.error, node_error(r.half_width, r.mean, n));
        if (out.error > node_tolerance) continue;
        out.n = n;
        break;
    }
    if (!out.n || cells.n_strata() * out.n * worthwhile_cells > static_cast<double>(cells.position.size())) {
        out.n = 0;
        return out;
    }
    const std::size_t n = static_cast<std::size_t>(out.n), strata = static_cast<std::size_t>(cells.n_strata());
    out.exposure = Aligned<double>(n * strata);
    out.offset = Aligned<double>(n * strata);
    out.weight = Aligned<double>(n * strata);
    out.place = Aligned<double>(static_cast<std::size_t>(cells.n_padded));
    place_polynomials(out);
    for (int s = 0; s < cells.n_strata(); ++s) place_nodes(cells, s, range[static_cast<std::size_t>(s)], out);
    return out;
}

}  // namespace isthmus
