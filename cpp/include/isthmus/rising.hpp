// The part of the negative-binomial likelihood that couples a count with its dispersion:
//
//     S0(y, a) = sum_{j < y} log(1 + j a)        = log Gamma(y + 1/a) - log Gamma(1/a) + y log a
//     S1(y, a) = dS0 / d log a = sum j a / (1 + j a)
//     S2(y, a) = dS1 / d log a = sum j a / (1 + j a)^2
//
// No Gamma function is evaluated at 1/a, so nothing cancels as a goes to 0. The first terms are summed; what remains
// above `first_stirling` is a difference of two Stirling series at arguments of at least 32, good to 1e-16.
#pragma once

#include "vector_math.hpp"

namespace isthmus::ISTHMUS_ISA {

constexpr int first_stirling = 32;

struct Rising {
    double s0, s1, s2;
};

// Stirling remainders of log Gamma, digamma and trigamma (Abramowitz & Stegun 6.1.41, 6.3.18, 6.4.12), for x >= 32.
ISTHMUS_INLINE Pack gamma_tail(Pack i) {  // i = 1 / x
    const Pack z = i * i;
    return i * (1.0 / 12 - z * (1.0 / 360 - z * (1.0 / 1260 - z * (1.0 / 1680))));
}
ISTHMUS_INLINE Pack digamma_tail(Pack i) {  // digamma(x) - log x
    const Pack z = i * i;
    return -0.5 * i - z * (1.0 / 12 - z * (1.0 / 120 - z * (1.0 / 252 - z * (1.0 / 240))));
}
ISTHMUS_INLINE Pack trigamma_tail(Pack i) {  // trigamma(x) - 1 / x
    const Pack z = i * i;
    return z * (0.5 + i * (1.0 / 6 - z * (1.0 / 30 - z * (1.0 / 42 - z * (1.0 / 30)))));
}

// log(y!) for any y >= 0: a product lifts the argument to at least 10, where seven terms of Stirling's series are exact
// to 1e-16.
ISTHMUS_INLINE Pack log_factorial(Pack y) {
    constexpr int enough = 10;
    Pack x = y + 1.0, lifted = all(1.0);
    for (int k = 0; k < enough - 1; ++k) {
        const Mask low = x < enough;
        lifted = select(low, lifted * x, lifted);
        x = select(low, x + 1.0, x);
    }
    const Pack i = 1.0 / x, z = i * i;
    const Pack tail =
        i * (1.0 / 12 -
             z * (1.0 / 360 -
                  z * (1.0 / 1260 - z * (1.0 / 1680 - z * (1.0 / 1188 - z * (691.0 / 360360 - z * (1.0 / 156)))))));
    return (x - 0.5) * log_pack(x) - x + 0.91893853320467274178 + tail - log_pack(lifted);
}

struct RisingPack {
    Pack s0, s1, s2;
};

// Terms j = from, ..., y - 1 for from >= 32 (or any real from with from + 1/a >= 32) and any real y >= from.
ISTHMUS_INLINE RisingPack stirling_terms(Pack y, double from, Pack a) {
    const Pack r = 1.0 / a;
    const Pack x1 = r + from, x2 = r + y, span = y - from;
    const Pack i1 = 1.0 / x1, i2 = 1.0 / x2;
    const Pack g1 = gamma_tail(i1), g2 = gamma_tail(i2);
    const Pack s0 = (x2 - 0.5) * log1p_pack(a * y) - (x1 - 0.5) * log1p_pack(a * from) - span + (g2 - g1);
    const Pack digamma_span = r * (log1p_pack(span * i1) + (digamma_tail(i2) - digamma_tail(i1)));
    const Pack trigamma_span = r * r * (span * i1 * i2 + (trigamma_tail(i1) - trigamma_tail(i2)));
    return {s0, span - digamma_span, digamma_span - trigamma_span};
}

// One entry, any real y > 0, any a > 0. Whole counts up to 32 are summed term by term.
static inline Rising rising_entry(double y, double a) {
    const int whole = static_cast<int>(smaller(y, first_stirling));
    Rising out{0, 0, 0};
    if (y <= first_stirling && y == whole) {
        double product = 1;
        for (int j = 1; j < whole; ++j) {
            const double ja = j * a, inverse = 1 / (1 + ja);
            if (ja < 1e-4) {  // a product of factors 1 + ja would round small terms away
                out.s0 += log1p1(ja);
            } else {
                product *= 1 + ja;
                if (product > 1e250) {
                    out.s0 += log1(product);
                    product = 1;
                }
            }
            out.s1 += ja * inverse;
            out.s2 += ja * inverse * inverse;
        }
        out.s0 += log1(product);
        return out;
    }
    if (y >= first_stirling) {
        out = rising_entry(first_stirling, a);
        const RisingPack rest = stirling_terms(all(y), first_stirling, all(a));
        return {out.s0 + rest.s0.lo[0], out.s1 + rest.s1.lo[0], out.s2 + rest.s2.lo[0]};
    }
    // A fractional count below 32. S(y) = S(y + 32) minus the terms at y, y + 1, ..., y + 31.
    out = rising_entry(y + first_stirling, a);
    for (int j = 0; j < first_stirling; ++j) {
        const double ja = (y + j) * a, inverse = 1 / (1 + ja);
        out.s0 -= log1p1(ja);
        out.s1 -= ja * inverse;
        out.s2 -= ja * inverse * inverse;
    }
    return out;
}

// Counts that share one dispersion, summarised once per gene: `tail[j]` = number of counts above j, for j < n_tail, and
// the counts above n_tail themselves. Costs max(count) once instead of a Gamma function per cell and pass.
struct CountTail {
    double* tail;  // (n_tail, padded with zeros to a multiple of lane_count)
    int n_tail;
    double* large;  // (n_large, padded with the value n_tail, whose remaining terms are zero)
    int n_large;
    double* fractional;  // (n_fractional) counts that are not whole
    int n_fractional;
};

static inline Rising rising_tail(const CountTail& c, double a) {
    Pack s0{}, s1{}, s2{};
    alignas(64) const double first[lane_count] = {0, 1, 2, 3, 4, 5, 6, 7};
    Pack j = load(first);
    for (int i = 0; i < c.n_tail; i += pack_lanes) {
        const Pack weight = load(c.tail + i);
        const Pack ja = j * a, inverse = 1.0 / (1.0 + ja), share = ja * inverse;
        s0 += weight * log1p_pack(ja);
        s1 += weight * share;
        s2 += weight * share * inverse;
        j += all(pack_lanes);
    }
    for (int i = 0; i < c.n_large; i += pack_lanes) {
        const RisingPack rest = stirling_terms(load(c.large + i), c.n_tail, all(a));
        s0 += rest.s0;
        s1 += rest.s1;
        s2 += rest.s2;
    }
    Rising out{sum(s0), sum(s1), sum(s2)};
    for (int i = 0; i < c.n_fractional; ++i) {
        const Rising one = rising_entry(c.fractional[i], a);
        out.s0 += one.s0;
        out.s1 += one.s1;
        out.s2 += one.s2;
    }
    return out;
}

}  // namespace isthmus::ISTHMUS_ISA
