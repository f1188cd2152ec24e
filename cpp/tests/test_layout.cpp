#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include "problem.hpp"

TEST_CASE("cells of equal categorical rows share a stratum, continuous columns stay per cell") {
    const SmallProblem p = small_problem(1000, 2, 1.0, 0.5, true, 1);
    const isthmus::CellLayout cells = isthmus::lay_out_cells(p.mean(), p.dispersion(2), p.offset.data(), nullptr);
    CHECK(cells.n_strata() == 2);
    CHECK(cells.mean.continuous_column == std::vector<int>{2});
    CHECK(cells.dispersion.continuous_column == std::vector<int>{1});
    for (std::size_t i = 0; i < 1000; ++i) {
        const int place = cells.position[i];
        CHECK(cells.cell[static_cast<std::size_t>(place)] == static_cast<int>(i));
        CHECK(cells.mean.continuous[static_cast<std::size_t>(place)] == p.x[3 * i + 2]);
        CHECK(cells.offset[static_cast<std::size_t>(place)] == p.offset[i]);
    }
}

TEST_CASE("strata start on whole packs and padding has no exposure") {
    const SmallProblem p = small_problem(101, 1, 1.0, 0.5, false, 2);
    const isthmus::CellLayout cells = isthmus::lay_out_cells(p.mean(), p.dispersion(2), p.offset.data(), nullptr);
    for (int s : cells.stratum_start) CHECK(s % isthmus::lane_count == 0);
    for (std::size_t i = 0; i < cells.cell.size(); ++i)
        if (cells.cell[i] < 0) CHECK(cells.exposure[i] == 0);
}

TEST_CASE("counts are sorted by gene and position, explicit zeros dropped, wide values kept") {
    const std::vector<double> x{1, 1, 1}, z{1, 1, 1}, offset{0, 0, 0};
    const isthmus::CellLayout cells =
        isthmus::lay_out_cells({x.data(), 3, 1, 1, 1}, {z.data(), 3, 1, 1, 1}, offset.data(), nullptr);
    const std::vector<std::int64_t> indptr{0, 2, 4, 5}, indices{1, 0, 0, 1, 1};
    const std::vector<double> data{65536.0, 0.0, 3.0, 2.0, 5.0};  // the first does not fit 16 bits
    const isthmus::CountLayout all = isthmus::lay_out_counts(indptr.data(), indices.data(), data.data(), cells, 0, 2);
    CHECK(all.gene_start[1] == 1);
    CHECK(all.gene_start[2] == 4);
    const std::vector<double> expected{3, 65536.0, 2, 5};
    CHECK(std::vector<double>(all.count.data(), all.count.data() + all.gene_start[2]) == expected);
    CHECK(std::vector<int>(all.position.data(), all.position.data() + 4) == std::vector<int>{1, 0, 1, 2});
    CHECK(all.most_nonzero == 3);
    const isthmus::CountLayout second =
        isthmus::lay_out_counts(indptr.data(), indices.data(), data.data(), cells, 1, 2);
    CHECK(second.gene_start[1] == 3);
}

TEST_CASE("gaps that stored zeros leave are closed") {
    const std::vector<double> x{1, 1, 1}, z{1, 1, 1}, offset{0, 0, 0};
    const isthmus::CellLayout cells =
        isthmus::lay_out_cells({x.data(), 3, 1, 1, 1}, {z.data(), 3, 1, 1, 1}, offset.data(), nullptr);
    const std::vector<std::int32_t> indptr{0, 3, 5, 8}, indices{0, 1, 2, 0, 2, 0, 1, 2}, data{0, 4, 1, 0, 0, 7, 0, 2};
    const isthmus::CountLayout all = isthmus::lay_out_counts(indptr.data(), indices.data(), data.data(), cells, 0, 3);
    const std::vector<std::int64_t> starts(all.gene_start.data(), all.gene_start.data() + 4);
    CHECK(starts == std::vector<std::int64_t>{0, 1, 2, 4});
    const std::vector<isthmus::PackedCount> expected{7 << 16 | 2, 4 << 16, 1 << 16, 2 << 16 | 2};
    CHECK(std::vector<isthmus::PackedCount>(all.packed.data(), all.packed.data() + 4) == expected);
    CHECK(all.block_stop == std::vector<std::int64_t>{1, 2, 4});
    CHECK(all.most_nonzero == 2);
}

