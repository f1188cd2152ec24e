"""Designs from formulas and matrices, and the sentence for each thing that can be wrong with one."""

import json
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import patsy
import pytest
from formulaic import model_matrix
from scipy import sparse
from scipy.interpolate import CubicSpline

from isthmus.data import apply_design, design_matrix, read_counts, read_design
from isthmus.data.design import Design
from isthmus.errors import InputError
from isthmus.glm.constraints import resolve_constraints
from isthmus.glm.rank import rank

CONTRACT = json.loads((Path(__file__).parents[1] / "contract" / "formulas.json").read_text())


def contract_cells() -> pd.DataFrame:
    cells = pd.DataFrame(CONTRACT["data"]["columns"])
    for kind, ordered in (("factors", False), ("ordered", True)):
        for name, levels in CONTRACT["data"][kind].items():
            cells[name] = pd.Categorical(cells[name], categories=levels, ordered=ordered)
    return cells


@pytest.fixture
def cells() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "condition": ["ctrl", "ctrl", "stim", "stim", "ctrl", "stim"],
            "batch": pd.Categorical(["b2", "b1", "b2", "b1", "b1", "b2"], categories=["b2", "b1"]),
            "dose": [0.0, 1.0, 2.0, 4.0, 3.0, 0.5],
            "plate": [2, 10, 1, 2, 10, 1],
            "flag": [True, False, True, True, False, False],
            "cell type": list("xyxyxx"),
        },
        index=[f"c{i}" for i in range(1, 7)],
    )


# --- the contract with R
# ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", CONTRACT["agree"], ids=lambda entry: entry["python"])
def test_formulas_give_the_columns_of_r(entry):
    design = design_matrix(contract_cells(), entry["python"])
    assert list(design.columns) == entry["names"]["python"]
    np.testing.assert_allclose(design, np.array(entry["columns"], dtype=float).T, rtol=0, atol=1e-10)


def test_the_contract_holds_25_formulas():
    assert len({entry["python"] for entry in CONTRACT["agree"]}) == 25


@pytest.mark.parametrize("entry", CONTRACT["differ"], ids=lambda entry: entry["python"])
def test_formulas_that_differ_span_the_same_space(entry):
    design = design_matrix(contract_cells(), entry["python"])
    in_r = np.array(entry["columns"], dtype=float).T
    assert list(design.columns) == entry["names"]["python"]
    assert design.shape != in_r.shape or not np.allclose(design, in_r)
    assert rank(design.to_numpy()) == rank(in_r) == rank(np.hstack([design, in_r]))


# --- formulas
# -----------------------------------------------------------------------------------------------------------------


def test_numbers_are_numbers_and_everything_else_is_a_factor(cells):
    design = read_design("~ condition + batch + dose + flag", 6, cells)
    assert design.names == ("Intercept", "condition[T.stim]", "batch[T.b1]", "dose", "flag[T.True]")
    assert design.terms == {"Intercept": (0,), "condition": (1,), "batch": (2,), "dose": (3,), "flag": (4,)}
    assert design.matrix.dtype == np.float64
    assert design.matrix.flags.c_contiguous
    assert list(design.frame.columns) == ["condition", "batch", "dose", "flag"]
    assert (design.formula, design.language, design.removed, design.dummies) == (
        "~ condition + batch + dose + flag",
        "python",
        (),
        {},
    )


def test_as_categorical_and_as_numeric_win_over_the_dtype(cells):
    assert list(design_matrix(cells, "~ plate", as_categorical="plate").columns) == [
        "Intercept",
        "plate[T.2]",
        "plate[T.10]",
    ]
    floats = cells.assign(plate=cells["plate"].astype(float))
    assert list(design_matrix(floats, "~ plate", as_categorical=["plate"]).columns)[1:] == ["plate[T.2]", "plate[T.10]"]
    as_text = cells.assign(plate=pd.Categorical(cells["plate"].astype(str)))
    numbers = design_matrix(as_text, "~ plate", as_numeric=("plate",))
    assert list(numbers["plate"]) == [2, 10, 1, 2, 10, 1]


