// Small symmetric systems, row-major, lower triangle.
#pragma once

#include "vector_math.hpp"

namespace isthmus::ISTHMUS_ISA {

// L L' = a, in place in the lower triangle. False if a pivot falls below `relative` times its diagonal: not positive
// definite.
static inline bool cholesky(double* a, int n, double relative = 1e-13) {
    for (int j = 0; j < n; ++j) {
        double pivot = a[j * n + j];
        const double scale = pivot;
        for (int k = 0; k < j; ++k) pivot -= a[j * n + k] * a[j * n + k];
        if (!(pivot > relative * scale) || !(pivot > 0)) return false;
        const double root = __builtin_sqrt(pivot);
        a[j * n + j] = root;
        for (int i = j + 1; i < n; ++i) {
            double x = a[i * n + j];
            for (int k = 0; k < j; ++k) x -= a[i * n + k] * a[j * n + k];
            a[i * n + j] = x / root;
        }
    }
    return true;
}

// Solve L L' x = b in place.
static inline void cholesky_solve(const double* l, int n, double* b) {
    for (int i = 0; i < n; ++i) {
        double x = b[i];
        for (int k = 0; k < i; ++k) x -= l[i * n + k] * b[k];
        b[i] = x / l[i * n + i];
    }
    for (int i = n - 1; i >= 0; --i) {
        double x = b[i];
        for (int k = i + 1; k < n; ++k) x -= l[k * n + i] * b[k];
        b[i] = x / l[i * n + i];
    }
}

// Solve (a + ridge diag(a)) x = b with the smallest ridge of 0, 1e-8, 1e-6, ... that makes the matrix positive
// definite. `work` holds n * n doubles; a is kept. Diagonals that are not positive are replaced by `floor` first.
// False: all failed.
static inline bool ridge_solve(const double* a, int n, double floor, double* work, double* b) {
    double ridge = 0;
    for (int attempt = 0; attempt < 8; ++attempt) {
        for (int i = 0; i < n * n; ++i) work[i] = a[i];
        for (int i = 0; i < n; ++i) {
            double& d = work[i * n + i];
            d = larger(absolute(d), floor) * (1 + ridge);
        }
        if (cholesky(work, n)) {
            cholesky_solve(work, n, b);
            return true;
        }
        ridge = ridge == 0 ? 1e-8 : ridge * 100;
    }
    return false;
}

}  // namespace isthmus::ISTHMUS_ISA
