"""The compiled kernel's builds and its plain twin solve the same problems: random ones and awkward ones."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from glm_cases import awkward_counts, nb_counts

FIELDS = ("mean_coef", "dispersion_coef", "log_likelihood", "n_iter", "code", "expected_info", "neg_hessian")
OK, POISSON_LIMIT, NOT_CONVERGED, ALL_ZERO = range(4)


WIDER = ("avx2", "avx512")
FLAGS = {"avx2": (" avx2", " fma"), "avx512": (" avx2", " fma", " avx512f", " avx512dq", " avx512vl")}


def wider_kernels() -> list[str]:
    """Those that this processor runs beside the baseline, the widest last."""
    info = Path("/proc/cpuinfo")
    flags = info.read_text() if info.exists() else ""
    return [name for name in WIDER if all(flag in flags for flag in FLAGS[name])]


def random_case(seed: int, n_cells: int, means, alphas, *, categorical: bool, dispersion: str) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    group, batch = rng.permutation(np.arange(n_cells) % 2), rng.permutation(np.arange(n_cells) % 3)
    age = rng.normal(size=n_cells)
    x = np.column_stack([np.ones(n_cells), group, batch == 1, batch == 2]).astype(float)
    x = x if categorical else np.column_stack([x, age, rng.normal(size=n_cells)])
    z = {"none": x[:, :0], "one": x[:, :1], "group": x[:, :2], "age": np.column_stack([x[:, 0], age])}[dispersion]
    offset = rng.normal(0, 0.45, n_cells)
    eta = np.log(means) + x[:, 1:] @ rng.normal(0, 0.4, (x.shape[1] - 1, len(means))) + offset[:, None]
    return {"counts": nb_counts(rng, np.exp(eta), alphas), "x": x, "z": z, "offset": offset}


def awkward_case() -> dict[str, np.ndarray]:
    y, cells, _ = awkward_counts()
    x = np.column_stack([np.ones(len(y)), cells["group"] == "b"]).astype(float)
    return {"counts": y, "x": x, "z": x[:, :1], "offset": np.zeros(len(y))}


def gene_offset_case() -> dict[str, np.ndarray]:
    case = random_case(9, 150, np.array([1.0, 4.0, 20.0]), 0.5, categorical=False, dispersion="group")
    return case | {"gene_offset": np.random.default_rng(9).normal(0, 0.5, case["counts"].shape)}


MEANS, ALPHAS = np.exp(np.linspace(np.log(0.05), np.log(200), 24)), np.tile([0.05, 0.4, 2.0, 10.0], 6)
CASES = {
    "categorical": random_case(1, 400, MEANS, ALPHAS, categorical=True, dispersion="one"),
    "continuous": random_case(2, 400, MEANS, ALPHAS, categorical=False, dispersion="one"),
    "two-group dispersion": random_case(3, 400, MEANS, ALPHAS, categorical=True, dispersion="group"),
    "continuous dispersion": random_case(4, 400, MEANS[6:], ALPHAS[6:], categorical=False, dispersion="age"),
    "poisson": random_case(5, 400, MEANS, ALPHAS, categorical=False, dispersion="none"),
    "few cells": random_case(6, 13, MEANS, ALPHAS, categorical=True, dispersion="one"),
    "large counts": random_case(7, 60, np.array([1e3, 1e4, 1e5, 1e6]), np.array([0.01, 0.1, 1.0, 3.0]),
                                categorical=False, dispersion="one"),
    "awkward": awkward_case(),
    "offset per gene": gene_offset_case(),
}  # fmt: skip

FIT_ALL = """
import sys
import numpy as np, scipy.sparse as sp
from isthmus.glm.kernel import fit_genes
given, out = np.load(sys.argv[1]), {}
for name in given["names"]:
    case = {part: given[f"{name}/{part}"] for part in ("counts", "x", "z", "offset")}
    extra = {"gene_offset": given[f"{name}/gene_offset"]} if f"{name}/gene_offset" in given else {}
    fits = fit_genes(sp.csr_matrix(case.pop("counts")), *case.values(), **extra)
    out |= {f"{name}/{field}": getattr(fits, field) for field in sys.argv[3:]}
