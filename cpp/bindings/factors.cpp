// Python's view of the factor kernel: a panel laid out once, then short calls that return new arrays.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "common.hpp"
#include "isthmus/factors/kernel.hpp"
#include "isthmus/factors/layout.hpp"

namespace {

using Array = py::array_t<double, py::array::c_style | py::array::forcecast>;
using Flags = py::array_t<std::uint8_t, py::array::c_style | py::array::forcecast>;

isthmus::FactorKernel factors_by_name(const std::string& name) {
    if (name == "baseline") return isthmus::baseline_factors();
#ifdef ISTHMUS_HAVE_AVX2
    if (name == "avx2" && isthmus::runs_avx2()) return isthmus::avx2_factors();
#endif
    throw py::value_error("`kernel` must be 'baseline' or 'avx2' (where the processor has it); got '" + name + "'.");
}

// Loadings, transition, innovation covariance, phi, variance, mean and covariance of the first state.
using Arrays = std::tuple<Array, Array, Array, Array, Array, Array, Array>;

struct Blocks {
    std::vector<int> start{0}, factors, order;
};

Blocks read_blocks(const std::vector<std::pair<std::vector<int>, int>>& blocks, int n_factors) {
    Blocks out;
    std::vector<int> times(n_factors, 0);
    for (const auto& [factors, order] : blocks) {
        for (const int j : factors) {
            require(j >= 0 && j < n_factors && times[j]++ == 0, "`blocks` must hold every factor once.");
            out.factors.push_back(j);
        }
        require(order >= 0 && !factors.empty(), "`blocks` must hold factors and an order that is not negative.");
        out.start.push_back(static_cast<int>(out.factors.size()));
        out.order.push_back(order);
    }
    require(static_cast<int>(out.factors.size()) == n_factors, "`blocks` must hold every factor once.");
    return out;
}

isthmus::PanelInput read_panel(const Array& y, const Flags& loads, const Flags& quarterly,
                               const std::vector<std::pair<std::vector<int>, int>>& blocks, bool ar1, bool known,
                               int min_lags) {
    require(y.ndim() == 2 && y.shape(0) >= 2 && y.shape(1) >= 1, "`y` must be time x series, with two times or more.");
    require(loads.ndim() == 2 && loads.shape(0) == y.shape(1) && loads.shape(1) >= 1 && loads.shape(1) <= 64,
            "`loads` must be series x factors, with 1 to 64 factors.");
    require(quarterly.ndim() == 1 && quarterly.shape(0) == y.shape(1), "`quarterly` must have one value per series.");
    const auto n_factors = static_cast<int>(loads.shape(1));
    const Blocks read = read_blocks(blocks, n_factors);
    int order = 1;
    for (const int p : read.order) order = std::max(order, p);
    return {static_cast<int>(y.shape(0)),
            static_cast<int>(y.shape(1)),
            n_factors,
            order,
            min_lags,
            ar1,
            known,
            y.data(),
            loads.data(),
            quarterly.data(),
            read.start,
            read.factors,
            read.order};
}

class FactorEngine {
  public:
    FactorEngine(const Array& y, const Flags& loads, const Flags& quarterly,
                 const std::vector<std::pair<std::vector<int>, int>>& blocks, bool ar1, bool known, int min_lags,
                 const std::string& kernel)
        : layout_(read_panel(y, loads, quarterly, blocks, ar1, known, min_lags)),
          panel_(layout_.view()),
          kernel_(factors_by_name(kernel)) {
        allocate(false);
        n_flat_ = panel_.n_free + (ar1 ? 2 : 1) * panel_.n_series;
        for (int b = 0; b < panel_.n_blocks; ++b) {
            const int k = panel_.block_start[b + 1] - panel_.block_start[b];
            n_flat_ += panel_.block_order[b] * k * k + k * (k + 1) / 2;
        }
    }

    double loglike(const Arrays& theta) {
        double value = 0;
        const bool ok = kernel_.loglike(panel_, params(theta), doubles_.data(), ints_.data(), &value);
        return ok ? value : minus_infinity();
    }

    py::tuple em(const Arrays& theta) {
        const py::ssize_t r = panel_.n_factors, n = panel_.n_series, n0 = panel_.known ? r * panel_.initial_lags : 0;
        Array loadings({n, r}), a({r, r * panel_.order}), q({r, r}), phi(n), variance(n), state(n0), cov({n0, n0});
        const isthmus::FactorUpdate out{loadings.mutable_data(), a.mutable_data(),        q.mutable_data(),
                                        phi.mutable_data(),      variance.mutable_data(), state.mutable_data(),
                                        cov.mutable_data()};
        double value = 0;
        const bool ok = kernel_.em(panel_, params(theta), doubles_.data(), ints_.data(), out, &value);
        if (!ok) return py::make_tuple(theta, minus_infinity());
        return py::make_tuple(Arrays(loadings, a, q, phi, variance, state, cov), value);
    }

