// The builds of the factor kernel that this module holds.
#pragma once

#include "../kernel.hpp"
#include "panel.hpp"

namespace isthmus {

#define ISTHMUS_DECLARE_FACTORS(isa)                                                                      \
    namespace isa {                                                                                       \
    void factor_sizes(const FactorPanel&, bool keep_filtered, std::int64_t* doubles, std::int64_t* ints); \
    bool factor_loglike(const FactorPanel&, const FactorParams&, double*, int*, double*);                 \
    bool factor_em(const FactorPanel&, const FactorParams&, double*, int*, const FactorUpdate&, double*); \
    bool factor_score(const FactorPanel&, const FactorParams&, double*, int*, double*, double*, double*); \
    bool factor_smooth(const FactorPanel&, const FactorParams&, double*, int*, FactorMoments*, double*);  \
    }
ISTHMUS_DECLARE_FACTORS(baseline)
#ifdef ISTHMUS_HAVE_AVX2
ISTHMUS_DECLARE_FACTORS(avx2)
#endif
#undef ISTHMUS_DECLARE_FACTORS

// Each takes the panel, the parameters and scratch memory of `sizes`, and gives false for parameters outside the model:
// a VAR that is not stable, a covariance that is not positive definite.
struct FactorKernel {
    const char* name;
    void (*sizes)(const FactorPanel&, bool, std::int64_t*, std::int64_t*);
    bool (*loglike)(const FactorPanel&, const FactorParams&, double*, int*, double*);
    bool (*em)(const FactorPanel&, const FactorParams&, double*, int*, const FactorUpdate&, double*);
    bool (*score)(const FactorPanel&, const FactorParams&, double*, int*, double*, double*, double*);
    bool (*smooth)(const FactorPanel&, const FactorParams&, double*, int*, FactorMoments*, double*);
};

#define ISTHMUS_FACTOR_KERNEL(isa) \
    FactorKernel { #isa, isa::factor_sizes, isa::factor_loglike, isa::factor_em, isa::factor_score, isa::factor_smooth }
inline FactorKernel baseline_factors() { return ISTHMUS_FACTOR_KERNEL(baseline); }
#ifdef ISTHMUS_HAVE_AVX2
inline FactorKernel avx2_factors() { return ISTHMUS_FACTOR_KERNEL(avx2); }
#endif
#undef ISTHMUS_FACTOR_KERNEL

}  // namespace isthmus
