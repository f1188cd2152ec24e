// The builds of the kernel that this module holds, and which one the processor can run.
#pragma once

#include "problem.hpp"

namespace isthmus {

#define ISTHMUS_DECLARE(isa)                                                            \
    namespace isa {                                                                     \
    std::int64_t scratch_bytes(const Problem& problem, int most_nonzero);               \
    void fit_gene(const Problem& problem, int gene, void* scratch, const Results& out); \
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
};

inline Kernel baseline_kernel() { return {"baseline", baseline::scratch_bytes, baseline::fit_gene}; }

#ifdef ISTHMUS_HAVE_AVX2
inline bool runs_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
inline Kernel avx2_kernel() { return {"avx2", avx2::scratch_bytes, avx2::fit_gene}; }
inline bool runs_avx512() {
    return runs_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
}
inline Kernel avx512_kernel() { return {"avx512", avx512::scratch_bytes, avx512::fit_gene}; }
inline Kernel best_kernel() {
    return runs_avx512() ? avx512_kernel() : runs_avx2() ? avx2_kernel() : baseline_kernel();
}
#else
inline bool runs_avx512() { return false; }
inline bool runs_avx2() { return false; }
inline Kernel best_kernel() { return baseline_kernel(); }
#endif

}  // namespace isthmus