    std::tuple<double, Array, Array> score(const Arrays& theta) {
        Array score(n_flat_), information(n_flat_);
        double value = 0;
        const bool ok = kernel_.score(panel_, params(theta), doubles_.data(), ints_.data(), score.mutable_data(),
                                      information.mutable_data(), &value);
        if (!ok) {
            std::fill_n(score.mutable_data(), n_flat_, std::numeric_limits<double>::quiet_NaN());
            std::fill_n(information.mutable_data(), n_flat_, 0.0);
            value = minus_infinity();
        }
        return {value, score, information};
    }

    py::dict smooth(const Arrays& theta) {
        allocate(true);
        isthmus::FactorMoments found{};
        double value = 0;
        if (!kernel_.smooth(panel_, params(theta), doubles_.data(), ints_.data(), &found, &value))
            throw py::value_error(
                "the parameters are outside the model: a VAR that is not stable, or a covariance "
                "that is not positive definite.");
        return moments(found, value);
    }

    int n_states() const { return panel_.n_states; }
    int n_lags() const { return panel_.n_lags; }
    int max_gap() const { return panel_.max_gap; }

  private:
    static double minus_infinity() { return -std::numeric_limits<double>::infinity(); }

    void allocate(bool keep_filtered) {
        std::int64_t doubles = 0, ints = 0;
        kernel_.sizes(panel_, keep_filtered, &doubles, &ints);
        if (static_cast<std::int64_t>(doubles_.size()) < doubles) doubles_.resize(doubles);
        ints_.resize(ints);
    }

    isthmus::FactorParams params(const Arrays& theta) const {
        const auto& [loadings, a, q, phi, variance, state, cov] = theta;
        const py::ssize_t r = panel_.n_factors, n = panel_.n_series, n0 = r * panel_.initial_lags;
        require(loadings.size() == n * r && a.size() == r * r * panel_.order && q.size() == r * r && phi.size() == n &&
                    variance.size() == n && (!panel_.known || (state.size() == n0 && cov.size() == n0 * n0)),
                "the parameters do not have the panel's sizes.");
        return {loadings.data(), a.data(), q.data(), phi.data(), variance.data(), state.data(), cov.data()};
    }

    // The factors' part (all lags) of the states' moments.
    py::dict moments(const isthmus::FactorMoments& found, double value) const {
        const py::ssize_t t = panel_.n_time, m = panel_.n_states;
        Array predicted({t, m}), predicted_cov({t, m, m}), filtered({t, m}), filtered_cov({t, m, m}), smoothed({t, m}),
            smoothed_cov({t, m, m}), next(m), next_cov({m, m});
        std::copy_n(found.predicted, t * m, predicted.mutable_data());
        std::copy_n(found.filtered, t * m, filtered.mutable_data());
        std::copy_n(found.filtered_cov, t * m * m, filtered_cov.mutable_data());
        std::copy_n(found.next_state, m, next.mutable_data());
        std::copy_n(found.next_cov, m * m, next_cov.mutable_data());
        for (py::ssize_t time = 0; time < t; ++time) {
            std::copy_n(found.predicted_cov + found.predicted_slot[time] * m * m, m * m,
                        predicted_cov.mutable_data() + time * m * m);
            std::copy_n(found.cov + found.cov_slot[time] * m * m, m * m, smoothed_cov.mutable_data() + time * m * m);
            for (py::ssize_t i = 0; i < m; ++i) smoothed.mutable_data()[time * m + i] = found.smoothed[i * t + time];
        }
        py::dict out;
        out["log_likelihood"] = value;
        out["predicted"] = predicted, out["predicted_cov"] = predicted_cov;
        out["filtered"] = filtered, out["filtered_cov"] = filtered_cov;
        out["smoothed"] = smoothed, out["smoothed_cov"] = smoothed_cov;
        out["next_state"] = next, out["next_cov"] = next_cov;
        out["extra"] = py::array_t<int>(panel_.n_series, panel_.extra);
        return out;
    }

    isthmus::PanelLayout layout_;
    isthmus::FactorPanel panel_;
    isthmus::FactorKernel kernel_;
    std::vector<double> doubles_;
    std::vector<int> ints_;
    int n_flat_ = 0;
};

}  // namespace

void bind_factors(py::module_& m) {
    py::class_<FactorEngine>(m, "FactorEngine", "A panel laid out for the factor kernel; see isthmus.factors.kernel.")
        .def(py::init<const Array&, const Flags&, const Flags&, const std::vector<std::pair<std::vector<int>, int>>&,
                      bool, bool, int, const std::string&>(),
             py::kw_only(), py::arg("y"), py::arg("loads"), py::arg("quarterly"), py::arg("blocks"), py::arg("ar1"),
             py::arg("known"), py::arg("min_lags"), py::arg("kernel"))
        .def("loglike", &FactorEngine::loglike, py::arg("theta"), "Log-likelihood; -inf outside the model.")
        .def("em", &FactorEngine::em, py::arg("theta"), "One EM iteration and the log-likelihood before it.")
        .def("score", &FactorEngine::score, py::arg("theta"),
             "Log-likelihood, score and complete-data information (its diagonal), in the flat order.")
        .def("smooth", &FactorEngine::smooth, py::arg("theta"), "Moments of the states at every time.")
        .def_property_readonly("n_states", &FactorEngine::n_states)
        .def_property_readonly("n_lags", &FactorEngine::n_lags)
        .def_property_readonly("max_gap", &FactorEngine::max_gap);
}
