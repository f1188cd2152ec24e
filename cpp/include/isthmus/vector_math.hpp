// Several doubles at a time: exp and log. Compiled once per instruction set; everything is static, so that no build can
// end up with another build's copy.
#pragma once

#include "pack.hpp"

namespace isthmus::ISTHMUS_ISA {

constexpr double ln2_high = 6.93147180369123816490e-01;  // 33 bits: k * ln2_high is exact
constexpr double ln2_low = 1.90821492927058770002e-10;

// exp(x) for x >= -708: x = k ln 2 + r, |r| <= 0.347, then k into the exponent. The polynomial interpolates exp at the
// Chebyshev points of that interval, relative error 2e-17; Taylor's series would need two terms more.
ISTHMUS_INLINE Native exp_native(Native x) {
    constexpr double shift = 6755399441055744.0;  // 1.5 * 2^52: adding it rounds to an integer in the low bits
    const Native rounded = x * 1.4426950408889634074 + shift;
    const Native k = rounded - shift;
    const Native r = (x - k * ln2_high) - k * ln2_low;
    Native p = Native{} + 2.5110049204818658e-08;
    p = p * r + 2.763265472252779e-07;
    p = p * r + 2.755724088722987e-06;
    p = p * r + 2.4801485441561313e-05;
    p = p * r + 0.00019841269890076403;
    p = p * r + 0.0013888888952352863;
    p = p * r + 0.008333333333319589;
    p = p * r + 0.04166666666648795;
    p = p * r + 0.1666666666666668;
    p = p * r + 0.5000000000000019;
    p = p * r + 1.0;
    p = p * r + 1.0;
    const NativeBits exponent = ((NativeBits)rounded + 1023LL) << 52;
    return p * (Native)exponent;
}
ISTHMUS_INLINE Pack exp_pack(Pack x) {
    x = at_least(x, -708.0);
    return each<exp_native>(x);
}

// log(x) for positive normal x: x = 2^e m with m in [sqrt(1/2), sqrt(2)), log m = 2 atanh(s), s = (m - 1) / (m + 1).
// (2 atanh(s) - 2 s) / s^3 is a polynomial in s^2, interpolated as above: relative error 5e-18.
ISTHMUS_INLINE Native log_native(Native x) {
    const NativeBits bits = (NativeBits)x;
    const NativeBits mantissa = (bits & 0x000fffffffffffffLL) | 0x3ff0000000000000LL;
    // The biased exponent as a double without an integer conversion (which AVX2 lacks): place it in the bits of 2^52 +
    // e. The mask undoes the sign extension of the arithmetic shift; x is positive, so it never matters otherwise.
    const Native biased = (Native)(((bits >> 52) & 0x7ffLL) | 0x4330000000000000LL) - 4503599627370496.0;
    Native m = (Native)mantissa;
    Native e = biased - 1023.0;
    const NativeBits large = m > 1.4142135623730951;
    m = large ? m * 0.5 : m;
    e = large ? e + 1.0 : e;
    const Native s = (m - 1.0) / (m + 1.0);
    const Native z = s * s;
    Native p = Native{} + 0.14616585424888623;
    p = p * z + 0.15331710618210773;
    p = p * z + 0.18182889455674947;
    p = p * z + 0.22222211130259878;
    p = p * z + 0.2857142862600327;
    p = p * z + 0.39999999999899444;
    p = p * z + 0.666666666666667;
    return e * ln2_high + (2.0 * s + (s * z * p + e * ln2_low));
}
ISTHMUS_INLINE Pack log_pack(Pack x) { return each<log_native>(x); }

// log(1 + t) to full relative accuracy for t >= 0: what rounding 1 + t lost is given back, to first order.
ISTHMUS_INLINE Pack log1p_pack(Pack t) {
    const Pack u = 1.0 + t;
    return log_pack(u) + (t - (u - 1.0)) / u;
}

ISTHMUS_INLINE double exp1(double x) { return exp_pack(all(x)).lo[0]; }
ISTHMUS_INLINE double log1(double x) { return log_pack(all(x)).lo[0]; }
ISTHMUS_INLINE double log1p1(double t) { return log1p_pack(all(t)).lo[0]; }
ISTHMUS_INLINE double absolute(double x) { return x < 0 ? -x : x; }
ISTHMUS_INLINE double larger(double a, double b) { return a > b ? a : b; }
ISTHMUS_INLINE double smaller(double a, double b) { return a < b ? a : b; }

}  // namespace isthmus::ISTHMUS_ISA
