// The residual deviance of a gene and its degrees of freedom, for quasi-likelihood: sums over cells of w d / c and of
// (1 - h) k, where d is the unit deviance, taken for c times a chi-square with k degrees of freedom, and h the leverage
// (isthmus.glm.unit_deviance says where c and k come from).
#pragma once

#include "quasi_problem.hpp"
#include "vector_math.hpp"

namespace isthmus::ISTHMUS_ISA {

constexpr double least_quasi_eta = -60, most_quasi_eta = 50;
constexpr double all_but_poisson = 1e-8;  // of alpha times the larger of mean and count

static inline std::int64_t quasi_scratch_bytes(const QuasiProblem& p) {
    return 8 * 3 * static_cast<std::int64_t>(p.n_padded);
}

// A gene's own values cell by cell: counts, the fixed part of the log mean, weights.
struct QuasiGene {
    double *y, *offset, *weight;
};

static inline QuasiGene read_quasi_gene(const QuasiProblem& p, int gene, double* scratch) {
    QuasiGene g{scratch, scratch + p.n_padded, scratch + 2 * static_cast<std::int64_t>(p.n_padded)};
    for (int i = 0; i < p.n_padded; ++i) {
        g.y[i] = 0;
        g.offset[i] = p.offset[i];
        g.weight[i] = p.live[i];
    }
    for (std::int64_t k = p.gene_start[gene]; k < p.gene_start[gene + 1]; ++k) g.y[p.cell[k]] = p.count[k];
    if (p.gene_offset)
        for (int i = 0; i < p.n_cells; ++i)
            g.offset[i] += p.gene_offset[i * p.gene_offset_cell_stride + gene * p.gene_offset_gene_stride];
    if (p.weights)
        for (int i = 0; i < p.n_cells; ++i)
            g.weight[i] = p.weights[i * p.weight_cell_stride + gene * p.weight_gene_stride];
    return g;
}

// 1 / c and k at log means.
struct ScaledChiSquare {
    Pack inverse_scale, df;
};

static inline ScaledChiSquare scaled_chi_square(const QuasiProblem& p, const double* pieces, Pack eta) {
    alignas(64) double place[pack_lanes], within[pack_lanes], coef[8][pack_lanes];
    store(place, (at_most(at_least(eta, p.low), p.low + p.step * p.n_pieces) - p.low) / p.step);
    for (int l = 0; l < pack_lanes; ++l) {
        int piece = static_cast<int>(place[l]);
        piece = piece < p.n_pieces ? piece : p.n_pieces - 1;
        within[l] = (place[l] - piece) * p.step;
        for (int j = 0; j < 8; ++j) coef[j][l] = pieces[8 * piece + j];
    }
    const Pack t = load(within);
    const auto cubic = [&](int at) {
        return ((load(coef[at + 3]) * t + load(coef[at + 2])) * t + load(coef[at + 1])) * t + load(coef[at]);
    };
    const Pack expectation = cubic(0), variance = cubic(4);
    return {2.0 * exp_pack(expectation - variance), 2.0 * exp_pack(2.0 * expectation - variance)};
}

static inline Pack unit_deviance(Pack y, Pack eta, Pack mu, double alpha) {
    const bool poisson = alpha < 1e-300;
    const double safe = poisson ? 1.0 : alpha;
    const Pack log_mean = log1p_pack(alpha * mu);
    if (!(largest(y) > 0)) {  // no cell of the pack has a count
        const Pack gap = poisson ? mu : log_mean / safe;
        return 2.0 * select(alpha * mu < all_but_poisson, mu, gap);
    }
    const Pack positive = at_least(y, 1e-300), ratio = y * (log_pack(positive) - eta);
    const Pack gap = (y + 1 / safe) * (log1p_pack(alpha * y) - log_mean);
    return at_least(2.0 * (ratio - select(alpha * larger(mu, y) < all_but_poisson, y - mu, gap)), 0.0);
}

// x' inverse x of some cells.
static inline Pack quadratic_form(const QuasiProblem& p, const double* inverse, int first) {
    Pack out{};
    for (int c = 0; c < p.n_columns; ++c) {
        const Pack own = load(p.x + static_cast<std::int64_t>(c) * p.n_padded + first);
        Pack row = inverse[c * p.n_columns + c] * own;
        for (int d = 0; d < c; ++d)
            row += 2 * inverse[c * p.n_columns + d] * load(p.x + static_cast<std::int64_t>(d) * p.n_padded + first);
        out += own * row;
    }
    return out;
}

static inline void quasi_one_gene(const QuasiProblem& p, int gene, double* scratch) {
    const QuasiGene g = read_quasi_gene(p, gene, scratch);
    const std::int64_t f = p.n_columns;
    const double *coef = p.coef + gene * f, *inverse = p.inverse + gene * f * f;
    const double* pieces = p.pieces + static_cast<std::int64_t>(gene) * p.n_pieces * 8;
    const double alpha = p.alpha[gene];
    Pack deviance{}, df{};
    for (int i = 0; i < p.n_padded; i += pack_lanes) {
        Pack eta = load(g.offset + i);
        for (int c = 0; c < p.n_columns; ++c)
            eta += coef[c] * load(p.x + static_cast<std::int64_t>(c) * p.n_padded + i);
        eta = at_most(at_least(eta, least_quasi_eta), most_quasi_eta);
        const Pack mu = exp_pack(eta), weight = load(g.weight + i);
        const ScaledChiSquare law = scaled_chi_square(p, pieces, eta);
        const Pack leverage = quadratic_form(p, inverse, i) * weight * mu / (1.0 + alpha * mu);
        const Pack free = 1.0 - at_most(at_least(leverage, 0.0), 1.0);
        deviance += weight * unit_deviance(load(g.y + i), eta, mu, alpha) * law.inverse_scale;
        df += select(weight > Pack{}, free * law.df, Pack{});
    }
    p.deviance[gene] = sum(deviance);
    p.df[gene] = sum(df);
}

}  // namespace isthmus::ISTHMUS_ISA
