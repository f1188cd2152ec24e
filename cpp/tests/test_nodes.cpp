#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include "problem.hpp"

namespace {

// The same cells without their continuous column.
isthmus::CellLayout categorical(const SmallProblem& p) {
    return isthmus::lay_out_cells({p.x.data(), p.n_cells, 2, 3, 1}, p.dispersion(1), p.offset.data(), nullptr);
}

}  // namespace

TEST_CASE("nodes reproduce sums of polynomials and of smooth functions over cells") {
    const SmallProblem p = small_problem(3001, 1, 1.0, 0.5, false, 4);
    const isthmus::CellLayout cells = categorical(p);
    const isthmus::NodeLayout nodes = isthmus::lay_out_nodes(cells);
    REQUIRE(nodes.n >= isthmus::fewest_nodes);
    CHECK(nodes.error <= isthmus::node_tolerance);
    for (int s = 0; s < cells.n_strata(); ++s) {
        double over_cells = 0, over_nodes = 0, square = 0, node_square = 0;
        for (int i = cells.stratum_start[s]; i < cells.stratum_start[s + 1]; ++i) {
            over_cells += std::log1p(3 * cells.exposure[i]);
            square += cells.exposure[i] * cells.exposure[i];
        }
        for (int k = s * nodes.n; k < (s + 1) * nodes.n; ++k) {
            over_nodes += nodes.weight[k] * std::log1p(3 * nodes.exposure[k]);
            node_square += nodes.weight[k] * nodes.exposure[k] * nodes.exposure[k];
        }
        CHECK(over_nodes == doctest::Approx(over_cells).epsilon(1e-10));
        CHECK(node_square == doctest::Approx(square).epsilon(1e-9));
        CHECK(cells.stratum_square[s] == doctest::Approx(square).epsilon(1e-13));
    }
}

TEST_CASE("fits over nodes and over cells have the same optimum, in both builds and with one group's dispersion") {
    for (double mean : {0.05, 2.0, 300.0})
        for (int columns : {1, 2})
            for (const isthmus::Kernel& kernel : {isthmus::baseline_kernel(), isthmus::best_kernel()}) {
                const SmallProblem p = small_problem(1501, 6, mean, 0.5, false, 8);
                const Fitted nodes = fit(p, columns, 2, kernel, 2, true), cells = fit(p, columns, 1, kernel, 2, false);
                CHECK(nodes.code == cells.code);
                CHECK(nodes.neg_hessian != cells.neg_hessian);  // another way of summing
                for (std::size_t i = 0; i < cells.log_likelihood.size(); ++i)
                    CHECK(nodes.log_likelihood[i] == doctest::Approx(cells.log_likelihood[i]).epsilon(1e-10));
                for (std::size_t i = 0; i < cells.mean_coef.size(); ++i)
                    CHECK(nodes.mean_coef[i] == doctest::Approx(cells.mean_coef[i]).epsilon(1e-6));
            }
}

TEST_CASE("no nodes with continuous columns, few cells or exposures that span too much") {
    const SmallProblem p = small_problem(3000, 1, 1.0, 0.5, true, 5);
    const auto count = [](const isthmus::CellLayout& cells) { return isthmus::lay_out_nodes(cells).n; };
    CHECK(count(categorical(p)) > 0);
    CHECK(count(isthmus::lay_out_cells(p.mean(), p.dispersion(1), p.offset.data(), nullptr)) == 0);
    CHECK(count(isthmus::lay_out_cells({p.x.data(), p.n_cells, 2, 3, 1}, p.dispersion(2), p.offset.data(), nullptr)) ==
          0);
    CHECK(count(categorical(small_problem(90, 1, 1.0, 0.5, false, 5))) == 0);
    SmallProblem wide = p;
    wide.offset[0] = -9;
    wide.offset[1] = 9;
    wide.offset[2] = -9;
    CHECK(count(categorical(wide)) == 0);
}

TEST_CASE("the bound falls with more nodes and grows with the range") {
    CHECK(isthmus::node_error(1.5, 1.0, 24) < isthmus::node_error(1.5, 1.0, 16));
    CHECK(isthmus::node_error(1.5, 1.0, 24) < isthmus::node_error(2.5, 1.0, 24));
    CHECK(isthmus::node_error(0.0, 1.0, 16) == 0);
}
