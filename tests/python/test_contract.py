"""The surface is the one that tests/contract/surface.json holds, which R is compared with as well."""

import inspect
import json
from pathlib import Path

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
    positional = [p.name for p in parameters if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    assert len(positional) == SURFACE["python_positional"][name]


def test_every_public_name_is_in_the_file():
    assert set(isthmus.__all__) == {*SURFACE["functions"], *SURFACE["python_only_names"]}


def test_pytest_does_not_collect_test_glm():
    assert isthmus.test_glm.__test__ is False
