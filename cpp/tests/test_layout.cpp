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
    const std::vector<double> data{16777217.0, 0.0, 3.0, 2.0, 5.0};  // 2^24 + 1 does not fit a float
    const isthmus::CountLayout all = isthmus::lay_out_counts(indptr.data(), indices.data(), data.data(), cells, 0, 2);
    CHECK(all.gene_start[1] == 1);
    CHECK(all.gene_start[2] == 4);
    const std::vector<double> expected{3, 16777217.0, 2, 5};
    CHECK(std::vector<double>(all.count64.data(), all.count64.data() + all.gene_start[2]) == expected);
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
    const std::vector<std::pair<int, float>> expected{{2, 7.0f}, {0, 4.0f}, {0, 1.0f}, {2, 2.0f}};
    for (std::size_t k = 0; k < 4; ++k) {
        CHECK(all.entry[k].position == expected[k].first);
        CHECK(all.entry[k].count == expected[k].second);
    }
    CHECK(all.most_nonzero == 2);
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