def test_labels_that_read_the_same_are_one_level(cells):
    mixed = cells.assign(mixed=[1, "1", 2.0, "2", "x", 1])
    assert list(design_matrix(mixed, "~ mixed").columns) == ["Intercept", "mixed[T.2]", "mixed[T.x]"]


def test_whole_numbers_keep_their_names_in_c(cells):
    assert list(design_matrix(cells, "~ C(plate)").columns) == ["Intercept", "C(plate)[T.2]", "C(plate)[T.10]"]


def test_functions_names_with_spaces_and_other_tables(cells):
    design = design_matrix(cells, "~ np.log(dose + 1) + sqrt(dose) + log1p(dose) + `cell type`")
    np.testing.assert_allclose(design["np.log(dose + 1)"], np.log1p(cells["dose"]))
    np.testing.assert_allclose(design["log1p(dose)"], design["np.log(dose + 1)"])
    assert list(design["cell type[T.y]"]) == [0, 1, 0, 1, 0, 0]
    assert list(design.index) == list(cells.index)
    adata = anndata.AnnData(sparse.csr_matrix((6, 1)), obs=cells)
    pd.testing.assert_frame_equal(design_matrix(adata, "~ dose"), design_matrix(cells, "~ dose"))
    assert list(design_matrix(cells, "~ C(`cell type`)").columns)[1:] == ["C(`cell type`)[T.y]"]


def test_the_variables_of_the_caller_are_out_of_reach(cells):
    scale_of_mine = 3.0  # noqa: F841
    with pytest.raises(InputError, match="uses 'scale_of_mine', which is no column"):
        design_matrix(cells, "~ I(dose * scale_of_mine)")


def test_ns_is_a_natural_spline():
    x = np.linspace(0, 1, 200) ** 2
    cells = pd.DataFrame({"x": x})
    design = read_design("~ ns(x, knots=(0.2, 0.5))", 200, cells)
    knots = np.array([0.0, 0.2, 0.5, 1.0])
    natural = CubicSpline(knots, [1.0, -2.0, 0.5, 3.0], bc_type="natural")
    weights, *_ = np.linalg.lstsq(design.matrix, natural(x), rcond=None)
    np.testing.assert_allclose(design.matrix @ weights, natural(x), atol=1e-10)
    # beyond the boundary the curve is the tangent line
    beyond = apply_design(design, pd.DataFrame({"x": [-1.0, 2.0]})) @ weights
    np.testing.assert_allclose(beyond, [natural(0) - natural(0, 1), natural(1) + natural(1, 1)], atol=1e-8)


@pytest.mark.parametrize(
    ("formula", "text"),
    [
        ("~ conditon", r"`design` uses 'conditon', which is no column of the cells' data. Did you mean `condition`\?"),
        ("~ log(zzz)", r"uses 'zzz', which is no column of the cells' data. There are: `condition`, `batch`"),
        ("~ offset(dose)", r"`design` must not hold offset\(\).*Pass the values as `offset=` \(natural log\)"),
        ("~ dose + offset( np.log(dose) )", r"must not hold offset"),
        ("dose ~ batch", r"one side and one part; got 'dose ~ batch'. Write only what stands right"),
        ("~ dose | batch", r"one side and one part"),
        ("~ dose + (", r"must be a formula such as '~ condition \+ batch'; got '~ dose \+ \(', which cannot be read"),
        ("~ 0", r"must have at least one term; got '~ 0'. Did you mean '~ 1'\?"),
        (" ", r"must have at least one term; got ' '. Did you mean '~ 1'\?"),
        ("~ log(dose)", r"must be finite; got missing or infinite values in column 'log\(dose\)', 1 cell \('c1'\)"),
        ("~ poly(dose, 'x')", r"can be evaluated on the cells' data; got '~ 1 \+ poly"),
        ("~ C(one)", r"Every term of `design` must give a column; got none for 'C\(one\)'"),
    ],
)
def test_formulas_that_cannot_be_used(cells, formula, text):
    with pytest.raises(InputError, match=text):
        read_design(formula, 6, cells.assign(one=1))


