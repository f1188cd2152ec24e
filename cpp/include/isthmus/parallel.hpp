// Genes over threads. Each gene is fitted by one thread from its own counts, so results do not depend on their number.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "bins.hpp"
#include "kernel.hpp"
#include "nodes.hpp"

namespace isthmus {

// Joins its threads however the scope is left. `interrupted` below runs Python's signal handler, and reticulate's
// throws through it: a thread that is still joinable then would end the process.
class Threads {
  public:
    explicit Threads(std::atomic<bool>& stop) : stop_(stop) {}
    Threads(const Threads&) = delete;
    Threads& operator=(const Threads&) = delete;
    ~Threads() {
        if (std::uncaught_exceptions() > 0) stop_ = true;
        for (std::thread& t : threads_) t.join();
    }
    template <class Run>
    void start(Run&& run) {
        threads_.emplace_back(std::forward<Run>(run));
    }

  private:
    std::atomic<bool>& stop_;
    std::vector<std::thread> threads_;
};

// Runs `work(thread)` on n threads. The calling thread only waits, and every 20 ms asks `interrupted()` (the workers
// never do: only the thread that Python called from may look for Ctrl-C or report progress). Returns false if it was
// interrupted; `stop` tells the workers.
template <class Work, class Interrupted>
bool run_threads(int n, std::atomic<bool>& stop, Work&& work, Interrupted&& interrupted) {
    std::mutex mutex;
    std::condition_variable done;
    int running = n;
    Threads threads(stop);
    for (int t = 0; t < n; ++t)
        threads.start([&, t] {
            work(t);
            const std::lock_guard<std::mutex> lock(mutex);
            if (--running == 0) done.notify_one();
        });
    bool ok = true;
    std::unique_lock<std::mutex> lock(mutex);
    while (!done.wait_for(lock, std::chrono::milliseconds(20), [&] { return running == 0; })) {
        lock.unlock();
        if (ok && interrupted()) {
            ok = false;
            stop = true;
        }
        lock.lock();
    }
    return ok;
}

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
