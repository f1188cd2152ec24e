"""The surface is the one that tests/contract/surface.json holds, which R is compared with as well."""

import inspect
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import isthmus

CONTRACT = Path(__file__).parents[1] / "contract"
SURFACE = json.loads((CONTRACT / "surface.json").read_text())


def neutral(default):
    """A default in the form of the file: () is an empty list."""
    return list(default) if isinstance(default, tuple) else default


def arguments(function):
    return [
        [name] if parameter.default is inspect.Parameter.empty else [name, neutral(parameter.default)]
        for name, parameter in inspect.signature(function).parameters.items()
    ]


@pytest.mark.parametrize("name", SURFACE["functions"])
def test_arguments_and_defaults(name):
    assert arguments(getattr(isthmus, name)) == SURFACE["functions"][name]


@pytest.mark.parametrize("name", SURFACE["functions"])
def test_options_are_keyword_only(name):
    parameters = inspect.signature(getattr(isthmus, name)).parameters.values()
    positional = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert len(positional) == SURFACE["python_positional"][name]


def test_every_public_name_is_in_the_file():
    assert set(isthmus.__all__) == {*SURFACE["functions"], *SURFACE["python_only_names"]}


def test_pytest_does_not_collect_test_glm():
    assert isthmus.test_glm.__test__ is False


GLM = json.loads((CONTRACT / "glm.json").read_text())


@pytest.mark.parametrize("name", GLM["fits"])
def test_fits_reach_the_exact_numbers(name):
    model = GLM["fits"][name]
    text = model.get("text")
    fit = isthmus.fit_glm(
        pd.DataFrame(GLM["counts"]),
        model["design"],
        dispersion_design=model["dispersion_design"],
        constraints=text["python"] if text else model.get("constraints"),
        dispersion_constraints=model.get("dispersion_constraints"),
        cell_data=pd.DataFrame(GLM["cells"]),
        size_factors=GLM["size_factors"],
    )
    table = fit.table("coefficients").set_index(["gene", "model", "term"])
    log_likelihood = fit.table("genes").set_index("gene")["log_likelihood"]
    for row in model["exact"]:
        got = table.loc[(row["gene"], row["model"], row["term"]["python"])]
        assert got["estimate"] == pytest.approx(row["estimate"], abs=1e-6)
        assert got["se"] == pytest.approx(row["se_expected"], rel=1e-5)
        assert log_likelihood[row["gene"]] == pytest.approx(row["log_likelihood"], rel=1e-10)


AMBIENT = json.loads((CONTRACT / "ambient.json").read_text())


def ambient_counts():
    """Cells and droplets of the file; the cells come first among the droplets."""
    rows = AMBIENT["droplets"]
    counts = np.zeros((len(rows), AMBIENT["n_genes"]))
    for i, (genes, values) in enumerate(rows):
        counts[i, genes] = values
    names = [f"d{i + 1}" for i in range(len(rows))]
    frame = pd.DataFrame(counts, index=names, columns=[f"gene{g + 1}" for g in range(AMBIENT["n_genes"])])
    return frame[: AMBIENT["n_cells"]], frame


def test_the_ambient_profile_is_that_of_the_file():
    profile = isthmus.ambient_profile(*ambient_counts())
    assert profile["prob"].tolist() == pytest.approx(AMBIENT["profile"]["prob"], abs=1e-11)
    assert set(profile["n_empty"]) == {AMBIENT["profile"]["n_empty"]}


