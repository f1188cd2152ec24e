// Python's view of the kernel. Bindings check shapes, release the interpreter and call; they hold no mathematics.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <string>

#include "common.hpp"
#include "isthmus/count_layout.hpp"
#include "isthmus/moments.hpp"
#include "isthmus/parallel.hpp"

namespace py = pybind11;

void bind_counts(py::module_& m);   // counts.cpp
void bind_factors(py::module_& m);  // factors.cpp
void bind_quasi(py::module_& m);    // quasi.cpp

namespace {

// Tell Python how many genes are done. True if it raised: the error is set and the fit must end.
bool report_progress(const py::object& progress, int finished) {
    if (progress.is_none()) return false;
    const py::gil_scoped_acquire gil;
    try {
        progress(finished);
    } catch (py::error_already_set& error) {
        error.restore();
        return true;
    }
    return false;
}

struct Output {
    Doubles mean_coef, dispersion_coef, log_likelihood, expected_info, neg_hessian, decrement, gradient, min_mean,
        min_dispersion, max_dispersion, mean_dispersion;
    py::array_t<std::int32_t> n_iter, code;

    Output(py::ssize_t genes, py::ssize_t f, py::ssize_t q)
        : mean_coef({genes, f}),
          dispersion_coef({genes, q}),
          log_likelihood(genes),
          expected_info({genes, f, f}),
          neg_hessian({genes, f + q, f + q}),
          decrement(genes),
          gradient({genes, f + q}),
          min_mean(genes),
          min_dispersion(genes),
          max_dispersion(genes),
          mean_dispersion(genes),
          n_iter(genes),
          code(genes) {}

    isthmus::Results view() {
        return {mean_coef.mutable_data(),
                dispersion_coef.mutable_data(),
                log_likelihood.mutable_data(),
                expected_info.mutable_data(),
                neg_hessian.mutable_data(),
                decrement.mutable_data(),
                gradient.mutable_data(),
                min_mean.mutable_data(),
                min_dispersion.mutable_data(),
                max_dispersion.mutable_data(),
                mean_dispersion.mutable_data(),
                n_iter.mutable_data(),
                code.mutable_data()};
    }

    py::dict dict() const {
        py::dict out;
        out["mean_coef"] = mean_coef;
        out["dispersion_coef"] = dispersion_coef;
        out["log_likelihood"] = log_likelihood;
        out["expected_info"] = expected_info;
        out["neg_hessian"] = neg_hessian;
        out["decrement"] = decrement;
        out["gradient"] = gradient;
        out["min_mu"] = min_mean;
        out["min_alpha"] = min_dispersion;
        out["max_alpha"] = max_dispersion;
        out["mean_alpha"] = mean_dispersion;
        out["n_iter"] = n_iter;
        out["code"] = code;
        return out;
    }
};

struct Counts {
    py::array indptr, indices, data;
    std::int64_t n_cells;
    int first, last, n_threads;
};

template <class Index, class Value>
isthmus::CountLayout lay_out(const Counts& c, const isthmus::CellLayout& cells) {
    const auto* indptr = static_cast<const Index*>(c.indptr.data());
    const auto* indices = static_cast<const Index*>(c.indices.data());
    const auto* data = static_cast<const Value*>(c.data.data());
    const py::gil_scoped_release release;
    return isthmus::lay_out_counts(indptr, indices, data, cells, c.first, c.last, c.n_threads);
}

template <class Index>
isthmus::CountLayout lay_out_values(const Counts& c, const isthmus::CellLayout& cells) {
    if (py::isinstance<py::array_t<double>>(c.data)) return lay_out<Index, double>(c, cells);
    if (py::isinstance<py::array_t<float>>(c.data)) return lay_out<Index, float>(c, cells);
    if (py::isinstance<py::array_t<std::int32_t>>(c.data)) return lay_out<Index, std::int32_t>(c, cells);
    if (py::isinstance<py::array_t<std::int64_t>>(c.data)) return lay_out<Index, std::int64_t>(c, cells);
    throw py::value_error("`data` must hold float64, float32, int32 or int64.");
}

isthmus::CountLayout lay_out_any(const Counts& c, const isthmus::CellLayout& cells) {
    if (py::isinstance<py::array_t<std::int32_t>>(c.indices)) return lay_out_values<std::int32_t>(c, cells);
    if (py::isinstance<py::array_t<std::int64_t>>(c.indices)) return lay_out_values<std::int64_t>(c, cells);
    throw py::value_error("`indices` must hold int32 or int64.");
}

void check_counts(const Counts& c) {
    require(c.indptr.ndim() == 1 && c.indices.ndim() == 1 && c.data.ndim() == 1,
            "`indptr`, `indices` and `data` must have one dimension.");
    require(c.indptr.dtype().is(c.indices.dtype()), "`indptr` and `indices` must have the same type.");
    require(c.indptr.shape(0) == c.n_cells + 1, "`indptr` must have one entry more than there are cells.");
    require(c.indices.shape(0) == c.data.shape(0), "`indices` and `data` must have the same length.");
    require(0 <= c.first && c.first <= c.last, "`first_gene` must not lie above `last_gene`.");
    require((c.indptr.flags() & py::array::c_style) && (c.indices.flags() & py::array::c_style) &&
                (c.data.flags() & py::array::c_style),
            "`indptr`, `indices` and `data` must be contiguous.");
}

using MaybeDoubles = std::optional<py::array_t<double, py::array::c_style | py::array::forcecast>>;

const double* vector_or_null(const MaybeDoubles& values, std::int64_t n, const std::string& name) {
    if (!values) return nullptr;
    require(values->ndim() == 1 && values->shape(0) == n, "`" + name + "` must have one value per cell.");
    return values->data();
}

// The counts of some genes, laid out in strata of cells. Any design can be fitted to them.
struct LaidOut {
    isthmus::Strata strata;
    isthmus::CountLayout counts;
    mutable isthmus::Moments moments;
    std::int64_t n_cells() const { return static_cast<std::int64_t>(strata.of_cell.size()); }
    int n_genes() const { return static_cast<int>(counts.n_genes()); }
};

std::unique_ptr<LaidOut> lay_out_genes(const py::array& indptr, const py::array& indices, const py::array& data,
                                       int first_gene, int last_gene, const Doubles& x, const Doubles& z,
                                       const MaybeDoubles& dispersion_offset, int n_threads) {
    const isthmus::MatrixView xv = matrix_view(x, "x"), zv = matrix_view(z, "z");
    const Counts counts{indptr, indices, data, xv.rows, first_gene, last_gene, n_threads};
    check_counts(counts);
    require(zv.rows == xv.rows, "`x` and `z` must have one row per cell.");
    require(n_threads >= 1, "`n_threads` must be at least 1.");
    auto out = std::make_unique<LaidOut>();
    out->strata = isthmus::find_strata(xv, zv, vector_or_null(dispersion_offset, xv.rows, "dispersion_offset"));
    isthmus::CellLayout cells;
    isthmus::place_cells(out->strata.of_cell, out->strata.n, cells);
    out->counts = lay_out_any(counts, cells);
    return out;
}

// Where the counts of chosen genes begin and end.
struct Chosen {
    std::vector<std::int64_t> gene, start, stop, block_stop;

