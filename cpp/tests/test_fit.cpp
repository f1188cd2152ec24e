#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#define ISTHMUS_ISA testing
#include <doctest/doctest.h>

#include "isthmus/fit_gene.hpp"
#include "problem.hpp"

using namespace isthmus::testing;

namespace {

// One gene of a problem, with its memory.
struct OneGene {
    isthmus::CellLayout cells;
    isthmus::CountLayout counts;
    isthmus::Problem problem;
    std::vector<char> scratch;
    Gene gene;
    Workspace work;

    explicit OneGene(const SmallProblem& p, int dispersion_columns)
        : cells(isthmus::lay_out_cells(p.mean(), p.dispersion(dispersion_columns), p.offset.data(), nullptr)),
          counts(isthmus::lay_out_counts(p.indptr.data(), p.indices.data(), p.data.data(), cells, 0, p.n_genes)),
          problem(isthmus::make_problem(cells, counts, p.n_cells)),
          scratch(static_cast<std::size_t>(bytes_for_gene(problem, counts.most_nonzero)) + 128) {
        const auto at = reinterpret_cast<std::uintptr_t>(scratch.data());
        Arena arena{scratch.data() + (64 - at % 64) % 64};
        prepare(problem, 0, gene, arena);
        work = make_workspace(problem, arena);
    }
};

struct Evaluated {
    double value;
    std::vector<double> gradient, curvature;
};

Evaluated at(OneGene& g, const std::vector<double>& theta, bool poisson) {
    const std::size_t width = theta.size();
    Evaluated out{0, std::vector<double>(width), std::vector<double>(width * width)};
    Derivatives d{0, 0, out.gradient.data(), out.curvature.data()};
    evaluate(g.problem, g.gene, g.work, theta.data(), poisson, d);
    out.value = d.value;
    return out;
}

void check_derivatives(bool continuous_dispersion, double mean, double alpha, bool poisson) {
    const SmallProblem p = small_problem(700, 1, mean, alpha, continuous_dispersion, 3);
    OneGene gene(p, 2);
    const std::vector<double> theta{std::log(mean), 0.4, 0.1, std::log(alpha), 0.3};
    const Evaluated here = at(gene, theta, poisson);
    const std::size_t width = poisson ? 3 : 5;
    for (std::size_t i = 0; i < width; ++i) {
        const double h = 1e-5;
        std::vector<double> up = theta, down = theta;
        up[i] += h;
        down[i] -= h;
        const Evaluated above = at(gene, up, poisson), below = at(gene, down, poisson);
        CHECK(here.gradient[i] == doctest::Approx((above.value - below.value) / (2 * h)).epsilon(1e-5).scale(10));
        for (std::size_t j = 0; j < width; ++j) {
            const double slope = -(above.gradient[j] - below.gradient[j]) / (2 * h);
            CHECK(here.curvature[i * 5 + j] == doctest::Approx(slope).epsilon(1e-6).scale(1));
        }
    }
}

}  // namespace

TEST_CASE("gradient and curvature are those of the value") {
    check_derivatives(false, 2.0, 0.5, false);
    check_derivatives(true, 2.0, 0.5, false);
    check_derivatives(false, 300.0, 0.05, false);
    check_derivatives(true, 300.0, 2.0, false);
    check_derivatives(false, 0.5, 1e-5, false);
    check_derivatives(false, 2.0, 0.5, true);
}

TEST_CASE("the fast value and the exact one agree") {
    for (bool continuous : {false, true})
        for (double mean : {0.1, 5.0, 2000.0}) {
            const SmallProblem p = small_problem(500, 1, mean, 0.4, continuous, 5);
            OneGene gene(p, 2);
            const std::vector<double> theta{std::log(mean), 0.4, 0.1, -1.0, 0.3};
            const double fast = at(gene, theta, false).value + gene.gene.constant;
            CHECK(exact_log_likelihood(gene.problem, gene.gene, gene.work, theta.data(), false) ==
                  doctest::Approx(fast).epsilon(1e-9));
        }
}

TEST_CASE("results do not depend on the number of threads") {
    const SmallProblem p = small_problem(400, 25, 1.5, 0.5, false, 7);
    const Fitted one = fit(p, 2, 1, isthmus::best_kernel()), three = fit(p, 2, 3, isthmus::best_kernel());
    CHECK(one.mean_coef == three.mean_coef);
    CHECK(one.dispersion_coef == three.dispersion_coef);
    CHECK(one.log_likelihood == three.log_likelihood);
    CHECK(one.neg_hessian == three.neg_hessian);
    CHECK(one.code == three.code);
}

TEST_CASE("the instruction sets agree") {
    std::vector<isthmus::Kernel> others{isthmus::best_kernel()};
#ifdef ISTHMUS_HAVE_AVX2
    if (isthmus::runs_avx2()) others.push_back(isthmus::avx2_kernel());
#endif
    for (bool continuous : {false, true})
        for (const isthmus::Kernel& other : others) {
            const SmallProblem p = small_problem(400, 20, 3.0, 0.5, continuous, 11);
            const Fitted a = fit(p, 2, 1, isthmus::baseline_kernel()), b = fit(p, 2, 1, other);
            for (std::size_t i = 0; i < a.mean_coef.size(); ++i)
                CHECK(a.mean_coef[i] == doctest::Approx(b.mean_coef[i]).epsilon(1e-9));
            for (std::size_t i = 0; i < a.log_likelihood.size(); ++i)
                CHECK(a.log_likelihood[i] == doctest::Approx(b.log_likelihood[i]).epsilon(1e-12));
        }
}

TEST_CASE("a start over bins leads to the optimum over cells") {
    for (double mean : {0.02, 1.0, 50.0}) {
        const SmallProblem p = small_problem(4000, 8, mean, 0.5, false, 17);
        const Fitted with = fit(p, 1, 1, isthmus::best_kernel(), 3, false, true),
                     without = fit(p, 1, 1, isthmus::best_kernel(), 3, false, false);
        CHECK(with.code == without.code);
        CHECK(with.neg_hessian != without.neg_hessian);  // another way there
        for (std::size_t g = 0; g < without.log_likelihood.size(); ++g)
            CHECK(std::fabs(with.log_likelihood[g] - without.log_likelihood[g]) < 1e-7);
        for (std::size_t i = 0; i < without.mean_coef.size(); ++i)
            CHECK(std::fabs(with.mean_coef[i] - without.mean_coef[i]) < 1e-6);
    }
}

TEST_CASE("the estimates come back") {
    const SmallProblem p = small_problem(20000, 3, 3.0, 0.5, false, 13);
    const Fitted f = fit(p, 2, 2, isthmus::best_kernel());
    for (std::size_t g = 0; g < 3; ++g) {
        CHECK(f.code[g] == 0);
        CHECK(f.mean_coef[3 * g] == doctest::Approx(std::log(3.0)).epsilon(0.03));
        CHECK(f.mean_coef[3 * g + 1] == doctest::Approx(0.5).epsilon(0.1));
        CHECK(f.dispersion_coef[2 * g] == doctest::Approx(std::log(0.5)).epsilon(0.15));
        CHECK(std::fabs(f.dispersion_coef[2 * g + 1]) < 0.15);
    }
}