def test_missing_values_name_the_column_and_the_cells(cells):
    for column, value in (("dose", np.nan), ("condition", None), ("batch", np.nan)):
        broken = cells.copy()
        broken.loc[["c2", "c5"], column] = value
        with pytest.raises(
            InputError,
            match=rf"`design` uses '{column}', which must not be missing; got NA in 2 cells \('c2', 'c5'\). Drop",
        ):
            read_design(f"~ {column}", 6, broken)
        assert read_design("~ flag", 6, broken).matrix.shape == (6, 2)
    with pytest.raises(InputError, match=r"'dose', which must be finite; got infinite values in 1 cell \('c1'\)"):
        read_design("~ dose", 6, cells.replace({"dose": {0.0: np.inf}}))


def test_levels_without_cells_and_lonely_levels(cells):
    unused = cells.assign(batch=cells["batch"].cat.add_categories(["b3"]))
    with pytest.raises(
        InputError,
        match=r"'batch', whose levels must all have cells; got 1 level without \('b3'\).*remove_unused_categor",
    ):
        read_design("~ batch", 6, unused)
    for one in ("x", True):
        with pytest.raises(
            InputError, match=r"'one', which must have two levels or more; got one \('.*'\). Leave 'one'"
        ):
            read_design("~ one", 6, cells.assign(one=one))


def test_wrong_type_requests(cells):
    with pytest.raises(InputError, match=r"`as_numeric` must name columns that hold numbers; got 'condition' with 2"):
        read_design("~ condition", 6, cells, as_numeric=["condition"])
    with pytest.raises(
        InputError, match=r"`as_categorical` must name columns of the cells' data; got 'bach'. Did you m"
    ):
        read_design("~ batch", 6, cells, as_categorical=["bach"])
    with pytest.raises(InputError, match=r"`as_numeric` must name columns of the cells' data; got 3. Pass a list"):
        read_design("~ batch", 6, cells, as_numeric=3)
    with pytest.raises(InputError, match=r"uses 'z', which must hold real numbers or levels; got complex128"):
        read_design("~ z", 6, cells.assign(z=1j))
    with pytest.raises(InputError, match=r"must not share columns; got 'plate' in both"):
        read_design("~ plate", 6, cells, as_numeric=["plate"], as_categorical=["plate"])


def test_a_formula_without_columns_needs_no_data():
    design = read_design("~ 1", 3, None)
    assert (design.names, design.matrix.tolist()) == (("Intercept",), [[1.0]] * 3)
    with pytest.raises(InputError, match=r"uses columns of the cells' data, but there are none.*Pass `cell_data`"):
        read_design("~ condition", 3, None)


def test_the_argument_is_named_as_the_user_wrote_it(cells):
    with pytest.raises(InputError, match=r"^`dispersion_design` uses 'zzz'"):
        read_design("~ zzz", 6, cells, argument="dispersion_design")


def test_cell_data_is_not_changed(cells):
    before = cells.copy(deep=True)
    design_matrix(cells, "~ condition * batch + bs(dose, df=4) + flag", as_categorical=["plate"])
    pd.testing.assert_frame_equal(cells, before)


def test_design_matrix_wants_a_table():
    with pytest.raises(InputError, match="`data` must be an AnnData or a DataFrame with one row per cell; got list"):
        design_matrix([1, 2], "~ 1")


# --- matrices
# -----------------------------------------------------------------------------------------------------------------


