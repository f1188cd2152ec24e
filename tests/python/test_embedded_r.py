"""SingleCellExperiment <-> AnnData in a Python that hosts R (rpy2), with the features that testthat uses too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from anndata.tests.helpers import assert_equal
from scipy import sparse

import isthmus
from isthmus import embedded_r
from isthmus.errors import ConversionWarning, InputError, MissingDependencyError

HELPER = Path(__file__).parents[1] / "testthat" / "helper-convert.R"


@pytest.fixture(scope="module")
def ro():
    from rpy2 import robjects

    robjects.r("suppressPackageStartupMessages({library(SingleCellExperiment); library(isthmus)})")
    robjects.r["source"](str(HELPER))
    return robjects


def test_every_feature_comes_back_and_python_sees_the_right_values(ro):
    features = ro.r("one_feature()")
    for name, feature in zip(features.names, features, strict=True):
        sce = feature.rx2("change")(ro.r("plain_sce()"))
        adata = isthmus.as_anndata(sce, on_loss="error")
        sees = feature.rx2("sees")[0].replace("a.X.data.flags.writeable", "not a.X.data.flags.writeable")
        assert eval(sees, {"a": adata, "np": np, "pd": pd, "sp": sparse}), name
        assert ro.r["identical"](isthmus.as_sce(adata, on_loss="error"), sce)[0], name


def test_a_matrix_of_r_is_seen_and_not_copied(ro):
    sce = ro.r("plain_sce()")
    x = ro.r("function(s) assay(s, withDimnames = FALSE)@x")(sce)
    adata = isthmus.as_anndata(sce)
    assert adata.X.data.ctypes.data == np.frombuffer(x.memoryview()).ctypes.data
    with pytest.raises(ValueError, match="read-only"):
        adata.X.data[0] = 7
    assert adata.copy().X.data.flags.writeable


def test_views_outlive_the_object_of_r(ro):
    adata = isthmus.as_anndata(ro.r("plain_sce()"))
    before = adata.X.toarray().tolist()
    ro.r("for (i in 1:5) { gc(full = TRUE); x <- numeric(1e6) }")
    assert adata.X.toarray().tolist() == before


def test_an_anndata_is_the_same_after_a_visit_to_r(ro):
    adata = ad.AnnData(
        sparse.csc_matrix(np.arange(12, dtype="float32").reshape(4, 3)),
        obs=pd.DataFrame({"i": pd.array([1, None, 3, 4], dtype="Int64")}, index=list("wxyz")),
        layers={"n": np.arange(12).reshape(4, 3)},
        uns={"d": {"k": [1, 2], "big": 2**40, "set": np.array(["a", "b"])}},
    )
    adata.raw = adata.copy()
    sce = isthmus.as_sce(adata)
    assert ro.r["assayNames"](sce)[0] == "X"
    assert_equal(isthmus.as_anndata(sce), adata, exact=True)


def test_losses_are_one_warning_or_an_error(ro):
    adata = ad.AnnData(np.ones((2, 2)), uns={"f": print, "s": {1}})
    with pytest.warns(ConversionWarning, match=r"could not carry: uns\['f'\] \(builtin.*\); uns\['s'\] \(set\)"):
        isthmus.as_sce(adata)
    with pytest.raises(InputError, match=r"could not carry: uns\['f'\].*on_loss=\"warn\""):
        isthmus.as_sce(adata, on_loss="error")
    assert tuple(ro.r["dim"](isthmus.as_sce(adata, on_loss="ignore"))) == (2, 2)


def test_other_objects_are_refused(ro):
    with pytest.raises(InputError, match=r"`x` must be a SingleCellExperiment, another .* object; got integer"):
        isthmus.as_anndata(ro.IntVector([1, 2]))
    with pytest.raises(InputError, match="`x` must be a SingleCellExperiment that rpy2 holds, or an AnnData; got list"):
        isthmus.as_anndata([1])
    with pytest.raises(InputError, match="`adata` must be an AnnData; got DataFrame"):
        isthmus.as_sce(pd.DataFrame())
    with pytest.raises(InputError, match="`on_loss` must be one of 'warn', 'error', 'ignore'; got 'stop'"):
        isthmus.as_sce(ad.AnnData(np.ones((1, 1))), on_loss="stop")


def test_the_converter_serves_localconverter(ro):
    from rpy2.robjects.conversion import localconverter

    with localconverter(ro.default_converter + embedded_r.converter()):
        ro.globalenv["sce"] = ad.AnnData(np.arange(6.0).reshape(2, 3))
        back = ro.r("sce[, 2]")
        other = ro.r("Matrix::Matrix(1, 2, 2)")
    assert ro.r("class(sce)")[0] == "SingleCellExperiment"
    assert back.X.tolist() == [[3.0, 4.0, 5.0]]
    assert not isinstance(other, ad.AnnData)


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_a_model_called_in_the_hosted_r_says_what_to_call_and_r_ends_well():
    done = run(
        "import rpy2.robjects as ro\n"
        "print(ro.r('library(isthmus); tryCatch(fit_glm(matrix(1, 2, 2)), error = conditionMessage)')[0])\n"
        # the data, which may be wrong too, are not looked at
        "fits = 'list(fit_glm, fit_factors, fit_interactions, remove_ambient)'\n"
        "told = ro.r(f'vapply({fits}, function(fit) tryCatch(fit(letters), error = conditionMessage), \"\")')\n"
        "print(sum(text.startswith('isthmus cannot start Python') for text in told), 'of 4')"
    )
    assert "isthmus cannot start Python in an R that runs inside Python (rpy2)." in done.stdout
    assert done.stdout.splitlines()[-1] == "4 of 4"
    assert "`import isthmus; isthmus.fit_glm(adata" in done.stdout
    assert done.returncode == 0, done.stderr


def test_without_rpy2_the_command_is_named(monkeypatch):
    monkeypatch.setattr(embedded_r, "_hosted", None)
    monkeypatch.setitem(sys.modules, "rpy2", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'isthmus\[rpy2\]'"):
        isthmus.as_sce(ad.AnnData(np.ones((1, 1))))


def test_importing_isthmus_does_not_start_r():
    assert run("import sys, isthmus; assert 'rpy2' not in sys.modules").returncode == 0


def test_losses_of_an_r_object_are_named_in_python_too(ro):
    sce = ro.r("local({s <- plain_sce(); assay(s, 'twice') <- DelayedArray::DelayedArray(assay(s)) * 2; s})")
    with pytest.warns(
        ConversionWarning, match=r"`as_anndata\(\)` could not carry: assays\$twice \(DelayedMatrix\): read"
    ):
        adata = isthmus.as_anndata(sce)
    assert adata.layers["twice"][1, 2] == 2 * adata.X[1, 2]
    with pytest.raises(InputError, match=r'assays\$twice.*Use `on_loss="warn"` to convert what can be'):
        isthmus.as_anndata(sce, on_loss="error")
    assert ro.r["is"](isthmus.as_sce(adata), "SingleCellExperiment")[0]


def test_what_only_r_can_read_is_said_and_comes_back(ro, caplog):
    sce = ro.r("local({s <- plain_sce(); metadata(s) <- list(f = function(x) x + 1); s})")
    adata = isthmus.as_anndata(sce, on_loss="error")
    said = "`as_anndata()`: Python cannot read metadata$f (function). `as_sce()` puts it back."
    assert said in caplog.messages
    assert ro.r("function(s) metadata(s)$f(1)")(isthmus.as_sce(adata))[0] == 2.0


def test_a_class_of_a_newer_bioconductor_is_a_sentence(ro):
    sce = ro.r("""local({
        s <- plain_sce()
        newer <- assay(s)
        attr(newer, "class") <- structure("SVT_SparseMatrix", package = "SparseArray")
        s@assays@data@listData$counts <- newer
        s
    })""")
    with pytest.raises(InputError, match=r"got a SVT_SparseMatrix in assays\$counts, a class that it does not know"):
        isthmus.as_anndata(sce)


@pytest.mark.parametrize("odd", [["", "NA", "é", "日本", "a b"], ["line\nbreak"], ["\n\x1f\x1e\x1d"]])
@pytest.mark.parametrize("at", ["start", "end"])
def test_many_names_cross_as_they_are(ro, odd, at):
    many = [f"cell{i}" for i in range(1200)]
    names = [*odd, *many] if at == "start" else [*many, *odd]
    vector = embedded_r._r().of_python(names)
    assert list(vector) == names
    assert embedded_r._r().strings_of(vector) == names
    written = ro.r("function(x) vapply(x, function(s) paste(utf8ToInt(enc2utf8(s)), collapse = ' '), '')")(vector)
    assert list(written) == [" ".join(str(ord(c)) for c in name) for name in names]


def test_many_names_of_any_encoding_come_as_they_are(ro):
    vector = ro.r("c(rep('plain', 1000), NA, iconv('\\u00fc', 'UTF-8', 'latin1'), '\\u00fc', '')")
    assert embedded_r._r().strings_of(vector) == [*["plain"] * 1000, "NA", "ü", "ü", ""]
