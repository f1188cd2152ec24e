// The log-likelihood of a gene to the last digits.
//
// The value that guides the iteration is a sum of parts like y log mu, which for large counts are many orders of
// magnitude larger than their total. Here each cell's probability is put together from small parts (Loader 2000, "Fast
// and accurate computation of binomial probabilities", as in R's dnbinom), and the cells are summed with compensation.
#pragma once

#include "weighted.hpp"

namespace isthmus::ISTHMUS_ISA {

// log(x!) minus Stirling's formula: log Gamma(x + 1) - (x + 1/2) log x + x - log(2 pi) / 2, for x > 0.
static inline double stirling_error(double x) {
    double out = 0;
    for (; x < 15; x += 1) out += (x + 0.5) * log1p1(1 / x) - 1;
    const double i = 1 / x, z = i * i;
    return out + i * (1.0 / 12 - z * (1.0 / 360 - z * (1.0 / 1260 - z * (1.0 / 1680 - z * (1.0 / 1188)))));
}

// stirling_error(origin + y) for whole y below `tabled`, which is where the recurrence above is long.
struct StirlingTable {
    static constexpr int tabled = 16;
    double origin;
    double error[tabled];

    double at(double y) const {
        const int whole = y < tabled ? static_cast<int>(y) : tabled;
        return whole < tabled && whole == y ? error[whole] : stirling_error(origin + y);
    }
};

static inline StirlingTable stirling_table(double origin) {
    StirlingTable out;
    out.origin = origin;
    out.error[StirlingTable::tabled - 1] = stirling_error(origin + StirlingTable::tabled - 1);
    for (int y = StirlingTable::tabled - 2; y >= 0; --y) {
        const double x = origin + y;
        out.error[y] = x > 0 ? out.error[y + 1] + ((x + 0.5) * log1p1(1 / x) - 1) : 0;
    }
    return out;
}

// x log(x / m) + m - x for x = m + d, without taking the difference of x and m again.
static inline double deviance_part(double m, double d) {
    const double e = d / m;
    if (absolute(e) < 1e-3) return d * e * (0.5 - e * (1.0 / 6 - e * (1.0 / 12 - e * (1.0 / 20))));
    return m * ((1 + e) * log1p1(e) - e);
}

constexpr double log_2_pi = 1.83787706640934548356;

static inline double log_poisson(double y, double mu, const StirlingTable& of_y) {
    return -of_y.at(y) - deviance_part(mu, y - mu) - 0.5 * (log_2_pi + log1(y));
}

// log P(y) for y > 0; `of_n` starts at 1 / alpha, `of_y` at 0.
static inline double log_negative_binomial(double y, double mu, double alpha, const StirlingTable& of_n,
                                           const StirlingTable& of_y) {
    if (alpha * larger(y, mu) < 1e-15) return log_poisson(y, mu, of_y);
    const double r = 1 / alpha, n = r + y, share = r / (r + mu);
    const double off = (y - mu) * share;  // y - n mu / (r + mu), and minus that for r
    return of_n.at(y) - of_n.at(0) - of_y.at(y) - deviance_part(r + off, -off) - deviance_part(y - off, off) -
           0.5 * (log_2_pi + log1(n * y * alpha));
}

// Neumaier's sum: what an addition rounds away is kept beside it.
struct LongSum {
    double total = 0, lost = 0;
    void add(double x) {
        const double t = total + x;
        lost += absolute(total) >= absolute(x) ? (total - t) + x : (x - t) + total;
        total = t;
    }
};

static inline double log_zero(double mu, double alpha) { return alpha > 0 ? -log1p1(alpha * mu) / alpha : -mu; }

static inline void add_exact(const Problem& p, const Gene& g, Workspace& w, int stratum, const double* theta,
                             bool poisson, LongSum& out) {
    const double* b = theta + p.mean.n_columns;
    const bool varying = !poisson && varies_within_strata(p.dispersion);
    const double base = row_product(p.mean, stratum, theta);
    const double alpha = poisson || varying ? 0.0 : clamped_dispersion(p, stratum, b);
    const StirlingTable of_y = stirling_table(0);
    StirlingTable of_n = stirling_table(alpha > 0 ? 1 / alpha : 1);
    int k = g.stratum_nonzero[stratum];
    for (int first = p.stratum_start[stratum]; first < p.stratum_start[stratum + 1]; first += block_cells) {
        const int n = cells_in_block(p, stratum, first);
        fitted_means(p, g, first, n, base, theta, w.block.mu);
        if (varying) cell_dispersions(p, first, n, row_product(p.dispersion, stratum, b), b, w.block.alpha);
        for (int i = 0; i < n; ++i) {
            const double a = varying ? w.block.alpha[i] : alpha, weight = weight_of(g, first + i);
            if (k < g.n_nonzero && g.position[k] == first + i) {
                if (varying) of_n = stirling_table(1 / a);
                out.add(weight * log_negative_binomial(g.y[k++], w.block.mu[i], a, of_n, of_y));
            } else if (p.cell_of_position[first + i] >= 0)
                out.add(weight * log_zero(w.block.mu[i], a));
        }
    }
}

static inline double exact_log_likelihood(const Problem& p, const Gene& g, Workspace& w, const double* theta,
                                          bool poisson) {
    LongSum out;
    for (int s = 0; s < p.n_strata; ++s) add_exact(p, g, w, s, theta, poisson, out);
    return out.total + out.lost;
}

}  // namespace isthmus::ISTHMUS_ISA
