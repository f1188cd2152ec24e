// Registers of doubles, and packs of them: what loops over cells are written in.
#pragma once

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#include "problem.hpp"

namespace isthmus::ISTHMUS_ISA {

#if defined(__AVX512F__)
constexpr int native_lanes = 8;
#elif defined(__AVX2__)
constexpr int native_lanes = 4;
#else
constexpr int native_lanes = 2;
#endif
typedef double Native __attribute__((vector_size(8 * native_lanes), aligned(8), may_alias));
typedef long long NativeBits __attribute__((vector_size(8 * native_lanes), aligned(8), may_alias));
typedef unsigned long long NativeWords __attribute__((vector_size(8 * native_lanes), aligned(8), may_alias));

#define ISTHMUS_INLINE static inline __attribute__((always_inline))
#define ISTHMUS_INLINE_MEMBER inline __attribute__((always_inline))

ISTHMUS_INLINE Native load_native(const double* p) { return *reinterpret_cast<const Native*>(p); }
ISTHMUS_INLINE void store_native(double* p, Native a) { *reinterpret_cast<Native*>(p) = a; }
ISTHMUS_INLINE Native all_native(double x) { return Native{} + x; }

#if defined(__AVX512F__)

// One register: it holds as many lanes as strata are padded to.
struct Pack {
    Native lo;
};
struct Mask {
    NativeBits lo;
};
constexpr int pack_lanes = native_lanes;

ISTHMUS_INLINE Pack load(const double* p) { return {load_native(p)}; }
ISTHMUS_INLINE void store(double* p, Pack a) { store_native(p, a.lo); }
ISTHMUS_INLINE Pack all(double x) { return {all_native(x)}; }
#define ISTHMUS_OPERATOR(op)                                                   \
    ISTHMUS_INLINE Pack operator op(Pack a, Pack b) { return {a.lo op b.lo}; } \
    ISTHMUS_INLINE Pack operator op(Pack a, double b) { return {a.lo op b}; }  \
    ISTHMUS_INLINE Pack operator op(double a, Pack b) { return {a op b.lo}; }  \
    ISTHMUS_INLINE Pack& operator op##=(Pack& a, Pack b) { return a = a op b; }
ISTHMUS_OPERATOR(+)
ISTHMUS_OPERATOR(-)
ISTHMUS_OPERATOR(*)
ISTHMUS_OPERATOR(/)
#undef ISTHMUS_OPERATOR
ISTHMUS_INLINE Pack operator-(Pack a) { return {-a.lo}; }
ISTHMUS_INLINE Mask operator<(Pack a, double b) { return {a.lo < b}; }
ISTHMUS_INLINE Mask operator>(Pack a, Pack b) { return {a.lo > b.lo}; }
ISTHMUS_INLINE Pack select(Mask m, Pack yes, Pack no) { return {m.lo ? yes.lo : no.lo}; }
template <Native (*function)(Native)>
ISTHMUS_INLINE Pack each(Pack a) {
    return {function(a.lo)};
}
ISTHMUS_INLINE Native halves_sum(Pack a) { return a.lo; }
ISTHMUS_INLINE Native halves_largest(Pack a) { return a.lo; }

#else

// Two registers at a time: two independent chains hide the latency of multiply-add. (One vector type of twice the
// register's width would read better, but compilers keep such values in memory.)
struct Pack {
    Native lo, hi;
};
struct Mask {
    NativeBits lo, hi;
};
constexpr int pack_lanes = 2 * native_lanes;

ISTHMUS_INLINE Pack load(const double* p) { return {load_native(p), load_native(p + native_lanes)}; }
ISTHMUS_INLINE void store(double* p, Pack a) {
    store_native(p, a.lo);
    store_native(p + native_lanes, a.hi);
}
ISTHMUS_INLINE Pack all(double x) { return {all_native(x), all_native(x)}; }
#define ISTHMUS_OPERATOR(op)                                                                 \
    ISTHMUS_INLINE Pack operator op(Pack a, Pack b) { return {a.lo op b.lo, a.hi op b.hi}; } \
    ISTHMUS_INLINE Pack operator op(Pack a, double b) { return {a.lo op b, a.hi op b}; }     \
    ISTHMUS_INLINE Pack operator op(double a, Pack b) { return {a op b.lo, a op b.hi}; }     \
    ISTHMUS_INLINE Pack& operator op##=(Pack& a, Pack b) { return a = a op b; }
ISTHMUS_OPERATOR(+)
ISTHMUS_OPERATOR(-)
ISTHMUS_OPERATOR(*)
ISTHMUS_OPERATOR(/)
#undef ISTHMUS_OPERATOR
ISTHMUS_INLINE Pack operator-(Pack a) { return {-a.lo, -a.hi}; }
ISTHMUS_INLINE Mask operator<(Pack a, double b) { return {a.lo < b, a.hi < b}; }
ISTHMUS_INLINE Mask operator>(Pack a, Pack b) { return {a.lo > b.lo, a.hi > b.hi}; }
ISTHMUS_INLINE Pack select(Mask m, Pack yes, Pack no) { return {m.lo ? yes.lo : no.lo, m.hi ? yes.hi : no.hi}; }
template <Native (*function)(Native)>
ISTHMUS_INLINE Pack each(Pack a) {
    return {function(a.lo), function(a.hi)};
}
ISTHMUS_INLINE Native halves_sum(Pack a) { return a.lo + a.hi; }
ISTHMUS_INLINE Native halves_largest(Pack a) { return a.lo > a.hi ? a.lo : a.hi; }

#endif
static_assert(lane_count % pack_lanes == 0);

ISTHMUS_INLINE double sum_native(Native t) {
#if defined(__AVX512F__)
    return ((t[0] + t[4]) + (t[2] + t[6])) + ((t[1] + t[5]) + (t[3] + t[7]));
#elif defined(__AVX2__)
    return (t[0] + t[2]) + (t[1] + t[3]);
#else
    return t[0] + t[1];
#endif
}
ISTHMUS_INLINE double sum(Pack a) { return sum_native(halves_sum(a)); }

ISTHMUS_INLINE double largest_native(Native a) {
    double m = a[0];
    for (int l = 1; l < native_lanes; ++l) m = a[l] > m ? a[l] : m;
    return m;
}
ISTHMUS_INLINE double largest(Pack a) { return largest_native(halves_largest(a)); }
ISTHMUS_INLINE double smallest(Pack a) { return -largest(-a); }

ISTHMUS_INLINE Pack larger(Pack a, Pack b) { return select(a > b, a, b); }
ISTHMUS_INLINE Pack smaller(Pack a, Pack b) { return select(a > b, b, a); }
ISTHMUS_INLINE Pack at_least(Pack a, double low) { return larger(a, all(low)); }
ISTHMUS_INLINE Pack at_most(Pack a, double high) { return smaller(a, all(high)); }

// 1 / x for x in [1, 2^1000]. Where dividing takes longer than all other steps together, from an approximation to 14
// bits that two of Newton's steps bring to 53; a last place may be off by one.
ISTHMUS_INLINE Native reciprocal_native(Native x) {
#if defined(__AVX512F__)
    Native v = (Native)_mm512_mask_rcp14_pd((__m512d)x, 0xff, (__m512d)x);
    v += v * (1.0 - x * v);
    return v + v * (1.0 - x * v);
#else
    return 1.0 / x;
#endif
}
ISTHMUS_INLINE Pack reciprocal(Pack x) { return each<reciprocal_native>(x); }

}  // namespace isthmus::ISTHMUS_ISA