    Chosen(const LaidOut& laid_out, const py::array_t<std::int64_t, py::array::c_style>& genes) {
        for (py::ssize_t i = 0; i < genes.size(); ++i) {
            const std::int64_t own = genes.data()[i];
            require(0 <= own && own < laid_out.n_genes(), "`genes` must be genes of `laid_out`.");
            gene.push_back(own);
            start.push_back(laid_out.counts.gene_start[static_cast<std::size_t>(own)]);
            stop.push_back(laid_out.counts.gene_start[static_cast<std::size_t>(own) + 1]);
            const auto blocks = laid_out.counts.block_stop.begin() + own * laid_out.counts.n_blocks;
            block_stop.insert(block_stop.end(), blocks, blocks + laid_out.counts.n_blocks);
        }
    }
    void choose(isthmus::Problem& p) const {
        p.n_genes = static_cast<int>(start.size());
        p.gene_start = start.data();
        p.gene_stop = stop.data();
        p.block_stop = block_stop.data();
    }
};

// The free parameters to start from, genes x parameters, or none.
const double* start_values(const MaybeDoubles& start, py::ssize_t genes, py::ssize_t columns, const std::string& name) {
    if (!start) return nullptr;
    require(start->ndim() == 2 && start->shape(0) == genes && start->shape(1) == columns,
            "`" + name + "` must be genes x free parameters.");
    return start->data();
}

py::dict fit_genes(const LaidOut& laid_out, const py::array_t<std::int64_t, py::array::c_style>& genes,
                   const Doubles& x, const Doubles& z,
                   const py::array_t<double, py::array::c_style | py::array::forcecast>& offset,
                   const MaybeDoubles& dispersion_offset, const std::optional<Doubles>& gene_offset,
                   const std::optional<Doubles>& weights, const MaybeDoubles& start_mean,
                   const MaybeDoubles& start_dispersion, bool fix_dispersion, int max_iter, double tol, int n_threads,
                   const std::string& kernel, bool use_nodes, bool keep_moments, const py::object& progress) {
    const isthmus::MatrixView xv = matrix_view(x, "x"), zv = matrix_view(z, "z");
    require(laid_out.n_cells() == xv.rows && zv.rows == xv.rows && offset.ndim() == 1 && offset.shape(0) == xv.rows,
            "`x`, `z` and `offset` must have one row per cell.");
    require(n_threads >= 1, "`n_threads` must be at least 1.");
    const isthmus::Kernel chosen = kernel_by_name(kernel);
    const double* fixed = vector_or_null(dispersion_offset, xv.rows, "dispersion_offset");
    const isthmus::CellLayout cells = isthmus::lay_out_cells(laid_out.strata, xv, zv, offset.data(), fixed);
    isthmus::Problem problem = isthmus::make_problem(cells, laid_out.counts, xv.rows);
    const Chosen chosen_genes(laid_out, genes);
    chosen_genes.choose(problem);
    problem.gene_offset = cells_by_genes(gene_offset, xv.rows, problem.n_genes, "gene_offset",
                                         problem.gene_offset_cell_stride, problem.gene_offset_gene_stride);
    problem.weights = cells_by_genes(weights, xv.rows, problem.n_genes, "weights", problem.weight_cell_stride,
                                     problem.weight_gene_stride);
    const bool nodes_hold = use_nodes && !problem.gene_offset && !problem.weights;
    const isthmus::NodeLayout nodes = nodes_hold ? isthmus::lay_out_nodes(cells) : isthmus::NodeLayout();
    problem.nodes = nodes.view();
    const isthmus::BinLayout bins = nodes_hold && !nodes.n ? isthmus::lay_out_bins(cells) : isthmus::BinLayout();
    problem.bins = bins.view();
    std::unique_lock<std::mutex> lent;
    if (keep_moments) lent = laid_out.moments.lend(chosen.name, cells, laid_out.n_genes(), chosen_genes.gene, problem);
    problem.start_mean = start_values(start_mean, problem.n_genes, xv.columns, "start_mean");
    problem.start_dispersion = start_values(start_dispersion, problem.n_genes, zv.columns, "start_dispersion");
    problem.fix_dispersion = fix_dispersion;
    problem.max_iter = max_iter;
    problem.tol = tol;
    Output output(problem.n_genes, xv.columns, zv.columns);
    const isthmus::Results results = output.view();
    std::atomic<int> finished{0};
    bool ok = false;
    {
        const py::gil_scoped_release release;
        ok = isthmus::fit_genes(chosen, problem, results, laid_out.counts.most_nonzero, n_threads, finished,
                                [&] { return report_progress(progress, finished) || python_interrupted(); });
    }
    if (!ok) throw py::error_already_set();
    py::dict out = output.dict();
    out["kernel"] = chosen.name;
    out["n_strata"] = problem.n_strata;
    out["n_nodes"] = nodes.n;
    return out;
}

// A loop that does nothing for a while: the tests interrupt it.
void spin(double seconds) {
    std::atomic<bool> stop{false};
    auto work = [&](int) {
        const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
        while (!stop && std::chrono::steady_clock::now() < end)
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
    };
    bool ok = false;
    {
        const py::gil_scoped_release release;
        ok = isthmus::run_threads(2, stop, work, python_interrupted);
    }
    if (!ok) throw py::error_already_set();
}

}  // namespace

