// Stored counts, read once from front to back: sums of rows and columns, and how many values are no counts.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "isthmus/kernel.hpp"

namespace py = pybind11;

namespace {

template <class T>
using Values = py::array_t<T, py::array::c_style>;

constexpr int blocked = 1 << 16;

// Integers are compared as doubles: their own type may not hold `largest`.
template <class T>
void survey_block(const isthmus::Kernel& kernel, const T* x, int n, double largest, std::int64_t& n_inside,
                  std::int64_t& n_fractional) {
    if constexpr (std::is_same_v<T, double>) {
        kernel.survey_doubles(x, n, largest, n_inside, n_fractional);
    } else if constexpr (std::is_same_v<T, float>) {
        kernel.survey_floats(x, n, largest, n_inside, n_fractional);
    } else {
        for (int i = 0; i < n; ++i) n_inside += (x[i] >= 0) & (static_cast<double>(x[i]) < largest);
    }
}

// (are all in [0, largest), how many are fractional, the place of the first of these or -1)
template <class T>
py::tuple survey_values(const Values<T>& values, double largest) {
    const T* x = values.data();
    const std::int64_t n = values.size();
    const isthmus::Kernel kernel = isthmus::best_kernel();
    bool fine = true;
    std::int64_t n_fractional = 0, first = -1;
    {
        const py::gil_scoped_release release;
        for (std::int64_t start = 0; start < n && fine; start += blocked) {
            const int length = static_cast<int>(n - start < blocked ? n - start : blocked);
            std::int64_t inside = 0, part = 0;
            survey_block(kernel, x + start, length, largest, inside, part);
            fine = inside == length;
            if (part && first < 0)
                for (first = start; std::floor(static_cast<double>(x[first])) == static_cast<double>(x[first]);)
                    ++first;
            n_fractional += part;
        }
    }
    return py::make_tuple(fine, n_fractional, first);
}

template <class I>
void check_rows(const Values<I>& indptr, py::ssize_t n_stored) {
    const I* ends = indptr.data();
    bool fine = indptr.ndim() == 1 && indptr.size() > 0 && ends[0] >= 0 && ends[indptr.size() - 1] <= n_stored;
    for (py::ssize_t row = 1; fine && row < indptr.size(); ++row) fine = ends[row - 1] <= ends[row];
    if (!fine) throw py::value_error("`indptr` must rise from 0 to at most the number of stored values.");
}

// (do all columns lie in [0, n_columns), do they rise within every row)
template <class I>
py::tuple survey_columns(const Values<I>& indptr, const Values<I>& indices, std::int64_t n_columns) {
    check_rows(indptr, indices.size());
    const I *ends = indptr.data(), *column = indices.data();
    const py::ssize_t n_rows = indptr.size() - 1;
    const auto limit = static_cast<std::make_unsigned_t<I>>(n_columns);
    bool inside = true, rising = true;
    {
        const py::gil_scoped_release release;
        for (py::ssize_t row = 0; row < n_rows; ++row) {
            int outside = 0, falls = 0;
            for (I k = ends[row]; k < ends[row + 1]; ++k)
                outside |= static_cast<std::make_unsigned_t<I>>(column[k]) >= limit;
            for (I k = ends[row] + 1; k < ends[row + 1]; ++k) falls |= column[k] <= column[k - 1];
            inside &= !outside;
            rising &= !falls;
        }
    }
    return py::make_tuple(inside, rising);
}

template <class I, class T>
py::array_t<double> row_sums(const Values<I>& indptr, const Values<T>& values) {
    check_rows(indptr, values.size());
    const py::ssize_t n_rows = indptr.size() - 1;
    py::array_t<double> sums(n_rows);
    double* out = sums.mutable_data();
    const I* ends = indptr.data();
    const T* x = values.data();
    const py::gil_scoped_release release;
    for (py::ssize_t row = 0; row < n_rows; ++row) {
        double sum = 0;
#pragma omp simd reduction(+ : sum)
        for (I k = ends[row]; k < ends[row + 1]; ++k) sum += static_cast<double>(x[k]);
        out[row] = sum;
    }
    return sums;
}

// Over the rows that are marked.
template <class I, class T>
py::array_t<double> column_sums(const Values<I>& indptr, const Values<I>& indices, const Values<T>& values,
                                const Values<std::uint8_t>& rows, py::ssize_t n_columns) {
    check_rows(indptr, values.size());
    const bool sizes = indices.size() == values.size() && rows.size() == indptr.size() - 1 && n_columns >= 0;
    if (!sizes) throw py::value_error("`indices` must be one per stored value, `rows` one per row.");
    py::array_t<double> sums(n_columns);
    double* out = sums.mutable_data();
    const I *ends = indptr.data(), *column = indices.data();
    const T* x = values.data();
    const std::uint8_t* marked = rows.data();
    const py::ssize_t n_rows = indptr.size() - 1;
    bool inside = true;
    {
        const py::gil_scoped_release release;
        for (py::ssize_t j = 0; j < n_columns; ++j) out[j] = 0;
        for (py::ssize_t row = 0; row < n_rows && inside; ++row) {
            if (!marked[row]) continue;
            for (I k = ends[row]; k < ends[row + 1]; ++k) {
                const I j = column[k];
                inside = j >= 0 && j < n_columns;
                if (!inside) break;
                out[j] += static_cast<double>(x[k]);
            }
        }
    }
    if (!inside) throw py::value_error("`indices` must be columns of the matrix.");
    return sums;
}

template <class I, class T>
void bind_sums(py::module_& m) {
    m.def("row_sums", &row_sums<I, T>, py::arg("indptr").noconvert(), py::arg("values").noconvert());
    m.def("column_sums", &column_sums<I, T>, py::arg("indptr").noconvert(), py::arg("indices").noconvert(),
          py::arg("values").noconvert(), py::arg("rows").noconvert(), py::arg("n_columns"));
}

template <class I>
void bind_columns(py::module_& m) {
    m.def("survey_columns", &survey_columns<I>, py::arg("indptr").noconvert(), py::arg("indices").noconvert(),
          py::arg("n_columns"));
}

template <class T>
void bind_values(py::module_& m) {
    m.def("survey_values", &survey_values<T>, py::arg("values").noconvert(), py::arg("largest"));
    bind_sums<std::int32_t, T>(m);
    bind_sums<std::int64_t, T>(m);
}

}  // namespace

void bind_counts(py::module_& m) {
    bind_values<float>(m);
    bind_values<double>(m);
    bind_values<std::int32_t>(m);
    bind_values<std::int64_t>(m);
    bind_columns<std::int32_t>(m);
    bind_columns<std::int64_t>(m);
}
