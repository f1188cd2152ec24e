// Python's view of the residual deviances of quasi-likelihood.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <atomic>
#include <optional>
#include <string>
#include <vector>

#include "common.hpp"
#include "isthmus/aligned.hpp"
#include "isthmus/parallel.hpp"

namespace {

template <class T>
using Packed = py::array_t<T, py::array::c_style | py::array::forcecast>;

// Columns of a design, cells padded to whole registers.
isthmus::Aligned<double> padded_columns(const Packed<double>& x, int n_padded) {
    const auto view = x.unchecked<2>();
    const std::size_t n = static_cast<std::size_t>(n_padded), f = static_cast<std::size_t>(x.shape(1));
    isthmus::Aligned<double> out(n * f);
    for (std::size_t c = 0; c < f; ++c)
        for (std::size_t i = 0; i < n; ++i)
            out[c * n + i] = static_cast<py::ssize_t>(i) < x.shape(0)
                                 ? view(static_cast<py::ssize_t>(i), static_cast<py::ssize_t>(c))
                                 : 0.0;
    return out;
}

isthmus::Aligned<double> padded_values(const double* values, py::ssize_t n_cells, int n_padded, double beyond) {
    isthmus::Aligned<double> out(static_cast<std::size_t>(n_padded));
    for (int i = 0; i < n_padded; ++i)
        out[static_cast<std::size_t>(i)] = i < n_cells ? (values ? values[i] : 1.0) : beyond;
    return out;
}

void check_columns(const Packed<std::int64_t>& indptr, const Packed<std::int32_t>& indices,
                   const Packed<double>& counts, py::ssize_t n_cells) {
    require(indptr.ndim() == 1 && indptr.size() > 0 && indptr.data()[0] == 0 && indices.size() == counts.size(),
            "`indptr`, `indices` and `counts` must be those of a CSC matrix.");
    for (py::ssize_t j = 1; j < indptr.size(); ++j)
        require(indptr.data()[j - 1] <= indptr.data()[j], "`indptr` must not fall.");
    require(indptr.data()[indptr.size() - 1] <= counts.size(), "`indptr` must end within `counts`.");
    for (py::ssize_t k = 0; k < indices.size(); ++k)
        require(0 <= indices.data()[k] && indices.data()[k] < n_cells, "`indices` must be cells.");
}

py::tuple quasi_deviances(const Packed<std::int64_t>& indptr, const Packed<std::int32_t>& indices,
                          const Packed<double>& counts, const Packed<double>& x, const Packed<double>& offset,
                          const Packed<double>& coef, const Packed<double>& alpha, const Packed<double>& inverse,
                          double low, double step, const Packed<double>& pieces,
                          const std::optional<Doubles>& gene_offset, const std::optional<Doubles>& weights,
                          const std::string& kernel, int n_threads) {
    require(x.ndim() == 2 && offset.ndim() == 1 && offset.shape(0) == x.shape(0),
            "`x` and `offset` must have one row per cell.");
    const py::ssize_t n_cells = x.shape(0), f = x.shape(1), n_genes = indptr.size() - 1;
    check_columns(indptr, indices, counts, n_cells);
    require(coef.ndim() == 2 && coef.shape(0) == n_genes && coef.shape(1) == f && alpha.size() == n_genes &&
                inverse.size() == n_genes * f * f,
            "`coef`, `alpha` and `inverse` must be one per gene.");
    require(pieces.ndim() == 3 && pieces.shape(0) == n_genes && pieces.shape(1) > 0 && pieces.shape(2) == 8,
            "`pieces` must be genes x pieces x 8.");
    require(n_threads >= 1, "`n_threads` must be at least 1.");
    const isthmus::Kernel chosen = kernel_by_name(kernel);
    const int n_padded =
        static_cast<int>((n_cells + isthmus::lane_count - 1) / isthmus::lane_count * isthmus::lane_count);
    const isthmus::Aligned<double> columns = padded_columns(x, n_padded),
                                   live = padded_values(nullptr, n_cells, n_padded, 0.0),
                                   fixed = padded_values(offset.data(), n_cells, n_padded, isthmus::min_eta);
    Doubles deviance(n_genes), df(n_genes);
    isthmus::QuasiProblem p{};
    p.n_padded = n_padded;
    p.n_columns = static_cast<int>(f);
    p.x = columns.data();
    p.offset = fixed.data();
    p.live = live.data();
    p.low = low;
    p.step = step;
    p.n_pieces = static_cast<int>(pieces.shape(1));
    p.pieces = pieces.data();
    p.n_genes = static_cast<int>(n_genes);
    p.gene_start = indptr.data();
    p.cell = indices.data();
    p.count = counts.data();
    p.coef = coef.data();
    p.alpha = alpha.data();
    p.inverse = inverse.data();
    p.n_cells = static_cast<int>(n_cells);
    p.gene_offset = cells_by_genes(gene_offset, n_cells, p.n_genes, "gene_offset", p.gene_offset_cell_stride,
                                   p.gene_offset_gene_stride);
    p.weights = cells_by_genes(weights, n_cells, p.n_genes, "weights", p.weight_cell_stride, p.weight_gene_stride);
    p.deviance = deviance.mutable_data();
    p.df = df.mutable_data();
    std::atomic<int> finished{0};
    bool ok = false;
    {
        const py::gil_scoped_release release;
        std::atomic<bool> stop{false};
        ok = isthmus::over_genes(
            p.n_genes, static_cast<std::size_t>(chosen.quasi_bytes(p)), n_threads, stop, finished,
            [&](int gene, char* scratch) { chosen.quasi_gene(p, gene, reinterpret_cast<double*>(scratch)); },
            python_interrupted);
    }
    if (!ok) throw py::error_already_set();
    return py::make_tuple(deviance, df);
}

}  // namespace

void bind_quasi(py::module_& m) {
    m.def("quasi_deviances", &quasi_deviances, py::kw_only(), py::arg("indptr"), py::arg("indices"), py::arg("counts"),
          py::arg("x"), py::arg("offset"), py::arg("coef"), py::arg("alpha"), py::arg("inverse"), py::arg("low"),
          py::arg("step"), py::arg("pieces"), py::arg("gene_offset").none(true), py::arg("weights").none(true),
          py::arg("kernel"), py::arg("n_threads"),
          "Residual deviances and their degrees of freedom; see isthmus.glm.quasi_deviance.");
}
