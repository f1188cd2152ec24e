// Work on several threads, while the thread that Python called from looks out for Ctrl-C.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

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

// The same for short work that nobody interrupts; one thread is the calling one.
template <class Work>
void on_threads(int n, Work&& work) {
    if (n == 1) return work(0);
    std::atomic<bool> stop{false};
    Threads threads(stop);
    for (int t = 0; t < n; ++t) threads.start([&work, t] { work(t); });
}

}  // namespace isthmus
