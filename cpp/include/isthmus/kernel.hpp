// The builds of the kernel that this module holds, and which one the processor can run.
#pragma once

#include "problem.hpp"
#include "quasi_problem.hpp"

namespace isthmus {

#define ISTHMUS_DECLARE(isa)                                                                                         \
    namespace isa {                                                                                                  \
    std::int64_t scratch_bytes(const Problem& problem, int most_nonzero);                                            \
    void fit_gene(const Problem& problem, int gene, void* scratch, const Results& out);                              \
    std::int64_t quasi_bytes(const QuasiProblem& problem);                                                           \
    void quasi_gene(const QuasiProblem& problem, int gene, double* scratch);                                         \
    void survey_doubles(const double* x, int n, double largest, std::int64_t& n_inside, std::int64_t& n_fractional); \
    void survey_floats(const float* x, int n, double largest, std::int64_t& n_inside, std::int64_t& n_fractional);   \
    }
ISTHMUS_DECLARE(baseline)
#ifdef ISTHMUS_HAVE_AVX2
ISTHMUS_DECLARE(avx2)
ISTHMUS_DECLARE(avx512)
#endif
#undef ISTHMUS_DECLARE

struct Kernel {
    const char* name;
    std::int64_t (*scratch_bytes)(const Problem&, int);
    void (*fit_gene)(const Problem&, int, void*, const Results&);
    std::int64_t (*quasi_bytes)(const QuasiProblem&);
    void (*quasi_gene)(const QuasiProblem&, int, double*);
    void (*survey_doubles)(const double*, int, double, std::int64_t&, std::int64_t&);
    void (*survey_floats)(const float*, int, double, std::int64_t&, std::int64_t&);
};

#define ISTHMUS_KERNEL_OF(isa)                                                                           \
    {                                                                                                    \
#isa, isa::scratch_bytes, isa::fit_gene, isa::quasi_bytes, isa::quasi_gene, isa::survey_doubles, \
            isa::survey_floats                                                                           \
    }
inline Kernel baseline_kernel() { return ISTHMUS_KERNEL_OF(baseline); }

#ifdef ISTHMUS_HAVE_AVX2
inline bool runs_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
inline Kernel avx2_kernel() { return ISTHMUS_KERNEL_OF(avx2); }
inline bool runs_avx512() {
    return runs_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
}
inline Kernel avx512_kernel() { return ISTHMUS_KERNEL_OF(avx512); }
inline Kernel best_kernel() {
    return runs_avx512() ? avx512_kernel() : runs_avx2() ? avx2_kernel() : baseline_kernel();
}
#else
inline bool runs_avx512() { return false; }
inline bool runs_avx2() { return false; }
inline Kernel best_kernel() { return baseline_kernel(); }
#endif

#undef ISTHMUS_KERNEL_OF

}  // namespace isthmus