TEST_CASE("counts are packed block by block of places") {
    const std::size_t n = isthmus::block_places + 9;
    const std::vector<double> ones(n, 1.0), offset(n, 0.0);
    const isthmus::MatrixView design{ones.data(), static_cast<std::int64_t>(n), 1, 1, 1};
    const isthmus::CellLayout cells = isthmus::lay_out_cells(design, design, offset.data(), nullptr);
    std::vector<std::int32_t> indptr(n + 1, 0), indices, data;  // gene 0 in the last cells, gene 1 in the first
    for (std::size_t i = 0; i < n; ++i) {
        if (i >= n - 2 || i < 2) {
            indices.push_back(i < 2 ? 1 : 0);
            data.push_back(static_cast<std::int32_t>(i % 1000) + 1);
        }
        indptr[i + 1] = static_cast<std::int32_t>(indices.size());
    }
    const isthmus::CountLayout all = isthmus::lay_out_counts(indptr.data(), indices.data(), data.data(), cells, 0, 2);
    CHECK(all.n_blocks == 2);
    CHECK(all.block_stop == std::vector<std::int64_t>{0, 2, 4, 4});
    const isthmus::PackedCount place = 7, count = (isthmus::block_places + 7) % 1000 + 1;
    CHECK(all.packed[0] == (count << 16 | place));
    CHECK(all.packed[2] == 1 << 16);
}

TEST_CASE("tiles hold the same counts as whole rows, for some genes of many and rows in any order") {
    const int n_cells = 150, n_genes = 600;
    const std::vector<double> ones(n_cells, 1.0), offset(n_cells, 0.0);
    const isthmus::MatrixView design{ones.data(), n_cells, 1, 1, 1};
    const isthmus::CellLayout cells = isthmus::lay_out_cells(design, design, offset.data(), nullptr);
    for (const bool sorted : {true, false}) {
        std::vector<std::int64_t> indptr{0}, indices;
        std::vector<float> data;
        for (int i = 0; i < n_cells; ++i) {
            for (int j = 0; j < n_genes; ++j)
                if ((i * 7 + j * 3) % 5 == 0) {
                    indices.push_back(sorted ? j : n_genes - 1 - j);
                    data.push_back(static_cast<float>((i + j) % 4));  // zeros among them
                }
            indptr.push_back(static_cast<std::int64_t>(indices.size()));
        }
        for (const auto& [first, last] : {std::pair{0, n_genes}, std::pair{100, 399}}) {
            const int n_threads = first ? 3 : 1;
            const isthmus::CountLayout out =
                isthmus::lay_out_counts(indptr.data(), indices.data(), data.data(), cells, first, last, n_threads);
            for (int j = first; j < last; ++j) {
                std::vector<isthmus::PackedCount> expected;
                for (int i = 0; i < n_cells; ++i) {
                    const int stored = sorted ? j : n_genes - 1 - j;
                    const isthmus::PackedCount y = static_cast<isthmus::PackedCount>((i + stored) % 4);
                    if ((i * 7 + stored * 3) % 5 == 0 && y)
                        expected.push_back(y << 16 | static_cast<isthmus::PackedCount>(i));
                }
                const auto *from = out.packed.data() + out.gene_start[j - first],
                           *to = out.packed.data() + out.gene_start[j - first + 1];
                REQUIRE(std::vector<isthmus::PackedCount>(from, to) == expected);
            }
        }
    }
}