def test_matrices_of_every_kind_are_the_same_design(cells):
    ours = read_design("~ condition + batch", 6, cells)
    forms = [
        ours.matrix,
        np.asfortranarray(ours.matrix),
        ours.matrix.astype("float32"),
        ours.matrix.astype(int).tolist(),
        pd.DataFrame(ours.matrix, columns=ours.names, index=cells.index),
        model_matrix("~ condition + batch", cells),
        model_matrix("~ condition + batch", cells, output="sparse"),
        model_matrix("~ condition + batch", cells, output="numpy"),
        patsy.dmatrix("~ condition + batch", cells),
        patsy.dmatrix("~ condition + batch", cells, return_type="dataframe"),
        sparse.csr_matrix(ours.matrix),
        ours,
    ]
    for form in forms:
        design = read_design(form, 6, None)
        np.testing.assert_array_equal(design.matrix, ours.matrix)
        assert design.matrix.flags.c_contiguous
    assert read_design(forms[0], 6, None).names == ("x1", "x2", "x3")
    for form in forms[4:8]:
        assert read_design(form, 6, None).names == ours.names
    for form in forms[5:8]:
        assert read_design(form, 6, None).terms == ours.terms
    assert read_design(forms[8], 6, None).terms == ours.terms
    assert read_design(forms[0], 6, None).terms == {"x1": (0,), "x2": (1,), "x3": (2,)}


def test_rows_of_a_frame_are_matched_by_name(cells):
    counts = read_counts(pd.DataFrame(np.ones((6, 2)), index=cells.index))
    frame = pd.DataFrame({"one": 1.0, "x": np.arange(6.0)}, index=cells.index)
    assert list(read_design(frame.iloc[::-1], counts, None).matrix[:, 1]) == [0, 1, 2, 3, 4, 5]
    assert list(read_design(frame.iloc[::-1].reset_index(drop=True), counts, None).matrix[:, 1]) == [5, 4, 3, 2, 1, 0]
    with pytest.raises(InputError, match=r"row names of `design` must be the names of the cells; got 1 cell of `data`"):
        read_design(frame.rename(index={"c1": "other"}), counts, None)
    without_names = read_counts(np.ones((6, 2)))
    assert list(read_design(frame.iloc[::-1], without_names, None).matrix[:, 1]) == [5, 4, 3, 2, 1, 0]


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (
            np.ones((2638, 2)),
            r"`design` must have one row per cell \(n_cells = 6\); got 2638 rows. Drop the filtered c",
        ),
        (np.ones((5, 2)), r"one row per cell \(n_cells = 6\); got 5 rows. Add the missing cells"),
        (np.ones((2, 6)), r"got 2 rows. `design` looks transposed: it must be cells x terms"),
        (np.ones(6), r"must be a formula or a matrix, cells x terms; got 1 dimension. Pass two"),
        (np.empty((6, 0)), r"must have at least one column; got none. Did you mean '~ 1'\?"),
        (5, r"must be a formula or a matrix of numbers, cells x terms; got int. Did you mean '~ 1'\?"),
        (None, r"matrix of numbers, cells x terms; got NoneType"),
        (np.full((6, 1), 1j), r"matrix of numbers, cells x terms; got ndarray"),
        ({"a": 1}, r"must be a formula or a matrix of numbers, cells x terms; got dict. Did you mean '~ 1'\?"),
        (
            pd.DataFrame({"a": list("xyxyxy")}),
            r"matrix of numbers; got 1 column of another type \('a'\). Pass a formula",
        ),
        (pd.DataFrame(np.ones((6, 2)), columns=["a", "a"]), r"Column names of `design` must be unique; got 'a' twice"),
        (
            np.array([[1, np.nan]] + [[1, 2]] * 5),
            r"must be finite; got missing or infinite values in column 'x2', 1 cell",
        ),
    ],
)
def test_matrices_that_cannot_be_used(spec, text):
    with pytest.raises(InputError, match=text):
        read_design(spec, 6, None)