np.savez(sys.argv[2], **out)
"""


@pytest.fixture(scope="module")
def fits(tmp_path_factory):
    """Every case by every kernel, each in a process of its own: the choice is made once, at import."""
    folder = tmp_path_factory.mktemp("kernels")
    arrays = {f"{name}/{part}": array for name, case in CASES.items() for part, array in case.items()}
    np.savez(folder / "cases.npz", names=list(CASES), **arrays)

    def run(kernel: str):
        command = [sys.executable, "-c", FIT_ALL, str(folder / "cases.npz"), str(folder / f"{kernel}.npz"), *FIELDS]
        subprocess.run(command, check=True, env=os.environ | {"ISTHMUS_KERNEL": kernel})
        return np.load(folder / f"{kernel}.npz")

    kernels = ["reference", "baseline", *wider_kernels()]
    return {kernel: run(kernel) for kernel in kernels}


def of(fits, kernel: str, case: str) -> dict[str, np.ndarray]:
    return {field: fits[kernel][f"{case}/{field}"] for field in FIELDS}


def rounding(case: str) -> np.ndarray:
    """Two units in the last place of what cancels in a log-likelihood: y log y, 1e7 a cell at a mean of 1e6."""
    y = CASES[case]["counts"]
    return 2 * np.finfo(float).eps * (y * np.log1p(y)).sum(0)


def well_determined(fit: dict[str, np.ndarray]) -> np.ndarray:
    """Genes whose optimum lies inside: elsewhere a parameter runs to infinity and where it is stopped means nothing."""
    size = np.abs(np.nan_to_num(fit["mean_coef"])).max(0, initial=0)
    dispersion = np.abs(np.nan_to_num(fit["dispersion_coef"])).max(0, initial=0)
    return np.isfinite(fit["log_likelihood"]) & (size < 18) & (dispersion < 8)


def standard_errors(fit: dict[str, np.ndarray]) -> np.ndarray:
    """Parameters x genes, from the observed information; the mean's alone at the Poisson limit."""
    errors = np.full(fit["neg_hessian"].shape[:2], np.nan)
    for row, information in zip(errors, fit["neg_hessian"], strict=True):
        known = np.isfinite(np.diag(information))
        if known.any():
            row[known] = np.sqrt(np.abs(np.diag(np.linalg.pinv(information[np.ix_(known, known)]))))
    return errors.T


@pytest.mark.parametrize("kernel", WIDER)
@pytest.mark.parametrize("case", CASES)
def test_the_builds_agree(fits, case, kernel):
    """To 1e-10 relative: fused multiply-adds round otherwise, and so do reciprocals; nothing else differs."""
    if kernel not in fits:
        pytest.skip(f"this processor does not run {kernel}")
    one, two = of(fits, "baseline", case), of(fits, kernel, case)
    np.testing.assert_array_equal(one["code"], two["code"])
    value, other = one["log_likelihood"], two["log_likelihood"]
    assert (np.abs(value - other) <= 1e-10 * np.abs(value) + rounding(case))[np.isfinite(value)].all()
    inside = well_determined(one)
    # A score that sums counts of 1e6 has an error of their last digits; a Newton step turns it into one of the
    # estimate.
    errors = standard_errors(one)[:, inside]
    last_digits = 4 * np.finfo(float).eps * CASES[case]["counts"].sum(0)[inside] * errors**2
    ours, theirs = (np.vstack([fit["mean_coef"], fit["dispersion_coef"]])[:, inside] for fit in (one, two))
    known = np.isfinite(errors)
    assert (np.abs(ours - theirs) <= 1e-10 * np.abs(ours) + 1e-10 + last_digits)[known].all()


# Both stop when another Newton step promises under 1e-8 log-likelihood units, which is sqrt(2e-8) = 1.4e-4 standard
# errors from the optimum, and take that step, which leaves about the square of the distance.
DISTANCE = 1e-6


