// Lays a panel out for the factor kernel: which series collapse, which rows are dense, which need states of their own.
#pragma once

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <vector>

#include "panel.hpp"

namespace isthmus {

struct PanelInput {
    int n_time, n_series, n_factors, order, min_lags;
    bool ar1, known;
    const double* y;  // time x series, NaN where missing
    const unsigned char *loads, *quarterly;
    std::vector<int> block_start, block_factors, block_order;
};

class PanelLayout {
  public:
    explicit PanelLayout(const PanelInput& in)
        : in_(in), kind_(in.n_series, collapsed_series), extra_(in.n_series, -1), full_(in.n_series, 0) {
        copy_values();
        choose_states();
        lay_out_rows();
        find_repeats();
    }

    FactorPanel view() const {
        FactorPanel p{};
        p.n_time = in_.n_time, p.n_series = in_.n_series, p.n_factors = in_.n_factors;
        p.n_lags = n_lags_, p.order = in_.order, p.initial_lags = initial_lags_, p.n_states = n_states_;
        p.max_gap = max_gap_, p.n_blocks = static_cast<int>(in_.block_order.size()), p.n_free = n_free_;
        p.ar1 = in_.ar1, p.known = in_.known;
        p.kind = kind_.data(), p.extra = extra_.data(), p.loads = loads_.data();
        p.block_start = in_.block_start.data(), p.block_factors = in_.block_factors.data();
        p.block_order = in_.block_order.data();
        p.now = now_.data(), p.before = before_.data(), p.mask = mask_.data(), p.full = full_.data();
        p.listed_start = listed_start_.data(), p.listed_series = listed_series_.data();
        p.listed_gap = listed_gap_.data(), p.listed_now = listed_now_.data(), p.listed_before = listed_before_.data();
        p.exact_start = exact_start_.data(), p.exact_series = exact_series_.data(), p.exact_value = exact_value_.data();
        p.observed = observed_.data(), p.values = values_.data(), p.same = same_.data(), p.counts = counts_.data();
        return p;
    }

  private:
    void copy_values() {
        const std::size_t t = in_.n_time, n = in_.n_series;
        values_.assign(n * t, 0), observed_.assign(n * t, 0);
        for (std::size_t i = 0; i < n; ++i)
            for (std::size_t time = 0; time < t; ++time) {
                const double y = in_.y[time * n + i];
                if (std::isnan(y)) continue;
                values_[i * t + time] = y;
                observed_[i * t + time] = 1;
            }
        loads_.assign(in_.loads, in_.loads + n * static_cast<std::size_t>(in_.n_factors));
        n_free_ = static_cast<int>(std::count(loads_.begin(), loads_.end(), 1));
        for (std::size_t i = 0; i < n; ++i)
            if (in_.quarterly[i]) kind_[i] = quarterly_series;
    }

    bool seen(int series, int t) const { return observed_[static_cast<std::size_t>(series) * in_.n_time + t] != 0; }

    int longest_gap(int series) const {
        int last = -1, longest = 0;
        for (int t = 0; t < in_.n_time; ++t) {
            if (!seen(series, t)) continue;
            if (last >= 0) longest = std::max(longest, t - last);
            last = t;
        }
        return longest;
    }

    // A gap of k needs the factors k times back, for all series at once; or two states, for its series alone. Take
    // what gives the smallest state.
    void choose_states() {
        std::vector<int> gaps(in_.n_series, 0);
        int n_quarterly = 0;
        for (int i = 0; i < in_.n_series; ++i) {
            if (kind_[i] == quarterly_series)
                ++n_quarterly;
            else if (in_.ar1)
                gaps[i] = longest_gap(i);
        }
        initial_lags_ = std::max(in_.order, n_quarterly ? 5 : 1);
        const int least = std::max({in_.order + 1, initial_lags_, in_.min_lags});
        max_gap_ = in_.ar1 ? 1 : 0;
        auto size = [&](int gap) {
            const auto longer = std::count_if(gaps.begin(), gaps.end(), [&](int g) { return g > gap; });
            return in_.n_factors * std::max(least, gap + 1) + 2 * static_cast<int>(longer);
        };
        for (int gap = 2; in_.ar1 && gap <= 64; ++gap)
            if (size(gap) < size(max_gap_)) max_gap_ = gap;
        n_lags_ = std::max(least, max_gap_ + 1);
        n_states_ = in_.n_factors * n_lags_;
        for (int i = 0; i < in_.n_series; ++i) {
            if (kind_[i] == collapsed_series && gaps[i] > max_gap_) kind_[i] = chain_series;
            if (kind_[i] == collapsed_series) continue;
            extra_[i] = n_states_;
            n_states_ += kind_[i] == quarterly_series ? 5 : 2;
        }
    }

