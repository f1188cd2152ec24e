// A small problem for the tests: counts drawn from the model, two groups, one continuous column.
#pragma once

#include <atomic>
#include <cmath>
#include <random>
#include <vector>

#include "isthmus/count_layout.hpp"
#include "isthmus/parallel.hpp"

struct SmallProblem {
    std::int64_t n_cells;
    int n_genes;
    std::vector<double> x, z, offset, data;
    std::vector<std::int32_t> indptr, indices;

    isthmus::MatrixView mean() const { return {x.data(), n_cells, 3, 3, 1}; }
    isthmus::MatrixView dispersion(int columns) const { return {z.data(), n_cells, columns, 2, 1}; }
};

// Dispersion design: intercept and (in the second column) group or a continuous value.
inline SmallProblem small_problem(std::int64_t n_cells, int n_genes, double mean, double alpha,
                                  bool continuous_dispersion, unsigned seed) {
    std::mt19937_64 random(seed);
    std::normal_distribution<double> normal;
    SmallProblem p{n_cells, n_genes, {}, {}, {}, {}, {0}, {}};
    for (std::int64_t i = 0; i < n_cells; ++i) {
        const double group = static_cast<double>(i % 2), covariate = normal(random);
        p.x.insert(p.x.end(), {1.0, group, covariate});
        p.z.insert(p.z.end(), {1.0, continuous_dispersion ? covariate : group});
        p.offset.push_back(0.3 * normal(random));
        for (int g = 0; g < n_genes; ++g) {
            const double mu = mean * std::exp(0.5 * group + 0.2 * covariate + p.offset.back());
            std::gamma_distribution<double> rate(1 / alpha, mu * alpha);
            std::poisson_distribution<int> count(rate(random));
            const int y = count(random);
            if (y == 0) continue;
            p.indices.push_back(g);
            p.data.push_back(y);
        }
        p.indptr.push_back(static_cast<std::int32_t>(p.indices.size()));
    }
    return p;
}

struct Fitted {
    std::vector<double> mean_coef, dispersion_coef, log_likelihood, expected, neg_hessian, gradient, scalars;
    std::vector<std::int32_t> n_iter, code;
};

// With `use_nodes`, without the continuous column, as nodes need it.
inline Fitted fit(const SmallProblem& p, int dispersion_columns, int n_threads, const isthmus::Kernel& kernel,
                  int mean_columns = 3, bool use_nodes = false, bool use_bins = true) {
    isthmus::MatrixView mean = p.mean();
    mean.columns = mean_columns;
    const isthmus::CellLayout cells =
        isthmus::lay_out_cells(mean, p.dispersion(dispersion_columns), p.offset.data(), nullptr);
    const isthmus::CountLayout counts =
        isthmus::lay_out_counts(p.indptr.data(), p.indices.data(), p.data.data(), cells, 0, p.n_genes);
    isthmus::Problem problem = isthmus::make_problem(cells, counts, p.n_cells);
    const isthmus::NodeLayout nodes = use_nodes ? isthmus::lay_out_nodes(cells) : isthmus::NodeLayout();
    problem.nodes = nodes.view();
    const isthmus::BinLayout bins = use_bins ? isthmus::lay_out_bins(cells) : isthmus::BinLayout();
    problem.bins = bins.view();
    problem.max_iter = 100;
    problem.tol = 1e-8;
    const std::size_t g = static_cast<std::size_t>(p.n_genes), f = static_cast<std::size_t>(mean_columns),
                      q = static_cast<std::size_t>(dispersion_columns), w = f + q;
    Fitted out{std::vector<double>(g * f),     std::vector<double>(g * q),     std::vector<double>(g),
               std::vector<double>(g * f * f), std::vector<double>(g * w * w), std::vector<double>(g * w),
               std::vector<double>(5 * g),     std::vector<std::int32_t>(g),   std::vector<std::int32_t>(g)};
    double* s = out.scalars.data();
    const isthmus::Results results{out.mean_coef.data(),
                                   out.dispersion_coef.data(),
                                   out.log_likelihood.data(),
                                   out.expected.data(),
                                   out.neg_hessian.data(),
                                   s,
                                   out.gradient.data(),
                                   s + g,
                                   s + 2 * g,
                                   s + 3 * g,
                                   s + 4 * g,
                                   out.n_iter.data(),
                                   out.code.data()};
    std::atomic<int> finished{0};
    isthmus::fit_genes(kernel, problem, results, counts.most_nonzero, n_threads, finished, [] { return false; });
    return out;
}
