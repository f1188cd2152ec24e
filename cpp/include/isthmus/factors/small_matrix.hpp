// Small dense matrices, row-major. Loops over the last index become vectors.
#pragma once

namespace isthmus::ISTHMUS_ISA {

static inline double dot(const double* a, const double* b, int n) {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int i = 0; i < n; ++i) sum += a[i] * b[i];
    return sum;
}

// y += s x
static inline void add_scaled(double* __restrict y, double s, const double* __restrict x, int n) {
#pragma omp simd
    for (int i = 0; i < n; ++i) y[i] += s * x[i];
}

static inline void fill(double* x, double value, int n) {
    for (int i = 0; i < n; ++i) x[i] = value;
}
static inline void copy(double* __restrict to, const double* __restrict from, int n) {
    for (int i = 0; i < n; ++i) to[i] = from[i];
}

// c (m x n) += s a (m x k) b (k x n); rows of a, b, c are lda, ldb, ldc apart.
static inline void multiply_add(double* __restrict c, int ldc, double s, const double* __restrict a, int lda,
                                const double* __restrict b, int ldb, int m, int k, int n) {
    for (int i = 0; i < m; ++i)
        for (int l = 0; l < k; ++l) add_scaled(c + i * ldc, s * a[i * lda + l], b + l * ldb, n);
}
static inline void multiply(double* __restrict c, const double* __restrict a, const double* __restrict b, int m, int k,
                            int n) {
    fill(c, 0, m * n);
    multiply_add(c, n, 1, a, k, b, n, m, k, n);
}

// c (m x n) += s a' b with a (k x m), b (k x n)
static inline void multiply_add_at(double* __restrict c, int ldc, double s, const double* __restrict a, int lda,
                                   const double* __restrict b, int ldb, int m, int k, int n) {
    for (int l = 0; l < k; ++l)
        for (int i = 0; i < m; ++i) add_scaled(c + i * ldc, s * a[l * lda + i], b + l * ldb, n);
}

static inline void transpose_square(double* a, int n) {
    for (int i = 0; i < n; ++i)
        for (int j = 0; j < i; ++j) {
            const double t = a[i * n + j];
            a[i * n + j] = a[j * n + i];
            a[j * n + i] = t;
        }
}

static inline void symmetrise(double* a, int n) {
    for (int i = 0; i < n; ++i)
        for (int j = 0; j < i; ++j) a[i * n + j] = a[j * n + i] = 0.5 * (a[i * n + j] + a[j * n + i]);
}

static inline double largest(const double* a, int n) {
    double most = 0;
    for (int i = 0; i < n; ++i) {
        const double x = __builtin_fabs(a[i]);
        if (x != x) return x;
        if (x > most) most = x;
    }
    return most;
}

// c c' = a for a positive semi-definite a, c lower triangular with zeros above; a pivot lost to rounding is 0.
static inline void semidefinite_root(const double* __restrict a, int n, double* __restrict c) {
    fill(c, 0, n * n);
    for (int j = 0; j < n; ++j) {
        const double pivot = a[j * n + j] - dot(c + j * n, c + j * n, j);
        if (!(pivot > 1e-14 * a[j * n + j])) continue;
        const double root = __builtin_sqrt(pivot);
        c[j * n + j] = root;
        for (int i = j + 1; i < n; ++i) c[i * n + j] = (a[i * n + j] - dot(c + i * n, c + j * n, j)) / root;
    }
}

// Lower Cholesky factor in place (upper part set to 0); false where a is not positive definite.
static inline bool factorise(double* a, int n) {
    for (int j = 0; j < n; ++j) {
        const double pivot = a[j * n + j] - dot(a + j * n, a + j * n, j);
        if (!(pivot > 0)) return false;
        const double root = __builtin_sqrt(pivot);
        a[j * n + j] = root;
        for (int i = j + 1; i < n; ++i) a[i * n + j] = (a[i * n + j] - dot(a + i * n, a + j * n, j)) / root;
    }
    for (int i = 0; i < n; ++i) fill(a + i * n + i + 1, 0, n - i - 1);
    return true;
}

// b (n x m) <- l^-1 b
static inline void solve_lower(const double* l, int n, double* b, int m) {
    for (int i = 0; i < n; ++i) {
        for (int k = 0; k < i; ++k) add_scaled(b + i * m, -l[i * n + k], b + k * m, m);
        const double inverse = 1 / l[i * n + i];
        for (int j = 0; j < m; ++j) b[i * m + j] *= inverse;
    }
}
// b (n x m) <- l'^-1 b
static inline void solve_upper(const double* l, int n, double* b, int m) {
    for (int i = n - 1; i >= 0; --i) {
        for (int k = i + 1; k < n; ++k) add_scaled(b + i * m, -l[k * n + i], b + k * m, m);
        const double inverse = 1 / l[i * n + i];
        for (int j = 0; j < m; ++j) b[i * m + j] *= inverse;
    }
}

// p = t p t' + q by doubling; false where t is not stable. `work` holds 4 n n doubles; `transposed` solves with t'.
static inline bool lyapunov(const double* t, const double* q, int n, bool transposed, double* p, double* work) {
    double *power = work, *next = work + n * n, *left = work + 2 * n * n, *add = work + 3 * n * n;
    copy(power, t, n * n);
    if (transposed) transpose_square(power, n);
    copy(p, q, n * n);
    for (int step = 0; step < 64; ++step) {
        multiply(left, power, p, n, n, n);  // power p power' = power (power p)', p symmetric
        transpose_square(left, n);
        multiply(add, power, left, n, n, n);
        const double change = largest(add, n * n), size = largest(p, n * n);
        if (!(change < 1e200)) return false;
        for (int i = 0; i < n * n; ++i) p[i] += add[i];
        symmetrise(p, n);
        if (change <= 1e-17 * size) return true;
        multiply(next, power, power, n, n, n);
        copy(power, next, n * n);
    }
    return false;
}

}  // namespace isthmus::ISTHMUS_ISA
