// Genes over threads. Each gene is fitted by one thread from its own counts, so results do not depend on their number.
#pragma once

#include "bins.hpp"
#include "kernel.hpp"
#include "nodes.hpp"
#include "threads.hpp"

namespace isthmus {

inline bool read_stop(const void* context) {
    return static_cast<const std::atomic<bool>*>(context)->load(std::memory_order_relaxed);
}

// Calls `each(gene, scratch)` for every gene, over threads; `finished` counts genes, for progress. False if
// interrupted.
template <class Each, class Interrupted>
bool over_genes(int n_genes, std::size_t scratch_bytes, int n_threads, std::atomic<bool>& stop,
                std::atomic<int>& finished, Each&& each, Interrupted&& interrupted) {
    std::atomic<int> next{0};
    const int n = std::max(1, std::min(n_threads, n_genes));
    std::vector<Aligned<char>> scratch;
    for (int t = 0; t < n; ++t) scratch.emplace_back(scratch_bytes);
    const auto work = [&](int thread) {
        for (int gene = next++; gene < n_genes && !stop; gene = next++) {
            each(gene, scratch[static_cast<std::size_t>(thread)].data());
            ++finished;
        }
    };
    return run_threads(n, stop, work, interrupted);
}

// Fit every gene of `problem`.
template <class Interrupted>
bool fit_genes(const Kernel& kernel, Problem problem, const Results& results, int most_nonzero, int n_threads,
               std::atomic<int>& finished, Interrupted&& interrupted) {
    std::atomic<bool> stop{false};
    problem.stopped = read_stop;
    problem.stop_context = &stop;
    const std::size_t bytes = static_cast<std::size_t>(kernel.scratch_bytes(problem, most_nonzero));
    return over_genes(
        problem.n_genes, bytes, n_threads, stop, finished,
        [&](int gene, char* scratch) { kernel.fit_gene(problem, gene, scratch, results); }, interrupted);
}

}  // namespace isthmus
