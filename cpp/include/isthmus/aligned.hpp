// Memory on cache-line boundaries, in large pages where the system has them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace isthmus {

// Counts are laid out gene by gene, in thousands of places at once: with small pages most writes miss the table of
// pages. A hint: what fails is left as it is.
inline void ask_for_huge_pages([[maybe_unused]] void* data, [[maybe_unused]] std::size_t bytes) {
#ifdef __linux__
    constexpr std::uintptr_t page = 1 << 21;
    const std::uintptr_t first = (reinterpret_cast<std::uintptr_t>(data) + page - 1) / page * page;
    const std::uintptr_t last = (reinterpret_cast<std::uintptr_t>(data) + bytes) / page * page;
    if (last > first + page) madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
#endif
}

// A vector on a cache-line boundary.
template <class T>
class Aligned {
  public:
    explicit Aligned(std::size_t n = 0) : size_(n), data_(n ? allocate(n) : nullptr) {}
    T* data() { return data_.get(); }
    const T* data() const { return data_.get(); }
    T& operator[](std::size_t i) { return data_[i]; }
    const T& operator[](std::size_t i) const { return data_[i]; }
    std::size_t size() const { return size_; }

  private:
    struct Free {
        void operator()(T* p) const { ::operator delete[](p, std::align_val_t(64)); }
    };
    static T* allocate(std::size_t n) {
        void* out = ::operator new[](n * sizeof(T), std::align_val_t(64));
        ask_for_huge_pages(out, n * sizeof(T));
        return static_cast<T*>(out);
    }
    std::size_t size_;
    std::unique_ptr<T[], Free> data_;
};

}  // namespace isthmus