PYBIND11_MODULE(_core, m) {
    m.doc() = "Compiled kernels of isthmus. Call them through the typed wrappers in isthmus.glm.kernel.";
    py::class_<LaidOut>(m, "LaidOut", "Counts gene by gene, in strata of cells; see isthmus.glm.kernel.lay_out.")
        .def(py::init(&lay_out_genes), py::kw_only(), py::arg("indptr"), py::arg("indices"), py::arg("data"),
             py::arg("first_gene"), py::arg("last_gene"), py::arg("x"), py::arg("z"),
             py::arg("dispersion_offset").none(true), py::arg("n_threads"))
        .def_property_readonly("n_genes", &LaidOut::n_genes);
    m.def("fit_genes", &fit_genes, py::kw_only(), py::arg("laid_out"), py::arg("genes"), py::arg("x"), py::arg("z"),
          py::arg("offset"), py::arg("dispersion_offset").none(true), py::arg("gene_offset").none(true),
          py::arg("weights").none(true), py::arg("start_mean").none(true), py::arg("start_dispersion").none(true),
          py::arg("fix_dispersion"), py::arg("max_iter"), py::arg("tol"), py::arg("n_threads"), py::arg("kernel"),
          py::arg("use_nodes"), py::arg("keep_moments"), py::arg("progress").none(true),
          "Fit chosen genes; see isthmus.glm.kernel.fit_genes.");
    m.def("spin", &spin, py::arg("seconds"), "Wait in compiled threads until the time is over or Ctrl-C is pressed.");
    bind_counts(m);
    bind_factors(m);
    bind_quasi(m);
    py::list kernels;
    kernels.append("baseline");
    if (isthmus::runs_avx2()) kernels.append("avx2");
    if (isthmus::runs_avx512()) kernels.append("avx512");
    m.attr("kernels") = py::tuple(kernels);
    py::list factor_kernels;
    factor_kernels.append("baseline");
    if (isthmus::runs_avx2()) factor_kernels.append("avx2");
    m.attr("factor_kernels") = py::tuple(factor_kernels);
}
