// Are stored values counts? Each is looked at once, a register of them at a time.
#pragma once

#include "pack.hpp"

namespace isthmus::ISTHMUS_ISA {

// Above this a number has no digits behind the point; adding it to a smaller one rounds to whole numbers.
template <class T>
constexpr T whole_from = sizeof(T) == 4 ? T(8388608.0) : T(4503599627370496.0);

template <class T>
struct Register {
    static constexpr int lanes = 8 * native_lanes / static_cast<int>(sizeof(T));
    typedef T Values __attribute__((vector_size(8 * native_lanes), aligned(sizeof(T)), may_alias));
};

// Adds to `n_inside` how many of the values lie in [0, largest), NaN does not, and to `n_fractional` how many are no
// whole number. At most 2^30 values, so that a lane can count them.
template <class T>
static inline void survey(const T* x, int n, double largest, std::int64_t& n_inside, std::int64_t& n_fractional) {
    using Values = typename Register<T>::Values;
    constexpr int lanes = Register<T>::lanes;
    const T limit = static_cast<T>(largest), big = whole_from<T>;
    decltype(Values{} < Values{}) inside{}, part{};  // a lane of a comparison is 0 or -1
    int i = 0;
    for (; i + lanes <= n; i += lanes) {
        const Values v = *reinterpret_cast<const Values*>(x + i);
        inside += (v >= 0) & (v < limit);
        part += (v < big) & ((v + big) - big != v);
    }
    for (int l = 0; l < lanes; ++l) {
        n_inside -= inside[l];
        n_fractional -= part[l];
    }
    for (; i < n; ++i) {
        n_inside += (x[i] >= 0) & (x[i] < limit);
        n_fractional += (x[i] < big) & ((x[i] + big) - big != x[i]);
    }
}

}  // namespace isthmus::ISTHMUS_ISA