@pytest.mark.parametrize("kernel", ["baseline", *WIDER])
@pytest.mark.parametrize("case", CASES)
def test_twin_and_compiled_kernel_agree(fits, kernel, case):
    if kernel not in fits:
        pytest.skip(f"this processor does not run {kernel}")
    plain, compiled = of(fits, "reference", case), of(fits, kernel, case)
    np.testing.assert_array_equal(plain["code"], compiled["code"])
    value, other = plain["log_likelihood"], compiled["log_likelihood"]
    assert (np.abs(value - other) <= 1e-8 * np.abs(value) + 2e-8 + rounding(case))[np.isfinite(value)].all()
    inside = well_determined(plain)
    ours, theirs = (np.vstack([fit["mean_coef"], fit["dispersion_coef"]])[:, inside] for fit in (compiled, plain))
    errors = standard_errors(plain)[:, inside]
    known = np.isfinite(errors)
    assert (np.abs(ours - theirs) <= DISTANCE * errors)[known].all()
    assert (np.isfinite(ours) == np.isfinite(theirs)).all()
    for field in ("expected_info", "neg_hessian"):
        size = np.nanmax(np.abs(plain[field][inside]), axis=(1, 2), keepdims=True)
        np.testing.assert_allclose(
            compiled[field][inside] / size, plain[field][inside] / size, atol=1e-6, err_msg=field
        )


@pytest.mark.parametrize("case", CASES)
def test_no_gene_is_left_unconverged(fits, case):
    for kernel in fits:
        assert (of(fits, kernel, case)["code"] != NOT_CONVERGED).all(), kernel


def test_codes_of_the_awkward_genes(fits):
    expected = [OK, ALL_ZERO, OK, POISSON_LIMIT, POISSON_LIMIT, OK, OK, OK, POISSON_LIMIT]
    for kernel in fits:
        np.testing.assert_array_equal(of(fits, kernel, "awkward")["code"], expected, err_msg=kernel)


def test_the_compiled_kernel_is_the_one_that_runs():
    """Without ISTHMUS_KERNEL a missing extension is an error, and the best build for this processor is taken."""
    import isthmus

    assert "ISTHMUS_KERNEL" not in os.environ
    fit = isthmus.fit_glm(np.array([[1.0], [2.0], [5.0], [0.0]]), size_factors=None)
    assert fit.kernel == ["baseline", *wider_kernels()][-1]


@pytest.mark.parametrize("kernel", ["reference", "baseline"])
def test_a_kernel_can_be_forced(kernel):
    code = "import numpy, isthmus; print(isthmus.fit_glm(numpy.arange(9.)[:, None], size_factors=None).kernel)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"ISTHMUS_KERNEL": kernel},
    )
    assert done.stdout.strip() == kernel


def test_an_unknown_kernel_is_an_error():
    done = subprocess.run(
        [sys.executable, "-c", "import numpy, isthmus; isthmus.fit_glm(numpy.ones((4, 1)), size_factors=None)"],
        capture_output=True, text=True, check=False, env=os.environ | {"ISTHMUS_KERNEL": "quantum"},
    )  # fmt: skip
    assert done.returncode != 0
    assert "ISTHMUS_KERNEL" in done.stderr
    assert "quantum" in done.stderr


def test_starts_do_not_move_the_optimum():
    from isthmus.glm.kernel import fit_genes

    case = CASES["continuous"]
    arguments = (sp.csr_matrix(case["counts"]), case["x"], case["z"], case["offset"])
    plain = fit_genes(*arguments)
    n_genes = case["counts"].shape[1]
    started = fit_genes(
        *arguments, start_mean=np.zeros((case["x"].shape[1], n_genes)), start_dispersion=np.full((1, n_genes), -1.0)
    )
    np.testing.assert_allclose(started.log_likelihood, plain.log_likelihood, rtol=1e-8, atol=1e-6)


