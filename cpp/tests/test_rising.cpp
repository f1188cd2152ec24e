#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#define ISTHMUS_ISA testing
#include <doctest/doctest.h>

#include <cmath>
#include <initializer_list>

#include "isthmus/rising.hpp"

using namespace isthmus::testing;

namespace {

// The definition, term by term in long double.
Rising by_terms(int y, double a) {
    long double s0 = 0, s1 = 0, s2 = 0;
    for (int j = 1; j < y; ++j) {
        const long double ja = static_cast<long double>(j) * a, share = ja / (1 + ja);
        s0 += std::log1p(ja);
        s1 += share;
        s2 += share / (1 + ja);
    }
    return {static_cast<double>(s0), static_cast<double>(s1), static_cast<double>(s2)};
}

// Stirling's differences are exact relative to the count, not to a sum that has become tiny.
void check_close(const Rising& got, const Rising& want, double count) {
    const double absolute_error = 4e-16 * count;
    CHECK(std::fabs(got.s0 - want.s0) <= 1e-12 * want.s0 + 2 * absolute_error);
    CHECK(std::fabs(got.s1 - want.s1) <= 1e-11 * want.s1 + 4 * absolute_error);
    CHECK(std::fabs(got.s2 - want.s2) <= 1e-10 * want.s2 + 8 * absolute_error);
}

}  // namespace

TEST_CASE("whole counts agree with the sums that define them") {
    for (double a : {1e-12, 1e-6, 1e-3, 0.1, 1.0, 50.0, 1e6})
        for (int y : {1, 2, 3, 31, 32, 33, 100, 5000}) check_close(rising_entry(y, a), by_terms(y, a), y);
}

TEST_CASE("fractional counts agree with Gamma functions and lie between whole ones") {
    for (double y : {0.5, 1.5, 7.25, 40.75}) {
        const double a = 0.7, r = 1 / a;
        const double want = std::lgamma(y + r) - std::lgamma(r) + y * std::log(a);
        CHECK(rising_entry(y, a).s0 == doctest::Approx(want).epsilon(1e-12));
        const double h = 1e-5;
        const double slope = (rising_entry(y, a * std::exp(h)).s0 - rising_entry(y, a * std::exp(-h)).s0) / (2 * h);
        CHECK(rising_entry(y, a).s1 == doctest::Approx(slope).epsilon(1e-8));
    }
}

TEST_CASE("the Poisson limit is reached without cancellation") {
    const double a = 1e-15;
    const Rising one = rising_entry(1000, a);
    CHECK(one.s0 == doctest::Approx(a * 1000 * 999 / 2).epsilon(1e-3));
}

TEST_CASE("tails of counts give the sum over the counts") {
    // Counts 1, 2, 2, 40, 7.5 with terms up to 32 in the tail.
    alignas(64) double tail[32] = {};
    const int whole[] = {1, 2, 2};
    for (int y : whole)
        for (int j = 0; j < y; ++j) tail[j] += 1;
    for (int j = 0; j < 32; ++j) tail[j] += 1;  // the first 32 terms of 40
    alignas(64) double large[8] = {40, 32, 32, 32, 32, 32, 32, 32};
    double fractional[1] = {7.5};
    const CountTail c{tail, 32, large, 1, fractional, 1};
    for (double a : {1e-8, 0.3, 20.0}) {
        Rising want{0, 0, 0};
        for (double y : {1.0, 2.0, 2.0, 40.0, 7.5}) {
            const Rising one = rising_entry(y, a);
            want.s0 += one.s0;
            want.s1 += one.s1;
            want.s2 += one.s2;
        }
        check_close(rising_tail(c, a), want, 52.5);
    }
}

TEST_CASE("log factorials") {
    for (double y : {0.0, 1.0, 2.0, 9.0, 10.0, 170.0, 1e6, 3.5})
        CHECK(log_factorial(all(y)).lo[0] == doctest::Approx(std::lgamma(y + 1)).epsilon(1e-14).scale(1));
}
