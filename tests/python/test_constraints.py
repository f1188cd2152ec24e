"""Constraints of every form come to the same theta = theta0 + H gamma, and what cannot be solved says why."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import isthmus
from isthmus.data import design_matrix, read_design
from isthmus.data.design import Design
from isthmus.errors import InputError
from isthmus.glm.constraints import constraint_matrix, resolve_constraints, solve_rows
from isthmus.glm.rank import aliases, rank
from isthmus.messages import collected


def notebook_design(example: int) -> np.ndarray:
    """The designs of batchglm's notebook: replicates in two conditions, one row per group (2: technical replicates;
    3: one pair lost)."""
    bio = np.repeat(np.eye(4), 2, axis=0)
    condition = np.repeat([0.0, 1.0], 4)[:, None]
    tech = np.zeros((8, 4))
    tech[np.arange(8), [0, 1, 2, 3, 0, 1, 2, 3]] = 1
    blocks = {1: [bio], 2: [bio, tech], 3: [bio, tech[:, :2]]}[example]
    return np.hstack([np.ones((8, 1)), *blocks, condition])


def marked_rows(p: int, *rows: tuple[int, ...]) -> np.ndarray:
    """-1 at the first position of each row, 1 at the others."""
    out = np.zeros((len(rows), p))
    for row, positions in zip(out, rows, strict=True):
        row[list(positions)] = 1
        row[positions[0]] = -1
    return out


NOTEBOOK = {
    1: (6, [(3, 4), (1, 2, 3, 4)]),
    2: (10, [(3, 4), (1, 2, 3, 4), (7, 8), (5, 6, 7, 8)]),
    3: (8, [(3, 4), (1, 2, 3, 4), (5, 6)]),
}


@pytest.fixture
def cells() -> pd.DataFrame:
    """Four batches in two conditions, two technical runs that cross them."""
    return pd.DataFrame(
        {
            "condition": np.repeat(["ctrl", "stim"], 8),
            "batch": np.repeat(["b1", "b2", "b3", "b4"], 4),
            "run": np.tile(["r1", "r2"], 8),
            "dose": np.arange(16) / 3.0,
            "same": np.repeat(["u", "v"], 8),
        }
    )


def projector(matrix: np.ndarray) -> np.ndarray:
    q, _ = np.linalg.qr(matrix)
    return q @ q.T


# --- rows and H
# ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("example", [1, 2, 3])
def test_the_notebooks_rows(example):
    p, rows = NOTEBOOK[example]
    x = notebook_design(example)
    design, constraint = resolve_constraints(read_design(x, 8, None), marked_rows(p, *rows))
    assert constraint.kind == "identifies"
    assert list(np.flatnonzero(constraint.dependent)) == sorted(row[0] for row in rows)
    for row in rows:
        np.testing.assert_array_equal(constraint.free[list(row)].sum(axis=0), 0)
    np.testing.assert_array_equal(constraint.particular, 0)
    assert rank(design.matrix @ constraint.free) == rank(x) == constraint.free.shape[1]
    # with the first rows, the second ones say that the other pair sums to zero too
    np.testing.assert_array_equal(constraint.free[1], -constraint.free[2])


@pytest.mark.parametrize("example", [1, 2, 3])
def test_row_order_does_not_matter(example):
    p, rows = NOTEBOOK[example]
    design = read_design(notebook_design(example), 8, None)
    _, forward = resolve_constraints(design, marked_rows(p, *rows))
    _, backward = resolve_constraints(design, marked_rows(p, *rows[::-1]))
    np.testing.assert_array_equal(forward.free, backward.free)


def test_h_is_taken_as_it_is_when_its_rows_hold_an_identity():
    h = np.array([[1.0, 0], [0, 1], [0, -1]])
    _, constraint = resolve_constraints(read_design(np.eye(3), 3, None), h)
    np.testing.assert_array_equal(constraint.free, h)
    assert list(constraint.dependent) == [False, False, True]
    assert constraint.kind == "restricts"


def test_h_in_another_basis_spans_the_same_space():
    h = np.array([[1.0, 2], [3, -1], [0.5, 1], [1, 1]])
    _, constraint = resolve_constraints(read_design(np.eye(4), 4, None), h)
    np.testing.assert_allclose(projector(constraint.free), projector(h), atol=1e-12)
    np.testing.assert_array_equal(constraint.free[~constraint.dependent], np.eye(2))


def test_a_square_array_is_h():
    _, constraint = resolve_constraints(read_design(np.eye(2), 2, None), np.array([[1.0, 1], [0, 1]]))
    assert constraint.kind == "none"
    np.testing.assert_array_equal(constraint.free, np.eye(2))


def test_frames_are_matched_by_name():
    design = read_design(pd.DataFrame(np.eye(3), columns=["a", "b", "c"]), 3, None)
    rows = pd.DataFrame([[1, 0, -1]], columns=["c", "b", "a"])
    _, constraint = resolve_constraints(design, rows)
    assert list(constraint.dependent) == [True, False, False]
    h = pd.DataFrame({"a": [0, 1, 0], "b": [1, 0, -1]}, index=["b", "a", "c"])
    _, constraint = resolve_constraints(design, h)
    np.testing.assert_array_equal(constraint.free, [[1, 0], [0, 1], [0, -1]])
    with pytest.raises(InputError, match="names of `constraints` must be those of the parameters; got 'z'"):
        resolve_constraints(design, pd.DataFrame([[1, 1, -1]], columns=["a", "b", "z"]))


@pytest.mark.parametrize("nothing", [None, {}, [], "", np.empty((0, 2))])
def test_no_constraints(nothing):
    design = read_design(np.eye(2), 2, None)
    same, constraint = resolve_constraints(design, nothing)
    assert same is design
    assert constraint.kind == "none"
    np.testing.assert_array_equal(constraint.free, np.eye(2))


@pytest.mark.parametrize(
    ("array", "text"),
    [
        ([[1, 1, 0]], r"mark one dependent parameter with -1 and the others of the sum with 1; got 0 in row 1"),
        ([[-1, 1, 0], [-1, -1, 1]], r"got 2 in row 2"),
        ([[-1, 2, 0]], r"must hold -1, 0 and 1 only; got 2. Write other coefficients as strings"),
        (
            [[-1, 1]],
            r"one column per parameter .* or one row per parameter .*; got 1 x 2 for 3 parameters \(x1, x2, x3\)",
        ),
        (3, r"got a single number for 3 parameters"),
        ([[[1]]], r"got 1 x 1 x 1 for"),
        ([[-1, 1, 0], [1, -1, 0]], r"must be independent; row 2 already follows from row 1. Remove it"),
        ([[-1, 0, 0], [0, -1, 0], [-1, 1, 0], [0, 0, -1]], r"row 3 already follows from row 1, row 2"),
        (
            [[1, 1], [1, 1], [1, 1]],
            r"columns of `constraints` \(the matrix H\) must be independent; got .* in column 2",
        ),
        ([[1, np.nan], [0, 1], [1, 1]], r"must be finite"),
        ([[-1, np.nan, 0]], r"must hold -1, 0 and 1 only; got nan"),
        (np.array([["x", 1, 2]], dtype=object), r"must be a dict, strings or an array of numbers; got ndarray"),
        ([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1]], r"must be independent; got combinations of others in column 4"),
    ],
)
def test_arrays_that_are_no_constraints(array, text):
    with pytest.raises(InputError, match=text):
        resolve_constraints(read_design(np.vstack([np.eye(3)] * 2), 6, None), array)


# --- strings
# ------------------------------------------------------------------------------------------------------------------


def test_strings_with_coefficients_chains_and_right_hand_sides():
    design = read_design(pd.DataFrame(np.eye(5), columns=list("abcde")), 5, None)
    texts = ["2*a - b/4 = 0.5", "c = d = e + 1"]
    _, constraint = resolve_constraints(design, texts)
    rows = np.array([[2, -0.25, 0, 0, 0], [0, 0, 1, -1, 0], [0, 0, 0, 1, -1]])
    np.testing.assert_allclose(rows @ constraint.free, 0, atol=1e-15)
    np.testing.assert_allclose(rows @ constraint.particular, [0.5, 0, 1], atol=1e-15)
    assert list(constraint.dependent) == [True, False, True, True, False]
    assert constraint.kind == "restricts"
    _, joined = resolve_constraints(design, ", ".join(texts))
    np.testing.assert_array_equal(joined.free, constraint.free)


@pytest.mark.parametrize(
    "names",
    [
        ["Intercept", "condition[T.b]", "batch[b1]", "batch[b1]:dose"],
        ["(Intercept)", "conditionb", "batchb1", "batchb1:dose"],
        ["a", "aa", "a.a", "a:a"],
        ["cell type[T.B cell]", "cell type", "I(x ** 2)", "np.log(x + 1)"],
        ["x", "x-1", "x=1", "x, y"],
        ["ns(dose, df=3)[1]", "ns(dose, df=3)[2]", "poly(x, 2)1", "poly(x, 2)2"],
    ],
)
@pytest.mark.parametrize("form", ["{}", "`{}`", " {} "])
def test_names_of_every_kind_are_found(names, form):
    design = read_design(pd.DataFrame(np.eye(4), columns=names), 4, None)
    for i in range(4):
        j = (i + 1) % 4
        text = f"{form.format(names[i])} - 2*({form.format(names[j])}) = 1"
        _, constraint = resolve_constraints(design, text)
        row = np.eye(4)[i] - 2 * np.eye(4)[j]
        np.testing.assert_allclose(row @ constraint.free, 0, atol=1e-15)
        assert row @ constraint.particular == 1


def test_a_name_that_reads_as_a_number_needs_backticks():
    design = read_design(pd.DataFrame(np.eye(3), columns=["0", "1", "b"]), 3, None)
    _, constraint = resolve_constraints(design, "`1` = b")
    assert list(constraint.dependent) == [False, True, False]
    _, constraint = resolve_constraints(design, "b = 1")
    assert constraint.particular.tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "a + zz = 0",
            r"must use the names of the parameters; got 'zz' in 'a \+ zz = 0'. There are: `a`, `b`, `cond\[T.x\]`",
        ),
        ("cond[T.y] = 0", r"got 'cond\[T.y\]'.*Did you mean `cond\[T.x\]`\?"),
        ("cond = 0", r"got 'cond'.*Did you mean"),
        ("a * b = 0", r"must be linear in the parameters, such as 'b - 2\*a = 0.5'; got 'a \* b = 0'"),
        ("a / b = 0", r"must be linear"),
        ("a / 0 = 1", r"must be linear"),
        ("a ** 2 = 1", r"must be linear"),
        ("a + = 1", r"must be linear"),
        ("a = 0,", r"must be linear"),
        ("2a = 1", r"got '2a'"),
        ("`a = 0", r"got 'a = 0'"),
        ("__import__('os')", r"must use the names of the parameters"),
        ("1 = 1", r"Every row of `constraints` must involve a parameter; got none in row 1 \('1 = 1'\)"),
        ("a - a = 0", r"must involve a parameter"),
    ],
)
def test_texts_that_are_no_constraints(text, message):
    design = read_design(pd.DataFrame(np.eye(3), columns=["a", "b", "cond[T.x]"]), 3, None)
    with pytest.raises(InputError, match=message):
        resolve_constraints(design, text)


def test_rows_that_repeat_or_contradict_are_named():
    design = read_design(pd.DataFrame(np.eye(4), columns=list("abcd")), 4, None)
    with pytest.raises(
        InputError,
        match=r"must not contradict each other; row 3 \('a \+ c = 3'\) cannot hold together with row 1 \('a = b'\)",
    ):
        resolve_constraints(design, ["a = b", "b + c = 2", "a + c = 3"])
    with pytest.raises(InputError, match=r"row 2 \('2\*b = 2\*a'\) already follows from row 1 \('a = b'\)"):
        resolve_constraints(design, ["a = b", "2*b = 2*a"])
    with pytest.raises(InputError, match=r"must leave a parameter to estimate; got 4 constraints on 4 parameters"):
        resolve_constraints(design, "a = 0, b = 0, c = 0, d = 0")


# --- dicts
# --------------------------------------------------------------------------------------------------------------------


def test_a_dict_builds_the_full_dummy_design(cells):
    design, constraint = resolve_constraints(read_design("~ condition + batch", 16, cells), {"batch": "condition"})
    assert design.names == ("Intercept", "condition[T.stim]", "batch[b1]", "batch[b2]", "batch[b3]", "batch[b4]")
    assert design.terms == {"Intercept": (0,), "condition": (1,), "batch": (2, 3, 4, 5)}
    assert design.dummies == {"batch": ("b1", "b2", "b3", "b4")}
    assert (design.formula, constraint.kind) == ("~ condition + batch", "identifies")
    expected = np.column_stack([np.ones(16), cells["condition"] == "stim", pd.get_dummies(cells["batch"])])
    np.testing.assert_array_equal(design.matrix, expected.astype(float))
    assert list(constraint.dependent) == [False, False, False, True, False, True]
    np.testing.assert_array_equal(constraint.free[3], -constraint.free[2])
    np.testing.assert_array_equal(constraint.free[5], -constraint.free[4])


def test_all_levels_at_once_is_sum_coding(cells):
    for one in ("1", 1):
        design, constraint = resolve_constraints(read_design("~ dose + batch", 16, cells), {"batch": one})
        coded = design_matrix(cells, "~ dose + C(batch, contr.sum)")
        np.testing.assert_allclose(design.matrix @ constraint.free, coded, atol=1e-14)
        assert constraint.kind == "identifies"


def test_several_entries_and_groups_that_are_constrained_themselves():
    cells = pd.DataFrame(
        {
            "tech": [f"t{i}" for i in range(1, 9)],
            "bio": np.repeat(["p", "q", "r", "s"], 2),
            "arm": np.repeat(["u", "v"], 4),
        }
    )
    design, constraint = resolve_constraints(read_design("~ arm + bio + tech", 8, cells), {"tech": "bio", "bio": "arm"})
    assert constraint.kind == "identifies"
    assert constraint.free.shape == (2 + 4 + 8, 8)
    assert design.names[2:4] == ("tech[t1]", "tech[t2]")
    assert design.names[-1] == "bio[s]"


def test_designs_of_r_get_the_names_of_r(cells):
    x = np.column_stack([np.ones(16), cells["condition"] == "stim"]).astype(float)
    frame = cells[["condition", "batch"]].astype("category")
    design = Design(
        x,
        ("(Intercept)", "conditionstim"),
        {"(Intercept)": (0,), "condition": (1,)},
        "~condition + batch",
        frame,
        "r",
        ("batch",),
    )
    design, constraint = resolve_constraints(design, {"batch": "condition"})
    assert design.names[2:] == ("batchb1", "batchb2", "batchb3", "batchb4")
    assert constraint.kind == "identifies"
    with pytest.raises(
        InputError, match="must constrain factors of the formula; got 'condition', which stands in it only"
    ):
        resolve_constraints(replace(design, dummies={}), {"condition": "1"})
    crossed = replace(design, terms={"(Intercept)": (0,), "batch:condition": (1,)}, dummies={})
    with pytest.raises(InputError, match="got 'batch', which is part of 'batch:condition'"):
        resolve_constraints(crossed, {"batch": "1"})


@pytest.mark.parametrize(
    ("formula", "constraints", "text"),
    [
        (
            "~ condition + batch",
            {"batch": "run"},
            r"must group by factors of the formula; got 'run', which is not in it",
        ),
        (
            "~ condition",
            {"batch": "condition"},
            r"must constrain factors of the formula; got 'batch', which is not in it",
        ),
        (
            "~ condition + dose",
            {"dose": "condition"},
            r"must constrain factors; got 'dose', which is numeric. List it in `as_cat",
        ),
        ("~ batch + dose", {"batch": "dose"}, r"must group by factors; got 'dose', which is numeric"),
        (
            "~ condition * batch",
            {"batch": "1"},
            r"stand alone in the formula; got 'batch', which is part of 'condition:bat",
        ),
        ("~ condition + C(batch)", {"batch": "1"}, r"got 'batch', which is part of 'C\(batch\)'"),
        (
            "~ run + batch",
            {"run": "batch"},
            r"needs every level of 'run' within one level of 'batch'; got 'r1' with cells in 'b1', 'b2', 'b3', \.\.\.",
        ),
        ("~ condition + batch", {"batch": ["condition"]}, r"must name one grouping factor, or '1'.*got list"),
        ("~ condition + batch", {"batch": 2}, r"must name one grouping factor, or '1'.*got int"),
    ],
)
def test_dicts_that_do_not_fit(cells, formula, constraints, text):
    with pytest.raises(InputError, match=text):
        resolve_constraints(read_design(formula, 16, cells), constraints)


def test_a_dict_needs_a_formula():
    with pytest.raises(
        InputError, match=r"`dispersion_constraints` as a dict needs a formula as the design.*got a matrix"
    ):
        resolve_constraints(read_design(np.eye(3), 3, None), {"batch": "1"}, argument="dispersion_constraints")


def test_a_level_alone_in_its_group_is_fixed_and_said(cells):
    cells = cells.assign(batch=cells["batch"].replace("b2", "b1"))
    with collected() as texts:
        _, constraint = resolve_constraints(read_design("~ condition + batch", 16, cells), {"batch": "condition"})
    assert texts == [
        "`constraints`: 'b1' of 'batch' is alone in its level of 'condition', so its effect is fixed at 0."
    ]
    np.testing.assert_array_equal(constraint.free[2], 0)
    with collected() as texts:
        _, constraint = resolve_constraints(read_design("~ condition + same", 16, cells), {"same": "condition"})
    assert texts == [
        "`constraints`: 'u', 'v' of 'same' are alone in their level of 'condition', so their effects are fixed at 0."
    ]
    np.testing.assert_array_equal(constraint.free, [[1, 0], [0, 1], [0, 0], [0, 0]])


# --- rank
# -----------------------------------------------------------------------------------------------------------------


def test_a_confounded_design_names_the_columns_and_proposes_the_constraint(cells):
    text = (
        r"`design` must identify every parameter; got 5 free parameters of the design but rank 4. 1 column cannot be "
        r"told apart from the others: 'batch\[T.b4\]' \('batch\[T.b4\]' = condition\[T.stim\] - batch\[T.b3\]\). "
        r"Pass `constraints=\{\"batch\": \"condition\"\}`: "
        r"the levels of 'batch' sum to zero within each 'condition'."
    )
    with pytest.raises(InputError, match=text):
        resolve_constraints(read_design("~ condition + batch", 16, cells), None)
    with pytest.raises(
        InputError, match=r"`dispersion_design` must.*Pass `dispersion_constraints=\{\"batch\": \"condition\"\}`"
    ):
        resolve_constraints(read_design("~ batch + condition", 16, cells), None, argument="dispersion_constraints")


def test_the_proposal_for_a_design_of_r(cells):
    python = read_design("~ condition + batch", 16, cells)
    names = ("(Intercept)", "conditionstim", "batchb2", "batchb3", "batchb4")
    terms = {"(Intercept)": (0,), "condition": (1,), "batch": (2, 3, 4)}
    design = replace(python, names=names, terms=terms, language="r", formula="~condition + batch")
    with pytest.raises(
        InputError, match=r"'batchb4' = conditionstim - batchb3\). Pass `constraints = list\(batch = \"condition\"\)`:"
    ):
        resolve_constraints(design, None)


def test_every_proposal_identifies_its_design():
    cells = pd.DataFrame(
        {
            "arm": np.repeat(["u", "v"], 8),
            "bio": np.repeat(["p", "q", "r", "s"], 4),
            "tech": [f"t{i}" for i in np.repeat(range(8), 2)],
            "pair": np.tile(np.repeat(["m", "n"], 2), 4),
            "x": np.arange(16.0),
        }
    )
    for formula, proposed in (
        ("~ arm + bio", {"bio": "arm"}),
        ("~ bio + arm", {"bio": "arm"}),
        ("~ arm + bio + x", {"bio": "arm"}),
        ("~ arm + bio + tech", None),
        ("~ arm * pair + bio", {"bio": "arm"}),
        ("~ x + I(2 * x)", ["`I(2 * x)` = 0"]),
        ("~ bio:arm + arm", None),
    ):
        design = read_design(formula, 16, cells)
        if not aliases(design.matrix):
            continue
        with collected() as texts:
            h = constraint_matrix(formula, None, data=cells)
        assert texts[0].startswith("`constraints`: the design is rank-deficient; proposed: constraints=")
        full = read_design(formula, 16, cells)
        assert h.shape[1] == rank(full.matrix)
        if proposed is not None:
            pd.testing.assert_frame_equal(h, constraint_matrix(formula, proposed, data=cells))


def test_factors_that_split_the_cells_alike_are_said_to_be_inseparable(cells):
    with pytest.raises(
        InputError,
        match=r"'same' and 'condition' split the cells in the same way, so their effects cannot be separated by any "
        r"constraint that keeps both. Leave one of them out; `constraints=\{\"same\": \"condition\"\}` would do that",
    ):
        resolve_constraints(read_design("~ condition + same", 16, cells), None)


def test_other_aliased_columns_are_proposed_to_be_left_out(cells):
    with pytest.raises(
        InputError,
        match=r"'I\(2 \* dose\)' = 2\*dose\). Leave it out, or pass `constraints=\[\"`I\(2 \* dose\)` = 0\"\]`",
    ):
        resolve_constraints(read_design("~ dose + I(2 * dose)", 16, cells), None)
    x = np.column_stack([np.ones(16), np.zeros(16)])
    with pytest.raises(InputError, match=r"'x2' is zero in every cell"):
        resolve_constraints(read_design(x, 16, None), None)
    with pytest.raises(InputError, match=r"got 3 free parameters of the design but rank 2"):
        resolve_constraints(read_design(np.eye(2, 3), 2, None), None)


def test_constraints_that_do_not_suffice(cells):
    with pytest.raises(
        InputError,
        match=r"`constraints` must identify.*got 4 free parameters with these constraints but rank 3.*Add constr",
    ):
        resolve_constraints(read_design("~ condition + batch", 16, cells), "batch[T.b2] = 0")


def test_the_rank_does_not_depend_on_units():
    rng = np.random.default_rng(0)
    x = np.column_stack([np.ones(100), rng.normal(size=(100, 3))])
    for scale in ([1, 1e-9, 1, 1], [1, 1e12, 1e-6, 1], [1e-8] * 4):
        assert rank(x * scale) == 4
        assert rank(np.column_stack([x, x[:, 1] + x[:, 2]]) * [*scale, 1e5]) == 4
    year = 2015 + rng.integers(0, 6, size=100)
    assert rank(np.column_stack([np.ones(100), year])) == 2


def test_constraint_matrix_of_matrices_and_its_own_round_trip(cells):
    h = constraint_matrix("~ condition + batch", ["batch[T.b2] = 0", "batch[T.b3] = -batch[T.b4]"], data=cells)
    assert list(h.columns) == ["Intercept", "condition[T.stim]", "batch[T.b4]"]
    assert list(h["batch[T.b4]"]) == [0, 0, 0, -1, 1]
    pd.testing.assert_frame_equal(constraint_matrix("~ condition + batch", h, data=cells), h)
    bare = constraint_matrix(notebook_design(1), marked_rows(6, *NOTEBOOK[1][1]))
    assert (list(bare.index), list(bare.columns)) == ([f"x{i}" for i in range(1, 7)], ["x1", "x3", "x5", "x6"])
    pd.testing.assert_frame_equal(
        constraint_matrix(np.eye(2), None), pd.DataFrame(np.eye(2), index=["x1", "x2"], columns=["x1", "x2"])
    )
    with pytest.raises(
        InputError, match="`data` must be an AnnData or a DataFrame with the columns of the formula; got NoneType"
    ):
        constraint_matrix("~ condition", None)


# --- properties
# ---------------------------------------------------------------------------------------------------------------


@st.composite
def systems(draw):
    """R theta = q with independent rows of small integers, and a parameter to mark in each row."""
    p = draw(st.integers(3, 8))
    k = draw(st.integers(1, p - 1))
    entries = st.lists(st.integers(-3, 3), min_size=p, max_size=p)
    rows = np.array(draw(st.lists(entries, min_size=k, max_size=k)), dtype=float)
    values = np.array(draw(st.lists(st.integers(-5, 5), min_size=k, max_size=k)), dtype=float)
    order = draw(st.permutations(range(k)))
    marks = draw(st.lists(st.integers(0, p - 1), min_size=k, max_size=k))
    return rows, values, list(order), marks


@settings(max_examples=200, deadline=None)
@given(systems())
def test_any_solvable_system_is_met_whatever_the_order_and_the_marks(system):
    rows, values, order, marks = system
    if np.linalg.matrix_rank(rows) < len(rows):
        return
    plain = solve_rows(rows, values, [[j] for j in marks], argument="constraints")
    other = solve_rows(
        rows[order], values[order], [[(marks[i] + 1) % rows.shape[1]] for i in order], argument="constraints"
    )
    for constraint in (plain, other):
        np.testing.assert_allclose(rows @ constraint.free, 0, atol=1e-12)
        np.testing.assert_allclose(rows @ constraint.particular, values, atol=1e-12)
        np.testing.assert_array_equal(constraint.free[~constraint.dependent], np.eye(rows.shape[1] - len(rows)))
        np.testing.assert_array_equal(constraint.particular[~constraint.dependent], 0)
    # the same affine space: equal directions, and the difference of the two origins is one of them
    np.testing.assert_allclose(projector(plain.free), projector(other.free), atol=1e-9)
    gap = plain.particular - other.particular
    np.testing.assert_allclose(projector(plain.free) @ gap, gap, atol=1e-8)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([1, 2, 3]), st.randoms(use_true_random=False))
def test_fitted_space_is_independent_of_marks_and_order(example, random):
    p, rows = NOTEBOOK[example]
    x = notebook_design(example)
    design = read_design(x, 8, None)
    shuffled = [tuple(random.sample(row, len(row))) for row in random.sample(rows, len(rows))]
    _, constraint = resolve_constraints(design, marked_rows(p, *shuffled))
    assert constraint.kind == "identifies"
    np.testing.assert_allclose(
        projector(x @ constraint.free),
        projector(x @ resolve_constraints(design, marked_rows(p, *rows))[1].free),
        atol=1e-12,
    )
    for row in rows:
        np.testing.assert_allclose(constraint.free[list(row)].sum(axis=0), 0, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 5), st.integers(2, 4), st.randoms(use_true_random=False))
def test_nested_factors_are_identified_by_their_dict(n_groups, per_group, random):
    group = np.repeat([f"g{i}" for i in range(n_groups)], per_group * 2)
    factor = np.repeat([f"f{i}" for i in random.sample(range(n_groups * per_group), n_groups * per_group)], 2)
    cells = pd.DataFrame({"group": group, "factor": factor})
    design = read_design("~ group + factor", len(cells), cells)
    expanded, constraint = resolve_constraints(design, {"factor": "group"})
    assert constraint.kind == "identifies"
    np.testing.assert_allclose(
        projector(expanded.matrix @ constraint.free), projector(design_matrix(cells, "~ factor").to_numpy()), atol=1e-10
    )


@pytest.mark.parametrize("kind", ["cr", "cc"])
def test_a_spline_beside_an_intercept_is_to_be_centred(kind):
    rng = np.random.default_rng(0)
    cells = pd.DataFrame({"age": rng.uniform(0, 10, 60)})
    counts = rng.poisson(5.0, (60, 2)).astype(float)
    options = {"cell_data": cells, "size_factors": None}
    with pytest.raises(InputError, match=rf"must be centred: `{kind}\(age, df=4, constraints='center'\)`") as found:
        isthmus.fit_glm(counts, f"~ {kind}(age, df=4)", **options)
    advised = str(found.value).split("`")[-2]
    fit = isthmus.fit_glm(counts, f"~ {advised}", **options)
    assert fit.mean_model.n_free == 5
