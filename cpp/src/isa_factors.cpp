// The factor kernel for one instruction set. CMake compiles this file once per set, as isa.cpp.
#include "isthmus/factors/series.hpp"
#include "isthmus/factors/transition.hpp"

namespace isthmus::ISTHMUS_ISA {

void factor_sizes(const FactorPanel& panel, bool keep_filtered, std::int64_t* doubles, std::int64_t* ints) {
    Workspace w;
    const Sizes sizes = w.lay_out(panel, nullptr, nullptr, keep_filtered);
    *doubles = sizes.doubles, *ints = sizes.ints;
}

bool factor_loglike(const FactorPanel& panel, const FactorParams& theta, double* memory, int* ints, double* value) {
    Workspace w;
    w.lay_out(panel, memory, ints, false);
    w.for_smoother = false;
    return run_filter(panel, theta, w, value);
}

bool factor_em(const FactorPanel& panel, const FactorParams& theta, double* memory, int* ints, const FactorUpdate& out,
               double* value) {
    Workspace w;
    w.lay_out(panel, memory, ints, false);
    if (!run_filter(panel, theta, w, value)) return false;
    run_smoother(panel, theta, w);
    all_moments(panel, w);
    for (int i = 0; i < panel.n_series; ++i) maximise_series(panel, theta, w, i, out);
    maximise_transition(panel, theta, w, out);
    return true;
}

bool factor_score(const FactorPanel& panel, const FactorParams& theta, double* memory, int* ints, double* score,
                  double* information, double* value) {
    Workspace w;
    w.lay_out(panel, memory, ints, false);
    if (!run_filter(panel, theta, w, value)) return false;
    run_smoother(panel, theta, w);
    all_moments(panel, w);
    int loading = 0, transition = panel.n_free, innovation = transition;
    for (int b = 0; b < panel.n_blocks; ++b) {
        const int k = panel.block_start[b + 1] - panel.block_start[b];
        innovation += panel.block_order[b] * k * k;
    }
    for (int b = 0; b < panel.n_blocks; ++b) {
        const int k = panel.block_start[b + 1] - panel.block_start[b];
        if (!score_block(panel, theta, w, b, score + transition, information + transition, score + innovation,
                         information + innovation))
            return false;
        transition += panel.block_order[b] * k * k;
        innovation += k * (k + 1) / 2;
    }
    const int phi = innovation, variance = phi + (panel.ar1 ? panel.n_series : 0);
    for (int i = 0; i < panel.n_series; ++i) {
        double own_phi[2], own_variance[2];
        score_series(panel, theta, w, i, score + loading, information + loading, own_phi, own_variance);
        for (int j = 0; j < w.r; ++j) loading += panel.loads[i * w.r + j];
        if (panel.ar1) score[phi + i] = own_phi[0], information[phi + i] = own_phi[1];
        score[variance + i] = own_variance[0], information[variance + i] = own_variance[1];
    }
    return true;
}

bool factor_smooth(const FactorPanel& panel, const FactorParams& theta, double* memory, int* ints, FactorMoments* out,
                   double* value) {
    Workspace w;
    w.lay_out(panel, memory, ints, true);
    if (!run_filter(panel, theta, w, value)) return false;
    run_smoother(panel, theta, w);
    *out = {w.smoothed,       w.cov,          w.cov_slot,   w.predicted, w.filtered, w.p,
            w.predicted_slot, w.filtered_cov, w.next_state, w.next_cov};
    return true;
}

}  // namespace isthmus::ISTHMUS_ISA