TEST_CASE("a count that is no whole number of 16 bits has all stored wide") {
    const std::vector<double> x{1, 1, 1}, z{1, 1, 1}, offset{0, 0, 0};
    const isthmus::CellLayout cells =
        isthmus::lay_out_cells({x.data(), 3, 1, 1, 1}, {z.data(), 3, 1, 1, 1}, offset.data(), nullptr);
    const std::vector<std::int32_t> indptr{0, 1, 2, 3}, indices{0, 0, 0};
    for (const double odd : {65536.0, 2.5, 1e300}) {
        const std::vector<double> data{65535.0, odd, 1.0};
        const isthmus::CountLayout all =
            isthmus::lay_out_counts(indptr.data(), indices.data(), data.data(), cells, 0, 1, 2);
        CHECK(all.n_blocks == 0);
        CHECK(all.packed.size() == 0);
        CHECK(all.count[1] == odd);
    }
    const std::vector<double> data{65535.0, 2.0, 1.0};
    const isthmus::CountLayout all = isthmus::lay_out_counts(indptr.data(), indices.data(), data.data(), cells, 0, 1);
    CHECK(all.packed[0] == isthmus::PackedCount{65535} << 16);
}

TEST_CASE("bins hold every cell of a stratum once, and its exposure") {
    const SmallProblem p = small_problem(5000, 1, 1.0, 0.5, false, 6);
    const isthmus::CellLayout cells = isthmus::lay_out_cells(p.mean(), p.dispersion(1), p.offset.data(), nullptr);
    const isthmus::BinLayout bins = isthmus::lay_out_bins(cells);
    REQUIRE(bins.n_padded > 0);
    CHECK(bins.n_padded * 8 <= cells.n_padded);
    for (int s = 0; s < cells.n_strata(); ++s) {
        double weight = 0, exposure = 0, covariate = 0, over_cells = 0;
        for (int i = bins.start[s]; i < bins.start[s + 1]; ++i) {
            weight += bins.weight[i];
            exposure += bins.weight[i] * std::exp(bins.offset[i]);
            covariate += bins.weight[i] * std::exp(bins.offset[i]) * bins.continuous[i];
        }
        for (int i = cells.stratum_start[s]; i < cells.stratum_start[s + 1]; ++i) {
            over_cells += cells.exposure[i] * cells.mean.continuous[i];
            if (cells.cell[i] < 0) continue;
            CHECK(bins.bin_of_position[i] >= bins.start[s]);
            CHECK(bins.bin_of_position[i] < bins.start[s + 1]);
        }
        CHECK(weight == cells.stratum_cells[s]);
        CHECK(exposure == doctest::Approx(cells.stratum_exposure[s]).epsilon(1e-12));
        CHECK(covariate == doctest::Approx(over_cells).epsilon(1e-10));
    }
    CHECK(isthmus::lay_out_bins(isthmus::lay_out_cells(p.mean(), p.dispersion(2), p.offset.data(), nullptr)).n_padded >
          0);
    const SmallProblem few = small_problem(1000, 1, 1.0, 0.5, true, 6);
    CHECK(isthmus::lay_out_bins(isthmus::lay_out_cells(few.mean(), few.dispersion(1), few.offset.data(), nullptr))
              .n_padded == 0);
}

TEST_CASE("waiting threads report an interrupt and stop the workers") {
    std::atomic<bool> stop{false};
    auto work = [&](int) {
        while (!stop) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    };
    CHECK_FALSE(isthmus::run_threads(2, stop, work, [] { return true; }));
    CHECK(stop);
}

TEST_CASE("an exception out of the wait stops and joins the workers before it goes on") {
    std::atomic<bool> stop{false};
    auto work = [&](int) {
        while (!stop) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    };
    auto throws = []() -> bool { throw std::runtime_error("handler"); };
    CHECK_THROWS_WITH(isthmus::run_threads(2, stop, work, throws), "handler");
    CHECK(stop);
}
