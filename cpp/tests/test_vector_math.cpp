#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#define ISTHMUS_ISA testing
#include <doctest/doctest.h>

#include <cmath>
#include <random>

#include "isthmus/cholesky.hpp"
#include "isthmus/vector_math.hpp"

using namespace isthmus::testing;

namespace {

// Largest relative error of `ours` against `theirs` over points drawn from [low, high], as multiples of 2^-53.
template <class Ours, class Theirs>
double worst_ulp(double low, double high, Ours ours, Theirs theirs) {
    std::mt19937_64 random(1);
    std::uniform_real_distribution<double> draw(low, high);
    double worst = 0;
    for (int i = 0; i < 100000; ++i) {
        const double x = draw(random);
        worst = std::max(worst, std::fabs(ours(x) / theirs(x) - 1) * 9007199254740992.0);
    }
    return worst;
}

}  // namespace

TEST_CASE("exp, log and log1p are exact to a few units in the last place") {
    CHECK(worst_ulp(-700, 700, exp1, [](double x) { return std::exp(x); }) < 6);
    CHECK(worst_ulp(-1e-3, 1e-3, exp1, [](double x) { return std::exp(x); }) < 4);
    CHECK(worst_ulp(1e-300, 1e300, log1, [](double x) { return std::log(x); }) < 4);
    CHECK(worst_ulp(0.5, 0.99, log1, [](double x) { return std::log(x); }) < 6);
    CHECK(worst_ulp(1.01, 2, log1, [](double x) { return std::log(x); }) < 6);
    CHECK(worst_ulp(1e-12, 1e-8, log1p1, [](double x) { return std::log1p(x); }) < 6);
    CHECK(worst_ulp(1e-4, 10, log1p1, [](double x) { return std::log1p(x); }) < 6);
}

TEST_CASE("exp underflows to a tiny number, never to NaN") {
    CHECK(exp1(-1e6) < 1e-300);
    CHECK(exp1(-1e6) >= 0);
    CHECK(exp1(0) == 1);
}

TEST_CASE("sums and extremes see every lane") {
    double x[isthmus::lane_count];
    for (int i = 0; i < pack_lanes; ++i) x[i] = i + 1;
    CHECK(sum(load(x)) == pack_lanes * (pack_lanes + 1) / 2);
    CHECK(largest(load(x)) == pack_lanes);
    CHECK(smallest(load(x)) == 1);
}

TEST_CASE("a Cholesky factor solves the system, and an indefinite matrix is refused") {
    double a[9] = {4, 0, 0, 2, 5, 0, 1, 3, 6};
    double b[3] = {4 + 4 + 3, 2 + 10 + 9, 1 + 6 + 18};  // a (symmetric) times (1, 2, 3)
    REQUIRE(cholesky(a, 3));
    cholesky_solve(a, 3, b);
    for (int i = 0; i < 3; ++i) CHECK(b[i] == doctest::Approx(i + 1).epsilon(1e-14));
    double indefinite[4] = {1, 0, 2, 1};
    CHECK_FALSE(cholesky(indefinite, 2));
}

TEST_CASE("a ridge makes the direction of an indefinite curvature usable") {
    const double a[4] = {1, 2, 2, 1};
    double work[4], b[2] = {1, 1};
    REQUIRE(ridge_solve(a, 2, 1e-12, work, b));
    CHECK(b[0] > 0);
    CHECK(b[1] > 0);
}
