#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#define ISTHMUS_ISA testing
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "isthmus/factors/layout.hpp"
#include "isthmus/factors/series.hpp"
#include "isthmus/factors/transition.hpp"

using namespace isthmus::testing;

namespace {

constexpr double missing = std::numeric_limits<double>::quiet_NaN();
constexpr int n_time = 12, n_series = 3;

// One AR(1) factor, three series; values are what they are, only the algebra is tested.
struct Model {
    std::vector<double> y, loadings{0.9, -0.5, 0.7}, a{0.6}, q{0.8}, phi, variance{0.5, 0.3, 0.9};
    std::vector<unsigned char> loads{1, 1, 1}, quarterly{0, 0, 0};
    bool ar1;

    Model(bool ar1_terms, std::vector<std::pair<int, int>> holes) : y(n_time * n_series), ar1(ar1_terms) {
        phi = ar1 ? std::vector<double>{0.4, -0.3, 0.7} : std::vector<double>{0, 0, 0};
        std::mt19937_64 random(3);
        std::normal_distribution<double> draw;
        for (double& value : y) value = draw(random);
        for (const auto& [t, i] : holes) y[t * n_series + i] = missing;
    }

    isthmus::PanelInput input() const {
        return {n_time, n_series, 1, 1, 0, ar1, false, y.data(), loads.data(), quarterly.data(), {0, 1}, {0}, {1}};
    }
    isthmus::FactorParams params() const {
        return {loadings.data(), a.data(), q.data(), phi.data(), variance.data(), nullptr, nullptr};
    }
};

// log N(y; 0, S) with S written down entry by entry: lambda lambda' q a^|t-s| / (1 - a^2) and the same for e.
double brute_force(const Model& model) {
    std::vector<int> seen;
    for (int k = 0; k < n_time * n_series; ++k)
        if (!std::isnan(model.y[k])) seen.push_back(k);
    const int n = static_cast<int>(seen.size());
    std::vector<double> s(n * n), x(n);
    for (int i = 0; i < n; ++i) {
        x[i] = model.y[seen[i]];
        for (int j = 0; j < n; ++j) {
            const int u = seen[i] % n_series, v = seen[j] % n_series;
            const int lag = std::abs(seen[i] / n_series - seen[j] / n_series);
            double value = model.loadings[u] * model.loadings[v] * model.q[0] * std::pow(model.a[0], lag) /
                           (1 - model.a[0] * model.a[0]);
            if (u == v) value += model.variance[u] * std::pow(model.phi[u], lag) / (1 - model.phi[u] * model.phi[u]);
            s[i * n + j] = value;
        }
    }
    REQUIRE(factorise(s.data(), n));
    solve_lower(s.data(), n, x.data(), 1);
    double sum = n * log_two_pi;
    for (int i = 0; i < n; ++i) sum += 2 * std::log(s[i * n + i]) + x[i] * x[i];
    return -0.5 * sum;
}

struct Scratch {
    std::vector<double> doubles;
    std::vector<int> ints;
    Workspace w;

    explicit Scratch(const isthmus::FactorPanel& panel) {
        const Sizes sizes = w.lay_out(panel, nullptr, nullptr, false);
        doubles.resize(sizes.doubles), ints.resize(sizes.ints);
        w.lay_out(panel, doubles.data(), ints.data(), false);
    }
};

const std::vector<std::pair<int, int>> none{}, short_gaps{{0, 1}, {3, 0}, {4, 0}, {7, 2}, {11, 1}},
    long_gap{{1, 2}, {2, 2}, {3, 2}, {4, 2}, {5, 2}, {6, 2}, {7, 2}, {8, 2}, {9, 2}};

}  // namespace

TEST_CASE("the filter's likelihood is that of the panel's joint normal distribution") {
    for (const bool ar1 : {false, true})
        for (const auto& holes : {none, short_gaps, long_gap}) {
            const Model model(ar1, holes);
            const isthmus::PanelLayout layout(model.input());
            Scratch scratch(layout.view());
            double value = 0;
            REQUIRE(run_filter(layout.view(), model.params(), scratch.w, &value));
            CHECK(value == doctest::Approx(brute_force(model)).epsilon(1e-12));
        }
}

TEST_CASE("an ECM step raises the likelihood") {
    for (const bool ar1 : {false, true})
        for (const auto& holes : {none, short_gaps, long_gap}) {
            Model model(ar1, holes);
            const isthmus::PanelLayout layout(model.input());
            const isthmus::FactorPanel panel = layout.view();
            Scratch scratch(panel);
            double last = -1e300;
            for (int step = 0; step < 10; ++step) {
                double value = 0;
                REQUIRE(run_filter(panel, model.params(), scratch.w, &value));
                CHECK(value >= last);
                last = value;
                run_smoother(panel, model.params(), scratch.w);
                all_moments(panel, scratch.w);
                Model next = model;
                const isthmus::FactorUpdate out{next.loadings.data(), next.a.data(), next.q.data(), next.phi.data(),
                                                next.variance.data(), nullptr,       nullptr};
                for (int i = 0; i < n_series; ++i) maximise_series(panel, model.params(), scratch.w, i, out);
                maximise_transition(panel, model.params(), scratch.w, out);
                model = next;
            }
        }
}

TEST_CASE("a gap longer than the state is worth gets states of its own") {
    const Model model(true, long_gap);
    const isthmus::PanelLayout layout(model.input());
    CHECK(layout.view().kind[2] == isthmus::chain_series);
    CHECK(layout.view().n_states == 2 + 2);
    CHECK(isthmus::PanelLayout(Model(true, short_gaps).input()).view().n_states <= 4);
}

TEST_CASE("doubling solves the Lyapunov equation and refuses what is not stable") {
    const double stable[4] = {0.5, 0.2, -0.1, 0.9}, q[4] = {1, 0.3, 0.3, 2}, unstable[4] = {1.01, 0, 0, 0.5};
    double p[4], work[16], left[4], right[4], t[4];
    REQUIRE(lyapunov(stable, q, 2, false, p, work));
    multiply(left, stable, p, 2, 2, 2);
    copy(t, stable, 4);
    transpose_square(t, 2);
    multiply(right, left, t, 2, 2, 2);
    for (int i = 0; i < 4; ++i) CHECK(p[i] == doctest::Approx(right[i] + q[i]).epsilon(1e-12));
    CHECK_FALSE(lyapunov(unstable, q, 2, false, p, work));
}

TEST_CASE("the root of a semi-definite matrix reproduces it") {
    const double a[9] = {1, 2, 3, 2, 4, 6, 3, 6, 10};
    double root[9], back[9];
    semidefinite_root(a, 3, root);
    for (int i = 0; i < 3; ++i)
        for (int j = 0; j < 3; ++j) back[i * 3 + j] = dot(root + i * 3, root + j * 3, 3);
    for (int i = 0; i < 9; ++i) CHECK(back[i] == doctest::Approx(a[i]));
}
