// The kernel for one instruction set. CMake compiles this file once per set, with ISTHMUS_ISA naming the namespace.
#include "isthmus/fit_gene.hpp"
#include "isthmus/quasi.hpp"
#include "isthmus/survey.hpp"

namespace isthmus::ISTHMUS_ISA {

std::int64_t scratch_bytes(const Problem& problem, int most_nonzero) { return bytes_for_gene(problem, most_nonzero); }

void fit_gene(const Problem& problem, int gene, void* scratch, const Results& results) {
    fit_one_gene(problem, gene, scratch, results);
}

std::int64_t quasi_bytes(const QuasiProblem& problem) { return quasi_scratch_bytes(problem); }

void quasi_gene(const QuasiProblem& problem, int gene, double* scratch) { quasi_one_gene(problem, gene, scratch); }

void survey_doubles(const double* x, int n, double largest, std::int64_t& n_inside, std::int64_t& n_fractional) {
    survey(x, n, largest, n_inside, n_fractional);
}

void survey_floats(const float* x, int n, double largest, std::int64_t& n_inside, std::int64_t& n_fractional) {
    survey(x, n, largest, n_inside, n_fractional);
}

}  // namespace isthmus::ISTHMUS_ISA
