// What the factor kernels read and write. Plain pointers: the arrays belong to the caller.
#pragma once

#include <cstdint>

namespace isthmus {

// How a series enters the state space.
enum SeriesKind : int {
    collapsed_series = 0,  // its noise is white, at once or after exact quasi-differencing: no state of its own
    chain_series = 1,      // AR(1) with a long interior gap: (e_t, e_t-1) are states, observed without noise
    quarterly_series = 2,  // Mariano-Murasawa: (e_t, ..., e_t-4) are states, observed without noise
};

// A panel of N series and T times, laid out for the kernel. The state is (f_t, ..., f_t-n_lags+1, extra states).
//
// A collapsed AR(1) series observed at t and, before that, at t - k gives the row
//     y_t - phi^k y_t-k = lambda'(f_t - phi^k f_t-k) + noise,  variance sigma2 v_k,  v_k = 1 + phi^2 + ... +
//     phi^2(k-1),
// and its first observation (k = 0 here) the row y_t = lambda' f_t + noise with v_0 = 1 / (1 - phi^2): exact however
// many observations are missing. Rows of the common gap (1; or 0, "iid") are dense, time by series; others are listed.
struct FactorPanel {
    int n_time, n_series, n_factors;
    int n_lags;        // lags of the factors in the state; more than `order` and than the longest gap
    int order;         // longest lag of the VAR
    int initial_lags;  // lags with a distribution at the first time; older ones are 0 and are never read
    int n_states, max_gap, n_blocks, n_free;
    int ar1, known;
    const int* kind;             // per series
    const int* extra;            // per series: its first own state, or -1
    const unsigned char* loads;  // series x factors
    const int* block_start;      // per block and one more: where its factors begin in block_factors
    const int* block_factors;    // factors
    const int* block_order;      // per block
    const double *now, *before;  // series x time: y_t and y_t-1 of dense rows, else 0
    const double* mask;          // series x time: 1 where there is a dense row
    const unsigned char* full;   // per series: every time (but the first, if ar1) has a dense row
    const int* listed_start;     // time + 1
    const int *listed_series, *listed_gap;
    const double *listed_now, *listed_before;
    const int* exact_start;  // time + 1: observations without noise
    const int* exact_series;
    const double* exact_value;
    const unsigned char* observed;  // series x time
    const double* values;           // series x time, 0 where missing
    const unsigned char* same;      // per time: as the time before, and nothing but dense rows
    const double* counts;           // series x (max_gap + 1) x 4: rows, sum y_t^2, sum y_t y_t-k, sum y_t-k^2
};

// Parameters in the kernel's own shapes: a is factors x (order * factors), lag by lag; q is factors x factors.
struct FactorParams {
    const double *loadings, *a, *q, *phi, *variance, *initial_state, *initial_cov;
};
struct FactorUpdate {
    double *loadings, *a, *q, *phi, *variance, *initial_state, *initial_cov;
};

// What the smoother leaves behind, in the workspace.
struct FactorMoments {
    const double* smoothed;              // states x time
    const double* cov;                   // slots x states x states
    const int* cov_slot;                 // per time
    const double *predicted, *filtered;  // time x states
    const double* predicted_cov;         // slots x states x states, before the data of the time
    const int* predicted_slot;
    const double* filtered_cov;  // time x states x states, or null
    const double *next_state, *next_cov;
};

}  // namespace isthmus