    void lay_out_rows() {
        const std::size_t t = in_.n_time, n = in_.n_series;
        now_.assign(n * t, 0), before_.assign(n * t, 0), mask_.assign(n * t, 0);
        counts_.assign(n * static_cast<std::size_t>(max_gap_ + 1) * 4, 0);
        std::vector<int> last(n, -1);
        listed_start_.push_back(0), exact_start_.push_back(0);
        for (int time = 0; time < in_.n_time; ++time) {
            for (int i = 0; i < in_.n_series; ++i)
                if (seen(i, time)) {
                    add_observation(i, time, last[i]);
                    last[i] = time;
                }
            listed_start_.push_back(static_cast<int>(listed_series_.size()));
            exact_start_.push_back(static_cast<int>(exact_series_.size()));
        }
        for (std::size_t i = 0; i < n; ++i) {
            const auto rows = std::count(mask_.begin() + i * t, mask_.begin() + (i + 1) * t, 1.0);
            full_[i] = kind_[i] == collapsed_series && rows == in_.n_time - (in_.ar1 ? 1 : 0);
        }
    }

    void add_observation(int i, int time, int last) {
        const std::size_t at = static_cast<std::size_t>(i) * in_.n_time;
        const double y = values_[at + time];
        if (kind_[i] != collapsed_series) {
            exact_series_.push_back(i), exact_value_.push_back(y);
            return;
        }
        const int gap = in_.ar1 && last >= 0 ? time - last : 0;
        const double y0 = gap ? values_[at + last] : 0;
        double* c = counts_.data() + (static_cast<std::size_t>(i) * (max_gap_ + 1) + gap) * 4;
        c[0] += 1, c[1] += y * y, c[2] += y * y0, c[3] += y0 * y0;
        if (gap == (in_.ar1 ? 1 : 0)) {
            now_[at + time] = y, before_[at + time] = y0, mask_[at + time] = 1;
            return;
        }
        listed_series_.push_back(i), listed_gap_.push_back(gap);
        listed_now_.push_back(y), listed_before_.push_back(y0);
    }

    // Times whose rows have the same coefficients as those of the time before.
    void find_repeats() {
        const std::size_t t = in_.n_time;
        same_.assign(t, 0);
        auto plain = [&](std::size_t time) {
            return listed_start_[time] == listed_start_[time + 1] && exact_start_[time] == exact_start_[time + 1];
        };
        for (std::size_t time = in_.ar1 ? 2 : 1; time < t; ++time) {
            bool same = plain(time) && plain(time - 1);
            for (std::size_t i = 0; same && i < static_cast<std::size_t>(in_.n_series); ++i)
                same = mask_[i * t + time] == mask_[i * t + time - 1];
            same_[time] = same;
        }
    }

    PanelInput in_;
    int n_lags_ = 0, initial_lags_ = 0, n_states_ = 0, max_gap_ = 0, n_free_ = 0;
    std::vector<int> kind_, extra_;
    std::vector<unsigned char> full_, loads_, observed_, same_;
    std::vector<double> values_, now_, before_, mask_, counts_;
    std::vector<int> listed_start_, listed_series_, listed_gap_, exact_start_, exact_series_;
    std::vector<double> listed_now_, listed_before_, exact_value_;
};

}  // namespace isthmus
