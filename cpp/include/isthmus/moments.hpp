// The memory behind kept.hpp: what fits of one layout of counts need of each gene, as long as it stays the same.
#pragma once

#include <mutex>
#include <new>
#include <string>

#include "layout.hpp"

namespace isthmus {

class Moments {
  public:
    // Let `problem`, which fits these genes of the layout, use what is kept. Forgets what does not serve it, unless it
    // has no dispersion: such fits come in between others and need less. The lock is held as long as the fit runs; one
    // that runs beside another has no memory.
    std::unique_lock<std::mutex> lend(const std::string& kernel, const CellLayout& cells, int n_genes,
                                      const std::vector<std::int64_t>& genes, Problem& problem) {
        std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);
        if (!lock.owns_lock() || !problem.nodes.n || !distinct(genes, n_genes)) return lock;
        const bool poisson = problem.dispersion.n_columns == 0;
        const std::vector<double> offset(cells.offset.data(), cells.offset.data() + cells.offset.size());
        const bool serves = kernel == kernel_ && problem.nodes.n == n_nodes_ && offset == offset_ &&
                            (poisson || cells.level_of_stratum == level_of_stratum_);
        if (!serves && poisson) return lock;
        if (!serves) {
            of_gene_.clear();
            of_gene_.resize(static_cast<std::size_t>(n_genes));
            kernel_ = kernel;
            n_nodes_ = problem.nodes.n;
            offset_ = offset;
            level_of_stratum_ = cells.level_of_stratum;
        }
        genes_ = &genes;
        problem.kept = this;
        problem.recall = [](void* kept, int gene) -> const void* {
            return static_cast<Moments*>(kept)->at(gene).data();
        };
        problem.keep = [](void* kept, int gene, std::int64_t bytes) -> void* {
            Aligned<char>& own = static_cast<Moments*>(kept)->at(gene);
            try {
                own = Aligned<char>(static_cast<std::size_t>(bytes));
            } catch (const std::bad_alloc&) {  // on a thread of ours nobody would catch it
            }
            return own.data();
        };
        return lock;
    }

  private:
    static bool distinct(const std::vector<std::int64_t>& genes, int n_genes) {
        std::vector<char> seen(static_cast<std::size_t>(n_genes), 0);
        for (const std::int64_t gene : genes)
            if (seen[static_cast<std::size_t>(gene)]++) return false;
        return true;
    }

    Aligned<char>& at(int gene) {
        return of_gene_[static_cast<std::size_t>((*genes_)[static_cast<std::size_t>(gene)])];
    }

    std::mutex mutex_;
    std::string kernel_;
    int n_nodes_ = 0;
    std::vector<double> offset_;
    std::vector<int> level_of_stratum_;
    std::vector<Aligned<char>> of_gene_;  // by gene of the layout; each is touched by one thread
    const std::vector<std::int64_t>* genes_ = nullptr;
};

}  // namespace isthmus
