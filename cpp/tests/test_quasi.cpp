#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "isthmus/aligned.hpp"
#include "isthmus/kernel.hpp"
#include "isthmus/problem.hpp"

TEST_CASE("sums of unit deviances and of leverages are those of their formulas") {
    // Three cells, padded; log E = 0 and log V = log 2 everywhere: a chi-square with one degree of freedom.
    const int n = 3, n_padded = isthmus::lane_count;
    std::vector<double> x(2 * n_padded, 0.0), offset(n_padded, isthmus::min_eta), live(n_padded, 0.0);
    for (int i = 0; i < n; ++i) {
        x[i] = 1;
        x[n_padded + i] = 0.5 * i;
        offset[i] = 0.1 * i;
        live[i] = 1;
    }
    std::vector<double> pieces;
    for (int k = 0; k < 2 * 4; ++k) pieces.insert(pieces.end(), {0, 0, 0, 0, std::log(2.0), 0, 0, 0});
    const std::vector<std::int64_t> start{0, 2, 2};
    const std::vector<std::int32_t> cell{0, 2};
    const std::vector<double> count{4, 1}, coef{0.3, -0.2, -1.0, 0.4}, alpha{0.5, 0.0},
        inverse{0.02, -0.01, -0.01, 0.03, 0.2, 0.0, 0.0, 0.1};
    std::vector<double> deviance(2), df(2);
    isthmus::QuasiProblem p{};
    p.n_padded = n_padded;
    p.n_columns = 2;
    p.x = x.data();
    p.offset = offset.data();
    p.live = live.data();
    p.low = -5;
    p.step = 2.5;
    p.n_pieces = 4;
    p.pieces = pieces.data();
    p.n_genes = 2;
    p.gene_start = start.data();
    p.cell = cell.data();
    p.count = count.data();
    p.coef = coef.data();
    p.alpha = alpha.data();
    p.inverse = inverse.data();
    p.n_cells = n;
    p.deviance = deviance.data();
    p.df = df.data();
    for (const isthmus::Kernel& kernel : {isthmus::baseline_kernel(), isthmus::best_kernel()}) {
        isthmus::Aligned<double> scratch(static_cast<std::size_t>(kernel.quasi_bytes(p)) / sizeof(double));
        for (int gene = 0; gene < 2; ++gene) {
            kernel.quasi_gene(p, gene, scratch.data());
            double expected = 0, free = 0;
            for (int i = 0; i < n; ++i) {
                const double y = gene == 0 ? (i == 0 ? 4 : i == 2 ? 1 : 0) : 0, a = alpha[gene], u = 0.5 * i;
                const double mu = std::exp(coef[2 * gene] + coef[2 * gene + 1] * u + offset[i]);
                const double gap = a > 0 ? (y + 1 / a) * std::log((1 + a * y) / (1 + a * mu)) : y - mu;
                expected += 2 * ((y > 0 ? y * std::log(y / mu) : 0) - gap);
                const double* v = inverse.data() + 4 * gene;
                free += 1 - (v[0] + 2 * v[1] * u + v[3] * u * u) * mu / (1 + a * mu);
            }
            CHECK(deviance[gene] == doctest::Approx(expected).epsilon(1e-12));
            CHECK(df[gene] == doctest::Approx(free).epsilon(1e-12));
        }
    }
}
