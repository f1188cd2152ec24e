// What the bindings of the GLM kernels share: checks, kernels by name, and Ctrl-C.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <optional>
#include <string>

#include "isthmus/kernel.hpp"
#include "isthmus/layout.hpp"

namespace py = pybind11;

using Doubles = py::array_t<double, py::array::forcecast>;

inline void require(bool ok, const std::string& message) {
    if (!ok) throw py::value_error(message);
}

inline isthmus::Kernel kernel_by_name(const std::string& name) {
    if (name == "baseline") return isthmus::baseline_kernel();
#ifdef ISTHMUS_HAVE_AVX2
    if (name == "avx2" && isthmus::runs_avx2()) return isthmus::avx2_kernel();
    if (name == "avx512" && isthmus::runs_avx512()) return isthmus::avx512_kernel();
#endif
    if (name == "auto") return isthmus::best_kernel();
    throw py::value_error(
        "`kernel` must be 'auto', 'baseline', or 'avx2' or 'avx512' (where the processor has them); got '" + name +
        "'.");
}

inline isthmus::MatrixView matrix_view(const Doubles& a, const std::string& name) {
    require(a.ndim() == 2, "`" + name + "` must have two dimensions; got " + std::to_string(a.ndim()) + ".");
    const auto size = static_cast<std::int64_t>(sizeof(double));
    return {a.data(), a.shape(0), a.shape(1), a.strides(0) / size, a.strides(1) / size};
}

// Called on the main thread, without the interpreter lock: has the user pressed Ctrl-C?
inline bool python_interrupted() {
    const py::gil_scoped_acquire gil;
    return PyErr_CheckSignals() != 0;
}

// A matrix of cells x genes, or null.
inline const double* cells_by_genes(const std::optional<Doubles>& values, py::ssize_t n_cells, int n_genes,
                                    const std::string& name, std::int64_t& cell_stride, std::int64_t& gene_stride) {
    if (!values) return nullptr;
    const isthmus::MatrixView view = matrix_view(*values, name);
    require(view.rows == n_cells && view.columns == n_genes, "`" + name + "` must be cells x genes.");
    cell_stride = view.row_stride;
    gene_stride = view.column_stride;
    return view.data;
}
