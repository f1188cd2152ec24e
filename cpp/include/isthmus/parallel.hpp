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

// Fit every gene of `problem`. `finished` counts genes, for progress. False if interrupted.
template <class Interrupted>
bool fit_genes(const Kernel& kernel, Problem problem, const Results& results, int most_nonzero, int n_threads,
               std::atomic<int>& finished, Interrupted&& interrupted) {
    std::atomic<bool> stop{false};
    std::atomic<int> next{0};
    problem.stopped = read_stop;
    problem.stop_context = &stop;
    const int n = std::max(1, std::min(n_threads, problem.n_genes));
    const std::size_t bytes = static_cast<std::size_t>(kernel.scratch_bytes(problem, most_nonzero));
    std::vector<Aligned<char>> scratch;
    for (int t = 0; t < n; ++t) scratch.emplace_back(bytes);
    auto work = [&](int thread) {
        for (int gene = next++; gene < problem.n_genes && !stop; gene = next++) {
            kernel.fit_gene(problem, gene, scratch[static_cast<std::size_t>(thread)].data(), results);
            ++finished;
        }
    };
    return run_threads(n, stop, work, interrupted);
}

}  // namespace isthmus