def test_a_design_for_the_genes_of_a_transposed_matrix_is_recognised():
    with pytest.raises(InputError, match=r"`data` has 4 genes: it looks transposed, pass `data.T`"):
        read_design(np.ones((4, 1)), read_counts(np.ones((3, 4))), None)


def test_a_ready_design_is_checked_too(cells):
    design = read_design("~ batch", 6, cells)
    with pytest.raises(InputError, match=r"n_cells = 7\); got 6 rows"):
        read_design(design, 7, None)
    from_r = Design(
        np.column_stack([np.ones(2), [0.0, 1.0]]),
        ("(Intercept)", "batchb2"),
        {"(Intercept)": (0,), "batch": (1,)},
        "~batch",
        pd.DataFrame({"batch": pd.Categorical(["b1", "b2"], categories=["b1", "b2", "b3"])}),
        "r",
    )
    with pytest.raises(InputError, match=r"got 1 level without \('b3'\). Drop unused levels: droplevels\(batch\)"):
        read_design(from_r, 2, None)


# --- new cells
# ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "formula",
    [
        "~ condition * batch",
        "~ ns(dose, df=3) + flag",
        "~ bs(dose, df=4)",
        "~ scale(dose) + C(plate)",
        "~ `cell type`",
        "~ 1",
    ],
)
def test_new_cells_get_the_encoding_of_the_fit(cells, formula):
    design = read_design(formula, 6, cells)
    np.testing.assert_allclose(apply_design(design, cells), design.matrix, atol=1e-12)
    np.testing.assert_allclose(apply_design(design, cells.iloc[[4, 1]]), design.matrix[[4, 1]], atol=1e-12)


def test_new_cells_for_dict_constraints_and_for_matrices(cells):
    design, _ = resolve_constraints(read_design("~ condition + batch", 6, cells), {"batch": "1"})
    assert design.names == ("Intercept", "condition[T.stim]", "batch[b2]", "batch[b1]")
    new = pd.DataFrame({"condition": ["stim"], "batch": ["b1"]})
    assert apply_design(design, new).tolist() == [[1, 1, 0, 1]]
    assert apply_design(design, new, base=np.array([[1.0, 7.0]])).tolist() == [[1, 7, 0, 1]]
    bare = read_design(pd.DataFrame({"one": 1.0, "x": cells["dose"]}), 6, None)
    assert apply_design(bare, pd.DataFrame({"x": [2.0], "one": [1.0]})).tolist() == [[1, 2]]
    assert apply_design(bare, np.array([[1.0, 3.0]])).tolist() == [[1, 3]]


def test_new_cells_that_do_not_fit(cells):
    design = read_design("~ condition + dose", 6, cells)
    with pytest.raises(InputError, match=r"`newdata` must have the column 'dose'"):
        apply_design(design, cells[["condition"]])
    with pytest.raises(
        InputError, match=r"levels the fit has seen; got 'zap' in 'condition'. The levels are: ctrl, stim"
    ):
        apply_design(design, pd.DataFrame({"condition": ["zap"], "dose": [1.0]}))
    with pytest.raises(InputError, match=r"must give finite values; got missing or infinite ones in 'dose'"):
        apply_design(design, pd.DataFrame({"condition": ["ctrl"], "dose": [np.nan]}))
    with pytest.raises(InputError, match=r"`newdata` must be a DataFrame with the columns of the formula; got ndarray"):
        apply_design(design, np.ones((1, 3)))
    with pytest.raises(
        InputError, match=r"finite matrix with the design's 2 columns \('x1', 'x2'\); got shape \(1, 3\)"
    ):
        apply_design(read_design(np.eye(2), 2, None), np.ones((1, 3)))
    from_r = Design(np.ones((2, 1)), ("(Intercept)",), {"(Intercept)": (0,)}, "~1", None, "r")
    with pytest.raises(InputError, match="a fit made in R is evaluated by R"):
        apply_design(from_r, cells)