def test_fixed_dispersion_is_kept():
    from isthmus.glm.kernel import fit_genes

    case = CASES["continuous"]
    fixed = np.log(ALPHAS)[None]
    arguments = (sp.csr_matrix(case["counts"]), case["x"], case["z"], case["offset"])
    fits = fit_genes(*arguments, start_dispersion=fixed, fix_dispersion=True)
    free = fit_genes(*arguments)
    np.testing.assert_allclose(fits.dispersion_coef, fixed, atol=1e-12)
    assert (fits.log_likelihood <= free.log_likelihood + 1e-6).all()
    mu = np.exp(case["x"] @ fits.mean_coef + case["offset"][:, None])
    score = case["x"].T @ ((case["counts"] - mu) / (1 + np.exp(fixed) * mu))
    errors = np.sqrt(np.diagonal(np.linalg.inv(fits.expected_info), axis1=1, axis2=2)).T
    assert np.abs(score * errors).max() < 1e-3


@pytest.mark.parametrize("design", ["group", "less", "age", "other"])
def test_one_layout_serves_other_designs(design):
    """Strata of another design: constant columns of it stay so, others are summed cell by cell."""
    from isthmus.glm.kernel import fit_genes, lay_out

    rng = np.random.default_rng(2)
    n = 900
    group, batch = rng.integers(0, 2, n), rng.integers(0, 3, n)
    one, age = np.ones(n), rng.normal(size=n)
    full = np.column_stack([one, group, batch == 1, batch == 2]).astype(float)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]  # products whose last digits may differ from row to row
    x = {
        "group": full,
        "less": full[:, :3] @ turn,
        "age": np.column_stack([full, age]),
        "other": np.column_stack([one, rng.integers(0, 2, n)]),
    }[design]
    z, offset = np.ones((n, 1)), rng.normal(0, 0.3, n)
    mu = np.exp(offset)[:, None] * np.exp(rng.normal(0, 1, 12))
    counts = sp.csr_matrix(nb_counts(rng, mu * np.exp(0.4 * group)[:, None], np.full(12, 0.4)))
    laid_out, chosen = lay_out(counts, full, z), np.array([7, 2, 11])
    ours, own = fit_genes(counts, x, z, offset, laid_out=laid_out, chosen=chosen), fit_genes(counts, x, z, offset)
    np.testing.assert_allclose(ours.log_likelihood, own.log_likelihood[chosen], rtol=1e-10)
    np.testing.assert_allclose(ours.mean_coef, own.mean_coef[:, chosen], atol=1e-7)
    np.testing.assert_array_equal(ours.code, own.code[chosen])
    if design == "less":
        assert (ours.n_nodes > 0).all(), "its rows follow from those of the layout"
    with pytest.raises(ValueError, match="`genes` must be genes of `laid_out`"):
        fit_genes(counts, x, z, offset, laid_out=laid_out, chosen=np.array([12]))
    with pytest.raises(ValueError, match="must have one row per cell"):
        fit_genes(counts, x[:-1], z[:-1], offset[:-1], laid_out=laid_out, chosen=chosen)


@pytest.mark.parametrize("case", ["covariate", "nodes"])
def test_counts_of_any_size_are_fitted_alike(case):
    """One count beyond 16 bits and all genes are laid out wide; more cells than a block of places holds."""
    from isthmus.glm.kernel import fit_genes

    rng = np.random.default_rng(8)
    n = (1 << 16) + 4_000
    group, one = rng.integers(0, 2, n), np.ones(n)
    x = np.column_stack([one, group] + ([rng.normal(size=n)] if case == "covariate" else [])).astype(float)
    offset = rng.normal(0, 0.3, n)
    counts = sp.random(n, 5, density=0.05, format="csr", random_state=2, data_rvs=lambda k: rng.integers(1, 300, k))
    beyond = sp.csr_matrix(([70_000.0, 65_536.0], ([5, n - 1], [0, 0])), shape=(n, 1))
    packed = fit_genes(counts, x, x[:, :1], offset, n_threads=2)
    wide = fit_genes(sp.hstack([counts, beyond], format="csr"), x, x[:, :1], offset)
    assert (packed.n_nodes > 0).all() == (case == "nodes")
    for name in FIELDS:
        axis = 1 if name.endswith("coef") else 0
        np.testing.assert_array_equal(getattr(packed, name), np.take(getattr(wide, name), np.arange(5), axis=axis))