@pytest.mark.parametrize("name", AMBIENT["fits"])
def test_ambient_fits_reach_the_numbers(name):
    """Steps are in single precision: another instruction set may round them otherwise."""
    model = AMBIENT["fits"][name]
    options = dict(model["options"])
    if "labels" in options:
        options["labels"] = AMBIENT["type"]
    if "markers" in options:
        options["markers"] = AMBIENT["markers"]
    cells, droplets = ambient_counts()
    fit = isthmus.remove_ambient(cells, droplets=droplets, **options)
    table = fit.table("cells")
    assert table["rho"].tolist() == pytest.approx(model["rho"], abs=1e-4)
    assert table["rho_se"].tolist() == pytest.approx(model["rho_se"], abs=1e-4)
    assert table["ambient_umi"].tolist() == pytest.approx(model["ambient_umi"], abs=0.2)
    assert table["denoised_umi"].tolist() == pytest.approx(model["denoised_umi"], abs=2)
    assert fit.table("genes")["removed"].tolist() == pytest.approx(model["removed"], abs=0.5)
    assert fit.table("levels")["level"].tolist() == pytest.approx(model["level"], abs=1e-4)
    assert fit.log_likelihood[-1] == pytest.approx(model["log_likelihood"], rel=1e-6)


FACTORS = json.loads((CONTRACT / "factors.json").read_text())


@pytest.mark.parametrize("name", FACTORS["fits"])
def test_factor_fits_reach_the_numbers(name):
    """At the optimum the log-likelihood is flat: parameters agree to fewer digits than it does."""
    model = FACTORS["fits"][name]
    panel = pd.DataFrame(FACTORS["panel"], dtype=float)
    panel.index = pd.period_range("2001-01", periods=len(panel), freq="M")
    fit = isthmus.fit_factors(panel, **model["options"], tol=1e-8)
    loadings, ahead = fit.table("loadings"), isthmus.forecast_factors(fit, 2)
    assert fit.log_likelihood[0] == pytest.approx(model["log_likelihood"], rel=1e-6)
    assert loadings["loading"].tolist() == pytest.approx(model["loading"], rel=1e-3)
    smoothed = fit.table("factors")["smoothed"][: len(model["smoothed"])]
    assert smoothed.tolist() == pytest.approx(model["smoothed"], abs=1e-3)
    assert ahead["time"][:2].tolist() == model["forecast"]["time"]
    assert ahead["mean"].tolist() == pytest.approx(model["forecast"]["mean"], abs=1e-3)
    assert ahead["sd"].tolist() == pytest.approx(model["forecast"]["sd"], rel=1e-3)


INTERACTIONS = json.loads((CONTRACT / "interactions.json").read_text())


@pytest.fixture(scope="module")
def twelve_cells():
    cells = pd.DataFrame(INTERACTIONS["expression"], index=INTERACTIONS["cells"], columns=INTERACTIONS["genes"])
    return isthmus.fit_interactions(
        cells,
        labels=INTERACTIONS["types"],
        coordinates=INTERACTIONS["places"],
        sample=INTERACTIONS["samples"],
        n_neighbors=INTERACTIONS["n_neighbors"],
        folds=1,
        max_epochs=1,
    )


def test_neighbors_are_those_of_the_file(twelve_cells):
    """By name, nearest first, never in another sample; distances are float32."""
    table = isthmus.attention(twelve_cells).query("head == '1'")
    assert table[["cell", "neighbor"]].to_numpy().tolist() == [row[:2] for row in INTERACTIONS["neighbors"]]
    assert table["distance"].tolist() == pytest.approx([row[2] for row in INTERACTIONS["neighbors"]], rel=1e-6)


def test_tables_of_interactions_have_the_columns_of_the_file(twelve_cells):
    for name in ("explained_variance", "neighbor_effects", "attention", "heads", "history", "communication_hubs"):
        assert list(twelve_cells.table(name)) == INTERACTIONS["columns"][name], name


def test_no_function_of_the_r_package_is_defined_twice():
    """The file that comes later in the alphabet would win, and the callers of the other one with it."""
    sources = sorted((CONTRACT.parents[1] / "R").glob("*.R"))
    names = [name for file in sources for name in re.findall(r"^([\w.]+) <- function", file.read_text(), re.MULTILINE)]
    assert len(names) > 100
    assert sorted({name for name in names if names.count(name) > 1}) == []
